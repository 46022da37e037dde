//! Handshakes, which only the real client and the real target can complete: who has the target's answer acknowledges its number. A
//! segment that acknowledges another, or whose receiver drops it for its checksum, goes on to that receiver as any other, and
//! changes nothing here: else a SYN and an acknowledgement, both forged, would make a flow that lasts.
//!
//! Numbers are the target's own: neither cookies, whose handshakes are `cookie`'s, nor PROXY headers change them by then.

use super::{InFlight, Pipeline, cookie::numbers, reply::has_right_checksum};
use crate::{
    flow::{Direction, State},
    tcp::{self, Part},
};

impl Pipeline<'_> {
    /// The state that a segment of a flow leads to. Notes the target's answer.
    #[inline]
    pub(super) fn next_state(&mut self, it: &InFlight<'_, '_>, record: u32, direction: Direction) -> State {
        let (state, flags) = (self.flows.flow(record).state(), it.packet.tcp_flags);
        match tcp::part(state, direction, flags) {
            Some(part) if !self.heeds(it, record, part) => state,
            _ => tcp::next(state, direction, flags),
        }
    }

    /// Whether a part of a handshake is what it looks like. An answer replaces an earlier one: its target has been started again.
    fn heeds(&mut self, it: &InFlight<'_, '_>, record: u32, part: Part) -> bool {
        if !has_right_checksum(it) {
            return false;
        }
        let (sequence, acknowledgement, _) = numbers(it);
        match part {
            Part::Answer => self.flows.set_answer(record, sequence),
            Part::Confirmation => return tcp::acknowledges(acknowledgement, self.flows.answer(record)),
        }
        true
    }
}
