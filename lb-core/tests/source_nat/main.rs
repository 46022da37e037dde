//! Flows whose targets see a source address and port of ours instead of the client's (RFC 3022 section 2.2, RFC 6888, NLB "Client
//! IP preservation"): how ports are taken, found again by replies, and rested; alone and among several workers.

#[path = "../support/mod.rs"]
mod support;

mod rest;
mod workers;

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use lb_core::{
    datapath::Settings,
    limits,
    tables::{CutCause, FlowPolicy, NextHop, Sources},
    time::Instant,
    verdict::{Action, Reason},
};
use support::*;

/// Modes in which every flow has a source of ours.
fn translating_modes() -> [Mode; 4] {
    let [v4, v6] = source_translating_modes();
    [v4, v6, v4_to_v6(), v6_to_v4()]
}

/// Modes in which clients and targets have one family, so that a target can be a client of its own.
fn one_family_modes() -> [Mode; 4] {
    let ([kept_v4, kept_v6], [v4, v6]) = (preserving_modes(), source_translating_modes());
    [kept_v4, kept_v6, v4, v6]
}

fn client(mode: &Mode, port: u16) -> SocketAddr {
    (mode.client.ip(), port).into()
}

#[test]
fn ten_ports_make_ten_flows_to_one_target_and_the_eleventh_is_refused_and_counted() {
    for mode in translating_modes() {
        for (first, listener) in [(6, 0), (17, 1)] {
            let scene = Scene { sources: sources(5_000..=5_009), ..mode.scene.clone().with_targets(1) };
            let mut path = leaked_datapath(256, settings(), &scene);
            let packet = |port| match first {
                6 => tcp(client(&mode, port), mode.web(), SYN),
                _ => udp(client(&mode, port), mode.dns()),
            };
            let mut ports: Vec<u16> =
                (1..=10).map(|port| OpenFlow::open(&mut path, &packet(port), 0).source.port()).collect();
            ports.sort_unstable();
            assert_eq!(ports, (5_000..=5_009).collect::<Vec<_>>(), "{}", mode.name);
            for port in 11..=13 {
                assert_eq!(
                    through(&mut path, &packet(port), 0).0.reason,
                    Reason::NoSourcePort,
                    "{}",
                    mode.name
                );
            }
            let listener = if mode.is_ipv4() { listener } else { listener + 2 };
            let counters = path.counters();
            assert_eq!(counters.listeners[listener].port_allocation_errors.value(), 3);
            assert_eq!(counters.flows.value(), 10);
            for port in 1..=10 {
                assert_eq!(through(&mut path, &packet(port), 0).0.reason, Reason::FlowHit);
            }
            assert_books_balance(path.counters());
        }
    }
}

/// NLB counts per (load balancer address, target address, target port).
#[test]
fn ports_are_counted_for_each_target_each_source_address_and_each_protocol() {
    for mode in source_translating_modes() {
        let second: IpAddr = match mode.is_ipv4() {
            true => "198.19.200.2".parse().unwrap(),
            false => "2001:db8:200::2".parse().unwrap(),
        };
        let first = if mode.is_ipv4() { IpAddr::V4(SOURCE) } else { IpAddr::V6(SOURCE6) };
        let sources = Arc::new(Sources { addresses: [first, second].into(), ports: 5_000..=5_004 });
        let scene = Scene { sources, ..mode.scene.clone().with_targets(2) };
        let mut path = leaked_datapath(1_024, settings(), &scene);
        let mut taken: HashMap<(SocketAddr, u8), u32> = HashMap::new();
        for port in 1_000..1_049 {
            for packet in [tcp(client(&mode, port), mode.web(), SYN), udp(client(&mode, port), mode.dns())] {
                // Beyond the time that a target without ports is left alone.
                if let (_, Some(out)) = through(&mut path, &packet, u64::from(port - 1_000) * 20) {
                    *taken.entry((read(&out).destination, packet.protocol)).or_default() += 1;
                }
            }
        }
        assert_eq!(taken.values().copied().collect::<Vec<_>>(), [10; 4], "{}: {taken:?}", mode.name);
    }
}

