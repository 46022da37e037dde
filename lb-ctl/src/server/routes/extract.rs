//! Parts of a request, each refused in JSON, with the key that is wrong.

use axum::{
    RequestPartsExt,
    body::{Body, Bytes, HttpBody},
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{Api, blame};
use crate::{
    api::RefusalCode,
    server::{answer::refuse, limits::BODY_TIME},
};

/// The path's variable segments, decoded.
pub(super) struct Segments<T>(pub(super) T);

impl<T: DeserializeOwned + Send + 'static> FromRequestParts<Api> for Segments<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Segments<T>, Response> {
        let path = parts.extract::<Path<T>>().await;
        let Path(value) = path.map_err(|error| refuse(RefusalCode::BadRequest, error.body_text()))?;
        Ok(Segments(value))
    }
}

/// The query's arguments.
pub(super) struct Arguments<T>(pub(super) T);

impl<T: DeserializeOwned + Send + 'static> FromRequestParts<Api> for Arguments<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Arguments<T>, Response> {
        let query = parts.extract::<Query<T>>().await;
        let Query(value) = query.map_err(|error| blame::query(&error.body_text()).into_response())?;
        Ok(Arguments(value))
    }
}

/// A body in JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Api> for Json<T> {
    type Rejection = Response;

    async fn from_request(request: Request, api: &Api) -> Result<Json<T>, Response> {
        if !is_json(request.headers()) {
            let error = "the body is not said to be JSON: send the header content-type: application/json";
            return Err(refuse(RefusalCode::UnsupportedMediaType, error));
        }
        let bytes = collect(request.into_body(), api.body_bytes).await?;
        let mut reader = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut reader).map_err(unreadable)?;
        let end = reader
            .end()
            .map_err(|error| refuse(RefusalCode::ValidationError, format!("after the body's JSON: {error}")));
        end.map(|()| Json(value))
    }
}

/// The whole of a body, if it is no longer and takes no longer than it may.
pub(super) async fn collect(body: Body, limit: usize) -> Result<Bytes, Response> {
    let too_long = || refuse(RefusalCode::BodyTooLarge, format!("the body is longer than {limit} bytes"));
    // A client that waits for 100 (RFC 9110 section 10.1.1) is sent it once the body is read, thus not here.
    if usize::try_from(body.size_hint().lower()).is_ok_and(|declared| declared > limit) {
        return Err(too_long());
    }
    match timeout(BODY_TIME, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(error)) => Err(refuse(RefusalCode::BadRequest, format!("the body does not come: {error}"))),
        Err(_) => {
            let error = format!("the body did not come within {} s", BODY_TIME.as_secs());
            Err(refuse(RefusalCode::RequestTimeout, error))
        }
    }
}

fn unreadable(error: serde_path_to_error::Error<serde_json::Error>) -> Response {
    let path = error.path().to_string();
    let error = error.into_inner();
    match error.is_data() {
        true => (StatusCode::UNPROCESSABLE_ENTITY, axum::Json(blame::value(&path, &error.to_string())))
            .into_response(),
        false => refuse(RefusalCode::ValidationError, format!("the body is no JSON: {error}")),
    }
}

/// A body without a type is taken for what it has to be.
fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_none_or(|value| {
        let kind = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/json")
    })
}
