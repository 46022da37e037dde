//! Packets that are too long for the way out, and may be cut up: as IPv4 packets by a router (RFC 1812 section 5.2.6), and by a
//! translator, where nobody else can, or the sender cannot send shorter ones (RFC 7915 sections 4, 5.1); datagrams that are too long
//! with their PROXY header by who has made them so.

use super::{InFlight, Pipeline, reply::is_ipv6_behind};
use crate::{
    flow::{Addresses, Direction, Flow},
    limits,
    parse::{Packet, Piece},
    rewrite::{cut, identification::Ports, translate},
    tables::NextHop,
    verdict::{Reason, Verdict},
    wire::{ethernet, ipv4, ipv6},
};

impl Pipeline<'_> {
    /// Length of the longest packet that leaves as one, as it is then, in bytes: the MTU of the way out. Of one that becomes an IPv6
    /// packet, and was not forbidden to be cut up, that of a piece: its sender may not look for the path's MTU (RFC 7915 section 4).
    pub(super) fn longest(
        &self,
        it: &InFlight<'_, '_>,
        (flow, addresses): (&Flow, &Addresses),
        direction: Direction,
        hop: NextHop,
    ) -> u32 {
        let to_ipv6 = is_ipv6_behind(flow, addresses, direction);
        match to_ipv6 && translate::may_be_cut(it.frame.bytes(), it.packet, to_ipv6) {
            true => self.longest_piece(hop, to_ipv6),
            false => self.egress(hop.interface).mtu,
        }
    }

    /// Length of the longest piece that leaves, in bytes: in IPv6 no more than every way carries, for nobody behind us can cut it up.
    fn longest_piece(&self, hop: NextHop, to_ipv6: bool) -> u32 {
        let mtu = self.egress(hop.interface).mtu;
        if to_ipv6 { mtu.min(ipv6::MINIMUM_MTU) } else { mtu }
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
        let Data { at: data, length } = Data::behind(it.frame.bytes(), it.packet, to_ipv6);
        let most = (ethernet::HEADER + self.longest_piece(hop, to_ipv6) as usize).saturating_sub(data) & !7;
        let rest = length.div_ceil(most.max(1)) - 1;
        if most < LONGEST_L4_HEADER || rest > limits::PIECES || !self.extras.has_room(rest, data + most) {
            return Verdict::drop(Reason::MtuExceeded);
        }
        if let Err(reason) = self.rewrite_to_be_cut(it, flow, direction, (hop, data)) {
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

    /// Rewrites a packet of which pieces are to be made, whose data begins there in its frame then: an IPv4 one as if it were the first
    /// of them, so that it gets their number, and, where it becomes an IPv6 packet, their fragment header. What nobody else may cut up
    /// has no number of its own, and gets one of ours (RFC 6864 section 4.1).
    fn rewrite_to_be_cut(
        &mut self,
        it: &mut InFlight<'_, '_>,
        flow: (&Flow, &Addresses),
        direction: Direction,
        (hop, data): (NextHop, usize),
    ) -> Result<(), Reason> {
        let mut packet = *it.packet;
        let to_ipv6 = is_ipv6_behind(flow.0, flow.1, direction);
        let has_number = translate::may_be_cut(it.frame.bytes(), &packet, to_ipv6);
        if packet.piece == Piece::Whole && !packet.key.is_ipv6() {
            if to_ipv6 && translate::lacks_checksum(it.frame.bytes(), &packet) {
                translate::add_checksum(it.frame.bytes_mut(), &packet);
            }
            packet.piece = Piece::First;
        }
        let macs = (self.egress(hop.interface).mac, hop.mac);
        self.rewrite(it.frame, &packet, flow, direction, macs)?;
        if packet.key.is_ipv6() && to_ipv6 && data > usize::from(packet.l4) {
            let has_room = cut::insert_fragment_header(it.frame, packet.l4.into());
            has_room.then_some(()).ok_or(Reason::FrameOversize)?;
        }
        if !has_number {
            let out = flow.0.outward(flow.1, direction);
            let number = self.identifications.next(out.source, out.destination);
            cut::number(it.frame.bytes_mut(), data, number, Ports::of(&out));
        }
        Ok(())
    }
}

/// What of a packet its pieces share, in bytes.
#[derive(Clone, Copy, Debug)]
struct Data {
    /// Where it begins in their frames.
    at: usize,
    length: usize,
}

impl Data {
    /// That of a packet as it leaves. A whole IPv6 packet may have a fragment header, too (RFC 6946).
    fn behind(frame: &[u8], packet: &Packet, to_ipv6: bool) -> Data {
        let l4 = usize::from(packet.l4);
        let length = packet.end() - l4;
        let fragment = |at| at + ipv6::fragment::HEADER;
        match (packet.key.is_ipv6(), to_ipv6) {
            (false, true) => Data { at: fragment(ethernet::HEADER + ipv6::HEADER), length },
            (true, false) => Data { at: ethernet::HEADER + ipv4::HEADER, length },
            (false, false) => Data { at: l4, length },
            (true, true) => match ipv6::fragment_header_at(&frame[ethernet::HEADER..l4]) {
                Some(at) => Data {
                    at: fragment(ethernet::HEADER + at),
                    length: packet.end() - fragment(ethernet::HEADER + at),
                },
                None => Data { at: fragment(l4), length },
            },
        }
    }
}

/// The first piece holds the whole TCP header.
const LONGEST_L4_HEADER: usize = 60;
