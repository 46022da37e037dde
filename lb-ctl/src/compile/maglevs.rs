//! The Maglev table of every group, kept for as long as its candidates stay the same.

use std::{collections::HashMap, num::NonZero, sync::Arc, thread};

use lb_core::maglev::{Candidate, Maglev};

/// Tables by group name.
#[derive(Clone, Default)]
pub(super) struct Maglevs {
    known: HashMap<Arc<str>, (Vec<Candidate>, Arc<Maglev>)>,
}

impl Maglevs {
    /// The tables of groups with these candidates, in the same order. Those not known are built, on as many cores as there are.
    pub(super) fn of(&mut self, groups: &[(Arc<str>, Vec<Candidate>)]) -> Vec<Arc<Maglev>> {
        let is_unknown = |(name, candidates): &&(Arc<str>, Vec<Candidate>)| {
            self.known.get(name).is_none_or(|known| known.0 != *candidates)
        };
        let unknown: Vec<&(Arc<str>, Vec<Candidate>)> = groups.iter().filter(is_unknown).collect();
        let built = build(&unknown);
        for ((name, candidates), maglev) in unknown.into_iter().zip(built) {
            self.known.insert(name.clone(), (candidates.clone(), maglev));
        }
        groups.iter().map(|(name, _)| self.known[name].1.clone()).collect()
    }

    /// Forgets the tables of groups whose name does not pass.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&Arc<str>) -> bool) {
        self.known.retain(|name, _| is_kept(name));
    }
}

fn build(groups: &[&(Arc<str>, Vec<Candidate>)]) -> Vec<Arc<Maglev>> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let share = groups.len().div_ceil(cores).max(1);
    let build = |groups: &[&(Arc<str>, Vec<Candidate>)]| -> Vec<Arc<Maglev>> {
        groups.iter().map(|group| Maglev::with_default_slots(&group.1).into()).collect()
    };
    let (own, others) = groups.split_at(share.min(groups.len()));
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

    fn group(number: u8) -> (Arc<str>, Vec<Candidate>) {
        let candidate = Candidate { address: [198, 19, 1, number].into(), port: 80, weight: 1 };
        (format!("group-{number}").into(), vec![candidate; usize::from(number) % 3])
    }

    #[test]
    fn every_group_gets_its_own_table_and_keeps_it() {
        for count in [0, 1, 2, 9] {
            let mut groups: Vec<_> = (0..count).map(group).collect();
            let mut maglevs = Maglevs::default();
            let built = maglevs.of(&groups);
            for ((_, candidates), maglev) in groups.iter().zip(&built) {
                assert_eq!(**maglev, Maglev::with_default_slots(candidates));
            }
            groups.reverse();
            let kept = maglevs.of(&groups);
            assert!(built.iter().zip(kept.iter().rev()).all(|(one, other)| Arc::ptr_eq(one, other)));
        }
    }
}
