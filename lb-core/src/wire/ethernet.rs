//! Ethernet II header (IEEE 802.3 clause 3).

use std::ops::Range;

/// Destination address.
pub const DESTINATION: Range<usize> = 0..6;
/// Source address.
pub const SOURCE: Range<usize> = 6..12;
/// EtherType.
pub const ETHERTYPE: Range<usize> = 12..14;
/// Length of the header in bytes.
pub const HEADER: usize = 14;

/// EtherType of IPv4, in network order.
pub const IPV4: [u8; 2] = [0x08, 0x00];

/// EtherType of IPv6, in network order.
pub const IPV6: [u8; 2] = [0x86, 0xdd];

/// Whether a header's destination or source names more than one station. As a source no station has such an address (IEEE 802.3
/// section 3.2.3).
#[inline]
pub const fn names_group(header: &[u8; HEADER]) -> bool {
    (header[DESTINATION.start] | header[SOURCE.start]) & 1 != 0
}
