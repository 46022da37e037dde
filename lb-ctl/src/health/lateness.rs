//! How late checks begin, as the roster counts it.

use std::time::Duration;

/// How punctual the checks are, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Checks begun.
    pub checks: u64,
    /// Begun again, uncounted, because this process had stood still.
    pub repeated: u64,
    /// How much later than planned the latest check began.
    pub latest_lateness: Duration,
    /// The most that any did.
    pub worst_lateness: Duration,
    /// Checks by their lateness: element `n` counts those of less than 2^n us that no element before it counts.
    lateness: [u64; CLASSES],
}

impl Statistics {
    pub(super) fn count(&mut self, lateness: Duration) {
        self.checks += 1;
        self.latest_lateness = lateness;
        self.worst_lateness = self.worst_lateness.max(lateness);
        let class = u128::BITS - lateness.as_micros().leading_zeros();
        self.lateness[(class as usize).min(CLASSES - 1)] += 1;
    }

    /// A bound that this share of all checks were less late than, to a factor of two; zero before the first check.
    pub fn lateness_of(&self, share: f64) -> Duration {
        let wanted = (self.checks as f64 * share).ceil() as u64;
        let mut counted = 0;
        for (class, count) in self.lateness.iter().enumerate() {
            counted += count;
            if counted >= wanted && wanted > 0 {
                return Duration::from_micros(1 << class).min(self.worst_lateness);
            }
        }
        self.worst_lateness
    }
}

/// The last class takes everything from 2^30 us, a quarter of an hour, on.
const CLASSES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_checks_is_bounded_by_a_power_of_two() {
        let mut statistics = Statistics::default();
        assert_eq!(statistics.lateness_of(0.99), Duration::ZERO);
        for us in 1..=100 {
            statistics.count(Duration::from_micros(us));
        }
        assert_eq!(statistics.lateness_of(0.5), Duration::from_micros(64));
        assert_eq!(statistics.lateness_of(1.0), Duration::from_micros(100));
        statistics.count(Duration::MAX);
        assert_eq!((statistics.checks, statistics.worst_lateness), (101, Duration::MAX));
    }
}
