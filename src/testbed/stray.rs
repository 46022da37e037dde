//! A client in the middle of a TCP connection that nobody else knows of: its next packet is data of no flow.

use std::{
    io::{self, Read, Write},
    mem,
    net::{SocketAddr, TcpStream},
    os::fd::AsRawFd,
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use super::checked;

/// The client's end. Its kernel takes the connection for an established one.
#[derive(Debug)]
pub struct Stray {
    stream: TcpStream,
    /// The client's own address.
    pub local: SocketAddr,
}

impl Stray {
    /// Makes the socket in the calling thread's namespace; nothing is sent. This is `TCP_REPAIR` (tcp(7)), which restores
    /// connections of programs that were moved here: connected in repair mode, a socket skips the handshake.
    ///
    /// # Errors
    /// When the kernel refuses, for lack of privileges above all.
    pub fn open(to: SocketAddr) -> io::Result<Stray> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        set_repair(&socket, REPAIR_ON)?;
        socket.connect(&to.into())?;
        set_repair(&socket, REPAIR_OFF)?;
        let stream = TcpStream::from(socket);
        let local = stream.local_addr()?;
        Ok(Stray { stream, local })
    }

    /// Sends some data and waits for what comes of it, at most `patience`.
    ///
    /// # Errors
    /// `ConnectionReset` when a reset came, `WouldBlock` when nothing did.
    pub fn speak(&mut self, patience: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(patience))?;
        self.stream.write_all(b"anybody there?\n")?;
        self.stream.read_exact(&mut [0])
    }
}

fn set_repair(socket: &Socket, mode: libc::c_int) -> io::Result<()> {
    let length = mem::size_of_val(&mode) as libc::socklen_t;
    let option = (&raw const mode).cast();
    // SAFETY: the option takes an int, which lives through the call and is given with its size.
    checked(unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_REPAIR, option, length)
    })
    .map(drop)
}

/// `TCP_REPAIR_ON` of the kernel's linux/tcp.h.
const REPAIR_ON: libc::c_int = 1;
/// `TCP_REPAIR_OFF_NO_WP` there: off, without a window probe, which would be an ACK of no flow.
const REPAIR_OFF: libc::c_int = -1;
