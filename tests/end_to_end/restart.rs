//! A crash of the daemon is silence and retransmission, never a reset.

use std::time::{Duration, Instant};

use lbd::testbed::{
    network::{CLIENT, Layout, Offload, Plan, VIP},
    sniffer::{Reset, ResetSniffer},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    harness::{Config, Rig, heavy},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("restart::connections_survive_kill_9", || survives(Plan { layout: Layout::Direct, ..PLAN })),
    ("restart::connections_survive_kill_9_one_armed_two_workers", || {
        survives(Plan { layout: Layout::OneArmed, queues: 2, ..PLAN })
    }),
];

fn survives(plan: Plan) -> Result<(), Failed> {
    let _heavy = heavy()?;
    let mut rig = Rig::serve(plan)?;
    let mut sniffers = vec![ResetSniffer::start(&rig.network.client)?];
    for target in &rig.network.targets {
        sniffers.push(ResetSniffer::start(target)?);
    }
    let mut crowd = rig.crowd(CONNECTIONS)?;

    let killed = Instant::now();
    rig.daemon.take().ok_or("no daemon was started")?.kill()?;
    // Said into the silence: these lines are what the kernel retransmits.
    let failures = crowd.ask_all("while it is dead", SILENCE);
    assert_eq!(failures.len(), CONNECTIONS, "something forwarded although lbd was dead");
    rig.start_daemon(&Config::of(&plan))?;
    let outage = killed.elapsed();
    assert!(outage < Duration::from_secs(5), "restarted only after {outage:?}");

    let failures = crowd.ask_all("after the restart", RETRANSMISSION);
    assert!(failures.len() <= CONNECTIONS / 1000, "{} broke, the first: {:?}", failures.len(), failures[0]);
    let resets: Vec<_> = sniffers.iter().flat_map(ResetSniffer::seen).filter(concerns_clients).collect();
    assert_eq!(resets, []);
    drop(crowd);
    rig.finish().map(drop)
}

/// Health checks may end in a reset between the load balancer and a target; the client's traffic must not.
fn concerns_clients(reset: &Reset) -> bool {
    [reset.from.ip(), reset.to.ip()].iter().any(|address| **address == CLIENT || **address == VIP)
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 3, queues: 1, offload: Offload::Off };
const CONNECTIONS: usize = 1000;
/// How long nobody answers, beyond the time of the restart itself.
const SILENCE: Duration = Duration::from_secs(1);
/// Retransmission backs off to several seconds within an outage of five.
const RETRANSMISSION: Duration = Duration::from_secs(20);
