//! One frame at one end of a link, and what it says of itself.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    ops::Range,
};

use lb_core::{
    tables::Mac,
    wire::{
        checksum, ethernet, icmp, icmpv6, ipv4, ipv6,
        l4::{
            self,
            tcp::{ACK, SYN},
        },
    },
};

use super::Direction;
use crate::report::text;

/// A frame at one end of a link.
#[derive(Clone, PartialEq, Eq)]
pub struct Hop {
    /// Label of the link's end.
    pub place: String,
    /// Which way the frame went there.
    pub direction: Direction,
    /// When, since the epoch.
    pub time_ns: u64,
    /// Who sent the frame over this link.
    pub source_mac: Mac,
    /// To whom.
    pub destination_mac: Mac,
    /// Who sent the packet, as it says here; port 0 where there are no ports.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// What it carries.
    pub protocol: Protocol,
    /// Of TCP alone.
    pub segment: Option<Segment>,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Whether the checksums are right.
    pub checksum: Checksum,
    /// The frame itself.
    pub frame: Vec<u8>,
    payload: Range<usize>,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP (RFC 9293).
    Tcp,
    /// UDP (RFC 768).
    Udp,
    /// ICMP (RFC 792) or ICMPv6 (RFC 4443).
    Icmp,
    /// Who has which address: ARP (RFC 826) or neighbour discovery (RFC 4861).
    Neighbours,
    /// Another protocol, by its number.
    Other(u8),
}

/// What a TCP header says beside the ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Flags, as in [`lb_core::wire::l4::tcp`].
    pub flags: u8,
    /// Number of the first byte.
    pub sequence: u32,
    /// Number of the next byte that the sender expects.
    pub acknowledgement: u32,
}

/// The IPv4 header's checksum and that of what it carries, summed up from scratch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Both are right.
    Right,
    /// At least one is not.
    Wrong,
    /// UDP without one, or a protocol that has none.
    Absent,
    /// Of a piece of a packet.
    Unknown,
}

impl Hop {
    /// Reads a frame; `None` when it is neither IP nor ARP, or ends within its headers.
    pub(in crate::testbed) fn read(
        place: &str,
        direction: Direction,
        time_ns: u64,
        frame: &[u8],
    ) -> Option<Hop> {
        let mac = |range: Range<usize>| Some(Mac(frame.get(range)?.try_into().ok()?));
        let packet = Packet::read(frame)?;
        let transport = frame.get(packet.data.clone())?;
        let segment = match packet.protocol {
            Protocol::Tcp => Some(Segment::read(transport)?),
            _ => None,
        };
        let (from, to) = match packet.has_ports() {
            true => (word(transport, l4::SOURCE_PORT.start)?, word(transport, l4::DESTINATION_PORT.start)?),
            false => (0, 0),
        };
        let skipped = packet.header_length(transport)?;
        Some(Hop {
            place: place.to_owned(),
            direction,
            time_ns,
            source_mac: mac(ethernet::SOURCE)?,
            destination_mac: mac(ethernet::DESTINATION)?,
            source: (packet.source, from).into(),
            destination: (packet.destination, to).into(),
            protocol: packet.protocol,
            segment,
            ttl: packet.ttl,
            checksum: packet.checksum(frame),
            payload: (packet.data.start + skipped).min(packet.data.end)..packet.data.end,
            frame: frame.to_vec(),
        })
    }

    /// What the transport header, or in other protocols the IP header, is followed by; without the frame's padding.
    pub fn payload(&self) -> &[u8] {
        &self.frame[self.payload.clone()]
    }

    /// Whether all of these TCP flags are set.
    pub fn has(&self, flags: u8) -> bool {
        self.segment.is_some_and(|segment| segment.flags & flags == flags)
    }

    /// Whether it asks for a TCP connection.
    pub fn is_syn(&self) -> bool {
        self.has(SYN) && !self.has(ACK)
    }

    /// Whether it grants a TCP connection.
    pub fn is_syn_ack(&self) -> bool {
        self.has(SYN | ACK)
    }

    /// Whether both are the same packet, whatever became of its addresses, ports and time to live: protocol, TCP flags, sequence
    /// number and payload are the same.
    pub fn is_same_packet(&self, other: &Hop) -> bool {
        let of_sender = |hop: &Hop| hop.segment.map(|segment| (segment.flags, segment.sequence));
        self.protocol == other.protocol
            && of_sender(self) == of_sender(other)
            && self.payload() == other.payload()
    }
}

/// One line, as failures of tests show many.
impl fmt::Debug for Hop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hop { place, direction, source, destination, protocol, ttl, checksum, .. } = self;
        let (from, to) = (text(self.source_mac), text(self.destination_mac));
        write!(formatter, "{place} {direction:?}: {protocol:?} {source} > {destination} ({from} > {to})")?;
        if let Some(Segment { flags, sequence, acknowledgement }) = self.segment {
            write!(formatter, " flags {flags:#04x} sequence {sequence} acknowledgement {acknowledgement}")?;
        }
        write!(formatter, " payload {} ttl {ttl} checksum {checksum:?}", self.payload.len())
    }
}

