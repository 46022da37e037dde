//! Flows that new tables cut, without waiting for their next packet: a round over the whole table, a bounded part of it per turn.
//!
//! A reset is heeded only with the sequence number that its receiver expects, and a flow's record does not know that. So each side of a
//! TCP flow gets a segment that it must answer (RFC 9293 section 3.10.7.4: an unacceptable segment is answered by an
//! acknowledgement), and its answer is reset as any packet of a flow that was cut. UDP flows are forgotten: the client's next
//! datagram selects a target anew.

use super::{Pipeline, end::records_due, hit::Finding};
use crate::{
    flow::{Direction, State},
    frame::Frame,
    limits,
    rewrite::segment::Segment,
    tables::{NextHop, Tables},
    time::Instant,
    verdict::{Reason, Verdict},
    wire::l4::tcp::ACK,
};

/// How far a round has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Purge {
    /// The next record to look at.
    next: u32,
    /// Records that are left of the round; 0: there is none.
    left: u32,
    /// When records were looked at last.
    until: Option<Instant>,
}

impl Purge {
    /// Begins a round over all `used` records. One under way goes on from where it is, so that many in short order starve no record.
    pub(super) fn begin(&mut self, used: u32) {
        if self.left == 0 {
            self.until = None;
        }
        self.left = used;
    }

    /// Whether a round is under way.
    #[inline]
    pub(super) fn is_under_way(&self) -> bool {
        self.left > 0
    }
}

impl Pipeline<'_> {
    /// Goes on with the round, if there is one, in proportion to the time since the last call.
    #[inline]
    pub(super) fn purge(&mut self, tables: &Tables, now: Instant) {
        if self.purge.is_under_way() {
            self.purge_some(tables, now);
        }
    }

    #[cold]
    fn purge_some(&mut self, tables: &Tables, now: Instant) {
        let used = self.flows.used_records();
        let until = *self.purge.until.get_or_insert(now);
        let since_ns = now.nanos().saturating_sub(until.nanos());
        let due =
            records_due(since_ns, used, limits::PURGE_ROUND_MS, limits::PURGE_RECORDS).min(self.purge.left);
        if due == 0 {
            return;
        }
        self.purge.until = Some(now);
        let mut cut = 0;
        for _ in 0..due {
            let record = self.purge.next;
            self.purge.next = if record + 1 < used { record + 1 } else { 0 };
            self.purge.left -= 1;
            cut += usize::from(self.purge_record(tables, record, now));
            if cut == limits::PURGED_FLOWS {
                return;
            }
        }
    }

    /// Checks a flow against the tables as its next packet would. Whether it was cut.
    fn purge_record(&mut self, tables: &Tables, record: u32, now: Instant) -> bool {
        let (flow, now_ms) = (self.flows.flow(record), now.wrapping_millis());
        if !flow.is_live() || flow.epoch == tables.epoch() || flow.is_expired(now_ms) {
            return false;
        }
        let is_cut = self.revalidate(tables, record, now_ms) == Finding::Cut;
        if is_cut {
            self.provoke(record, Direction::Forward, now);
            self.provoke(record, Direction::Reverse, now);
        }
        is_cut
    }

    /// Has the side that packets of a direction go to send one.
    fn provoke(&mut self, record: u32, direction: Direction, now: Instant) {
        let flow = self.flows.flow(record);
        debug_assert_eq!(flow.state(), State::Cut);
        let Some(hop) = flow.hop(direction) else { return };
        if !self.budgets.probes.take(now) {
            return;
        }
        self.make_new(|this, frame| this.write_probe(frame, record, direction, hop));
    }

    /// Turns a frame into a segment that no window has room for, unless by an odd chance: then the flow ends with its next packet.
    fn write_probe(
        &self,
        frame: &mut Frame<'_>,
        record: u32,
        direction: Direction,
        hop: NextHop,
    ) -> Option<Verdict> {
        let out = self.flows.flow(record).outward(self.flows.addresses(record), direction);
        let probe = Segment {
            source: (out.source, out.source_port),
            destination: (out.destination, out.destination_port),
            sequence: 0,
            acknowledgement: 0,
            flags: ACK,
            window: 0,
            options: &[],
        };
        let is_written = probe.write(frame, self.egress(hop.interface).mac, hop.mac);
        is_written.then_some(Verdict::to(Reason::ProbeCut, hop.interface.0))
    }
}
