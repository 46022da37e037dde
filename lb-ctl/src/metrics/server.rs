//! Serves metrics by HTTP on a TCP address, on a thread of its own. Scrapers that are slow, or many, cost nobody but themselves.

use std::{convert::Infallible, fmt, io, net::SocketAddr, sync::Arc, thread::JoinHandle, time::Duration};

use axum::{
    http::{Method, Request, StatusCode, header::ALLOW},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use crate::server::{
    Call, Deliver, Limits, answer,
    seats::{Holder, Seat, Seats},
};

/// The running server. Dropping it stops the thread.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why the server cannot be started.
#[derive(Debug)]
pub struct MetricsServerError {
    listen: SocketAddr,
    source: io::Error,
}

impl MetricsServer {
    /// Listens on an address; port 0 is any that is free. `deliver` hands a call to the control thread, and must not block.
    pub fn start(
        listen: SocketAddr,
        deliver: impl Fn(Call) + Send + Sync + 'static,
    ) -> Result<MetricsServer, MetricsServerError> {
        let system = |source| MetricsServerError { listen, source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
        let listener = runtime.block_on(TcpListener::bind(listen)).map_err(system)?;
        let address = listener.local_addr().map_err(system)?;
        let deliver = Deliver::new(deliver);
        let (stop, stopped) = oneshot::channel::<()>();
        let run = move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = accept(listener, deliver) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("metrics".into()).spawn(run).map_err(system)?;
        Ok(MetricsServer { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Display for MetricsServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metrics.listen: cannot listen on {}: {}", self.listen, self.source)
    }
}

impl std::error::Error for MetricsServerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Takes connections, so many at a time. One who is silent makes room for another, so that nobody keeps scrapers out by doing
/// nothing.
async fn accept(listener: TcpListener, deliver: Deliver) {
    let seats = Seats::new(Limits {
        connections: CONNECTIONS,
        connections_per_user: CONNECTIONS,
        ..Limits::default()
    });
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // No descriptor is free, or the peer is gone: neither is mended by asking at once.
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let Some(seat) = seats.take(Holder::Address(peer.ip())).map(Arc::new) else { continue };
        let serving = tokio::time::timeout(CONNECTION_TIME, serve(stream, deliver.clone(), seat.clone()));
        tokio::spawn(async move {
            tokio::select! {
                _ = serving => {} // A scraper that is too slow, or breaks off, has itself to blame.
                () = seat.displaced() => {}
            }
        });
    }
}

async fn serve(stream: TcpStream, deliver: Deliver, seat: Arc<Seat>) -> hyper::Result<()> {
    let service = service_fn(move |request| {
        seat.work();
        let deliver = deliver.clone();
        async move { Ok::<_, Infallible>(answer(&request, &deliver).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn answer(request: &Request<Incoming>, deliver: &Deliver) -> Response {
    match (request.method(), request.uri().path()) {
        (&Method::GET, PATH) => answer::metrics(deliver).await,
        (_, PATH) => (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET")], "expected GET\n").into_response(),
        _ => (StatusCode::NOT_FOUND, format!("expected the path {PATH}\n")).into_response(),
    }
}

/// Where metrics are.
const PATH: &str = "/metrics";

/// Connections at a time.
const CONNECTIONS: usize = 8;

/// Time that a whole scrape may take, from the connection to the last byte of the answer.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// Time for the head of a request.
const HEADER_TIME: Duration = Duration::from_secs(5);

/// Longest head of a request, in bytes; the library takes no less.
const HEADER_BYTES: usize = 8_192;

/// How soon connections are taken again after that has failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
