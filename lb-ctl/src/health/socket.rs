//! Sockets of checks: mio's, as futures and as tokio's streams. A stream begins with a PROXY header where the target expects one.
//!
//! None of them notes a waker: the checker polls the whole check when mio says something about its socket.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use lb_core::wire::proxy;
use mio::{Interest, Registry, Token, event::Source};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::Opening;

/// Where the socket of one check is registered, and how its stream begins.
pub(super) struct Place {
    registry: Arc<Registry>,
    token: Token,
    opening: Opening,
}

impl Place {
    pub(super) fn new(registry: Arc<Registry>, token: Token, opening: Opening) -> Place {
        Place { registry, token, opening }
    }

    fn register(&self, socket: &mut impl Source) -> io::Result<()> {
        self.registry.register(socket, self.token, Interest::READABLE | Interest::WRITABLE)
    }
}

/// A TCP connection.
pub(super) struct Stream {
    socket: mio::net::TcpStream,
    /// Bytes that the target may still send.
    left_bytes: usize,
}

impl Stream {
    /// Completes the handshake, and sends what comes before anything else.
    pub(super) async fn connect(endpoint: SocketAddr, place: &Place) -> io::Result<Stream> {
        let mut socket = mio::net::TcpStream::connect(endpoint)?;
        place.register(&mut socket)?;
        let mut stream = Stream { socket, left_bytes: ANSWER_BYTES };
        std::future::poll_fn(|_| stream.connected()).await?;
        stream.socket.set_nodelay(true)?;
        if place.opening == Opening::ProxyHeader {
            stream.write_all(proxy::Header::local().bytes()).await?;
        }
        Ok(stream)
    }

    fn connected(&self) -> Poll<io::Result<()>> {
        match self.socket.peer_addr() {
            Ok(_) => Poll::Ready(Ok(())),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => match self.socket.take_error() {
                Ok(None) => Poll::Pending,
                Ok(Some(error)) | Err(error) => Poll::Ready(Err(error)),
            },
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = ready!(tried(|| self.socket.read(buffer.initialize_unfilled())))?;
        let left_bytes = self.left_bytes.checked_sub(count);
        self.left_bytes = left_bytes.ok_or(io::ErrorKind::InvalidData)?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        tried(|| self.socket.write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // TCP keeps nothing back.
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.shutdown(Shutdown::Write))
    }
}

/// A UDP socket that one peer alone is heard on, with its ICMP errors.
pub(super) struct Datagrams {
    socket: mio::net::UdpSocket,
}

impl Datagrams {
    pub(super) fn connect(endpoint: SocketAddr, place: &Place) -> io::Result<Datagrams> {
        let any = match endpoint {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let mut socket = mio::net::UdpSocket::bind(any)?;
        socket.connect(endpoint)?;
        place.register(&mut socket)?;
        Ok(Datagrams { socket })
    }

    pub(super) async fn send(&self, payload: &[u8]) -> io::Result<usize> {
        std::future::poll_fn(|_| tried(|| self.socket.send(payload))).await
    }

    /// The next datagram's payload, cut to the buffer: its length.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        std::future::poll_fn(|_| tried(|| self.socket.recv(buffer))).await
    }
}

/// Tries until the system says yes, no, or not yet.
fn tried(mut call: impl FnMut() -> io::Result<usize>) -> Poll<io::Result<usize>> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            result => return Poll::Ready(result),
        }
    }
}

/// Most that a target may send in one check, so that none keeps the thread to itself: a handshake with large certificates,
/// frames of all sorts, and an answer.
const ANSWER_BYTES: usize = 256 << 10;
