//! What the pieces of a packet have in common, and tells them from those of others: the identification of IPv4 (RFC 791 section
//! 3.2) and of the IPv6 fragment header (RFC 8200 section 4.5). Senders that share an address before somebody else, clients a source
//! of ours or targets a VIP, number their packets without each other's knowledge, so each flow's numbers are moved by its ports (RFC
//! 6864 section 5.3, RFC 7915 section 5.1.1). All pieces of a packet are of one flow, and keep one number in whatever order they come.

use std::{hash::Hasher, net::Ipv4Addr};

use siphasher::sip::SipHasher13;

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

    /// The number that its sender has given an IPv4 packet which left with this one.
    pub fn original_ipv4(self, number: [u8; 2]) -> [u8; 2] {
        u16::from_be_bytes(number).wrapping_sub(self.salt()).to_be_bytes()
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

/// One worker's numbers for IPv4 packets whose senders gave them none, by their addresses. Each worker has a share of all numbers, so
/// that two never give the same; between two addresses, none of a worker's comes again before all others of its share have (RFC 6864
/// section 4.3, as far as 16 bits allow).
#[derive(Debug)]
pub struct Counters {
    /// Counted from `start`: the worker's own number and all that follow it by steps of the number of workers.
    next: Box<[u16]>,
    start: u16,
    worker: u16,
    workers: u16,
}

impl Counters {
    /// Those of a worker, of so many, which all have one key: drawn at each start of the daemon.
    pub fn new(worker: u8, workers: u8, key: &[u64; 16]) -> Counters {
        let mut hasher = SipHasher13::new_with_keys(key[0], key[15]);
        hasher.write(b"identifications");
        let start = hasher.finish() as u16;
        let (worker, workers) = (u16::from(worker), u16::from(workers.max(1)));
        Counters { next: vec![worker; limits::IDENTIFICATION_COUNTERS].into(), start, worker, workers }
    }

    /// The next number of packets from there to there.
    pub fn next(&mut self, source: Ipv4Addr, destination: Ipv4Addr) -> [u8; 2] {
        let sum = checksum::fold(checksum::pseudo_header(source.octets(), destination.octets(), 0, 0));
        let place = usize::from(sum) % self.next.len();
        let number = self.next[place];
        self.next[place] = number.checked_add(self.workers).unwrap_or(self.worker);
        number.wrapping_add(self.start).to_be_bytes()
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
    fn workers_share_the_numbers_between_two_addresses_and_use_all_of_them() {
        for (workers, key) in [(1, [0; 16]), (2, [1; 16]), (3, [2; 16]), (16, [3; 16]), (255, [4; 16])] {
            let mut times = vec![0_u32; 65_536];
            for worker in 0..workers {
                let mut counters = Counters::new(worker, workers, &key);
                let share = (usize::from(worker)..65_536).step_by(workers.into()).len();
                // Twice round: what comes again is the worker's own.
                for turn in [1, 2] {
                    for _ in 0..share {
                        let number = counters.next([198, 18, 0, 1].into(), [198, 18, 1, 1].into());
                        let given = &mut times[usize::from(u16::from_be_bytes(number))];
                        *given += 1;
                        assert_eq!(*given, turn, "worker {worker} of {workers}");
                    }
                }
            }
            assert!(times.iter().all(|&given| given == 2), "{workers} workers");
        }
    }
}
