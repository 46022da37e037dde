//! A packet of no flow: it opens one, is adopted into one, goes to the worker that owns it, or is answered or dropped.

use super::{
    InFlight, Pipeline,
    choice::Choice,
    last_hop,
    preamble::{header_placement, sequence},
    reply::has_right_checksum,
};
use crate::{
    flow::{Direction, Flow, NewFlow, State},
    flow_key::FlowKey,
    flow_log::CloseReason,
    flow_table::Full,
    listener::{Listener, ListenerId, WeightedGroup},
    select,
    tables::{Endpoint, NextHop, Protocol, Tables},
    target::TargetId,
    tcp,
    time::Instant,
    verdict::{Reason, Verdict},
    wire::l4::tcp::{RST, SYN},
};

/// A listener with its id.
pub(super) type Known<'t> = (ListenerId, &'t Listener);

impl Pipeline<'_> {
    /// A packet of no flow.
    pub(super) fn miss(&mut self, tables: &Tables, it: &mut InFlight<'_, '_>) -> Verdict {
        let key = it.packet.key;
        if let Some(id) = key.destination_endpoint().and_then(|endpoint| tables.listener_at(&endpoint))
            && let Some(listener) = tables.listener(id)
        {
            let homes = self.homes_of_request(tables, listener, &key);
            return match self.hand_over(it, homes) {
                Some(verdict) => verdict,
                None => self.open(tables, (id, listener), it),
            };
        }
        let rows = key.source_endpoint().map_or(&[][..], |endpoint| tables.listeners_of_target(&endpoint));
        if rows.is_empty() {
            return Verdict::drop(Reason::NoListener);
        }
        match self.hand_over(it, self.homes_of_reply(tables, rows, &key)) {
            Some(verdict) => verdict,
            None => self.open_from_target(tables, rows, it),
        }
    }

    /// A client's packet of no flow: a new flow, or one that is adopted, or a reset.
    fn open(&mut self, tables: &Tables, known: Known<'_>, it: &mut InFlight<'_, '_>) -> Verdict {
        let (id, listener) = known;
        let key = &it.packet.key;
        if listener.forward.is_closing() {
            return Verdict::drop(Reason::NoListener);
        }
        let (state, reason) = match () {
            () if it.packet.is_udp() => (State::Udp, Reason::FlowNew),
            () if it.packet.is_syn() && listener.has_syn_cookies => {
                return self.answer_by_cookie(tables, known, it);
            }
            () if it.packet.is_syn() => (State::HalfOpen, Reason::FlowNew),
            () if it.packet.has(RST) => return Verdict::drop(Reason::NoFlow),
            () if listener.has_syn_cookies
                && let Some(confirmed) = self.confirmed(it) =>
            {
                return self.connect(tables, known, it, confirmed);
            }
            () if self.may_adopt(tables, listener, it.now)
                && self.keeps_client(tables, listener, key)
                && has_right_checksum(it) =>
            {
                (State::Established, Reason::FlowAdopted)
            }
            () => return self.reset(it, Reason::ResetNoFlow, Some(id)),
        };
        match self.choose(tables, known, key, it.now) {
            Ok(choice) => {
                if reason == Reason::FlowAdopted && choice.source.0 != key.source() {
                    return self.reset(it, Reason::ResetNoFlow, Some(id)); // Its source port is not known any more.
                }
                let new = self.new_flow(tables, known, it, &choice, state);
                self.insert_and_forward(tables, it, &new, (Direction::Forward, choice.hop), reason)
            }
            Err(reason) => self.refuse(it, id, reason),
        }
    }

    /// The answer to a client whose packet can open no flow.
    pub(super) fn refuse(&mut self, it: &mut InFlight<'_, '_>, id: ListenerId, reason: Reason) -> Verdict {
        match reason {
            Reason::NoTarget => {
                if let Some(traffic) = self.counters.listeners.get(usize::from(id.0)) {
                    traffic.rejected_flows.add(1);
                }
                match it.packet.is_udp() {
                    true => Verdict::drop(reason),
                    false => self.reset(it, Reason::ResetNoTarget, Some(id)),
                }
            }
            Reason::NoSourcePort => {
                if let Some(traffic) = self.counters.listeners.get(usize::from(id.0)) {
                    traffic.port_allocation_errors.add(1);
                }
                Verdict::drop(reason)
            }
            _ => Verdict::drop(reason),
        }
    }

    /// The flow of a client's packet, with all that it has from its listener, its target and the time.
    pub(super) fn new_flow(
        &self,
        tables: &Tables,
        known: Known<'_>,
        it: &InFlight<'_, '_>,
        choice: &Choice,
        state: State,
    ) -> NewFlow {
        if choice.is_hairpin {
            self.counters.hairpins.add(1);
        }
        let mut new = NewFlow::new(&it.packet.key, choice.source, choice.target, state);
        if choice.is_failing_open {
            self.counters.count_unhealthy_routing(known.0, choice.target_id);
        }
        if state != State::Established && header_placement(tables, choice.target_id).is_some() {
            new.flow.owe_header();
        }
        new.flow.set_hop(Direction::Reverse, last_hop(it.frame));
        new.flow.set_hop(Direction::Forward, choice.hop);
        stamp(&mut new, tables, known, choice.target_id, it.now.wrapping_millis());
        new
    }

    /// A target's packet of no flow: the one listener whose selection leads to this target for this client is found
    /// again, when strays are adopted; else a reset.
    fn open_from_target(
        &mut self,
        tables: &Tables,
        rows: &[(Endpoint, ListenerId, TargetId)],
        it: &mut InFlight<'_, '_>,
    ) -> Verdict {
        let key = it.packet.key;
        let mut origins = self.origins(tables, rows, &key, it.now);
        let is_ours = tables.is_source(key.destination());
        let (first, second) = (origins.next(), origins.next());
        drop(origins);
        let (Some((known, target_id, forward)), None, false) = (first, second, is_ours) else {
            // In the time after a crash, or where several may be meant, nobody can tell that there is no flow.
            let may_be_known = !is_ours && (first.is_some() || self.adopts_strays(it.now));
            return match it.packet.is_udp() || it.packet.has(RST) || may_be_known {
                true => Verdict::drop(Reason::NoFlow),
                false => self.reset(it, Reason::ResetNoFlow, None),
            };
        };
        if !it.packet.is_udp() && !has_right_checksum(it) {
            return Verdict::drop(Reason::TcpChecksum);
        }
        let begins_with_header = it.packet.has(SYN) && header_placement(tables, target_id).is_some();
        if begins_with_header || self.flows.lookup(self.flows.hash(&forward), &forward).is_some() {
            return Verdict::drop(Reason::NoFlow); // Or the client's flow is with another target.
        }
        let state = match it.packet.is_udp() {
            true => State::Udp,
            // The handshake goes on, and counts against the budget until the client confirms it.
            false if it.packet.has(SYN) => State::Answered,
            false => tcp::next(State::Established, Direction::Reverse, it.packet.tcp_flags),
        };
        let client = (key.destination(), key.destination_port());
        let mut new = NewFlow::new(&forward, client, (key.source(), key.source_port()), state);
        if state == State::Udp && header_placement(tables, target_id).is_some() {
            new.flow.owe_header();
        }
        let Some(hop) = tables.hop(client.0) else {
            self.want(client.0);
            return Verdict::drop(Reason::NextHopUnresolved);
        };
        new.flow.set_hop(Direction::Reverse, hop);
        new.flow.set_hop(Direction::Forward, last_hop(it.frame));
        stamp(&mut new, tables, known, target_id, it.now.wrapping_millis());
        self.insert_and_forward(tables, it, &new, (Direction::Reverse, hop), Reason::FlowAdopted)
    }

    /// The listeners that may adopt a packet and whose selection leads to its sender, a target, for its receiver: each with the target,
    /// and the key of the client's packets.
    pub(super) fn origins<'t>(
        &'t self,
        tables: &'t Tables,
        rows: &'t [(Endpoint, ListenerId, TargetId)],
        key: &'t FlowKey,
        now: Instant,
    ) -> impl Iterator<Item = (Known<'t>, TargetId, FlowKey)> + 't {
        rows.iter().filter_map(move |&(_, id, target_id)| {
            let listener = tables.listener(id)?;
            let vip = (listener.endpoint.address, listener.endpoint.port.to_be_bytes());
            let forward = FlowKey::new((key.destination(), key.destination_port()), vip, key.protocol())?;
            if !self.may_adopt_answer(tables, listener, &forward, now) {
                return None;
            }
            let selected = select::select(tables, id, &self.selection_secret, &forward)?;
            let is_origin = selected == target_id && self.keeps_client(tables, listener, &forward);
            is_origin.then_some(((id, listener), target_id, forward))
        })
    }

    /// Sends the packet that a new flow begins with. Without room for the flow, the packet goes all the same: selection
    /// finds the same target for the next ones, which are adopted until then. Only a source of ours cannot be found again, nor a
    /// PROXY header be put in front of a stream that nothing is known of.
    fn insert_and_forward(
        &mut self,
        tables: &Tables,
        it: &mut InFlight<'_, '_>,
        new: &NewFlow,
        (direction, hop): (Direction, NextHop),
        reason: Reason,
    ) -> Verdict {
        if let Some(refusal) = self.refuse_length(it, &new.flow, &new.addresses, direction, hop) {
            return refusal;
        }
        match self.insert(new, self.flows.hashes(new), it.now) {
            Ok(record) => {
                if reason == Reason::FlowAdopted {
                    self.mark_adopted(record);
                }
                if new.flow.has_preamble() {
                    self.begin_preamble(tables, record, sequence(it));
                }
                if new.flow.state() == State::Answered {
                    self.flows.set_answer(record, sequence(it));
                }
                self.forward(it, record, direction, hop, reason)
            }
            Err(Full)
                if new.flow.is_source_translated()
                    || new.flow.is_owed_header() && direction == Direction::Forward =>
            {
                Verdict::drop(Reason::FlowTableFull)
            }
            Err(Full) => {
                self.expect_more(it, direction, idle_timeout_s(tables, &new.flow));
                self.send(it, (&new.flow, &new.addresses), direction, hop, Reason::Stateless)
            }
        }
    }

    /// What follows a packet that went without a flow finds its way for an idle timeout: the answers to a client's datagram, and all
    /// segments of a connection.
    fn expect_more(&mut self, it: &InFlight<'_, '_>, direction: Direction, idle_timeout_s: u16) {
        let until = it.now.after_seconds(u64::from(idle_timeout_s));
        match (it.packet.is_udp(), direction) {
            (true, Direction::Forward) => self.stateless.note(self.flows.hash(&it.packet.key), until),
            (true, Direction::Reverse) => {}
            (false, _) if has_right_checksum(it) => self.full_until = self.full_until.max(until),
            (false, _) => {}
        }
    }

    /// Puts a flow into the table and counts it.
    pub(super) fn insert(&mut self, new: &NewFlow, hashes: [u64; 2], now: Instant) -> Result<u32, Full> {
        if self.flow_log.is_on()
            && let Some(record) = self.flows.evicted_by(new)
        {
            self.tell(record, CloseReason::Evicted, now.wrapping_millis());
        }
        let (inserted, evicted) = self.flows.insert(new, hashes);
        if let Some(evicted) = evicted {
            self.counters.half_open_evicted.add(1);
            self.counters.count_end(&evicted.flow);
            if evicted.flow.is_source_translated() {
                self.give_back_port(evicted.key(Direction::Forward).source());
            }
        }
        if let Ok(record) = inserted {
            self.begin_tally(record, now);
            self.counters.count_start(&new.flow);
            if let Some(clients) = self.clients.as_mut().filter(|_| new.flow.is_source_translated()) {
                clients.take(new.key(Direction::Forward).source());
            }
        }
        self.publish_gauges();
        inserted
    }

    /// Whether a listener's TCP packets of no flow may be those of a connection from before. What began with a SYN cookie cannot go on:
    /// nobody knows any more by how much its numbers differ. What began with a PROXY header goes on after an unclean start alone: else
    /// a client might have its flow forgotten, and speak in the header's place.
    pub(super) fn may_adopt(&self, tables: &Tables, listener: &Listener, now: Instant) -> bool {
        let has_header = |weighted: &WeightedGroup| {
            tables.group(weighted.group).is_some_and(|group| group.proxy_header.is_some())
        };
        let is_time = match listener.forward.groups.iter().any(has_header) {
            true => now < self.adopt_until,
            false => listener.adopts_strays || self.adopts_strays(now),
        };
        is_time && !listener.has_syn_cookies
    }

    /// The same of what a target says to the sender of packets with a key. A full table lets no datagrams pass but answers.
    fn may_adopt_answer(
        &self,
        tables: &Tables,
        listener: &Listener,
        forward: &FlowKey,
        now: Instant,
    ) -> bool {
        match forward.protocol() == Protocol::Udp as u8 {
            true => now < self.adopt_until || self.stateless.awaits_answer(self.flows.hash(forward), now),
            false => self.may_adopt(tables, listener, now),
        }
    }

    /// Whether TCP packets of no flow may be of one that was before an unclean start, or that the table had no room for.
    pub(super) fn adopts_strays(&self, now: Instant) -> bool {
        now < self.adopt_until.max(self.full_until)
    }
}

/// The idle timeout of a flow's listener, in seconds.
pub(super) fn idle_timeout_s(tables: &Tables, flow: &Flow) -> u16 {
    tables.listener(ListenerId(flow.listener_id)).map_or(0, |listener| listener.idle_timeout_s)
}

/// Fills in what a new flow has from its listener, its target and the time.
pub(super) fn stamp(
    new: &mut NewFlow,
    tables: &Tables,
    (id, listener): Known<'_>,
    target_id: TargetId,
    now_ms: u32,
) {
    let flow = &mut new.flow;
    flow.listener_id = id.0;
    flow.target_id = target_id.0 as u16;
    flow.epoch = tables.epoch();
    flow.timeout_s = tcp::timeout_s(flow.state(), listener.idle_timeout_s);
    flow.last_seen_ms = now_ms;
}
