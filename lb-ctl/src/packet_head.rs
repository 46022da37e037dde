//! The headers of a frame, read for people. Reads what is there and says nothing of what is not: the frame may be damaged, or cut
//! short behind its headers.

use std::net::{IpAddr, SocketAddr};

use lb_core::{
    limits,
    wire::{
        ethernet, icmp, icmpv6, ipv4, ipv6,
        l4::{self, tcp},
    },
};

use crate::api::{PacketHead, TcpHead};

/// What the first `bytes` of a frame of `length` bytes say.
pub fn packet_head(bytes: &[u8], length: usize) -> PacketHead {
    let mac = |range: std::ops::Range<usize>| bytes.get(range).map(mac_text);
    let head = PacketHead {
        bytes: length,
        destination_mac: mac(ethernet::DESTINATION),
        source_mac: mac(ethernet::SOURCE),
        ..PacketHead::default()
    };
    let packet = bytes.get(ethernet::HEADER..).unwrap_or_default();
    match bytes.get(ethernet::ETHERTYPE) {
        Some(kind) if kind == ethernet::IPV4 => ipv4_head(packet, head),
        Some(kind) if kind == ethernet::IPV6 => ipv6_head(packet, head),
        Some(kind) => PacketHead { protocol: format!("EtherType 0x{:02x}{:02x}", kind[0], kind[1]), ..head },
        None => PacketHead { protocol: "no Ethernet header".into(), ..head },
    }
}

/// From where to where a packet goes, ports included where it has some.
pub fn ends(head: &PacketHead) -> Option<(String, String)> {
    let end = |address: Option<IpAddr>, port: Option<u16>| {
        let address = address?;
        Some(port.map_or_else(|| address.to_string(), |port| SocketAddr::from((address, port)).to_string()))
    };
    let source = end(head.source, head.source_port)?;
    Some((source, end(head.destination, head.destination_port)?))
}

