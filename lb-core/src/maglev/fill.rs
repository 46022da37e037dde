//! Who gets which slot of a Maglev table: candidates take turns, each takes the first free slot of its own walk.
//!
//! Called by `Maglev::build`. Most of the time goes into probing slots that are taken, and into branches that the processor
//! cannot foresee, so three ways of finding the next free slot follow each other as the table fills; all find the same one.
//! While up to half of the slots are taken: probe four, without a branch for each. Later: eight, then one by one. At the end:
//! compute for each free slot when the walk gets there.

use super::Candidate;

/// One candidate's walk over the slots in its own order of preference.
///
/// Places are fractions of the table in units of 2^-64, so that a step needs neither division nor comparison: it wraps by itself.
/// `at` begins in the middle of its slot, and a whole walk errs by less than `slots`^2 units, far from leaving the right one.
pub(super) struct Walk {
    at: u64,
    step: u64,
    weight: u16,
    index: u16,
}

impl Walk {
    /// The walk of the candidate with this number and name, over `slots` slots.
    pub(super) fn new(index: u16, candidate: &Candidate, identity: u128, slots: u32) -> Walk {
        let (first, step) = preference(identity, slots);
        let unit = slot_width(slots);
        Walk {
            at: u64::from(first) * unit + unit / 2,
            step: u64::from(step) * unit,
            weight: candidate.weight,
            index,
        }
    }
}

/// First slot and step of the walk of a candidate with this identity.
pub(super) fn preference(identity: u128, slots: u32) -> (u32, u32) {
    let slots = u64::from(slots);
    let first = (identity as u64) % slots;
    let step = ((identity >> 64) as u64) % (slots - 1) + 1;
    (first as u32, step as u32)
}

/// The index of the owner of each of `slots` slots, a prime. Turns go round in the order of `walks`, of which there is at least
/// one; all have weights.
pub(super) fn fill(walks: Vec<Walk>, slots: u32) -> Box<[u16]> {
    let heaviest = walks.iter().map(|walk| walk.weight).max().unwrap_or(0);
    let weights: Vec<u16> = walks.iter().map(|walk| walk.weight).collect();
    let table = Filling {
        walks,
        owners: vec![0; slots as usize],
        taken: vec![0; slots as usize],
        free: slots,
        slots,
    };
    match weights.iter().all(|&weight| weight == heaviest) {
        true => table.fill((0..weights.len()).cycle()),
        false => table.fill(turns(&weights, heaviest)),
    }
}

/// Whose turn it is, as often as weights say: the heaviest has one in every round.
fn turns(weights: &[u16], heaviest: u16) -> impl Iterator<Item = usize> {
    let mut credits = vec![0; weights.len()];
    (0..weights.len()).cycle().filter(move |&at| {
        credits[at] += u32::from(weights[at]);
        let has_turn = credits[at] >= u32::from(heaviest);
        credits[at] -= u32::from(heaviest) * u32::from(has_turn);
        has_turn
    })
}

/// A table on its way.
struct Filling {
    walks: Vec<Walk>,
    owners: Vec<u16>,
    /// 1 for each slot that has an owner. Of bytes, because half as many cache lines are touched as with `owners`.
    taken: Vec<u8>,
    free: u32,
    slots: u32,
}

impl Filling {
    fn fill(mut self, mut turns: impl Iterator<Item = usize>) -> Box<[u16]> {
        if self.walks.len() < MANY_WALKS {
            self.fill_until::<0>(COMPUTED, &mut turns);
        } else {
            self.fill_until::<4>(self.slots / 2, &mut turns);
            self.fill_until::<8>(COMPUTED, &mut turns);
        }
        self.fill_rest(turns);
        self.owners.into()
    }

