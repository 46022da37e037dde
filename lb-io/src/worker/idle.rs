//! What a worker without traffic does until there is some. Used by `worker`. Pure: it is told what time it is.
//!
//! A sleeper sees a frame some 20 us later than one that looks for it all the time. So adaptive polling looks for as long as
//! pauses in traffic have lasted lately, if that is not too long, as KVM polls before it halts a processor. Between two looks it
//! lets others have the core, whom it would starve where clients and targets run beside it.

use lb_core::time::Instant;

use crate::engine::Polling;

/// What to do after a turn that moved nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Take the next turn at once.
    Spin,
    /// Take it when others that want the core have had it.
    Yield,
    /// Sleep until there is traffic.
    Sleep,
}

/// What a worker knows of pauses in its traffic.
#[derive(Debug)]
pub(super) struct Idle {
    polling: Polling,
    /// When frames were last moved.
    last_traffic: Instant,
    /// Adaptive polling sleeps after this long, in nanoseconds.
    patience_ns: u64,
}

impl Idle {
    /// Of a worker that begins at `now`.
    pub(super) fn new(polling: Polling, now: Instant) -> Idle {
        Idle { polling, last_traffic: now, patience_ns: PATIENCE_LEAST_NS }
    }

    /// Says that frames were moved at `now`. A pause that could have been waited for makes the next one be waited for; longer
    /// ones make it give up by and by.
    #[inline]
    pub(super) fn end(&mut self, now: Instant) {
        let is_short = self.idle_ns(now) <= PATIENCE_MOST_NS;
        self.patience_ns =
            if is_short { PATIENCE_MOST_NS } else { (self.patience_ns / 2).max(PATIENCE_LEAST_NS) };
        self.last_traffic = now;
    }

    /// What to do at `now`, without traffic.
    #[inline]
    pub(super) fn rest(&self, now: Instant) -> Rest {
        match self.polling {
            Polling::Busy => Rest::Spin,
            Polling::Adaptive if self.idle_ns(now) < self.patience_ns => Rest::Yield,
            Polling::Adaptive | Polling::Interrupt => Rest::Sleep,
        }
    }

    fn idle_ns(&self, now: Instant) -> u64 {
        now.nanos().saturating_sub(self.last_traffic.nanos())
    }
}

/// Adaptive polling waits for traffic at least for this long before it sleeps, in nanoseconds.
const PATIENCE_LEAST_NS: u64 = 50_000;
/// Adaptive polling waits for traffic at most for this long: more than 2,000 frames a second never find it asleep.
const PATIENCE_MOST_NS: u64 = 500_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u64) -> Instant {
        Instant::from_nanos(us * 1_000)
    }

    /// After how long a worker sleeps that had traffic at these times, in microseconds.
    fn sleeps_after_us(polling: Polling, traffic_us: &[u64]) -> Option<u64> {
        let mut idle = Idle::new(polling, at(0));
        for &time_us in traffic_us {
            idle.end(at(time_us));
        }
        let last = traffic_us.last().copied().unwrap_or(0);
        (0..10_000).find(|pause_us| idle.rest(at(last + pause_us)) == Rest::Sleep)
    }

    #[test]
    fn only_adaptive_polling_looks_at_the_pause() {
        assert_eq!(sleeps_after_us(Polling::Busy, &[]), None);
        assert_eq!(sleeps_after_us(Polling::Interrupt, &[10, 20, 30]), Some(0));
    }

    #[test]
    fn pauses_that_end_soon_are_waited_for() {
        assert_eq!(sleeps_after_us(Polling::Adaptive, &[]), Some(50));
        assert_eq!(sleeps_after_us(Polling::Adaptive, &[10_000]), Some(50));
        assert_eq!(sleeps_after_us(Polling::Adaptive, &[10_000, 10_499]), Some(500));
    }

    #[test]
    fn long_pauses_make_it_give_up_by_and_by() {
        let mut traffic_us = vec![10_000, 10_100, 20_000];
        assert_eq!(sleeps_after_us(Polling::Adaptive, &traffic_us), Some(250));
        traffic_us.extend([30_000, 40_000, 50_000]);
        assert_eq!(sleeps_after_us(Polling::Adaptive, &traffic_us), Some(50));
    }
}
