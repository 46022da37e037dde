//! The IP packet or ARP message in a frame: what hops are read of.

use std::{net::IpAddr, ops::Range};

use lb_core::wire::{checksum, ethernet, icmp, icmpv6, ipv4, ipv6, l4};

use super::hop::{Checksum, Protocol};

/// An IP packet or ARP message in a frame.
pub(super) struct Packet {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: Protocol,
    /// Protocol number of the IP header; 0 of ARP.
    number: u8,
    pub(super) ttl: u8,
    is_piece: bool,
    /// What the IP header is followed by; of a frame that was cut short, as much as there is.
    pub(super) data: Range<usize>,
    /// Whether the frame holds all of it.
    is_whole: bool,
}

impl Packet {
    pub(super) fn read(frame: &[u8]) -> Option<Packet> {
        let packet = frame.get(ethernet::HEADER..)?;
        match <[u8; 2]>::try_from(frame.get(ethernet::ETHERTYPE)?).ok()? {
            ethernet::IPV4 => Packet::read_ipv4(packet),
            ethernet::IPV6 => Packet::read_ipv6(packet),
            ARP => Packet::read_arp(packet),
            _ => None,
        }
    }

    fn read_ipv4(packet: &[u8]) -> Option<Packet> {
        let header_length = usize::from(packet.first()? & 0x0f) * 4;
        let total_length = usize::from(word(packet, ipv4::TOTAL_LENGTH.start)?);
        let number = *packet.get(ipv4::PROTOCOL)?;
        let is_piece = word(packet, ipv4::FRAGMENT.start)? & ipv4::FRAGMENT_MASK != 0;
        Some(Packet {
            source: v4(packet, ipv4::SOURCE)?,
            destination: v4(packet, ipv4::DESTINATION)?,
            protocol: if is_piece { Protocol::Other(number) } else { protocol_of(number, None) },
            number,
            ttl: *packet.get(ipv4::TTL)?,
            is_piece,
            data: within(header_length..total_length, packet),
            is_whole: total_length <= packet.len(),
        })
    }

    /// Packets with extension headers are of the first one's protocol.
    fn read_ipv6(packet: &[u8]) -> Option<Packet> {
        let total_length = ipv6::HEADER + usize::from(word(packet, ipv6::PAYLOAD_LENGTH.start)?);
        let number = *packet.get(ipv6::NEXT_HEADER)?;
        Some(Packet {
            source: v6(packet, ipv6::SOURCE)?,
            destination: v6(packet, ipv6::DESTINATION)?,
            protocol: protocol_of(number, packet.get(ipv6::HEADER).copied()),
            number,
            ttl: *packet.get(ipv6::HOP_LIMIT)?,
            is_piece: number == ipv6::next::FRAGMENT,
            data: within(ipv6::HEADER..total_length, packet),
            is_whole: total_length <= packet.len(),
        })
    }

    /// RFC 826, for IPv4 over Ethernet.
    fn read_arp(packet: &[u8]) -> Option<Packet> {
        Some(Packet {
            source: v4(packet, ARP_SENDER)?,
            destination: v4(packet, ARP_TARGET)?,
            protocol: Protocol::Neighbours,
            number: 0,
            ttl: 0,
            is_piece: false,
            data: within(0..ARP_TARGET.end, packet),
            is_whole: true,
        })
    }

    pub(super) fn has_ports(&self) -> bool {
        matches!(self.protocol, Protocol::Tcp | Protocol::Udp)
    }

    /// Length of the transport header, in bytes; 0 of protocols without ports.
    pub(super) fn header_length(&self, transport: &[u8]) -> Option<usize> {
        match self.protocol {
            Protocol::Tcp => Some(usize::from(transport.get(l4::tcp::DATA_OFFSET)? >> 4) * 4),
            Protocol::Udp => Some(l4::udp::HEADER),
            _ => Some(0),
        }
    }

    pub(super) fn checksum(&self, frame: &[u8]) -> Checksum {
        let data = &frame[self.data.clone()];
        let header = &frame[ethernet::HEADER..self.data.start];
        let is_header_right =
            !self.source.is_ipv4() || self.number == 0 || checksum::checksum(header, 0) == 0;
        let pseudo = checksum::pseudo_header_of(self.source, self.destination, self.number, data.len());
        let seed = if self.number == icmp::PROTOCOL { 0 } else { pseudo };
        let has_sum = matches!(self.number, TCP | UDP | icmp::PROTOCOL | icmpv6::PROTOCOL);
        match () {
            () if !is_header_right => Checksum::Wrong,
            () if self.is_piece || !self.is_whole => Checksum::Unknown,
            () if !has_sum || self.number == UDP && word(data, l4::udp::CHECKSUM) == Some(0) => {
                Checksum::Absent
            }
            () if checksum::checksum(data, seed) == 0 => Checksum::Right,
            () => Checksum::Wrong,
        }
    }
}

/// `kind` is the type of an ICMPv6 message.
fn protocol_of(number: u8, kind: Option<u8>) -> Protocol {
    match number {
        TCP => Protocol::Tcp,
        UDP => Protocol::Udp,
        icmpv6::PROTOCOL if kind.is_some_and(|kind| NEIGHBOUR_DISCOVERY.contains(&kind)) => {
            Protocol::Neighbours
        }
        icmp::PROTOCOL | icmpv6::PROTOCOL => Protocol::Icmp,
        number => Protocol::Other(number),
    }
}

/// A range of a packet as one of its frame, as far as the packet goes.
fn within(range: Range<usize>, packet: &[u8]) -> Range<usize> {
    let end = range.end.min(packet.len());
    ethernet::HEADER + range.start.min(end)..ethernet::HEADER + end
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn v4(packet: &[u8], range: Range<usize>) -> Option<IpAddr> {
    Some(<[u8; 4]>::try_from(packet.get(range)?).ok()?.into())
}

fn v6(packet: &[u8], range: Range<usize>) -> Option<IpAddr> {
    Some(<[u8; 16]>::try_from(packet.get(range)?).ok()?.into())
}

/// EtherType of ARP, in network order.
const ARP: [u8; 2] = [0x08, 0x06];
/// The sender's IPv4 address in an ARP message.
const ARP_SENDER: Range<usize> = 14..18;
/// The IPv4 address that is asked for, or the asker's.
const ARP_TARGET: Range<usize> = 24..28;
/// Types of ICMPv6 messages from router solicitation to redirect (RFC 4861 section 4).
const NEIGHBOUR_DISCOVERY: std::ops::RangeInclusive<u8> = 133..=137;
pub(super) const TCP: u8 = 6;
const UDP: u8 = 17;
