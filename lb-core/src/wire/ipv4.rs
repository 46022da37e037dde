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

/// The options of a header, each with its kind and where it stands (RFC 791 section 3.1); `None` in the place of one whose length
/// is not possible, which is the last.
pub fn options(options: &[u8]) -> impl Iterator<Item = Option<(u8, Range<usize>)>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let option = option_at(options, at)?;
        at = option.as_ref().map_or(options.len(), |(_, place)| place.end);
        Some(option)
    })
}

fn option_at(options: &[u8], at: usize) -> Option<Option<(u8, Range<usize>)>> {
    let kind = *options.get(at).filter(|kind| **kind != END)?;
    let length = match (kind, options.get(at + 1)) {
        (NO_OPERATION, _) => 1,
        (_, Some(&length)) if length >= 2 => usize::from(length),
        _ => return Some(None),
    };
    Some((at + length <= options.len()).then_some((kind, at..at + length)))
}

/// Whether an option is a loose or strict source route (dropped by RFC 7126 sections 4.3, 4.4).
pub const fn is_source_route(kind: u8) -> bool {
    matches!(kind, LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE)
}

/// Blanks the options that only the first piece of a packet has: those without the copied flag (RFC 791 section 3.1).
pub fn blank_options_of_first_piece(options: &mut [u8]) {
    let mut at = 0;
    while let Some(Some((kind, place))) = option_at(options, at) {
        at = place.end;
        if kind & COPIED == 0 {
            options[place].fill(NO_OPERATION);
        }
    }
}

/// Whether no packet that is routed may have this source address (RFC 1812 section 5.3.7, RFC 3927 section 2.7, RFC 6890 section 2.2.2:
/// of 192.0.0.0/24 those that no protocol was given to send from). The documentation prefixes (192.0.2.0/24, 198.51.100.0/24,
/// 203.0.113.0/24), which may be no source either, pass on purpose: laboratories have clients with them.
#[inline]
pub const fn is_martian_source(address: [u8; 4]) -> bool {
    matches!(address, [0 | 127 | 224..=255, ..] | [169, 254, ..] | [192, 0, 0, 11..=255])
}

/// The flag in an option's kind that says that every piece has it.
const COPIED: u8 = 0x80;
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;
