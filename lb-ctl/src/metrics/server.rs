//! Serves metrics by HTTP on a TCP address, on a thread of its own. Scrapers that are slow, or many, cost nobody but themselves.

use std::{convert::Infallible, fmt, io, net::SocketAddr, sync::Arc, thread::JoinHandle, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderName},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, oneshot},
};

use crate::server::{Call, Deliver};

use super::{CONTENT_TYPE as OPEN_METRICS, expose};

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

/// Takes connections, so many at a time; those beyond are closed at once.
async fn accept(listener: TcpListener, deliver: Deliver) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // No descriptor is free, or the peer is gone: neither is mended by asking at once.
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let deliver = deliver.clone();
        tokio::spawn(async move {
            // A scraper that is too slow, or breaks off, has itself to blame.
            let _ = tokio::time::timeout(CONNECTION_TIME, serve(stream, deliver)).await;
            drop(place);
        });
    }
}

async fn serve(stream: TcpStream, deliver: Deliver) -> hyper::Result<()> {
    let service = service_fn(move |request| {
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

async fn answer(request: &Request<Incoming>, deliver: &Deliver) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, PATH) => match deliver.ask(Call::Metrics).await {
            Ok(metrics) => text(StatusCode::OK, (CONTENT_TYPE, OPEN_METRICS), expose(metrics)),
            Err((status, refusal)) => text(status, PLAIN, refusal.error + "\n"),
        },
        (_, PATH) => text(StatusCode::METHOD_NOT_ALLOWED, (ALLOW, "GET"), "expected GET\n".into()),
        _ => text(StatusCode::NOT_FOUND, PLAIN, format!("expected the path {PATH}\n")),
    }
}

fn text(status: StatusCode, header: (HeaderName, &'static str), body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header.0, hyper::header::HeaderValue::from_static(header.1));
    response
}

/// Where metrics are.
const PATH: &str = "/metrics";

const PLAIN: (HeaderName, &str) = (CONTENT_TYPE, "text/plain; charset=utf-8");

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
