//! Which path and method is which call.

mod blame;
mod changes;
mod extract;
mod files;
mod flows;
mod listeners;
mod load_balancers;
mod openapi;
mod rules;
mod target_groups;
mod targets;
mod trace;

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{Request, State},
    http::Method,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};

use super::{
    Call, Deliver,
    access::Role,
    answer::{self, refuse, tell},
    connection::Client,
    counts::Counts,
    events::{EventsQuery, Feed},
};
use crate::{
    api::{RefusalCode, TagsBody},
    change::Change,
};
use changes::Caller;
use extract::{Arguments, Json};

/// What handlers work with.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) deliver: Deliver,
    pub(super) feed: Arc<Feed>,
    /// Longest body of a request, in bytes.
    pub(super) body_bytes: usize,
    pub(super) counts: Arc<Counts>,
}

pub(super) fn router(api: Api) -> Router {
    let paths = PATHS.iter().fold(Router::new(), |router, Path(path, methods)| router.route(path, methods()));
    paths
        .fallback(async || refuse(RefusalCode::NotFound, "there is no such path in this API"))
        .method_not_allowed_fallback(async || {
            refuse(RefusalCode::MethodNotAllowed, "this path has other methods: see the header allow")
        })
        .layer(middleware::from_fn_with_state(api.clone(), by_role))
        .with_state(api)
}

/// A path's template and its methods.
struct Path(&'static str, fn() -> MethodRouter<Api>);

/// Every path, and what its methods do.
const PATHS: &[Path] = &[
    Path("/v1/status", || get(status)),
    Path("/v1/stats", || get(stats)),
    Path("/v1/metrics", || get(metrics)),
    Path("/v1/targets", || get(all_targets)),
    Path("/v1/flows", || get(flows::list)),
    Path("/v1/why", || get(flows::why)),
    Path("/v1/events", || get(events)),
    Path("/v1/trace", || get(trace::trace)),
    Path(CAPTURE, || get(trace::capture)),
    Path("/v1/openapi.json", || get(async || axum::Json(openapi::document()))),
    Path("/v1/load-balancers", || get(load_balancers::list).post(load_balancers::create)),
    Path("/v1/load-balancers/{name}", || {
        get(load_balancers::show).patch(load_balancers::modify).delete(load_balancers::delete)
    }),
    Path("/v1/load-balancers/{name}/listeners", || get(listeners::list).post(listeners::create)),
    Path("/v1/load-balancers/{name}/listeners/{listener}", || {
        get(listeners::show).patch(listeners::modify).delete(listeners::delete)
    }),
    Path("/v1/load-balancers/{name}/listeners/{listener}/rules", || {
        get(rules::list).post(rules::create).patch(rules::reorder)
    }),
    Path("/v1/load-balancers/{name}/listeners/{listener}/rules/{priority}", || {
        get(rules::show).patch(rules::modify).delete(rules::delete)
    }),
    Path("/v1/target-groups", || get(target_groups::list).post(target_groups::create)),
    Path("/v1/target-groups/{name}", || {
        get(target_groups::show).patch(target_groups::modify).delete(target_groups::delete)
    }),
    Path("/v1/target-groups/{name}/targets", || get(targets::list).post(targets::change)),
    Path("/v1/tags", || post(tag)),
    Path(DIFF, || post(files::diff)),
    Path("/v1/apply", || post(files::apply)),
    Path("/v1/export", || get(files::export)),
    Path("/v1/reload", || post(reload)),
];

/// Compares a file with what is in force, and changes nothing, though the file has to be sent.
const DIFF: &str = "/v1/diff";

/// Tells what is in packets, which is nobody's to read who may not change what becomes of them.
const CAPTURE: &str = "/v1/capture";

/// Lets readers read.
async fn by_role(
    State(api): State<Api>,
    Extension(client): Extension<Client>,
    request: Request,
    next: Next,
) -> Response {
    let is_read = match request.uri().path() {
        DIFF => true,
        CAPTURE => false,
        _ => matches!(*request.method(), Method::GET | Method::HEAD),
    };
    match client.role {
        Role::ReadOnly if !is_read => {
            api.counts.forbidden.note(&client.caller);
            client.proof.refusal().into_response()
        }
        Role::ReadOnly | Role::ReadWrite => next.run(request).await,
    }
}

async fn events(State(api): State<Api>, Arguments(query): Arguments<EventsQuery>) -> Response {
    api.feed.answer(&query)
}

async fn status(State(api): State<Api>) -> Response {
    tell(&api.deliver, Call::Status).await
}

async fn stats(State(api): State<Api>) -> Response {
    tell(&api.deliver, Call::Stats).await
}

async fn metrics(State(api): State<Api>) -> Response {
    answer::metrics(&api.deliver).await
}

async fn all_targets(State(api): State<Api>) -> Response {
    tell(&api.deliver, Call::Targets).await
}

async fn reload(State(api): State<Api>, caller: Caller) -> Response {
    tell(&api.deliver, |reply| Call::Reload { by: caller.into_inner(), reply }).await
}

async fn tag(State(api): State<Api>, caller: Caller, Json(body): Json<TagsBody>) -> Response {
    let TagsBody { resources, set, remove } = body;
    let resources = resources.into_iter().map(Into::into).collect();
    caller.change(&api, Change::Tag { resources, set, remove }).await
}

/// Has those of the changes made that are asked for, wholly or not at all.
async fn several(api: &Api, caller: Caller, changes: [Option<Change>; 3]) -> Response {
    let mut changes: Vec<Change> = changes.into_iter().flatten().collect();
    match changes.pop() {
        None => refuse(RefusalCode::ValidationError, "the request names nothing to change"),
        Some(change) if changes.is_empty() => caller.change(api, change).await,
        Some(last) => {
            changes.push(last);
            caller.change(api, Change::All(changes)).await
        }
    }
}

#[cfg(test)]
mod tests;
