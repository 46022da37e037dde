//! Wire formats as named offsets into bytes. Nothing here decides anything.

pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod l4;
pub mod proxy;

use std::net::IpAddr;

/// An address as 16 bytes, IPv4 ones as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2).
pub fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}
