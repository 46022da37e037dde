//! `lbctl targets` and the verbs below it.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use clap::Subcommand;

use super::{Failure, Format, print};
use crate::{
    api::{NewTarget, TargetAddress, TargetChanges, TargetRow},
    client::Client,
    show,
};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct TargetsArguments {
    /// Only those of this target group
    group: Option<String>,

    #[command(subcommand)]
    verb: Option<TargetsVerb>,
}

#[derive(Debug, Subcommand)]
enum TargetsVerb {
    /// Register targets with a group whose targets do not stand in the file
    Register {
        #[command(flatten)]
        targets: Targets,

        /// Share of new flows in proportion to the group's other targets; 0: none
        #[arg(long, value_name = "N", default_value_t = 1)]
        weight: u16,

        /// Zone that they are in; by default all
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
    },
    /// Deregister targets: no new flows at once, existing ones go on through the deregistration delay
    Deregister {
        #[command(flatten)]
        targets: Targets,
    },
    /// Wait until targets are healthy
    Wait {
        #[command(flatten)]
        targets: Targets,

        /// Give up after this many seconds
        #[arg(long, value_name = "S", default_value_t = WAIT_DEFAULT_SECONDS)]
        timeout: u64,
    },
}

#[derive(Debug, clap::Args)]
struct Targets {
    /// Target group
    group: String,

    /// Targets; by default with the group's port
    #[arg(required = true, value_name = "ADDRESS[:PORT]")]
    targets: Vec<TargetAddress>,
}

pub(super) fn run(client: &Client, output: Format, arguments: TargetsArguments) -> Result<(), Failure> {
    match (arguments.verb, arguments.group) {
        (None, None) => print(output, &client.targets()?, |rows| show::targets(rows)),
        (None, Some(group)) => print(output, &client.targets_of(&group)?, |rows| show::targets(rows)),
        (Some(TargetsVerb::Register { targets: Targets { group, targets }, weight, zone }), _) => {
            let new = |TargetAddress { address, port }| NewTarget {
                address,
                port,
                weight: Some(weight),
                zone: zone.clone(),
            };
            let register = targets.into_iter().map(new).collect();
            change(client, output, &group, TargetChanges { register, deregister: Vec::new() })
        }
        (Some(TargetsVerb::Deregister { targets: Targets { group, targets } }), _) => {
            change(client, output, &group, TargetChanges { register: Vec::new(), deregister: targets })
        }
        (Some(TargetsVerb::Wait { targets, timeout }), _) => {
            wait(client, output, &targets, Duration::from_secs(timeout))
        }
    }
}

fn change(client: &Client, output: Format, group: &str, changes: TargetChanges) -> Result<(), Failure> {
    print(output, &client.change_targets(group, &changes)?, |in_force| show::changed(&changes, in_force))
}

/// Looks again and again until all targets are healthy. Progress goes to standard error, if that is a terminal.
fn wait(client: &Client, output: Format, wanted: &Targets, timeout: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + timeout;
    let is_watched = io::stderr().is_terminal();
    loop {
        let rows = rows_of(client.targets_of(&wanted.group)?, &wanted.targets);
        let missing: Vec<String> =
            wanted.targets.iter().filter_map(|target| shortfall(target, &rows)).collect();
        let (healthy, all) = (wanted.targets.len() - missing.len(), wanted.targets.len());
        if is_watched {
            eprint!("\r\x1b[K{healthy} of {all} healthy");
            io::stderr().flush().map_err(|error| super::unusable(&error))?;
        }
        let is_over = Instant::now() >= deadline;
        if missing.is_empty() || is_over {
            if is_watched {
                eprintln!();
            }
            print(output, &rows, |rows| show::targets(rows))?;
        }
        if missing.is_empty() {
            return Ok(());
        }
        if is_over {
            let waited = timeout.as_secs();
            return Err(Failure::Refused(format!("not healthy after {waited} s: {}", missing.join(", "))));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn rows_of(rows: Vec<TargetRow>, wanted: &[TargetAddress]) -> Vec<TargetRow> {
    let is_wanted = |row: &TargetRow| is_registered(row) && wanted.iter().any(|target| is_of(target, row));
    rows.into_iter().filter(is_wanted).collect()
}

/// Those that are deregistered have no weight.
fn is_registered(row: &TargetRow) -> bool {
    row.weight.is_some()
}

/// A target named without a port is each registered one of its group with that address.
fn is_of(target: &TargetAddress, row: &TargetRow) -> bool {
    target.address == row.target.ip() && target.port.is_none_or(|port| port == row.target.port())
}

/// Why a target does not count as healthy, if it does not.
fn shortfall(target: &TargetAddress, rows: &[TargetRow]) -> Option<String> {
    let mut own = rows.iter().filter(|row| is_of(target, row)).peekable();
    if own.peek().is_none() {
        return Some(format!("{target} (not registered)"));
    }
    let row = own.find(|row| row.state != HEALTHY)?;
    let why = row.description.as_ref().map_or(String::new(), |description| format!(": {description}"));
    Some(format!("{target} ({}{why})", row.state))
}

const HEALTHY: &str = "healthy";

/// `lbctl targets wait` gives up after this long, in seconds, if nothing else is said.
const WAIT_DEFAULT_SECONDS: u64 = 60;

/// Time between two looks at the targets.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
