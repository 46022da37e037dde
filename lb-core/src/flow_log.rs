//! What the flow log tells of a flow when it is over, and what is counted until then. Counted and told by `datapath`, and only while
//! the flow log is on; made into text elsewhere.

use bytemuck::{Pod, Zeroable};

use crate::{
    datapath::FlowView,
    flow::{Direction, Flow, State},
    target::CutCause,
    time::Instant,
};

/// What went through a flow, by `Direction`: packets that were sent on, as its listener counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Tally {
    /// Bytes from the IP header on, as packets came in.
    pub bytes: [u64; 2],
    /// Packets. A datagram in pieces is as many as its pieces; a packet that had to be cut up is one.
    pub packets: [u64; 2],
    /// When the flow began, in microseconds of the worker's clock, above the bits of `mark`.
    stamp: u64,
}

/// Bits of [`Tally`]'s stamp.
pub(crate) mod mark {
    /// The flow is older than its tally, whose counts say nothing.
    pub(crate) const OLDER: u64 = 1;
    /// The target sent the reset that ended the flow, not the client.
    pub(crate) const RESET_BY_TARGET: u64 = 2;
    /// The flow was under way elsewhere before its first packet came here.
    pub(crate) const ADOPTED: u64 = 4;
    /// The flow log has been told of its end.
    pub(crate) const TOLD: u64 = 8;
    /// The reset that ended the flow was the target's answer to a SYN.
    pub(crate) const REFUSED: u64 = 16;
}

/// Bits that marks have.
const MARK_BITS: u32 = 8;

impl Tally {
    /// Of a flow that begins now.
    #[inline]
    pub fn beginning(now: Instant) -> Tally {
        Tally { stamp: micros(now) << MARK_BITS, ..Tally::zeroed() }
    }

    /// Of a flow that is older than its tally.
    pub(crate) fn of_older_flow(now: Instant) -> Tally {
        let Tally { stamp, .. } = Tally::beginning(now);
        Tally { stamp: stamp | mark::OLDER, ..Tally::zeroed() }
    }

    /// Whether it was begun since then: else it may be that of an earlier flow.
    #[inline]
    pub(crate) fn is_since(&self, time: Instant) -> bool {
        self.stamp >> MARK_BITS >= micros(time)
    }

    /// Counts a packet.
    #[inline]
    pub(crate) fn count(&mut self, direction: Direction, bytes: u16) {
        self.bytes[direction as usize] += u64::from(bytes);
        self.packets[direction as usize] += 1;
    }

    pub(crate) fn has(&self, mark: u64) -> bool {
        self.stamp & mark != 0
    }

    pub(crate) fn set(&mut self, mark: u64) {
        self.stamp |= mark;
    }

    pub(crate) fn clear(&mut self, mark: u64) {
        self.stamp &= !mark;
    }

    /// Begins to count anew, with the marks and the beginning as they are.
    pub(crate) fn restart(&mut self) {
        (self.bytes, self.packets) = ([0; 2], [0; 2]);
    }

    /// When the flow began, to the microsecond.
    pub fn began(&self) -> Instant {
        Instant::from_nanos((self.stamp >> MARK_BITS) * 1_000)
    }

    /// Whether the flow was under way elsewhere before its first packet came here.
    pub fn is_adopted(&self) -> bool {
        self.has(mark::ADOPTED)
    }
}

fn micros(time: Instant) -> u64 {
    time.nanos() / 1_000
}

/// Why a flow is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Both sides have sent FIN.
    Fin,
    /// The client has sent RST.
    ClientReset,
    /// The target has sent RST.
    TargetReset,
    /// The target has answered the client's SYN by RST.
    Refused,
    /// No packet came for the idle timeout.
    Idle,
    /// The handshake was not complete in time.
    HalfOpenTimeout,
    /// Its handshake was not complete, and its place, or its source port, was needed.
    Evicted,
    /// The load balancer has ended it.
    Cut(CutCause),
    /// The daemon was stopped.
    Stopped,
}

impl CloseReason {
    /// Every reason, in the order that people are told of them.
    pub const ALL: [CloseReason; 13] = [
        CloseReason::Fin,
        CloseReason::ClientReset,
        CloseReason::TargetReset,
        CloseReason::Refused,
        CloseReason::Idle,
        CloseReason::HalfOpenTimeout,
        CloseReason::Evicted,
        CloseReason::Cut(CutCause::Unhealthy),
        CloseReason::Cut(CutCause::Deregistered),
        CloseReason::Cut(CutCause::WeightZero),
        CloseReason::Cut(CutCause::Unused),
        CloseReason::Cut(CutCause::ListenerGone),
        CloseReason::Stopped,
    ];

