//! Answers of the load balancer's own, so many per second at most.

use super::{InFlight, MacFilter, Pipeline};
use crate::{
    frame::Frame,
    limits,
    listener::ListenerId,
    rewrite::reset,
    tables::Mac,
    time::Instant,
    verdict::{Reason, Verdict},
    wire::ethernet,
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
        let from = match self.mac_filter {
            MacFilter::Own => self.egress(it.frame.ingress).mac,
            MacFilter::AnyUnicast => own_mac(it.frame),
        };
        reset::apply(it.frame, &it.packet, from);
        Verdict::to(reason, it.frame.ingress.0)
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

/// The link address that a frame was sent to.
fn own_mac(frame: &Frame<'_>) -> Mac {
    Mac(frame.bytes().get(ethernet::DESTINATION).and_then(|mac| mac.try_into().ok()).unwrap_or([0; 6]))
}
