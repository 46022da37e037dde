//! Frames to be: headers of TCP segments and UDP datagrams of both families. Made by the million, hence not by the tests' means.

use std::net::{IpAddr, SocketAddr};

use lb_core::{
    tables::{InterfaceId, Mac},
    verdict::Reason,
    wire::checksum,
};

/// A frame to be, and what becomes of it.
pub struct Packet {
    /// Its first bytes; the rest is 0.
    pub head: [u8; HEAD],
    /// What is known of it.
    pub slip: Slip,
}

/// What is known of a frame beside its bytes.
#[derive(Clone, Copy)]
pub struct Slip {
    /// Bytes in memory: without the checksum on the wire.
    pub length: usize,
    /// Where it comes in.
    pub ingress: InterfaceId,
    /// Number of the flow that it is of, if it is of one.
    pub flow: u32,
    /// What must become of it.
    pub expected: Reason,
}

impl Packet {
    /// A frame of another make, no longer than [`HEAD`].
    pub fn from_bytes(bytes: &[u8], ingress: InterfaceId, expected: Reason) -> Packet {
        let mut head = [0; HEAD];
        head[..bytes.len()].copy_from_slice(bytes);
        Packet { head, slip: Slip { length: bytes.len(), ingress, flow: u32::MAX, expected } }
    }
}

/// What a frame carries.
#[derive(Clone, Copy)]
pub enum Transport {
    /// TCP, with flags.
    Tcp(u8),
    /// UDP.
    Udp,
}

/// First bytes of a frame of `size` bytes on the wire, the checksum there included: 4 bytes more than in memory.
pub fn head(
    transport: Transport,
    (source, destination): (SocketAddr, SocketAddr),
    (from, to): (Mac, Mac),
    size: usize,
) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..6].copy_from_slice(&to.0);
    head[6..12].copy_from_slice(&from.0);
    let protocol = match transport {
        Transport::Tcp(_) => 6,
        Transport::Udp => 17,
    };
    let segment_at = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let addresses = [source.octets(), destination.octets()];
            write_ipv4(&mut head[12..34], addresses, protocol, (size - 18) as u16);
            34
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let addresses = [source.octets(), destination.octets()];
            write_ipv6(&mut head[12..54], addresses, protocol, (size - 58) as u16);
            54
        }
        other => panic!("a packet has one family: {other:?}"),
    };
    let segment = &mut head[segment_at..];
    segment[..2].copy_from_slice(&source.port().to_be_bytes());
    segment[2..4].copy_from_slice(&destination.port().to_be_bytes());
    match transport {
        Transport::Tcp(flags) => {
            segment[8..12].copy_from_slice(&FIRST_ACKNOWLEDGEMENT);
            segment[12..14].copy_from_slice(&[0x50, flags]);
            let length = size - 4 - segment_at;
            let pseudo = checksum::pseudo_header_of(source.ip(), destination.ip(), protocol, length);
            let sum = checksum::checksum(segment, pseudo);
            segment[16..18].copy_from_slice(&sum.to_be_bytes());
        }
        Transport::Udp => {
            segment[4..6].copy_from_slice(&((size - 4 - segment_at) as u16).to_be_bytes());
            segment[6..8].copy_from_slice(&SOME_CHECKSUM);
        }
    }
    head
}

fn write_ipv4(to: &mut [u8], [source, destination]: [[u8; 4]; 2], protocol: u8, length: u16) {
    to[..12].copy_from_slice(&[8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol]);
    to[4..6].copy_from_slice(&length.to_be_bytes());
    to[14..18].copy_from_slice(&source);
    to[18..22].copy_from_slice(&destination);
    let sum = checksum::checksum(&to[2..22], 0);
    to[12..14].copy_from_slice(&sum.to_be_bytes());
}

fn write_ipv6(to: &mut [u8], [source, destination]: [[u8; 16]; 2], protocol: u8, payload: u16) {
    to[..3].copy_from_slice(&[0x86, 0xdd, 0x60]);
    to[6..8].copy_from_slice(&payload.to_be_bytes());
    to[8..10].copy_from_slice(&[protocol, 64]);
    to[10..26].copy_from_slice(&source);
    to[26..42].copy_from_slice(&destination);
}

/// Bytes of a frame that are written: Ethernet, IPv6 and TCP headers, or an ICMP error about an IPv4 packet.
pub const HEAD: usize = 74;
/// Of a SYN with the number 0, which is everyone's.
const FIRST_ACKNOWLEDGEMENT: [u8; 4] = [0, 0, 0, 1];
/// Checksums of UDP are updated, never verified; 0 would say that there is none.
const SOME_CHECKSUM: [u8; 2] = [1, 2];
