//! A packet of a flow in the table: no decision, unless the tables have changed since its last one.

use super::{InFlight, Pipeline, last_hop, miss::idle_timeout_s, reply::has_right_checksum};
use crate::{
    flow::{Direction, State},
    flow_log::CloseReason,
    listener::{Listener, ListenerId},
    parse::parse,
    rewrite::{preamble, reset},
    tables::Tables,
    target::{CutCause, Target, TargetId},
    tcp,
    verdict::{Reason, Verdict},
    wire::l4::tcp::{RST, SYN},
};

/// What a look at new tables found of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It goes on, or has been cut before.
    Valid,
    /// It is cut from now on.
    Cut,
    /// It is gone: its packet is a miss.
    Gone,
}

/// What the tables say of a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing<'t> {
    /// Its listener, unless that is long gone.
    pub(super) listener: Option<&'t Listener>,
    /// Its target, unless that is long gone.
    pub(super) target: Option<&'t Target>,
    /// Why it is to be cut, if it is.
    pub(super) cause: Option<CutCause>,
}

impl Standing<'_> {
    /// Whether nothing is kept of such a flow, in this state.
    pub(super) fn is_gone(&self, state: State) -> bool {
        self.listener.is_none() || selects_anew(state) && self.cause.is_some()
    }

    /// Whether a flow in this state becomes a tombstone.
    pub(super) fn is_cut(&self, state: State) -> bool {
        self.cause.is_some() && (state.is_active() || state.is_reset())
    }

    /// Why a flow that goes on without the tables' consent is ended.
    fn close_reason(&self) -> CloseReason {
        CloseReason::Cut(self.cause.unwrap_or(CutCause::ListenerGone))
    }
}

