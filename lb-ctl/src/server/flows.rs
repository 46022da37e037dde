//! Requests about flows: `GET /v1/flows` and `GET /v1/why`.

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::Response,
};

use super::{Call, Deliver, ask, refuse};
use crate::api::{FLOWS_LISTED, FlowsQuery, WhyQuery};

pub(super) async fn flows(
    State(deliver): State<Deliver>,
    query: Result<Query<FlowsQuery>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(query)) if query.limit.is_none_or(|limit| limit <= FLOWS_LISTED) => {
            ask(&deliver, |reply| Call::Flows { query, reply }).await
        }
        Ok(_) => refuse(StatusCode::BAD_REQUEST, &format!("limit is a number up to {FLOWS_LISTED}")),
        Err(rejection) => refuse(StatusCode::BAD_REQUEST, &rejection.body_text()),
    }
}

pub(super) async fn why(
    State(deliver): State<Deliver>,
    query: Result<Query<WhyQuery>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(query)) => match query.key() {
            Ok(key) => ask(&deliver, |reply| Call::Why { query, key, reply }).await,
            Err(error) => refuse(StatusCode::BAD_REQUEST, &error),
        },
        Err(rejection) => {
            refuse(StatusCode::BAD_REQUEST, &format!("{}; {WHY_EXPECTED}", rejection.body_text()))
        }
    }
}

const WHY_EXPECTED: &str =
    "expected client=198.18.0.2:40000&vip=198.18.100.1:80&protocol=tcp, IPv6 addresses in brackets";