/// A client has a limit to its ports, and so to the memory of its flows; others do not feel it.
#[test]
fn rfc_6888_req_4_and_5_one_client_takes_no_more_ports_than_it_may_have() {
    for mode in translating_modes() {
        let settings = Settings { ports_per_client: Some(3), ..settings() };
        let mut path = leaked_datapath(256, settings, &mode.scene);
        let syn = |port| tcp(client(&mode, port), mode.web(), SYN);
        let datagram = |port| udp(client(&mode, port), mode.dns());
        // Of TCP and UDP together.
        for packet in [syn(1), syn(2), datagram(3)] {
            assert_eq!(through(&mut path, &packet, 0).0.reason, Reason::FlowNew, "{}", mode.name);
        }
        for packet in [syn(4), datagram(4)] {
            assert_eq!(through(&mut path, &packet, 0).0.reason, Reason::ClientPorts, "{}", mode.name);
        }
        assert_eq!(path.counters().flows.value(), 3, "{}", mode.name);
        for packet in [syn(1), datagram(3)] {
            assert_eq!(through(&mut path, &packet, 0).0.reason, Reason::FlowHit, "{}", mode.name);
        }
        let mut other = syn(4);
        other.source = match other.source.ip() {
            IpAddr::V4(_) => "198.18.0.77:4".parse().unwrap(),
            IpAddr::V6(_) => "[2001:db8::77]:4".parse().unwrap(),
        };
        assert_eq!(through(&mut path, &other, 0).0.reason, Reason::FlowNew, "{}", mode.name);
        // The handshakes were never completed: their ports are free again.
        let late = u64::from(limits::HALF_OPEN_S) * 1_000 + 1;
        path.expire(Instant::from_millis(0));
        (1..=2).for_each(|round| path.expire(Instant::from_millis(late * round)));
        assert_eq!(through(&mut path, &syn(4), late * 2).0.reason, Reason::FlowNew, "{}", mode.name);
        assert_books_balance(path.counters());
    }
}

/// A search through all ports in vain is not repeated for every packet of a flood.
#[test]
fn a_target_without_ports_is_left_alone_for_a_moment() {
    let [mode, _] = source_translating_modes();
    let scene = Scene { sources: sources(5_000..=5_000), ..mode.scene.clone().with_targets(1) };
    let mut path = leaked_datapath(256, settings(), &scene);
    let flow = OpenFlow::open(&mut path, &tcp(client(&mode, 1), mode.web(), SYN), 0);
    let second = tcp(client(&mode, 2), mode.web(), SYN);
    let slow = u64::from(limits::HANDSHAKE_MS);
    assert_eq!(through(&mut path, &second, slow - 1).0.reason, Reason::NoSourcePort);
    // From here on the first flow has been half-open for too long to keep its port; but a search within 10 ms is not made.
    assert_eq!(through(&mut path, &second, slow).0.reason, Reason::NoSourcePort);
    let moment = u64::from(limits::EXHAUSTION_MS);
    assert_eq!(through(&mut path, &second, slow - 1 + moment).0.reason, Reason::FlowNew);
    assert_eq!(path.counters().half_open_evicted.value(), 1);
    assert_eq!(OpenFlow::open(&mut path, &second, slow + moment).source, flow.source);
}

#[test]
fn sources_that_are_vips_spare_the_ports_of_listeners() {
    let [mode, _] = source_translating_modes();
    let sources = Arc::new(Sources { addresses: [VIP.into()].into(), ports: 78..=82 });
    let scene = Scene { sources, ..mode.scene.clone().with_targets(1) };
    let mut path = leaked_datapath(256, settings(), &scene);
    let mut ports = Vec::new();
    for port in 1..=4 {
        let flow = OpenFlow::connect(&mut path, client(&mode, port), mode.web(), 0);
        assert_eq!(flow.source.ip(), IpAddr::V4(VIP));
        ports.push(flow.source.port());
    }
    ports.sort_unstable();
    assert_eq!(ports, [78, 79, 81, 82], "80 is a listener's");
    let fifth = tcp(client(&mode, 5), mode.web(), SYN);
    assert_eq!(through(&mut path, &fifth, 0).0.reason, Reason::NoSourcePort);
    // On UDP, 80 is nobody's.
    let ports: HashSet<u16> = (1..=5)
        .map(|port| OpenFlow::open(&mut path, &udp(client(&mode, port), mode.dns()), 20).source.port())
        .collect();
    assert_eq!(ports, (78..=82).collect());
}

