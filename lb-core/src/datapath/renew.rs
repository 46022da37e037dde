//! A SYN on a flow that was reset. The reset may have been forged, and the SYN with it: whoever sends the two must neither move a live
//! connection to another target nor give it another source (RFC 7857 section 2, RFC 5961 section 4). So the SYN goes to the target
//! that the flow has, as one on a live connection does, and the target's answer tells: a challenge ACK that the connection lives, a
//! SYN-ACK that there is a new one.

use super::{InFlight, Pipeline, last_hop, preamble::header_placement};
use crate::{
    flow::{Direction, State},
    listener::ListenerId,
    select,
    tables::Tables,
    target::TargetId,
    tcp,
    time::Instant,
    verdict::{Reason, Verdict},
    wire::l4::tcp::ACK,
};

impl Pipeline<'_> {
    /// A SYN, or the answer to one. `None` when the flow is over: then the SYN begins another.
    pub(super) fn renew(
        &mut self,
        tables: &Tables,
        it: &mut InFlight<'_, '_>,
        record: u32,
        direction: Direction,
    ) -> Option<Verdict> {
        let now_ms = it.now.wrapping_millis();
        match direction {
            Direction::Forward if it.packet.is_syn() && !self.is_renewable(tables, record) => {
                self.forget(record, now_ms);
                return None;
            }
            Direction::Reverse if it.packet.has(ACK) => {
                if self.lacks_header(tables, record) {
                    self.forget(record, now_ms);
                    return Some(self.reset(it, Reason::ResetNoFlow, None));
                }
                self.begin_again(tables, record, it.now);
            }
            Direction::Forward => {
                let hop = last_hop(it.frame);
                self.flows.flow_mut(record).set_hop(Direction::Reverse, hop);
            }
            Direction::Reverse => {}
        }
        self.flows.flow_mut(record).last_seen_ms = now_ms;
        Some(self.forward_by_route(tables, it, record, direction))
    }

    /// Whether a SYN goes to the target of a flow that was reset: one that may have new flows.
    pub(super) fn is_renewable(&self, tables: &Tables, record: u32) -> bool {
        let flow = self.flows.flow(record);
        let target_id = TargetId(u32::from(flow.target_id));
        let start = || {
            let listener = tables.listener(ListenerId(flow.listener_id))?;
            let key = self.flows.key(record, Direction::Forward);
            select::start(tables, &listener.forward, &self.selection_secret, &key)
        };
        flow.state() == State::Reset
            && self.standing(tables, record).target.is_some()
            && start().is_some_and(|start| start.pool.eligible.contains(&target_id))
    }

    /// Whether a new connection would begin with a PROXY header: that goes with a flow of its own, which the client's next SYN opens.
    fn lacks_header(&self, tables: &Tables, record: u32) -> bool {
        let flow = self.flows.flow(record);
        flow.has_preamble() || header_placement(tables, TargetId(u32::from(flow.target_id))).is_some()
    }

    /// The target has answered the SYN: a new flow, with all that the old one has.
    fn begin_again(&mut self, tables: &Tables, record: u32, now: Instant) {
        self.tell_by_state(record, now.wrapping_millis());
        self.flows.set_state(record, State::Established);
        self.begin_tally(record, now);
        let flow = self.flows.flow_mut(record);
        flow.timeout_s = tcp::timeout_s(State::Established, super::miss::idle_timeout_s(tables, flow));
        self.counters.count_start(flow);
        self.publish_gauges();
    }
}
