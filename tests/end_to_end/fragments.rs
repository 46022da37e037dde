//! Datagrams longer than a packet, cut and put together by the kernels at both ends.

use std::collections::BTreeSet;

use lbd::testbed::{
    client::Flows,
    network::{Family, Layout, Offload, Plan},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{Config, Service},
    dual_stack::seen_through,
    harness::{Rig, vip_of},
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
    let seen = seen_through(family, service.target_family);
    let flows = Flows::open_seen(&rig.network.client, vip_of(family, &service), FLOWS, seen)?;
    let answers = flows.ask_all(&long_text())?;
    let targets: BTreeSet<_> = answers.iter().map(|answer| &answer.target).collect();
    assert_eq!(targets.len(), 4, "only {targets:?} were used");
    let books = rig.finish()?;
    // Two of the IPv4 pieces are too long for IPv6, whose headers are longer, and are cut up.
    let cut_up = if family == service.target_family { 0 } else { 2 };
    assert_eq!(books.0.transmitted, (FLOWS * (2 * PIECES + cut_up)) as u64, "each piece once:\n{books}");
    Ok(())
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
