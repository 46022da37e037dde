//! Targets of a target group.

use axum::{Extension, extract::State, http::StatusCode, response::Response};

use super::{
    Api,
    extract::{Json, Segments},
};
use crate::{
    api::TargetChanges,
    server::{
        Call, ChangeTargets,
        answer::{refuse, tell},
        connection::Client,
    },
};

pub(super) async fn list(State(api): State<Api>, Segments(target_group): Segments<String>) -> Response {
    tell(&api.deliver, |reply| Call::TargetsOf { target_group, reply }).await
}

pub(super) async fn change(
    State(api): State<Api>,
    Segments(target_group): Segments<String>,
    Extension(client): Extension<Client>,
    Json(changes): Json<TargetChanges>,
) -> Response {
    if changes == TargetChanges::default() {
        return refuse(
            StatusCode::BAD_REQUEST,
            format!("the request names no target; expected targets such as {EXAMPLE}"),
        );
    }
    let call = |reply| Call::ChangeTargets(ChangeTargets { target_group, changes, by: client.caller, reply });
    tell(&api.deliver, call).await
}

const EXAMPLE: &str = "{\"register\": [{\"address\": \"198.19.1.2\", \"port\": 80, \"weight\": 1, \"zone\": \"a\"}], \
                       \"deregister\": [{\"address\": \"198.19.1.3\"}]}";
