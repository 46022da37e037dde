//! Maglev tables: consistent hashing of flows to targets (Eisenbud et al., NSDI 2016, section 3.4), with weights.
//!
//! Called by `compile`, off the packet path, to build; by `select` to look up. The same candidates give the same
//! table in any order and on any machine.

mod fill;

use std::{hash::Hasher, net::IpAddr};

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::limits;
use fill::Walk;

/// A target that a table is built over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Address; with the port it is the candidate's identity.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Share of slots in proportion to the other weights; 0 gets none.
    pub weight: u16,
}

/// A table from hash to candidate.
#[derive(Clone, PartialEq, Eq)]
pub struct Maglev {
    /// Index of the candidate in the order in which `build` got them. Empty when no candidate has a weight.
    slots: Box<[u16]>,
    candidates: usize,
}

impl Maglev {
    /// Builds a table of `slots` slots, a prime below 2^20. At most [`limits::TARGETS_PER_GROUP`] candidates are meaningful.
    pub fn build(candidates: &[Candidate], slots: u32) -> Maglev {
        let mut named: Vec<(u128, u16)> = (0..)
            .zip(candidates)
            .filter(|(_, candidate)| candidate.weight > 0)
            .map(|(index, candidate)| (identity(candidate.address, candidate.port), index))
            .collect();
        if named.is_empty() {
            return Maglev { slots: Box::default(), candidates: candidates.len() };
        }
        named.sort_unstable();
        let walk = |&(identity, index): &(u128, u16)| {
            Walk::new(index, &candidates[usize::from(index)], identity, slots)
        };
        Maglev { slots: fill::fill(named.iter().map(walk).collect(), slots), candidates: candidates.len() }
    }

    /// A table of [`limits::MAGLEV_SLOTS`] slots.
    pub fn with_default_slots(candidates: &[Candidate]) -> Maglev {
        Maglev::build(candidates, limits::MAGLEV_SLOTS)
    }

    /// Number of candidates that the table was built over, those of weight 0 included.
    pub fn targets(&self) -> usize {
        self.candidates
    }

    /// The slot that a hash falls into; `None` in an empty table.
    #[inline]
    pub fn slot(&self, hash: u64) -> Option<u32> {
        let count = self.slots.len() as u128;
        (count > 0).then(|| ((u128::from(hash) * count) >> 64) as u32)
    }

    /// The candidate that owns a slot, as an index into what `build` got. The slot is taken modulo the table's size.
    #[inline]
    pub fn candidate(&self, slot: u32) -> Option<usize> {
        let at = (slot as usize).checked_rem(self.slots.len())?;
        Some(usize::from(self.slots[at]))
    }

    /// The candidate of each slot.
    pub fn slots(&self) -> &[u16] {
        &self.slots
    }
}

impl std::fmt::Debug for Maglev {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Maglev({} slots over {} candidates)", self.slots.len(), self.candidates)
    }
}

