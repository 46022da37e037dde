//! Answers one request: who asks, for which operation, and the answer's document.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use http::{Method, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use tokio::time::{Duration, timeout};

use super::{
    control::Control,
    fault::Fault,
    form::Form,
    keys::Keys,
    operation::{self, Operation},
    sigv4,
    xml::Element,
};
use crate::{config::Elbv2, hex, server::Caller};

/// What answers requests.
pub(super) struct Service {
    pub(super) settings: Elbv2,
    pub(super) keys: Arc<Keys>,
    pub(super) control: Control,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Client {
    /// Id of the key that signed the request; `None`: nobody had to sign.
    pub(super) key: Option<String>,
    pub(super) address: SocketAddr,
    may_change: bool,
}

impl Service {
    /// The answer to a request, whatever it is.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        client: SocketAddr,
    ) -> Response<Full<Bytes>> {
        let id = request_id();
        let (status, document) = match self.carry_out(request, client, &id).await {
            Ok(document) => (StatusCode::OK, document),
            Err(fault) => (fault.status(), fault.document(&id)),
        };
        let mut response = Response::new(Full::new(Bytes::from(document)));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/xml"));
        if let Ok(id) = id.parse() {
            response.headers_mut().insert("x-amzn-requestid", id);
        }
        response
    }

    async fn carry_out(
        &self,
        request: Request<Incoming>,
        address: SocketAddr,
        id: &str,
    ) -> Result<String, Fault> {
        let (head, body) = request.into_parts();
        if head.uri.path() != "/" {
            return Err(Fault::new("InvalidAction", "This API has one path: /"));
        }
        let body = read(body).await?;
        let client = self.identify(&head, &body, address)?;
        let form = match head.method {
            Method::POST => Form::parse(&body)?,
            Method::GET => Form::parse(head.uri.query().unwrap_or_default().as_bytes())?,
            method => return Err(Fault::new("InvalidAction", format!("{method} is neither POST nor GET"))),
        };
        let operation = operation::of(&form)?;
        authorize(&client, &head, operation)?;
        let result = operation.carry_out(&form, &client, self).await?;
        let metadata = Element::new("ResponseMetadata").with_text("RequestId", id);
        let answer = Element::new(format!("{}Response", operation.action)).with(result).with(metadata);
        Ok(answer.document())
    }

    fn identify(&self, head: &Parts, body: &[u8], address: SocketAddr) -> Result<Client, Fault> {
        let Some(keys) = self.keys.now() else {
            refuse_browsers(head)?;
            return Ok(Client { key: None, address, may_change: true });
        };
        let key = sigv4::verify(head, body, &self.settings.region, &keys, SystemTime::now())?;
        Ok(Client { key: Some(key.id.clone()), address, may_change: !key.is_read_only })
    }
}

impl Client {
    /// As the audit line names it.
    pub(super) fn caller(&self) -> Caller {
        match &self.key {
            Some(key) => Caller(format!("key {key} from {}", self.address)),
            None => Caller(format!("an unsigned request from {}", self.address)),
        }
    }
}

/// What a page in a browser can make it send without a signature must not change anything: GET is for reading.
fn authorize(client: &Client, head: &Parts, operation: &Operation) -> Result<(), Fault> {
    if operation.reads_alone() {
        return Ok(());
    }
    let action = operation.action;
    match &client.key {
        Some(key) if !client.may_change => Err(Fault::new(
            "AccessDenied",
            format!(
                "User: {key} is not authorized to perform: elasticloadbalancing:{action}: the key is read-only"
            ),
        )),
        None if head.method != Method::POST => {
            Err(Fault::new("AccessDenied", format!("{action} without a signature takes POST")))
        }
        _ => Ok(()),
    }
}

/// A browser on this host can be made to send forms to loopback by any page that it shows; it says so by these headers.
fn refuse_browsers(head: &Parts) -> Result<(), Fault> {
    match ["origin", "sec-fetch-site"].into_iter().find(|name| head.headers.contains_key(*name)) {
        Some(name) => {
            Err(Fault::new("AccessDenied", format!("requests of browsers (header {name}) must be signed")))
        }
        None => Ok(()),
    }
}

async fn read(body: Incoming) -> Result<Bytes, Fault> {
    match timeout(BODY_TIME, Limited::new(body, BODY_BYTES).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Fault::new("RequestEntityTooLarge", format!("the body is longer than {BODY_BYTES} bytes")))
        }
        Ok(Err(error)) => Err(Fault::new("IncompleteBody", format!("the body did not come whole: {error}"))),
        Err(_) => Err(Fault::new("RequestTimeout", "the body did not come in time")),
    }
}

/// Random, by the form of a UUID. Without randomness there is only one, which is no error worth an answer.
fn request_id() -> String {
    let mut bytes = [0; 16];
    let _ = getrandom::fill(&mut bytes);
    let digits = hex::digits(&bytes);
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}

/// Longest body of a request, in bytes: a thousand targets are a tenth of that.
const BODY_BYTES: usize = 1 << 20;

/// Time for a request's body.
const BODY_TIME: Duration = Duration::from_secs(10);
