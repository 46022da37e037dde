//! What the pieces of a packet have in common, and tells them from those of others: the identification of IPv4 (RFC 791 section
//! 3.2) and of the IPv6 fragment header (RFC 8200 section 4.5). Senders that share an address behind us number their packets
//! without each other's knowledge, so each flow's numbers are moved by its ports (RFC 6864 section 5.3, RFC 7915 section 5.1.1).
//! All pieces of a packet are of one flow, and keep one number in whatever order they come.

use std::net::Ipv4Addr;

use crate::{flow::Outward, limits, wire::checksum};

/// Ports of a packet that leaves: source and destination, in network order.
#[derive(Clone, Copy, Debug)]
pub struct Ports(pub [u8; 2], pub [u8; 2]);

impl Ports {
    /// Those of packets that leave so.
    pub fn of(out: &Outward) -> Ports {
        Ports(out.source_port, out.destination_port)
    }

    /// The number of an IPv4 packet of which its sender's has these 16 bits.
    #[inline]
    pub fn renumber_ipv4(self, number: [u8; 2]) -> [u8; 2] {
        u16::from_be_bytes(number).wrapping_add(self.salt()).to_be_bytes()
    }

    /// The number of an IPv6 packet that had this one as such.
    pub fn renumber_ipv6(self, number: [u8; 4]) -> [u8; 4] {
        let salt = u32::from(self.salt());
        u32::from_be_bytes(number).wrapping_add(salt << 16 | salt).to_be_bytes()
    }

    /// The number of an IPv6 packet that had this one as an IPv4 packet: those of two flows never meet while one of their ports is
    /// the same.
    pub fn widen(self, number: [u8; 2]) -> [u8; 4] {
        let [high, low] = self.salt().to_be_bytes();
        [high, low, number[0], number[1]]
    }

    #[inline]
    fn salt(self) -> u16 {
        let Ports(source, destination) = self;
        let salt = u16::from_be_bytes(source).wrapping_mul(SOURCE_SALT);
        salt.wrapping_add(u16::from_be_bytes(destination).wrapping_mul(DESTINATION_SALT))
    }
}

/// Numbers for IPv4 packets whose senders gave them none, by their addresses: between two addresses, none comes again before all
/// others have (RFC 6864 section 4.3, as far as 16 bits allow).
#[derive(Debug)]
pub struct Counters {
    last: Box<[u16]>,
}

impl Counters {
    /// Counters that begin at 0.
    pub fn new() -> Counters {
        Counters { last: vec![0; limits::IDENTIFICATION_COUNTERS].into() }
    }

    /// The next number of packets from there to there.
    pub fn next(&mut self, source: Ipv4Addr, destination: Ipv4Addr) -> [u8; 2] {
        let sum = checksum::fold(checksum::pseudo_header(source.octets(), destination.octets(), 0, 0));
        let place = usize::from(sum) % self.last.len();
        self.last[place] = self.last[place].wrapping_add(1);
        self.last[place].to_be_bytes()
    }
}

impl Default for Counters {
    fn default() -> Counters {
        Counters::new()
    }
}

/// Odd, so that different ports give different numbers.
const SOURCE_SALT: u16 = 0x9e35;
const DESTINATION_SALT: u16 = 0x79b9;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn flows_that_differ_in_one_port_never_meet() {
        for fixed in [[0, 0], [0, 80], [0xff, 0xff]] {
            for ports in [|port, fixed| Ports(port, fixed), |port, fixed| Ports(fixed, port)] {
                let all = || (0..=u16::MAX).map(|port| ports(port.to_be_bytes(), fixed));
                assert_eq!(
                    all().map(|ports| ports.renumber_ipv4([1, 2])).collect::<HashSet<_>>().len(),
                    65_536
                );
                assert_eq!(all().map(|ports| ports.widen([1, 2])).collect::<HashSet<_>>().len(), 65_536);
                let ipv6 = all().map(|ports| ports.renumber_ipv6([1, 2, 3, 4]));
                assert_eq!(ipv6.collect::<HashSet<_>>().len(), 65_536);
            }
        }
    }

    #[test]
    fn numbers_between_two_addresses_come_again_when_all_have_come() {
        let mut counters = Counters::new();
        let mut next = || counters.next([198, 18, 0, 1].into(), [198, 18, 1, 1].into());
        let numbers: HashSet<_> = (0..=u16::MAX).map(|_| next()).collect();
        assert_eq!(numbers.len(), 65_536);
    }
}
