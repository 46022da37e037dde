//! What the flow log is told: every flow once, with what went through it and why it is over.

#[path = "../generate/mod.rs"]
mod generate;
mod reasons;
#[path = "../support/mod.rs"]
mod support;
mod tallies;

use std::num::NonZeroU32;

use lb_core::{datapath::Datapath, flow_log::EndedFlow, time::Instant};

/// Has every flow told from now on.
fn log_all(path: &mut Datapath<'_>, now_ms: u64) {
    path.log_flows(Some(NonZeroU32::MIN), Instant::from_millis(now_ms));
}

/// What is told when the daemon stops, after what was told before.
fn stop(path: &mut Datapath<'_>, now_ms: u64) -> Vec<EndedFlow> {
    let mut told: Vec<EndedFlow> = path.take_ended().collect();
    let mut cursor = Some(0);
    while let Some(from) = cursor {
        cursor = path.tell_stopped(from, Instant::from_millis(now_ms));
        told.extend(path.take_ended());
    }
    told
}