/// A name for the candidate that depends on nothing else.
fn identity(address: IpAddr, port: u16) -> u128 {
    let mut hasher = SipHasher13::new();
    match address {
        IpAddr::V4(v4) => hasher.write(&v4.octets()),
        IpAddr::V6(v6) => hasher.write(&v6.octets()),
    }
    hasher.write(&port.to_be_bytes());
    hasher.finish128().as_u128()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::maglev::{ConsistentHasher, Maglev as Oracle};
    use proptest::prelude::*;
    use std::{hash::BuildHasher, net::Ipv4Addr};

    /// Feeds the oracle our own preferences: its two seeds select the two halves of a candidate's identity.
    #[derive(Clone, Default)]
    struct Halves {
        seed: u32,
        value: u128,
    }

    impl BuildHasher for Halves {
        type Hasher = Halves;
        fn build_hasher(&self) -> Halves {
            Halves::default()
        }
    }

    impl Hasher for Halves {
        fn write(&mut self, _: &[u8]) {}
        fn write_u32(&mut self, seed: u32) {
            self.seed = seed;
        }
        fn write_u128(&mut self, value: u128) {
            self.value = value;
        }
        fn finish(&self) -> u64 {
            if self.seed == 0xdead_beef { (self.value >> 64) as u64 } else { self.value as u64 }
        }
    }

    fn candidates(count: u32) -> Vec<Candidate> {
        (0..count).map(|n| candidate(n, 1)).collect()
    }

    fn candidate(n: u32, weight: u16) -> Candidate {
        Candidate { address: Ipv4Addr::from(0xc613_0002 + n * 256).into(), port: 8080, weight }
    }

    /// The table as the paper's pseudocode fills it, slot by slot.
    fn reference(candidates: &[Candidate], slots: u32) -> Vec<u16> {
        let heaviest = candidates.iter().map(|candidate| u32::from(candidate.weight)).max().unwrap_or(0);
        let mut walks: Vec<(u128, u16)> = (0..)
            .zip(candidates)
            .filter(|(_, candidate)| candidate.weight > 0)
            .map(|(index, candidate)| (identity(candidate.address, candidate.port), index))
            .collect();
        walks.sort_unstable();
        let mut places: Vec<(u32, u32)> =
            walks.iter().map(|(identity, _)| fill::preference(*identity, slots)).collect();
        let mut credits = vec![0; walks.len()];
        let mut owners = vec![u16::MAX; slots as usize];
        let mut free = slots;
        for turn in (0..walks.len()).cycle() {
            credits[turn] += u32::from(candidates[usize::from(walks[turn].1)].weight);
            if credits[turn] < heaviest {
                continue;
            }
            credits[turn] -= heaviest;
            let (at, step) = &mut places[turn];
            while owners[*at as usize] != u16::MAX {
                *at = (*at + *step) % slots;
            }
            owners[*at as usize] = walks[turn].1;
            free -= 1;
            if free == 0 {
                break;
            }
        }
        owners
    }

    fn shares(table: &Maglev) -> Vec<usize> {
        let mut shares = vec![0; table.targets()];
        for &index in table.slots() {
            shares[usize::from(index)] += 1;
        }
        shares
    }

    /// The candidate of each slot, by what it is and not by its index.
    fn owners(table: &Maglev, candidates: &[Candidate]) -> Vec<Candidate> {
        table.slots().iter().map(|&index| candidates[usize::from(index)]).collect()
    }

    #[test]
    fn equal_weights_give_the_table_of_the_maglev_crate() {
        for count in [1, 2, 3, 10, 100] {
            let mut candidates = candidates(count);
            candidates.sort_by_key(|candidate| identity(candidate.address, candidate.port));
            let ours = Maglev::with_default_slots(&candidates);
            let nodes: Vec<u128> = candidates.iter().map(|c| identity(c.address, c.port)).collect();
            let oracle = Oracle::with_capacity_and_hasher(
                nodes.clone(),
                limits::MAGLEV_SLOTS as usize,
                Halves::default(),
            );
            assert_eq!(oracle.capacity(), ours.slots().len());
            for (slot, &index) in ours.slots().iter().enumerate() {
                assert_eq!(oracle.get(&(slot as u128)), Some(&nodes[usize::from(index)]));
            }
        }
    }

    /// Nodes of a fleet, and versions of this program, must choose alike.
    #[test]
    fn tables_are_what_they_always_were() {
        let weighted = |count: u32| (0..count).map(|n| candidate(n, (n % 7 * 100) as u16)).collect();
        for (candidates, digest) in [
            (candidates(1), 0x0b5b_6d2f_d59c_48f0_5389_a8a7_843d_7e4c),
            (candidates(10), 0x34d3_b063_abcf_f6cd_5748_d83c_986f_7346),
            (candidates(100), 0x8494_2f97_02f0_6daf_2532_96dc_37da_4fc4),
            (candidates(1_000), 0xdb77_14e0_4706_9060_51a5_bb0e_e495_b70f),
            (weighted(100), 0x9788_7f68_a5a2_c166_90bc_b83d_cc5a_88c3),
        ] {
            let mut hasher = SipHasher13::new();
            for owner in Maglev::with_default_slots(&candidates).slots() {
                hasher.write(&owner.to_le_bytes());
            }
            assert_eq!(hasher.finish128().as_u128(), digest, "{} candidates", candidates.len());
        }
    }

    #[test]
    fn shares_are_within_one_per_cent_of_the_weights() {
        for count in [2, 3, 10, 100, 500] {
            let shares = shares(&Maglev::with_default_slots(&candidates(count)));
            let mean = f64::from(limits::MAGLEV_SLOTS) / f64::from(count);
            assert!(
                shares.iter().all(|&share| (share as f64 / mean - 1.0).abs() < 0.01),
                "{count}: {shares:?}"
            );
        }
        let weights = [1u16, 2, 3, 10, 0, 84];
        let weighted: Vec<Candidate> = (0..).zip(weights).map(|(n, weight)| candidate(n, weight)).collect();
        for (share, weight) in shares(&Maglev::with_default_slots(&weighted)).iter().zip(weights) {
            let expected = f64::from(limits::MAGLEV_SLOTS) * f64::from(weight) / 100.0;
            assert!((*share as f64 - expected).abs() <= (expected * 0.01).max(1.0), "{share} of {expected}");
        }
    }

    #[test]
    fn removing_one_target_moves_few_slots_of_the_others() {
        for count in [3, 10, 100, 1_000] {
            let all = candidates(count);
            let before = owners(&Maglev::with_default_slots(&all), &all);
            let after = owners(&Maglev::with_default_slots(&all[1..]), &all[1..]);
            let moved = before.iter().zip(&after).filter(|(old, new)| **old != all[0] && old != new).count();
            // Within the paper's figure 11 for a table more than 65 times the targets: at most a few per cent.
            assert!((moved as f64) < f64::from(limits::MAGLEV_SLOTS) * 0.03, "{count}: {moved}");
        }
    }

    #[test]
    fn nobody_with_a_weight_means_an_empty_table() {
        assert_eq!(Maglev::with_default_slots(&[]).slot(7), None);
        let table = Maglev::with_default_slots(&[candidate(1, 0)]);
        assert_eq!((table.slot(7), table.candidate(0), table.targets()), (None, None, 1));
    }

    proptest! {
        #[test]
        fn every_way_to_find_a_slot_finds_the_one_of_the_reference(
            weights in prop::collection::vec(prop_oneof![Just(1), 0..4u16, 0..1_000u16], 1..60),
            is_equal in any::<bool>(),
            slots in prop::sample::select(vec![67, 251, 1_009, 16_381]),
            first in 0..1_000_000u32,
        ) {
            let weight = |weight: u16| if is_equal { 1 } else { weight };
            let candidates: Vec<Candidate> =
                (first..).zip(weights).map(|(n, given)| Candidate { port: n as u16, ..candidate(n % 97, weight(given)) }).collect();
            prop_assume!(candidates.iter().any(|candidate| candidate.weight > 0));
            let table = Maglev::build(&candidates, slots);
            prop_assert_eq!(table.slots(), &reference(&candidates, slots)[..]);
        }

        #[test]
        fn order_does_not_matter(weights in prop::collection::vec(0..10u16, 1..20), seed in any::<u64>()) {
            let candidates: Vec<Candidate> = (0..).zip(weights).map(|(n, weight)| candidate(n, weight)).collect();
            let mut shuffled = candidates.clone();
            shuffled.sort_by_key(|candidate| identity(candidate.address, seed as u16));
            let tables = [Maglev::build(&candidates, 251), Maglev::build(&shuffled, 251)];
            prop_assert_eq!(owners(&tables[0], &candidates), owners(&tables[1], &shuffled));
        }
    }
}
