//! A SYN on a flow that was reset. The reset may have been forged, and the SYN with it: whoever sends the two must neither move a live
//! connection to another target nor give it another source (RFC 7857 section 2, RFC 5961 section 4). So the SYN goes to the target
//! that the flow has, as one on a live connection does, and the target's answer tells: a challenge ACK that the connection lives, a
//! SYN-ACK that there is a new one.

use super::{InFlight, Pipeline, choice::TranslationCause, last_hop, preamble::header_placement};
use crate::{
    flow::{Direction, State},
    listener::ListenerId,
    select::{self, Start},
    tables::Tables,
    target::TargetId,
    time::Instant,
    verdict::Verdict,
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
        let (state, now_ms) = (self.flows.flow(record).state(), it.now.wrapping_millis());
        match direction {
            Direction::Forward if it.packet.is_syn() && !self.is_renewable(tables, record) => {
                self.forget(record, now_ms);
                return None;
            }
            Direction::Forward if it.packet.is_syn() && state == State::Reset => {
                self.begin_again(tables, record, it.now);
            }
            Direction::Forward if it.packet.is_syn() => {
                self.counters.count_repeated_syn(self.flows.flow(record));
            }
            Direction::Reverse if it.packet.has(ACK) && state == State::Renewing => {
                self.flows.flow_mut(record).end_window_shift(); // This connection began without a cookie.
                self.advance(tables, record, (State::Established, direction), now_ms);
            }
            _ => {} // Of the connection that was reset, or of a simultaneous open.
        }
        if direction == Direction::Forward {
            self.flows.flow_mut(record).set_hop(Direction::Reverse, last_hop(it.frame));
        }
        Some(self.forward_by_route(tables, it, record, direction))
    }

    /// Whether a SYN goes to the target of a flow that was reset: one that may have new flows, and is owed no PROXY header, which only
    /// goes with a flow from its first SYN on.
    pub(super) fn is_renewable(&self, tables: &Tables, record: u32) -> bool {
        let flow = self.flows.flow(record);
        let target_id = TargetId(u32::from(flow.target_id));
        flow.state().is_reset()
            && !flow.has_preamble()
            && header_placement(tables, target_id).is_none()
            && self.standing(tables, record).target.is_some()
            && self.start_of(tables, record).is_some_and(|start| start.pool.eligible.contains(&target_id))
    }

    /// Where the search for a target would begin, were the flow new.
    fn start_of<'t>(&self, tables: &'t Tables, record: u32) -> Option<Start<'t>> {
        let listener = tables.listener(ListenerId(self.flows.flow(record).listener_id))?;
        select::start(
            tables,
            &listener.forward,
            &self.selection_secret,
            &self.flows.key(record, Direction::Forward),
        )
    }

    /// What may be a new flow's first packet: it is counted, and told of, as one, with all that the old flow has.
    fn begin_again(&mut self, tables: &Tables, record: u32, now: Instant) {
        let now_ms = now.wrapping_millis();
        self.tell_by_state(record, now_ms);
        self.begin_tally(record, now);
        self.advance(tables, record, (State::Renewing, Direction::Forward), now_ms);
        let flow = self.flows.flow(record);
        let (target_id, listener) = (TargetId(u32::from(flow.target_id)), ListenerId(flow.listener_id));
        self.counters.count_start(flow);
        if self.start_of(tables, record).is_some_and(|start| start.pool.is_failing_open) {
            self.counters.count_unhealthy_routing(listener, target_id);
        }
        let client = self.flows.key(record, Direction::Forward).source();
        let cause = tables.target(target_id).and_then(|target| TranslationCause::of(tables, client, target));
        if flow.is_source_translated() && cause.is_some_and(TranslationCause::is_hairpin) {
            self.counters.hairpins.add(1);
        }
    }
}
