//! gRPC check: one call of `grpc.health.v1.Health/Check` (gRPC "Health Checking Protocol", "gRPC over HTTP/2").

use std::{net::SocketAddr, pin::pin, task::Poll};

use h2::client::SendRequest;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Cause, GrpcProbe,
    http::USER_AGENT,
    socket::{Place, Stream},
};

impl GrpcProbe {
    pub(super) async fn check(&self, endpoint: SocketAddr, place: &Place) -> Result<(), Cause> {
        let stream = Stream::connect(endpoint, place).await?;
        match &self.tls {
            None => self.ask(stream, "http").await,
            Some(tls) => self.ask(tls.connect(stream, endpoint, &[b"h2"]).await?, "https").await,
        }
    }

    /// Makes the call while it drives the connection.
    async fn ask(&self, stream: impl AsyncRead + AsyncWrite + Unpin, scheme: &str) -> Result<(), Cause> {
        let mut builder = h2::client::Builder::new();
        builder.enable_push(false).max_header_list_size(HEADER_LIST_BYTES);
        let (sender, connection) = builder.handshake(stream).await?;
        let mut connection = pin!(connection);
        let mut call = pin!(self.call(sender, scheme));
        std::future::poll_fn(|context| {
            if let Poll::Ready(outcome) = call.as_mut().poll(context) {
                return Poll::Ready(outcome);
            }
            let ended = connection.as_mut().poll(context);
            match (call.as_mut().poll(context), ended) {
                (Poll::Pending, Poll::Ready(Ok(()))) => Poll::Ready(Err(Cause::Closed)),
                (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(error.into())),
                (outcome, _) => outcome,
            }
        })
        .await
    }

    async fn call(&self, sender: SendRequest<bytes::Bytes>, scheme: &str) -> Result<(), Cause> {
        let mut sender = sender.ready().await?;
        let (answer, mut body) = sender.send_request(self.request(scheme)?, false)?;
        body.send_data(message(&self.service).into(), true)?;
        let (head, mut body) = answer.await?.into_parts();
        if head.status != ::http::StatusCode::OK {
            return Err(Cause::Code(head.status.as_u16()));
        }
        status(&head.headers)?;
        let mut received = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            received.extend_from_slice(&data);
            if received.len() > MESSAGE_BYTES {
                return Err(Cause::Malformed);
            }
        }
        status(&body.trailers().await?.unwrap_or_default())?;
        match serving_status(&received) {
            Some(SERVING) => Ok(()),
            Some(_) => Err(Cause::NotServing),
            None => Err(Cause::Malformed),
        }
    }

    fn request(&self, scheme: &str) -> Result<::http::Request<()>, Cause> {
        let request = ::http::Request::post(format!("{scheme}://{}{METHOD}", self.host))
            .version(::http::Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", USER_AGENT)
            .body(());
        request.map_err(|_| Cause::Internal)
    }
}

/// Fails if these headers or trailers tell another status than `OK`.
fn status(headers: &::http::HeaderMap) -> Result<(), Cause> {
    let Some(status) = headers.get("grpc-status") else { return Ok(()) };
    match status.to_str().ok().and_then(|digits| digits.parse().ok()) {
        Some(0) => Ok(()),
        Some(code) => Err(Cause::GrpcStatus(code)),
        None => Err(Cause::Malformed),
    }
}

/// `HealthCheckRequest { service = 1 }`, uncompressed, with its length in front.
fn message(service: &str) -> Vec<u8> {
    let mut field = Vec::new();
    if !service.is_empty() {
        field.push(FIELD_1 | LENGTH_DELIMITED);
        let mut length = service.len();
        while length >= 0x80 {
            field.push(length as u8 | 0x80);
            length >>= 7;
        }
        field.push(length as u8);
        field.extend_from_slice(service.as_bytes());
    }
    let mut message = vec![UNCOMPRESSED];
    message.extend_from_slice(&(field.len() as u32).to_be_bytes());
    message.extend_from_slice(&field);
    message
}

/// The status in a `HealthCheckResponse { status = 1 }`; fields that are not known are passed over.
fn serving_status(framed: &[u8]) -> Option<u64> {
    let (prefix, mut rest) = framed.split_at_checked(PREFIX_BYTES)?;
    if prefix[0] != UNCOMPRESSED || prefix[1..] != (rest.len() as u32).to_be_bytes() {
        return None;
    }
    let mut status = 0;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        match (tag, tag & WIRE_TYPE) {
            (STATUS, _) => status = varint(&mut rest)?,
            (_, 0) => _ = varint(&mut rest)?,
            (_, 1) => rest = rest.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            (_, 5) => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

/// Takes a number off the front (Protocol Buffers "Base 128 Varints").
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

impl From<h2::Error> for Cause {
    fn from(error: h2::Error) -> Cause {
        match error.get_io() {
            Some(error) => Cause::from(error),
            None if error.is_reset() => Cause::Reset,
            None => Cause::Malformed,
        }
    }
}

const METHOD: &str = "/grpc.health.v1.Health/Check";
/// `ServingStatus.SERVING`.
const SERVING: u64 = 1;
const FIELD_1: u8 = 1 << 3;
const LENGTH_DELIMITED: u8 = 2;
/// Tag of field 1 as a varint.
const STATUS: u64 = FIELD_1 as u64;
const WIRE_TYPE: u64 = 7;
const UNCOMPRESSED: u8 = 0;
const PREFIX_BYTES: usize = 5;
/// Most of an answer that is read.
const MESSAGE_BYTES: usize = 4 << 10;
const HEADER_LIST_BYTES: u32 = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        [&[UNCOMPRESSED][..], &(message.len() as u32).to_be_bytes(), message].concat()
    }

    #[test]
    fn a_status_is_found_among_fields_of_every_kind() {
        for (fields, expected) in [
            (&[][..], Some(0)),
            (&[0x08, 1], Some(SERVING)),
            (&[0x08, 2], Some(2)),
            (&[0x08, 2, 0x08, 1], Some(SERVING)),
            (
                &[0x10, 0x80, 1, 0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x22, 2, 8, 2, 0x2d, 1, 2, 3, 4, 0x08, 1],
                Some(SERVING),
            ),
            (&[0x08], None),
            (&[0x08, 0x80], None),
            (&[0x22, 9, 1], None),
            (&[0x13], None),
            (&[0xff; 11], None),
        ] {
            assert_eq!(serving_status(&framed(fields)), expected, "{fields:x?}");
        }
    }

    #[test]
    fn a_message_that_is_cut_or_compressed_has_no_status() {
        let whole = framed(&[0x08, 1]);
        assert!((0..whole.len()).all(|length| serving_status(&whole[..length]).is_none()));
        assert_eq!(serving_status(&[&[1], &whole[1..]].concat()), None);
    }

    #[test]
    fn a_long_name_has_a_long_length() {
        assert_eq!(message(""), framed(&[]));
        let name = "s".repeat(300);
        assert_eq!(message(&name), framed(&[&[0x0a, 0xac, 0x02], name.as_bytes()].concat()));
    }
}
