//! Listens by TCP, on a thread of its own, and takes connections: a bounded number, of which idle ones make room for new ones.

use std::{
    fmt,
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use tokio::{
    sync::{Semaphore, oneshot},
    task::yield_now,
    time::sleep,
};

use super::connection::{self, Visit};
use crate::server::{
    Limits,
    seats::{Holder, Seats},
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
    /// Listens on `listen`, and has every request answered by `service`, which is told who comes. `beside` runs on the
    /// same thread meanwhile, for ever.
    ///
    /// # Errors
    /// The system's, when the address is in use for instance.
    pub(super) fn start<S, A>(
        listen: SocketAddr,
        service: S,
        beside: impl Future<Output = ()> + Send + 'static,
    ) -> Result<HttpServer, HttpServerError>
    where
        S: Fn(Request<Incoming>, Visit) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        HttpServer::begin(listen, service, beside).map_err(|error| HttpServerError { listen, error })
    }

    fn begin<S, A>(
        listen: SocketAddr,
        service: S,
        beside: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<HttpServer>
    where
        S: Fn(Request<Incoming>, Visit) -> A + Send + Sync + 'static,
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
                    () = beside => {}
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

/// Takes connections for ever. One that comes while all others work is told so, unread.
async fn accept<S, A>(listener: tokio::net::TcpListener, service: Arc<S>)
where
    S: Fn(Request<Incoming>, Visit) -> A + Send + Sync + 'static,
    A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let seats = Seats::new(Limits {
        connections: CONNECTIONS,
        connections_per_user: CONNECTIONS_OF_ADDRESS,
        ..Limits::default()
    });
    let farewells = Arc::new(Semaphore::new(FAREWELLS));
    loop {
        match listener.accept().await {
            Ok((stream, client)) => match seats.take(Holder::Address(client.ip().to_canonical())) {
                Some(seat) => {
                    let visit = Visit::new(client, seat);
                    drop(tokio::spawn(connection::serve(stream, visit, service.clone())));
                }
                None => {
                    if let Ok(permit) = farewells.clone().try_acquire_owned() {
                        drop(tokio::spawn(connection::turn_away(stream, permit)));
                    }
                }
            },
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
        yield_now().await; // Whoever came first shall be read first.
    }
}

/// Connections at one time, of all and of one address.
const CONNECTIONS: usize = 512;
const CONNECTIONS_OF_ADDRESS: usize = 128;

/// Clients that are told at one time why they are turned away. More are cut off without a word.
const FAREWELLS: usize = 32;

/// Pause after a connection could not be accepted, for want of file descriptors for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        io::{Read, Write},
        net::TcpStream,
    };

    use super::*;

    fn start() -> HttpServer {
        let hello =
            |_: Request<Incoming>, _| async { Response::new(Full::new(Bytes::from_static(b"hello"))) };
        HttpServer::start("127.0.0.1:0".parse().unwrap(), hello, pending()).unwrap()
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
        let taken = HttpServer::start(address, |_, _| async { Response::default() }, pending()).unwrap_err();
        assert!(
            taken.to_string().starts_with(&format!("elbv2.listen: cannot listen on {address}")),
            "{taken}"
        );
        drop(server);
        // A child that another test is starting has a copy of the socket for a moment.
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_ok() {
            assert!(std::time::Instant::now() < deadline, "it still listens");
        }
    }

    #[test]
    fn idle_connections_keep_nobody_out() {
        let server = start();
        let idle: Vec<_> = (0..=CONNECTIONS_OF_ADDRESS)
            .map(|number| {
                let mut stream = TcpStream::connect(server.address()).unwrap();
                if number % 2 == 1 {
                    stream.write_all(b"GET / HTTP/1.1\r\nhost: ").unwrap();
                }
                stream
            })
            .collect();
        for _ in 0..3 {
            assert!(ask(server.address()).ends_with("hello"));
        }
        // The first has lost its place long before its time for a head is over.
        let mut answer = String::new();
        let _ = (&idle[0]).read_to_string(&mut answer);
        assert_eq!(answer, "");
    }

    #[test]
    fn one_connection_too_many_is_turned_away_while_all_others_work() {
        let working = |_: Request<Incoming>, visit: Visit| async move {
            visit.work();
            pending().await
        };
        let server = HttpServer::start("127.0.0.1:0".parse().unwrap(), working, pending()).unwrap();
        let busy: Vec<_> = (0..CONNECTIONS_OF_ADDRESS)
            .map(|_| {
                let mut stream = TcpStream::connect(server.address()).unwrap();
                stream.write_all(b"GET / HTTP/1.1\r\nhost: lbd\r\n\r\n").unwrap();
                std::thread::sleep(Duration::from_millis(2)); // It is read before the next comes.
                stream
            })
            .collect();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        let mut late = Vec::new(); // Each has taken the place of one that was not read in time.
        let refused = loop {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            write!(stream, "GET / HTTP/1.1\r\nhost: lbd\r\n\r\n").unwrap();
            let mut answer = String::new();
            if stream.read_to_string(&mut answer).is_ok() && !answer.is_empty() {
                break answer;
            }
            late.push(stream);
            assert!(std::time::Instant::now() < deadline, "nobody was turned away");
        };
        assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
        assert!(refused.contains("<Code>ServiceUnavailable</Code>"), "{refused}");
        drop((busy, late));
    }
}
