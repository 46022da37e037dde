//! Pieces of UDP datagrams (RFC 791 section 3.2, RFC 8200 section 4.5). TCP segments in pieces are not carried, as NLB does
//! not carry them; nor are ICMP messages.

use super::{Packet, Piece, TCP, UDP, check_udp, ipv6, parse_ipv4};
use crate::{
    flow_key::{End, FlowKey, Ipv4Key},
    verdict::Reason,
    wire::{ethernet, icmp, icmpv6, ipv4, ipv6::fragment},
};

/// A piece of a UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The packet; a later piece has no ports.
    pub packet: Packet,
    /// What all pieces of the datagram have in common.
    pub id: FragmentId,
}

/// What all pieces of a datagram have in common: addresses, and the sender's number for it. All are UDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentId {
    /// Addresses of both sides; ports are zero.
    pub key: FlowKey,
    /// The sender's number.
    pub number: u32,
}

impl FragmentId {
    /// As words, for hashing.
    pub fn words(&self) -> [u64; 5] {
        match self.key {
            FlowKey::V4(key) => [key.words()[0], key.words()[1], u64::from(self.number), 0, 0],
            FlowKey::V6(key) => {
                let mut words = key.words();
                words[4] ^= u64::from(self.number) << 32 | u64::from(self.number);
                words
            }
        }
    }
}

/// Parses an Ethernet frame that carries a piece of a UDP datagram.
pub fn parse_fragment(frame: &[u8]) -> Result<Fragment, Reason> {
    let (ethernet, rest) =
        frame.split_first_chunk::<{ ethernet::HEADER }>().ok_or(Reason::EthernetTruncated)?;
    if ethernet[ethernet::ETHERTYPE] != ethernet::IPV4 {
        return parse_ipv6_fragment(ethernet, rest);
    }
    let it = parse_ipv4(ethernet, rest)?;
    let flags = u16::from_be_bytes([it.header[6], it.header[7]]);
    let piece = if flags & ipv4::OFFSET_MASK == 0 { Piece::First } else { Piece::Later };
    let protocol = it.header[ipv4::PROTOCOL];
    check_protocol(protocol)?;
    let segment = &rest[it.header_length..it.total_length];
    let has_more = flags & ipv4::MORE_FRAGMENTS != 0;
    check_length(segment.len(), usize::from(flags & ipv4::OFFSET_MASK) * 8, has_more)?;
    let mut end = End {
        local: [it.header[16], it.header[17], it.header[18], it.header[19]],
        remote: [it.header[12], it.header[13], it.header[14], it.header[15]],
        ..End::default()
    };
    let id = FragmentId {
        key: FlowKey::V4(Ipv4Key { end, protocol, zero: [0; 3] }),
        number: u32::from(u16::from_be_bytes([it.header[4], it.header[5]])),
    };
    if piece == Piece::First {
        check_udp(segment, piece)?;
        end.local_port = [segment[2], segment[3]];
        end.remote_port = [segment[0], segment[1]];
        if end.local_port == [0, 0] || end.remote_port == [0, 0] {
            return Err(Reason::PortZero);
        }
    }
    let packet = Packet {
        key: FlowKey::V4(Ipv4Key { end, protocol, zero: [0; 3] }),
        l4: (ethernet::HEADER + it.header_length) as u16,
        total_length: it.total_length as u16,
        tcp_flags: 0,
        ttl: it.header[ipv4::TTL],
        piece,
    };
    Ok(Fragment { packet, id })
}

fn parse_ipv6_fragment(ethernet: &[u8; ethernet::HEADER], rest: &[u8]) -> Result<Fragment, Reason> {
    let it = ipv6::parse_headers(ethernet, rest)?;
    let header =
        it.fragment.and_then(|at| it.packet.get(at..at + fragment::HEADER)).ok_or(Reason::Fragment)?;
    check_protocol(it.protocol)?;
    // Headers behind it are among what is in pieces: dropped from one, they would be missing to the offsets of the others.
    if it.fragment.is_some_and(|at| at + fragment::HEADER != it.upper) {
        return Err(Reason::Ipv6Extension);
    }
    let offset = u16::from_be_bytes([header[2], header[3]]);
    let segment = &it.packet[it.upper..];
    let has_more = offset & fragment::MORE != 0;
    check_length(segment.len(), usize::from(offset & fragment::OFFSET_MASK), has_more)?;
    let piece = if offset & fragment::OFFSET_MASK == 0 { Piece::First } else { Piece::Later };
    let packet = it.packet(piece)?;
    let id = FragmentId {
        key: packet.key.with_ports([0, 0], [0, 0]),
        number: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
    };
    Ok(Fragment { packet, id })
}

/// All pieces but the last are of full units, and none ends behind what a packet can have.
fn check_length(length: usize, offset: usize, has_more: bool) -> Result<(), Reason> {
    let is_broken = has_more && (length == 0 || !length.is_multiple_of(8));
    match is_broken || offset + length > usize::from(u16::MAX) {
        true => Err(Reason::FragmentLength),
        false => Ok(()),
    }
}

fn check_protocol(protocol: u8) -> Result<(), Reason> {
    match protocol {
        UDP => Ok(()),
        TCP => Err(Reason::TcpFragment),
        icmp::PROTOCOL | icmpv6::PROTOCOL => Err(Reason::Fragment),
        _ => Err(Reason::UnsupportedProtocol),
    }
}
