//! How many answers of its own a worker may give. Each kind has a budget, so that a flood which draws one kind leaves the others
//! alone: above all "packet too big", which path MTU discovery waits for. Asked by `reply`, `hit` and `purge`.

use crate::{limits, rewrite::complaint::Complaint, time::Instant};

/// The budgets of one worker.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    /// Of resets.
    pub(super) resets: Budget,
    /// Of segments for the sides of flows that were cut.
    pub(super) probes: Budget,
    time_exceeded: Budget,
    too_big: Budget,
    parameter_problem: Budget,
}

impl Budgets {
    /// That of ICMP errors of a kind.
    pub(super) fn of(&mut self, complaint: Complaint) -> &mut Budget {
        match complaint {
            Complaint::TimeExceeded => &mut self.time_exceeded,
            Complaint::TooBig { .. } => &mut self.too_big,
            Complaint::ParameterProblem { .. } => &mut self.parameter_problem,
        }
    }
}

/// A token bucket (RFC 4443 section 2.4 (f)).
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// When the bucket will be full, if nothing is taken until then, in nanoseconds of the worker's clock.
    full_at_ns: u64,
}

impl Budget {
    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let full_at_ns = self.full_at_ns.max(now.nanos()).saturating_add(NANOS_PER_REPLY);
        let has_token = full_at_ns - now.nanos() <= NANOS_PER_SECOND;
        if has_token {
            self.full_at_ns = full_at_ns;
        }
        has_token
    }
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const NANOS_PER_REPLY: u64 = NANOS_PER_SECOND / limits::REPLIES_PER_SECOND as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_full_at_first_and_refills_evenly() {
        let mut budget = Budget::default();
        let mut given = |micros: u64| {
            (0..2 * limits::REPLIES_PER_SECOND)
                .filter(|_| budget.take(Instant::from_nanos(micros * 1_000)))
                .count()
        };
        assert_eq!(given(5_000_000), 10_000);
        assert_eq!((given(5_000_099), given(5_000_100)), (0, 1));
        assert_eq!((given(5_001_099), given(5_500_100)), (9, 4_991));
        assert_eq!(given(90_000_000), 10_000, "no more is saved up");
        assert_eq!(given(89_000_000), 0, "nor is anything given where the clock goes back");
    }
}
