//! A packet of a flow in the table: no decision, unless the tables have changed since its last one.

use std::net::{IpAddr, Ipv4Addr};

use super::{InFlight, Pipeline, last_hop};
use crate::{
    flow::{Direction, Flow, State},
    listener::ListenerId,
    tables::Tables,
    target::{FlowPolicy, TargetId},
    tcp,
    verdict::{Reason, Verdict},
    wire::l4::tcp::RST,
};

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
        if self.flows.flow(record).is_expired(now_ms) {
            self.counters.expired.add(1);
            self.forget(record);
            return None;
        }
        if self.flows.flow(record).generation != tables.generation()
            && self.revalidate(tables, record).is_none()
        {
            return None;
        }
        if !it.packet.is_udp() {
            let state = self.flows.flow(record).state();
            if direction == Direction::Forward && it.packet.is_syn() && state.is_over() {
                self.forget(record);
                return None;
            }
            if state == State::Cut {
                return Some(self.refuse_cut(it, record));
            }
            let next = tcp::next(state, direction, it.packet.tcp_flags);
            if next != state {
                self.advance(record, next, now_ms);
            }
        }
        let flow = self.flows.flow_mut(record);
        if tcp::prolongs(flow) {
            flow.last_seen_ms = now_ms;
        }
        let hop = match direction {
            Direction::Forward => {
                flow.set_client_hop(last_hop(it.frame));
                flow.target_hop()
            }
            Direction::Reverse => match flow.client_hop().or_else(|| tables.hop(client(flow))) {
                Some(hop) => hop,
                None => return Some(self.want_hop(record)),
            },
        };
        Some(self.forward(it, record, direction, hop, Reason::FlowHit))
    }

    /// Checks a flow against tables that it has not seen. `None` when that ended it.
    #[cold]
    fn revalidate(&mut self, tables: &Tables, record: u32) -> Option<()> {
        let flow = *self.flows.flow(record);
        let endpoint = flow.forward_key().destination_endpoint();
        let listener = tables
            .listener(ListenerId(flow.listener_id))
            .filter(|listener| Some(listener.endpoint) == endpoint);
        let target = tables.target(TargetId(flow.target_id)).filter(|target| {
            target.address == IpAddr::V4(Ipv4Addr::from(flow.target))
                && target.port.to_be_bytes() == flow.target_port
        });
        let is_udp = flow.state() == State::Udp;
        let policy = match target {
            Some(target) => target.flow_policy,
            None if is_udp => FlowPolicy::Cut,
            None => FlowPolicy::Keep, // Its deregistration is long over; what still flows may go on.
        };
        let Some(listener) = listener.filter(|_| !(is_udp && policy == FlowPolicy::Cut)) else {
            self.forget(record);
            return None;
        };
        if policy == FlowPolicy::Cut && flow.state() != State::Cut {
            self.counters.cut.add(1);
            self.counters.count_end(&flow); // What stays is a tombstone.
            self.flows.set_state(record, State::Cut);
            self.publish_gauges();
        }
        let flow = self.flows.flow_mut(record);
        if let Some(hop) = target.and_then(|target| target.next_hop) {
            flow.set_target_hop(hop);
        }
        flow.idle_timeout_s = listener.idle_timeout_s;
        flow.timeout_s = tcp::timeout_s(flow.state(), flow.idle_timeout_s);
        flow.generation = tables.generation();
        Some(())
    }

    fn advance(&mut self, record: u32, state: State, now_ms: u32) {
        self.flows.set_state(record, state);
        self.publish_gauges();
        let flow = self.flows.flow_mut(record);
        flow.timeout_s = tcp::timeout_s(state, flow.idle_timeout_s);
        flow.last_seen_ms = now_ms;
    }

    /// A packet of a flow that was cut with its target.
    #[cold]
    fn refuse_cut(&mut self, it: &mut InFlight<'_, '_>, record: u32) -> Verdict {
        let listener = ListenerId(self.flows.flow(record).listener_id);
        match it.packet.has(RST) {
            true => Verdict::drop(Reason::Terminated),
            false => self.reset(it, Reason::ResetTerminated, Some(listener)),
        }
    }

    #[cold]
    fn want_hop(&mut self, record: u32) -> Verdict {
        let client = client(self.flows.flow(record));
        self.want(client);
        Verdict::drop(Reason::NextHopUnresolved)
    }
}

fn client(flow: &Flow) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(flow.client))
}
