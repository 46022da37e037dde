//! IPv4 header (RFC 791 section 3.1). Offsets count from the start of the header.

use std::ops::Range;

/// Version and header length in words.
pub const VERSION_IHL: usize = 0;
/// Type of service: code point and congestion bits.
pub const TOS: usize = 1;
/// Total length of the packet in bytes.
pub const TOTAL_LENGTH: Range<usize> = 2..4;
/// What the pieces of one packet have in common.
pub const IDENTIFICATION: Range<usize> = 4..6;
/// Flags and fragment offset.
pub const FRAGMENT: Range<usize> = 6..8;
/// Time to live.
pub const TTL: usize = 8;
/// Protocol.
pub const PROTOCOL: usize = 9;
/// Header checksum.
pub const CHECKSUM: Range<usize> = 10..12;
/// Source address.
pub const SOURCE: Range<usize> = 12..16;
/// Destination address.
pub const DESTINATION: Range<usize> = 16..20;
/// Length of the header without options, in bytes.
pub const HEADER: usize = 20;

/// Smallest MTU of a link (RFC 791 section 3.2).
pub const MINIMUM_MTU: u32 = 68;

/// More-fragments flag and fragment offset: zero in a whole packet.
pub const FRAGMENT_MASK: u16 = 0x3fff;

/// Fragment offset alone: zero in a whole packet and in a first fragment.
pub const OFFSET_MASK: u16 = 0x1fff;
/// The flag that says that more pieces follow.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// The flag that forbids fragmentation.
pub const DO_NOT_FRAGMENT: u16 = 0x4000;

/// Whether the options hold a loose or strict source route (RFC 791 section 3.1; dropped by RFC 7126 section 4.3, 4.4).
pub fn has_source_route(options: &[u8]) -> bool {
    let mut at = 0;
    while let Some(&kind) = options.get(at) {
        match kind {
            END => return false,
            NO_OPERATION => at += 1,
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => return true,
            _ => match options.get(at + 1) {
                Some(&length) if length >= 2 => at += usize::from(length),
                _ => return false,
            },
        }
    }
    false
}

/// Whether no packet that is routed may have this source address (RFC 1812 section 5.3.7, RFC 3927 section 2.7, RFC 6890 section 2.2.2:
/// of 192.0.0.0/24 those that no protocol was given to send from). The documentation prefixes (192.0.2.0/24, 198.51.100.0/24,
/// 203.0.113.0/24), which may be no source either, pass on purpose: laboratories have clients with them.
#[inline]
pub const fn is_martian_source(address: [u8; 4]) -> bool {
    matches!(address, [0 | 127 | 224..=255, ..] | [169, 254, ..] | [192, 0, 0, 11..=255])
}

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;
