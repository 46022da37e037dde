//! A packet socket (packet(7)): what goes over a link, or over all of a namespace, with the kernel's time and count of what it
//! could not keep. Sniffers and taps read by it.

use std::{
    io, mem,
    net::UdpSocket,
    os::fd::{AsRawFd, FromRawFd},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use socket2::{SockFilter, Socket};

use super::{checked, namespace::LOOPBACK, netlink::index_of};

/// Which links are listened to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Links<'a> {
    /// All of the namespace.
    All,
    /// The one of this name.
    One(&'a str),
}

/// Which way a frame went, as the owner of the link sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// A frame that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) direction: Direction,
    /// When the kernel sent or received it, since the epoch.
    pub(super) time_ns: u64,
    /// Bytes that were written to the caller's buffer.
    pub(super) length: usize,
}

/// Listens in the namespace that it was opened in. The kernel keeps frames until they are read.
#[derive(Debug)]
pub(super) struct PacketSocket(Socket);

impl PacketSocket {
    /// Opens one in the calling thread's namespace, for frames that `filter` lets through; an empty one lets through all.
    pub(super) fn open(links: Links<'_>, filter: &[SockFilter]) -> io::Result<PacketSocket> {
        // SAFETY: socket takes three integers and returns a new descriptor or -1. Protocol 0: nothing is delivered before bind.
        let fd = checked(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
        // SAFETY: the descriptor is new and nobody else's.
        let socket = PacketSocket(unsafe { Socket::from_raw_fd(fd) });
        if !filter.is_empty() {
            socket.0.attach_filter(filter)?;
        }
        // Beyond what programs without privileges may have (socket(7)).
        socket.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, KEPT_BYTES)?;
        socket.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
        socket.bind(match links {
            Links::All => 0,
            Links::One(name) => index_of(name)?,
        })?;
        Ok(socket)
    }

    /// The next frame that the kernel keeps, cut to the length of `buffer`; `None` when it keeps no more.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Arrival>> {
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: all-zero bytes are a valid sockaddr_ll, and a valid msghdr.
        let (mut from, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { mem::zeroed() };
        let mut control = [0_u64; CONTROL_WORDS];
        message.msg_name = (&raw mut from).cast();
        message.msg_namelen = SOCKADDR_LL_LENGTH;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = mem::size_of_val(&control);
        // SAFETY: the message names an address, a buffer and room for control messages that live through the call, with their sizes.
        match unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) } {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => Ok(None),
            -1 => Err(io::Error::last_os_error()),
            length => Ok(Some(Arrival {
                direction: match from.sll_pkttype {
                    libc::PACKET_OUTGOING => Direction::Out,
                    _ => Direction::In,
                },
                time_ns: time_of(&message)?,
                length: length.cast_unsigned(),
            })),
        }
    }

    /// Frames that the kernel could not keep, since this was asked for last.
    pub(super) fn dropped(&self) -> io::Result<u32> {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = mem::size_of_val(&statistics) as libc::socklen_t;
        let (fd, value) = (self.0.as_raw_fd(), (&raw mut statistics).cast());
        // SAFETY: the option writes a tpacket_stats, which lives through the call and is given with its size.
        checked(unsafe {
            libc::getsockopt(fd, libc::SOL_PACKET, libc::PACKET_STATISTICS, value, &raw mut length)
        })?;
        Ok(statistics.tp_drops)
    }

    fn set(&self, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let length = mem::size_of_val(&value) as libc::socklen_t;
        // SAFETY: the options set here take an int, which lives through the call and is given with its size.
        checked(unsafe {
            libc::setsockopt(self.0.as_raw_fd(), level, option, (&raw const value).cast(), length)
        })
        .map(drop)
    }

    /// Begins to listen, on link `index` or, by 0, on all.
    fn bind(&self, index: u32) -> io::Result<()> {
        // SAFETY: all-zero bytes are a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = AF_PACKET;
        address.sll_protocol = ETH_P_ALL.to_be();
        address.sll_ifindex = index.cast_signed();
        // SAFETY: `address` is a valid sockaddr_ll of the given length.
        checked(unsafe { libc::bind(self.0.as_raw_fd(), (&raw const address).cast(), SOCKADDR_LL_LENGTH) })
            .map(drop)
    }
}

/// Waits until the kernel notes the time of every frame: it begins to some moments after the first socket has asked for it, and
/// until then says when a frame was read. Called in a namespace with loopback up, while a socket is open.
///
/// # Errors
/// When it does not begin within [`STAMP_PATIENCE`].
pub(super) fn await_time_stamps() -> io::Result<()> {
    let loopback = PacketSocket::open(Links::One(LOOPBACK), &[])?;
    let sender = UdpSocket::bind(("127.0.0.1", 0))?;
    let deadline = now_ns() + STAMP_PATIENCE.as_nanos() as u64;
    while now_ns() < deadline {
        sender.send_to(&[0], sender.local_addr()?)?;
        thread::sleep(STAMP_LAG);
        let before_reading_ns = now_ns();
        while let Some(arrival) = loopback.receive(&mut [0; 64])? {
            if arrival.time_ns < before_reading_ns {
                return Ok(());
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel does not note when frames come"))
}

/// The time stamp among a message's control messages, since the epoch.
fn time_of(message: &libc::msghdr) -> io::Result<u64> {
    // SAFETY: the kernel has filled in the message; null where there is no control message.
    let Some(header) = (unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }) else {
        return Err(io::Error::other("a frame without a time"));
    };
    if (header.cmsg_level, header.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
        return Err(io::Error::other("a control message that nobody asked for"));
    }
    // SAFETY: data of this type of control message is a timespec, perhaps not aligned.
    let time = unsafe { libc::CMSG_DATA(header).cast::<libc::timespec>().read_unaligned() };
    Ok(Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32).as_nanos() as u64)
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

/// Room for ten thousand frames with what the kernel needs for each.
const KEPT_BYTES: libc::c_int = 32 << 20;
/// Room for one control message with a time.
const CONTROL_WORDS: usize = 8;
const STAMP_PATIENCE: Duration = Duration::from_secs(20);
/// Longer than a frame takes over loopback.
const STAMP_LAG: Duration = Duration::from_millis(2);
const AF_PACKET: u16 = libc::AF_PACKET as u16;
const ETH_P_ALL: u16 = libc::ETH_P_ALL as u16;
const SOCKADDR_LL_LENGTH: libc::socklen_t = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
