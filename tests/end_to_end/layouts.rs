//! The same service in every layout: TCP and UDP, one and two arms, one and two queues, checksums finished or not.

use std::collections::BTreeSet;

use lbd::testbed::{
    client::{self, Answer, Crowd, Flows},
    network::{CLIENT, GATEWAY, Layout, Offload, Plan, VIP},
    sniffer::Sniffer,
    target::{Ports, Target},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    harness::{PATIENCE, Rig, tcp_vip, udp_vip},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("layouts::two_armed", || serves(Layout::Direct, 1, Offload::Off)),
    ("layouts::two_armed_behind_a_switch", || serves(Layout::Switched, 1, Offload::Off)),
    ("layouts::one_armed", || serves(Layout::OneArmed, 1, Offload::Off)),
    ("layouts::two_queues_two_workers", || serves(Layout::Switched, 2, Offload::Off)),
    ("layouts::one_armed_two_queues_two_workers", || serves(Layout::OneArmed, 2, Offload::Off)),
    ("layouts::eight_queues_eight_workers", || serves(Layout::Switched, 8, Offload::Off)),
    ("layouts::unfinished_checksums", || serves(Layout::Direct, 1, Offload::On)),
    ("layouts::unfinished_checksums_two_workers", || serves(Layout::OneArmed, 2, Offload::On)),
    ("layouts::the_hosts_own_connections_are_left_alone", the_hosts_own_connections_are_left_alone),
    ("layouts::a_thousand_udp_flows", a_thousand_udp_flows),
];

fn serves(layout: Layout, queues: u32, offload: Offload) -> Result<(), Failed> {
    let rig = Rig::serve(Plan { layout, targets: 3, queues, offload })?;
    let sniffer = Sniffer::start(&rig.network.client)?;
    let mut crowd = rig.crowd(200)?;
    assert_eq!(crowd.ask_all("again", PATIENCE).len(), 0);
    assert!(rig.shares(&crowd).iter().all(|share| *share > 20), "{:?}", rig.shares(&crowd));
    let flows = Flows::open(&rig.network.client, udp_vip(), 100)?;
    let rounds = [flows.ask_all("one")?, flows.ask_all("two")?];
    assert_eq!(targets_of(&rounds[0]), targets_of(&rounds[1]), "a flow changed its target");
    drop(crowd);
    let books = rig.finish()?;
    assert!(books.0.transmitted > 200 * 6 + 400, "{books}");
    assert_eq!(sniffer.resets(), []);
    Ok(())
}

fn the_hosts_own_connections_are_left_alone() -> Result<(), Failed> {
    let rig = Rig::serve(Plan { layout: Layout::Direct, targets: 1, queues: 1, offload: Offload::Off })?;
    let ports = Ports { tcp: 22, udp: 123 };
    let mut host = Target::new("host".into(), GATEWAY, ports);
    host.start(&rig.network.lb)?;
    let mut crowd = Crowd::open(&rig.network.client, host.tcp_address(), 20)?;
    assert_eq!(crowd.ask_all("again", PATIENCE).len(), 0);
    assert!(crowd.members().iter().all(|member| member.target == "host"));
    let answers = Flows::open(&rig.network.client, (GATEWAY, ports.udp).into(), 20)?.ask_all("datagram")?;
    assert!(answers.iter().all(|answer| answer.target == "host"));
    for pinged in [GATEWAY, VIP] {
        rig.network.client.within(|| client::ping(pinged))?;
    }
    assert!(rig.network.client.within(|| std::net::TcpStream::connect(tcp_vip())).is_ok());
    rig.finish().map(drop)
}

fn a_thousand_udp_flows() -> Result<(), Failed> {
    const FLOWS: usize = 1000;
    const ROUNDS: usize = 3;
    let rig = Rig::serve(Plan { layout: Layout::Direct, targets: 4, queues: 2, offload: Offload::Off })?;
    let flows = Flows::open(&rig.network.client, udp_vip(), FLOWS)?;
    let rounds =
        (0..ROUNDS).map(|round| flows.ask_all(&format!("round {round}"))).collect::<Result<Vec<_>, _>>()?;
    for round in &rounds {
        assert!(round.iter().all(|answer| answer.client.ip() == CLIENT));
        assert_eq!(targets_of(round), targets_of(&rounds[0]), "a flow changed its target");
    }
    let used: BTreeSet<_> = targets_of(&rounds[0]).into_iter().collect();
    assert_eq!(used.len(), 4, "only {used:?} were used");
    let books = rig.finish()?;
    let expected = (2 * FLOWS * ROUNDS) as u64;
    assert_eq!(books.0.transmitted, expected, "each datagram and each answer once:\n{books}");
    Ok(())
}

fn targets_of(answers: &[Answer]) -> Vec<&str> {
    answers.iter().map(|answer| answer.target.as_str()).collect()
}
