//! Bytes to a flow key: the checks that every packet must pass before anything is decided about it, in the order of
//! RFC 1812 section 5.2.2. Called by `datapath` for every frame.

mod fragment;
mod icmp_error;
mod ipv6;
pub(crate) mod plain;

use crate::{
    flow_key::{End, FlowKey, Ipv4Key},
    verdict::Reason,
    wire::{
        checksum, ethernet, icmp, ipv4, ipv6 as ipv6_wire,
        l4::{
            self,
            tcp::{ACK, FIN, RST, SYN},
        },
    },
};

pub use fragment::{Fragment, FragmentId, parse_fragment};
pub use icmp_error::{IcmpError, parse_icmp_error};
pub use ipv6::{Routed, parse_routed};

/// What `datapath` needs to know of a TCP or UDP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Addresses, ports and protocol.
    pub key: FlowKey,
    /// Where the TCP or UDP header starts in the frame, or, in a later piece of a datagram, the data.
    pub l4: u16,
    /// Length of the IP packet in bytes; the frame may be longer by padding.
    pub total_length: u16,
    /// TCP flags; 0 for UDP.
    pub tcp_flags: u8,
    /// Time to live or hop limit; not 0.
    pub ttl: u8,
    /// Whether the packet is whole.
    pub piece: Piece,
}

/// Which part of an IP packet a frame holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Piece {
    /// All of it.
    #[default]
    Whole,
    /// The first part, with the TCP or UDP header.
    First,
    /// Another part, without ports.
    Later,
}

impl Packet {
    /// No packet.
    pub(crate) const EMPTY: Packet = Packet {
        key: FlowKey::V4(Ipv4Key::ZERO),
        l4: 0,
        total_length: 0,
        tcp_flags: 0,
        ttl: 0,
        piece: Piece::Whole,
    };

    /// Whether all of `flags` are set.
    #[inline]
    pub const fn has(&self, flags: u8) -> bool {
        self.tcp_flags & flags == flags
    }

    /// Whether this is the first packet of a TCP connection.
    #[inline]
    pub const fn is_syn(&self) -> bool {
        self.tcp_flags & (SYN | ACK) == SYN
    }

    /// Whether the packet is UDP.
    #[inline]
    pub fn is_udp(&self) -> bool {
        self.key.protocol() == UDP
    }

    /// Where the IP packet ends in the frame.
    #[inline]
    pub const fn end(&self) -> usize {
        ethernet::HEADER + self.total_length as usize
    }
}

/// Parses an Ethernet frame that carries a TCP or UDP packet. [`Reason::IcmpNoFlow`], [`Reason::Fragment`] and [`Reason::SourceRoute`]
/// say only what it carries instead: [`parse_icmp_error`], [`parse_fragment`] and [`parse_routed`] go on.
pub fn parse(frame: &[u8]) -> Result<Packet, Reason> {
    let mut packet = Packet::EMPTY;
    parse_into(frame, &mut packet)?;
    Ok(packet)
}

/// As [`parse`], into a packet in its place: of an IPv4 packet's key only its own bytes are written.
#[inline(always)]
pub(crate) fn parse_into(frame: &[u8], parsed: &mut Packet) -> Result<(), Reason> {
    match plain::parse(frame, parsed) {
        Some(()) => Ok(()),
        None => parse_unusual(frame, parsed),
    }
}

#[inline(never)]
fn parse_unusual(frame: &[u8], parsed: &mut Packet) -> Result<(), Reason> {
    let Some((ethernet, packet)) = frame.split_first_chunk::<{ ethernet::HEADER }>() else {
        return Err(Reason::EthernetTruncated);
    };
    if ethernet[ethernet::ETHERTYPE] != ethernet::IPV4 {
        *parsed = ipv6::parse(ethernet, packet)?;
        return Ok(());
    }
    let Ipv4 { header, header_length, total_length } = parse_ipv4(ethernet, packet)?;
    if u16::from_be_bytes([header[6], header[7]]) & ipv4::FRAGMENT_MASK != 0 {
        return Err(Reason::Fragment);
    }
    let protocol = header[ipv4::PROTOCOL];
    let segment = &packet[header_length..total_length];
    let tcp_flags = match protocol {
        TCP => check_tcp(segment)?,
        UDP => check_udp(segment, Piece::Whole)?,
        icmp::PROTOCOL => return Err(Reason::IcmpNoFlow),
        _ => return Err(Reason::UnsupportedProtocol),
    };
    let end = End {
        remote: [header[12], header[13], header[14], header[15]],
        local: [header[16], header[17], header[18], header[19]],
        remote_port: [segment[0], segment[1]],
        local_port: [segment[2], segment[3]],
    };
    if end.local_port == [0, 0] || end.remote_port == [0, 0] {
        return Err(Reason::PortZero);
    }
    parsed.key = FlowKey::V4(Ipv4Key { end, protocol, zero: [0; 3] });
    parsed.l4 = (ethernet::HEADER + header_length) as u16;
    parsed.total_length = total_length as u16;
    parsed.tcp_flags = tcp_flags;
    parsed.ttl = header[ipv4::TTL];
    parsed.piece = Piece::Whole;
    Ok(())
}

