//! Watches a namespace's links for TCP resets, the proof whether a connection was cut, and for the ICMP errors of path MTU
//! discovery.

use std::{
    cell::RefCell,
    io::{self, Read},
    mem,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd, FromRawFd},
};

use socket2::{SockFilter, Socket};

use super::{Doing, TestbedError, checked, namespace::Namespace};

/// Watches the packets of a namespace in both directions. The kernel keeps those that matter until they are asked for, so
/// whatever a network stack has acted on has been seen.
#[derive(Debug)]
pub struct Sniffer {
    socket: Socket,
    seen: RefCell<Seen>,
}

/// A TCP reset that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
}

/// An ICMP error that was seen: fragmentation needed (RFC 1191) or packet too big (RFC 4443 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooBig {
    /// Who sent it.
    pub from: IpAddr,
    /// To whom.
    pub to: IpAddr,
    /// Longest packet that gets through, in bytes.
    pub mtu: u32,
}

#[derive(Debug, Default)]
struct Seen {
    resets: Vec<Reset>,
    too_big: Vec<TooBig>,
}

impl Sniffer {
    /// Starts watching all links of a namespace.
    ///
    /// # Errors
    /// When the packet socket cannot be made.
    pub fn start(namespace: &Namespace) -> Result<Sniffer, TestbedError> {
        let socket = namespace.within(open).doing(|| format!("watch packets in {}", namespace.name()))?;
        Ok(Sniffer { socket, seen: RefCell::default() })
    }

    /// The resets seen so far.
    pub fn resets(&self) -> Vec<Reset> {
        self.look();
        self.seen.borrow().resets.clone()
    }

    /// The ICMP errors seen so far.
    pub fn too_big(&self) -> Vec<TooBig> {
        self.look();
        self.seen.borrow().too_big.clone()
    }

    /// Takes all packets that the kernel keeps.
    fn look(&self) {
        let mut frame = [0; DELIVERED_BYTES as usize];
        let mut seen = self.seen.borrow_mut();
        while let Ok(length) = (&self.socket).read(&mut frame) {
            let Some(packet) = Packet::parse(&frame[..length]) else { continue };
            match packet.protocol {
                TCP => seen.resets.extend(packet.reset()),
                _ => seen.too_big.extend(packet.too_big()),
            }
        }
    }
}

/// A packet socket that delivers only what is watched for.
fn open() -> io::Result<Socket> {
    // SAFETY: socket takes three integers and returns a new descriptor or -1. Protocol 0: nothing is delivered before bind.
    let fd = checked(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor is new and nobody else's.
    let socket = unsafe { Socket::from_raw_fd(fd) };
    socket.attach_filter(&FILTER)?;
    socket.set_nonblocking(true)?;
    keep_many(&socket)?;
    // SAFETY: all-zero bytes are a valid sockaddr_ll: every link.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = AF_PACKET;
    address.sll_protocol = ETH_P_ALL.to_be();
    // SAFETY: `address` is a valid sockaddr_ll of the given length.
    checked(unsafe { libc::bind(fd, (&raw const address).cast(), SOCKADDR_LL_LENGTH) })?;
    Ok(socket)
}

/// Sets the socket's buffer, also beyond what programs without privileges may have (socket(7)).
fn keep_many(socket: &Socket) -> io::Result<()> {
    let (bytes, length) = (KEPT_BYTES, mem::size_of::<libc::c_int>() as libc::socklen_t);
    let option = (&raw const bytes).cast();
    // SAFETY: the option takes an int, which lives through the call and is given with its size.
    checked(unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, option, length)
    })
    .map(drop)
}

/// An IP packet that the filter let through.
struct Packet<'a> {
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    payload: &'a [u8],
}

impl Packet<'_> {
    /// Reads an Ethernet frame.
    fn parse(frame: &[u8]) -> Option<Packet<'_>> {
        let ip = frame.get(14..)?;
        let v4 = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?));
        let v6 = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(ip.get(at..at + 16)?).ok()?));
        Some(match ip.first()? >> 4 {
            4 => Packet {
                from: v4(12)?,
                to: v4(16)?,
                protocol: *ip.get(9)?,
                payload: ip.get(usize::from(ip.first()? & 0xf) * 4..)?,
            },
            _ => Packet { from: v6(8)?, to: v6(24)?, protocol: *ip.get(6)?, payload: ip.get(40..)? },
        })
    }

    fn reset(&self) -> Option<Reset> {
        let port = |at: usize| Some(u16::from_be_bytes(self.payload.get(at..at + 2)?.try_into().ok()?));
        Some(Reset { from: (self.from, port(0)?).into(), to: (self.to, port(2)?).into() })
    }

    /// RFC 1191 section 4: the lower half of the second word, whose upper half is zero; RFC 4443 section 3.2: all of it.
    fn too_big(&self) -> Option<TooBig> {
        let mtu = u32::from_be_bytes(self.payload.get(4..8)?.try_into().ok()?);
        Some(TooBig { from: self.from, to: self.to, mtu })
    }
}

/// Packet filter: TCP with RST, ICMP 3/4, ICMPv6 type 2; no later fragments, no IPv6 extension headers.
const FILTER: [SockFilter; 22] = [
    statement(0x28, 0, 0, 12),              // load halfword: EtherType
    statement(0x15, 0, 10, 0x0800),         // IPv4?
    statement(0x28, 0, 0, 20),              // load halfword: fragment offset
    statement(0x45, 17, 0, 0x1fff),         // a later fragment?
    statement(0xb1, 0, 0, 14),              // load index: IP header length
    statement(0x30, 0, 0, 23),              // load byte: protocol
    statement(0x15, 0, 2, TCP as u32),      // TCP?
    statement(0x50, 0, 0, 27),              // load byte: TCP flags
    statement(0x45, 11, 12, RST),           // RST?
    statement(0x15, 0, 11, 1),              // ICMP?
    statement(0x48, 0, 0, 14),              // load halfword: ICMP type and code
    statement(0x15, 8, 9, 0x0304),          // fragmentation needed?
    statement(0x15, 0, 8, 0x86dd),          // IPv6?
    statement(0x30, 0, 0, 20),              // load byte: next header
    statement(0x15, 0, 2, TCP as u32),      // TCP?
    statement(0x30, 0, 0, 67),              // load byte: TCP flags
    statement(0x45, 3, 4, RST),             // RST?
    statement(0x15, 0, 3, 58),              // ICMPv6?
    statement(0x30, 0, 0, 54),              // load byte: ICMPv6 type
    statement(0x15, 0, 1, 2),               // packet too big?
    statement(0x06, 0, 0, DELIVERED_BYTES), // deliver so many bytes
    statement(0x06, 0, 0, 0),               // refuse
];

const fn statement(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
    SockFilter::new(code, jt, jf, k)
}

const TCP: u8 = 6;
const RST: u32 = 0x04;
const DELIVERED_BYTES: u32 = 128;
/// Room for ten thousand packets with what the kernel needs for each.
const KEPT_BYTES: libc::c_int = 32 << 20;
const AF_PACKET: u16 = libc::AF_PACKET as u16;
const ETH_P_ALL: u16 = libc::ETH_P_ALL as u16;
const SOCKADDR_LL_LENGTH: libc::socklen_t = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
