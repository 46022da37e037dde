//! Requests that were refused because of who asks: told in the log, many as one, so that a flood cannot fill it. What the control
//! thread refuses is told there.

use std::{
    fmt::Display,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::sleep;

use crate::server::counts::Tally;

/// Those since the start, and where they are told.
pub(super) struct Refusals {
    log: Box<dyn Fn(String) + Send + Sync>,
    strangers: Row,
    forbidden: Row,
}

/// Refusals of one kind.
#[derive(Default)]
struct Row {
    tally: Tally,
    told: AtomicU64,
}

impl Refusals {
    pub(super) fn new(log: impl Fn(String) + Send + Sync + 'static) -> Refusals {
        Refusals { log: Box::new(log), strangers: Row::default(), forbidden: Row::default() }
    }

    /// Somebody who did not prove by a signature who it is.
    pub(super) fn note_stranger(&self, who: impl Display) {
        self.strangers.tally.note(who);
    }

    /// A client who asked for a change that it may not make.
    pub(super) fn note_forbidden(&self, who: impl Display) {
        self.forbidden.tally.note(who);
    }

    /// Tells of them for ever.
    pub(super) async fn keep(&self) {
        loop {
            sleep(SUM_INTERVAL).await;
            self.sum_up();
        }
    }

    /// One line for all of one kind since the last one.
    pub(super) fn sum_up(&self) {
        let rows = [
            (&self.strangers, "requests to the ELBv2 endpoint for want of a valid signature"),
            (&self.forbidden, "changes by clients of the ELBv2 endpoint who may only read"),
        ];
        for (Row { tally, told }, what) in rows {
            let count = tally.count();
            let new = count - told.swap(count, Relaxed);
            if new > 0 {
                (self.log)(format!("audit: {}: refused: {new} {what}", tally.last()));
            }
        }
    }
}

/// How often refusals are summed up.
const SUM_INTERVAL: Duration = Duration::from_secs(1);
