//! A target to balance to: answers TCP lines and UDP datagrams with its name and the client's address that it sees.
//!
//! To the line `hello` from 198.18.0.2:40000 target `target1` answers `target1 198.18.0.2:40000 hello`. A datagram is answered
//! likewise, unless it begins with [`UNANSWERED`]: those are only counted. A target that [greets](Target::greeting) speaks first,
//! as mail servers do: a line as if it had been told [`GREETING`].

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use mio::{
    Events, Interest, Poll, Token, Waker,
    net::{TcpListener, TcpStream},
};
use socket2::{Domain, Socket, Type};

use super::{Doing, TestbedError, namespace::Namespace};

/// First byte of a datagram that gets no answer.
pub const UNANSWERED: u8 = b'#';
/// What a target that speaks first says.
pub const GREETING: &str = "welcome";

/// A target: its place, its name, and its servers while they run.
#[derive(Debug)]
pub struct Target {
    name: String,
    /// At least one.
    addresses: Vec<IpAddr>,
    ports: Ports,
    greeting: Option<&'static str>,
    counts: Arc<Counts>,
    servers: Option<Servers>,
}

/// Where a target listens.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// TCP port of the line server, which answers health checks, too.
    pub tcp: u16,
    /// UDP port of the echo server.
    pub udp: u16,
}

impl Target {
    /// A target that is not running yet.
    pub fn new(name: String, address: impl Into<IpAddr>, ports: Ports) -> Target {
        let addresses = vec![address.into()];
        Target { name, addresses, ports, greeting: None, counts: Arc::default(), servers: None }
    }

    /// The same, listening on one address more.
    pub fn also_at(mut self, address: impl Into<IpAddr>) -> Target {
        self.addresses.push(address.into());
        self
    }

    /// The same, speaking first on every TCP connection.
    pub fn greeting(mut self) -> Target {
        self.greeting = Some(GREETING);
        self
    }

    /// Starts its servers in a namespace that has its addresses. Does nothing when they run.
    ///
    /// # Errors
    /// When a port is taken or an address is not there.
    pub fn start(&mut self, namespace: &Namespace) -> Result<(), TestbedError> {
        namespace.within(|| self.start_here())
    }

    /// The same in the calling thread's namespace.
    ///
    /// # Errors
    /// When a port is taken or an address is not there.
    pub fn start_here(&mut self) -> Result<(), TestbedError> {
        if self.servers.is_none() {
            self.servers = Some(Servers::start(self).doing(|| format!("start {}", self.name))?);
        }
        Ok(())
    }

