//! Maglev tables: consistent hashing of flows to targets (Eisenbud et al., NSDI 2016, section 3.4), with weights.
//!
//! Called by `compile`, off the packet path, to build; by `select` to look up. The same candidates give the same
//! table in any order and on any machine.

use std::{hash::Hasher, net::IpAddr};

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::limits;

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
    /// Builds a table of `slots` slots, a prime. At most [`limits::TARGETS_PER_GROUP`] candidates are meaningful.
    pub fn build(candidates: &[Candidate], slots: u32) -> Maglev {
        let heaviest = candidates.iter().map(|candidate| candidate.weight).max().unwrap_or(0);
        if heaviest == 0 {
            return Maglev { slots: Box::default(), candidates: candidates.len() };
        }
        let mut walks: Vec<Walk> = candidates
            .iter()
            .enumerate()
            .filter(|(_, candidate)| candidate.weight > 0)
            .map(|(index, candidate)| Walk::new(index as u16, candidate, slots))
            .collect();
        walks.sort_unstable_by_key(|walk| walk.identity);

        let mut table = vec![EMPTY; slots as usize].into_boxed_slice();
        let mut free = slots;
        'fill: loop {
            for walk in &mut walks {
                walk.credit += u32::from(walk.weight);
                if walk.credit < u32::from(heaviest) {
                    continue;
                }
                walk.credit -= u32::from(heaviest);
                while table[walk.at as usize] != EMPTY {
                    walk.step(slots);
                }
                table[walk.at as usize] = walk.index;
                free -= 1;
                if free == 0 {
                    break 'fill;
                }
            }
        }
        Maglev { slots: table, candidates: candidates.len() }
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

/// One candidate's walk over the slots in its own order of preference.
struct Walk {
    identity: u128,
    at: u32,
    skip: u32,
    credit: u32,
    weight: u16,
    index: u16,
}

impl Walk {
    fn new(index: u16, candidate: &Candidate, slots: u32) -> Walk {
        let identity = identity(candidate.address, candidate.port);
        let (offset, skip) = preference(identity, slots);
        Walk { identity, at: offset, skip, credit: 0, weight: candidate.weight, index }
    }

    #[inline]
    fn step(&mut self, slots: u32) {
        self.at += self.skip;
        if self.at >= slots {
            self.at -= slots;
        }
    }
}

/// First slot and step of the walk of a candidate with this identity.
fn preference(identity: u128, slots: u32) -> (u32, u32) {
    let slots = u64::from(slots);
    let offset = (identity as u64) % slots;
    let skip = ((identity >> 64) as u64) % (slots - 1) + 1;
    (offset as u32, skip as u32)
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

const EMPTY: u16 = u16::MAX;

const _: () = assert!(limits::TARGETS_PER_GROUP < EMPTY as usize);
