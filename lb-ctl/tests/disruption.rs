//! Whose flows move when targets come, go or fall ill: tables of the real compiler, a real packet path, 100,000 flows.
//!
//! Half of the flows are TCP connections, half are UDP, each to a group of their own; both groups have the same machines. Established
//! flows move with their own target alone. Flows that no flow table knows, as after a change of nodes, find their targets by hashing:
//! of those, somewhat more than the share of the target that comes or goes move.

#[path = "../../lb-core/tests/support/mod.rs"]
mod support;

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use lb_core::{
    datapath::Datapath,
    flow_key::FlowKey,
    flow_table::FlowArena,
    select,
    tables::{Endpoint, Interface, NextHop, Ownership, Protocol, Tables},
    time::Instant,
    verdict::Reason,
};
use lb_ctl::{
    compile::{Compiler, Inputs},
    config::{self, Config, Target},
    health::{Cause, TargetHealth, TargetKey},
};
use support::{
    ACK, CLIENT, Crafted, INSIDE, INSIDE_MAC, OUTSIDE_MAC, SYN, VIP, settings, take_extras, target_mac, tcp,
    through, udp,
};

#[test]
fn an_established_flow_moves_with_its_own_target_alone() {
    for count in COUNTS {
        let mut control = Control::new(count);
        let mut arena = FlowArena::new(CAPACITY);
        let mut traffic = Traffic::open(&mut arena, &control.compile());
        control.register(count);
        traffic.install(&control.compile());
        assert!(traffic.moved().is_empty(), "{count}: a target comes");
        control.weigh(1, 9);
        control.ill.push(key(UDP_GROUP, 1));
        traffic.install(&control.compile());
        assert!(traffic.moved().is_empty(), "{count}: another weight, a UDP target is unhealthy");
        control.ill.push(key(TCP_GROUP, 0));
        traffic.install(&control.compile());
        let ill = traffic.moved();
        assert_eq!(ill, traffic.flows_at(0, is_tcp), "{count}: a TCP target is unhealthy");
        assert!(ill.iter().all(|flow| traffic.fate(*flow) == Fate::Reset));

        let mut control = Control::new(count);
        let mut arena = FlowArena::new(CAPACITY);
        let mut traffic = Traffic::open(&mut arena, &control.compile());
        control.deregister(0);
        traffic.install(&control.compile());
        let gone = traffic.moved();
        assert_eq!(gone, traffic.flows_at(0, |_| true), "{count}: a target goes");
        assert!(gone.iter().all(|flow| (traffic.fate(*flow) == Fate::Reset) == is_tcp(*flow)));
        control.register(0);
        traffic.install(&control.compile());
        assert!(
            gone.iter().all(|flow| (traffic.fate(*flow) == Fate::Reset) == is_tcp(*flow)),
            "{count}: it comes back, but what was cut stays cut"
        );
        println!(
            "{count:>3} targets: one comes: 0 of {FLOWS} flows move; one falls ill: its {} TCP flows end; one goes: its {} flows \
             move; others: 0",
            ill.len(),
            gone.len(),
        );
    }
}

#[test]
fn of_flows_that_no_table_knows_few_more_move_than_must() {
    for count in COUNTS {
        let mut control = Control::new(count);
        let tables = control.compile();
        let before = selected(&tables);
        control.register(count);
        let more = selected(&control.compile());
        control.deregister(count);
        control.deregister(0);
        let less = selected(&control.compile());
        control.register(0);
        let again = control.compile();
        assert_eq!(selected(&again), before, "{count}: it is back");
        for (one, other) in tables.groups().iter().zip(again.groups()) {
            assert_eq!(one.pools[0].maglev, other.pools[0].maglev, "{count}: it is back");
        }

        let per_cent = |flows: usize| flows as f64 * 100.0 / FLOWS as f64;
        let moved =
            |after: &[u32]| per_cent(before.iter().zip(after).filter(|(old, new)| old != new).count());
        let share = per_cent(before.iter().filter(|target| **target == 0).count());
        let (by_one_more, by_one_less) = (moved(&more), moved(&less));
        println!(
            "{count:>3} targets, no flow table: one comes: {by_one_more:.2} % move (1/(N+1): {:.2} %); one goes: {by_one_less:.2} % \
             (its share: {share:.2} %)",
            100.0 / f64::from(count + 1),
        );
        assert!(by_one_more <= 100.0 / f64::from(count + 1) + MARGIN_PER_CENT);
        assert!(by_one_less <= share + MARGIN_PER_CENT);
    }
}

