//! The clients' sockets.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use mio::net::TcpStream;
use socket2::{Domain, Socket, Type};

use crate::system;

/// Begins to connect, from a port of `source`, and does not wait.
pub fn connect(source: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    system::bind_port_late(&socket)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Connects and waits until it has.
pub fn connected(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = std::net::TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(TcpStream::from_std(stream))
}
