//! Any bytes as a frame: what the parsers find lies inside of it, and another implementation finds the same.

use lb_core::{
    parse::{Packet, Piece, Routed, parse, parse_fragment, parse_icmp_error, parse_routed},
    verdict::Reason,
};

use crate::generate::inspect::{Seen, see};

/// Parses the bytes in each way that the packet path does.
pub fn run(frame: &[u8]) {
    match parse(frame) {
        Ok(packet) => {
            assert_eq!(packet.piece, Piece::Whole);
            assert_inside(&packet, frame);
            assert_same(&packet, &see(frame).expect("a sound packet"));
            assert_eq!(packet.key.opposite().opposite(), packet.key);
        }
        Err(Reason::Fragment) => {
            if let Ok(fragment) = parse_fragment(frame) {
                assert_ne!(fragment.packet.piece, Piece::Whole);
                assert_inside(&fragment.packet, frame);
            }
        }
        Err(Reason::SourceRoute) => {
            if let Some(Routed { packet, kind_at }) = parse_routed(frame) {
                assert_inside(&packet, frame);
                assert!((kind_at as usize) < usize::from(packet.l4));
            }
        }
        Err(_) => assert_eq!(parse_routed(frame), None),
    }
    if let Ok(error) = parse_icmp_error(frame) {
        assert!(error.icmp + 8 < error.quoted_l4 && error.quoted_l4 + 4 <= error.end);
        assert!(error.end <= frame.len() && error.ttl > 0);
    }
}

fn assert_inside(packet: &Packet, frame: &[u8]) {
    assert!(usize::from(packet.l4) <= packet.end() && packet.end() <= frame.len());
    assert!(packet.ttl > 0);
}

fn assert_same(packet: &Packet, seen: &Seen) {
    let key = &packet.key;
    assert_eq!((key.source(), key.destination()), (seen.source, seen.destination));
    assert_eq!((key.protocol(), packet.ttl), (seen.protocol.0, seen.ttl));
    let ports = [key.source_port(), key.destination_port()].map(u16::from_be_bytes);
    assert_eq!(Some((ports[0], ports[1])), seen.ports);
    assert_eq!(packet.end() - usize::from(packet.l4), seen.segment.len());
}