/// Such as `02:00:00:00:00:01`.
fn mac_text(mac: &[u8]) -> String {
    mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

fn ipv4_head(packet: &[u8], head: PacketHead) -> PacketHead {
    let Some(header) = packet.first_chunk::<{ ipv4::HEADER }>() else {
        return PacketHead { protocol: "IPv4, cut short".into(), ..head };
    };
    let address = |at: usize| IpAddr::from([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let fragment = number(packet, ipv4::FRAGMENT.start).unwrap_or_default();
    let head = PacketHead {
        source: Some(address(ipv4::SOURCE.start)),
        destination: Some(address(ipv4::DESTINATION.start)),
        ttl: Some(header[ipv4::TTL]),
        is_piece: fragment & ipv4::FRAGMENT_MASK != 0,
        ..head
    };
    let header_bytes = usize::from(header[ipv4::VERSION_IHL] & 0x0f) * 4;
    let total = usize::from(number(packet, ipv4::TOTAL_LENGTH.start).unwrap_or_default());
    let upper = Upper {
        protocol: header[ipv4::PROTOCOL],
        bytes: packet.get(header_bytes..).filter(|_| fragment & ipv4::OFFSET_MASK == 0),
        length: total.saturating_sub(header_bytes),
    };
    upper.head(head)
}

fn ipv6_head(packet: &[u8], head: PacketHead) -> PacketHead {
    let Some(header) = packet.first_chunk::<{ ipv6::HEADER }>() else {
        return PacketHead { protocol: "IPv6, cut short".into(), ..head };
    };
    let address = |range: std::ops::Range<usize>| {
        header.get(range).and_then(|bytes| bytes.first_chunk::<16>()).map(|bytes| IpAddr::from(*bytes))
    };
    let mut head = PacketHead {
        source: address(ipv6::SOURCE),
        destination: address(ipv6::DESTINATION),
        ttl: Some(header[ipv6::HOP_LIMIT]),
        ..head
    };
    let length = usize::from(number(packet, ipv6::PAYLOAD_LENGTH.start).unwrap_or_default());
    let (mut protocol, mut at) = (header[ipv6::NEXT_HEADER], ipv6::HEADER);
    let mut is_later_piece = false;
    for _ in 0..limits::EXTENSION_HEADERS {
        let Some(extension) = packet.get(at..).and_then(|rest| rest.first_chunk::<4>()) else { break };
        match protocol {
            ipv6::next::FRAGMENT => {
                head.is_piece = true;
                is_later_piece |= u16::from_be_bytes([extension[2], extension[3]]) >> 3 != 0;
                at += 8;
            }
            ipv6::next::HOP_BY_HOP | ipv6::next::ROUTING | ipv6::next::DESTINATION => {
                at += (usize::from(extension[1]) + 1) * 8;
            }
            _ => break,
        }
        protocol = extension[0];
    }
    let bytes = packet.get(at..).filter(|_| !is_later_piece);
    Upper { protocol, bytes, length: (ipv6::HEADER + length).saturating_sub(at) }.head(head)
}

/// What an IP packet carries.
struct Upper<'p> {
    protocol: u8,
    /// `None` where its header is not in this packet.
    bytes: Option<&'p [u8]>,
    /// Its length by the IP header.
    length: usize,
}

impl Upper<'_> {
    fn head(self, head: PacketHead) -> PacketHead {
        let protocol = match self.protocol {
            TCP => "TCP".into(),
            UDP => "UDP".into(),
            icmp::PROTOCOL => "ICMP".into(),
            icmpv6::PROTOCOL => "ICMPv6".into(),
            other => format!("protocol {other}"),
        };
        let head = PacketHead { protocol, ..head };
        let Some(bytes) = self.bytes.filter(|_| matches!(self.protocol, TCP | UDP)) else { return head };
        PacketHead {
            source_port: number(bytes, l4::SOURCE_PORT.start),
            destination_port: number(bytes, l4::DESTINATION_PORT.start),
            tcp: (self.protocol == TCP).then(|| tcp_head(bytes, self.length)).flatten(),
            ..head
        }
    }
}

fn tcp_head(segment: &[u8], length: usize) -> Option<TcpHead> {
    let header = segment.first_chunk::<{ tcp::HEADER }>()?;
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let flags = header[tcp::FLAGS];
    let set = FLAGS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name);
    Some(TcpHead {
        flags: set.collect::<Vec<_>>().join(","),
        sequence: word(tcp::SEQUENCE.start),
        acknowledgement: (flags & tcp::ACK != 0).then(|| word(tcp::ACKNOWLEDGEMENT.start)),
        window: number(header, tcp::WINDOW.start).unwrap_or_default(),
        data_bytes: length.saturating_sub(usize::from(header[tcp::DATA_OFFSET] >> 4) * 4),
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

const TCP: u8 = 6;
const UDP: u8 = 17;
/// RFC 9293 section 3.1, RFC 3168 section 6.1.
const FLAGS: [(u8, &str); 8] = [
    (tcp::SYN, "SYN"),
    (tcp::FIN, "FIN"),
    (tcp::RST, "RST"),
    (0x08, "PSH"),
    (tcp::ACK, "ACK"),
    (0x20, "URG"),
    (0x40, "ECE"),
    (0x80, "CWR"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    /// SYN,ACK of 198.18.0.2:8080 to 198.18.0.1:40000, with 2 bytes of data, between 02:..:01 and 02:..:02.
    const SEGMENT: &str = "02000000000202000000000108004500002a0001000040060000c6120002c6120001\
                           1f909c40000000050000000750120100000000006869";

    fn frame() -> [u8; 56] {
        hex::bytes(SEGMENT).expect("56 bytes")
    }

    #[test]
    fn a_segment_is_read_to_its_data() {
        let head = packet_head(&frame(), 60);
        assert_eq!((head.bytes, head.protocol.as_str(), head.ttl), (60, "TCP", Some(64)));
        assert_eq!(head.source_mac.as_deref(), Some("02:00:00:00:00:01"));
        assert_eq!(head.destination_mac.as_deref(), Some("02:00:00:00:00:02"));
        assert_eq!((head.source_port, head.destination_port), (Some(8080), Some(40_000)));
        assert_eq!(head.source, Some("198.18.0.2".parse().unwrap()));
        let tcp = TcpHead {
            flags: "SYN,ACK".into(),
            sequence: 5,
            acknowledgement: Some(7),
            window: 256,
            data_bytes: 2,
        };
        assert_eq!(head.tcp, Some(tcp));
    }

    #[test]
    fn whatever_is_cut_off_is_not_told() {
        let frame = frame();
        let heads: Vec<PacketHead> = (0..frame.len()).map(|end| packet_head(&frame[..end], 60)).collect();
        assert_eq!(heads[13].protocol, "no Ethernet header");
        assert_eq!((heads[33].protocol.as_str(), heads[33].source), ("IPv4, cut short", None));
        assert_eq!((heads[35].source_port, heads[36].source_port), (None, Some(8080)));
        assert_eq!((&heads[53].tcp, heads[54].tcp.is_some()), (&None, true));
    }

    #[test]
    fn a_later_piece_has_no_ports() {
        let mut frame = frame();
        frame[21] = 1;
        let head = packet_head(&frame, 60);
        assert_eq!((head.is_piece, head.source_port, head.tcp), (true, None, None));
    }
}
