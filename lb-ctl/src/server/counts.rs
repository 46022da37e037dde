//! Who came, and who was refused why.

use std::{
    fmt::Display,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::api::ApiTraffic;

/// Of all since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) accepted: Tally,
    pub(super) strangers: Tally,
    pub(super) crowded: Tally,
    pub(super) forbidden: Tally,
    pub(super) failed: Tally,
}

impl Counts {
    pub(super) fn read(&self) -> ApiTraffic {
        ApiTraffic {
            accepted: self.accepted.count(),
            refused_access: self.strangers.count(),
            refused_busy: self.crowded.count(),
            refused_changes: self.forbidden.count(),
            accept_errors: self.failed.count(),
        }
    }
}

/// How many, and who was the last.
#[derive(Debug, Default)]
pub(super) struct Tally {
    count: AtomicU64,
    last: Mutex<String>,
}

impl Tally {
    /// One more.
    pub(super) fn note(&self, who: impl Display) {
        self.count.fetch_add(1, Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = who.to_string();
    }

    fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Who was the last.
    pub(super) fn last(&self) -> String {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
