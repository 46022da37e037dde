//! IPv6 packets: the fixed header, and a bounded walk over what follows it.

use super::{Packet, Piece, TCP, UDP, check_stations, check_tcp, check_udp};
use crate::{
    flow_key::{FlowKey, Ipv6Key},
    limits,
    verdict::Reason,
    wire::{
        ethernet, icmpv6,
        ipv6::{self, fragment, next, routing},
        l4::udp,
    },
};

/// An IPv6 packet that may be forwarded, as far as its headers tell. Offsets count from the start of the IPv6 header.
pub(super) struct Ipv6<'f> {
    pub(super) header: &'f [u8; ipv6::HEADER],
    /// The packet without padding.
    pub(super) packet: &'f [u8],
    /// Kind of the header at `upper`.
    pub(super) protocol: u8,
    /// Where the walk ended: at the transport header, or behind the fragment header of a later piece.
    pub(super) upper: usize,
    /// Where the fragment header is, if the packet is a piece.
    pub(super) fragment: Option<usize>,
    /// Where the first routing header with segments left is, if there is one.
    route: Option<usize>,
}

#[inline(never)]
pub(super) fn parse(ethernet: &[u8; ethernet::HEADER], packet: &[u8]) -> Result<Packet, Reason> {
    let it = parse_headers(ethernet, packet)?;
    if it.fragment.is_some() {
        return Err(Reason::Fragment);
    }
    it.packet(Piece::Whole)
}

/// A packet whose route goes on from its destination (RFC 8200 section 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routed {
    /// The packet, without ports.
    pub packet: Packet,
    /// Where the kind of the route stands, in bytes from the start of the IPv6 header.
    pub kind_at: u32,
}

/// Parses an Ethernet frame that carries a TCP or UDP packet over IPv6, whole or not, with a route that goes on. `None` of any other, and
/// where the route is part of what is in pieces.
pub fn parse_routed(frame: &[u8]) -> Option<Routed> {
    let (ethernet, rest) = frame.split_first_chunk()?;
    let it = read_headers(ethernet, rest).ok().filter(|it| matches!(it.protocol, TCP | UDP))?;
    let route = it.route.filter(|route| it.fragment.is_none_or(|fragment| *route < fragment))?;
    Some(Routed { packet: it.packet(Piece::Later).ok()?, kind_at: (route + routing::KIND) as u32 })
}

/// Checks the fixed header and walks over the extension headers, none of which may have the packet go on to somebody else.
pub(super) fn parse_headers<'f>(
    ethernet: &[u8; ethernet::HEADER],
    packet: &'f [u8],
) -> Result<Ipv6<'f>, Reason> {
    let it = read_headers(ethernet, packet)?;
    if it.route.is_some() { Err(Reason::SourceRoute) } else { Ok(it) }
}

fn read_headers<'f>(ethernet: &[u8; ethernet::HEADER], packet: &'f [u8]) -> Result<Ipv6<'f>, Reason> {
    if ethernet[ethernet::ETHERTYPE] != ethernet::IPV6 {
        return Err(Reason::NotIp);
    }
    let header = packet.first_chunk::<{ ipv6::HEADER }>().ok_or(Reason::Ipv6Truncated)?;
    check_stations(ethernet)?;
    if header[0] >> 4 != 6 {
        return Err(Reason::Ipv6Version);
    }
    let length = ipv6::HEADER + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let is_short = length <= usize::from(u16::MAX);
    let packet = packet.get(..length).filter(|_| is_short).ok_or(Reason::Ipv6PayloadLength)?;
    if header[ipv6::SOURCE].try_into().is_ok_and(ipv6::is_martian_source) {
        return Err(Reason::MartianSource);
    }
    let it = walk(header, packet)?;
    if header[ipv6::HOP_LIMIT] == 0 {
        return Err(Reason::TtlExpired);
    }
    Ok(it)
}

