//! SYNs in the midst of flows whose targets have their PROXY headers. The header goes with a flow's first SYN, so no other begins a
//! connection: a target may lose one unseen, and a client who knows could speak first on the next.

use super::{
    InFlight, Pipeline,
    preamble::{header, segment_mut},
    reply::has_right_checksum,
};
use crate::{
    flow::Direction,
    flow_log::CloseReason,
    preamble::Old,
    rewrite::preamble as write,
    tables::Tables,
    verdict::{Reason, Verdict},
};

impl Pipeline<'_> {
    /// A SYN of either side on a flow in the midst of its life, whose target would be owed a header if it began another connection: such
    /// a connection is begun by no other flow's packets. `None` of a flow that needs no such care.
    ///
    /// The client's SYN leaves room for the header, for the target may have lost the connection unseen. If it has not, its challenge
    /// goes back as it is (RFC 5961 section 4). If it has, its SYN ends the flow, and the client's next SYN opens one with a header.
    #[cold]
    pub(super) fn begin_elsewhere(
        &mut self,
        tables: &Tables,
        it: &mut InFlight<'_, '_>,
        record: u32,
        direction: Direction,
    ) -> Option<Verdict> {
        let state = self.flows.flow(record).state();
        let has_begun = !state.is_half_open() && !state.needs_attention();
        if !has_begun || self.flows.flow(record).is_owed_header() || !self.owes_headers(tables, record) {
            return None;
        }
        match direction {
            Direction::Forward if state.is_over() && it.packet.is_syn() => None, // It opens a flow of its own.
            Direction::Forward => Some(self.send_syn_ahead(tables, it, record)),
            Direction::Reverse => {
                if state.is_active() && has_right_checksum(it) {
                    self.forget_for(record, CloseReason::TargetReset, it.now.wrapping_millis());
                }
                Some(Verdict::drop(Reason::ProxyUnplaced))
            }
        }
    }

    fn send_syn_ahead(&mut self, tables: &Tables, it: &mut InFlight<'_, '_>, record: u32) -> Verdict {
        if !has_right_checksum(it) {
            return self.forward_by_route(tables, it, record, Direction::Forward);
        }
        let length = header(&self.flows.key(record, Direction::Forward)).bytes().len();
        let packet = write::cut_old(it.frame, it.packet, Old::Everything);
        let mut it = InFlight { frame: &mut *it.frame, packet: &packet, ..*it };
        write::move_ahead(segment_mut(&mut it), length as u32);
        self.forward_by_route(tables, &mut it, record, Direction::Forward)
    }

    /// Whether new connections to a flow's target begin with a header; where the target is gone, whether any of its listener's do.
    fn owes_headers(&self, tables: &Tables, record: u32) -> bool {
        let standing = self.standing(tables, record);
        let has_header = |group| tables.group(group).is_some_and(|group| group.proxy_header.is_some());
        match (standing.target, standing.listener) {
            (Some(target), _) => has_header(target.group),
            (None, Some(listener)) => {
                listener.forward.groups.iter().any(|weighted| has_header(weighted.group))
            }
            (None, None) => false,
        }
    }
}
