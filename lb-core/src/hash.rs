//! Two keyed hashes for two purposes.
//!
//! [`FlowHash`] places flows in buckets and on workers: fast, its key drawn at each start. [`selection`] maps a flow to a
//! Maglev slot: its secret lasts, and is equal on every node of a fleet, so that another node, or this one after a crash,
//! finds the same target again.

use std::{hash::Hasher, net::IpAddr};

use siphasher::sip::SipHasher13;

use crate::flow_key::{FlowKey, Ipv4Key, Ipv6Key};

/// Multilinear hashing over 64-bit words with 128-bit keys. Strongly universal (Lemire and Kaser, "Strongly universal
/// string hashing is fast", 2014): without the key, no set of flows can be aimed at a bucket. A bijective finisher hides
/// its linearity, which would fill buckets unevenly when clients' ports follow each other.
#[derive(Clone, Debug)]
pub struct FlowHash {
    /// Key words: one to add, one per word of the longest input.
    keys: [u128; 8],
}

impl FlowHash {
    /// From random words.
    pub fn new(key: &[u64; 16]) -> FlowHash {
        let mut keys = [0; 8];
        for (word, pair) in keys.iter_mut().zip(key.chunks_exact(2)) {
            *word = u128::from(pair[0]) << 64 | u128::from(pair[1]);
        }
        FlowHash { keys }
    }

    /// Hash of a flow key, for its place in the table.
    #[inline]
    pub fn flow(&self, key: &FlowKey) -> u64 {
        match key {
            FlowKey::V4(key) => self.ipv4(key),
            FlowKey::V6(key) => self.multilinear(key.words()),
        }
    }

    /// The same of an IPv4 key.
    #[inline]
    pub fn ipv4(&self, key: &Ipv4Key) -> u64 {
        self.multilinear(key.words())
    }

    /// The worker, of `workers`, that owns every flow of an address and port: a client's, or one of ours that a target
    /// answers to. The port in network order.
    #[inline]
    pub fn home(&self, address: IpAddr, port: [u8; 2], workers: u8) -> u8 {
        let port = u64::from(u16::from_ne_bytes(port));
        let mut hash = self.keys[7];
        match address {
            IpAddr::V4(v4) => {
                let word = u64::from(u32::from_ne_bytes(v4.octets())) << 16 | port;
                hash = hash.wrapping_add(self.keys[6].wrapping_mul(u128::from(word)));
            }
            IpAddr::V6(v6) => {
                let bits = u128::from_ne_bytes(v6.octets());
                for (key, word) in self.keys[4..7].iter().zip([bits as u64, (bits >> 64) as u64, port]) {
                    hash = hash.wrapping_add(key.wrapping_mul(u128::from(word)));
                }
            }
        }
        worker(finish((hash >> 64) as u64), workers)
    }

    /// The worker that all pieces of a datagram meet at, by what they have in common.
    pub fn fragment_home(&self, words: [u64; 5], workers: u8) -> u8 {
        worker(self.multilinear(words), workers)
    }

    #[inline]
    fn multilinear<const N: usize>(&self, words: [u64; N]) -> u64 {
        let mut hash = self.keys[0];
        for (key, word) in self.keys[1..].iter().zip(words) {
            hash = hash.wrapping_add(key.wrapping_mul(u128::from(word)));
        }
        finish((hash >> 64) as u64)
    }
}

/// Scales a hash to `0..workers`.
#[inline]
const fn worker(hash: u64, workers: u8) -> u8 {
    ((hash as u128 * workers as u128) >> 64) as u8
}

#[inline]
const fn finish(mut hash: u64) -> u64 {
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ hash >> 32
}

/// Hash of a flow for target selection: SipHash-1-3 of client address and port, listener address and port, and protocol.
/// NLB adds the TCP sequence number; this does not, so that a flow's target can be found again from any of its packets.
pub fn selection(secret: &[u8; 16], forward: &FlowKey) -> u64 {
    // In an order of its own, which lasts: listener before client.
    let hasher = SipHasher13::new_with_key(secret);
    match forward {
        FlowKey::V4(Ipv4Key { end, protocol, zero }) => {
            let ports = [end.local_port, end.remote_port];
            let words: [u32; 4] = [
                bytemuck::cast(end.local),
                bytemuck::cast(end.remote),
                bytemuck::cast(ports),
                bytemuck::cast([*protocol, zero[0], zero[1], zero[2]]),
            ];
            hasher.hash(bytemuck::bytes_of(&words))
        }
        FlowKey::V6(key) => {
            let swapped = Ipv6Key {
                remote: key.local,
                local: key.remote,
                remote_port: key.local_port,
                local_port: key.remote_port,
                ..*key
            };
            hasher.hash(bytemuck::bytes_of(&swapped))
        }
    }
}

