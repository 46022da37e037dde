//! Connections that are cut with their target: both ends learn it.

use std::{collections::BTreeSet, net::SocketAddr};

use lbd::testbed::{
    client::{Crowd, Seen},
    daemon::is_avoided,
    network::{Family, Layout, Offload, Plan},
    sniffer::{Reset, Sniffer},
    target::{Ports, Target},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{ClientAddress, Config, Service},
    harness::{PATIENCE, Rig, vip_of, wait_until},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("cuts::both_ends_are_reset", || both_ends_are_reset(Family::V4, Service::LINES)),
    ("cuts::both_ends_are_reset_over_ipv6", || both_ends_are_reset(Family::V6, Service::LINES_V6)),
    ("cuts::both_ends_are_reset_in_full_nat", || {
        both_ends_are_reset(Family::V4, Service { client_address: ClientAddress::Hidden, ..Service::LINES })
    }),
];

/// The target's server goes on, only its health checks fail: no reset is its own.
fn both_ends_are_reset(family: Family, service: Service) -> Result<(), Failed> {
    let service = Service { check_port: CHECKED.tcp, ..service };
    let mut rig = Rig::build(PLAN)?;
    rig.start_targets()?;
    let mut checked = Vec::new();
    for (number, namespace) in (1..).zip(&rig.network.targets) {
        let mut target = Target::new("checked".into(), family.target(number), CHECKED);
        target.start(namespace)?;
        checked.push(target);
    }
    rig.start_daemon(&Config { services: vec![service], ..Config::dual_stack(&PLAN) })?;
    let seen = match service.client_address {
        ClientAddress::Kept => Seen::Client,
        ClientAddress::Hidden => Seen::Source(family.vip()),
    };
    let vip = vip_of(family, &service);
    let mut crowd = Crowd::open_seen(&rig.network.client, vip, 40, seen)?;
    let concerned = rig.shares(&crowd)[0];
    assert!(concerned > 0);

    let at_client = Sniffer::start(&rig.network.client)?;
    let at_target = Sniffer::start(&rig.network.targets[0])?;
    checked[0].stop();
    rig.wait_for("the first target to get no new flows", |targets| {
        targets.iter().filter(|row| row.target.ip() == family.target(1)).all(is_avoided)
    })?;
    let failures = crowd.ask_all("still there?", PATIENCE);
    assert_eq!(failures.len(), concerned, "{failures:?}");
    assert!(failures.iter().all(|failure| failure.target == rig.targets[0].name()), "{failures:?}");

    let clients: BTreeSet<_> = failures.iter().map(|failure| failure.client).collect();
    assert_eq!(ends(&at_client, |reset| (reset.from == vip).then_some(reset.to)), clients);
    let target = SocketAddr::from((family.target(1), service.target_port));
    let at_target = || ends(&at_target, |reset| (reset.to == target).then_some(reset.from));
    wait_until("resets at the target", || Ok(at_target().len() >= concerned))?;
    let sources = at_target();
    match seen {
        Seen::Client => assert_eq!(sources, clients),
        Seen::Source(source) => {
            assert_eq!(sources.len(), concerned, "{sources:?}");
            assert!(sources.iter().all(|end| end.ip() == source), "{sources:?}");
        }
    }
    drop(crowd);
    let books = rig.finish()?;
    assert_eq!(books.0.cut, concerned as u64, "{books}");
    Ok(())
}

/// The other ends of the resets that matter, as far as they were seen.
fn ends(sniffer: &Sniffer, other_end: impl Fn(&Reset) -> Option<SocketAddr>) -> BTreeSet<SocketAddr> {
    sniffer.resets().iter().filter_map(other_end).collect()
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 2, queues: 2, offload: Offload::Off };
/// Where the health checks go.
const CHECKED: Ports = Ports { tcp: 9_000, udp: 9_007 };
