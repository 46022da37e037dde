//! How flows end: by a packet, or by time.

use std::net::IpAddr;

use super::Pipeline;
use crate::{
    flow::{Direction, Flow, State},
    flow_log::CloseReason,
    limits,
    time::Instant,
};

impl Pipeline<'_> {
    /// Ends a flow whose state says why, or whose time is over.
    pub(super) fn forget(&mut self, record: u32, now_ms: u32) {
        self.tell_by_state(record, now_ms);
        self.drop_flow(record, now_ms);
    }

    /// Ends a flow for another reason.
    pub(super) fn forget_for(&mut self, record: u32, reason: CloseReason, now_ms: u32) {
        self.tell(record, reason, now_ms);
        self.drop_flow(record, now_ms);
    }

    /// A source of ours that the flow had rests, unless it has rested already.
    fn drop_flow(&mut self, record: u32, now_ms: u32) {
        let flow = self.flows.flow(record);
        if flow.state().is_active() {
            self.counters.count_end(flow);
        }
        if has_to_rest(flow, now_ms) {
            self.flows.rest(record);
            let flow = self.flows.flow_mut(record);
            (flow.last_seen_ms, flow.timeout_s) = (now_ms, limits::REST_S);
        } else {
            if flow.is_source_translated() {
                self.give_back_port(self.flows.key(record, Direction::Forward).source());
            }
            self.flows.remove(record);
        }
        self.publish_gauges();
    }

    /// A source port of a client is free again.
    pub(super) fn give_back_port(&mut self, client: IpAddr) {
        if let Some(clients) = &mut self.clients {
            clients.give_back(client);
        }
    }

    /// Ends a flow whose time is over.
    pub(super) fn expire_flow(&mut self, record: u32, now_ms: u32) {
        if self.flows.flow(record).state() != State::Resting {
            self.counters.expired.add(1);
        }
        self.forget(record, now_ms);
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.expire_fragments(now);
        let since_ns = now.nanos().saturating_sub(self.expired_until.get_or_insert(now).nanos());
        let used = self.flows.used_records();
        let due = records_due(since_ns, used, limits::EXPIRY_ROUND_MS, limits::EXPIRY_RECORDS);
        if due == 0 {
            return;
        }
        self.expired_until = Some(now);
        let now_ms = now.wrapping_millis();
        let tells = self.flow_log.is_on();
        for _ in 0..due {
            if tells {
                self.tell_if_settled(self.flows.swept(), now_ms);
            }
            if let Some(record) = self.flows.sweep(now_ms) {
                self.expire_flow(record, now_ms);
            }
        }
    }
}

/// Whether a flow that ends now has a source of ours that has not rested yet.
pub(super) fn has_to_rest(flow: &Flow, now_ms: u32) -> bool {
    let has_rested = match flow.state() {
        State::Resting => true,
        State::Closed | State::Reset | State::Renewing => flow.is_expired(now_ms),
        // The target knows no connection: rests would let a flood of SYNs take all ports.
        state => state.is_half_open() || state == State::Connecting,
    };
    flow.is_source_translated() && !has_rested
}

/// Records, `most` at most, to look at after some time without, so that all `used` ones have been looked at after a round.
pub(super) fn records_due(since_ns: u64, used: u32, round_ms: u64, most: u32) -> u32 {
    let due = u128::from(since_ns) * u128::from(used) / u128::from(round_ms * 1_000_000);
    due.min(u128::from(most)) as u32
}
