//! What must hold of a flow table between calls. Slow; called by tests, through `Datapath::audit`.

use super::{BUCKET_ENTRIES, FlowTable, NONE, tag};
use crate::flow::{Direction, State};

impl FlowTable<'_> {
    /// Says which rule is broken, if one is.
    pub(crate) fn audit(&self) -> Result<(), String> {
        self.audit_records()?;
        self.audit_index()?;
        self.audit_free_list()?;
        self.audit_half_open_list()
    }

    /// Each key of a live flow leads to its record, so that no two flows have one key.
    fn audit_records(&self) -> Result<(), String> {
        for record in self.live_records() {
            for direction in [Direction::Forward, Direction::Reverse] {
                let key = self.key(record, direction);
                let found = self.lookup(self.hash(&key), &key);
                if (found == Some((record, direction))) != self.has_entry(record, direction) {
                    return Err(format!("{key:?} of record {record}, {direction:?}, leads to {found:?}"));
                }
            }
        }
        equal("live flows", self.live, self.live_records().count())
    }

    /// Each entry is of a live flow and stands where a lookup finds it; buckets know what they displaced.
    fn audit_index(&self) -> Result<(), String> {
        let mut displaced = vec![0; self.buckets.len()];
        let mut entries = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            for place in (0..BUCKET_ENTRIES).filter(|&place| bucket.tags[place] != 0) {
                let (record, direction) = direction_of(bucket.entries[place]);
                let is_live = self.flows.get(record as usize).is_some_and(|flow| flow.is_live());
                if !is_live || !self.has_entry(record, direction) {
                    return Err(format!(
                        "bucket {at} leads to record {record}, {direction:?}, which has ended"
                    ));
                }
                let hash = self.hash(&self.key(record, direction));
                let (first, second) = (self.first_bucket(hash), self.second_bucket(hash));
                if bucket.tags[place] != tag(hash) || (at != first && at != second) {
                    return Err(format!("record {record}, {direction:?}, has a stray entry in bucket {at}"));
                }
                displaced[first] += usize::from(at != first);
                entries += 1;
            }
        }
        for (bucket, count) in self.buckets.iter().zip(displaced) {
            equal("displaced entries", bucket.displaced, count)?;
        }
        let resting = self.live_records().filter(|&record| self.flow(record).state() == State::Resting);
        equal("entries", self.live * 2, entries + resting.count())
    }

    /// Each record that was used is live or free.
    fn audit_free_list(&self) -> Result<(), String> {
        let (mut free, mut record) = (0, self.free);
        while record != NONE && free <= self.untouched {
            if self.flow(record).is_live() {
                return Err(format!("record {record} is live, and free"));
            }
            free += 1;
            record = self.flow(record).next;
        }
        equal("used records", self.untouched, (self.live + free) as usize)
    }

    /// The list of half-open flows has all of them, and can be walked both ways.
    fn audit_half_open_list(&self) -> Result<(), String> {
        let (mut count, mut previous, mut record) = (0, NONE, self.half_open.oldest);
        while record != NONE && count <= self.live {
            let flow = self.flow(record);
            if !flow.state().is_half_open() || flow.previous != previous {
                return Err(format!("record {record} is {}, linked to {previous}", flow.state().name()));
            }
            count += 1;
            (previous, record) = (record, flow.next);
        }
        equal("newest half-open flow", self.half_open.newest, previous as usize)?;
        equal("half-open flows in the list", self.half_open.count, count as usize)?;
        let half_open = self.live_records().filter(|&record| self.flow(record).state().is_half_open());
        equal("half-open flows", self.half_open.count, half_open.count())?;
        match self.half_open.count <= self.half_open.budget {
            true => Ok(()),
            false => Err(format!("{} half-open flows, over budget", self.half_open.count)),
        }
    }

    fn live_records(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.untouched).filter(|&record| self.flow(record).is_live())
    }

    /// Whether packets of a live flow in this direction find it.
    fn has_entry(&self, record: u32, direction: Direction) -> bool {
        direction == Direction::Reverse || self.flow(record).state() != State::Resting
    }
}

fn direction_of(entry: u32) -> (u32, Direction) {
    (entry >> 1, if entry & 1 == 0 { Direction::Forward } else { Direction::Reverse })
}

fn equal(what: &str, said: u32, counted: usize) -> Result<(), String> {
    if said as usize == counted { Ok(()) } else { Err(format!("{what}: {said} said, {counted} counted")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow_table::{
        FlowArena,
        tests::{flow, hash, insert},
    };

    /// In a full table, room for a flow is made by moving others.
    #[test]
    fn a_full_table_stays_sound_while_flows_come_and_go() {
        let mut arena = FlowArena::new(64);
        let mut table = FlowTable::new(arena.memory(), hash());
        for number in 0..10_000 {
            let inserted = insert(&mut table, &flow(number, State::Established)).0;
            if inserted.is_err() {
                table.remove(number.wrapping_mul(7) % 64);
            }
            assert_eq!(table.audit(), Ok(()), "flow {number}");
        }
        assert!(table.len() >= 63);
    }
}
