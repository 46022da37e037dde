//! Configuration files: applied, compared, written.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};

use super::{Api, changes::Caller, extract::collect};
use crate::{
    api::{Refusal, RefusalCode},
    change::Change,
    config::Document,
    server::{
        Call,
        answer::{ask, tell},
    },
};

pub(super) async fn apply(State(api): State<Api>, caller: Caller, File(file): File) -> Response {
    caller.change(&api, Change::Apply(file)).await
}

pub(super) async fn diff(State(api): State<Api>, File(file): File) -> Response {
    tell(&api.deliver, |reply| Call::Differences { file, reply }).await
}

pub(super) async fn export(State(api): State<Api>) -> Response {
    match ask(&api.deliver, Call::Export).await {
        Ok(text) => ([(header::CONTENT_TYPE, "application/toml")], text).into_response(),
        Err(refused) => refused,
    }
}

/// A body that is a configuration file, in TOML or, if it is said to be JSON, in JSON.
pub(super) struct File(Document);

impl FromRequest<Api> for File {
    type Rejection = Response;

    async fn from_request(request: Request, api: &Api) -> Result<File, Response> {
        let is_json = is_json(request.headers()).map_err(Refusal::into_response)?;
        let bytes = collect(request.into_body(), api.body_bytes).await?;
        let text = text(&bytes).map_err(Refusal::into_response)?;
        let file = if is_json { Document::parse_json(text, NAME) } else { Document::parse(text, NAME) };
        file.map(File).map_err(|errors| Refusal::of_file(&errors).into_response())
    }
}

fn text(bytes: &Bytes) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes)
        .map_err(|error| Refusal::of(RefusalCode::BadRequest, format!("the body is not text: {error}")))
}

fn is_json(headers: &HeaderMap) -> Result<bool, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).map_or(Ok("application/toml"), |value| value.to_str());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/json" => Ok(true),
        "application/toml" | "text/plain" => Ok(false),
        _ => Err(Refusal::of(
            RefusalCode::UnsupportedMediaType,
            "a file is TOML or JSON: send the header content-type: application/toml or application/json",
        )),
    }
}

/// The file's name in errors.
const NAME: &str = "file";
