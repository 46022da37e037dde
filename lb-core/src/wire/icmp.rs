//! ICMP error messages (RFC 792). Offsets count from the start of the ICMP header.

use std::ops::Range;

/// Type.
pub const TYPE: usize = 0;
/// Code.
pub const CODE: usize = 1;
/// Checksum over header and quote.
pub const CHECKSUM: Range<usize> = 2..4;
/// What depends on the type, such as the MTU of the next hop, in the low half (RFC 1191 section 4).
pub const SECOND_WORD: Range<usize> = 4..8;
/// Length of the header in bytes; the quoted packet follows.
pub const HEADER: usize = 8;

/// ICMP's number in the IP header.
pub const PROTOCOL: u8 = 1;

/// Destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Code of [`UNREACHABLE`]: fragmentation needed and DF set.
pub const FRAGMENTATION_NEEDED: u8 = 4;
/// Time exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;

/// Whether a message of this type reports an error about a packet that it quotes. Source quench is none: RFC 6633.
#[inline]
pub const fn is_error(kind: u8) -> bool {
    matches!(kind, UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM)
}
