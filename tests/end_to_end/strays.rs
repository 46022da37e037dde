//! TCP packets of no flow, as after a clean restart: reset, or adopted where the listener says so.

use lbd::testbed::{
    client::Crowd,
    network::{Family, Layout, Offload, Plan},
    sniffer::Sniffer,
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{Config, Service},
    harness::{PATIENCE, Rig, vip_of},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("strays::are_adopted_where_the_listener_says_so", are_adopted),
    ("strays::are_reset_otherwise", are_reset),
];

fn are_adopted() -> Result<(), Failed> {
    let adopting = |service| Service { listener_attributes: &["tcp.adopt_strays.enabled"], ..service };
    let (mut rig, mut crowds, sniffer) = with_strays([Service::LINES, Service::LINES_V6].map(adopting))?;
    for crowd in &mut crowds {
        let failures = crowd.ask_all("across a restart", PATIENCE);
        assert!(failures.is_empty(), "{failures:?}");
    }
    assert!(rig.frames("adopted_flow")? >= (2 * CONNECTIONS) as u64);
    assert_eq!(sniffer.resets(), []);
    drop(crowds);
    rig.stop().map(drop)
}

fn are_reset() -> Result<(), Failed> {
    let (mut rig, mut crowds, _) = with_strays([Service::LINES, Service::LINES_V6])?;
    for crowd in &mut crowds {
        assert_eq!(crowd.ask_all("across a restart", PATIENCE).len(), CONNECTIONS);
    }
    assert_eq!(rig.frames("adopted_flow")?, 0);
    assert!(rig.frames("reset_no_flow")? >= (2 * CONNECTIONS) as u64);
    drop(crowds);
    rig.stop().map(drop)
}

/// Connections of both families that live on while the daemon forgets them: it was stopped and started in order.
fn with_strays(services: [Service; 2]) -> Result<(Rig, Vec<Crowd>, Sniffer), Failed> {
    let config = Config { services: services.into(), ..Config::dual_stack(&PLAN) };
    let mut rig = Rig::serve_by(PLAN, &config)?;
    let open = |(family, service)| Crowd::open(&rig.network.client, vip_of(family, service), CONNECTIONS);
    let crowds = Family::BOTH.into_iter().zip(&services).map(open).collect::<Result<_, _>>()?;
    let sniffer = Sniffer::start(&rig.network.client)?;
    rig.stop()?;
    rig.start_daemon(&config)?;
    assert_eq!(rig.control.status()?.adopting_seconds, 0);
    Ok((rig, crowds, sniffer))
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 3, queues: 2, offload: Offload::Off };
const CONNECTIONS: usize = 50;
