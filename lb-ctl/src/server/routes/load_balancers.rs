//! Load balancers.

use axum::{extract::State, response::Response};

use super::{
    Api,
    changes::{Caller, read},
    extract::{Json, Segments},
    several,
};
use crate::{
    api::LoadBalancerPatch,
    change::{Change, NewLoadBalancer, Ref, ResourceRef},
};

pub(super) async fn list(State(api): State<Api>) -> Response {
    read(&api, |snapshot| Ok(snapshot.objects.load_balancers.clone())).await
}

pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Json(new): Json<NewLoadBalancer>,
) -> Response {
    caller.change(&api, Change::CreateLoadBalancer(new)).await
}

pub(super) async fn show(State(api): State<Api>, Segments(name): Segments<String>) -> Response {
    read(&api, |snapshot| {
        let at = snapshot.objects.load_balancer_at(&Ref::Name(name))?;
        Ok(snapshot.objects.load_balancers[at].clone())
    })
    .await
}

pub(super) async fn modify(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    caller: Caller,
    Json(patch): Json<LoadBalancerPatch>,
) -> Response {
    let LoadBalancerPatch { addresses, ip_address_type, attributes, tags } = patch;
    let load_balancer = Ref::Name(name);
    let addressing = match (addresses, ip_address_type) {
        (Some(addresses), ip_address_type) => {
            Some(Change::SetAddresses { load_balancer: load_balancer.clone(), addresses, ip_address_type })
        }
        (None, Some(ip_address_type)) => {
            Some(Change::SetIpAddressType { load_balancer: load_balancer.clone(), ip_address_type })
        }
        (None, None) => None,
    };
    let attributes = attributes.map(|attributes| Change::ModifyLoadBalancerAttributes {
        load_balancer: load_balancer.clone(),
        attributes,
    });
    let tags = tags.map(|tags| tags.change(ResourceRef::LoadBalancer(load_balancer)));
    several(&api, caller, [addressing, attributes, tags]).await
}

pub(super) async fn delete(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    caller: Caller,
) -> Response {
    caller.change(&api, Change::DeleteLoadBalancer(Ref::Name(name))).await
}
