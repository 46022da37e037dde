//! ICMP and ICMPv6 errors, written from nothing and read back with their checksums verified from scratch.

use std::net::IpAddr;

use lb_core::{tables::Mac, wire::checksum};

use super::packet::{fix_ip_checksum, pseudo_header, read_ip};

/// An ICMP or ICMPv6 error about a packet, given as a frame: quotes `quoted` bytes of it, from its IP header on. Of the family
/// of its addresses; its second word is 1,400.
pub fn icmp_error(
    kind: (u8, u8),
    (source, destination): (impl Into<IpAddr>, impl Into<IpAddr>),
    macs: (Mac, Mac),
    about: &[u8],
    quoted: usize,
) -> Vec<u8> {
    let mut message = vec![kind.0, kind.1, 0, 0, 0, 0, 0x05, 0x78];
    message.extend(&about[14..14 + quoted]);
    let mut frame = [macs.1.0, macs.0.0].concat();
    match (source.into(), destination.into()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend([0x08, 0x00, 0x45, 0xc0]);
            frame.extend((20 + message.len() as u16).to_be_bytes());
            frame.extend([0, 1, 0, 0, 64, 1, 0, 0]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
            fix_ip_checksum(&mut frame);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.extend([0x86, 0xdd, 0x6c, 0, 0, 0]);
            frame.extend((message.len() as u16).to_be_bytes());
            frame.extend([58, 64]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        other => panic!("a packet has one family: {other:?}"),
    }
    frame.extend(message);
    fix_icmp_checksum(&mut frame);
    frame
}

/// The same error with another second word: an MTU or a pointer.
pub fn with_word(mut error: Vec<u8>, word: u32) -> Vec<u8> {
    let at = message_at(&error);
    error[at + 4..at + 8].copy_from_slice(&word.to_be_bytes());
    fix_icmp_checksum(&mut error);
    error
}

/// Makes the checksum of an ICMP or ICMPv6 message without IPv4 options or extension headers right.
pub fn fix_icmp_checksum(frame: &mut [u8]) {
    let at = message_at(frame);
    frame[at + 2..at + 4].fill(0);
    let sum = checksum::checksum(&frame[at..], pseudo_of(frame));
    frame[at + 2..at + 4].copy_from_slice(&sum.to_be_bytes());
}

/// An ICMP or ICMPv6 error taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenError {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub macs: (Mac, Mac),
    pub ttl: u8,
    /// Type and code.
    pub kind: (u8, u8),
    /// Second word: MTU or pointer.
    pub word: u32,
    /// What it quotes, as a frame without link addresses.
    pub quote: Vec<u8>,
}

/// Reads an ICMP or ICMPv6 error; panics when a checksum is wrong: outer IP, ICMP, quoted IP.
pub fn read_error(frame: &[u8]) -> SeenError {
    let ip = read_ip(frame);
    let (protocol, ether_type) = if ip.source.is_ipv4() { (1, [0x08, 0x00]) } else { (58, [0x86, 0xdd]) };
    assert_eq!(ip.protocol, protocol, "an ICMP message of the family");
    let pseudo = if protocol == 1 { 0 } else { pseudo_of(frame) };
    let message = &ip.payload;
    assert_eq!(checksum::fold(checksum::sum(message, pseudo)), 0xffff, "ICMP checksum");
    let quote = &message[8..];
    if ip.source.is_ipv4() {
        let header = &quote[..usize::from(quote[0] & 15) * 4];
        assert_eq!(checksum::fold(checksum::sum(header, 0)), 0xffff, "quoted IP checksum");
    }
    SeenError {
        source: ip.source,
        destination: ip.destination,
        macs: ip.macs,
        ttl: ip.ttl,
        kind: (message[0], message[1]),
        word: u32::from_be_bytes(message[4..8].try_into().unwrap()),
        quote: [&[0; 12][..], &ether_type, quote].concat(),
    }
}

fn message_at(frame: &[u8]) -> usize {
    if frame[12..14] == [0x08, 0x00] { 34 } else { 54 }
}

fn pseudo_of(frame: &[u8]) -> u32 {
    if frame[12..14] == [0x08, 0x00] {
        return 0;
    }
    let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&frame[at..at + 16]).unwrap());
    pseudo_header(address(22), address(38), 58, frame.len() - message_at(frame))
}
