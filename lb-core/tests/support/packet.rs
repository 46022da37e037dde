//! TCP and UDP packets of both families, written from nothing and read back with their checksums verified from scratch.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_core::{tables::Mac, wire::checksum};

use super::{ACK, CLIENT_MAC, OUTSIDE_MAC};

/// A TCP or UDP packet to be, of the family of its addresses.
#[derive(Clone, Debug)]
pub struct Crafted {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub macs: (Mac, Mac),
    pub protocol: u8,
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub window: u16,
    /// TCP options: a multiple of 4 bytes.
    pub tcp_options: Vec<u8>,
    pub payload: Vec<u8>,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// Identification and flags of an IPv4 packet.
    pub identification: u16,
    pub do_not_fragment: bool,
    /// IPv4 options: a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// IPv6 extension headers, each with its kind; who follows is written into their first bytes.
    pub extensions: Vec<(u8, Vec<u8>)>,
}

pub fn tcp(source: impl Into<SocketAddr>, destination: impl Into<SocketAddr>, flags: u8) -> Crafted {
    Crafted {
        source: source.into(),
        destination: destination.into(),
        macs: (CLIENT_MAC, OUTSIDE_MAC),
        protocol: 6,
        flags,
        sequence: FIRST_SEQUENCE,
        acknowledgement: if flags & ACK != 0 { FIRST_SEQUENCE + 1 } else { 0 },
        window: 0xffff,
        tcp_options: Vec::new(),
        payload: Vec::new(),
        ttl: 64,
        tos: 0,
        identification: 0x1234,
        do_not_fragment: true,
        options: Vec::new(),
        extensions: Vec::new(),
    }
}

pub fn udp(source: impl Into<SocketAddr>, destination: impl Into<SocketAddr>) -> Crafted {
    Crafted { protocol: 17, payload: b"ping".to_vec(), ..tcp(source, destination, 0) }
}

impl Crafted {
    pub fn macs(self, from: Mac, to: Mac) -> Crafted {
        Crafted { macs: (from, to), ..self }
    }

    pub fn payload(self, payload: &[u8]) -> Crafted {
        Crafted { payload: payload.to_vec(), ..self }
    }

    pub fn extension(mut self, extension: (u8, Vec<u8>)) -> Crafted {
        self.extensions.push(extension);
        self
    }

    /// The frame, all its checksums right.
    pub fn bytes(&self) -> Vec<u8> {
        let segment = self.segment();
        let mut frame = [self.macs.1.0, self.macs.0.0].concat();
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.append_ipv4(&mut frame, source, destination, segment.len());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.append_ipv6(&mut frame, source, destination, segment.len());
            }
            other => panic!("a packet has one family: {other:?}"),
        }
        frame.extend(segment);
        frame
    }

    fn segment(&self) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend(self.source.port().to_be_bytes());
        segment.extend(self.destination.port().to_be_bytes());
        let checksum_at = if self.protocol == 6 {
            segment.extend(self.sequence.to_be_bytes());
            segment.extend(self.acknowledgement.to_be_bytes());
            segment.extend([((20 + self.tcp_options.len()) * 4) as u8, self.flags]);
            segment.extend(self.window.to_be_bytes());
            segment.extend([0; 4]);
            segment.extend(&self.tcp_options);
            16
        } else {
            segment.extend((8 + self.payload.len() as u16).to_be_bytes());
            segment.extend([0, 0]);
            6
        };
        segment.extend(&self.payload);
        let pseudo = pseudo_header(self.source.ip(), self.destination.ip(), self.protocol, segment.len());
        let sum = match checksum::checksum(&segment, pseudo) {
            0 if self.protocol == 17 => 0xffff,
            sum => sum,
        };
        segment[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
        segment
    }

    fn append_ipv4(&self, frame: &mut Vec<u8>, source: Ipv4Addr, destination: Ipv4Addr, payload: usize) {
        let header_length = 20 + self.options.len();
        frame.extend([0x08, 0x00, 0x40 | (header_length / 4) as u8, self.tos]);
        frame.extend(((header_length + payload) as u16).to_be_bytes());
        frame.extend(self.identification.to_be_bytes());
        frame.extend([if self.do_not_fragment { 0x40 } else { 0 }, 0, self.ttl, self.protocol, 0, 0]);
        frame.extend(source.octets());
        frame.extend(destination.octets());
        frame.extend(&self.options);
        fix_ip_checksum(frame);
    }

    fn append_ipv6(&self, frame: &mut Vec<u8>, source: Ipv6Addr, destination: Ipv6Addr, payload: usize) {
        let extensions: usize = self.extensions.iter().map(|(_, bytes)| bytes.len()).sum();
        let kinds: Vec<u8> = self.extensions.iter().map(|(kind, _)| *kind).chain([self.protocol]).collect();
        frame.extend([0x86, 0xdd, 0x60 | self.tos >> 4, self.tos << 4 | FLOW_LABEL[0]]);
        frame.extend(&FLOW_LABEL[1..]);
        frame.extend(((extensions + payload) as u16).to_be_bytes());
        frame.extend([kinds[0], self.ttl]);
        frame.extend(source.octets());
        frame.extend(destination.octets());
        for ((_, bytes), next) in self.extensions.iter().zip(&kinds[1..]) {
            frame.push(*next);
            frame.extend(&bytes[1..]);
        }
    }
}

