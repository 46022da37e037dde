//! Answers of the load balancer's own, so many per second at most.

use super::{InFlight, MacFilter, Pipeline};
use crate::{
    frame::Frame,
    limits,
    listener::ListenerId,
    rewrite::{
        reset,
        unreachable::{self, Complaint},
    },
    tables::{Mac, Tables},
    time::Instant,
    verdict::{Reason, Verdict},
    wire::{ethernet, ipv4},
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
        if !self.replies.take(it.now) {
            return Verdict::drop(Reason::ReplyRateLimited);
        }
        if let Some(traffic) = listener.and_then(|id| self.counters.listeners.get(usize::from(id.0))) {
            traffic.resets.add(1);
        }
        reset::apply(it.frame, &it.packet, self.own_mac(it.frame));
        Verdict::to(reason, it.frame.ingress.0)
    }

    /// A packet whose time to live is over: its sender is told if it is a listener's or a flow's.
    #[cold]
    pub(super) fn time_exceeded(&mut self, tables: &Tables, hash: u64, it: &mut InFlight<'_, '_>) -> Verdict {
        let key = &it.packet.key;
        let is_for_listener =
            key.destination_endpoint().is_some_and(|endpoint| tables.listener_at(&endpoint).is_some());
        let vip = match self.flows.lookup(hash, key) {
            Some((record, _)) => self.flows.flow(record).vip,
            None if is_for_listener => key.destination,
            None => return Verdict::drop(Reason::TtlExpired),
        };
        self.complain(it, Complaint::TimeExceeded, vip, (Reason::TimeExceeded, Reason::TtlExpired))
    }

    /// A packet longer than the way out can carry: its sender is told, unless it may be fragmented.
    #[cold]
    pub(super) fn too_big(&mut self, it: &mut InFlight<'_, '_>, vip: [u8; 4], mtu: u32) -> Verdict {
        let flags = it.frame.bytes().get(FLAGS).map_or(0, |flags| u16::from_be_bytes([flags[0], flags[1]]));
        if flags & ipv4::DO_NOT_FRAGMENT == 0 {
            return Verdict::drop(Reason::MtuExceeded);
        }
        let complaint = Complaint::FragmentationNeeded { mtu: u16::try_from(mtu).unwrap_or(u16::MAX) };
        self.complain(it, complaint, vip, (Reason::TooBig, Reason::MtuExceeded))
    }

    /// Answers a packet by an ICMP error from `vip`; settles for the second reason when that is not possible.
    fn complain(
        &mut self,
        it: &mut InFlight<'_, '_>,
        complaint: Complaint,
        vip: [u8; 4],
        (answered, dropped): (Reason, Reason),
    ) -> Verdict {
        if !self.replies.take(it.now) {
            return Verdict::drop(Reason::ReplyRateLimited);
        }
        let from = self.own_mac(it.frame);
        match unreachable::apply(it.frame, it.packet.total_length, complaint, vip, from) {
            true => Verdict::to(answered, it.frame.ingress.0),
            false => Verdict::drop(dropped),
        }
    }

    /// The link address that answers to a frame come from.
    fn own_mac(&self, frame: &Frame<'_>) -> Mac {
        match self.mac_filter {
            MacFilter::Own => self.egress(frame.ingress).mac,
            MacFilter::AnyUnicast => {
                let mac = frame.bytes().get(ethernet::DESTINATION).and_then(|mac| mac.try_into().ok());
                Mac(mac.unwrap_or_default())
            }
        }
    }
}

/// Resets and other answers of the current second.
#[derive(Debug, Default)]
pub(super) struct ReplyBudget {
    second: u64,
    sent: u32,
}

impl ReplyBudget {
    fn take(&mut self, now: Instant) -> bool {
        let second = now.nanos() / 1_000_000_000;
        if second != self.second {
            *self = ReplyBudget { second, sent: 0 };
        }
        self.sent += 1;
        self.sent <= limits::REPLIES_PER_SECOND
    }
}

/// Flags and fragment offset in a frame.
const FLAGS: std::ops::Range<usize> =
    ethernet::HEADER + ipv4::FRAGMENT.start..ethernet::HEADER + ipv4::FRAGMENT.end;