/// An IPv4 packet that may be forwarded, as far as its header tells.
struct Ipv4<'f> {
    header: &'f [u8; ipv4::HEADER],
    header_length: usize,
    total_length: usize,
}

#[inline(always)]
fn parse_ipv4<'f>(ethernet: &[u8; ethernet::HEADER], packet: &'f [u8]) -> Result<Ipv4<'f>, Reason> {
    let Some(header) = packet.first_chunk::<{ ipv4::HEADER }>() else {
        return Err(Reason::Ipv4Truncated);
    };
    check_stations(ethernet)?;
    let header_length = usize::from(header[ipv4::VERSION_IHL] & 0x0f) * 4;
    let total_length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[ipv4::VERSION_IHL] == PLAIN_HEADER {
        check_checksum(header)?;
    } else {
        check_unusual_header(packet, header_length)?;
    }
    if total_length < header_length || total_length > packet.len() {
        return Err(Reason::Ipv4TotalLength);
    }
    if header_length > ipv4::HEADER {
        check_options(&packet[ipv4::HEADER..header_length])?;
    }
    if ipv4::is_martian_source([header[12], header[13], header[14], header[15]]) {
        return Err(Reason::MartianSource);
    }
    if header[ipv4::TTL] == 0 {
        return Err(Reason::TtlExpired);
    }
    Ok(Ipv4 { header, header_length, total_length })
}

#[cold]
fn check_options(options: &[u8]) -> Result<(), Reason> {
    ipv4::options(options).try_for_each(|option| match option {
        Some((kind, _)) if ipv4::is_source_route(kind) => Err(Reason::SourceRoute),
        Some(_) => Ok(()),
        None => Err(Reason::Ipv4Options),
    })
}

/// Whether packets with a key are dropped here for their source address.
pub(crate) fn has_martian_source(key: &FlowKey) -> bool {
    match key {
        FlowKey::V4(key) => ipv4::is_martian_source(key.end.remote),
        FlowKey::V6(key) => ipv6_wire::is_martian_source(&key.remote),
    }
}

#[inline]
fn check_stations(ethernet: &[u8; ethernet::HEADER]) -> Result<(), Reason> {
    if ethernet::names_group(ethernet) { Err(Reason::LinkMulticast) } else { Ok(()) }
}

#[inline]
fn check_checksum(header: &[u8]) -> Result<(), Reason> {
    if checksum::fold(checksum::sum(header, 0)) == 0xffff { Ok(()) } else { Err(Reason::Ipv4Checksum) }
}

/// A header whose first byte is not "version 4, five words". The checksum can be verified only over a possible length.
#[cold]
fn check_unusual_header(packet: &[u8], header_length: usize) -> Result<(), Reason> {
    let header = packet.get(..header_length).filter(|header| header.len() >= ipv4::HEADER);
    if let Some(header) = header {
        check_checksum(header)?;
    }
    if packet[ipv4::VERSION_IHL] >> 4 != 4 {
        return Err(Reason::Ipv4Version);
    }
    header.map(|_| ()).ok_or(Reason::Ipv4HeaderLength)
}

/// The flags of a TCP segment whose header is whole and legal.
#[inline(always)]
fn check_tcp(segment: &[u8]) -> Result<u8, Reason> {
    let Some(header) = segment.first_chunk::<{ l4::tcp::HEADER }>() else {
        return Err(Reason::L4Truncated);
    };
    let header_length = usize::from(header[l4::tcp::DATA_OFFSET] >> 4) * 4;
    if header_length < l4::tcp::HEADER || header_length > segment.len() {
        return Err(Reason::TcpHeaderLength);
    }
    let flags = header[l4::tcp::FLAGS];
    let (fin, syn, rst) = (flags & FIN != 0, flags & SYN != 0, flags & RST != 0);
    if (syn && (fin || rst)) || flags & (FIN | SYN | RST | ACK) == 0 {
        return Err(Reason::TcpFlags);
    }
    Ok(flags)
}

/// 0, for a UDP datagram whose length is legal. Of a first piece only the lower bound is known.
#[inline(always)]
fn check_udp(segment: &[u8], piece: Piece) -> Result<u8, Reason> {
    let Some(header) = segment.first_chunk::<{ l4::udp::HEADER }>() else {
        return Err(Reason::L4Truncated);
    };
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if length < l4::udp::HEADER || (length > segment.len() && piece == Piece::Whole) {
        return Err(Reason::UdpLength);
    }
    Ok(0)
}

/// Version 4, header of five words.
const PLAIN_HEADER: u8 = 0x45;
const TCP: u8 = 6;
const UDP: u8 = 17;
