//! Two keyed hashes for two purposes.
//!
//! [`FlowHash`] places flows in buckets and on workers: fast, its key drawn at each start. [`selection`] maps a flow to a
//! Maglev slot: its secret lasts, and is equal on every node of a fleet, so that another node, or this one after a crash,
//! finds the same target again.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::flow::FlowKey;

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
        let [first, second] = key.words();
        self.multilinear([first, second])
    }

    /// The worker, of `workers`, that owns every flow of a client's address and port.
    #[inline]
    pub fn home(&self, client: [u8; 4], port: [u8; 2], workers: u8) -> u8 {
        let word = u64::from(u32::from_ne_bytes(client)) << 16 | u64::from(u16::from_ne_bytes(port));
        let hash = self.keys[7].wrapping_add(self.keys[6].wrapping_mul(u128::from(word)));
        ((u128::from(finish((hash >> 64) as u64)) * u128::from(workers)) >> 64) as u8
    }

    #[inline]
    fn multilinear(&self, words: [u64; 2]) -> u64 {
        let hash = self.keys[0]
            .wrapping_add(self.keys[1].wrapping_mul(u128::from(words[0])))
            .wrapping_add(self.keys[2].wrapping_mul(u128::from(words[1])));
        finish((hash >> 64) as u64)
    }
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
    let mut hasher = SipHasher13::new_with_key(secret);
    hasher.write(bytemuck::bytes_of(forward));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_spread_evenly_and_do_not_depend_on_the_worker_asking() {
        let hash =
            FlowHash::new(&std::array::from_fn(|i| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let mut homes = [0u32; 8];
        for port in 1..=8_000u16 {
            homes[usize::from(hash.home([198, 18, 0, 2], port.to_be_bytes(), 8))] += 1;
        }
        assert!(homes.iter().all(|&count| (800..1_200).contains(&count)), "{homes:?}");
        assert_eq!(hash.home([198, 18, 0, 2], [0, 1], 1), 0);
    }
}
