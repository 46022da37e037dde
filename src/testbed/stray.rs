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
    /// Makes the socket in the calling thread's namespace; nothing is sent. This is the kernel's way to restore connections of
    /// programs that were moved here: connected in repair mode, a socket skips the handshake.
    ///
    /// # Errors
    /// When the kernel refuses, for lack of privileges above all.
    pub fn open(to: SocketAddr) -> io::Result<Stray> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        set_option(&socket, libc::TCP_REPAIR, &REPAIR_ON)?;
        socket.connect(&to.into())?;
        set_option(&socket, libc::TCP_REPAIR_WINDOW, &WINDOW)?;
        set_option(&socket, libc::TCP_REPAIR, &REPAIR_OFF)?;
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

/// Sets a TCP option whose value is one of the kernel's plain structures.
fn set_option<T: Copy>(socket: &Socket, name: libc::c_int, value: &T) -> io::Result<()> {
    let (option, length) = ((&raw const *value).cast(), mem::size_of::<T>() as libc::socklen_t);
    // SAFETY: the value lives through the call and is given with its size.
    checked(unsafe { libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, name, option, length) })
        .map(drop)
}

/// `struct tcp_repair_window` of the kernel's linux/tcp.h.
#[derive(Clone, Copy)]
#[repr(C)]
struct Window {
    snd_wl1: u32,
    snd_wnd: u32,
    max_window: u32,
    rcv_wnd: u32,
    rcv_wup: u32,
}

/// What a handshake would have brought; without it nothing may be sent.
const WINDOW: Window =
    Window { snd_wl1: 0, snd_wnd: 65_535, max_window: 65_535, rcv_wnd: 65_535, rcv_wup: 0 };
/// `TCP_REPAIR_ON` of the kernel's linux/tcp.h.
const REPAIR_ON: libc::c_int = 1;
/// `TCP_REPAIR_OFF_NO_WP` there: off, without a window probe, which would be an ACK of no flow.
const REPAIR_OFF: libc::c_int = -1;