    /// Stops its servers and closes all connections, as the end of a process would.
    pub fn stop(&mut self) {
        self.servers = None;
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its first TCP address.
    pub fn tcp_address(&self) -> SocketAddr {
        (self.addresses[0], self.ports.tcp).into()
    }

    /// What it has counted since it was made, over all starts.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

/// What a target counts.
#[derive(Debug, Default)]
pub struct Counts {
    accepted: AtomicU64,
    lines: AtomicU64,
    datagrams: AtomicU64,
}

impl Counts {
    /// TCP connections accepted, those of health checks included.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Lines answered.
    pub fn lines(&self) -> u64 {
        self.lines.load(Relaxed)
    }

    /// Datagrams received.
    pub fn datagrams(&self) -> u64 {
        self.datagrams.load(Relaxed)
    }
}

/// The running servers. Dropping them closes every socket.
#[derive(Debug)]
struct Servers {
    stopping: Arc<AtomicBool>,
    waker: Waker,
    threads: Vec<JoinHandle<()>>,
}

impl Servers {
    /// Opens the sockets in the calling thread's namespace and serves them from threads.
    fn start(target: &Target) -> io::Result<Servers> {
        let mut lines = LineServer::new(target)?;
        let waker = Waker::new(lines.poll.registry(), WAKER)?;
        let stopping = Arc::new(AtomicBool::new(false));
        let until = stopping.clone();
        let mut servers =
            Servers { stopping, waker, threads: vec![thread::spawn(move || lines.serve(&until))] };
        for &address in &target.addresses {
            let socket = bind_udp((address, target.ports.udp).into())?;
            let (name, counts, until) =
                (target.name.clone(), target.counts.clone(), servers.stopping.clone());
            servers.threads.push(thread::spawn(move || serve_datagrams(&socket, &name, &counts, &until)));
        }
        Ok(servers)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stopping.store(true, Relaxed);
        // Without the waker the thread would sleep until the next connection.
        drop(self.waker.wake());
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

/// Answers lines on any number of connections from one thread.
struct LineServer {
    name: String,
    greeting: Option<&'static str>,
    poll: Poll,
    /// The listener of token `n` is at `n - FIRST_LISTENER`.
    listeners: Vec<TcpListener>,
    connections: HashMap<Token, Connection>,
    next: usize,
    counts: Arc<Counts>,
}

impl LineServer {
    fn new(target: &Target) -> io::Result<LineServer> {
        let listen = |&address| listen((address, target.ports.tcp).into());
        let mut listeners = target.addresses.iter().map(listen).collect::<io::Result<Vec<_>>>()?;
        let poll = Poll::new()?;
        for (token, listener) in (FIRST_LISTENER..).zip(&mut listeners) {
            poll.registry().register(listener, Token(token), Interest::READABLE)?;
        }
        Ok(LineServer {
            name: target.name.clone(),
            greeting: target.greeting,
            poll,
            next: FIRST_LISTENER + listeners.len(),
            listeners,
            connections: HashMap::new(),
            counts: target.counts.clone(),
        })
    }

    fn serve(&mut self, stopping: &AtomicBool) {
        let mut events = Events::with_capacity(1024);
        while !stopping.load(Relaxed) {
            match self.poll.poll(&mut events, None) {
                Ok(()) => events.iter().for_each(|event| self.handle(event.token())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn handle(&mut self, token: Token) {
        if token == WAKER {
            return;
        }
        if token.0 < FIRST_LISTENER + self.listeners.len() {
            return self.accept_all(token.0 - FIRST_LISTENER);
        }
        let Some(connection) = self.connections.get_mut(&token) else { return };
        if connection.serve(&self.name, &self.counts).is_err() {
            self.connections.remove(&token);
        }
    }

    fn accept_all(&mut self, listener: usize) {
        while let Ok((mut stream, client)) = self.listeners[listener].accept() {
            self.counts.accepted.fetch_add(1, Relaxed);
            let token = Token(self.next);
            self.next += 1;
            let greeting = self.greeting.map(|text| format!("{} {client} {text}\n", self.name));
            let unsent = greeting.unwrap_or_default().into_bytes();
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut stream, token, interest).is_ok() {
                self.connections.insert(token, Connection { stream, client, line: Vec::new(), unsent });
            }
        }
    }
}

/// One client's connection.
struct Connection {
    stream: TcpStream,
    client: SocketAddr,
    /// What was received of a line that is not whole yet.
    line: Vec<u8>,
    unsent: Vec<u8>,
}

impl Connection {
    /// Reads and answers until nothing more can be done without waiting. An error says that the connection is over.
    fn serve(&mut self, name: &str, counts: &Counts) -> io::Result<()> {
        let mut bytes = [0; 4096];
        loop {
            self.flush()?;
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.answer(&bytes[..length], name, counts)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn answer(&mut self, bytes: &[u8], name: &str, counts: &Counts) -> io::Result<()> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.len() > LONGEST_LINE {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if piece.ends_with(b"\n") {
                write!(self.unsent, "{name} {} ", self.client)?;
                self.unsent.append(&mut self.line);
                counts.lines.fetch_add(1, Relaxed);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Answers or counts datagrams until told to stop.
fn serve_datagrams(socket: &UdpSocket, name: &str, counts: &Counts, stopping: &AtomicBool) {
    let mut bytes = vec![0; LONGEST_DATAGRAM];
    while !stopping.load(Relaxed) {
        // A time-out is for looking whether to stop; any other error is a client's ICMP, which concerns nobody here.
        let Ok((length, client)) = socket.recv_from(&mut bytes) else { continue };
        counts.datagrams.fetch_add(1, Relaxed);
        if bytes[..length].first() != Some(&UNANSWERED) {
            let mut answer = format!("{name} {client} ").into_bytes();
            answer.extend_from_slice(&bytes[..length]);
            // A lost answer is the client's to notice, as on any network.
            drop(socket.send_to(&answer, client));
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    socket.set_recv_buffer_size(UDP_BUFFER_BYTES)?;
    socket.set_read_timeout(Some(UDP_PATIENCE))?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

const WAKER: Token = Token(0);
const FIRST_LISTENER: usize = 1;
const LONGEST_LINE: usize = 1024;
/// Longest UDP payload that answer and question may have (RFC 768: the length field has 16 bits).
pub(super) const LONGEST_DATAGRAM: usize = 65_535;
const UDP_BUFFER_BYTES: usize = 4 << 20;
/// How often the UDP thread looks whether to stop.
const UDP_PATIENCE: Duration = Duration::from_millis(50);
