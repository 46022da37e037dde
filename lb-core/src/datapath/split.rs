//! Packets that are too long for the way out, and may be cut up as IPv4 packets: a router does so (RFC 1812 section 5.2.6), and a
//! translator, where nobody else can, or the sender cannot send shorter ones (RFC 7915 sections 4, 5.1).

use super::{InFlight, Pipeline, reply::is_ipv6_behind};
use crate::{
    flow::{Addresses, Direction, Flow},
    limits,
    parse::{Packet, Piece},
    rewrite::{cut, translate},
    tables::NextHop,
    verdict::{Reason, Verdict},
    wire::{ethernet, ipv4, ipv6},
};

impl Pipeline<'_> {
    /// Length of the longest packet that leaves as one, as it is then, in bytes: the MTU of the way out. Of one that becomes an IPv6
    /// packet, and was not forbidden to be cut up, no more than what every way carries: its sender may not look for the path's MTU,
    /// and behind us nobody can cut it up (RFC 7915 section 4).
    pub(super) fn longest(
        &self,
        it: &InFlight<'_, '_>,
        (flow, addresses): (&Flow, &Addresses),
        direction: Direction,
        hop: NextHop,
    ) -> u32 {
        let mtu = self.egress(hop.interface).mtu;
        let to_ipv6 = is_ipv6_behind(flow, addresses, direction);
        match to_ipv6 && translate::may_be_cut(it.frame.bytes(), it.packet, to_ipv6) {
            true => mtu.min(ipv6::MINIMUM_MTU),
            false => mtu,
        }
    }

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
        let to_ipv6 = is_ipv6_behind(flow.0, flow.1, direction);
        let data = data_behind(it.packet, to_ipv6);
        let longest = self.longest(it, flow, direction, hop) as usize;
        let most = (ethernet::HEADER + longest).saturating_sub(data) & !7;
        let length = it.packet.end() - usize::from(it.packet.l4);
        let rest = length.div_ceil(most.max(1)) - 1;
        if most < LONGEST_L4_HEADER || rest > limits::PIECES || !self.extras.has_room(rest, data + most) {
            return Verdict::drop(Reason::MtuExceeded);
        }
        if let Err(reason) = self.rewrite_to_be_cut(it, flow, direction, hop) {
            return Verdict::drop(reason);
        }
        let sent = Verdict::to(Reason::CutUp, hop.interface.0);
        for offset in (most..length).step_by(most) {
            let (headers, all) = it.frame.bytes().split_at(data);
            let (end, is_last) = (length.min(offset + most), offset + most >= length);
            let Some(mut piece) = self.extras.join(headers, &all[offset..end], it.frame.ingress) else {
                return Verdict::drop(Reason::MtuExceeded);
            };
            cut::apply(piece.frame().bytes_mut(), data, offset, is_last);
            self.counters.made.add(1);
            self.extras.push(piece, sent);
        }
        let is_shorter = it.frame.set_len(data + most);
        debug_assert!(is_shorter, "a piece is no longer than its packet");
        cut::apply(it.frame.bytes_mut(), data, 0, false);
        Verdict::to(reason, hop.interface.0)
    }

    /// Rewrites a packet of which pieces are to be made: an IPv4 one as if it were the first of them, so that it gets their number, and,
    /// where it becomes an IPv6 packet, their fragment header.
    fn rewrite_to_be_cut(
        &mut self,
        it: &mut InFlight<'_, '_>,
        flow: (&Flow, &Addresses),
        direction: Direction,
        hop: NextHop,
    ) -> Result<(), Reason> {
        let mut packet = *it.packet;
        if packet.piece == Piece::Whole && !packet.key.is_ipv6() {
            let to_ipv6 = is_ipv6_behind(flow.0, flow.1, direction);
            if to_ipv6 && translate::lacks_checksum(it.frame.bytes(), &packet) {
                translate::add_checksum(it.frame.bytes_mut(), &packet);
            }
            packet.piece = Piece::First;
        }
        let macs = (self.egress(hop.interface).mac, hop.mac);
        self.rewrite(it.frame, &packet, flow, direction, macs)
    }
}

/// Where the data of a packet in pieces begins in their frames.
fn data_behind(packet: &Packet, to_ipv6: bool) -> usize {
    match (packet.key.is_ipv6(), to_ipv6) {
        (_, true) => ethernet::HEADER + ipv6::HEADER + ipv6::fragment::HEADER,
        (true, false) => ethernet::HEADER + ipv4::HEADER,
        (false, false) => usize::from(packet.l4),
    }
}

/// The first piece holds the whole TCP header.
const LONGEST_L4_HEADER: usize = 60;
