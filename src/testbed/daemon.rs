//! What the demo and the tests want to know of a running daemon: whether targets are served, and whether its books balance.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::process::Process;
use lb_ctl::{
    api::{FlowsQuery, Stats, TargetRow},
    client::{Client, ClientError},
};

/// Whether a target gets new flows because it is healthy, not because its group fails open.
pub fn is_serving(row: &TargetRow) -> bool {
    row.state == "healthy" && row.is_eligible && row.is_reachable
}

/// Whether a target gets no new flows, by the tables in force: they follow what its state says a moment later.
pub fn is_avoided(row: &TargetRow) -> bool {
    !row.is_eligible
}

/// Whether all workers go by the tables in force.
///
/// # Errors
/// When the daemon does not answer.
pub fn are_tables_applied(control: &Client) -> Result<bool, ClientError> {
    let status = control.status()?;
    Ok(status.applied_tables_generation >= status.tables_generation)
}

/// Waits until a daemon, given by its control socket and process, has targets, its view of them is as wanted, and all workers go by that.
/// Returns whether that came to be within `patience`.
pub fn wait_until(
    (control, process): (&Client, &mut Process),
    patience: Duration,
    wanted: impl Fn(&[TargetRow]) -> bool,
) -> bool {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline && process.ended().is_ok_and(|ended| ended.is_none()) {
        if control.targets().is_ok_and(|targets| !targets.is_empty() && wanted(&targets))
            && are_tables_applied(control).is_ok_and(|are_applied| are_applied)
        {
            return true;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    false
}

/// The daemon's counters at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Books(pub Stats);

impl Books {
    /// The counters once nothing moves any more, though every worker has looked for more, and they balance: a frame on its way to
    /// another worker has no fate yet. At the latest after `patience`.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn settled(daemon: &Client, patience: Duration) -> Result<Books, ClientError> {
        let deadline = Instant::now() + patience;
        let mut books = Books(daemon.stats()?);
        loop {
            std::thread::sleep(QUIET);
            let have_looked = have_all_turned(daemon)?;
            let later = Books(daemon.stats()?);
            let is_settled = have_looked
                && later.0.received == books.0.received
                && later.0.reasons == books.0.reasons
                && later.balance();
            if is_settled || Instant::now() > deadline {
                return Ok(later);
            }
            books = later;
        }
    }

    /// Whether every frame has exactly one fate.
    pub fn balance(&self) -> bool {
        self.0.balance()
    }
}

impl fmt::Display for Books {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats { received, made, transmitted, replied, dropped, .. } = self.0;
        write!(
            formatter,
            "{received} received + {made} made = {transmitted} transmitted + {replied} replied + {dropped} dropped"
        )?;
        for row in self.0.reasons.iter().filter(|row| row.frames > 0) {
            write!(formatter, "\n{:>10} {:<9} {:<20} {}", row.frames, row.verdict, row.reason, row.help)?;
        }
        Ok(())
    }
}

/// Whether every worker has taken what there was for it since this was called: it does so before it answers a question.
fn have_all_turned(daemon: &Client) -> Result<bool, ClientError> {
    let count = FlowsQuery { count: true, ..FlowsQuery::default() };
    Ok(daemon.flows(&count)?.silent_workers.is_empty())
}

/// Counters that do not change for so long are final.
const QUIET: Duration = Duration::from_millis(200);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
