//! How packets of flows leave, whatever they and their flows need: the end of the general way.

use super::{InFlight, Pipeline, preamble::header_of_datagrams};
use crate::{
    flow::{Addresses, Direction, Flow},
    frame::Frame,
    parse::{Packet, Piece},
    rewrite::{nat, shift, translate},
    tables::{Mac, NextHop},
    verdict::{Reason, Verdict},
};

impl Pipeline<'_> {
    /// Rewrites a packet of a flow in the table and counts it.
    #[inline]
    pub(super) fn forward(
        &mut self,
        it: &mut InFlight<'_, '_>,
        record: u32,
        direction: Direction,
        hop: NextHop,
        reason: Reason,
    ) -> Verdict {
        let egress = self.egress(hop.interface);
        let flow = self.flows.flow(record);
        if !flow.is_plain() || u32::from(it.packet.total_length) > egress.mtu {
            return self.forward_unusual(it, record, direction, hop, reason);
        }
        nat::apply(it.frame.bytes_mut(), it.packet, flow, direction, egress.mac, hop.mac);
        self.counters.count_segment(flow, direction, it.packet.total_length, it.packet.tcp_flags);
        self.tally(record, direction, it.packet.total_length);
        Verdict::to(reason, hop.interface.0)
    }

    /// A packet that is too long, or of a flow that takes more than other IPv4 addresses and ports.
    #[inline(never)]
    fn forward_unusual(
        &mut self,
        it: &mut InFlight<'_, '_>,
        record: u32,
        direction: Direction,
        hop: NextHop,
        reason: Reason,
    ) -> Verdict {
        let (flow, addresses) = (*self.flows.flow(record), *self.flows.addresses(record));
        if header_of_datagrams(&flow, direction, it.packet.key.source()) > 0 {
            return self.send_datagram(it, record, hop, reason);
        }
        match self.refuse_length(it, &flow, &addresses, direction, hop) {
            Some(refusal) => refusal,
            None if flow.has_preamble() => self.forward_in_preamble(it, record, direction, hop, reason),
            None => self.send_on(it, record, direction, hop, reason),
        }
    }

    /// Rewrites a packet of any flow in the table and counts it.
    pub(super) fn send_on(
        &mut self,
        it: &mut InFlight<'_, '_>,
        record: u32,
        direction: Direction,
        hop: NextHop,
        reason: Reason,
    ) -> Verdict {
        let (flow, addresses) = (*self.flows.flow(record), *self.flows.addresses(record));
        let verdict = self.send(it, (&flow, &addresses), direction, hop, reason);
        if verdict.reason == reason {
            self.tally(record, direction, it.packet.total_length);
        }
        verdict
    }

    /// Rewrites a packet of any flow and counts it, but for the flow log.
    pub(super) fn send(
        &mut self,
        it: &mut InFlight<'_, '_>,
        flow: (&Flow, &Addresses),
        direction: Direction,
        hop: NextHop,
        reason: Reason,
    ) -> Verdict {
        let verdict = self.send_uncounted(it, flow, direction, hop, reason);
        if verdict.reason == reason {
            let Packet { total_length, tcp_flags, .. } = *it.packet;
            self.counters.count_segment(flow.0, direction, total_length, tcp_flags);
        }
        verdict
    }

    /// Rewrites a packet of any flow, in pieces where it is too long for the way out.
    pub(super) fn send_uncounted(
        &mut self,
        it: &mut InFlight<'_, '_>,
        flow: (&Flow, &Addresses),
        direction: Direction,
        hop: NextHop,
        reason: Reason,
    ) -> Verdict {
        if self.length_after(it.packet, flow, direction) > self.longest(it, flow, direction, hop) {
            return self.send_in_pieces(it, flow, direction, hop, reason);
        }
        let macs = (self.egress(hop.interface).mac, hop.mac);
        if let Err(reason) = self.rewrite(it.frame, it.packet, flow, direction, macs) {
            return Verdict::drop(reason);
        }
        Verdict::to(reason, hop.interface.0)
    }

    /// Rewrites a packet as one of `flow` in `direction`, between two link addresses. On an error it is as it was.
    pub(super) fn rewrite(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        (flow, addresses): (&Flow, &Addresses),
        direction: Direction,
        macs: (Mac, Mac),
    ) -> Result<(), Reason> {
        if flow.is_shifted() && packet.piece != Piece::Later {
            shift::apply(&mut frame.bytes_mut()[usize::from(packet.l4)..packet.end()], flow, direction);
        }
        if flow.is_wide() {
            let out = flow.outward(addresses, direction);
            let proxy_header = header_of_datagrams(flow, direction, packet.key.source());
            let counters = &mut self.identifications;
            return translate::apply(frame, packet, &out, macs, (counters, proxy_header as usize));
        }
        nat::apply(frame.bytes_mut(), packet, flow, direction, macs.0, macs.1);
        Ok(())
    }
}