    /// Gives slots away until only so many are free. Probes `AT_ONCE` slots without a branch, further ones one by one.
    #[inline]
    fn fill_until<const AT_ONCE: u32>(&mut self, free: u32, turns: &mut impl Iterator<Item = usize>) {
        let (walks, owners, taken) = (&mut self.walks[..], &mut self.owners[..], &mut self.taken[..]);
        let slots = self.slots;
        let surplus = self.free.saturating_sub(free);
        for turn in turns.take(surplus as usize) {
            let Walk { at, step, index, .. } = &mut walks[turn];
            let mut probes = 0u32;
            for ahead in 0..AT_ONCE {
                let place = at.wrapping_add(step.wrapping_mul(u64::from(ahead)));
                probes |= u32::from(taken[slot(place, slots)]) << ahead;
            }
            let mut place = at.wrapping_add(step.wrapping_mul(u64::from(probes.trailing_ones())));
            if probes.trailing_ones() == AT_ONCE {
                while taken[slot(place, slots)] != 0 {
                    place = place.wrapping_add(*step);
                }
            }
            *at = place;
            owners[slot(place, slots)] = *index;
            taken[slot(place, slots)] = 1;
        }
        self.free -= surplus;
    }

    /// Gives the last slots away: to each walk the one that it gets to first.
    fn fill_rest(&mut self, mut turns: impl Iterator<Item = usize>) {
        let is_free = |&slot: &usize| self.taken[slot] == 0;
        let mut free: Vec<u64> = (0..self.slots as usize).filter(is_free).map(|slot| slot as u64).collect();
        while !free.is_empty() {
            let Some(turn) = turns.next() else { return };
            let Walk { at, step, index, .. } = self.walks[turn];
            let at = slot(at, self.slots) as u64;
            // From slot to steps, where both count from here, goes by the inverse of the step: again as a fraction, which wraps.
            let step = slot(step, self.slots) as u32;
            let inverse = u64::from(inverse(step, self.slots)) * slot_width(self.slots);
            let steps_to = |slot: u64| slot.wrapping_sub(at).wrapping_mul(inverse);
            let nearest = (0..free.len()).min_by_key(|&place| steps_to(free[place]));
            let Some(nearest) = nearest else { return };
            self.owners[free.swap_remove(nearest) as usize] = index;
        }
    }
}

/// A slot as a fraction of the table, rounded up.
#[inline]
fn slot_width(slots: u32) -> u64 {
    u64::MAX / u64::from(slots) + 1
}

/// The slot that a fraction of the table is in.
#[inline]
fn slot(fraction: u64, slots: u32) -> usize {
    ((u128::from(fraction) * u128::from(slots)) >> 64) as usize
}

/// The inverse of a number modulo a prime, by Euclid's algorithm.
fn inverse(number: u32, prime: u32) -> u32 {
    let (mut rest, mut next) = (prime, number);
    let (mut inverse, mut next_inverse) = (0i64, 1i64);
    while next != 0 {
        let quotient = rest / next;
        (rest, next) = (next, rest - quotient * next);
        (inverse, next_inverse) = (next_inverse, inverse - i64::from(quotient) * next_inverse);
    }
    inverse.rem_euclid(i64::from(prime)) as u32
}

/// With fewer walks, each waits for its own last result, which is there sooner if the processor guesses it.
const MANY_WALKS: usize = 3;

/// So many slots are left when it becomes cheaper to compute where a walk gets to than to go there.
const COMPUTED: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_inverse() {
        for prime in [2, 3, 251] {
            for number in 1..prime {
                assert_eq!(number * inverse(number, prime) % prime, 1, "{number} modulo {prime}");
            }
        }
    }

    #[test]
    fn a_walk_goes_through_the_slots_that_its_preference_names() {
        let candidate = Candidate { address: [198, 18, 0, 2].into(), port: 80, weight: 1 };
        for identity in [0, u128::MAX, 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834] {
            let slots = crate::limits::MAGLEV_SLOTS;
            let (first, step) = preference(identity, slots);
            let mut walk = Walk::new(0, &candidate, identity, slots);
            for steps in 0..u64::from(slots) {
                let expected = (u64::from(first) + steps * u64::from(step)) % u64::from(slots);
                assert_eq!(slot(walk.at, slots) as u64, expected, "step {steps} of {identity:#x}");
                walk.at = walk.at.wrapping_add(walk.step);
            }
        }
    }
}
