//! Packets of both families as values, and the frames that they are on a wire.

use std::{net::IpAddr, ops::Range};

use lb_core::{
    tables::Mac,
    wire::{checksum, ethernet},
};

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

pub const ICMPV4: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const FRAGMENT: u8 = 44;
pub const ICMPV6: u8 = 58;

/// Everything before a transport header. Both addresses are of one family.
#[derive(Clone, Debug)]
pub struct Header {
    /// Sender and receiver on the link.
    pub macs: (Mac, Mac),
    pub source: IpAddr,
    pub destination: IpAddr,
    pub ttl: u8,
    pub tos: u8,
    /// Identification, of which IPv4 has the low half.
    pub number: u32,
    pub may_fragment: bool,
    /// IPv4 options, a multiple of 4 bytes.
    pub options: Vec<u8>,
    /// IPv6 extension headers: kind, and the bytes behind the next header's kind, 8 less one or a multiple of that and one.
    pub extensions: Vec<(u8, Vec<u8>)>,
}

/// A TCP or UDP packet.
#[derive(Clone, Debug)]
pub struct Packet {
    pub header: Header,
    /// Source and destination.
    pub ports: (u16, u16),
    pub body: Body,
}

#[derive(Clone, Debug)]
pub enum Body {
    Tcp(Tcp),
    Udp(Udp),
}

#[derive(Clone, Debug, Default)]
pub struct Tcp {
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub window: u16,
    /// A multiple of 4 bytes.
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
pub struct Udp {
    pub payload: Vec<u8>,
    pub lacks_checksum: bool,
    /// Bytes behind the datagram, in the IP packet.
    pub surplus: usize,
}

impl Packet {
    pub fn protocol(&self) -> u8 {
        match self.body {
            Body::Tcp(_) => TCP,
            Body::Udp(_) => UDP,
        }
    }

    /// The frame of the whole packet.
    pub fn frame(&self) -> Vec<u8> {
        self.header.frame(self.protocol(), &self.segment(), None)
    }

    /// Frames of pieces: these ranges of the transport header and data, which begin at multiples of 8.
    pub fn pieces(&self, ranges: &[Range<usize>]) -> Vec<Vec<u8>> {
        let segment = self.segment();
        let piece = |range: &Range<usize>| {
            let piece = Piece { offset: range.start, has_more: range.end < segment.len() };
            self.header.frame(self.protocol(), &segment[range.clone()], Some(piece))
        };
        ranges.iter().map(piece).collect()
    }

    /// The transport header and data, the checksum right.
    pub fn segment(&self) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend(self.ports.0.to_be_bytes());
        segment.extend(self.ports.1.to_be_bytes());
        match &self.body {
            Body::Tcp(tcp) => {
                segment.extend(tcp.sequence.to_be_bytes());
                segment.extend(tcp.acknowledgement.to_be_bytes());
                segment.extend([((20 + tcp.options.len()) / 4) as u8 * 16, tcp.flags]);
                segment.extend(tcp.window.to_be_bytes());
                segment.extend([0; 4]);
                segment.extend(&tcp.options);
                segment.extend(&tcp.payload);
                self.header.sign(&mut segment, TCP, 16);
            }
            Body::Udp(udp) => {
                segment.extend((8 + udp.payload.len() as u16).to_be_bytes());
                segment.extend([0; 2]);
                segment.extend(&udp.payload);
                if !udp.lacks_checksum {
                    self.header.sign(&mut segment, UDP, 6);
                    if segment[6..8] == [0, 0] {
                        segment[6..8].fill(0xff);
                    }
                }
                segment.resize(segment.len() + udp.surplus, 0xa5);
            }
        }
        segment
    }
}

/// An ICMP message that quotes these bytes; `word` stands behind its checksum.
pub fn icmp(header: &Header, kind: (u8, u8), word: u32, quote: &[u8]) -> Vec<u8> {
    let mut message = vec![kind.0, kind.1, 0, 0];
    message.extend(word.to_be_bytes());
    message.extend(quote);
    match header.source {
        IpAddr::V4(_) => {
            let sum = checksum::checksum(&message, 0);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            header.frame(ICMPV4, &message, None)
        }
        IpAddr::V6(_) => {
            header.sign(&mut message, ICMPV6, 2);
            header.frame(ICMPV6, &message, None)
        }
    }
}

/// Where a piece is in its packet.
#[derive(Clone, Copy)]
struct Piece {
    offset: usize,
    has_more: bool,
}

impl Header {
    /// Fills in a checksum over a pseudo-header.
    fn sign(&self, segment: &mut [u8], protocol: u8, at: usize) {
        let pseudo = checksum::pseudo_header_of(self.source, self.destination, protocol, segment.len());
        let sum = checksum::checksum(segment, pseudo);
        segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }

    fn frame(&self, protocol: u8, payload: &[u8], piece: Option<Piece>) -> Vec<u8> {
        let mut frame = Vec::with_capacity(128 + payload.len());
        frame.extend(self.macs.1.0);
        frame.extend(self.macs.0.0);
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let flags =
                    piece.map_or(0, |piece| u16::from(piece.has_more) << 13 | (piece.offset / 8) as u16);
                let flags = if self.may_fragment || piece.is_some() { flags } else { 0x4000 };
                let header_length = 20 + self.options.len();
                frame.extend(ethernet::IPV4);
                frame.extend([0x40 | (header_length / 4) as u8, self.tos]);
                frame.extend(((header_length + payload.len()) as u16).to_be_bytes());
                frame.extend((self.number as u16).to_be_bytes());
                frame.extend(flags.to_be_bytes());
                frame.extend([self.ttl, protocol, 0, 0]);
                frame.extend(source.octets());
                frame.extend(destination.octets());
                frame.extend(&self.options);
                sign_ipv4(&mut frame);
            }
            (source, destination) => self.ipv6(&mut frame, [source, destination], protocol, payload, piece),
        }
        frame.extend(payload);
        frame
    }

    fn ipv6(
        &self,
        frame: &mut Vec<u8>,
        addresses: [IpAddr; 2],
        protocol: u8,
        payload: &[u8],
        piece: Option<Piece>,
    ) {
        let mut extensions = self.extensions.clone();
        if let Some(Piece { offset, has_more }) = piece {
            let mut fragment = vec![0];
            fragment.extend((offset as u16 & !7 | u16::from(has_more)).to_be_bytes());
            fragment.extend(self.number.to_be_bytes());
            extensions.push((FRAGMENT, fragment));
        }
        let length = payload.len() + extensions.iter().map(|(_, body)| 1 + body.len()).sum::<usize>();
        let kinds: Vec<u8> = extensions.iter().map(|(kind, _)| *kind).chain([protocol]).collect();
        frame.extend(ethernet::IPV6);
        frame.extend([0x60 | self.tos >> 4, self.tos << 4, 0, 0]);
        frame.extend((length as u16).to_be_bytes());
        frame.extend([kinds[0], self.ttl]);
        for address in addresses {
            match address {
                IpAddr::V4(v4) => frame.extend(v4.to_ipv6_mapped().octets()),
                IpAddr::V6(v6) => frame.extend(v6.octets()),
            }
        }
        for ((_, body), next) in extensions.iter().zip(&kinds[1..]) {
            frame.push(*next);
            frame.extend(body);
        }
    }
}

/// Makes an IPv4 header's checksum right, as far as the header is there.
pub fn sign_ipv4(frame: &mut [u8]) {
    let end = (14 + usize::from(frame[14] & 15) * 4).clamp(34, frame.len());
    frame[24..26].fill(0);
    let sum = checksum::checksum(&frame[14..end], 0);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}
