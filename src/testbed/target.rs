//! A target to balance to: answers TCP lines and UDP datagrams with its name and the client's address that it sees.
//!
//! To the line `hello` from 198.18.0.2:40000 target `target1` answers `target1 198.18.0.2:40000 hello`. A datagram is answered
//! likewise, unless it begins with [`UNANSWERED`]: those are only counted.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
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

/// A target: its place, its name, and its servers while they run.
#[derive(Debug)]
pub struct Target {
    name: String,
    address: Ipv4Addr,
    ports: Ports,
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
    pub fn new(name: String, address: Ipv4Addr, ports: Ports) -> Target {
        Target { name, address, ports, counts: Arc::default(), servers: None }
    }

    /// Starts its servers in a namespace that has its address. Does nothing when they run.
    ///
    /// # Errors
    /// When a port is taken or the address is not there.
    pub fn start(&mut self, namespace: &Namespace) -> Result<(), TestbedError> {
        if self.servers.is_none() {
            let servers =
                namespace.within(|| Servers::start(self)).doing(|| format!("start {}", self.name))?;
            self.servers = Some(servers);
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

    /// Its TCP address.
    pub fn tcp_address(&self) -> SocketAddr {
        (self.address, self.ports.tcp).into()
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
        let listener = listen(SocketAddrV4::new(target.address, target.ports.tcp))?;
        let datagrams = bind_udp(SocketAddrV4::new(target.address, target.ports.udp))?;
        let mut lines = LineServer::new(&target.name, listener, target.counts.clone())?;
        let waker = Waker::new(lines.poll.registry(), WAKER)?;
        let stopping = Arc::new(AtomicBool::new(false));
        let (for_lines, for_datagrams) = (stopping.clone(), stopping.clone());
        let (name, counts) = (target.name.clone(), target.counts.clone());
        let threads = vec![
            thread::spawn(move || lines.serve(&for_lines)),
            thread::spawn(move || serve_datagrams(&datagrams, &name, &counts, &for_datagrams)),
        ];
        Ok(Servers { stopping, waker, threads })
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
    poll: Poll,
    listener: TcpListener,
    connections: HashMap<Token, Connection>,
    next: usize,
    counts: Arc<Counts>,
}

impl LineServer {
    fn new(name: &str, mut listener: TcpListener, counts: Arc<Counts>) -> io::Result<LineServer> {
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(LineServer {
            name: name.to_owned(),
            poll,
            listener,
            connections: HashMap::new(),
            next: FIRST_CONNECTION,
            counts,
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
        match token {
            LISTENER => self.accept_all(),
            WAKER => {}
            token => {
                let Some(connection) = self.connections.get_mut(&token) else { return };
                if connection.serve(&self.name, &self.counts).is_err() {
                    self.connections.remove(&token);
                }
            }
        }
    }

    fn accept_all(&mut self) {
        while let Ok((mut stream, client)) = self.listener.accept() {
            self.counts.accepted.fetch_add(1, Relaxed);
            let token = Token(self.next);
            self.next += 1;
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut stream, token, interest).is_ok() {
                self.connections
                    .insert(token, Connection { stream, client, line: Vec::new(), unsent: Vec::new() });
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
    let mut bytes = [0; 2048];
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

fn listen(address: SocketAddrV4) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from(address).into())?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn bind_udp(address: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_recv_buffer_size(UDP_BUFFER_BYTES)?;
    socket.set_read_timeout(Some(UDP_PATIENCE))?;
    socket.bind(&SocketAddr::from(address).into())?;
    Ok(socket.into())
}

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
const FIRST_CONNECTION: usize = 2;
const LONGEST_LINE: usize = 1024;
const UDP_BUFFER_BYTES: usize = 4 << 20;
/// How often the UDP thread looks whether to stop.
const UDP_PATIENCE: Duration = Duration::from_millis(50);