fn walk<'f>(header: &'f [u8; ipv6::HEADER], packet: &'f [u8]) -> Result<Ipv6<'f>, Reason> {
    let mut protocol = header[ipv6::NEXT_HEADER];
    let mut at = ipv6::HEADER;
    let (mut fragment, mut route) = (None, None);
    for _ in 0..limits::EXTENSION_HEADERS {
        match protocol {
            next::HOP_BY_HOP if at != ipv6::HEADER => return Err(Reason::Ipv6Extension),
            next::HOP_BY_HOP | next::DESTINATION => {}
            next::ROUTING => {
                let fields = packet.get(at..at + 4).ok_or(Reason::Ipv6Extension)?;
                match (fields[routing::KIND], fields[routing::SEGMENTS_LEFT]) {
                    (0, 0) => return Err(Reason::SourceRoute), // RFC 5095 section 4.2.
                    (_, 0) => {}
                    _ => route = route.or(Some(at)),
                }
            }
            next::FRAGMENT => {
                let piece = packet.get(at..at + fragment::HEADER).ok_or(Reason::Ipv6Extension)?;
                let offset = u16::from_be_bytes([piece[2], piece[3]]);
                protocol = piece[fragment::NEXT_HEADER];
                // A packet that is all of its pieces is whole (RFC 6946).
                if offset & (fragment::OFFSET_MASK | fragment::MORE) != 0 {
                    if fragment.is_some() {
                        return Err(Reason::Ipv6Extension);
                    }
                    fragment = Some(at);
                }
                at += fragment::HEADER;
                if offset & fragment::OFFSET_MASK != 0 {
                    return Ok(Ipv6 { header, packet, protocol, upper: at, fragment, route });
                }
                continue;
            }
            next::NONE => return Err(Reason::Ipv6NoNextHeader),
            _ => return Ok(Ipv6 { header, packet, protocol, upper: at, fragment, route }),
        }
        let extension = packet.get(at..at + 2).ok_or(Reason::Ipv6Extension)?;
        protocol = extension[0];
        at += (usize::from(extension[1]) + 1) * 8;
        if at > packet.len() {
            return Err(Reason::Ipv6Extension);
        }
    }
    Err(Reason::Ipv6Extension)
}

impl Ipv6<'_> {
    /// The TCP or UDP packet. A later piece has no ports.
    pub(super) fn packet(&self, piece: Piece) -> Result<Packet, Reason> {
        let segment = &self.packet[self.upper..];
        let tcp_flags = match self.protocol {
            _ if piece == Piece::Later => 0,
            TCP => check_tcp(segment)?,
            UDP => {
                let flags = check_udp(segment, piece)?;
                if segment[udp::CHECKSUM..udp::CHECKSUM + 2] == [0, 0] {
                    return Err(Reason::UdpChecksumZero);
                }
                flags
            }
            icmpv6::PROTOCOL => return Err(Reason::IcmpNoFlow),
            _ => return Err(Reason::UnsupportedProtocol),
        };
        let port = |at: usize| match piece {
            Piece::Later => [0, 0],
            Piece::Whole | Piece::First => [segment[at], segment[at + 1]],
        };
        let (mut local, mut remote) = ([0; 16], [0; 16]);
        local.copy_from_slice(&self.header[ipv6::DESTINATION]);
        remote.copy_from_slice(&self.header[ipv6::SOURCE]);
        let key = Ipv6Key {
            local,
            remote,
            local_port: port(2),
            remote_port: port(0),
            protocol: self.protocol,
            zero: [0; 3],
        };
        if piece != Piece::Later && (key.local_port == [0, 0] || key.remote_port == [0, 0]) {
            return Err(Reason::PortZero);
        }
        Ok(Packet {
            key: FlowKey::V6(key),
            l4: (ethernet::HEADER + self.upper) as u16,
            total_length: self.packet.len() as u16,
            tcp_flags,
            ttl: self.header[ipv6::HOP_LIMIT],
            piece,
        })
    }
}
