//! What all changes of objects have in common: who asks, and against which generation.

use axum::{
    Json,
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{Api, blame::Subject};
use crate::{
    api::{Refusal, RefusalCode},
    change::Change,
    server::{Call, ChangeCall, Snapshot, answer::ask, connection::Client},
};

/// Who asks for a change, and of which generation the objects must be (`If-Match`, RFC 9110 section 13.1.1).
pub(super) struct Caller {
    by: crate::server::Caller,
    expected_generation: Option<u64>,
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Caller, Response> {
        let by = parts.extensions.get::<Client>().map(|client| client.caller.clone()).unwrap_or_default();
        let expected_generation = expected_generation(&parts.headers).map_err(Refusal::into_response)?;
        Ok(Caller { by, expected_generation })
    }
}

impl Caller {
    /// Has a change made, and tells the generation that has it.
    pub(super) async fn change(self, api: &Api, change: Change) -> Response {
        let Caller { by, expected_generation } = self;
        let subject = Subject::of(&change);
        let call = |reply| Call::Change(ChangeCall { change, expected_generation, by, reply });
        match api.deliver.ask(call).await {
            Ok(changed) => with_etag(changed.in_force.generation, &changed.in_force),
            Err((status, refusal)) => (status, Json(subject.own_keys(refusal))).into_response(),
        }
    }

    /// Who asks.
    pub(super) fn into_inner(self) -> crate::server::Caller {
        self.by
    }
}

/// What a reader makes of the objects, with their generation.
pub(super) async fn read<T: Serialize>(
    api: &Api,
    view: impl FnOnce(&Snapshot) -> Result<T, Refusal>,
) -> Response {
    match ask(&api.deliver, Call::Snapshot).await {
        Err(refused) => refused,
        Ok(snapshot) => match view(&snapshot) {
            Ok(value) => with_etag(snapshot.generation, &value),
            Err(refusal) => refusal.into_response(),
        },
    }
}

fn with_etag(generation: u64, value: &impl Serialize) -> Response {
    let mut response = Json(value).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{generation}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn expected_generation(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    match value.to_str().unwrap_or_default().trim() {
        "*" => Ok(None),
        tag => match tag.trim_matches('"').parse() {
            Ok(generation) => Ok(Some(generation)),
            Err(_) => Err(Refusal::of(
                RefusalCode::ValidationError,
                "if-match is the generation that an answer's etag told, such as \"17\"",
            )),
        },
    }
}
