//! `lbctl health`, and how health is waited for.

use std::time::{Duration, Instant};

use super::{Failure, lbd::Lbd, output::print, progress::Progress};
use crate::{api::TargetRow, show};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct HealthArguments {
    /// Target group; by default all, but for targets that are out of use
    group: Option<String>,

    /// Wait until all are healthy
    #[arg(long)]
    wait: bool,

    /// Give up waiting after this many seconds
    #[arg(long, value_name = "S", default_value_t = WAIT_DEFAULT_SECONDS, requires = "wait")]
    timeout: u64,
}

impl HealthArguments {
    pub(super) fn is_reading(&self) -> bool {
        !self.wait
    }
}

/// What a look at targets found.
pub(super) struct Look {
    /// Those looked at.
    pub(super) rows: Vec<TargetRow>,
    /// How many there should be.
    pub(super) all: usize,
    /// Each that is not healthy, with its state.
    pub(super) missing: Vec<String>,
}

pub(super) fn run(lbd: &Lbd<'_>, arguments: &HealthArguments) -> Result<(), Failure> {
    let timeout = arguments.wait.then_some(Duration::from_secs(arguments.timeout));
    wait(lbd, timeout, || match &arguments.group {
        Some(group) => look_at_group(lbd, group),
        None => look_at_all(lbd),
    })
}

/// Looks until nothing is missing, or time is over; once without a timeout. Progress goes to standard error.
pub(super) fn wait(
    lbd: &Lbd<'_>,
    timeout: Option<Duration>,
    look: impl Fn() -> Result<Look, Failure>,
) -> Result<(), Failure> {
    let deadline = Instant::now() + timeout.unwrap_or_default();
    let mut progress = Progress::new();
    let mut found = Some(look()?);
    loop {
        let Some(Look { rows, all, missing }) = found else {
            progress.tell("lbd is away, asking again")?;
            std::thread::sleep(LOOK_AGAIN);
            found = look_again(&look, deadline)?;
            continue;
        };
        if missing.is_empty() || Instant::now() >= deadline {
            progress.end();
            print(lbd.output, &rows, |rows| show::targets(rows, lbd.output.columns()))?;
            return verdict(missing, timeout);
        }
        progress.tell(&format!("{} of {all} healthy, not: {}", all - missing.len(), some_of(&missing)))?;
        std::thread::sleep(LOOK_AGAIN);
        found = look_again(&look, deadline)?;
    }
}

/// Looks; `None` where the daemon is away and there is time for it to come back.
fn look_again(look: impl Fn() -> Result<Look, Failure>, deadline: Instant) -> Result<Option<Look>, Failure> {
    match look() {
        Err(Failure::Away(_)) if Instant::now() < deadline => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// Why a target does not count as healthy, if it does not.
pub(super) fn shortfall(row: &TargetRow, name: &str) -> Option<String> {
    let why = row.description.as_ref().map_or(String::new(), |description| format!(": {description}"));
    (row.state != HEALTHY).then(|| format!("{name} ({}{why})", row.state))
}

fn look_at_group(lbd: &Lbd<'_>, group: &str) -> Result<Look, Failure> {
    let rows = lbd.client.targets_of(group)?;
    let rows: Vec<TargetRow> = rows.into_iter().filter(TargetRow::is_registered).collect();
    if rows.is_empty() {
        return Ok(Look { rows, all: 1, missing: vec![format!("{group} (no target is registered)")] });
    }
    let missing = rows.iter().filter_map(|row| shortfall(row, &row.target.to_string())).collect();
    Ok(Look { all: rows.len(), missing, rows })
}

fn look_at_all(lbd: &Lbd<'_>) -> Result<Look, Failure> {
    let rows = lbd.client.targets()?.into_iter();
    let rows: Vec<TargetRow> = rows.filter(|row| row.is_registered() && row.state != UNUSED).collect();
    let name = |row: &TargetRow| format!("{}/{}", row.target_group, row.target);
    let missing = rows.iter().filter_map(|row| shortfall(row, &name(row))).collect();
    Ok(Look { all: rows.len(), missing, rows })
}

fn verdict(missing: Vec<String>, timeout: Option<Duration>) -> Result<(), Failure> {
    let waited = timeout.map_or(String::new(), |timeout| format!(" after {} s", timeout.as_secs()));
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Failure::Refused(format!("not healthy{waited}: {}", some_of(&missing)))),
    }
}

/// The first of them, and how many more there are.
fn some_of(names: &[String]) -> String {
    match names.len().checked_sub(NAMES_TOLD) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..NAMES_TOLD].join(", ")),
    }
}

const HEALTHY: &str = "healthy";
const UNUSED: &str = "unused";

/// Whoever waits gives up after this long, in seconds, if nothing else is said.
pub(super) const WAIT_DEFAULT_SECONDS: u64 = 60;

/// Time between two looks at the targets.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(100);

const NAMES_TOLD: usize = 5;