/// The control thread's part: a configuration, who is ill, and the compiler.
struct Control {
    config: Config,
    ill: Vec<TargetKey>,
    compiler: Compiler,
}

impl Control {
    /// With the targets from 0 on, in both groups; what is left after a delay of 0 is cut.
    fn new(count: u32) -> Control {
        let group = |name: &str, protocol: &str, port: u16| {
            format!(
                "[[target_groups]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\nport = {port}\ntargets = [{}]\n\
                 [target_groups.attributes]\n\"preserve_client_ip.enabled\" = true\n\
                 deregistration_delay = {{ timeout_seconds = 0, connection_termination.enabled = true }}\n",
                (0..count)
                    .map(|n| format!("{{ address = \"{}\" }}", target(n)))
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        };
        let listener = |name: &str, protocol: &str, port: u16| {
            format!(
                "[[load_balancers.listeners]]\nprotocol = \"{protocol}\"\nport = {port}\ntarget_group = \"{name}\"\n"
            )
        };
        let text = [
            format!(
                "interfaces = [\"outside\", \"inside\"]\n[[load_balancers]]\nname = \"edge\"\naddresses = [\"{VIP}\"]\n"
            ),
            listener(TCP_GROUP, "TCP", 80),
            listener(UDP_GROUP, "UDP", 53),
            group(TCP_GROUP, "TCP", TARGET_PORT),
            group(UDP_GROUP, "UDP", TARGET_PORT),
        ];
        let config = config::parse(&text.concat(), "disruption").expect("the configuration is right");
        Control { config, ill: Vec::new(), compiler: Compiler::new() }
    }

    fn register(&mut self, n: u32) {
        for group in &mut self.config.target_groups {
            let like = group.targets[0].clone();
            group.targets.push(Target { address: target(n).into(), ..like });
        }
    }

    fn deregister(&mut self, n: u32) {
        for group in &mut self.config.target_groups {
            group.targets.retain(|known| known.address != target(n));
        }
    }

    fn weigh(&mut self, n: u32, weight: u16) {
        for group in &mut self.config.target_groups {
            group
                .targets
                .iter_mut()
                .filter(|known| known.address == target(n))
                .for_each(|known| known.weight = weight);
        }
    }

    fn compile(&mut self) -> Arc<Tables> {
        let interface =
            |name: &str, mac| Interface { name: name.into(), mac, mtu: 1_500, receive_hash: None };
        let inputs = Inputs {
            config: &self.config,
            interfaces: vec![interface("outside", OUTSIDE_MAC), interface("inside", INSIDE_MAC)],
            health: &|key| match self.ill.contains(key) {
                true => TargetHealth::Unhealthy(Cause::Refused),
                false => TargetHealth::Healthy,
            },
            next_hop: &|_| Some(NextHop { interface: INSIDE, mac: target_mac(1) }),
            hops: Vec::new(),
            ownership: &|_| Ownership::Exclusive,
            host_addresses: &BTreeSet::new(),
            now: Instant::from_millis(1_000),
        };
        self.compiler.compile(&inputs).expect("the tables fit")
    }
}

/// What becomes of a flow's packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    At(u32),
    Reset,
}

/// Established flows, and where each was first.
struct Traffic<'m> {
    path: Datapath<'m>,
    targets: Vec<u32>,
    now_us: u64,
}

