//! Which path and method is which call.

mod extract;
mod targets;

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use serde::Deserialize;

use super::{
    Call, Deliver,
    access::Role,
    answer::{forbid, refuse, tell},
    connection::Client,
    events::{EventsQuery, Feed},
};
use crate::api::{FLOWS_LISTED, FLOWS_LISTED_DEFAULT};
use extract::Arguments;

/// What handlers work with.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) deliver: Deliver,
    pub(super) feed: Arc<Feed>,
    /// Longest body of a request, in bytes.
    pub(super) body_bytes: usize,
}

pub(super) fn router(api: Api) -> Router {
    Router::new()
        .route("/v1/status", get(async |State(api): State<Api>| tell(&api.deliver, Call::Status).await))
        .route("/v1/targets", get(async |State(api): State<Api>| tell(&api.deliver, Call::Targets).await))
        .route("/v1/target-groups/{name}/targets", get(targets::list).post(targets::change))
        .route("/v1/flows", get(flows))
        .route("/v1/stats", get(async |State(api): State<Api>| tell(&api.deliver, Call::Stats).await))
        .route("/v1/events", get(events))
        .route("/v1/reload", post(reload))
        .fallback(async || refuse(StatusCode::NOT_FOUND, "there is no such path in this API"))
        .method_not_allowed_fallback(async || {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "this path has another method")
        })
        .layer(middleware::from_fn(by_role))
        .with_state(api)
}

/// Lets readers read.
async fn by_role(Extension(client): Extension<Client>, request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match client.role {
        Role::ReadOnly if !is_read => {
            forbid("your group may read (GET), and change nothing: see control_api.read_write_groups")
        }
        Role::ReadOnly | Role::ReadWrite => next.run(request).await,
    }
}

/// The query of `GET /v1/flows`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FlowsQuery {
    limit: Option<usize>,
}

async fn flows(State(api): State<Api>, Arguments(FlowsQuery { limit }): Arguments<FlowsQuery>) -> Response {
    let limit = limit.unwrap_or(FLOWS_LISTED_DEFAULT);
    if limit > FLOWS_LISTED {
        return refuse(StatusCode::BAD_REQUEST, format!("limit is a number up to {FLOWS_LISTED}"));
    }
    tell(&api.deliver, |reply| Call::Flows { limit, reply }).await
}

async fn events(State(api): State<Api>, Arguments(query): Arguments<EventsQuery>) -> Response {
    api.feed.answer(&query)
}

async fn reload(State(api): State<Api>, Extension(client): Extension<Client>) -> Response {
    tell(&api.deliver, |reply| Call::Reload { by: client.caller, reply }).await
}
