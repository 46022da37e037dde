//! The common cases of `datapath`: a packet of a flow that is plain IPv4, checked against the tables in use and not expired. It is
//! decided by one cache line, the flow's record. What is not so common goes the long way, which does the same and everything else.

use super::{Burst, Egress, InFlight, Pipeline, Slot};
use crate::{
    flow::{Deltas, Direction, Flow, Hop},
    flow_key::{FlowKey, Ipv4Key},
    frame::Frame,
    parse::plain,
    rewrite::nat,
    tables::Tables,
    tcp,
    verdict::{Reason, Verdict},
    wire::{ethernet, ipv4, l4::tcp::SYN},
};

impl Pipeline<'_> {
    /// Forwards a packet that changes nothing about its flow; `None`, with nothing done, if it is another.
    #[inline(always)]
    pub(super) fn forward_plain(
        &mut self,
        epoch: u32,
        burst: &Burst,
        frame: &mut Frame<'_>,
        slot: &Slot,
    ) -> Option<Verdict> {
        let flow = self.flows.candidate_mut(slot.candidate)?;
        let FlowKey::V4(key) = &slot.packet.key else { return None };
        let egress = self.egress.get(egress_of(flow, slot))?;
        if !is_common(flow, key, epoch, burst, slot) | !flow.is_steady(slot.packet.tcp_flags) {
            return None;
        }
        let deltas = flow.deltas(slot.candidate.direction());
        let verdict = rewrite(flow, frame, slot, egress, deltas)?;
        flow.last_seen_ms = burst.now_ms;
        self.counters.count_packet(flow, slot.candidate.direction(), slot.packet.total_length);
        self.tally(slot.candidate.record(), slot.candidate.direction(), slot.packet.total_length);
        Some(verdict)
    }

    /// Forwards a packet that moves its TCP flow on in its life, or comes after its end; `None`, with nothing done, if it is
    /// another.
    pub(super) fn forward_step(
        &mut self,
        tables: &Tables,
        burst: &Burst,
        frame: &mut Frame<'_>,
        slot: &Slot,
    ) -> Option<Verdict> {
        let flow = self.flows.candidate_mut(slot.candidate)?;
        let FlowKey::V4(key) = &slot.packet.key else { return None };
        let egress = *self.egress.get(egress_of(flow, slot))?;
        let (direction, flags, state) = (slot.candidate.direction(), slot.packet.tcp_flags, flow.state());
        if !is_common(flow, key, tables.epoch(), burst, slot)
            || tcp::is_unusual(state, direction, flags)
            || (slot.packet.has(SYN) && !state.is_half_open())
        {
            return None;
        }
        let record = slot.candidate.record();
        let Burst { arrival, now, .. } = *burst;
        let it = InFlight { frame: &mut *frame, packet: &slot.packet, arrival, now };
        let next = self.next_state(&it, record, direction);
        let flow = self.flows.flow_mut(record);
        let deltas = Deltas::between(flow.end(direction), flow.end(direction.opposite()));
        let verdict = rewrite(flow, frame, slot, &egress, deltas)?;
        if tcp::prolongs(flow) {
            flow.last_seen_ms = burst.now_ms;
        }
        self.counters.count_segment(flow, direction, slot.packet.total_length, flags);
        if tcp::is_repeated_syn(state, direction, flags) {
            self.counters.count_repeated_syn(flow);
        }
        self.tally(record, direction, slot.packet.total_length);
        if next != state {
            self.advance(tables, record, (next, direction), burst.now_ms);
        }
        Some(verdict)
    }
}

/// Index of the interface that a packet leaves by; past all of them when none is known.
#[inline(always)]
fn egress_of(flow: &Flow, slot: &Slot) -> usize {
    usize::from(flow.packed_hop(slot.candidate.direction()).interface().0)
}

/// Whether a packet is of a flow, and nothing but the TCP flags can be odd about both.
#[inline(always)]
fn is_common(flow: &Flow, key: &Ipv4Key, epoch: u32, burst: &Burst, slot: &Slot) -> bool {
    flow.is_plain_key(slot.candidate.direction(), key)
        & (flow.epoch == epoch)
        & !flow.is_expired(burst.now_ms)
        & (slot.packet.ttl > 1)
        & (usize::from(slot.packet.l4) == plain::SEGMENT)
}

/// Rewrites a common packet, and learns from it where the client is; `None`, with nothing done, if it is too long, or its
/// identification has to change.
#[inline(always)]
fn rewrite(
    flow: &mut Flow,
    frame: &mut Frame<'_>,
    slot: &Slot,
    egress: &Egress,
    deltas: Deltas,
) -> Option<Verdict> {
    let (direction, ingress) = (slot.candidate.direction(), frame.ingress);
    let to = flow.packed_hop(direction);
    let headers = frame.bytes_mut().first_chunk_mut::<{ plain::HEADERS }>()?;
    let is_renumbered =
        flow.is_source_translated() & (direction == Direction::Forward) & !is_kept_whole(headers);
    if is_renumbered | (u32::from(slot.packet.total_length) > egress.mtu) {
        return None;
    }
    flow.learn_hop(direction, Hop::sender(headers, ingress));
    let out = flow.end(direction.opposite());
    nat::apply_plain(headers, (egress.sender(), to), out, deltas, slot.packet.is_udp());
    Some(Verdict::to(Reason::FlowHit, to.interface().0))
}

/// Whether a packet is whole and must stay so: then its identification says nothing.
#[inline(always)]
fn is_kept_whole(headers: &[u8; plain::HEADERS]) -> bool {
    headers[ethernet::HEADER + ipv4::FRAGMENT.start] & (ipv4::DO_NOT_FRAGMENT >> 8) as u8 != 0
}
