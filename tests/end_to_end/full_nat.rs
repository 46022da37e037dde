//! Full NAT: targets see source addresses of the load balancer in place of clients'.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, TcpStream},
    process::Command,
    time::Duration,
};

use lb_ctl::{
    api::{Traffic, WhyQuery},
    show,
};
use lbd::testbed::{
    client::{Conversation, Crowd, Seen},
    network::{CLIENT, Family, Layout, Offload, Plan, VIP},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{ClientAddress, Config, Service, SourceNat},
    harness::{PATIENCE, Rig, heavy, tcp_vip, vip_of, wait_until},
    web::{WebServers, ab, output_of},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("full_nat::ten_thousand_connections_over_four_workers_with_and_without_it", ten_thousand_connections),
    ("full_nat::connections_go_on_over_four_workers", || connections_go_on(Layout::Direct, Offload::Off)),
    ("full_nat::connections_go_on_one_armed", || connections_go_on(Layout::OneArmed, Offload::On)),
    ("full_nat::targets_need_no_route_back", targets_need_no_route_back),
    ("full_nat::ports_run_out", ports_run_out),
    ("full_nat::the_hosts_own_address_is_shared", the_hosts_own_address_is_shared),
    ("full_nat::reserved_ports_are_given_back_after_a_crash", given_back_after_a_crash),
];

/// Not one fails, though the four queues of veth bring most packets, replies not less than requests, to another worker than the one
/// that has their connection.
fn ten_thousand_connections() -> Result<(), Failed> {
    let _heavy = heavy()?;
    let mut rig = Rig::build(PLAN)?;
    let servers = WebServers::start(&rig)?;
    let sources = [Ipv4Addr::new(198, 18, 100, 9), Ipv4Addr::new(198, 18, 100, 10)].map(IpAddr::from);
    let hidden = Config {
        source_nat: Some(SourceNat { addresses: sources.into(), ports: None }),
        ..Config::only(&PLAN, HIDDEN)
    };
    rig.start_daemon(&hidden)?;
    let seen = connections_seen_from(&rig, &servers, "10000 34999")?;
    assert!(seen.is_subset(&sources.into()), "{seen:?}");
    let hidden_ones = assert_replies_came_to_other_workers(&rig, (0, 0))?;
    rig.reload(&Config { services: vec![Service::LINES], ..hidden })?;
    // Other ports than before: what lingers of a connection keeps its source.
    let seen = connections_seen_from(&rig, &servers, "35000 59999")?;
    assert_eq!(seen, [IpAddr::from(CLIENT)].into());
    assert_replies_came_to_other_workers(&rig, hidden_ones)?;
    rig.stop()?;
    for source in sources {
        assert!(!rig.network.lb_has(source), "{source} was left behind");
    }
    Ok(())
}

/// Since `before`, more packets were handed over than clients have sent, so replies among them, too. How many of each there were by now.
fn assert_replies_came_to_other_workers(rig: &Rig, before: (u64, u64)) -> Result<(u64, u64), Failed> {
    let now = (rig.control.stats()?.handed_over, traffic_of_listener(rig)?.packets_in);
    let (handed_over, from_clients) = (now.0 - before.0, now.1 - before.1);
    assert!(from_clients > 4 * REQUESTS as u64, "{from_clients} packets from clients");
    assert!(handed_over > from_clients, "{handed_over} handed over, {from_clients} packets from clients");
    Ok(now)
}

/// Makes connections from a range of the client's ports, a request on each, and returns the addresses that they came from, as the
/// servers saw them. Every one is served.
fn connections_seen_from(rig: &Rig, servers: &WebServers, ports: &str) -> Result<BTreeSet<IpAddr>, Failed> {
    rig.network.client.set_sysctl("net/ipv4/ip_local_port_range", ports)?;
    ab(&rig.network.client, tcp_vip(), REQUESTS)?;
    let visitors = servers.take_visitors()?;
    assert_eq!(visitors.iter().flat_map(|visitors| visitors.values()).sum::<usize>(), REQUESTS);
    Ok(visitors.into_iter().flat_map(|visitors| visitors.into_keys()).collect())
}

