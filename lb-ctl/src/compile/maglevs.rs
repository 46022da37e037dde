//! The Maglev table of every pool, kept for as long as its candidates stay the same.

use std::{collections::HashMap, num::NonZero, sync::Arc, thread};

use lb_core::maglev::{Candidate, Maglev};

/// Tables by pool.
#[derive(Clone, Default)]
pub(super) struct Maglevs {
    known: HashMap<PoolName, (Vec<Candidate>, Arc<Maglev>)>,
}

/// What a pool is known by.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct PoolName {
    pub(super) group: Arc<str>,
    /// Among the group's pools.
    pub(super) pool: u8,
}

impl Maglevs {
    /// The tables of pools with these candidates, in the same order. Those not known are built, on as many cores as there are.
    pub(super) fn of(&mut self, pools: &[(PoolName, Vec<Candidate>)]) -> Vec<Arc<Maglev>> {
        let is_unknown = |(pool, candidates): &&(PoolName, Vec<Candidate>)| {
            self.known.get(pool).is_none_or(|known| known.0 != *candidates)
        };
        let unknown: Vec<_> = pools.iter().filter(is_unknown).collect();
        let candidates: Vec<&[Candidate]> = unknown.iter().map(|row| &*row.1).collect();
        for ((pool, candidates), maglev) in unknown.into_iter().zip(build(&candidates)) {
            self.known.insert(pool.clone(), (candidates.clone(), maglev));
        }
        pools.iter().map(|(pool, _)| self.known[pool].1.clone()).collect()
    }

    /// Forgets the tables of groups whose name does not pass.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&Arc<str>) -> bool) {
        self.known.retain(|name, _| is_kept(&name.group));
    }
}

fn build(pools: &[&[Candidate]]) -> Vec<Arc<Maglev>> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let share = pools.len().div_ceil(cores).max(1);
    let build = |pools: &[&[Candidate]]| -> Vec<Arc<Maglev>> {
        pools.iter().map(|candidates| Maglev::with_default_slots(candidates).into()).collect()
    };
    let (own, others) = pools.split_at(share.min(pools.len()));
    thread::scope(|scope| {
        let spawn = |share| (share, thread::Builder::new().spawn_scoped(scope, move || build(share)));
        let others: Vec<_> = others.chunks(share).map(spawn).collect();
        let mut built = build(own);
        for (share, thread) in others {
            // Without another thread, it is this one's work.
            built.extend(thread.ok().and_then(|thread| thread.join().ok()).unwrap_or_else(|| build(share)));
        }
        built
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(number: u8) -> (PoolName, Vec<Candidate>) {
        let candidate = Candidate { address: [198, 19, 1, number].into(), port: 80, weight: 1 };
        let name = PoolName { group: format!("group-{}", number / 2).into(), pool: number % 2 };
        (name, vec![candidate; usize::from(number) % 3])
    }

    #[test]
    fn every_pool_gets_its_own_table_and_keeps_it() {
        for count in [0, 1, 2, 9] {
            let mut pools: Vec<_> = (0..count).map(pool).collect();
            let mut maglevs = Maglevs::default();
            let built = maglevs.of(&pools);
            for ((_, candidates), maglev) in pools.iter().zip(&built) {
                assert_eq!(**maglev, Maglev::with_default_slots(candidates));
            }
            pools.reverse();
            let kept = maglevs.of(&pools);
            assert!(built.iter().zip(kept.iter().rev()).all(|(one, other)| Arc::ptr_eq(one, other)));
        }
    }
}
