//! The state of one checked target: check outcomes in, state out. Pure; the checker keeps the time.
//!
//! ```text
//! RegistrationInProgress --first check begins--> InitialHealthChecking
//!        any success  ------------------------------> Healthy      (a new target needs one success only)
//!        failures = unhealthy threshold ------------> Unhealthy
//! Healthy:   failures in a row = unhealthy threshold -> Unhealthy
//! Unhealthy: successes in a row = healthy threshold --> Healthy
//! ```

use super::TargetHealth;

/// How one check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target accepted.
    Success,
    /// It refused, or the way to it failed.
    Failure,
    /// It did not answer in time.
    Timeout,
}

/// Outcomes in a row that change a target's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Successes that make an unhealthy target healthy.
    pub healthy: u8,
    /// Failures that make a target unhealthy.
    pub unhealthy: u8,
}

/// One target's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    health: TargetHealth,
    /// Outcomes in a row that speak against the state.
    against: u8,
}

impl Machine {
    /// A target just registered.
    pub const fn new() -> Machine {
        Machine { health: TargetHealth::RegistrationInProgress, against: 0 }
    }

    /// A target whose last known state is taken over from an earlier run.
    pub const fn restored(health: TargetHealth) -> Machine {
        Machine { health, against: 0 }
    }

    /// The state.
    pub const fn health(&self) -> TargetHealth {
        self.health
    }

    /// A check begins.
    pub fn begin(&mut self) {
        if self.health == TargetHealth::RegistrationInProgress {
            self.health = TargetHealth::InitialHealthChecking;
        }
    }

    /// A check ended: moves to the state that follows.
    pub fn apply(&mut self, outcome: Outcome, thresholds: Thresholds) {
        let is_against = match outcome {
            Outcome::Success => self.health != TargetHealth::Healthy,
            Outcome::Failure | Outcome::Timeout => !self.health.is_unhealthy(),
        };
        if !is_against {
            self.against = 0;
            return;
        }
        self.against = self.against.saturating_add(1);
        let (next, needed) = match outcome {
            Outcome::Success if self.health.is_unhealthy() => (TargetHealth::Healthy, thresholds.healthy),
            Outcome::Success => (TargetHealth::Healthy, 1),
            Outcome::Failure => (TargetHealth::FailedHealthChecks, thresholds.unhealthy),
            Outcome::Timeout => (TargetHealth::Timeout, thresholds.unhealthy),
        };
        if self.against >= needed {
            *self = Machine::restored(next);
        }
    }
}

impl Default for Machine {
    fn default() -> Machine {
        Machine::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row: outcomes (s success, f failure, t timeout), and the states after each (i, H, F failed, T timed out).
    const ROWS: &[(&str, &str)] = &[
        ("s", "H"),
        ("fs", "iH"),
        ("ff", "iF"),
        ("tt", "iT"),
        ("ft", "iT"),
        ("tf", "iF"),
        ("sff", "HHF"),
        ("sfsff", "HHHHF"),
        ("sftfs", "HHTTT"),
        ("ffsss", "iFFFH"),
        ("ffssfsss", "iFFFFFFH"),
        ("ffft", "iFFF"),
        ("ffssssff", "iFFFHHHF"),
    ];

    #[test]
    fn outcomes_lead_to_states() {
        let thresholds = Thresholds { healthy: 3, unhealthy: 2 };
        for (outcomes, states) in ROWS {
            let mut machine = Machine::new();
            machine.begin();
            let mut seen = String::new();
            for outcome in outcomes.chars() {
                let outcome = match outcome {
                    's' => Outcome::Success,
                    'f' => Outcome::Failure,
                    _ => Outcome::Timeout,
                };
                machine.apply(outcome, thresholds);
                seen.push(match machine.health() {
                    TargetHealth::Healthy => 'H',
                    TargetHealth::FailedHealthChecks => 'F',
                    TargetHealth::Timeout => 'T',
                    _ => 'i',
                });
            }
            assert_eq!(&seen, states, "after {outcomes}");
        }
    }

    #[test]
    fn a_first_check_changes_the_reason_only() {
        let mut machine = Machine::new();
        assert_eq!(machine.health(), TargetHealth::RegistrationInProgress);
        machine.begin();
        assert_eq!(machine.health(), TargetHealth::InitialHealthChecking);
        let mut restored = Machine::restored(TargetHealth::Healthy);
        restored.begin();
        assert_eq!(restored.health(), TargetHealth::Healthy);
    }
}
