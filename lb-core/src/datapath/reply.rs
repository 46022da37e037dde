//! Answers of the load balancer's own, of each kind so many at most (`budget`).

use std::net::IpAddr;

use super::{Burst, InFlight, MacFilter, Pipeline, preamble::header_of_datagrams};
use crate::{
    flow::{Addresses, Direction, Flow},
    frame::Frame,
    listener::ListenerId,
    parse::{Packet, Piece, Routed, parse_routed},
    rewrite::{
        complaint::{self, Complaint},
        reset, translate,
    },
    tables::{Mac, NextHop, Tables},
    verdict::{Reason, Verdict},
    wire::{checksum, ethernet, ipv6},
};

impl Pipeline<'_> {
    /// Answers a TCP packet by a reset, towards where it came from.
    #[cold]
    pub(super) fn reset(
        &mut self,
        it: &mut InFlight<'_, '_>,
        reason: Reason,
        listener: Option<ListenerId>,
    ) -> Verdict {
        if !has_right_checksum(it) {
            return Verdict::drop(Reason::TcpChecksum);
        }
        if !self.budgets.resets.take(it.now) {
            return Verdict::drop(Reason::ResetRateLimited);
        }
        if let Some(listener) = listener {
            self.counters.count_own_reset(listener);
        }
        reset::answer(it.frame, it.packet, self.own_mac(it.frame));
        Verdict::to(reason, it.frame.ingress.0)
    }

    /// A packet whose time to live is over: its sender is told if it is a listener's or a flow's.
    #[cold]
    pub(super) fn time_exceeded(&mut self, tables: &Tables, hash: u64, it: &mut InFlight<'_, '_>) -> Verdict {
        let key = &it.packet.key;
        let is_for_listener =
            key.destination_endpoint().is_some_and(|endpoint| tables.listener_at(&endpoint).is_some());
        let source = match self.flows.lookup(hash, key) {
            Some((record, direction)) => {
                self.answering_address(self.flows.flow(record), self.flows.addresses(record), it, direction)
            }
            None if is_for_listener => key.destination(),
            None => return Verdict::drop(Reason::TtlExpired),
        };
        self.complain(it, Complaint::TimeExceeded, source, (Reason::TimeExceeded, Reason::TtlExpired))
    }

    /// What becomes of a packet that is longer than the way out can carry: its sender is told. `None` for one that goes, also
    /// when it goes in pieces.
    pub(super) fn refuse_length(
        &mut self,
        it: &mut InFlight<'_, '_>,
        flow: &Flow,
        addresses: &Addresses,
        direction: Direction,
        hop: NextHop,
    ) -> Option<Verdict> {
        let excess = self.excess(it.packet, (flow, addresses), direction, hop);
        let to_ipv6 = is_ipv6_behind(flow, addresses, direction);
        if excess == 0 || translate::may_be_cut(it.frame.bytes(), it.packet, to_ipv6) {
            return None;
        }
        let least = if it.packet.key.is_ipv6() { ipv6::MINIMUM_MTU } else { 0 };
        // What the sender may send, in its own family.
        let mtu = u32::from(it.packet.total_length).saturating_sub(excess).max(least);
        let source = self.answering_address(flow, addresses, it, direction);
        Some(self.complain(it, Complaint::TooBig { mtu }, source, (Reason::TooBig, Reason::MtuExceeded)))
    }

    /// Bytes that a packet has more than the way out can carry, once it is rewritten, with a datagram's PROXY header.
    pub(super) fn excess(
        &self,
        packet: &Packet,
        flow: (&Flow, &Addresses),
        direction: Direction,
        hop: NextHop,
    ) -> u32 {
        let header = header_of_datagrams(flow.0, direction, packet.key.source());
        (self.length_after(packet, flow, direction) + header).saturating_sub(self.egress(hop.interface).mtu)
    }

    /// Bytes of a packet once it is rewritten.
    pub(super) fn length_after(
        &self,
        packet: &Packet,
        (flow, addresses): (&Flow, &Addresses),
        direction: Direction,
    ) -> u32 {
        match flow.is_wide() {
            true => translate::length_after(packet, &flow.outward(addresses, direction)) as u32,
            false => u32::from(packet.total_length),
        }
    }

    /// A packet whose route goes on from its destination. If that is an address of ours, its sender is told that we follow no routes
    /// (RFC 8200 section 4.4, RFC 5095 section 3). What is neither TCP nor UDP may be an ICMP error, and is not answered (RFC 4443
    /// section 2.4 (e)).
    #[cold]
    pub(super) fn refuse_route(&mut self, tables: &Tables, burst: &Burst, frame: &mut Frame<'_>) -> Verdict {
        let routed = parse_routed(frame.bytes()).filter(|_| self.is_for_us(frame));
        let Some(Routed { packet, kind_at }) = routed else { return Verdict::drop(Reason::SourceRoute) };
        let vip = packet.key.destination();
        if tables.is_own(packet.key.source()) {
            return Verdict::drop(Reason::OwnSource);
        }
        if !tables.is_own(vip) {
            return Verdict::drop(Reason::SourceRoute);
        }
        let mut it = InFlight { frame, packet: &packet, arrival: burst.arrival, now: burst.now };
        let complaint = Complaint::ParameterProblem { pointer: kind_at };
        self.complain(&mut it, complaint, vip, (Reason::ParameterProblem, Reason::SourceRoute))
    }

    /// The address of ours that a packet's sender knows, for errors about the packet: the VIP where the family allows.
    fn answering_address(
        &self,
        flow: &Flow,
        addresses: &Addresses,
        it: &InFlight<'_, '_>,
        direction: Direction,
    ) -> IpAddr {
        let vip = flow.key(addresses, Direction::Forward).destination();
        let is_known = direction == Direction::Forward || !flow.is_source_translated();
        if is_known && vip.is_ipv6() == it.packet.key.is_ipv6() { vip } else { it.packet.key.destination() }
    }

    /// Answers a packet by an ICMP error from `source`; settles for the second reason when that is not possible.
    fn complain(
        &mut self,
        it: &mut InFlight<'_, '_>,
        complaint: Complaint,
        source: IpAddr,
        (answered, dropped): (Reason, Reason),
    ) -> Verdict {
        if it.packet.piece == Piece::Later && source.is_ipv4() {
            return Verdict::drop(dropped); // RFC 1812 section 4.3.2.7
        }
        if !self.budgets.of(complaint).take(it.now) {
            return Verdict::drop(Reason::ErrorRateLimited);
        }
        let from = self.own_mac(it.frame);
        match complaint::apply(it.frame, it.packet, complaint, source, from) {
            true => Verdict::to(answered, it.frame.ingress.0),
            false => Verdict::drop(dropped),
        }
    }

    /// The link address that answers to a frame come from.
    pub(super) fn own_mac(&self, frame: &Frame<'_>) -> Mac {
        match self.mac_filter {
            MacFilter::Own => self.egress(frame.ingress).mac,
            MacFilter::AnyUnicast => {
                let mac = frame.bytes().get(ethernet::DESTINATION).and_then(|mac| mac.try_into().ok());
                Mac(mac.unwrap_or_default())
            }
        }
    }
}

/// Whether packets of a flow leave as IPv6 packets.
pub(super) fn is_ipv6_behind(flow: &Flow, addresses: &Addresses, direction: Direction) -> bool {
    flow.is_wide() && flow.outward(addresses, direction).source.is_ipv6()
}

/// Whether the checksum of a whole TCP segment is right. A wrong one goes on elsewhere, for the receiver to find; where the segment
/// ends here, we are the receiver.
pub(super) fn has_right_checksum(it: &InFlight<'_, '_>) -> bool {
    let segment = &it.frame.bytes()[usize::from(it.packet.l4)..it.packet.end()];
    let key = &it.packet.key;
    let pseudo = checksum::pseudo_header_of(key.source(), key.destination(), key.protocol(), segment.len());
    checksum::fold(checksum::sum(segment, pseudo)) == 0xffff
}
