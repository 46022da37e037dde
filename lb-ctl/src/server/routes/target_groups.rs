//! Target groups.

use axum::{extract::State, response::Response};

use super::{
    Api,
    changes::{Caller, read},
    extract::{Json, Segments},
    several,
};
use crate::{
    api::TargetGroupPatch,
    change::{Change, NewTargetGroup, Ref, ResourceRef},
};

pub(super) async fn list(State(api): State<Api>) -> Response {
    read(&api, |snapshot| Ok(snapshot.objects.target_groups.clone())).await
}

pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Json(new): Json<NewTargetGroup>,
) -> Response {
    caller.change(&api, Change::CreateTargetGroup(new)).await
}

pub(super) async fn show(State(api): State<Api>, Segments(name): Segments<String>) -> Response {
    read(&api, |snapshot| {
        let at = snapshot.objects.group_at(&Ref::Name(name))?;
        Ok(snapshot.objects.target_groups[at].clone())
    })
    .await
}

pub(super) async fn modify(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    caller: Caller,
    Json(patch): Json<TargetGroupPatch>,
) -> Response {
    let TargetGroupPatch { health_check, attributes, tags } = patch;
    let target_group = Ref::Name(name);
    let health_check = health_check
        .map(|health_check| Change::ModifyTargetGroup { target_group: target_group.clone(), health_check });
    let attributes = attributes.map(|attributes| Change::ModifyTargetGroupAttributes {
        target_group: target_group.clone(),
        attributes,
    });
    let tags = tags.map(|tags| tags.change(ResourceRef::TargetGroup(target_group)));
    several(&api, caller, [health_check, attributes, tags]).await
}

pub(super) async fn delete(
    State(api): State<Api>,
    Segments(name): Segments<String>,
    caller: Caller,
) -> Response {
    caller.change(&api, Change::DeleteTargetGroup(Ref::Name(name))).await
}
