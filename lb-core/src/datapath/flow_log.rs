//! What the flow log is told: each flow's tally while it lives, and the flow when it is over. Nothing of it is done, and no annex is
//! touched, while the flow log is off.
//!
//! A flow that is closed or reset is told of when nothing has come for a while, though its record stays for longer: by then its last
//! packets are counted.

use std::num::NonZeroU32;

use super::{FlowView, Pipeline};
use crate::{
    counters::WorkerCounters,
    flow::{Direction, Flow, State},
    flow_log::{CloseReason, EndedFlow, Tally, mark},
    hash, limits,
    time::Instant,
};

/// What one worker has to tell.
#[derive(Debug)]
pub(super) struct FlowLog {
    /// Since when it is on; `None`: it is off.
    since: Option<Instant>,
    /// Of so many flows, one is told of.
    sample: u64,
    /// Flows that nobody has taken yet.
    ended: Vec<EndedFlow>,
}

impl FlowLog {
    /// It is off. Memory for the flows is given as it is touched.
    pub(super) fn new() -> FlowLog {
        FlowLog { since: None, sample: 0, ended: Vec::with_capacity(limits::ENDED_FLOWS) }
    }

    #[inline(always)]
    pub(super) fn is_on(&self) -> bool {
        self.since.is_some()
    }

    /// Tells of one flow in `sample` from now on, `None`: of none.
    pub(super) fn switch(&mut self, sample: Option<NonZeroU32>, now: Instant) {
        let since = self.since.unwrap_or(now);
        self.since = sample.map(|_| since);
        self.sample = sample.map_or(0, |one_in| one_in.get().into());
    }

    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.ended.len() < limits::ENDED_FLOWS
    }

    pub(super) fn take_ended(&mut self) -> impl Iterator<Item = EndedFlow> {
        self.ended.drain(..)
    }

    fn push(&mut self, flow: EndedFlow, counters: &WorkerCounters) {
        match self.has_room() {
            true => self.ended.push(flow),
            false => counters.ended_flows_lost.add(1),
        }
    }
}

impl Pipeline<'_> {
    /// Counts a packet that was sent on.
    #[inline(always)]
    pub(super) fn tally(&mut self, record: u32, direction: Direction, bytes: u16) {
        if self.flow_log.is_on() {
            self.flows.annex_mut(record).tally.count(direction, bytes);
        }
    }

    /// Begins the tally of a flow that was just put in.
    #[inline(always)]
    pub(super) fn begin_tally(&mut self, record: u32, now: Instant) {
        if self.flow_log.is_on() {
            self.flows.annex_mut(record).tally = Tally::beginning(now);
        }
    }

    /// Notes that a flow was under way before it came here.
    pub(super) fn mark_adopted(&mut self, record: u32) {
        if self.flow_log.is_on() {
            self.flows.annex_mut(record).tally.set(mark::ADOPTED);
        }
    }

    /// Notes who resets a flow, and whether that answers a SYN.
    #[inline]
    pub(super) fn note_reset(&mut self, record: u32, sender: Direction) {
        let waits = self.flows.flow(record).state() == State::Renewing;
        if let Some(tally) = self.own_tally(record) {
            tally.clear(mark::RESET_BY_TARGET | mark::REFUSED);
            match sender {
                Direction::Forward => {}
                Direction::Reverse if waits => tally.set(mark::REFUSED),
                Direction::Reverse => tally.set(mark::RESET_BY_TARGET),
            }
        }
    }

    /// Notes that a flow goes on which was thought to be over, and may have been told of: it will be told of again, with what it has
    /// to come.
    #[inline]
    pub(super) fn note_return(&mut self, record: u32) {
        if let Some(tally) = self.own_tally(record) {
            tally.clear(mark::TOLD);
        }
    }

    /// Tells of a flow that ends now, unless it was told of.
    #[inline]
    pub(super) fn tell(&mut self, record: u32, reason: CloseReason, now_ms: u32) {
        if self.flow_log.is_on() {
            self.tell_as(record, Some(reason), now_ms);
        }
    }

    /// The same of a flow whose state says why it ends.
    #[inline]
    pub(super) fn tell_by_state(&mut self, record: u32, now_ms: u32) {
        if self.flow_log.is_on() {
            self.tell_as(record, None, now_ms);
        }
    }

    /// Tells of a flow that is closed or reset, when it has been quiet for a while.
    #[inline(never)]
    pub(super) fn tell_if_settled(&mut self, record: u32, now_ms: u32) {
        let flow = self.flows.flow(record);
        let quiet_ms = now_ms.wrapping_sub(flow.last_seen_ms);
        let is_quiet = (limits::SETTLED_MS..u32::MAX / 2).contains(&quiet_ms);
        if is_quiet && matches!(flow.state(), State::Closed | State::Reset) {
            self.tell_as(record, None, now_ms);
        }
    }

    /// Tells of flows that were not told of, because the daemon stops: from record number `cursor` on, as far as there is room.
    /// Returns the next cursor; `None` after the last record.
    pub(super) fn tell_stopped(&mut self, cursor: u32, now_ms: u32) -> Option<u32> {
        let used = if self.flow_log.is_on() { self.flows.used_records() } else { 0 };
        for record in cursor..used {
            if !self.flow_log.has_room() {
                return Some(record);
            }
            let flow = self.flows.flow(record);
            if flow.state().is_under_way() && !flow.is_expired(now_ms) {
                self.tell_as(record, Some(CloseReason::Stopped), now_ms);
            } else if flow.is_live() {
                self.tell_as(record, None, now_ms);
            }
        }
        None
    }

    #[cold]
    fn tell_as(&mut self, record: u32, reason: Option<CloseReason>, now_ms: u32) {
        let flow = *self.flows.flow(record);
        if matches!(flow.state(), State::Resting | State::Cut) {
            return; // It was told of, or over before the flow log was on.
        }
        let Some(tally) = self.own_tally(record).filter(|tally| !tally.has(mark::TOLD)) else { return };
        let told = *tally;
        tally.set(mark::TOLD);
        tally.restart();
        let reason = reason.unwrap_or_else(|| CloseReason::of_state(flow.state(), &told));
        if self.is_sampled(record) {
            let ended = self.ended(record, &flow, (told, reason), now_ms);
            self.flow_log.push(ended, &self.counters);
        }
    }

    fn ended(
        &self,
        record: u32,
        flow: &Flow,
        (tally, reason): (Tally, CloseReason),
        now_ms: u32,
    ) -> EndedFlow {
        EndedFlow {
            view: FlowView::new((self.worker, flow, self.flows.addresses(record)), now_ms),
            tally: Some(tally).filter(|tally| !tally.has(mark::OLDER)),
            reason,
            ended_ms: reason.time_ms(flow, now_ms),
        }
    }

    /// Whether a flow is told of at all: the same on every node of a fleet.
    fn is_sampled(&self, record: u32) -> bool {
        let key = || self.flows.key(record, Direction::Forward);
        self.flow_log.sample == 1
            || hash::sample(&self.selection_secret, &key()).is_multiple_of(self.flow_log.sample)
    }

    /// A flow's tally, while the flow log is on. That of an earlier flow is not the flow's own: it makes way for one that says so.
    fn own_tally(&mut self, record: u32) -> Option<&mut Tally> {
        let since = self.flow_log.since?;
        let tally = &mut self.flows.annex_mut(record).tally;
        if !tally.is_since(since) {
            *tally = Tally::of_older_flow(since);
        }
        Some(tally)
    }
}