/// Hop-by-hop options: padding.
pub fn hop_by_hop() -> (u8, Vec<u8>) {
    (0, vec![0, 0, 1, 4, 0, 0, 0, 0])
}

/// Destination options: padding, of so many bytes in all, a multiple of 8.
pub fn destination_options(length: usize) -> (u8, Vec<u8>) {
    let mut bytes = vec![0, (length / 8 - 1) as u8];
    bytes.resize(length, 0); // Each zero is an option "Pad1".
    (60, bytes)
}

/// A routing header of a kind, with one address.
pub fn routing(kind: u8, segments_left: u8) -> (u8, Vec<u8>) {
    let mut bytes = vec![0, 2, kind, segments_left];
    bytes.resize(24, 0);
    (43, bytes)
}

/// A fragment header: offset in bytes, whether more follows (1) or not (0), and the datagram's number.
pub fn fragment_header(offset: u16, more: u16, number: u32) -> (u8, Vec<u8>) {
    let [high, low] = (offset | more).to_be_bytes();
    (44, [&[0, 0, high, low][..], &number.to_be_bytes()].concat())
}

/// Makes the IPv4 header's checksum right.
pub fn fix_ip_checksum(frame: &mut [u8]) {
    let end = (14 + usize::from(frame[14] & 15) * 4).clamp(34, frame.len());
    frame[24..26].fill(0);
    let sum = checksum::checksum(&frame[14..end], 0);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// An IP packet taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenIp {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub macs: (Mac, Mac),
    pub ttl: u8,
    pub tos: u8,
    /// Kind of the payload.
    pub protocol: u8,
    /// The IP header, with IPv4 options or IPv6 extension headers.
    pub header: Vec<u8>,
    pub payload: Vec<u8>,
}

/// A TCP or UDP packet taken apart again, its checksums verified from scratch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub macs: (Mac, Mac),
    pub ttl: u8,
    pub tos: u8,
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub window: u16,
    pub tcp_options: Vec<u8>,
    /// The IP header, with IPv4 options or IPv6 extension headers.
    pub header: Vec<u8>,
    pub payload: Vec<u8>,
}

/// Reads the IP header of a frame; panics when its lengths or its checksum are wrong. Padding is left out.
pub fn read_ip(frame: &[u8]) -> SeenIp {
    let ip = &frame[14..];
    let (header, payload, protocol) = match &frame[12..14] {
        [0x08, 0x00] => split_ipv4(ip),
        [0x86, 0xdd] => split_ipv6(ip),
        other => panic!("EtherType {other:02x?}"),
    };
    let is_ipv4 = header[0] >> 4 == 4;
    let address = |v4: usize, v6: usize| match is_ipv4 {
        true => IpAddr::from(<[u8; 4]>::try_from(&header[v4..v4 + 4]).unwrap()),
        false => IpAddr::from(<[u8; 16]>::try_from(&header[v6..v6 + 16]).unwrap()),
    };
    SeenIp {
        source: address(12, 8),
        destination: address(16, 24),
        macs: (Mac(frame[6..12].try_into().unwrap()), Mac(frame[0..6].try_into().unwrap())),
        ttl: if is_ipv4 { header[8] } else { header[7] },
        tos: if is_ipv4 { header[1] } else { header[0] << 4 | header[1] >> 4 },
        protocol,
        header: header.to_vec(),
        payload: payload.to_vec(),
    }
}