impl Segment {
    fn read(header: &[u8]) -> Option<Segment> {
        let number = |range: Range<usize>| Some(u32::from_be_bytes(header.get(range)?.try_into().ok()?));
        Some(Segment {
            flags: *header.get(l4::tcp::FLAGS)?,
            sequence: number(l4::tcp::SEQUENCE)?,
            acknowledgement: number(l4::tcp::ACKNOWLEDGEMENT)?,
        })
    }
}

/// An IP packet or ARP message in a frame.
struct Packet {
    source: IpAddr,
    destination: IpAddr,
    protocol: Protocol,
    /// Protocol number of the IP header; 0 of ARP.
    number: u8,
    ttl: u8,
    is_piece: bool,
    /// What the IP header is followed by; of a frame that was cut short, as much as there is.
    data: Range<usize>,
    /// Whether the frame holds all of it.
    is_whole: bool,
}

impl Packet {
    fn read(frame: &[u8]) -> Option<Packet> {
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

    fn has_ports(&self) -> bool {
        matches!(self.protocol, Protocol::Tcp | Protocol::Udp)
    }

    /// Length of the transport header, in bytes; 0 of protocols without ports.
    fn header_length(&self, transport: &[u8]) -> Option<usize> {
        match self.protocol {
            Protocol::Tcp => Some(usize::from(transport.get(l4::tcp::DATA_OFFSET)? >> 4) * 4),
            Protocol::Udp => Some(l4::udp::HEADER),
            _ => Some(0),
        }
    }

    fn checksum(&self, frame: &[u8]) -> Checksum {
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

fn word(bytes: &[u8], at: usize) -> Option<u16> {
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
const TCP: u8 = 6;
const UDP: u8 = 17;

#[cfg(test)]
impl Hop {
    /// A SYN from 10.0.0.1 at some place, as tests of what is made of hops need it.
    pub(crate) fn sample(place: &str, direction: Direction, to: [u8; 4], ttl: u8) -> Hop {
        let addresses = [&[10, 0, 0, 1][..], &to].concat();
        let ip = [&[0x45, 0, 0, 40, 0, 0, 0x40, 0, ttl, TCP, 0, 0][..], &addresses].concat();
        let tcp = [0x9c, 0x40, 0, 80, 0, 0, 0, 7, 0, 0, 0, 0, 0x50, SYN, 0xff, 0xff, 0, 0, 0, 0];
        let macs = [2, 0, 0, 0, 0, ttl, 2, 0, 0, 0, 1, ttl, 0x08, 0x00];
        let frame = [&macs[..], &ip, &tcp].concat();
        Hop::read(place, direction, 0, &frame).expect("a packet")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 198.18.0.2:40000 to 198.18.100.1:80, a SYN with its checksums, padded to the least length of a frame.
    const SYN_FRAME: [u8; 60] = [
        2, 0x1b, 0, 0, 1, 1, 2, 0x1b, 0, 0, 0, 1, 0x08, 0x00, // to, from, IPv4
        0x45, 0, 0, 40, 0x12, 0x34, 0x40, 0, 64, 6, 0x39, 0x6c, 198, 18, 0, 2, 198, 18, 100, 1, // IPv4
        0x9c, 0x40, 0, 80, 0, 0, 0, 7, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0, // TCP
        0, 0, 0, 0, 0, 0, // padding
    ];

    fn read(frame: &[u8]) -> Option<Hop> {
        Hop::read("here", Direction::In, 0, frame)
    }

    /// The frame with its checksums made right.
    fn summed() -> Vec<u8> {
        let mut frame = SYN_FRAME.to_vec();
        frame[24..26].fill(0);
        let sum = checksum::checksum(&frame[14..34], 0);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        let seed = checksum::pseudo_header([198, 18, 0, 2], [198, 18, 100, 1], TCP, 20);
        let sum = checksum::checksum(&frame[34..54], seed);
        frame[50..52].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    #[test]
    fn a_segment_is_read() {
        let hop = read(&summed()).expect("a packet");
        assert_eq!(hop.source, "198.18.0.2:40000".parse().expect("an address"));
        assert_eq!(hop.destination, "198.18.100.1:80".parse().expect("an address"));
        assert_eq!(
            (hop.source_mac, hop.destination_mac),
            (Mac([2, 0x1b, 0, 0, 0, 1]), Mac([2, 0x1b, 0, 0, 1, 1]))
        );
        assert!(hop.is_syn() && !hop.is_syn_ack());
        assert_eq!((hop.ttl, hop.segment.map(|segment| segment.sequence)), (64, Some(7)));
        assert_eq!((hop.checksum, hop.payload()), (Checksum::Right, [0; 0].as_slice()));
    }

    #[test]
    fn a_wrong_sum_is_told() {
        for at in [26, 53] {
            let mut frame = summed();
            frame[at] ^= 1;
            assert_eq!(read(&frame).map(|hop| hop.checksum), Some(Checksum::Wrong), "byte {at}");
        }
    }

    #[test]
    fn bytes_of_any_length_are_read_or_not() {
        let frame = summed();
        for length in 0..frame.len() {
            read(&frame[..length]);
        }
        assert_eq!(read(&frame[..46]), None);
        let mut nonsense = frame;
        nonsense[14] = 0x4f;
        nonsense[46] = 0xf0;
        assert_eq!(read(&nonsense), None);
    }
}
