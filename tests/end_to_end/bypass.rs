//! Replies that go past the load balancer, between real network stacks: what is said of them is what mends it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use lb_ctl::{
    api::{Bypass, BypassSign, Event, FlowsQuery, Happening, WhyQuery},
    show,
};
use lbd::testbed::{
    client::Conversation,
    namespace::Namespace,
    network::{CLIENT, Layout, Offload, Plan, VIP, target_address},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{Config, Service},
    harness::{PATIENCE, PORTS, Rig, TCP_PORT, tcp_vip},
    web::output_of,
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("bypass::the_missing_route_is_told_and_mends_it", missing_route),
    ("bypass::a_client_on_the_targets_own_node_is_told_of_no_route", client_at_target),
    ("bypass::answers_that_come_another_way_are_noticed", answers_by_another_way),
    ("bypass::who_refuses_or_is_gone_is_not_suspected", not_suspected),
];

/// The target thinks that the client is its neighbour. What it answers comes from an address that the client does not know.
fn missing_route() -> Result<(), Failed> {
    let rig = Rig::serve_by(PLAN, &Config::only(&PLAN, Service::LINES))?;
    rig.network.client.within(|| Conversation::open(tcp_vip()))?.ask("before")?;
    run(&rig.network.targets[0], &format!("ip route add {CLIENT}/32 dev eth0"))?;
    let bypass = noticed(&rig, &rig.network.client)?;
    let gateway = IpAddr::from([198, 19, 1, 1]);
    let expected = Bypass {
        sign: BypassSign::Silence,
        client: Some(CLIENT.into()),
        gateway: Some(gateway),
        is_client_at_target: false,
    };
    assert_eq!(bypass, expected);
    let route = format!("ip route add {CLIENT}/32 via {gateway}");
    let why = rig.control.why(&of_no_flow(CLIENT))?;
    assert!(show::why(&why).contains(&route), "{}", show::why(&why));
    let targets = show::targets(&rig.control.targets()?, show::Columns::Usual);
    assert!(targets.contains("replies go past the load balancer"), "{targets}");
    assert_eq!(series(&rig, "lbd_target_group_bypassed_targets")?, 1);
    assert_eq!(told(&rig)?, [Some(bypass)]);

    run(&rig.network.targets[0], &format!("ip route del {CLIENT}/32 dev eth0"))?;
    run(&rig.network.targets[0], &route)?;
    rig.network.client.within(|| Conversation::open(tcp_vip()))?.ask("after")?;
    wait_for_bypass(&rig, |bypass| Ok(bypass.is_none()))?;
    assert_eq!(told(&rig)?.len(), 2, "its end is told, once");
    rig.finish().map(drop)
}

/// A node drops what comes with an address of its own as the source, and no route changes that.
fn client_at_target() -> Result<(), Failed> {
    let rig = Rig::serve_by(PLAN, &Config::only(&PLAN, Service::LINES))?;
    let node = &rig.network.targets[0];
    run(node, &format!("ip address add {NODE}/32 dev eth0"))?;
    run(node, &format!("ip route add {VIP}/32 via 198.19.1.1 src {NODE}"))?;
    let bypass = noticed(&rig, node)?;
    assert!(bypass.client == Some(NODE.into()) && bypass.is_client_at_target, "{bypass:?}");
    let said = show::why(&rig.control.why(&of_no_flow(NODE))?);
    assert!(said.contains("is on the target's own node") && !said.contains("ip route add"), "{said}");
    assert_eq!(told(&rig)?, [Some(bypass)]);
    rig.finish().map(drop)
}

/// The target's answers come from the VIP, but straight to the client: connections work until the load balancer forgets them.
fn answers_by_another_way() -> Result<(), Failed> {
    let rig = Rig::serve_by(PLAN, &Config::only(&PLAN, Service::LINES))?;
    run(&rig.network.targets[0], &format!("ip route add {CLIENT}/32 dev eth0"))?;
    let rules = format!(
        "table ip past {{\n\
             chain out {{\n\
                 type filter hook postrouting priority raw\n\
                 ip daddr {CLIENT} tcp sport {} tcp sport set {TCP_PORT} ip saddr set {VIP}\n\
             }}\n\
         }}",
        PORTS.tcp
    );
    output_of(rig.network.targets[0].command(Path::new("nft")).arg(rules))?;
    let mut conversations = Vec::new();
    // What was counted before the detector's first look shows nothing.
    wait_for_bypass(&rig, |bypass| {
        let mut conversation = rig.network.client.within(|| Conversation::open(tcp_vip()))?;
        conversation.ask("past it")?;
        conversations.push(conversation);
        Ok(bypass.is_some_and(|row| row.sign == BypassSign::AnsweredElsewhere))
    })?;
    let query = FlowsQuery { state: "answered_elsewhere".parse().ok(), ..FlowsQuery::default() };
    assert_eq!(rig.control.flows(&query)?.count, conversations.len() as u64);
    assert_eq!(series(&rig, "lbd_target_group_bypassed_flows_total")?, conversations.len() as u64);
    let why =
        rig.control.why(&WhyQuery { client: conversations[0].local, vip: tcp_vip(), protocol: None })?;
    assert!(
        show::why(&why).contains("acknowledge answers that have not come by here"),
        "{}",
        show::why(&why)
    );
    rig.finish().map(drop)
}

