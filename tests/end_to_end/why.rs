//! `why`: what it says of a packet is what becomes of the packet, before there is a flow and after.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use lb_ctl::{
    api::{Why, WhyQuery, WhySender},
    show,
};
use lbd::testbed::{
    client::Conversation,
    network::{CLIENT, Family, GATEWAY, Layout, Offload, Plan, VIP, target_address},
};
use libtest_mimic::Failed;
use socket2::{Domain, Socket, Type};

use crate::{
    Test,
    config::{ClientAddress, Config, Service},
    harness::{PATIENCE, PORTS, Rig, TCP_PORT, frames_of, tcp_vip, udp_vip, vip_of, wait_until},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("why::the_target_is_named_before_the_flow_and_after", named_before_and_after),
    ("why::a_flow_stays_with_a_target_that_is_gone", stays_with_a_target_that_is_gone),
    ("why::what_leads_nowhere_is_said_to", leads_nowhere),
    ("why::a_hidden_clients_source_is_named", hidden_clients_source),
    ("why::a_rule_is_named", rule_is_named),
];

/// Of forty clients' ports, over two workers.
fn named_before_and_after() -> Result<(), Failed> {
    let rig = Rig::serve(PLAN)?;
    for port in FIRST_PORT..FIRST_PORT + 40 {
        let client = client(port);
        let before = ask(&rig, client, tcp_vip())?;
        assert_eq!((before.verdict.reason.as_str(), &before.flow), ("new_flow", &None));
        let said = before.target.as_ref().ok_or("no target was named")?.target;
        let selection = before.selection.as_ref().ok_or("no selection was told")?;
        assert_eq!((selection.target, selection.target_group.as_str()), (Some(said), "lines"));
        assert!(before.next_hop.is_some_and(|hop| rig.network.interfaces.contains(&hop.interface)));
        assert!(selection.slot.is_some_and(|slot| (slot as usize) < selection.slots));
        assert_eq!(before.stray.map(|stray| stray.reason).as_deref(), Some("reset_no_flow"));

        let mut conversation = rig.network.client.within(|| Conversation::open_from(client, tcp_vip()))?;
        let target = number_of(&conversation.ask("hello")?.target)?;
        assert_eq!(said, SocketAddr::from((target_address(target), PORTS.tcp)), "it went to another target");

        let after = ask(&rig, client, tcp_vip())?;
        let flow = after.flow.as_ref().ok_or("the flow was not found")?;
        assert_eq!((flow.row.target, flow.row.state.as_str()), (said, "established"));
        assert_eq!((after.verdict.reason.as_str(), after.worker), ("flow", before.worker));
        assert_eq!(after.source.and_then(|source| source.address), Some(client));

        let answers = ask(&rig, said, client)?;
        assert_eq!(
            (answers.sender, answers.flow.map(|flow| flow.row.client)),
            (WhySender::Target, Some(client))
        );
    }
    rig.finish().map(drop)
}

fn stays_with_a_target_that_is_gone() -> Result<(), Failed> {
    let rig = Rig::serve(PLAN)?;
    let client = client(FIRST_PORT);
    let mut conversation = rig.network.client.within(|| Conversation::open_from(client, tcp_vip()))?;
    let leaving = number_of(&conversation.ask("hello")?.target)?;
    rig.reload(&Config::of(&PLAN).without(leaving))?;

    let why = ask(&rig, client, tcp_vip())?;
    let (flow, target) = (why.flow.as_ref().ok_or("no flow")?, why.target.as_ref().ok_or("no target")?);
    assert_eq!((flow.row.target.ip(), why.verdict.reason.as_str()), (target_address(leaving).into(), "flow"));
    assert_eq!((target.state.as_str(), target.is_eligible), ("draining", false));
    let selected = why.selection.as_ref().and_then(|selection| selection.target).ok_or("no selection")?;
    assert_ne!(selected.ip(), IpAddr::from(target_address(leaving)));
    assert!(show::why(&why).contains("It stays with that target"), "{}", show::why(&why));
    conversation.ask("still there")?;
    drop(conversation);
    rig.finish().map(drop)
}

fn leads_nowhere() -> Result<(), Failed> {
    let rig = Rig::serve(PLAN)?;
    let stranger = Ipv4Addr::new(198, 18, 100, 77);
    let broadcast = Ipv4Addr::new(198, 18, 0, 255);
    let rows: [(SocketAddr, SocketAddr, &str, &[&str]); 8] = [
        (
            client(FIRST_PORT),
            (VIP, TCP_PORT + 9).into(),
            "no_listener",
            &["dropped: nothing listens there", "TCP port 89", "test/TCP:80 and test/UDP:7"],
        ),
        (client(FIRST_PORT), (stranger, TCP_PORT).into(), "not_ours", &["is no address of a load balancer"]),
        (client(FIRST_PORT), udp_vip(), "no_listener", &["test/UDP:7"]),
        ((VIP, FIRST_PORT).into(), tcp_vip(), "own_source", &["dropped: source address is one of ours"]),
        ((GATEWAY, FIRST_PORT).into(), tcp_vip(), "own_source", &["the host's own"]),
        ((broadcast, FIRST_PORT).into(), udp_vip(), "own_source", &["broadcast address of its subnets"]),
        (
            (Ipv4Addr::LOCALHOST, FIRST_PORT).into(),
            tcp_vip(),
            "martian_source",
            &["dropped: source address that no packet may have"],
        ),
        (
            (target_address(1), PORTS.tcp).into(),
            client(FIRST_PORT),
            "reset_no_flow",
            &["a target's address and port", "answered by a reset"],
        ),
    ];
    for (from, to, reason, sentences) in rows {
        let why = ask(&rig, from, to)?;
        let text = show::why(&why);
        assert_eq!((why.verdict.reason.as_str(), &why.flow), (reason, &None), "{text}");
        for sentence in sentences {
            assert!(text.contains(sentence), "{sentence}: {text}");
        }
    }
    // And so it is.
    let connect = || TcpStream::connect_timeout(&(VIP, TCP_PORT + 9).into(), Duration::from_millis(500));
    assert!(rig.network.client.within(connect).is_err());
    rig.wait_for_frames("no_listener", 1)?;
    rig.network.client.within(|| say_as(GATEWAY, udp_vip()))?;
    rig.wait_for_frames("own_source", 1)?;

    rig.reload(&Config { targets: Vec::new(), ..Config::of(&PLAN) })?;
    let why = ask(&rig, client(FIRST_PORT), tcp_vip())?;
    assert_eq!(why.verdict.reason, "reset_no_target", "{}", show::why(&why));
    assert!(show::why(&why).contains("lines has no target"), "{}", show::why(&why));
    let refused = rig.network.client.within(|| TcpStream::connect_timeout(&tcp_vip(), PATIENCE));
    assert_eq!(refused.map(drop).map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionRefused));
    let books = rig.finish()?;
    assert_eq!(frames_of(&books.0, "own_source")?, 1);
    Ok(())
}

