//! Monotonic time as an argument: whoever calls the packet path reads the clock once per burst and passes it in.

/// A reading of a monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant {
    ns: u64,
}

impl Instant {
    /// From nanoseconds since any fixed point.
    pub const fn from_nanos(ns: u64) -> Instant {
        Instant { ns }
    }

    /// From milliseconds since the same fixed point.
    pub const fn from_millis(ms: u64) -> Instant {
        Instant { ns: ms * 1_000_000 }
    }

    /// Nanoseconds since the fixed point.
    pub const fn nanos(self) -> u64 {
        self.ns
    }

    /// This much later.
    pub const fn after_millis(self, ms: u64) -> Instant {
        Instant { ns: self.ns.saturating_add(ms.saturating_mul(1_000_000)) }
    }

    /// This much later.
    pub const fn after_seconds(self, seconds: u64) -> Instant {
        Instant { ns: self.ns.saturating_add(seconds.saturating_mul(1_000_000_000)) }
    }

    /// Milliseconds modulo 2^32: what a flow record keeps. Differences are right for 49 days, timeouts are under 2 hours.
    pub const fn wrapping_millis(self) -> u32 {
        (self.ns / 1_000_000) as u32
    }
}
