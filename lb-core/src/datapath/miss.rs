//! A packet of no flow: it opens one, is adopted into one, goes to the worker that owns it, or is answered or dropped.

use std::net::{IpAddr, Ipv4Addr};

use super::{Arrival, InFlight, Pipeline, last_hop};
use crate::{
    flow::{Direction, Flow, FlowKey, State},
    flow_table::Full,
    listener::{Listener, ListenerId},
    rewrite::nat,
    select,
    tables::{Endpoint, NextHop, Tables},
    target::TargetId,
    tcp,
    time::Instant,
    verdict::{Reason, Verdict},
    wire::l4::tcp::{RST, SYN},
};

impl Pipeline<'_> {
    /// A packet of no flow.
    pub(super) fn miss(&mut self, tables: &Tables, it: &mut InFlight<'_, '_>) -> Verdict {
        let key = it.packet.key;
        if let Some(id) = key.destination_endpoint().and_then(|endpoint| tables.listener_at(&endpoint))
            && let Some(listener) = tables.listener(id)
        {
            if let Some(verdict) = self.hand_over(key.source, key.source_port, it.arrival) {
                return verdict;
            }
            return self.open(tables, (id, listener), it);
        }
        let rows = key.source_endpoint().map_or(&[][..], |endpoint| tables.listeners_of_target(&endpoint));
        if rows.is_empty() {
            return Verdict::drop(Reason::NoListener);
        }
        if let Some(verdict) = self.hand_over(key.destination, key.destination_port, it.arrival) {
            return verdict;
        }
        self.open_from_target(tables, rows, it)
    }

    /// To the worker that owns the flows of a client's address and port, if that is another.
    pub(super) fn hand_over(&self, client: [u8; 4], port: [u8; 2], arrival: Arrival) -> Option<Verdict> {
        if self.workers == 1 || arrival == Arrival::HandedOver {
            return None;
        }
        let home = self.hash.home(client, port, self.workers);
        (home != self.worker).then_some(Verdict::to(Reason::HandedOver, home))
    }

    /// A client's packet of no flow: a new flow, or one that is adopted, or a reset.
    fn open(
        &mut self,
        tables: &Tables,
        (id, listener): (ListenerId, &Listener),
        it: &mut InFlight<'_, '_>,
    ) -> Verdict {
        let key = it.packet.key;
        if tables.is_vip(IpAddr::V4(Ipv4Addr::from(key.source))) {
            return Verdict::drop(Reason::OwnSource);
        }
        let (state, reason) = match () {
            () if it.packet.is_udp() => (State::Udp, Reason::FlowNew),
            () if it.packet.is_syn() => (State::HalfOpen, Reason::FlowNew),
            () if it.packet.has(RST) => return Verdict::drop(Reason::NoFlow),
            () if self.adopts_strays(it.now) => (State::Established, Reason::FlowAdopted),
            () => return self.reset(it, Reason::ResetNoFlow, Some(id)),
        };
        let mut is_empty = true;
        for target_id in select::candidates(tables, id, &self.selection_secret, &key) {
            is_empty = false;
            let Some((target, hop)) = tables.target(target_id).map(|target| (target, target.next_hop)) else {
                continue;
            };
            let IpAddr::V4(address) = target.address else { continue };
            if address.octets() == key.source {
                continue; // Its own packet would come back to it from itself.
            }
            let mut flow = Flow::new(&key, (address.octets(), target.port.to_be_bytes()), state);
            if self.is_reverse_taken(&flow, it.now) {
                continue;
            }
            let Some(hop) = hop else {
                return Verdict::drop(Reason::NextHopUnresolved);
            };
            let mtu = self.egress(hop.interface).mtu;
            if u32::from(it.packet.total_length) > mtu {
                return self.too_big(it, key.destination, mtu);
            }
            flow.set_client_hop(last_hop(it.frame));
            flow.set_target_hop(hop);
            self.stamp(&mut flow, tables, (id, listener), target_id, it.now);
            return self.insert_and_forward(it, &flow, Direction::Forward, hop, reason);
        }
        match is_empty {
            true if it.packet.is_udp() => Verdict::drop(Reason::NoTarget),
            true => self.reset(it, Reason::ResetNoTarget, Some(id)),
            false => Verdict::drop(Reason::TupleCollision),
        }
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
        let can_reset = !it.packet.is_udp() && !it.packet.has(RST);
        if !self.adopts_strays(it.now) {
            return match can_reset {
                true => self.reset(it, Reason::ResetNoFlow, None),
                false => Verdict::drop(Reason::NoFlow),
            };
        }
        let mut origins = rows.iter().filter_map(|&(_, id, target_id)| {
            let listener = tables.listener(id)?;
            let forward = forward_key(&key, &listener.endpoint)?;
            let selected = select::select(tables, id, &self.selection_secret, &forward)?;
            (selected == target_id).then_some((id, listener, target_id, forward))
        });
        let (Some((id, listener, target_id, forward)), None) = (origins.next(), origins.next()) else {
            return Verdict::drop(Reason::NoFlow);
        };
        if self.flows.lookup(self.flows.hash(&forward), &forward).is_some() {
            return Verdict::drop(Reason::NoFlow); // The client's flow is with another target.
        }
        let state = match it.packet.is_udp() {
            true => State::Udp,
            // The handshake goes on, and counts against the budget until the client confirms it.
            false if it.packet.has(SYN) => State::Answered,
            false => tcp::next(State::Established, Direction::Reverse, it.packet.tcp_flags),
        };
        let mut flow = Flow::new(&forward, (key.source, key.source_port), state);
        let client = IpAddr::V4(Ipv4Addr::from(key.destination));
        let Some(hop) = tables.hop(client) else {
            self.want(client);
            return Verdict::drop(Reason::NextHopUnresolved);
        };
        let mtu = self.egress(hop.interface).mtu;
        if u32::from(it.packet.total_length) > mtu {
            return self.too_big(it, forward.destination, mtu);
        }
        flow.set_client_hop(hop);
        flow.set_target_hop(last_hop(it.frame));
        self.stamp(&mut flow, tables, (id, listener), target_id, it.now);
        self.insert_and_forward(it, &flow, Direction::Reverse, hop, Reason::FlowAdopted)
    }

    /// Fills in what a new flow has from its listener, its target and the time.
    fn stamp(
        &self,
        flow: &mut Flow,
        tables: &Tables,
        (id, listener): (ListenerId, &Listener),
        target_id: TargetId,
        now: Instant,
    ) {
        flow.listener_id = id.0;
        flow.target_id = target_id.0;
        flow.generation = tables.generation();
        flow.idle_timeout_s = listener.idle_timeout_s;
        flow.timeout_s = tcp::timeout_s(flow.state(), listener.idle_timeout_s);
        flow.last_seen_ms = now.wrapping_millis();
    }

    /// Sends the packet that a new flow begins with. Without room for the flow, the packet goes all the same: selection
    /// finds the same target for the next ones, which are adopted until then.
    fn insert_and_forward(
        &mut self,
        it: &mut InFlight<'_, '_>,
        flow: &Flow,
        direction: Direction,
        hop: NextHop,
        reason: Reason,
    ) -> Verdict {
        let (inserted, evicted) = self.flows.insert(flow);
        if let Some(evicted) = evicted {
            self.counters.half_open_evicted.add(1);
            self.counters.count_end(&evicted);
            self.publish_gauges();
        }
        match inserted {
            Ok(record) => {
                self.counters.count_start(flow);
                self.publish_gauges();
                self.forward(it, record, direction, hop, reason)
            }
            Err(Full) => {
                let idle = it.now.after_seconds(u64::from(flow.idle_timeout_s));
                self.adopt_until = self.adopt_until.max(idle);
                let from = self.egress(hop.interface).mac;
                nat::apply(it.frame.bytes_mut(), &it.packet, flow, direction, from, hop.mac);
                self.counters.count_packet(flow, direction, it.packet.total_length);
                Verdict::to(Reason::Stateless, hop.interface.0)
            }
        }
    }

    /// Whether another flow's replies look like this flow's would. One that is over makes way.
    fn is_reverse_taken(&mut self, flow: &Flow, now: Instant) -> bool {
        let key = flow.reverse_key();
        let Some((record, _)) = self.flows.lookup(self.flows.hash(&key), &key) else { return false };
        let other = self.flows.flow(record);
        let is_over = other.state().is_over() || other.is_expired(now.wrapping_millis());
        if is_over {
            self.forget(record);
        }
        !is_over
    }

    fn adopts_strays(&self, now: Instant) -> bool {
        now < self.adopt_until
    }
}

/// Key of a client's packets to a listener, from the key of the target's reply.
fn forward_key(reply: &FlowKey, listener: &Endpoint) -> Option<FlowKey> {
    let IpAddr::V4(vip) = listener.address else { return None };
    Some(FlowKey {
        source: reply.destination,
        destination: vip.octets(),
        source_port: reply.destination_port,
        destination_port: listener.port.to_be_bytes(),
        protocol: reply.protocol,
        zero: [0; 3],
    })
}
