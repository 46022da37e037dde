//! The state of one checked target: outcomes of checks in, state out. Pure; the roster keeps the time.
//!
//! ```text
//! RegistrationInProgress --first check begins--> InitialHealthChecking
//!        any success  -----------------------------> Healthy      (a new target needs one success only)
//!        failures = unhealthy threshold -----------> Unhealthy
//! Healthy:   failures in a row = unhealthy threshold -> UnhealthyDraining for the draining interval, then Unhealthy
//! UnhealthyDraining, Unhealthy: successes in a row = healthy threshold -> Healthy
//! any: checks in a row that could not be made = unhealthy threshold -> Unavailable, or Unhealthy if it was that
//! Unavailable: any success -> Healthy; failures as before
//! ```

use std::time::{Duration, Instant};

use super::{Cause, TargetHealth};

/// Outcomes in a row that change a target's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Successes that make an unhealthy target healthy.
    pub healthy: u8,
    /// Failures that make a target unhealthy.
    pub unhealthy: u8,
}

/// What one target's state follows from, besides outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) thresholds: Thresholds,
    /// Zero: there is no `unhealthy.draining`.
    pub(super) draining_interval: Duration,
}

/// One target's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    health: TargetHealth,
    /// Outcomes in a row that speak against the state.
    against: u8,
    /// Checks in a row that could not be made.
    unmade: u8,
    /// When `UnhealthyDraining` is over.
    drained: Option<Instant>,
}

impl Machine {
    /// A target just registered.
    pub(super) const fn new() -> Machine {
        Machine::of(TargetHealth::RegistrationInProgress)
    }

    /// A target in a state that is known already.
    pub(super) const fn of(health: TargetHealth) -> Machine {
        Machine { health, against: 0, unmade: 0, drained: None }
    }

    const fn draining(cause: Cause, until: Instant) -> Machine {
        Machine { drained: Some(until), ..Machine::of(TargetHealth::UnhealthyDraining(cause)) }
    }

    pub(super) const fn health(&self) -> TargetHealth {
        self.health
    }

    /// When to call [`Machine::drain`]; `None`: there is nothing to drain.
    pub(super) const fn drained(&self) -> Option<Instant> {
        self.drained
    }

    /// A check begins.
    pub(super) fn begin(&mut self) {
        if self.health == TargetHealth::RegistrationInProgress {
            self.health = TargetHealth::InitialHealthChecking;
        }
    }

    /// A check ended: moves to the state that follows.
    pub(super) fn apply(&mut self, outcome: Result<(), Cause>, rules: Rules, now: Instant) {
        self.drain(now);
        match outcome {
            Err(cause) if cause.is_of_this_host() => self.unmade(cause, rules.thresholds),
            Ok(()) => self.succeeded(rules.thresholds),
            Err(cause) => self.failed(cause, rules, now),
        }
    }

    /// `UnhealthyDraining` lasts for no longer than this from now on; zero: it is over.
    pub(super) fn shorten_draining(&mut self, interval: Duration, now: Instant) {
        self.drained = self.drained.map(|drained| drained.min(now + interval));
        self.drain(now);
    }

    /// Ends `UnhealthyDraining` when its time is over.
    pub(super) fn drain(&mut self, now: Instant) {
        if let TargetHealth::UnhealthyDraining(cause) = self.health
            && self.drained.is_some_and(|drained| drained <= now)
        {
            self.health = TargetHealth::Unhealthy(cause);
            self.drained = None;
        }
    }

    fn succeeded(&mut self, thresholds: Thresholds) {
        self.unmade = 0;
        let needed = if self.health.is_unhealthy() { thresholds.healthy } else { 1 };
        if self.health == TargetHealth::Healthy {
            self.against = 0;
        } else if self.counts_against(needed) {
            *self = Machine::of(TargetHealth::Healthy);
        }
    }

    fn failed(&mut self, cause: Cause, rules: Rules, now: Instant) {
        self.unmade = 0;
        let drains = self.health.gets_new_flows() && !rules.draining_interval.is_zero();
        if let TargetHealth::UnhealthyDraining(_) = self.health {
            self.against = 0;
            self.health = TargetHealth::UnhealthyDraining(cause);
        } else if self.health.is_unhealthy() {
            *self = Machine::of(TargetHealth::Unhealthy(cause));
        } else if self.counts_against(rules.thresholds.unhealthy) {
            *self = match drains {
                true => Machine::draining(cause, now + rules.draining_interval),
                false => Machine::of(TargetHealth::Unhealthy(cause)),
            };
        }
    }

    fn unmade(&mut self, cause: Cause, thresholds: Thresholds) {
        self.unmade = self.unmade.saturating_add(1);
        if self.unmade < thresholds.unhealthy {
            return;
        }
        self.health = match self.health {
            TargetHealth::Unhealthy(_) => TargetHealth::Unhealthy(cause),
            TargetHealth::UnhealthyDraining(_) => self.health,
            TargetHealth::Unavailable { was_healthy, .. } => TargetHealth::Unavailable { was_healthy, cause },
            health => TargetHealth::Unavailable { was_healthy: health == TargetHealth::Healthy, cause },
        };
    }

