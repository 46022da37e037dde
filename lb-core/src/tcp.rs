//! The life of a TCP flow as seen from the middle: which state a segment leads to. Pure; called by `datapath` on a hit.

use crate::{
    flow::{Direction, Flow, State},
    limits,
    wire::l4::tcp::{ACK, FIN, RST, SYN},
};

/// The state after a segment with `flags`, if it is what it looks like: see [`part`]. A SYN of the client on a flow that is over never
/// gets here: it is a new flow.
#[inline]
pub fn next(state: State, direction: Direction, flags: u8) -> State {
    if state == State::Established && flags & (FIN | SYN | RST) == 0 {
        return State::Established;
    }
    step(state, direction, flags)
}

fn step(state: State, direction: Direction, flags: u8) -> State {
    use {Direction::*, State::*};
    // Only a complete handshake leaves the half-open states: else whoever never meant to connect escapes their budget.
    let is_confirmed = direction == Forward && confirms(state, flags);
    if state.is_half_open() && !is_confirmed {
        return match (state, direction) {
            (HalfOpen | AnsweredElsewhere, Reverse) if flags & (SYN | RST) == SYN => Answered,
            (HalfOpen, Forward) if flags & (ACK | SYN | RST) == ACK => AnsweredElsewhere,
            _ => state,
        };
    }
    if flags & RST != 0 {
        let is_of_old_connection = state == Renewing && direction == Reverse && !is_heeded_reset(flags);
        return if is_of_old_connection { state } else { Reset };
    }
    if flags & FIN != 0 {
        return match (state, direction) {
            (TargetClosed | Closed, Forward) | (ClientClosed | Closed, Reverse) => Closed,
            (_, Forward) => ClientClosed,
            (_, Reverse) => TargetClosed,
        };
    }
    match state {
        Answered => Established,
        // Traffic after a reset: the reset was forged, or both ends ignored it (RFC 5961 section 3).
        Reset | Renewing if flags & SYN == 0 => Established,
        _ => state,
    }
}

/// What a segment may be in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The target's SYN.
    Answer,
    /// What completes the handshake, if it acknowledges the answer.
    Confirmation,
}

/// Which part of a handshake a segment of a flow in this state may be, behind the client's SYN.
#[inline]
pub fn part(state: State, direction: Direction, flags: u8) -> Option<Part> {
    match direction {
        Direction::Reverse if state.is_half_open() && flags & (SYN | RST) == SYN => Some(Part::Answer),
        Direction::Forward if confirms(state, flags) => Some(Part::Confirmation),
        _ => None,
    }
}

/// Whether a client's segment may complete the handshake. In a simultaneous open, that is the client's SYN-ACK.
#[inline]
fn confirms(state: State, flags: u8) -> bool {
    state == State::Answered && flags & (RST | ACK) == ACK
}

/// Whether a number acknowledges an answer with this initial sequence number, and no more than the target may have sent by then: data
/// that come with its SYN (RFC 7413 section 4.1) are in a window that is not scaled yet.
#[inline]
pub fn acknowledges(acknowledgement: u32, answer: u32) -> bool {
    (1..=u32::from(u16::MAX)).contains(&acknowledgement.wrapping_sub(answer))
}

/// Whether a segment ends a connection that its target will not have: what a client that waits for an answer heeds (RFC 9293 section
/// 3.10.7.3). What a client refuses stays half-open: a flood of such would use up source ports, which rest only after those who meant
/// it.
#[inline]
fn is_refusal(state: State, direction: Direction, flags: u8) -> bool {
    let waits = state.is_half_open() || state == State::Renewing;
    waits && direction == Direction::Reverse && is_heeded_reset(flags)
}

/// Whether a reset says what it answers: no other ends a connection that is being made.
#[inline]
fn is_heeded_reset(flags: u8) -> bool {
    flags & (RST | ACK) == RST | ACK
}

/// Whether a segment repeats the SYN of a connection that its target has not answered.
#[inline]
pub fn is_repeated_syn(state: State, direction: Direction, flags: u8) -> bool {
    state == State::HalfOpen && direction == Direction::Forward && flags & (SYN | ACK) == SYN
}

/// Whether a segment of a flow in this state is not simply rewritten.
#[inline]
pub fn is_unusual(state: State, direction: Direction, flags: u8) -> bool {
    state.needs_attention() || is_refusal(state, direction, flags) || is_renewal(state, flags)
}