    /// The name in the flow log.
    pub const fn name(self) -> &'static str {
        match self {
            CloseReason::Fin => "fin",
            CloseReason::ClientReset => "client_reset",
            CloseReason::TargetReset => "target_reset",
            CloseReason::Refused => "refused",
            CloseReason::Idle => "idle",
            CloseReason::HalfOpenTimeout => "half_open_timeout",
            CloseReason::Evicted => "evicted",
            CloseReason::Cut(cause) => cause.name(),
            CloseReason::Stopped => "stopped",
        }
    }

    /// That of a flow which has ended by itself, or whose time is over.
    pub(crate) fn of_state(state: State, tally: &Tally) -> CloseReason {
        match state {
            State::Closed => CloseReason::Fin,
            State::Reset if tally.has(mark::REFUSED) => CloseReason::Refused,
            State::Reset if tally.has(mark::RESET_BY_TARGET) => CloseReason::TargetReset,
            State::Reset => CloseReason::ClientReset,
            State::Connecting | State::Renewing => CloseReason::HalfOpenTimeout,
            state if state.is_half_open() => CloseReason::HalfOpenTimeout,
            _ => CloseReason::Idle,
        }
    }

    /// When a flow ended for this reason that is told of at `now_ms`, in wrapping milliseconds.
    pub(crate) fn time_ms(self, flow: &Flow, now_ms: u32) -> u32 {
        match self {
            CloseReason::Fin | CloseReason::ClientReset | CloseReason::TargetReset => flow.last_seen_ms,
            CloseReason::Refused if flow.state() == State::Reset => flow.last_seen_ms,
            CloseReason::Idle | CloseReason::HalfOpenTimeout => {
                flow.last_seen_ms.wrapping_add(u32::from(flow.timeout_s) * 1_000)
            }
            _ => now_ms,
        }
    }
}

/// A flow that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedFlow {
    /// What it looked like.
    pub view: FlowView,
    /// What went through it; `None` when it is older than the flow log.
    pub tally: Option<Tally>,
    /// Why it is over.
    pub reason: CloseReason,
    /// When it ended, in milliseconds of the worker's clock modulo 2^32.
    pub ended_ms: u32,
}

impl EndedFlow {
    /// When it ended, as seen from a time at most 49 days later.
    pub fn ended(&self, now: Instant) -> Instant {
        let since_ms = now.wrapping_millis().wrapping_sub(self.ended_ms);
        // Who asks may have read the clock a little before the worker.
        let since_ms = if since_ms > u32::MAX / 2 { 0 } else { since_ms };
        Instant::from_nanos(now.nanos().saturating_sub(u64::from(since_ms) * 1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Addresses;

    #[test]
    fn a_tally_keeps_its_beginning_beside_its_marks() {
        let now = Instant::from_nanos(7_000_001_500);
        let mut tally = Tally::beginning(now);
        for mark in [mark::RESET_BY_TARGET, mark::ADOPTED, mark::TOLD, mark::REFUSED] {
            assert!(!tally.has(mark));
            tally.set(mark);
            assert!(tally.has(mark));
        }
        tally.count(Direction::Forward, 60);
        tally.count(Direction::Reverse, 1_500);
        tally.count(Direction::Reverse, 40);
        assert_eq!((tally.bytes, tally.packets), ([60, 1_540], [1, 2]));
        assert_eq!(tally.began(), Instant::from_nanos(7_000_001_000));
        assert!(tally.is_since(now) && !tally.is_since(Instant::from_millis(7_001)));
        assert!(!tally.has(mark::OLDER) && Tally::of_older_flow(now).has(mark::OLDER));
    }

    #[test]
    fn the_end_of_a_flow_is_as_long_ago_as_it_was() {
        let now = Instant::from_millis((1 << 32) + 500);
        let view = FlowView::new((0, &Flow::zeroed(), &Addresses::zeroed()), 0);
        let ended = |ended_ms| EndedFlow { view, tally: None, reason: CloseReason::Fin, ended_ms }.ended(now);
        assert_eq!(ended(400), Instant::from_millis((1 << 32) + 400));
        assert_eq!(ended(u32::MAX), Instant::from_millis((1 << 32) - 1));
        assert_eq!(ended(501), now, "a clock that was read a little later");
    }

    #[test]
    fn reasons_have_names_of_their_own() {
        let names: std::collections::BTreeSet<&str> =
            CloseReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), CloseReason::ALL.len());
    }
}
