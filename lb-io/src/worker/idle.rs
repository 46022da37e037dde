//! How long a worker without traffic spins before it sleeps. Used by `worker`. Pure: it is told what time it is.
//!
//! A sleep costs a wake-up, some 20 us later than a spinning worker would have seen the frame. So adaptive polling spins
//! for as long as traffic lately has paused, as long as that is not too long; as KVM polls before it halts a processor.

use lb_core::time::Instant;

use crate::engine::Polling;

/// What a worker knows of pauses in its traffic.
#[derive(Debug)]
pub(super) struct Idle {
    polling: Polling,
    /// When frames were last moved.
    last_traffic: Instant,
    /// Adaptive polling spins for this long, in nanoseconds.
    spin_ns: u64,
}

impl Idle {
    /// Of a worker that begins at `now`.
    pub(super) fn new(polling: Polling, now: Instant) -> Idle {
        Idle { polling, last_traffic: now, spin_ns: SPIN_LEAST_NS }
    }

    /// Says that frames were moved at `now`. A pause that spinning could have bridged makes the next one be bridged; after
    /// longer ones spinning is given up by and by.
    #[inline]
    pub(super) fn end(&mut self, now: Instant) {
        let is_bridged = self.idle_ns(now) <= SPIN_MOST_NS;
        self.spin_ns = if is_bridged { SPIN_MOST_NS } else { (self.spin_ns / 2).max(SPIN_LEAST_NS) };
        self.last_traffic = now;
    }

    /// Whether it is time to sleep.
    #[inline]
    pub(super) fn is_over(&self, now: Instant) -> bool {
        match self.polling {
            Polling::Busy => false,
            Polling::Adaptive => self.idle_ns(now) >= self.spin_ns,
            Polling::Interrupt => true,
        }
    }

    fn idle_ns(&self, now: Instant) -> u64 {
        now.nanos().saturating_sub(self.last_traffic.nanos())
    }
}

/// Shortest time of spinning, in nanoseconds: for traffic that comes at most a few hundred times a second.
const SPIN_LEAST_NS: u64 = 50_000;
/// Longest time of spinning, in nanoseconds: traffic that comes more than 2,000 times a second never finds a sleeper.
const SPIN_MOST_NS: u64 = 500_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u64) -> Instant {
        Instant::from_nanos(us * 1_000)
    }

    /// How long a worker spins after traffic at these times, in microseconds.
    fn spins_for(polling: Polling, traffic_us: &[u64]) -> Option<u64> {
        let mut idle = Idle::new(polling, at(0));
        for &time_us in traffic_us {
            idle.end(at(time_us));
        }
        let last = traffic_us.last().copied().unwrap_or(0);
        (0..10_000).find(|pause_us| idle.is_over(at(last + pause_us)))
    }

    #[test]
    fn only_adaptive_polling_looks_at_the_pause() {
        assert_eq!(spins_for(Polling::Busy, &[]), None);
        assert_eq!(spins_for(Polling::Interrupt, &[10, 20, 30]), Some(0));
    }

    #[test]
    fn pauses_that_spinning_can_bridge_are_bridged() {
        assert_eq!(spins_for(Polling::Adaptive, &[]), Some(50));
        assert_eq!(spins_for(Polling::Adaptive, &[10_000]), Some(50));
        assert_eq!(spins_for(Polling::Adaptive, &[10_000, 10_499]), Some(500));
    }

    #[test]
    fn long_pauses_make_it_give_up_by_and_by() {
        let mut traffic_us = vec![10_000, 10_100, 20_000];
        assert_eq!(spins_for(Polling::Adaptive, &traffic_us), Some(250));
        traffic_us.extend([30_000, 40_000, 50_000]);
        assert_eq!(spins_for(Polling::Adaptive, &traffic_us), Some(50));
    }
}
