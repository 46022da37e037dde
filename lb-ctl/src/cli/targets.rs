//! `lbctl targets` and the verbs below it.

use std::time::Duration;

use clap::Subcommand;

use super::{
    Failure,
    drain::{self, DrainArguments},
    health::{self, Look, WAIT_DEFAULT_SECONDS},
    lbd::Lbd,
    output::print,
};
use crate::{
    api::{NewTarget, TargetAddress, TargetChanges, TargetRow},
    show,
};

#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct TargetsArguments {
    /// Only those of this target group
    group: Option<String>,

    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Every target with its health and traffic
    List {
        /// Only those of this target group
        group: Option<String>,
    },
    /// Register targets
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
    /// Deregister targets and wait until their flows have ended, or the deregistration delay is over
    Drain(DrainArguments),
    /// Wait until targets are healthy
    Wait {
        #[command(flatten)]
        targets: Targets,

        /// Give up after this many seconds
        #[arg(long, value_name = "S", default_value_t = WAIT_DEFAULT_SECONDS)]
        timeout: u64,
    },
}

/// Targets of one group.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Targets {
    /// Target group
    pub(super) group: String,

    /// Targets; by default with the group's port
    #[arg(required = true, value_name = "ADDRESS[:PORT]")]
    pub(super) targets: Vec<TargetAddress>,
}

impl TargetsArguments {
    pub(super) fn is_reading(&self) -> bool {
        matches!(self.verb, None | Some(Verb::List { .. }))
    }
}

pub(super) fn run(lbd: &Lbd<'_>, arguments: TargetsArguments) -> Result<(), Failure> {
    match arguments.verb.unwrap_or(Verb::List { group: arguments.group }) {
        Verb::List { group } => list(lbd, group.as_deref()),
        Verb::Register { targets: Targets { group, targets }, weight, zone } => {
            let new = |TargetAddress { address, port }| NewTarget {
                address,
                port,
                weight: Some(weight),
                zone: zone.clone(),
            };
            let register = targets.into_iter().map(new).collect();
            change(lbd, &group, &TargetChanges { register, deregister: Vec::new() })
        }
        Verb::Deregister { targets: Targets { group, targets } } => deregister(lbd, &group, targets),
        Verb::Drain(arguments) => drain::run(lbd, arguments),
        Verb::Wait { targets, timeout } => {
            refuse_strangers(&targets, &lbd.client.targets_of(&targets.group)?)?;
            health::wait(lbd, Some(Duration::from_secs(timeout)), || look(lbd, &targets))
        }
    }
}

fn list(lbd: &Lbd<'_>, group: Option<&str>) -> Result<(), Failure> {
    let rows = match group {
        Some(group) => lbd.client.targets_of(group)?,
        None => lbd.client.targets()?,
    };
    print(lbd.output, &rows, |rows| show::targets(rows, lbd.output.columns()))
}

fn change(lbd: &Lbd<'_>, group: &str, changes: &TargetChanges) -> Result<(), Failure> {
    let before = lbd.generation()?;
    let in_force = lbd.change_targets(group, changes)?;
    print(lbd.output, &in_force, |in_force| match in_force.generation == before {
        true => format!("nothing to change: generation {before}\n"),
        false => show::changed(changes, in_force),
    })
}

/// Tells those apart that were not registered.
fn deregister(lbd: &Lbd<'_>, group: &str, targets: Vec<TargetAddress>) -> Result<(), Failure> {
    let default = lbd.target_group(group)?.port;
    let rows = lbd.client.targets_of(group)?;
    let is_registered = |target: &TargetAddress| {
        let target = target.with_port(default);
        rows.iter().any(|row| row.is_registered() && target.is_of(row))
    };
    let absent: Vec<TargetAddress> =
        targets.iter().filter(|target| !is_registered(target)).cloned().collect();
    let changes = TargetChanges { register: Vec::new(), deregister: targets };
    let in_force = lbd.change_targets(group, &changes)?;
    print(lbd.output, &in_force, |in_force| show::deregistered(&changes.deregister, &absent, in_force))
}

/// Refuses targets that no row is of.
pub(super) fn refuse_strangers(wanted: &Targets, rows: &[TargetRow]) -> Result<(), Failure> {
    let Targets { group, targets } = wanted;
    match targets.iter().find(|target| !rows.iter().any(|row| target.is_of(row))) {
        Some(stranger) => {
            let error = format!("{stranger} is no target of {group}: `lbctl targets {group}` lists them");
            Err(Failure::Refused(error))
        }
        None => Ok(()),
    }
}

fn look(lbd: &Lbd<'_>, wanted: &Targets) -> Result<Look, Failure> {
    let rows = lbd.client.targets_of(&wanted.group)?.into_iter();
    let rows: Vec<TargetRow> = rows
        .filter(|row| row.is_registered() && wanted.targets.iter().any(|target| target.is_of(row)))
        .collect();
    let missing = wanted.targets.iter().filter_map(|target| shortfall(target, &rows)).collect();
    Ok(Look { all: wanted.targets.len(), missing, rows })
}

/// Why a target does not count as healthy, if it does not.
fn shortfall(target: &TargetAddress, rows: &[TargetRow]) -> Option<String> {
    let mut own = rows.iter().filter(|row| target.is_of(row)).peekable();
    if own.peek().is_none() {
        return Some(format!("{target} (not registered)"));
    }
    own.find_map(|row| health::shortfall(row, &target.to_string()))
}