fn split_ipv4(ip: &[u8]) -> (&[u8], &[u8], u8) {
    let ip = &ip[..usize::from(u16::from_be_bytes([ip[2], ip[3]]))];
    let (header, payload) = ip.split_at(usize::from(ip[0] & 15) * 4);
    assert_eq!(ip[0] >> 4, 4, "version");
    assert_eq!(checksum::fold(checksum::sum(header, 0)), 0xffff, "IP checksum");
    (header, payload, header[9])
}

fn split_ipv6(ip: &[u8]) -> (&[u8], &[u8], u8) {
    assert_eq!(ip[0] >> 4, 6, "version");
    let ip = &ip[..40 + usize::from(u16::from_be_bytes([ip[4], ip[5]]))];
    let (mut at, mut protocol) = (40, ip[6]);
    while matches!(protocol, 0 | 43 | 44 | 60) {
        let length = if protocol == 44 { 8 } else { (usize::from(ip[at + 1]) + 1) * 8 };
        (protocol, at) = (ip[at], at + length);
    }
    let (header, payload) = ip.split_at(at);
    (header, payload, protocol)
}

/// Reads a TCP or UDP frame back; panics when a checksum is wrong.
pub fn read(frame: &[u8]) -> Seen {
    let ip = read_ip(frame);
    let segment = &ip.payload;
    let is_udp = match ip.protocol {
        17 => true,
        6 => false,
        other => panic!("protocol {other}"),
    };
    let has_checksum = !(is_udp && ip.source.is_ipv4() && segment[6..8] == [0, 0]);
    if has_checksum {
        let pseudo = pseudo_header(ip.source, ip.destination, ip.protocol, segment.len());
        assert_eq!(checksum::fold(checksum::sum(segment, pseudo)), 0xffff, "TCP or UDP checksum");
    }
    let half = |at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
    if is_udp {
        assert_eq!(usize::from(half(4)), segment.len(), "UDP length");
    }
    let word =
        |at: usize| if is_udp { 0 } else { u32::from_be_bytes(segment[at..at + 4].try_into().unwrap()) };
    let header_length = if is_udp { 8 } else { usize::from(segment[12] >> 4) * 4 };
    Seen {
        source: (ip.source, half(0)).into(),
        destination: (ip.destination, half(2)).into(),
        macs: ip.macs,
        ttl: ip.ttl,
        tos: ip.tos,
        flags: if is_udp { 0 } else { segment[13] },
        sequence: word(4),
        acknowledgement: word(8),
        window: if is_udp { 0 } else { half(14) },
        tcp_options: segment[if is_udp { 8 } else { 20 }..header_length].to_vec(),
        payload: segment[header_length..].to_vec(),
        header: ip.header,
    }
}

/// Whether the TCP, UDP, ICMP or ICMPv6 checksum of a frame is right; `None` for UDP without one.
pub fn is_checksum_right(frame: &[u8]) -> Option<bool> {
    let ip = read_ip(frame);
    let pseudo = match ip.protocol {
        1 => 0,
        17 if ip.payload[6..8] == [0, 0] => return None,
        protocol => pseudo_header(ip.source, ip.destination, protocol, ip.payload.len()),
    };
    Some(checksum::fold(checksum::sum(&ip.payload, pseudo)) == 0xffff)
}

/// Sum of the pseudo-header, word by word.
pub fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u32 {
    let mut bytes = match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
        other => panic!("a packet has one family: {other:?}"),
    };
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend(u32::from(protocol).to_be_bytes());
    checksum::sum(&bytes, 0)
}

/// Sequence number of a segment of which nothing else is said, whoever sends it: so an acknowledgement is one of the other's SYN.
pub const FIRST_SEQUENCE: u32 = 0x1000_0000;
/// What IPv6 packets have for a flow label.
const FLOW_LABEL: [u8; 3] = [0x05, 0x43, 0x21];
