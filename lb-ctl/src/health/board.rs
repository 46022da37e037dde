//! What the checking thread and its owner share: the latest about every target.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use super::{Cause, Statistics, TargetHealth, TargetKey, Transition};

/// What is known of a checked target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetReport {
    /// State, with the reason for it.
    pub health: TargetHealth,
    /// When the state became this one; a new reason for the same state does not count.
    pub changed: SystemTime,
    /// Checks that succeeded, since this process checks the target.
    pub passed: u64,
    /// Checks that failed by the target's doing.
    pub failed: u64,
    /// The last check that ended.
    pub last_check: Option<LastCheck>,
}

/// One check that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastCheck {
    /// When.
    pub ended: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// How.
    pub outcome: Result<(), Cause>,
}

/// What the roster has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A check ended.
    Checked { key: TargetKey, took: Duration, outcome: Result<(), Cause> },
    /// A state changed.
    Changed(Transition),
}

/// The latest about every target.
#[derive(Default)]
pub(super) struct Board {
    reports: Mutex<HashMap<TargetKey, TargetReport>>,
    restored: Mutex<HashMap<TargetKey, TargetHealth>>,
    statistics: Mutex<Statistics>,
}

impl Board {
    pub(super) fn reports(&self) -> MutexGuard<'_, HashMap<TargetKey, TargetReport>> {
        lock(&self.reports)
    }

    pub(super) fn restored(&self) -> MutexGuard<'_, HashMap<TargetKey, TargetHealth>> {
        lock(&self.restored)
    }

    pub(super) fn statistics(&self) -> MutexGuard<'_, Statistics> {
        lock(&self.statistics)
    }

    /// Knows exactly these targets from now on.
    pub(super) fn register<'a>(&self, keys: impl Iterator<Item = &'a TargetKey>) {
        let now = SystemTime::now();
        let restored = self.restored();
        let mut reports = self.reports();
        let before = std::mem::take(&mut *reports);
        let report = |key| before.get(key).copied().unwrap_or(TargetReport::new(restored.get(key), now));
        *reports = keys.map(|key| (key.clone(), report(key))).collect();
    }

    /// Notes what a target did; gives back the change of state, if there is one that somebody wants to know.
    pub(super) fn note(&self, news: News, now: SystemTime) -> Option<Transition> {
        let mut reports = self.reports();
        match news {
            News::Changed(transition) => {
                reports.get_mut(&transition.key)?.change(transition.to, now);
                Some(transition)
            }
            News::Checked { key, took, outcome } => {
                reports.get_mut(&key)?.count(LastCheck { ended: now, took, outcome });
                None
            }
        }
    }
}

impl TargetReport {
    fn new(restored: Option<&TargetHealth>, now: SystemTime) -> TargetReport {
        let health = restored.copied().unwrap_or(TargetHealth::RegistrationInProgress);
        TargetReport { health, changed: now, passed: 0, failed: 0, last_check: None }
    }

    fn change(&mut self, to: TargetHealth, now: SystemTime) {
        if self.health.state() != to.state() {
            self.changed = now;
        }
        self.health = to;
    }

    fn count(&mut self, check: LastCheck) {
        match check.outcome {
            Ok(()) => self.passed += 1,
            Err(cause) if cause.is_of_this_host() => {}
            Err(_) => self.failed += 1,
        }
        self.last_check = Some(check);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
