//! The targets' server: one thread for all targets and all TCP loads, so that every peer meets the same.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::Ipv4Addr,
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use lbd::testbed::namespace::Namespace;
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use socket2::{Domain, Socket, Type};

use crate::{
    system,
    topology::{BULK_PORT, CLIENT_CPU, KEPT_PORT, ONCE_PORT},
};

/// A running server. Dropping it closes every socket.
pub struct Server {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    /// The thread's number; 0 until it runs.
    task: AtomicI32,
    swallowed: AtomicU64,
}

impl Server {
    /// Starts it on all addresses of a namespace.
    pub fn start(namespace: &Namespace) -> io::Result<Server> {
        let mut serving = namespace.within(Serving::open)?;
        let shared = serving.shared.clone();
        let thread = thread::spawn(move || serving.serve());
        while shared.task.load(Relaxed) == 0 {
            thread::yield_now();
        }
        Ok(Server { shared, thread: Some(thread) })
    }

    /// Bytes swallowed at [`BULK_PORT`] so far.
    pub fn swallowed(&self) -> u64 {
        self.shared.swallowed.load(Relaxed)
    }

    /// Keeps it on the client's CPU until what is returned is dropped.
    pub fn out_of_the_balancers_way(&self) -> io::Result<OutOfTheWay<'_>> {
        system::pin(self.shared.task.load(Relaxed), &[CLIENT_CPU])?;
        Ok(OutOfTheWay(self))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// A server that has one CPU.
pub struct OutOfTheWay<'s>(&'s Server);

impl Drop for OutOfTheWay<'_> {
    fn drop(&mut self) {
        // One that stays there would show in the next figures; but there is no way for this to fail after pinning did not.
        drop(system::pin(self.0.shared.task.load(Relaxed), &crate::topology::CPUS));
    }
}

/// What is done with a connection's bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    /// One answer, then the end.
    Once,
    /// An answer to each request.
    Kept,
    /// Nothing.
    Swallow,
}

struct Serving {
    shared: Arc<Shared>,
    poll: Poll,
    listeners: Vec<(TcpListener, Service)>,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    buffer: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    service: Service,
    /// Bytes of a request that is not whole yet.
    partial: usize,
}

impl Serving {
    fn open() -> io::Result<Serving> {
        let poll = Poll::new()?;
        let mut listeners = Vec::new();
        for (port, service) in
            [(ONCE_PORT, Service::Once), (KEPT_PORT, Service::Kept), (BULK_PORT, Service::Swallow)]
        {
            let mut listener = listen(port)?;
            poll.registry().register(&mut listener, Token(listeners.len()), Interest::READABLE)?;
            listeners.push((listener, service));
        }
        let buffer = vec![0; BUFFER_BYTES];
        Ok(Serving { shared: Arc::default(), poll, listeners, connections: Vec::new(), buffer })
    }

    fn serve(&mut self) {
        self.shared.task.store(system::own_task(), Relaxed);
        let mut events = Events::with_capacity(256);
        while !self.shared.stopping.load(Relaxed) {
            match self.poll.poll(&mut events, Some(LOOK_AROUND)) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => panic!("the targets' server cannot wait for events: {error}"),
            }
            for event in &events {
                match event.token().0.checked_sub(self.listeners.len()) {
                    None => self.accept_all(event.token().0),
                    Some(descriptor) => self.serve_one(descriptor),
                }
            }
        }
    }

    fn accept_all(&mut self, listener: usize) {
        while let Ok((mut stream, _)) = self.listeners[listener].0.accept() {
            let descriptor = stream.as_raw_fd() as usize;
            let token = Token(self.listeners.len() + descriptor);
            if self.poll.registry().register(&mut stream, token, Interest::READABLE).is_err() {
                continue;
            }
            if self.connections.len() <= descriptor {
                self.connections.resize_with(descriptor + 1, || None);
            }
            let service = self.listeners[listener].1;
            self.connections[descriptor] = Some(Connection { stream, service, partial: 0 });
        }
    }

    fn serve_one(&mut self, descriptor: usize) {
        let Some(connection) = self.connections.get_mut(descriptor).and_then(Option::as_mut) else { return };
        if connection.serve(&mut self.buffer, &self.shared.swallowed).is_err() {
            self.connections[descriptor] = None;
        }
    }
}

impl Connection {
    /// Reads what is there and answers. An error says that the connection is over.
    fn serve(&mut self, buffer: &mut [u8], swallowed: &AtomicU64) -> io::Result<()> {
        loop {
            let length = match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            if self.service == Service::Swallow {
                swallowed.fetch_add(length as u64, Relaxed);
            } else {
                self.answer(length, buffer)?;
            }
            // A stream that gives less than was asked for is empty: the next bytes make another event.
            if length < buffer.len() {
                return Ok(());
            }
        }
    }

    fn answer(&mut self, received: usize, buffer: &[u8]) -> io::Result<()> {
        let requests = (self.partial + received) / MESSAGE_BYTES;
        self.partial = (self.partial + received) % MESSAGE_BYTES;
        if requests > 0 {
            self.stream.write_all(&buffer[..requests * MESSAGE_BYTES])?;
            if self.service == Service::Once {
                return Err(ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(())
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    // Connections that are accepted inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&std::net::SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// A request, and its answer.
pub const MESSAGE_BYTES: usize = 64;
const BUFFER_BYTES: usize = 128 * 1024;
const BACKLOG: libc::c_int = 8192;
/// How often it looks whether to stop.
const LOOK_AROUND: Duration = Duration::from_millis(100);
