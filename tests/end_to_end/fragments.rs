//! Datagrams longer than a packet, cut and put together by the kernels at both ends.

use std::{collections::BTreeSet, net::IpAddr};

use lbd::testbed::{
    client::Flows,
    network::{Family, Layout, Offload, Plan},
    target::UNANSWERED,
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{Config, Service},
    dual_stack::seen_through,
    harness::{Rig, vip_of, wait_until},
    pieces::{Datagram, send_mixed},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("fragments::long_datagrams_are_echoed_over_ipv4", || echoed(Family::V4, Service::DATAGRAMS)),
    ("fragments::long_datagrams_are_echoed_over_ipv6", || echoed(Family::V6, Service::DATAGRAMS_V6)),
    ("fragments::long_datagrams_are_echoed_by_ipv4_to_ipv6", || echoed(Family::V6, Service::DATAGRAMS)),
    ("fragments::long_datagrams_are_echoed_by_ipv6_to_ipv4", || echoed(Family::V4, Service::DATAGRAMS_V6)),
    ("fragments::pieces_with_equal_numbers_become_ipv6_ones", || {
        told_apart(Family::V4, Service::DATAGRAMS_V6)
    }),
    ("fragments::pieces_with_equal_numbers_become_ipv4_ones", || told_apart(Family::V6, Service::DATAGRAMS)),
];

fn echoed(family: Family, service: Service) -> Result<(), Failed> {
    let plan = Plan { layout: Layout::Direct, targets: 4, queues: 2, offload: Offload::Off };
    let rig = Rig::serve_by(plan, &Config::dual_stack(&plan))?;
    let seen = seen_through(family, service.target_family);
    let flows = Flows::open_seen(&rig.network.client, vip_of(family, &service), FLOWS, seen)?;
    let answers = flows.ask_all(&long_text())?;
    let targets: BTreeSet<_> = answers.iter().map(|answer| &answer.target).collect();
    assert_eq!(targets.len(), 4, "only {targets:?} were used");
    let asked: u64 = rig.targets.iter().map(|target| target.counts().datagrams()).sum();
    let books = rig.finish()?;
    // Two of the IPv4 pieces are too long for IPv6, whose headers are longer, and are cut up.
    let cut_up = if family == service.target_family { 0 } else { 2 };
    assert_eq!(books.0.transmitted, asked * (2 * PIECES + cut_up), "each piece once:\n{books}");
    Ok(())
}

/// Two clients number their datagrams alike; translated, all come from one address. A checksum shows each mix-up, so that the target
/// gets as many whole datagrams as were sent, or fewer.
fn told_apart(family: Family, service: Service) -> Result<(), Failed> {
    let plan = Plan { layout: Layout::Direct, targets: 1, queues: 1, offload: Offload::Off };
    let rig = Rig::serve_by(plan, &Config::dual_stack(&plan))?;
    let to = vip_of(family, &service);
    for number in 1..=NUMBERS {
        let datagram = |client: u8| Datagram {
            from: (another_client(family, client), 40_000 + number as u16).into(),
            to,
            number,
            payload: [UNANSWERED, client].repeat(1_200),
        };
        rig.network.client.within(|| send_mixed(&[datagram(1), datagram(2)]))?;
    }
    let received = || rig.targets[0].counts().datagrams();
    wait_until("datagrams that could be put together again", || Ok(received() >= u64::from(2 * NUMBERS)))?;
    assert_eq!(received(), u64::from(2 * NUMBERS));
    rig.finish().map(drop)
}

/// Nobody's address, behind the client.
fn another_client(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => [198, 18, 128, number].into(),
        Family::V6 => [0x2001, 0xdb8, 0, 0x80, 0, 0, 0, number.into()].into(),
    }
}

/// No part of it can be taken for another.
fn long_text() -> String {
    let numbers: String = (0..LENGTH).map(|number| format!("{number},")).collect();
    numbers[..LENGTH].to_owned()
}

const NUMBERS: u32 = 20;
const FLOWS: usize = 200;
const LENGTH: usize = 4_000;
/// Fragments of such a datagram, and of its answer, at an MTU of 1,500 bytes.
const PIECES: u64 = 3;