/// Whether a segment begins a connection, or answers one that does, where the last one was reset.
#[inline]
fn is_renewal(state: State, flags: u8) -> bool {
    state.is_reset() && flags & (SYN | RST) == SYN
}

/// How long a flow in this state is kept without packets, in seconds.
#[inline]
pub fn timeout_s(state: State, idle_timeout_s: u16) -> u16 {
    match state {
        State::Connecting => limits::HALF_OPEN_S,
        state if state.is_half_open() => limits::HALF_OPEN_S,
        State::Closed => limits::CLOSED_S,
        State::Reset | State::Renewing => limits::RESET_S,
        _ => idle_timeout_s,
    }
}

/// Whether a packet in this state prolongs the flow. Repeated SYNs do not: the target has its time from the first.
#[inline]
pub fn prolongs(flow: &Flow) -> bool {
    !flow.state().is_half_open()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Forward, Reverse};

    #[test]
    fn segments_lead_from_state_to_state() {
        for (from, direction, flags, to) in [
            (State::HalfOpen, Forward, SYN, State::HalfOpen),
            (State::HalfOpen, Forward, ACK, State::AnsweredElsewhere),
            (State::HalfOpen, Forward, SYN | ACK, State::HalfOpen),
            (State::AnsweredElsewhere, Forward, ACK, State::AnsweredElsewhere),
            (State::AnsweredElsewhere, Forward, FIN | ACK, State::AnsweredElsewhere),
            (State::AnsweredElsewhere, Reverse, ACK, State::AnsweredElsewhere),
            (State::AnsweredElsewhere, Reverse, SYN | ACK, State::Answered),
            (State::HalfOpen, Reverse, ACK, State::HalfOpen),
            (State::HalfOpen, Reverse, SYN | ACK, State::Answered),
            (State::HalfOpen, Reverse, SYN, State::Answered),
            (State::HalfOpen, Reverse, RST | ACK, State::HalfOpen),
            (State::HalfOpen, Forward, RST, State::HalfOpen),
            (State::HalfOpen, Forward, FIN | ACK, State::AnsweredElsewhere),
            (State::Answered, Forward, RST, State::Answered),
            (State::Answered, Reverse, RST | ACK, State::Answered),
            (State::Answered, Forward, FIN | ACK, State::ClientClosed),
            (State::Answered, Forward, SYN, State::Answered),
            (State::Answered, Forward, ACK, State::Established),
            (State::Answered, Reverse, SYN | ACK, State::Answered),
            (State::Established, Forward, SYN, State::Established),
            (State::Established, Forward, FIN | ACK, State::ClientClosed),
            (State::Established, Reverse, FIN | ACK, State::TargetClosed),
            (State::ClientClosed, Forward, FIN | ACK, State::ClientClosed),
            (State::ClientClosed, Reverse, ACK, State::ClientClosed),
            (State::ClientClosed, Reverse, FIN | ACK, State::Closed),
            (State::TargetClosed, Forward, FIN | ACK, State::Closed),
            (State::Closed, Forward, ACK, State::Closed),
            (State::Established, Forward, RST, State::Reset),
            (State::Reset, Reverse, ACK, State::Established),
            (State::Reset, Reverse, SYN | ACK, State::Reset),
            (State::Renewing, Reverse, ACK, State::Established),
            (State::Renewing, Forward, ACK, State::Established),
            (State::Renewing, Reverse, RST | ACK, State::Reset),
            (State::Renewing, Reverse, RST, State::Renewing),
            (State::Renewing, Forward, RST, State::Reset),
        ] {
            assert_eq!(next(from, direction, flags), to, "{from:?} {direction:?} {flags:#04x}");
        }
    }

    #[test]
    fn the_targets_syn_is_acknowledged_with_no_more_than_its_first_window() {
        for (answer, acknowledgement, is_acknowledged) in [
            (1_000, 1_001, true),
            (1_000, 1_000 + 65_535, true),
            (1_000, 1_000, false),
            (1_000, 999, false),
            (1_000, 1_000 + 65_536, false),
            (u32::MAX, 0, true),
            (u32::MAX - 1, 65_533, true),
        ] {
            assert_eq!(
                acknowledges(acknowledgement, answer),
                is_acknowledged,
                "{acknowledgement} of {answer}"
            );
        }
    }
}
