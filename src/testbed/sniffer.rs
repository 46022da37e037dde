//! Watches a namespace's links for TCP resets, the proof whether a connection was cut, and for the ICMP errors of path MTU
//! discovery.

use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
};

use lb_core::wire::l4::tcp::RST;
use socket2::SockFilter;

use super::{
    Doing, TestbedError,
    namespace::Namespace,
    packet_socket::{Links, PacketSocket},
    tap::{Hop, Protocol},
};

/// Watches the packets of a namespace in both directions. The kernel keeps those that matter until they are asked for, so
/// whatever a network stack has acted on has been seen.
#[derive(Debug)]
pub struct Sniffer {
    socket: PacketSocket,
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
        let open = || PacketSocket::open(Links::All, &FILTER);
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
        while let Ok(Some(arrival)) = self.socket.receive(&mut frame) {
            let bytes = &frame[..arrival.length];
            let Some(hop) = Hop::read("", arrival.direction, arrival.time_ns, bytes) else { continue };
            match hop.protocol {
                Protocol::Tcp => seen.resets.push(Reset { from: hop.source, to: hop.destination }),
                _ => seen.too_big.extend(TooBig::read(&hop)),
            }
        }
    }
}

impl TooBig {
    /// RFC 1191 section 4: the lower half of the second word, whose upper half is zero; RFC 4443 section 3.2: all of it.
    fn read(hop: &Hop) -> Option<TooBig> {
        let mtu = u32::from_be_bytes(hop.payload().get(4..8)?.try_into().ok()?);
        Some(TooBig { from: hop.source.ip(), to: hop.destination.ip(), mtu })
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
    statement(0x45, 11, 12, RST as u32),    // RST?
    statement(0x15, 0, 11, 1),              // ICMP?
    statement(0x48, 0, 0, 14),              // load halfword: ICMP type and code
    statement(0x15, 8, 9, 0x0304),          // fragmentation needed?
    statement(0x15, 0, 8, 0x86dd),          // IPv6?
    statement(0x30, 0, 0, 20),              // load byte: next header
    statement(0x15, 0, 2, TCP as u32),      // TCP?
    statement(0x30, 0, 0, 67),              // load byte: TCP flags
    statement(0x45, 3, 4, RST as u32),      // RST?
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
const DELIVERED_BYTES: u32 = 128;