/// Hash of a flow for the choice of flows that the flow log tells of: independent of the flow's target, equal on every node of a fleet.
pub fn sample(secret: &[u8; 16], forward: &FlowKey) -> u64 {
    finish(selection(secret, forward))
}

/// Hash of a client for a selection that sticks to its address: SipHash-1-3 of the address.
pub fn selection_of_client(secret: &[u8; 16], client: IpAddr) -> u64 {
    let hasher = SipHasher13::new_with_key(secret);
    match client {
        IpAddr::V4(v4) => hasher.hash(&v4.octets()),
        IpAddr::V6(v6) => hasher.hash(&v6.octets()),
    }
}

/// A lasting number for a name, equal on every node: SipHash-1-3 of its bytes, with a key of zeros.
pub fn name(name: &str) -> u64 {
    SipHasher13::new().hash(name.as_bytes())
}

/// Of all shares, which a hash falls to: index into `shares`, each a weight and a lasting number of its own. Weighted rendezvous hashing:
/// when weights change, no more hashes move than must. `None` when all weights are 0.
pub fn weighted(hash: u64, shares: impl Iterator<Item = (u16, u64)>) -> Option<usize> {
    let score = |(at, (weight, salt)): (usize, (u16, u64))| {
        // Exponentially distributed at the rate of the weight: the least of all is each one's as often as its share says.
        let drawn = SipHasher13::new_with_keys(hash, salt).finish();
        let uniform = ((drawn >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        (weight > 0).then(|| (at, -uniform.ln() / f64::from(weight)))
    };
    let scores = shares.enumerate().filter_map(score);
    scores.min_by(|one, other| one.1.total_cmp(&other.1)).map(|row| row.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selection_hashes_what_it_always_has() {
        let secret = [7; 16];
        let hash = |bytes: &[u8]| SipHasher13::new_with_key(&secret).hash(bytes);
        let key = |client: &str, vip: &str| {
            let end = |address: &str, port: u16| (address.parse().unwrap(), port.to_be_bytes());
            FlowKey::new(end(client, 0x1234), end(vip, 80), 6).unwrap()
        };
        let v4 = [198, 18, 100, 1, 198, 18, 0, 2, 0, 80, 0x12, 0x34, 6, 0, 0, 0];
        assert_eq!(selection(&secret, &key("198.18.0.2", "198.18.100.1")), hash(&v4));
        let mut v6 = [0; 40];
        v6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        v6[16..20].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        (v6[15], v6[31]) = (1, 2);
        v6[32..37].copy_from_slice(&[0, 80, 0x12, 0x34, 6]);
        assert_eq!(selection(&secret, &key("2001:db8::2", "2001:db8::1")), hash(&v6));
    }

    /// Nodes of a fleet, and versions of this program, must choose alike.
    #[test]
    fn names_are_the_numbers_that_they_always_were() {
        assert_eq!(
            ["", "blue", "green"].map(name),
            [0xd1fb_a762_150c_532c, 0x2aa0_1827_83e7_e9de, 0x955a_2ebd_2fb1_42ae]
        );
    }

    #[test]
    fn homes_are_spread_evenly_and_do_not_depend_on_the_worker_asking() {
        let hash =
            FlowHash::new(&std::array::from_fn(|i| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        for client in ["198.18.0.2", "2001:db8::2"].map(|address| address.parse().unwrap()) {
            let mut homes = [0u32; 8];
            for port in 1..=8_000u16 {
                homes[usize::from(hash.home(client, port.to_be_bytes(), 8))] += 1;
            }
            assert!(homes.iter().all(|&count| (800..1_200).contains(&count)), "{homes:?}");
            assert_eq!(hash.home(client, [0, 1], 1), 0);
        }
    }
}
