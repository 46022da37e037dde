//! The states of flows, and what each means to whoever meets a flow in it.

/// Where a flow is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// The record is not in use.
    Free = 0,
    /// UDP.
    Udp = 1,
    /// TCP: SYN seen, no answer of the target yet.
    HalfOpen = 2,
    /// TCP: answered by the target, not confirmed by the client yet. Still counts as half-open.
    Answered = 3,
    /// TCP: handshake complete.
    Established = 4,
    /// TCP: the client has sent FIN.
    ClientClosed = 5,
    /// TCP: the target has sent FIN.
    TargetClosed = 6,
    /// TCP: both have sent FIN.
    Closed = 7,
    /// TCP: one side has sent RST.
    Reset = 8,
    /// TCP: cut on purpose. The record is a tombstone: packets get a reset, only a new SYN selects anew.
    Cut = 9,
    /// TCP: the client has confirmed a SYN cookie, the target has not answered our SYN yet.
    Connecting = 10,
    /// The flow is over; its source port is not used again for a while. Only packets from the target find it.
    Resting = 11,
    /// TCP: the client acknowledges an answer of the target that has not come by here. Still counts as half-open.
    AnsweredElsewhere = 12,
    /// TCP: reset, and the client has sent a SYN since, which the target has not answered.
    Renewing = 13,
}

impl State {
    /// Every state, by its number.
    pub(super) const ALL: [State; 14] = [
        State::Free,
        State::Udp,
        State::HalfOpen,
        State::Answered,
        State::Established,
        State::ClientClosed,
        State::TargetClosed,
        State::Closed,
        State::Reset,
        State::Cut,
        State::Connecting,
        State::Resting,
        State::AnsweredElsewhere,
        State::Renewing,
    ];

    /// Those of flows that are listed, in the order of a flow's life.
    pub const LISTED: [State; 11] = [
        State::Udp,
        State::HalfOpen,
        State::AnsweredElsewhere,
        State::Answered,
        State::Connecting,
        State::Established,
        State::ClientClosed,
        State::TargetClosed,
        State::Closed,
        State::Reset,
        State::Cut,
    ];

    /// Whether the handshake is incomplete, so that the flow counts against the half-open budget.
    #[inline]
    pub const fn is_half_open(self) -> bool {
        matches!(self, State::HalfOpen | State::AnsweredElsewhere | State::Answered)
    }

    /// Whether a SYN of the client starts a new flow on the same ports.
    #[inline]
    pub const fn is_over(self) -> bool {
        matches!(self, State::Closed | State::Cut | State::Resting) || self.is_reset()
    }

    /// Whether one side has sent RST, which the other may not have believed.
    #[inline]
    pub const fn is_reset(self) -> bool {
        matches!(self, State::Reset | State::Renewing)
    }

    /// Whether the flow counts as active: it waits for its handshake, or goes on (NLB `ActiveFlowCount`).
    #[inline]
    pub const fn is_active(self) -> bool {
        !matches!(self, State::Free) && !self.is_over()
    }

    /// Whether the flow has not ended for all that is known: it is active, or its client has begun it again.
    #[inline]
    pub const fn is_under_way(self) -> bool {
        self.is_active() || matches!(self, State::Renewing)
    }

    /// Whether packets of the flow are not simply rewritten.
    #[inline]
    pub const fn needs_attention(self) -> bool {
        matches!(self, State::Cut | State::Connecting | State::Resting)
    }

    /// Name for people.
    pub const fn name(self) -> &'static str {
        match self {
            State::Free => "free",
            State::Udp => "udp",
            State::HalfOpen => "half_open",
            State::Answered => "answered",
            State::Established => "established",
            State::ClientClosed => "client_closed",
            State::TargetClosed => "target_closed",
            State::Closed => "closed",
            State::Reset | State::Renewing => "reset",
            State::Cut => "cut",
            State::Connecting => "connecting",
            State::Resting => "resting",
            State::AnsweredElsewhere => "answered_elsewhere",
        }
    }
}
