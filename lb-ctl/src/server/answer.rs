//! Answers: what the control thread says, and what is refused before it hears of it.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{Call, Deliver, Reply};
use crate::{
    api::{Refusal, RefusalCode},
    metrics,
};

/// The control thread's answer to a call, or what the client is told instead.
pub(super) async fn ask<T>(deliver: &Deliver, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, Response> {
    deliver.ask(call).await.map_err(|(status, refusal)| (status, Json(refusal)).into_response())
}

/// The same as JSON.
pub(super) async fn tell<T: Serialize>(deliver: &Deliver, call: impl FnOnce(Reply<T>) -> Call) -> Response {
    ask(deliver, call).await.map_or_else(|refused| refused, |answer| Json(answer).into_response())
}

/// Metrics, as text.
pub(crate) async fn metrics(deliver: &Deliver) -> Response {
    match ask(deliver, Call::Metrics).await {
        Ok(metrics) => {
            ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::expose(metrics)).into_response()
        }
        Err(refused) => refused,
    }
}

/// A refusal as an answer.
pub(super) fn refuse(code: RefusalCode, error: impl Into<String>) -> Response {
    Refusal::of(code, error).into_response()
}

pub(super) fn too_many_streams() -> Response {
    let error = "you follow as many streams as you may: end another first";
    refuse(RefusalCode::ServiceUnavailable, error)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (status(&self), Json(self)).into_response()
    }
}

pub(super) fn status(refusal: &Refusal) -> StatusCode {
    use RefusalCode::*;
    match refusal.code {
        Some(
            LoadBalancerNotFound | ListenerNotFound | RuleNotFound | TargetGroupNotFound | SubnetNotFound
            | NotFound,
        ) => StatusCode::NOT_FOUND,
        Some(AccessDenied) => StatusCode::FORBIDDEN,
        Some(GenerationMismatch) => StatusCode::PRECONDITION_FAILED,
        Some(StoreUnwritable | ServiceUnavailable) => StatusCode::SERVICE_UNAVAILABLE,
        Some(MethodNotAllowed) => StatusCode::METHOD_NOT_ALLOWED,
        Some(UnsupportedMediaType) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Some(BodyTooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        Some(RequestTimeout) => StatusCode::REQUEST_TIMEOUT,
        Some(
            InvalidTarget
            | InvalidSubnet
            | InvalidConfigurationRequest
            | ValidationError
            | IncompatibleProtocols
            | UnsupportedProtocol
            | BadRequest,
        ) => StatusCode::BAD_REQUEST,
        _ => StatusCode::CONFLICT,
    }
}

/// A whole answer to a client whose request nobody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// Its user has no role.
    Stranger,
    /// No name in its certificate has a role.
    Unnamed,
    /// There are too many connections.
    Crowd,
}

impl Farewell {
    /// The bytes of the answer, always the same.
    pub(super) fn bytes(self) -> Vec<u8> {
        let (status, refusal) = match self {
            Farewell::Stranger => ("403 Forbidden", Refusal::of(RefusalCode::AccessDenied, STRANGER)),
            Farewell::Unnamed => ("403 Forbidden", Refusal::of(RefusalCode::AccessDenied, UNNAMED)),
            Farewell::Crowd => {
                ("503 Service Unavailable", Refusal::of(RefusalCode::ServiceUnavailable, CROWD))
            }
        };
        let body = serde_json::json!(refusal).to_string();
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// An answer that is lines of JSON.
pub(super) fn lines(body: axum::body::Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    response
}

const STRANGER: &str = "your user may not use this socket: it takes root, lbd's own user, or a member of a group that \
                        control_api.read_write_groups or control_api.read_only_groups names";
const UNNAMED: &str =
    "no name in your certificate may use this API: see control_api.tcp.read_write and read_only";
const CROWD: &str = "there are too many connections: try again, and close those that are not needed";
