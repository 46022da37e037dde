//! Answers that come bit by bit from a thread of their own, which waits for a slow reader so that nobody else has to.

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::Response,
};
use futures_util::stream::unfold;
use tokio::sync::mpsc;

use super::connection::Endless;

/// What is to come.
#[derive(Debug)]
pub struct Stream(mpsc::Receiver<Bytes>);

/// Where it comes from. Dropped, it ends the stream.
#[derive(Debug)]
pub struct StreamWriter(mpsc::Sender<Bytes>);

/// Nobody reads the stream any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread;

/// A stream that nothing has been written to.
pub fn stream() -> (StreamWriter, Stream) {
    let (sender, receiver) = mpsc::channel(PARTS);
    (StreamWriter(sender), Stream(receiver))
}

impl StreamWriter {
    /// Writes the next part. Waits for the reader, but not for one who takes nothing for ten seconds: he is cut off.
    pub fn write(&self, part: Vec<u8>) -> Result<(), Unread> {
        self.0.blocking_send(part.into()).map_err(|_| Unread)
    }
}

impl Stream {
    /// As an answer of a media type.
    pub(super) fn into_answer(self, content_type: &'static str) -> Response {
        let parts = unfold(self.0, |mut parts| async move {
            let part = parts.recv().await?;
            Some((Ok::<_, Infallible>(part), parts))
        });
        let mut response = Response::new(Body::from_stream(parts));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        response.extensions_mut().insert(Endless);
        response
    }
}

/// Parts that wait to be sent.
const PARTS: usize = 4;
