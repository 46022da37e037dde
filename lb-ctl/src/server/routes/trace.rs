//! Requests to follow frames: `GET /v1/trace` and `GET /v1/capture`.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};

use super::{Api, Call, changes::Caller, extract::Arguments};
use crate::{
    api::{Refusal, RefusalCode, TraceQuery},
    capture::pcapng,
    server::answer::ask,
};

pub(super) async fn trace(State(api): State<Api>, Arguments(query): Arguments<TraceQuery>) -> Response {
    if query.snap.is_some() {
        let error = "a trace tells of headers, not of what is in frames: ask for a capture";
        return Refusal::of(RefusalCode::ValidationError, error).at("snap").into_response();
    }
    if let Err(refusal) = query.check() {
        return refusal.into_response();
    }
    let stream = ask(&api.deliver, |reply| Call::Trace { query, reply }).await;
    stream.map_or_else(|refused| refused, |stream| stream.into_answer("application/x-ndjson"))
}

pub(super) async fn capture(
    State(api): State<Api>,
    caller: Caller,
    Arguments(query): Arguments<TraceQuery>,
) -> Response {
    if let Err(refusal) = query.check() {
        return refusal.into_response();
    }
    let stream = ask(&api.deliver, |reply| Call::Capture { query, by: caller.into_inner(), reply }).await;
    stream.map_or_else(|refused| refused, |stream| stream.into_answer(pcapng::CONTENT_TYPE))
}
