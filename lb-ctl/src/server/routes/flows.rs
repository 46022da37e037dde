//! Requests about flows: `GET /v1/flows` and `GET /v1/why`.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};

use super::{Api, Call, extract::Arguments, refuse, tell};
use crate::api::{FLOWS_LISTED, FlowsQuery, Refusal, RefusalCode, WhyQuery};

pub(super) async fn list(State(api): State<Api>, Arguments(query): Arguments<FlowsQuery>) -> Response {
    match query.limit {
        Some(limit) if limit > FLOWS_LISTED => {
            let error = format!("limit is a number up to {FLOWS_LISTED}");
            Refusal::of(RefusalCode::ValidationError, error).at("limit").into_response()
        }
        _ => tell(&api.deliver, |reply| Call::Flows { query, reply }).await,
    }
}

pub(super) async fn why(State(api): State<Api>, Arguments(query): Arguments<WhyQuery>) -> Response {
    match query.key() {
        Ok(key) => tell(&api.deliver, |reply| Call::Why { query, key, reply }).await,
        Err(error) => refuse(RefusalCode::ValidationError, error),
    }
}