fn hidden_clients_source() -> Result<(), Failed> {
    let service = Service { client_address: ClientAddress::Hidden, ..Service::LINES };
    let rig = Rig::serve_by(PLAN, &Config::only(&PLAN, service))?;
    let client = client(FIRST_PORT);
    let before = ask(&rig, client, tcp_vip())?.source.ok_or("no source")?;
    assert_eq!((before.address, before.cause.as_deref()), (None, Some("not_preserved")));
    assert_eq!(before.addresses, [IpAddr::from(VIP)]);
    let mut conversation = rig.network.client.within(|| Conversation::open_from(client, tcp_vip()))?;
    let answer = conversation.ask("hello")?;
    let after = ask(&rig, client, tcp_vip())?;
    assert_eq!(after.source.and_then(|source| source.address), Some(answer.client), "what the target sees");
    // The target's packets, as they are on the wire.
    let target = target_address(number_of(&answer.target)?);
    let answers = ask(&rig, (target, PORTS.tcp).into(), answer.client)?;
    assert_eq!(answers.flow.map(|flow| flow.row.client), Some(client));
    drop(conversation);
    rig.finish().map(drop)
}

fn rule_is_named() -> Result<(), Failed> {
    let config = Config::dual_stack(&PLAN);
    let mut rig = Rig::serve_by(PLAN, &config)?;
    let rule =
        "attributes = {  }\nrules = [{ priority = 7, source = \"ipv6\", target_group = \"lines-v6\" }]\n";
    let text = config.text(&rig.network.interfaces, rig.directory.path());
    rig.write_text(&text.replacen("attributes = {  }\n", rule, 1))?;
    rig.control.reload()?;
    rig.wait_for("all targets healthy", |targets| targets.iter().all(lbd::testbed::daemon::is_serving))?;
    let from = |family: Family| SocketAddr::from((family.client(), FIRST_PORT));
    let v6 = ask(&rig, from(Family::V6), vip_of(Family::V6, &Service::LINES))?;
    let listener = v6.listener.as_ref().ok_or("no listener")?;
    assert_eq!(listener.rule.as_ref().map(|rule| rule.priority), Some(7));
    assert!(
        show::why(&v6).contains("by its rule 7 for IPv6 clients, forwards to lines-v6"),
        "{}",
        show::why(&v6)
    );
    let v4 = ask(&rig, from(Family::V4), vip_of(Family::V4, &Service::LINES))?;
    assert_eq!(v4.listener.and_then(|listener| listener.rule), None);
    let open = || Conversation::open_from(from(Family::V6), vip_of(Family::V6, &Service::LINES));
    let mut conversation = rig.network.client.within(open)?;
    let target = number_of(&conversation.ask("hello")?.target)?;
    assert_eq!(v6.target.map(|row| row.target.ip()), Some(Family::V6.target(target)));
    drop(conversation);
    rig.finish().map(drop)
}

/// Asks until every worker has answered in time.
fn ask(rig: &Rig, client: SocketAddr, vip: SocketAddr) -> Result<Why, Failed> {
    let mut why = rig.control.why(&WhyQuery { client, vip, protocol: None })?;
    wait_until("an answer of every worker", || {
        let have_answered = why.silent_workers.is_empty();
        if !have_answered {
            why = rig.control.why(&WhyQuery { client, vip, protocol: None })?;
        }
        Ok(have_answered)
    })?;
    Ok(why)
}

/// Sends a datagram with a source that the sender does not have.
fn say_as(source: Ipv4Addr, to: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_ip_transparent_v4(true)?;
    socket.bind(&SocketAddr::from((source, FIRST_PORT)).into())?;
    socket.send_to(b"I am you", &to.into()).map(drop)
}

fn client(port: u16) -> SocketAddr {
    (CLIENT, port).into()
}

/// Of an embedded target, by its name.
fn number_of(target: &str) -> Result<u8, Failed> {
    Ok(target.trim_start_matches("target").parse()?)
}

const PLAN: Plan = Plan { layout: Layout::Switched, targets: 3, queues: 2, offload: Offload::Off };
const FIRST_PORT: u16 = 20_000;
