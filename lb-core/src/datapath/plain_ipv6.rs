//! As `forward_plain` in `plain`, for IPv6 flows whose ends are both IPv6: one more cache line holds their addresses.

use super::{Burst, Pipeline, Slot};
use crate::{
    flow::Hop,
    flow_key::FlowKey,
    frame::Frame,
    parse::plain,
    rewrite::translate,
    verdict::{Reason, Verdict},
    wire::{ethernet, ipv6},
};

impl Pipeline<'_> {
    /// Forwards a packet without extension headers that changes nothing about its flow; `None`, with nothing done, if it is another.
    pub(super) fn forward_plain_ipv6(
        &mut self,
        epoch: u32,
        burst: &Burst,
        frame: &mut Frame<'_>,
        slot: &Slot,
    ) -> Option<Verdict> {
        let FlowKey::V6(key) = &slot.packet.key else { return None };
        let (record, direction) = (slot.candidate.record(), slot.candidate.direction());
        let (flow, addresses) = self.flows.candidate_with_addresses(slot.candidate)?;
        let out = addresses.ipv6_end(direction.opposite())?;
        let to = flow.packed_hop(direction);
        let egress = self.egress.get(usize::from(to.interface().0))?;
        let is_common = flow.is_unshifted_ipv6_key(addresses, direction, key)
            && flow.epoch == epoch
            && flow.is_steady(slot.packet.tcp_flags)
            && !flow.is_expired(burst.now_ms)
            && slot.packet.ttl > 1
            && usize::from(slot.packet.l4) == ethernet::HEADER + ipv6::HEADER
            && u32::from(slot.packet.total_length) <= egress.mtu;
        if !is_common {
            return None;
        }
        let ports = flow.end(direction.opposite());
        let ingress = frame.ingress;
        let headers = frame.bytes_mut();
        let sender = Hop::sender(headers.first_chunk::<{ plain::HEADERS }>()?, ingress);
        translate::apply_plain_ipv6(headers, key, (out, ports), slot.packet.is_udp());
        headers[..8].copy_from_slice(&to.bytes());
        headers[ethernet::SOURCE].copy_from_slice(&egress.mac.0);
        self.counters.count_packet(flow, direction, slot.packet.total_length);
        self.tally(record, direction, slot.packet.total_length);
        let flow = self.flows.flow_mut(record);
        flow.last_seen_ms = burst.now_ms;
        flow.learn_hop(direction, sender);
        Some(Verdict::to(Reason::FlowHit, to.interface().0))
    }
}
