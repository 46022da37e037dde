//! The common case of `datapath`: a packet that changes nothing about its flow, which is plain IPv4, checked against the tables in
//! use and not expired. It is decided by one cache line, the flow's record, without a look at the tables. What is not so common
//! goes the long way, which does the same and everything else.

use super::{Burst, Pipeline, Slot};
use crate::{
    flow::{Direction, Hop},
    flow_key::FlowKey,
    frame::Frame,
    parse::plain,
    rewrite::nat,
    tcp,
    verdict::{Reason, Verdict},
    wire::{ethernet, ipv4},
};

impl Pipeline<'_> {
    /// Forwards a packet of the common case; `None`, with nothing done, if it is another.
    #[inline(always)]
    pub(super) fn forward_plain(
        &mut self,
        generation: u32,
        burst: &Burst,
        frame: &mut Frame<'_>,
        slot: &Slot,
    ) -> Option<Verdict> {
        let Slot { packet, candidate, .. } = slot;
        let flow = self.flows.candidate_mut(*candidate)?;
        let FlowKey::V4(key) = &packet.key else { return None };
        let direction = candidate.direction();
        let is_common = flow.is_plain_key(direction, key)
            & (flow.generation == generation)
            & tcp::is_steady(flow.state(), packet.tcp_flags)
            & !flow.is_expired(burst.now_ms)
            & (packet.ttl > 1)
            & (usize::from(packet.l4) == plain::SEGMENT);
        let to = flow.packed_hop(direction);
        let egress = self.egress.get(usize::from(to.interface().0))?;
        if !is_common | (u32::from(packet.total_length) > egress.mtu) {
            return None;
        }
        let ingress = frame.ingress;
        let headers = frame.bytes_mut().first_chunk_mut::<{ plain::HEADERS }>()?;
        if flow.is_source_translated() & (direction == Direction::Forward) & !is_kept_whole(headers) {
            return None;
        }
        flow.last_seen_ms = burst.now_ms;
        let sender = std::array::from_fn(|at| headers[ethernet::SOURCE.start + at]);
        flow.learn_hop(direction, Hop::new(sender, ingress));
        let [a, b, c, d, e, f] = egress.mac.0;
        let from = [a, b, c, d, e, f, egress.ipv4[0], egress.ipv4[1]];
        let ends = nat::Plain { old: &key.end, new: flow.end(direction.opposite()), is_udp: packet.is_udp() };
        nat::apply_plain(headers, ends, to, from);
        self.counters.count_packet(flow, direction, packet.total_length);
        Some(Verdict::to(Reason::FlowHit, to.interface().0))
    }
}

/// Whether a packet is whole and must stay so: then its identification says nothing.
#[inline(always)]
fn is_kept_whole(headers: &[u8; plain::HEADERS]) -> bool {
    headers[ethernet::HEADER + ipv4::FRAGMENT.start] & (ipv4::DO_NOT_FRAGMENT >> 8) as u8 != 0
}