#[test]
fn without_a_source_of_the_targets_family_there_is_no_flow() {
    for mode in translating_modes() {
        let other: IpAddr = match mode.scene.target_family {
            Family::V4 => SOURCE6.into(),
            Family::V6 => SOURCE.into(),
        };
        for addresses in [vec![], vec![other]] {
            let sources = Arc::new(Sources { addresses: addresses.into(), ports: 1_024..=65_535 });
            let scene = Scene { sources, ..mode.scene.clone() };
            let mut path = leaked_datapath(256, settings(), &scene);
            for packet in [mode.syn(), mode.datagram()] {
                assert_eq!(through(&mut path, &packet, 0).0.reason, Reason::NoSource, "{}", mode.name);
            }
            assert_eq!(path.counters().flows.value(), 0);
        }
    }
}

/// NLB's known limitation 1: a target that reaches its own listener and is selected itself. With full NAT that takes nothing special.
#[test]
fn rfc_5508_req_7_a_target_that_is_its_own_client_sees_a_source_of_ours() {
    for mode in one_family_modes() {
        let scene = mode.scene.clone().with_targets(1);
        let mut path = leaked_datapath(256, settings(), &scene);
        let itself = scene.target(1);
        let own_port: SocketAddr = (itself.ip(), 40_000).into();
        let from_target = |packet: Crafted| packet.macs(target_mac(1), INSIDE_MAC);
        let (verdict, out) = through(&mut path, &from_target(tcp(own_port, mode.web(), SYN)), 0);
        assert_eq!(verdict.reason, Reason::FlowNew, "{}", mode.name);
        let seen = read(&out.unwrap());
        assert_eq!(seen.destination, itself);
        assert_ne!(seen.source.ip(), itself.ip());
        let (_, out) = through(&mut path, &from_target(tcp(itself, seen.source, SYN | ACK)), 0);
        let back = read(&out.clone().unwrap());
        assert_eq!((back.source, back.destination), (mode.web(), own_port));
        assert_eq!(back.macs, (INSIDE_MAC, target_mac(1)), "back by the way that it came");
        let out = out.unwrap();
        assert_eq!(path.counters().hairpins.value(), 1, "{}", mode.name);
        // An error about that reply goes round as well.
        let kind = if mode.is_ipv4() { (3, 3) } else { (1, 4) };
        let macs = (target_mac(1), INSIDE_MAC);
        let error = icmp_error(kind, (itself.ip(), mode.vip), macs, &out, out.len() - 14);
        let (verdict, out) = send(&mut path, INSIDE, &error, 0);
        assert_eq!(verdict.reason, Reason::IcmpError, "{}", mode.name);
        let seen_error = read_error(&out.unwrap());
        assert_eq!((seen_error.source, seen_error.destination), (seen.source.ip(), itself.ip()));
        assert_books_balance(path.counters());
    }
}

#[test]
fn a_target_that_is_a_client_of_others_is_preserved_and_no_hairpin() {
    for mode in preserving_modes() {
        let mut path = leaked_datapath(4_096, settings(), &mode.scene);
        let mut selected_itself = 0;
        for port in 1_000..1_300 {
            let client: SocketAddr = (mode.scene.target(1).ip(), port).into();
            let syn = tcp(client, mode.web(), SYN).macs(target_mac(1), INSIDE_MAC);
            let seen = read(&through(&mut path, &syn, 0).1.unwrap());
            let is_itself = number_of(seen.destination) == 1;
            assert_eq!(seen.source == client, !is_itself, "{}", mode.name);
            selected_itself += u64::from(is_itself);
        }
        assert!((50..150).contains(&selected_itself), "{selected_itself}");
        assert_eq!(path.counters().hairpins.value(), selected_itself);
    }
}

