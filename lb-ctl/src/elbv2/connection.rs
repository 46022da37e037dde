//! One connection: its requests by HTTP/1.1, each within its time, until the client, a limit or a newer connection ends it.

use std::{convert::Infallible, future::Future, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::timeout,
};

use super::{fault::Fault, service::request_id};
use crate::server::seats::Seat;

/// Who is at the other end, with the right to be there.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    pub(super) address: SocketAddr,
    seat: Arc<Seat>,
}

impl Visit {
    pub(super) fn new(address: SocketAddr, seat: Seat) -> Visit {
        Visit { address, seat: Arc::new(seat) }
    }

    /// The request has come whole: until its answer the connection keeps its place.
    pub(super) fn work(&self) {
        self.seat.work();
    }
}

/// Serves one connection to its end.
pub(super) async fn serve<S, A>(mut stream: TcpStream, visit: Visit, service: Arc<S>)
where
    S: Fn(Request<Incoming>, Visit) -> A,
    A: Future<Output = Response<Full<Bytes>>>,
{
    tokio::select! {
        () = converse(&mut stream, &visit, service) => drain(&mut stream).await,
        () = visit.seat.displaced() => {}
    }
}

async fn converse<S, A>(stream: &mut TcpStream, visit: &Visit, service: Arc<S>)
where
    S: Fn(Request<Incoming>, Visit) -> A,
    A: Future<Output = Response<Full<Bytes>>>,
{
    let answer = |request| {
        let answer = service(request, visit.clone());
        let visit = visit.clone();
        async move {
            let answer = answer.await;
            visit.seat.rest();
            Ok::<_, Infallible>(answer)
        }
    };
    let (reader, writer) = stream.split();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(tokio::io::join(reader, writer)), service_fn(answer));
    let mut connection = pin!(connection);
    // What a client does wrong below HTTP concerns nobody but itself.
    if timeout(CONNECTION_TIME, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LAST_REQUEST_TIME, connection).await;
    }
}

/// Tells a client that there is no place for it.
pub(super) async fn turn_away(mut stream: TcpStream, _permit: OwnedSemaphorePermit) {
    let fault = Fault::new("ServiceUnavailable", "There are too many connections: try again");
    let body = fault.document(&request_id());
    let answer = format!(
        "HTTP/1.1 {}\r\ncontent-type: text/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        StatusCode::SERVICE_UNAVAILABLE,
        body.len()
    );
    let told = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    };
    // Whoever does not take the answer does not need it.
    if let Ok(Ok(())) = timeout(DRAIN_TIME, told).await {
        drain(&mut stream).await;
    }
}

/// Throws away what still comes: a socket that is closed with bytes unread takes its last answer with it (RFC 9112 section 9.6).
async fn drain(stream: &mut TcpStream) {
    let rest = async {
        let mut unread = [0; 4096];
        for _ in 0..DRAIN_READS {
            if !matches!(stream.read(&mut unread).await, Ok(1..)) {
                break;
            }
        }
    };
    let _ = timeout(DRAIN_TIME, rest).await;
}

/// Time for a request's head; also how long a connection may rest before a request.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// Longest head of a request, in bytes.
const HEAD_BYTES: usize = 64 << 10;

/// How long a client may keep a connection, and how long it has for the request that is under way then.
const CONNECTION_TIME: Duration = Duration::from_secs(120);
const LAST_REQUEST_TIME: Duration = Duration::from_secs(30);

/// How much of what a client goes on sending after the last answer is thrown away, in reads of at most 4,096 bytes, and how long.
const DRAIN_READS: usize = 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);
