//! Targets of a target group.

use axum::{extract::State, response::Response};

use super::{
    Api,
    changes::Caller,
    extract::{Json, Segments},
};
use crate::{
    api::{RefusalCode, TargetChanges},
    change::{Change, Ref},
    server::{
        Call,
        answer::{refuse, tell},
    },
};

pub(super) async fn list(State(api): State<Api>, Segments(target_group): Segments<String>) -> Response {
    tell(&api.deliver, |reply| Call::TargetsOf { target_group, reply }).await
}

pub(super) async fn change(
    State(api): State<Api>,
    Segments(target_group): Segments<String>,
    caller: Caller,
    Json(changes): Json<TargetChanges>,
) -> Response {
    if changes == TargetChanges::default() {
        return refuse(
            RefusalCode::ValidationError,
            format!("the request names no target; expected targets such as {EXAMPLE}"),
        );
    }
    let target_group = Ref::Name(target_group);
    caller.change(&api, Change::ChangeTargets { target_group, changes }).await
}

const EXAMPLE: &str = "{\"register\": [{\"address\": \"198.19.1.2\", \"port\": 80, \"weight\": 1, \"zone\": \"a\"}], \
                       \"deregister\": [{\"address\": \"198.19.1.3\"}]}";
