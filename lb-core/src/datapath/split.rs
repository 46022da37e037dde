//! IPv4 packets that are too long for the way out, and may be cut up: a router does so (RFC 1812 section 5.2.6), and a translator
//! to IPv6, where nobody else can (RFC 7915 section 4).

use super::{InFlight, Pipeline, extra::Buffer, forward::rewrite_frame};
use crate::{
    flow::{Addresses, Direction, Flow},
    limits,
    parse::{Packet, Piece},
    rewrite::{cut, translate},
    tables::NextHop,
    verdict::{Reason, Verdict},
    wire::{ethernet, ipv6},
};

impl Pipeline<'_> {
    /// Sends a packet in pieces, the first in its own frame. None goes when not all can.
    #[cold]
    pub(super) fn send_in_pieces(
        &mut self,
        it: &mut InFlight<'_, '_>,
        flow: (&Flow, &Addresses),
        direction: Direction,
        hop: NextHop,
        reason: Reason,
    ) -> Verdict {
        let egress = self.egress(hop.interface);
        let data = usize::from(it.packet.l4);
        let to_ipv6 = flow.0.is_wide() && flow.0.outward(flow.1, direction).source.is_ipv6();
        let headers = if to_ipv6 { ipv6::HEADER + ipv6::fragment::HEADER } else { data - ethernet::HEADER };
        let most = (egress.mtu as usize).saturating_sub(headers) & !7;
        let length = it.packet.end() - data;
        let count = length.div_ceil(most.max(1));
        let mut copies = [const { None::<Buffer> }; limits::PIECES];
        let lacks_checksum = to_ipv6 && translate::lacks_checksum(it.frame.bytes(), it.packet);
        let is_whole = it.packet.piece == Piece::Whole;
        if lacks_checksum && !is_whole {
            return Verdict::drop(Reason::UdpChecksumZero);
        }
        let Some(copies) = copies.get_mut(..count - 1) else { return Verdict::drop(Reason::MtuExceeded) };
        if most < LONGEST_L4_HEADER || !self.copy_to_all(it, copies) {
            return Verdict::drop(Reason::MtuExceeded);
        }

        let macs = (egress.mac, hop.mac);
        if lacks_checksum {
            translate::add_checksum(it.frame.bytes_mut(), it.packet);
        }
        cut::apply(it.frame, data, 0..most, false);
        let piece = if is_whole { Piece::First } else { it.packet.piece };
        let first = Packet { piece, total_length: (data - ethernet::HEADER + most) as u16, ..*it.packet };
        if let Err(reason) = rewrite_frame(it.frame, &first, flow, direction, macs) {
            copies.iter_mut().filter_map(Option::take).for_each(|copy| self.extras.give_back(copy));
            return Verdict::drop(reason);
        }
        for (number, mut copy) in (1..).zip(copies.iter_mut().filter_map(Option::take)) {
            let range = number * most..length.min((number + 1) * most);
            let total_length = (data - ethernet::HEADER + range.len()) as u16;
            let piece = Packet { piece: Piece::Later, total_length, ..*it.packet };
            let mut frame = copy.frame();
            cut::apply(&mut frame, data, range, number + 1 == count);
            let rewritten = rewrite_frame(&mut frame, &piece, flow, direction, macs);
            let place = (frame.start(), frame.len());
            copy.keep(place);
            self.counters.made.add(1);
            let sent = Verdict::to(Reason::CutUp, hop.interface.0);
            self.extras.push(copy, rewritten.map_or_else(Verdict::drop, |()| sent));
        }
        self.counters.count_packet(flow.0, direction, it.packet.total_length);
        Verdict::to(reason, hop.interface.0)
    }

    /// Copies the frame as often as asked, or not at all.
    fn copy_to_all(&mut self, it: &InFlight<'_, '_>, copies: &mut [Option<Buffer>]) -> bool {
        copies.iter_mut().for_each(|copy| *copy = self.extras.copy(it.frame));
        let is_complete = copies.iter().all(Option::is_some);
        if !is_complete {
            copies.iter_mut().filter_map(Option::take).for_each(|copy| self.extras.give_back(copy));
        }
        is_complete
    }
}

/// The first piece holds the whole TCP header.
const LONGEST_L4_HEADER: usize = 60;