/// A target that refuses, and one whose host has gone.
fn not_suspected() -> Result<(), Failed> {
    let mut rig = Rig::serve_by(PLAN, &Config::only(&PLAN, Service::LINES))?;
    rig.targets[0].stop();
    while_client_tries(&rig.network.client, wait_in_vain)?;
    run(&rig.network.targets[0], "ip link set eth0 down")?;
    while_client_tries(&rig.network.client, wait_in_vain)?;
    assert_eq!(told(&rig)?, []);
    rig.finish().map(drop)
}

fn wait_in_vain() -> Result<(), Failed> {
    thread::sleep(LOOKS);
    Ok(())
}

/// What is noticed, while a client tries, of the target and that client.
fn noticed(rig: &Rig, client: &Namespace) -> Result<Bypass, Failed> {
    while_client_tries(client, || {
        wait_for_bypass(rig, |bypass| Ok(bypass.is_some_and(|bypass| bypass.client.is_some())))
    })?;
    Ok(bypass(rig)?.ok_or("it is over already")?)
}

/// Does something while a client tries to connect, again and again.
fn while_client_tries(client: &Namespace, act: impl FnOnce() -> Result<(), Failed>) -> Result<(), Failed> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                // What comes of it is the matter of others.
                drop(client.within(|| TcpStream::connect_timeout(&tcp_vip(), TRY)));
                thread::sleep(Duration::from_millis(100));
            }
        });
        let outcome = act();
        is_over.store(true, Relaxed);
        outcome
    })
}

fn wait_for_bypass(
    rig: &Rig,
    mut wanted: impl FnMut(Option<&Bypass>) -> Result<bool, Failed>,
) -> Result<(), Failed> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = bypass(rig)?;
        if wanted(now.as_ref())? {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("not within {PATIENCE:?}, now {now:?}").into());
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn bypass(rig: &Rig) -> Result<Option<Bypass>, Failed> {
    Ok(rig.control.targets()?.pop().ok_or("no target")?.bypass)
}

/// Packets to the listener from a port of a client's that its kernel gives to nobody.
fn of_no_flow(client: Ipv4Addr) -> WhyQuery {
    WhyQuery { client: (client, 20_000).into(), vip: (VIP, TCP_PORT).into(), protocol: None }
}

/// What events have said of it, in order.
fn told(rig: &Rig) -> Result<Vec<Option<Bypass>>, Failed> {
    let mut told = Vec::new();
    for line in rig.control.lines("/v1/events?follow=false")? {
        if let Happening::Bypass { target_group, target, bypass } =
            serde_json::from_str::<Event>(&line?)?.what
        {
            let expected = SocketAddr::from((target_address(1), PORTS.tcp)).to_string();
            assert_eq!((target_group.as_str(), target), ("lines", expected));
            told.push(bypass);
        }
    }
    Ok(told)
}

/// The value of the only series of a target group.
fn series(rig: &Rig, name: &str) -> Result<u64, Failed> {
    let text = rig.control.metrics()?;
    let start = format!("{name}{{");
    let line = text.lines().find(|line| line.starts_with(&start)).ok_or_else(|| format!("no {name}"))?;
    Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
}

fn run(namespace: &Namespace, line: &str) -> Result<(), Failed> {
    let mut words = line.split(' ');
    let program = words.next().unwrap_or_default();
    output_of(namespace.command(Path::new(program)).args(words)).map(drop)
}

const PLAN: Plan = Plan { layout: Layout::OneArmed, targets: 1, queues: 2, offload: Offload::Off };
/// An address of the target's node that is nobody's target.
const NODE: Ipv4Addr = Ipv4Addr::new(198, 19, 1, 77);
/// How long one attempt takes: its SYN is repeated after one second and after three.
const TRY: Duration = Duration::from_secs(4);
/// Some looks of the detector.
const LOOKS: Duration = Duration::from_secs(5);
