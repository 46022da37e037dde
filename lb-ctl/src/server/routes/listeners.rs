//! Listeners of a load balancer.

use axum::{extract::State, response::Response};

use super::{
    Api,
    changes::{Caller, read},
    extract::{Json, Segments},
    several,
};
use crate::{
    api::{ListenerPatch, NewListenerBody, Refusal, RefusalCode, optional_forward, required_forward},
    change::{Change, ListenerRef, NewListener, Ref, ResourceRef},
    config::Protocols,
};

pub(super) async fn list(State(api): State<Api>, Segments(load_balancer): Segments<String>) -> Response {
    read(&api, |snapshot| {
        let at = snapshot.objects.load_balancer_at(&Ref::Name(load_balancer))?;
        Ok(snapshot.objects.load_balancers[at].listeners.clone())
    })
    .await
}

pub(super) async fn create(
    State(api): State<Api>,
    Segments(load_balancer): Segments<String>,
    caller: Caller,
    Json(new): Json<NewListenerBody>,
) -> Result<Response, Refusal> {
    let new = NewListener {
        load_balancer: Ref::Name(load_balancer),
        protocol: new.protocol,
        port: new.port,
        forward: required_forward(new.forward, new.target_group)?,
        attributes: new.attributes,
        tags: new.tags,
    };
    Ok(caller.change(&api, Change::CreateListener(new)).await)
}

pub(super) async fn show(State(api): State<Api>, place: Segments<(String, String)>) -> Response {
    read(&api, |snapshot| {
        let (lb, listener) = snapshot.objects.listener_at(&named(place)?)?;
        Ok(snapshot.objects.load_balancers[lb].listeners[listener].clone())
    })
    .await
}

pub(super) async fn modify(
    State(api): State<Api>,
    place: Segments<(String, String)>,
    caller: Caller,
    Json(patch): Json<ListenerPatch>,
) -> Result<Response, Refusal> {
    let listener = named(place)?;
    let ListenerPatch { protocol, port, forward, target_group, attributes, tags } = patch;
    let forward = optional_forward(forward, target_group)?;
    let attributes = attributes
        .map(|attributes| Change::ModifyListenerAttributes { listener: listener.clone(), attributes });
    let tags = tags.map(|tags| tags.change(ResourceRef::Listener(listener.clone())));
    let is_other = protocol.is_some() || port.is_some() || forward.is_some();
    let other = is_other.then_some(Change::ModifyListener { listener, protocol, port, forward });
    Ok(several(&api, caller, [attributes, tags, other]).await) // Last what changes the listener's place.
}

pub(super) async fn delete(
    State(api): State<Api>,
    place: Segments<(String, String)>,
    caller: Caller,
) -> Result<Response, Refusal> {
    Ok(caller.change(&api, Change::DeleteListener(named(place)?)).await)
}

/// `PORT` or `PROTOCOL:PORT` of a load balancer.
pub(super) fn named(
    Segments((load_balancer, place)): Segments<(String, String)>,
) -> Result<ListenerRef, Refusal> {
    let (protocol, port) = match place.split_once(':') {
        Some((protocol, port)) => (Some(Protocols::named(protocol)), port),
        None => (None, place.as_str()),
    };
    match (protocol, port.parse()) {
        (None, Ok(port)) => Ok(ListenerRef::At { load_balancer, port, protocol: None }),
        (Some(Some(protocol)), Ok(port)) => {
            Ok(ListenerRef::At { load_balancer, port, protocol: Some(protocol) })
        }
        _ => Err(Refusal::of(
            RefusalCode::ListenerNotFound,
            format!(
                "{place:?} names no listener: expected its port, such as 80, or protocol and port, such as TCP:80"
            ),
        )),
    }
}
