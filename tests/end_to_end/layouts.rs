//! The same service in every layout: TCP and UDP, one and two arms, one and two queues, checksums finished or not.

use std::{collections::BTreeSet, net::IpAddr, process::Command, time::Duration};

use lbd::testbed::{
    client::{self, Answer, Crowd, Flows},
    network::{CLIENT, Family, GATEWAY, Layout, Offload, Plan, VIP},
    sniffer::Sniffer,
    tap::{Direction, Hop, LinkEnd, Protocol, Taps},
    target::{Ports, Target},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::Config,
    harness::{PATIENCE, Rig, tcp_vip, udp_vip, wait_until},
    web::output_of,
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
    ("layouts::a_vip_is_answered_for_by_the_load_balancer_alone", a_vip_is_answered_for_by_one),
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

/// Client, load balancer and targets are on one link, on which the client asks who has the VIP (RFC 826, RFC 4861): each question has one
/// answer, of the load balancer's host.
fn a_vip_is_answered_for_by_one() -> Result<(), Failed> {
    let plan = Plan { layout: Layout::OneArmed, targets: 3, queues: 2, offload: Offload::Off };
    let rig = Rig::serve_by(plan, &Config::dual_stack(&plan))?;
    let client = &rig.network.client;
    let mut taps = Taps::on(&[LinkEnd::at(client, "eth0", "client")])?;
    for family in Family::BOTH {
        let vip = family.vip().to_string();
        output_of(Command::new("ip").args(["-n", client.name(), "route", "add", &vip, "dev", "eth0"]))?;
        client.within(|| client::ping(family.gateway()))?;
        client.within(|| client::ping(family.vip()))?;
    }
    let mut hops = all_answered(&mut taps, Vec::new())?;
    std::thread::sleep(SECOND_ANSWER);
    // Who was slow to hear an answer may have asked once more meanwhile.
    hops = all_answered(&mut taps, hops)?;
    for family in Family::BOTH {
        let (gateway, vip) = (family.gateway(), family.vip());
        let has_answered = |hop: &&Hop| hop.direction == Direction::In && hop.source.ip() == gateway;
        let host = hops.iter().find(has_answered).ok_or("no answer of the gateway")?.source_mac;
        let (asked, answers) = questions_and_answers(&hops, vip);
        assert!(asked > 0, "nobody asked for {vip}: {hops:#?}");
        assert_eq!(answers.len(), asked, "{hops:#?}");
        assert!(answers.iter().all(|hop| hop.source_mac == host), "{hops:#?}");
    }
    rig.finish().map(drop)
}

/// The hops and those that come until each question for a VIP has its answer.
fn all_answered(taps: &mut Taps, mut hops: Vec<Hop>) -> Result<Vec<Hop>, Failed> {
    wait_until("an answer to each question", || {
        hops.extend(taps.take_all()?);
        Ok(Family::BOTH.into_iter().all(|family| {
            let (asked, answers) = questions_and_answers(&hops, family.vip());
            answers.len() >= asked
        }))
    })?;
    Ok(hops)
}

/// How often the client has asked for an address, and the answers.
fn questions_and_answers(hops: &[Hop], address: IpAddr) -> (usize, Vec<&Hop>) {
    let asks = |hop: &&Hop| hop.direction == Direction::Out && asks_for(hop, address);
    let answers = |hop: &&Hop| hop.direction == Direction::In && answers_for(hop, address);
    (hops.iter().filter(asks).count(), hops.iter().filter(answers).collect())
}

/// Whether it is an ARP request or a neighbour solicitation for an address.
fn asks_for(hop: &Hop, address: IpAddr) -> bool {
    is_about(hop, address, hop.destination.ip(), (ARP_REQUEST, SOLICITATION))
}

/// Whether it is an ARP reply or a neighbour advertisement for an address.
fn answers_for(hop: &Hop, address: IpAddr) -> bool {
    is_about(hop, address, hop.source.ip(), (ARP_REPLY, ADVERTISEMENT))
}

/// Whether it is an ARP packet of this operation with the address at this `end`, or a message of neighbour discovery of this type about it.
fn is_about(hop: &Hop, address: IpAddr, end: IpAddr, (operation, kind): (u8, u8)) -> bool {
    hop.protocol == Protocol::Neighbours
        && match address {
            IpAddr::V4(_) => end == address && hop.frame[21] == operation,
            IpAddr::V6(v6) => end.is_ipv6() && hop.frame[54] == kind && hop.frame[62..78] == v6.octets(),
        }
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

/// A second answer to one question would be there by then.
const SECOND_ANSWER: Duration = Duration::from_millis(500);
const ARP_REQUEST: u8 = 1;
const ARP_REPLY: u8 = 2;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