impl<'m> Traffic<'m> {
    /// Opens every flow.
    fn open(arena: &'m mut FlowArena, tables: &Arc<Tables>) -> Traffic<'m> {
        let path = Datapath::new(settings(), arena.memory(), tables.clone(), Arc::default());
        let mut traffic = Traffic { path, targets: Vec::new(), now_us: 1_000_000 };
        traffic.targets = (0..FLOWS).map(|flow| traffic.open_one(flow)).collect();
        assert_eq!(traffic.targets, selected(tables), "the path goes by the function that this file asks");
        traffic
    }

    fn open_one(&mut self, flow: usize) -> u32 {
        let first = if is_tcp(flow) { SYN } else { 0 };
        let Fate::At(n) = self.send(&packet(flow, first)) else { panic!("flow {flow} is refused") };
        if is_tcp(flow) {
            let server = SocketAddr::from((target(n), TARGET_PORT));
            let answer = tcp(server, packet(flow, SYN).source, SYN | ACK).macs(target_mac(1), INSIDE_MAC);
            let (verdict, _) = through(&mut self.path, &answer, self.now_us / 1_000);
            assert_eq!(verdict.reason, Reason::FlowHit);
            assert_eq!(self.send(&packet(flow, ACK)), Fate::At(n));
        }
        n
    }

    fn install(&mut self, tables: &Arc<Tables>) {
        self.path.install(tables.clone());
    }

    /// The flows that are not where they were first, by a packet of each.
    fn moved(&mut self) -> Vec<usize> {
        (0..FLOWS).filter(|flow| self.fate(*flow) != Fate::At(self.targets[*flow])).collect()
    }

    /// What becomes of a flow's next packet.
    fn fate(&mut self, flow: usize) -> Fate {
        self.now_us += RESET_US;
        self.send(&packet(flow, ACK))
    }

    fn flows_at(&self, n: u32, is_meant: fn(usize) -> bool) -> Vec<usize> {
        (0..FLOWS).filter(|flow| self.targets[*flow] == n && is_meant(*flow)).collect()
    }

    fn send(&mut self, packet: &Crafted) -> Fate {
        let (verdict, out) = through(&mut self.path, packet, self.now_us / 1_000);
        take_extras(&mut self.path);
        match verdict.reason {
            Reason::FlowHit | Reason::FlowNew => Fate::At(number_of(&out.expect("a frame"))),
            Reason::ResetTerminated => Fate::Reset,
            other => panic!("{packet:?}: {other:?}"),
        }
    }
}

/// The target of every flow by the tables alone.
fn selected(tables: &Tables) -> Vec<u32> {
    let selected = |flow| {
        let Crafted { source, destination, protocol, .. } = packet(flow, SYN);
        let protocol_of = Protocol::from_number(protocol)?;
        let endpoint =
            Endpoint { address: destination.ip(), port: destination.port(), protocol: protocol_of };
        let end = |end: SocketAddr| (end.ip(), end.port().to_be_bytes());
        let key = FlowKey::new(end(source), end(destination), protocol)?;
        let id = select::select(tables, tables.listener_at(&endpoint)?, &settings().selection_secret, &key)?;
        match tables.target(id)?.address {
            std::net::IpAddr::V4(address) => Some(u32::from(address) - FIRST_TARGET),
            std::net::IpAddr::V6(_) => None,
        }
    };
    (0..FLOWS).map(|flow| selected(flow).expect("a target")).collect()
}

/// A client's packet of a flow.
fn packet(flow: usize, flags: u8) -> Crafted {
    let client = Ipv4Addr::from(u32::from(CLIENT) + (flow / FLOWS_OF_CLIENT) as u32);
    let source = SocketAddr::from((client, FIRST_PORT + (flow % FLOWS_OF_CLIENT) as u16));
    match is_tcp(flow) {
        true => tcp(source, (VIP, 80), flags),
        false => udp(source, (VIP, 53)),
    }
}

fn is_tcp(flow: usize) -> bool {
    flow.is_multiple_of(2)
}

fn target(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST_TARGET + n)
}

fn number_of(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[30..34].try_into().expect("an IPv4 packet")) - FIRST_TARGET
}

fn key(group: &str, n: u32) -> TargetKey {
    TargetKey { group: group.into(), address: target(n).into(), port: TARGET_PORT }
}

const COUNTS: [u32; 6] = [2, 3, 5, 10, 50, 100];
const FLOWS: usize = 100_000;
const FLOWS_OF_CLIENT: usize = 1_000;
const FIRST_PORT: u16 = 10_000;
const CAPACITY: u32 = 1 << 18;
const TCP_GROUP: &str = "web";
const UDP_GROUP: &str = "dns";
const TARGET_PORT: u16 = 8_080;
/// 198.19.1.2
const FIRST_TARGET: u32 = 0xc613_0102;
const MARGIN_PER_CENT: f64 = 1.0;
/// Between two packets: so rarely that no reset for either side is one too many in its second.
const RESET_US: u64 = 300;
