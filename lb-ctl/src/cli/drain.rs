//! `lbctl drain`: deregisters targets, and waits for their flows.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    Failure,
    health::LOOK_AGAIN,
    lbd::Lbd,
    output::print,
    progress::Progress,
    targets::{Targets, refuse_strangers},
};
use crate::{
    api::{TargetAddress, TargetChanges, TargetRow},
    show::text::plural,
};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct DrainArguments {
    #[command(flatten)]
    targets: Targets,

    /// Give up after this many seconds; by default wait for as long as the deregistration delay
    #[arg(long, value_name = "S")]
    timeout: Option<u64>,
}

/// What is left of a target.
#[derive(Serialize)]
struct Remnant {
    target: String,
    /// 0: they have ended. More: the deregistration delay is over, and they go on or are being cut, as the target group's
    /// attributes say.
    active_flows: u64,
}

pub(super) fn run(lbd: &Lbd<'_>, arguments: DrainArguments) -> Result<(), Failure> {
    let Targets { group, targets } = arguments.targets;
    let default = lbd.target_group(&group)?.port;
    let targets =
        Targets { targets: targets.iter().map(|target| target.with_port(default)).collect(), group };
    refuse_strangers(&targets, &lbd.client.targets_of(&targets.group)?)?;
    let Targets { group, targets } = targets;
    let changes = TargetChanges { register: Vec::new(), deregister: targets.clone() };
    let in_force = lbd.change_targets(&group, &changes)?;
    let deadline = arguments.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut progress = Progress::new();
    loop {
        let is_everywhere = lbd.client.status()?.applied_tables_generation >= in_force.tables_generation;
        let rows = leaving(lbd, &group, &targets)?;
        let flows: u64 = rows.iter().map(|row| row.traffic.active_flows).sum();
        let is_over = rows.iter().all(|row| row.state != DRAINING || row.traffic.active_flows == 0);
        if is_everywhere && is_over {
            progress.end();
            report(lbd, &targets, &rows)?;
            return verdict(flows);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            progress.end();
            report(lbd, &targets, &rows)?;
            return Err(Failure::Refused(format!(
                "still draining, with {} left; {} on draining",
                plural(flows as usize, "flow"),
                if flows == 1 { "it goes" } else { "they go" }
            )));
        }
        let since = rows.iter().filter_map(|row| row.changed_seconds_ago).max().unwrap_or_default();
        progress.tell(&format!("draining for {since} s, {} left", plural(flows as usize, "flow")))?;
        thread::sleep(LOOK_AGAIN);
    }
}

/// Whether the flows have ended, or only the time for them.
fn verdict(flows: u64) -> Result<(), Failure> {
    let go = if flows == 1 { "goes" } else { "go" };
    match flows {
        0 => Ok(()),
        _ => Err(Failure::Refused(format!("the delay is over; {} {go} on", plural(flows as usize, "flow")))),
    }
}

fn leaving(lbd: &Lbd<'_>, group: &str, targets: &[TargetAddress]) -> Result<Vec<TargetRow>, Failure> {
    let rows = lbd.client.targets_of(group)?.into_iter();
    Ok(rows.filter(|row| !row.is_registered() && targets.iter().any(|target| target.is_of(row))).collect())
}

fn report(lbd: &Lbd<'_>, targets: &[TargetAddress], rows: &[TargetRow]) -> Result<(), Failure> {
    let remnant = |target: &TargetAddress| {
        let own = rows.iter().filter(|row| target.is_of(row));
        Remnant { target: target.to_string(), active_flows: own.map(|row| row.traffic.active_flows).sum() }
    };
    let remnants: Vec<Remnant> = targets.iter().map(remnant).collect();
    print(lbd.output, &remnants, |remnants| remnants.iter().map(sentence).collect())
}

fn sentence(Remnant { target, active_flows }: &Remnant) -> String {
    match active_flows {
        0 => format!("{target}: deregistered, no flow left\n"),
        flows => format!("{target}: deregistered, {} left\n", plural(*flows as usize, "flow")),
    }
}

const DRAINING: &str = "draining";
