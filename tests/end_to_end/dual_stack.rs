//! IPv4 and IPv6 side by side, and translated into each other.

use std::{collections::BTreeSet, net::IpAddr};

use lbd::testbed::{
    client::{Crowd, Flows, Seen},
    network::{Family, Layout, Offload, Plan},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{Config, Service},
    harness::{PATIENCE, Rig, vip_of},
    web::WebServers,
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("dual_stack::ten_megabytes_both_ways_between_all_families", ten_megabytes),
    ("dual_stack::lines_and_datagrams_two_armed", || serves(Layout::Direct, 4, Offload::Off)),
    ("dual_stack::lines_and_datagrams_one_armed", || serves(Layout::OneArmed, 2, Offload::Off)),
    ("dual_stack::lines_and_datagrams_through_routers", || serves(Layout::Routed, 1, Offload::Off)),
    ("dual_stack::unfinished_checksums", || serves(Layout::Direct, 2, Offload::On)),
    ("dual_stack::both_families_share_a_group", both_families_share_a_group),
];

/// What targets of one family see of clients of another: translation has to hide them.
pub fn seen_through(client: Family, target: Family) -> Seen {
    if client == target { Seen::Client } else { Seen::Source(target.vip()) }
}

fn ten_megabytes() -> Result<(), Failed> {
    let plan = Plan { layout: Layout::Direct, targets: 2, queues: 2, offload: Offload::Off };
    let mut rig = Rig::build(plan)?;
    let servers = WebServers::start(&rig)?;
    servers.make_noise(10 << 20)?;
    rig.start_daemon(&Config::dual_stack(&plan))?;
    for client in Family::BOTH {
        for service in [Service::LINES, Service::LINES_V6] {
            servers.download(&rig.network.client, vip_of(client, &service))?;
            servers.upload(&rig.network.client, vip_of(client, &service))?;
        }
    }
    let seen: BTreeSet<IpAddr> =
        servers.take_visitors()?.into_iter().flat_map(|row| row.into_keys()).collect();
    let expected = Family::BOTH.map(|family| [family.client(), family.vip()]);
    assert_eq!(seen, expected.into_iter().flatten().collect());
    rig.finish().map(drop)
}

fn serves(layout: Layout, queues: u32, offload: Offload) -> Result<(), Failed> {
    let plan = Plan { layout, targets: 3, queues, offload };
    let rig = Rig::serve_by(plan, &Config::dual_stack(&plan))?;
    for client in Family::BOTH {
        for (lines, datagrams) in
            [(Service::LINES, Service::DATAGRAMS), (Service::LINES_V6, Service::DATAGRAMS_V6)]
        {
            let seen = seen_through(client, lines.target_family);
            let mut crowd = Crowd::open_seen(&rig.network.client, vip_of(client, &lines), 150, seen)?;
            assert_eq!(crowd.ask_all("again", PATIENCE).len(), 0);
            assert!(rig.shares(&crowd).iter().all(|share| *share > 10), "{:?}", rig.shares(&crowd));
            let flows = Flows::open_seen(&rig.network.client, vip_of(client, &datagrams), 100, seen)?;
            let targets = |text| {
                let answers = flows.ask_all(text)?;
                Ok::<_, Failed>(answers.into_iter().map(|answer| answer.target).collect::<Vec<_>>())
            };
            assert_eq!(targets("one")?, targets("two")?, "a flow changed its target");
        }
    }
    rig.finish().map(drop)
}

fn both_families_share_a_group() -> Result<(), Failed> {
    let plan = Plan { layout: Layout::Direct, targets: 2, queues: 2, offload: Offload::Off };
    let services = vec![Service::LINES, Service::DATAGRAMS];
    let rig = Rig::serve_by(plan, &Config { services, ..Config::dual_stack(&plan) })?;
    for client in Family::BOTH {
        let seen = seen_through(client, Family::V4);
        let mut crowd = Crowd::open_seen(&rig.network.client, vip_of(client, &Service::LINES), 100, seen)?;
        assert_eq!(crowd.ask_all("again", PATIENCE).len(), 0);
        Flows::open_seen(&rig.network.client, vip_of(client, &Service::DATAGRAMS), 100, seen)?
            .ask_all("one")?;
    }
    rig.finish().map(drop)
}
