//! Datagrams longer than a packet, cut and put together by the kernels at both ends.

use std::{collections::BTreeSet, path::Path};

use lbd::testbed::{
    client::Flows,
    namespace::Namespace,
    network::{Family, Layout, Offload, Plan},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{Config, Service},
    dual_stack::seen_through,
    harness::{Rig, vip_of},
    web::output_of,
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("fragments::long_datagrams_are_echoed_over_ipv4", || echoed(Family::V4, Service::DATAGRAMS)),
    ("fragments::long_datagrams_are_echoed_over_ipv6", || echoed(Family::V6, Service::DATAGRAMS_V6)),
    ("fragments::long_datagrams_are_echoed_by_ipv4_to_ipv6", || echoed(Family::V6, Service::DATAGRAMS)),
    ("fragments::long_datagrams_are_echoed_by_ipv6_to_ipv4", || echoed(Family::V4, Service::DATAGRAMS_V6)),
];

fn echoed(family: Family, service: Service) -> Result<(), Failed> {
    let plan = Plan { layout: Layout::Direct, targets: 4, queues: 2, offload: Offload::Off };
    let rig = Rig::serve_by(plan, &Config::dual_stack(&plan))?;
    rig.network.targets.iter().chain([&rig.network.client]).try_for_each(leave_room)?;
    let seen = seen_through(family, service.target_family);
    let flows = Flows::open_seen(&rig.network.client, vip_of(family, &service), FLOWS, seen)?;
    let answers = flows.ask_all(&long_text())?;
    let targets: BTreeSet<_> = answers.iter().map(|answer| &answer.target).collect();
    assert_eq!(targets.len(), 4, "only {targets:?} were used");
    let books = rig.finish()?;
    assert_eq!(books.0.transmitted, (2 * FLOWS * PIECES) as u64, "each piece once:\n{books}");
    Ok(())
}

/// Has a host send shorter IPv4 packets than its link carries: translated, each piece is 28 bytes longer, and nobody makes
/// smaller ones of it.
fn leave_room(host: &Namespace) -> Result<(), Failed> {
    let change = "ip route change $(ip route show default) mtu 1400";
    output_of(host.command(Path::new("sh")).args(["-c", change])).map(drop)
}

/// No part of it can be taken for another.
fn long_text() -> String {
    let numbers: String = (0..LENGTH).map(|number| format!("{number},")).collect();
    numbers[..LENGTH].to_owned()
}

const FLOWS: usize = 200;
const LENGTH: usize = 4_000;
/// Fragments of such a datagram, and of its answer, at an MTU of 1,500 bytes.
const PIECES: usize = 3;