impl Pipeline<'_> {
    /// A packet of a flow in the table. `None` when the flow turns out to be over: then the packet is a miss.
    #[inline]
    pub(super) fn hit(
        &mut self,
        tables: &Tables,
        it: &mut InFlight<'_, '_>,
        record: u32,
        direction: Direction,
    ) -> Option<Verdict> {
        let now_ms = it.now.wrapping_millis();
        let flow = self.flows.flow(record);
        if flow.is_expired(now_ms) {
            self.expire_flow(record, now_ms);
            return None;
        }
        if flow.epoch != tables.epoch() {
            match self.revalidate(tables, record, now_ms) {
                Finding::Valid => {}
                Finding::Cut => self.reset_other_side(it, record, direction),
                Finding::Gone => return None,
            }
        }
        let state = self.flows.flow(record).state();
        if state != State::Udp {
            let flags = it.packet.tcp_flags;
            if flags & SYN != 0
                && let Some(verdict) = self.begin_elsewhere(tables, it, record, direction)
            {
                return Some(verdict);
            }
            if state != State::Established && tcp::is_unusual(state, direction, flags) {
                return self.hit_unusual(tables, it, record, direction);
            }
            if direction == Direction::Forward && state.is_over() && it.packet.is_syn() {
                self.forget(record, now_ms);
                return None;
            }
            if tcp::is_repeated_syn(state, direction, flags) {
                self.counters.count_repeated_syn(self.flows.flow(record));
            }
            let next = self.next_state(it, record, direction);
            if next != state {
                self.advance(tables, record, (next, direction), now_ms);
            }
        }
        let flow = self.flows.flow_mut(record);
        if tcp::prolongs(flow) {
            flow.last_seen_ms = now_ms;
        }
        if direction == Direction::Forward {
            flow.set_hop(Direction::Reverse, last_hop(it.frame));
        }
        match flow.hop(direction) {
            Some(hop) => Some(self.forward(it, record, direction, hop, Reason::FlowHit)),
            None => Some(self.forward_by_route(tables, it, record, direction)),
        }
    }

    /// A packet of a flow that was cut, rests, is refused, begins anew, or waits for its target's answer to a confirmed SYN cookie.
    #[cold]
    fn hit_unusual(
        &mut self,
        tables: &Tables,
        it: &mut InFlight<'_, '_>,
        record: u32,
        direction: Direction,
    ) -> Option<Verdict> {
        match self.flows.flow(record).state() {
            State::Connecting => Some(self.connecting(tables, it, record, direction)),
            State::Cut if direction == Direction::Forward && it.packet.is_syn() => {
                self.forget(record, it.now.wrapping_millis());
                None
            }
            State::Cut => Some(self.refuse_cut(it, record)),
            State::Renewing if it.packet.has(RST) => Some(self.forward_refusal(tables, it, record)),
            state if state.is_reset() => self.renew(tables, it, record, direction),
            state if state.is_half_open() => Some(self.forward_refusal(tables, it, record)),
            _ => None,
        }
    }

    /// The target refuses a connection: once the client is told, there is none. Where one was reset before, that may have been forged, and
    /// the refusal as well: a flow that was reset remains. One with a wrong checksum tells the client nothing.
    fn forward_refusal(&mut self, tables: &Tables, it: &mut InFlight<'_, '_>, record: u32) -> Verdict {
        if !has_right_checksum(it) {
            return self.forward_by_route(tables, it, record, Direction::Reverse);
        }
        let now_ms = it.now.wrapping_millis();
        self.counters.count_refused_syn(self.flows.flow(record));
        let verdict = self.forward_by_route(tables, it, record, Direction::Reverse);
        match self.flows.flow(record).state() {
            State::Renewing => self.advance(tables, record, (State::Reset, Direction::Reverse), now_ms),
            _ => self.forget_for(record, CloseReason::Refused, now_ms),
        }
        verdict
    }

    /// A target's packet to a client whose packets have not been seen: the tables may know the way.
    #[cold]
    pub(super) fn forward_by_route(
        &mut self,
        tables: &Tables,
        it: &mut InFlight<'_, '_>,
        record: u32,
        direction: Direction,
    ) -> Verdict {
        let client = self.flows.key(record, Direction::Forward).source();
        match self.flows.flow(record).hop(direction).or_else(|| tables.hop(client)) {
            Some(hop) => self.forward(it, record, direction, hop, Reason::FlowHit),
            None => {
                self.want(client);
                Verdict::drop(Reason::NextHopUnresolved)
            }
        }
    }

    /// Checks a flow against tables that it has not seen.
    #[cold]
    pub(super) fn revalidate(&mut self, tables: &Tables, record: u32, now_ms: u32) -> Finding {
        let flow = *self.flows.flow(record);
        if flow.state() == State::Resting {
            return Finding::Valid;
        }
        let standing = self.standing(tables, record);
        let Standing { listener, target, cause } = standing;
        let is_cut = cause.is_some() && flow.state().is_active();
        if let Some(cause) = cause.filter(|_| is_cut) {
            self.counters.count_cut(&flow, cause);
        }
        let Some(listener) = listener.filter(|_| !standing.is_gone(flow.state())) else {
            match flow.state().is_under_way() {
                true => self.forget_for(record, standing.close_reason(), now_ms),
                false => self.forget(record, now_ms),
            }
            return Finding::Gone;
        };
        if is_cut {
            self.counters.count_end(&flow);
        }
        if standing.is_cut(flow.state()) {
            match flow.state().is_under_way() {
                true => self.tell(record, standing.close_reason(), now_ms),
                false => self.tell_by_state(record, now_ms),
            }
            self.flows.set_state(record, State::Cut);
            self.publish_gauges();
        }
        let flow = self.flows.flow_mut(record);
        if let Some(hop) = target.and_then(|target| target.next_hop) {
            flow.set_hop(Direction::Forward, hop);
        }
        flow.timeout_s = tcp::timeout_s(flow.state(), listener.idle_timeout_s);
        flow.epoch = tables.epoch();
        if is_cut { Finding::Cut } else { Finding::Valid }
    }

    /// What the tables say of a flow.
    pub(super) fn standing<'t>(&self, tables: &'t Tables, record: u32) -> Standing<'t> {
        let flow = self.flows.flow(record);
        let endpoint = self.flows.key(record, Direction::Forward).destination_endpoint();
        let listener = tables
            .listener(ListenerId(flow.listener_id))
            .filter(|listener| Some(listener.endpoint) == endpoint);
        let peer = self.flows.key(record, Direction::Reverse).source_endpoint();
        let target = tables.target(TargetId(u32::from(flow.target_id))).filter(|target| {
            peer.is_some_and(|peer| (target.address, target.port) == (peer.address, peer.port))
        });
        let by_target = match target {
            Some(target) => target.flow_policy.cause(),
            None if selects_anew(flow.state()) => Some(CutCause::Deregistered),
            None => None, // Its deregistration is long over; what still flows may go on.
        };
        let cause = by_target.or_else(|| listener.and_then(|listener| cause_by(listener, target)));
        Standing { listener, target, cause }
    }

    /// Moves a flow on to the state that a packet leads to, given the packet's direction.
    pub(super) fn advance(
        &mut self,
        tables: &Tables,
        record: u32,
        (state, direction): (State, Direction),
        now_ms: u32,
    ) {
        let flow = self.flows.flow(record);
        match (flow.state().is_active(), state.is_active()) {
            (true, false) => self.counters.count_end(flow),
            (false, true) => {
                self.counters.count_return(flow);
                self.note_return(record);
            }
            _ => {}
        }
        if state == State::Reset {
            self.note_reset(record, direction);
        }
        let flow = self.flows.flow(record);
        // Replies to a source of ours cannot go past us: who acknowledges one has made it up.
        if state == State::AnsweredElsewhere && !flow.is_source_translated() {
            self.counters.count_bypassed(flow);
        }
        self.flows.set_state(record, state);
        self.publish_gauges();
        let flow = self.flows.flow_mut(record);
        flow.timeout_s = tcp::timeout_s(state, idle_timeout_s(tables, flow));
        flow.last_seen_ms = now_ms;
    }

    /// A packet of a flow that was cut with its target.
    fn refuse_cut(&mut self, it: &mut InFlight<'_, '_>, record: u32) -> Verdict {
        let listener = ListenerId(self.flows.flow(record).listener_id);
        match it.packet.has(RST) {
            true => Verdict::drop(Reason::Terminated),
            false => self.reset(it, Reason::ResetTerminated, Some(listener)),
        }
    }

    /// Resets the side that a packet of a flow just cut was for: it is reset in the packet's place, with the packet's numbers.
    fn reset_other_side(&mut self, it: &InFlight<'_, '_>, record: u32, direction: Direction) {
        let Some(hop) = self.flows.flow(record).hop(direction) else { return };
        if it.packet.has(RST) || !self.budgets.resets.take(it.now) {
            return;
        }
        let from = self.egress(hop.interface).mac;
        let packet = it.packet;
        self.make(it.frame, |this, copy| {
            let (flow, addresses) = (*this.flows.flow(record), *this.flows.addresses(record));
            if flow.has_preamble() {
                preamble::renumber(copy, packet, &this.flows.annex(record).preamble, direction);
            }
            this.rewrite(copy, packet, (&flow, &addresses), direction, (from, hop.mac)).ok()?;
            let rewritten = parse(copy.bytes()).ok()?;
            reset::replace(copy, &rewritten, from, hop.mac);
            this.counters.count_own_reset(ListenerId(flow.listener_id));
            Some(Verdict::to(Reason::ResetOtherSide, hop.interface.0))
        });
    }
}

/// Whether a flow whose target is gone can have any other: one of datagrams, or of a client that waits for its target's answer to its
/// cookie.
fn selects_anew(state: State) -> bool {
    matches!(state, State::Udp | State::Connecting)
}

/// Why a listener's flow to a target is to be cut for the listener's sake, if it is.
fn cause_by(listener: &Listener, target: Option<&Target>) -> Option<CutCause> {
    if listener.forward.is_closing() {
        return Some(CutCause::ListenerGone);
    }
    listener.forward.of(target?.group)?.flow_policy.cause()
}
