//! IPv6 header (RFC 8200 section 3) and extension headers (section 4). Offsets count from the start of the header.

use std::ops::Range;

/// Version, traffic class and flow label.
pub const VERSION: Range<usize> = 0..4;
/// Length of what follows the header, in bytes.
pub const PAYLOAD_LENGTH: Range<usize> = 4..6;
/// Kind of the header that follows.
pub const NEXT_HEADER: usize = 6;
/// Time to live.
pub const HOP_LIMIT: usize = 7;
/// Source address.
pub const SOURCE: Range<usize> = 8..24;
/// Destination address.
pub const DESTINATION: Range<usize> = 24..40;
/// Length of the header in bytes.
pub const HEADER: usize = 40;

/// Smallest MTU of a link (RFC 8200 section 5).
pub const MINIMUM_MTU: u32 = 1_280;

/// Kinds of the extension headers that are walked over, and of none.
pub mod next {
    /// Options for every router on the way.
    pub const HOP_BY_HOP: u8 = 0;
    /// Source route.
    pub const ROUTING: u8 = 43;
    /// Piece of a packet.
    pub const FRAGMENT: u8 = 44;
    /// Nothing follows.
    pub const NONE: u8 = 59;
    /// Options for the destination.
    pub const DESTINATION: u8 = 60;
}

/// Fragment header (RFC 8200 section 4.5). Offsets count from its start.
pub mod fragment {
    use super::Range;

    /// Kind of the header that follows in the first piece.
    pub const NEXT_HEADER: usize = 0;
    /// Offset in units of 8 bytes, in the high 13 bits, and the more-fragments flag, in the lowest.
    pub const OFFSET: Range<usize> = 2..4;
    /// What the pieces of one packet have in common.
    pub const IDENTIFICATION: Range<usize> = 4..8;
    /// Length in bytes.
    pub const HEADER: usize = 8;
    /// Offset in [`OFFSET`], in bytes.
    pub const OFFSET_MASK: u16 = 0xfff8;
    /// More pieces follow, in [`OFFSET`].
    pub const MORE: u16 = 1;
}

/// The first fragment header among the extension headers of a packet, given from its IPv6 header on.
pub fn fragment_header(packet: &[u8]) -> Option<&[u8; fragment::HEADER]> {
    packet.get(fragment_header_at(packet)?..)?.first_chunk()
}

/// Where the first fragment header begins, counted as [`fragment_header`] counts.
pub fn fragment_header_at(packet: &[u8]) -> Option<usize> {
    let mut kind = *packet.get(NEXT_HEADER)?;
    let mut at = HEADER;
    while kind != next::FRAGMENT {
        if !matches!(kind, next::HOP_BY_HOP | next::ROUTING | next::DESTINATION) {
            return None;
        }
        let &[following, words, ..] = packet.get(at..)? else { return None };
        (kind, at) = (following, at + (usize::from(words) + 1) * 8);
    }
    Some(at)
}

/// Routing header (RFC 8200 section 4.4). Offsets count from its start.
pub mod routing {
    /// Kind of route; 0 is deprecated (RFC 5095).
    pub const KIND: usize = 2;
    /// Stations still to come; 0 at the destination.
    pub const SEGMENTS_LEFT: usize = 3;
}

/// Whether no packet that is routed may have this source address: unspecified, loopback, IPv4-compatible (deprecated) and -mapped,
/// link-local and multicast ones (RFC 4291 sections 2.5, 2.7), and those of 2001::/23 that no protocol was given to send from (RFC 6890
/// section 2.2.3). The documentation prefixes (2001:db8::/32, 3fff::/20), which may be no source either, pass on purpose: laboratories
/// have clients with them.
#[inline]
pub fn is_martian_source(address: &[u8; 16]) -> bool {
    match *address {
        [0xff, ..] | [0xfe, 0x80..=0xbf, ..] => true,
        [0x20, 0x01, 0..=1, ..] => !is_assigned_source(address),
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ..] => true,
        _ => false,
    }
}

/// Whether an address of 2001::/23 is in a block there that packets may come from (IANA IPv6 Special-Purpose Address Registry).
fn is_assigned_source(address: &[u8; 16]) -> bool {
    match (u16::from_be_bytes([address[2], address[3]]), u16::from_be_bytes([address[4], address[5]])) {
        (0x00 | 0x03 | 0x20..=0x3f, _) => true, // Teredo, AMT, ORCHIDv2, drones' identities.
        (0x01, _) => address[4..15] == [0; 11] && matches!(address[15], 1..=3), // Anycast: PCP, TURN, DNS-SD.
        (0x02, 0) | (0x04, 0x112) => true,      // Benchmarks, AS112.
        _ => false,
    }
}
