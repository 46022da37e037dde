//! The list of half-open flows, through their records, oldest first.

use super::{FlowTable, NONE, cpu};
use crate::flow::Flow;

/// Half-open flows in the order of their SYN.
#[derive(Debug)]
pub(super) struct HalfOpenList {
    pub(super) oldest: u32,
    pub(super) newest: u32,
    pub(super) count: u32,
    pub(super) budget: u32,
    /// The first whose memory has not been asked for in view of its eviction, if any has, and about how many are before it.
    pub(super) ahead: u32,
    pub(super) lead: u32,
}

impl HalfOpenList {
    /// Without flows, of which there may be `budget`.
    pub(super) fn new(budget: u32) -> HalfOpenList {
        HalfOpenList { oldest: NONE, newest: NONE, count: 0, budget, ahead: NONE, lead: 0 }
    }
}

impl FlowTable<'_> {
    /// Asks the cache for what the evictions to come will touch: a record one step before its keys are read.
    pub(super) fn look_ahead(&mut self) {
        let list = &mut self.half_open;
        list.lead = list.lead.saturating_sub(1);
        if list.ahead == NONE || list.ahead == list.oldest {
            (list.ahead, list.lead) = (list.oldest, 0);
        }
        for _ in 0..2 {
            let record = self.half_open.ahead;
            if record == NONE || self.half_open.lead == EVICTIONS_AHEAD {
                return;
            }
            self.prefetch_entries(record);
            let next = self.flows[record as usize].next;
            if let Some(flow) = self.flows.get(next as usize) {
                cpu::prefetch(flow);
            }
            self.half_open.ahead = next;
            self.half_open.lead += 1;
        }
    }

    pub(super) fn append_half_open(&mut self, record: u32) {
        let newest = self.half_open.newest;
        let flow = &mut self.flows[record as usize];
        (flow.previous, flow.next) = (newest, NONE);
        match newest {
            NONE => self.half_open.oldest = record,
            _ => self.flows[newest as usize].next = record,
        }
        self.half_open.newest = record;
        self.half_open.count += 1;
    }

    pub(super) fn unlink_half_open(&mut self, record: u32) {
        let Flow { previous, next, .. } = self.flows[record as usize];
        match previous {
            NONE => self.half_open.oldest = next,
            _ => self.flows[previous as usize].next = next,
        }
        match next {
            NONE => self.half_open.newest = previous,
            _ => self.flows[next as usize].previous = previous,
        }
        if self.half_open.ahead == record {
            self.half_open.ahead = next;
        }
        self.half_open.count -= 1;
    }
}

/// Evictions that memory is asked for before their turn.
const EVICTIONS_AHEAD: u32 = 8;
