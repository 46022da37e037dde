//! Listens by TCP, on a thread of its own: takes connections, a bounded number, each for a bounded time, and serves HTTP/1.1.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    pin::pin,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::{sleep, timeout},
};

/// The running server. Dropping it stops the thread.
#[derive(Debug)]
pub(super) struct HttpServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why it cannot be started.
#[derive(Debug)]
pub(super) struct HttpServerError {
    listen: SocketAddr,
    error: io::Error,
}

impl HttpServer {
    /// Listens on `listen`, and has every request answered by `service`, which is told the client's address.
    ///
    /// # Errors
    /// The system's, when the address is in use for instance.
    pub(super) fn start<S, A>(listen: SocketAddr, service: S) -> Result<HttpServer, HttpServerError>
    where
        S: Fn(Request<Incoming>, SocketAddr) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        HttpServer::begin(listen, service).map_err(|error| HttpServerError { listen, error })
    }

    fn begin<S, A>(listen: SocketAddr, service: S) -> io::Result<HttpServer>
    where
        S: Fn(Request<Incoming>, SocketAddr) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let run = move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = accept(listener, Arc::new(service)) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("elbv2".into()).spawn(run)?;
        Ok(HttpServer { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Display for HttpServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "elbv2.listen: cannot listen on {}: {}", self.listen, self.error)
    }
}

impl std::error::Error for HttpServerError {}

/// Takes connections for ever. One that comes while all seats are taken is told so, unread.
async fn accept<S, A>(listener: tokio::net::TcpListener, service: Arc<S>)
where
    S: Fn(Request<Incoming>, SocketAddr) -> A + Send + Sync + 'static,
    A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let seats = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, client)) => match seats.clone().try_acquire_owned() {
                Ok(seat) => drop(tokio::spawn(serve(stream, client, service.clone(), seat))),
                Err(_) => turn_away(stream),
            },
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// A client that does not take the answer at once gets none.
fn turn_away(stream: TcpStream) {
    let _ = stream.into_std().and_then(|mut stream| stream.write_all(BUSY));
}

/// Serves one connection to its end, which the client makes or a time limit.
async fn serve<S, A>(stream: TcpStream, client: SocketAddr, service: Arc<S>, _seat: OwnedSemaphorePermit)
where
    S: Fn(Request<Incoming>, SocketAddr) -> A,
    A: Future<Output = Response<Full<Bytes>>>,
{
    let answer = |request| {
        let answer = service(request, client);
        async { Ok::<_, Infallible>(answer.await) }
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    let mut connection = pin!(connection);
    // What a client does wrong below HTTP concerns nobody but itself.
    if timeout(CONNECTION_TIME, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LAST_REQUEST_TIME, connection).await;
    }
}

/// Connections at one time.
const CONNECTIONS: usize = 64;

/// Time for a request's head; also how long a connection may rest before a request.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// Longest head of a request, in bytes.
const HEAD_BYTES: usize = 64 << 10;

/// How long a client may keep a connection, and how long it has for the request that is under way then.
const CONNECTION_TIME: Duration = Duration::from_secs(120);
const LAST_REQUEST_TIME: Duration = Duration::from_secs(30);

/// Pause after a connection could not be accepted, for want of file descriptors for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

#[cfg(test)]
mod tests {
    use std::{io::Read, net::TcpStream};

    use super::*;

    fn start() -> HttpServer {
        let hello =
            |_: Request<Incoming>, _| async { Response::new(Full::new(Bytes::from_static(b"hello"))) };
        HttpServer::start("127.0.0.1:0".parse().unwrap(), hello).unwrap()
    }

    fn ask(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET / HTTP/1.1\r\nhost: lbd\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer); // One that is turned away may be reset.
        answer
    }

    #[test]
    fn requests_are_answered_until_it_is_dropped() {
        let server = start();
        let address = server.address();
        assert!(ask(address).ends_with("hello"));
        let taken = HttpServer::start(address, |_, _| async { Response::default() }).unwrap_err();
        assert!(
            taken.to_string().starts_with(&format!("elbv2.listen: cannot listen on {address}")),
            "{taken}"
        );
        drop(server);
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn one_connection_too_many_is_turned_away_and_the_next_served() {
        let server = start();
        let mut idle: Vec<_> =
            (0..CONNECTIONS).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
        let mut surplus = TcpStream::connect(server.address()).unwrap();
        let mut answer = String::new();
        surplus.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        idle.clear();
        while !ask(server.address()).ends_with("hello") {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