/// NLB's known limitation 2: one client port through two listeners to the only target.
#[test]
fn a_client_port_that_a_target_knows_already_gets_another_source_there() {
    for mode in preserving_modes() {
        let scene = Scene { second_port: Some(81), ..mode.scene.clone().with_targets(1) };
        let scene = if mode.is_ipv4() { scene } else { continue }; // The second listener is on the IPv4 VIP.
        let mut path = leaked_datapath(256, settings(), &scene);
        let first = OpenFlow::connect(&mut path, mode.client, mode.web(), 0);
        let second = OpenFlow::connect(&mut path, mode.client, (mode.vip, 81).into(), 0);
        assert_eq!((first.source, second.source.ip()), (mode.client, SOURCE.into()));
        first.to_client(&mut path, &first.reply(ACK), 1);
        second.to_client(&mut path, &second.reply(ACK), 1);
        let sourceless = Scene { sources: Sources::none(), ..scene };
        let mut path = leaked_datapath(256, settings(), &sourceless);
        OpenFlow::connect(&mut path, mode.client, mode.web(), 0);
        let second = tcp(mode.client, (mode.vip, 81), SYN);
        assert_eq!(through(&mut path, &second, 0).0.reason, Reason::TupleCollision);
    }
}

/// The source port is not known any more: such a packet is reset, never sent to a target as somebody else.
#[test]
fn packets_of_no_flow_are_not_adopted_where_sources_are_ours() {
    for mode in translating_modes() {
        let hops = [mode.client.ip(), SOURCE.into(), SOURCE6.into()]
            .map(|address| (address, NextHop { interface: OUTSIDE, mac: CLIENT_MAC }));
        let scene = Scene { adopts_strays: true, hops: hops.into(), ..mode.scene.clone() };
        let mut before = leaked_datapath(256, settings(), &scene);
        let flow = mode.connect(&mut before);
        let mut path = leaked_datapath(256, settings(), &scene);
        for packet in [flow.request(ACK), flow.reply(ACK)] {
            let (verdict, out) = through(&mut path, &packet, 0);
            assert_eq!(verdict.reason, Reason::ResetNoFlow, "{}", mode.name);
            assert_eq!(read(&out.unwrap()).destination, packet.source);
        }
        assert_eq!(path.counters().flows.value(), 0);
    }
}

/// Draining, and cutting, work as for flows that keep their client.
#[test]
fn a_cut_flow_keeps_its_port_from_others() {
    for mode in translating_modes() {
        let scene = Scene { sources: sources(5_000..=5_000), ..mode.scene.clone().with_targets(1) };
        let mut path = leaked_datapath(256, settings(), &scene);
        let flow = mode.connect(&mut path);
        let cut =
            Scene { generation: 2, targets: vec![(1, true, FlowPolicy::Cut(CutCause::Unhealthy))], ..scene };
        path.install(cut.tables());
        let (verdict, _) = through(&mut path, &flow.request(ACK), 1);
        assert_eq!(verdict.reason, Reason::ResetTerminated, "{}", mode.name);
        let extras = take_extras(&mut path);
        let reset = read(&extras[0].1);
        assert_eq!((reset.source, reset.destination), (flow.source, flow.target));
        let other = tcp(client(&mode, 2), mode.web(), SYN);
        assert_ne!(through(&mut path, &other, 2).0.reason.action(), Action::Transmit, "{}", mode.name);
    }
}

#[test]
fn people_are_told_what_the_target_sees() {
    for mode in modes() {
        let mut path = mode.path();
        let first = path.explain(&mode.syn().bytes());
        let flow = mode.connect(&mut path);
        let end = |at: SocketAddr| (at.ip(), at.port());
        assert_eq!((first.target, first.source), (Some(end(flow.target)), None), "{}", mode.name);
        let own = (flow.source != flow.client).then_some(end(flow.source));
        for packet in [flow.request(ACK), flow.reply(ACK)] {
            let told = path.explain(&packet.bytes());
            assert_eq!((told.target, told.source), (Some(end(flow.target)), own), "{}", mode.name);
            assert_eq!(told.listener, first.listener);
        }
        let mut seen = Vec::new();
        assert_eq!(path.visit_flows(0, 64, Instant::from_millis(0), |view| seen.push(view)), None);
        let view = &seen[0];
        assert_eq!((view.client, view.vip), (end(flow.client), end(flow.vip)));
        assert_eq!((view.source, view.target), (end(flow.source), end(flow.target)));
        // A port that rests is no flow.
        through(&mut path, &flow.request(ACK), 400_000);
        path.visit_flows(0, 64, Instant::from_millis(400_000), |view| panic!("{view:?}"));
    }
}
