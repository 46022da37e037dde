//! A service's healthCheckNodePort on one node: an HTTP server that says whether the node has a pod of it, as kube-proxy does
//! (kubernetes, `pkg/proxy/healthcheck/service_health.go`): 200 or 503, whatever is asked for.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

/// The server, while it lives.
#[derive(Debug)]
pub(super) struct HealthNodePort {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    service: &'static str,
    local_endpoints: AtomicUsize,
    is_stopping: AtomicBool,
}

impl HealthNodePort {
    /// Listens on every address of the calling thread's namespace. No pod yet.
    pub(super) fn start(service: &'static str, port: u16) -> io::Result<HealthNodePort> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_read_timeout(Some(LOOKING_INTERVAL))?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        let local_endpoints = AtomicUsize::new(0);
        let shared = Arc::new(Shared { service, local_endpoints, is_stopping: AtomicBool::new(false) });
        let served = shared.clone();
        Ok(HealthNodePort { shared, thread: Some(thread::spawn(move || served.serve(&listener))) })
    }

    /// The service has so many pods on this node now.
    pub(super) fn set_local_endpoints(&self, count: usize) {
        self.shared.local_endpoints.store(count, Relaxed);
    }
}

impl Drop for HealthNodePort {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl Shared {
    fn serve(&self, listener: &TcpListener) {
        while !self.is_stopping.load(Relaxed) {
            // Without a connection in time it looks whether to stop; one that breaks is its client's to notice.
            if let Ok((stream, _)) = listener.accept() {
                drop(self.answer(stream));
            }
        }
    }

    fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(CLIENT_PATIENCE))?;
        let mut request = Vec::new();
        let mut bytes = [0; 512];
        while !request.ends_with(b"\r\n\r\n") && request.len() < LONGEST_REQUEST_BYTES {
            match stream.read(&mut bytes)? {
                0 => return Ok(()),
                length => request.extend_from_slice(&bytes[..length]),
            }
        }
        stream.write_all(self.response().as_bytes())
    }

    fn response(&self) -> String {
        let count = self.local_endpoints.load(Relaxed);
        let status = if count > 0 { "200 OK" } else { "503 Service Unavailable" };
        let body = format!(
            "{{\"service\":{{\"namespace\":\"default\",\"name\":\"{}\"}},\"localEndpoints\":{count},\
             \"serviceProxyHealthy\":true}}",
            self.service
        );
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }
}

/// How often it looks whether to stop: accept(2) obeys the time-out for reads.
const LOOKING_INTERVAL: Duration = Duration::from_millis(50);
/// How long a client may say nothing.
const CLIENT_PATIENCE: Duration = Duration::from_secs(2);
const BACKLOG: i32 = 128;
const LONGEST_REQUEST_BYTES: usize = 8 << 10;