    /// Counts an outcome that speaks against the state; tells whether they are as many as needed.
    fn counts_against(&mut self, needed: u8) -> bool {
        self.against = self.against.saturating_add(1);
        self.against >= needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row: outcomes (s success, r refused, t timeout, c code 500, o could not be made; `.` a second passes), and
    /// the states after each: I initial health checking, H healthy; U unhealthy and D draining, with the outcome that led
    /// there; A unavailable, of a target that was healthy, a of one that was not.
    const ROWS: &[(&str, &str)] = &[
        // A new target: one success admits it, the unhealthy threshold rejects it, without draining.
        ("s", "H"),
        ("rs", "I H"),
        ("rr", "I Ur"),
        ("tt", "I Ut"),
        ("cc", "I Uc"),
        ("rt", "I Ut"),
        // A healthy target: failures in a row.
        ("srsrr", "H H H H Dr"),
        ("srt", "H H Dt"),
        // An unhealthy one: successes in a row; its reason is the last failure's.
        ("rrsss", "I Ur Ur Ur H"),
        ("rrssrsss", "I Ur Ur Ur Ur Ur Ur H"),
        ("rrtc", "I Ur Ut Uc"),
        // Draining: three seconds, or until it recovers.
        ("srr..r.r", "H H Dr Dr Dr Dr Ur Ur"),
        ("srr...", "H H Dr Dr Dr Ur"),
        ("srr.sss", "H H Dr Dr Dr Dr H"),
        ("srrssr.sss.", "H H Dr Dr Dr Dr Dr Dr Dr H H"),
        ("srr...sss", "H H Dr Dr Dr Ur Ur Ur H"),
        // Checks that could not be made.
        ("oo", "I a"),
        ("oos", "I a H"),
        ("oorr", "I a a Ur"),
        ("soos", "H H A H"),
        ("soorr", "H H A A Dr"),
        ("sosoros", "H H H H H H H"),
        ("soro", "H H H H"),
        ("sror", "H H H Dr"),
        ("rroorsss", "I Ur Ur Uo Ur Ur Ur H"),
        ("rrooso", "I Ur Ur Uo Uo Uo"),
        ("srroo...", "H H Dr Dr Dr Dr Dr Ur"),
    ];

    const RULES: Rules = Rules {
        thresholds: Thresholds { healthy: 3, unhealthy: 2 },
        draining_interval: Duration::from_secs(3),
    };

    fn letter(cause: Cause) -> char {
        match cause {
            Cause::Timeout => 't',
            Cause::Code(_) => 'c',
            Cause::Internal => 'o',
            _ => 'r',
        }
    }

    fn word(health: TargetHealth) -> String {
        match health {
            TargetHealth::InitialHealthChecking => "I".into(),
            TargetHealth::Healthy => "H".into(),
            TargetHealth::Unhealthy(cause) => format!("U{}", letter(cause)),
            TargetHealth::UnhealthyDraining(cause) => format!("D{}", letter(cause)),
            TargetHealth::Unavailable { was_healthy: true, .. } => "A".into(),
            TargetHealth::Unavailable { was_healthy: false, .. } => "a".into(),
            other => panic!("{other:?} is no state of a checked target"),
        }
    }

    fn states(outcomes: &str, rules: Rules) -> String {
        let mut now = Instant::now();
        let mut machine = Machine::new();
        machine.begin();
        let after = outcomes.chars().map(|outcome| {
            match outcome {
                's' => machine.apply(Ok(()), rules, now),
                'r' => machine.apply(Err(Cause::Refused), rules, now),
                't' => machine.apply(Err(Cause::Timeout), rules, now),
                'c' => machine.apply(Err(Cause::Code(500)), rules, now),
                'o' => machine.apply(Err(Cause::Internal), rules, now),
                _ => {
                    now += Duration::from_secs(1);
                    machine.drain(now);
                }
            }
            word(machine.health())
        });
        after.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn outcomes_lead_to_states() {
        for (outcomes, expected) in ROWS {
            assert_eq!(&states(outcomes, RULES), expected, "after {outcomes}");
        }
    }

    #[test]
    fn without_an_interval_nothing_drains() {
        let rules = Rules { draining_interval: Duration::ZERO, ..RULES };
        for (outcomes, expected) in ROWS.iter().filter(|(outcomes, _)| !outcomes.contains('.')) {
            assert_eq!(states(outcomes, rules), expected.replace('D', "U"), "after {outcomes}");
        }
    }

    #[test]
    fn a_shorter_interval_ends_draining_sooner() {
        let now = Instant::now();
        for (interval_ms, is_draining) in [(9_000, true), (1_000, true), (0, false)] {
            let mut machine = Machine::draining(Cause::Refused, now + Duration::from_secs(3));
            machine.shorten_draining(Duration::from_millis(interval_ms), now);
            assert_eq!(machine.health() == TargetHealth::UnhealthyDraining(Cause::Refused), is_draining);
            machine.drain(now + Duration::from_millis(interval_ms.min(3_000)));
            assert_eq!(machine.health(), TargetHealth::Unhealthy(Cause::Refused), "{interval_ms} ms");
        }
    }

    #[test]
    fn a_first_check_changes_the_reason_only() {
        let mut machine = Machine::new();
        assert_eq!(machine.health(), TargetHealth::RegistrationInProgress);
        machine.begin();
        assert_eq!(machine.health(), TargetHealth::InitialHealthChecking);
        let mut known = Machine::of(TargetHealth::Healthy);
        known.begin();
        assert_eq!(known.health(), TargetHealth::Healthy);
    }
}
