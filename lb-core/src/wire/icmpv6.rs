//! ICMPv6 error messages (RFC 4443 section 3). Offsets are those of [`super::icmp`], but for the wider MTU.

use std::ops::Range;

/// MTU of the next hop, in "packet too big".
pub const MTU: Range<usize> = 4..8;

/// ICMPv6's number among the next headers.
pub const PROTOCOL: u8 = 58;

/// Destination unreachable.
pub const UNREACHABLE: u8 = 1;
/// Packet too big.
pub const PACKET_TOO_BIG: u8 = 2;
/// Time exceeded.
pub const TIME_EXCEEDED: u8 = 3;
/// Parameter problem.
pub const PARAMETER_PROBLEM: u8 = 4;

/// Whether a message of this type reports an error about a packet that it quotes.
#[inline]
pub const fn is_error(kind: u8) -> bool {
    matches!(kind, UNREACHABLE | PACKET_TOO_BIG | TIME_EXCEEDED | PARAMETER_PROBLEM)
}