/// Without `source_nat`, a load balancer's own addresses are the sources.
fn connections_go_on(layout: Layout, offload: Offload) -> Result<(), Failed> {
    let plan = Plan { layout, offload, ..PLAN };
    let hidden_v6 = Service { client_address: ClientAddress::Hidden, ..Service::LINES_V6 };
    let config = Config { services: vec![HIDDEN, hidden_v6], ..Config::dual_stack(&plan) };
    let rig = Rig::serve_by(plan, &config)?;
    for (family, service) in [(Family::V4, &HIDDEN), (Family::V6, &hidden_v6)] {
        let seen = Seen::Source(family.vip());
        let mut crowd = Crowd::open_seen(&rig.network.client, vip_of(family, service), 300, seen)?;
        assert!(rig.shares(&crowd).iter().all(|share| *share > 20), "{:?}", rig.shares(&crowd));
        let failures = crowd.ask_all("again", PATIENCE);
        assert!(failures.is_empty(), "{failures:?}");
    }
    rig.finish().map(drop)
}

/// A source address on the targets' own network: they answer although they know no way to the client.
fn targets_need_no_route_back() -> Result<(), Failed> {
    let plan = Plan { targets: 1, queues: 2, ..PLAN };
    let source = IpAddr::from(Ipv4Addr::new(198, 19, 1, 9));
    let config = Config {
        source_nat: Some(SourceNat { addresses: vec![source], ports: None }),
        ..Config::only(&plan, HIDDEN)
    };
    let mut rig = Rig::build(plan)?;
    output_of(Command::new("ip").args(["-n", rig.network.targets[0].name(), "route", "del", "default"]))?;
    rig.start_targets()?;
    rig.start_daemon(&config)?;
    let mut crowd = Crowd::open_seen(&rig.network.client, tcp_vip(), 100, Seen::Source(source))?;
    assert_eq!(crowd.ask_all("again", PATIENCE).len(), 0);
    drop(crowd);
    rig.finish().map(drop)
}

fn ports_run_out() -> Result<(), Failed> {
    const PORTS: usize = 10;
    let plan = Plan { targets: 1, queues: 1, ..PLAN };
    let config = Config {
        source_nat: Some(SourceNat { addresses: Vec::new(), ports: Some((20_000, 20_009)) }),
        ..Config::only(&plan, HIDDEN)
    };
    let rig = Rig::serve_by(plan, &config)?;
    let mut crowd = Crowd::open_seen(&rig.network.client, tcp_vip(), PORTS, Seen::Source(VIP.into()))?;
    assert_eq!(traffic_of_listener(&rig)?.port_allocation_errors, 0);

    let another = || TcpStream::connect_timeout(&tcp_vip(), Duration::from_secs(1));
    let query = WhyQuery { client: (CLIENT, 1_023).into(), vip: tcp_vip(), protocol: None };
    let why = rig.control.why(&query)?;
    assert_eq!(why.verdict.reason, "no_source_port", "{}", show::why(&why));
    assert!(
        show::why(&why).contains("no port from 20000 to 20009 of 198.18.100.1 is free"),
        "{}",
        show::why(&why)
    );
    assert!(rig.network.client.within(another).is_err(), "an eleventh connection on ten ports");
    let errors = || -> Result<u64, Failed> { Ok(traffic_of_listener(&rig)?.port_allocation_errors) };
    wait_until("a port that is wanting", || Ok(errors()? > 0))?;
    assert_eq!(crowd.ask_all("unhurt", PATIENCE).len(), 0);

    // Freed ports rest before they are used again, so that no late segment of the old connection meets the new one.
    drop(crowd);
    let before = errors()?;
    assert!(rig.network.client.within(another).is_err(), "a port was used again at once");
    wait_until("a port that is wanting again", || Ok(errors()? > before))?;
    rig.finish().map(drop)
}

fn traffic_of_listener(rig: &Rig) -> Result<Traffic, Failed> {
    let status = rig.control.status()?;
    let listener = status.load_balancers.first().and_then(|row| row.listeners.first());
    Ok(listener.ok_or("there is no listener")?.traffic)
}

/// The ports are taken from the kernel's ephemeral ones while lbd runs, so that both use the address at the same time.
fn the_hosts_own_address_is_shared() -> Result<(), Failed> {
    let (plan, config) = with_the_hosts_address();
    let mut rig = Rig::build(plan)?;
    rig.network.lb.set_sysctl(RESERVED_KEY, OTHERS_PORTS)?;
    rig.start_targets()?;
    rig.start_daemon(&config)?;
    assert_eq!(reserved_ports(&rig)?, RESERVED_WHILE_RUNNING);

    let seen = Seen::Source(Family::V4.target_gateway(1));
    let mut crowd = Crowd::open_seen(&rig.network.client, tcp_vip(), 200, seen)?;
    let target = rig.targets[0].tcp_address();
    let open = || (0..200).map(|_| Conversation::open(target)).collect::<std::io::Result<Vec<_>>>();
    let mut own = rig.network.lb.within(open)?;
    for conversation in &mut own {
        assert_eq!(conversation.ask("from the host itself")?.client, conversation.local);
        assert!(!SHARED_PORTS.contains(&conversation.local.port()), "{}", conversation.local);
    }
    assert_eq!(crowd.ask_all("again", PATIENCE).len(), 0);
    drop((crowd, own));
    rig.stop()?;
    assert_eq!(reserved_ports(&rig)?, OTHERS_PORTS);
    assert!(rig.network.lb_has(Family::V4.target_gateway(1)), "the host's own address was taken away");
    Ok(())
}

fn given_back_after_a_crash() -> Result<(), Failed> {
    let (plan, config) = with_the_hosts_address();
    let mut rig = Rig::build(plan)?;
    rig.network.lb.set_sysctl(RESERVED_KEY, OTHERS_PORTS)?;
    rig.start_targets()?;
    rig.start_daemon(&config)?;
    rig.daemon.take().ok_or("no daemon was started")?.kill()?;
    assert_eq!(reserved_ports(&rig)?, RESERVED_WHILE_RUNNING);
    // The next run has no use for them.
    rig.start_daemon(&Config::of(rig.plan()))?;
    assert_eq!(reserved_ports(&rig)?, OTHERS_PORTS);
    rig.finish().map(drop)
}

fn with_the_hosts_address() -> (Plan, Config) {
    let plan = Plan { targets: 1, queues: 2, ..PLAN };
    let source_nat = SourceNat {
        addresses: vec![Family::V4.target_gateway(1)],
        ports: Some((*SHARED_PORTS.start(), *SHARED_PORTS.end())),
    };
    (plan, Config { source_nat: Some(source_nat), ..Config::only(&plan, HIDDEN) })
}

fn reserved_ports(rig: &Rig) -> Result<String, Failed> {
    Ok(rig.network.lb.sysctl(RESERVED_KEY)?)
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 4, queues: 4, offload: Offload::Off };
const HIDDEN: Service = Service { client_address: ClientAddress::Hidden, ..Service::LINES };
const REQUESTS: usize = 10_000;
/// Half of the kernel's default ephemeral ports, so that a collision would show.
const SHARED_PORTS: std::ops::RangeInclusive<u16> = 32_768..=46_000;
const RESERVED_KEY: &str = "net/ipv4/ip_local_reserved_ports";
const OTHERS_PORTS: &str = "8080,9148";
const RESERVED_WHILE_RUNNING: &str = "8080,9148,32768-46000";
