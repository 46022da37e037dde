//! The packet path as its users see it: frames in, frames out, and why.

mod support;

use std::net::{IpAddr, SocketAddr};

use lb_core::{
    datapath::Datapath,
    tables::*,
    verdict::{Action, Reason},
};
use support::*;

const CLIENT_AT: SocketAddr = SocketAddr::new(IpAddr::V4(CLIENT), 40_000);
const WEB: SocketAddr = SocketAddr::new(IpAddr::V4(VIP), 80);
const DNS: SocketAddr = SocketAddr::new(IpAddr::V4(VIP), 53);

/// Sends a client's packet and expects it at a target: the target's number.
fn to_target(path: &mut Datapath<'_>, packet: &Crafted, reason: Reason, now_ms: u64) -> u8 {
    let (verdict, out) = send(path, OUTSIDE, &packet.bytes(), now_ms);
    assert_eq!((verdict.reason, verdict.port), (reason, INSIDE.0));
    let seen = read(&out.unwrap());
    let n = number_of(seen.destination);
    assert_eq!(seen.source, packet.source, "the target sees the client");
    assert_eq!(seen.destination, (target(n), 8080).into());
    assert_eq!(seen.macs, (INSIDE_MAC, target_mac(n)));
    assert_eq!((seen.ttl, seen.sequence, &seen.payload), (packet.ttl - 1, sequence(packet), &packet.payload));
    n
}

fn sequence(packet: &Crafted) -> u32 {
    if packet.protocol == 6 { packet.sequence } else { 0 }
}

/// Sends target `n`'s packet to the client and expects it there, from the VIP.
fn to_client(path: &mut Datapath<'_>, n: u8, flags: u8, now_ms: u64) {
    let packet = tcp((target(n), 8080), CLIENT_AT, flags).macs(target_mac(n), INSIDE_MAC).payload(b"reply");
    let (verdict, out) = send(path, INSIDE, &packet.bytes(), now_ms);
    assert_eq!((verdict.reason, verdict.port), (Reason::FlowHit, OUTSIDE.0));
    let seen = read(&out.unwrap());
    assert_eq!((seen.source, seen.destination), (WEB, CLIENT_AT));
    assert_eq!(seen.macs, (OUTSIDE_MAC, CLIENT_MAC), "out by the way that the client's packets came");
}

fn reason_of(path: &mut Datapath<'_>, ingress: InterfaceId, frame: &[u8], now_ms: u64) -> Reason {
    send(path, ingress, frame, now_ms).0.reason
}

/// Opens a connection and completes its handshake: the target's number.
fn connect(path: &mut Datapath<'_>, now_ms: u64) -> u8 {
    let n = to_target(path, &tcp(CLIENT_AT, WEB, SYN), Reason::FlowNew, now_ms);
    to_client(path, n, SYN | ACK, now_ms);
    to_target(path, &tcp(CLIENT_AT, WEB, ACK), Reason::FlowHit, now_ms);
    n
}

#[test]
fn a_tcp_connection_stays_on_its_target_in_both_directions() {
    let mut path = leaked_datapath(64, settings(), &Scene::default());
    let n = connect(&mut path, 0);
    for i in 0..100 {
        let data = tcp(CLIENT_AT, WEB, ACK | PSH).payload(&vec![i; usize::from(i) * 7]);
        assert_eq!(to_target(&mut path, &data, Reason::FlowHit, u64::from(i)), n);
        to_client(&mut path, n, ACK, u64::from(i));
    }
    assert_eq!(path.counters().flows.value(), 1);
    assert_books_balance(path.counters());
}

#[test]
fn udp_datagrams_of_one_client_port_stay_on_one_target_and_are_answered_from_the_vip() {
    let mut path = leaked_datapath(64, settings(), &Scene::default());
    let n = to_target(&mut path, &udp(CLIENT_AT, DNS), Reason::FlowNew, 0);
    assert_eq!(to_target(&mut path, &udp(CLIENT_AT, DNS), Reason::FlowHit, 119_000), n);
    let reply = udp((target(n), 8080), CLIENT_AT).macs(target_mac(n), INSIDE_MAC);
    let (_, out) = send(&mut path, INSIDE, &reply.bytes(), 120_000);
    assert_eq!(read(&out.unwrap()).source, DNS);
}

#[test]
fn udp_checksum_zero_stays_zero() {
    let mut path = leaked_datapath(64, settings(), &Scene::default());
    let mut frame = udp(CLIENT_AT, DNS).bytes();
    frame[40..42].fill(0);
    let (_, out) = send(&mut path, OUTSIDE, &frame, 0);
    assert_eq!(out.unwrap()[40..42], [0, 0]);
}

#[test]
fn a_checksum_that_was_wrong_is_wrong_on_the_way_out() {
    let mut path = leaked_datapath(64, settings(), &Scene::default());
    let mut frame = tcp(CLIENT_AT, WEB, SYN).bytes();
    frame[50] ^= 0x40;
    let (_, out) = send(&mut path, OUTSIDE, &frame, 0);
    assert!(std::panic::catch_unwind(|| read(&out.unwrap())).is_err());
}

#[test]
fn flows_spread_over_the_targets() {
    let mut path = leaked_datapath(4_096, settings(), &Scene::default());
    let mut counts = [0; 4];
    for port in 10_000..13_000 {
        counts[usize::from(to_target(&mut path, &tcp((CLIENT, port), WEB, SYN), Reason::FlowNew, 0))] += 1;
    }
    assert!(counts[1..].iter().all(|&count| (900..1_100).contains(&count)), "{counts:?}");
}

#[test]
fn idle_timeouts_are_exact() {
    for (last_packet_ms, reason) in [(350_000, Reason::FlowHit), (350_001, Reason::ResetNoFlow)] {
        let mut path = leaked_datapath(64, settings(), &Scene::default());
        connect(&mut path, 0);
        assert_eq!(reason_of(&mut path, OUTSIDE, &tcp(CLIENT_AT, WEB, ACK).bytes(), last_packet_ms), reason);
    }
    for (last_packet_ms, reason) in [(120_000, Reason::FlowHit), (120_001, Reason::FlowNew)] {
        let mut path = leaked_datapath(64, settings(), &Scene::default());
        to_target(&mut path, &udp(CLIENT_AT, DNS), Reason::FlowNew, 0);
        to_target(&mut path, &udp(CLIENT_AT, DNS), reason, last_packet_ms);
    }
}

#[test]
fn a_target_has_thirty_seconds_to_answer_a_syn_however_often_it_is_repeated() {
    let mut path = leaked_datapath(64, settings(), &Scene::default());
    to_target(&mut path, &tcp(CLIENT_AT, WEB, SYN), Reason::FlowNew, 0);
    to_target(&mut path, &tcp(CLIENT_AT, WEB, SYN), Reason::FlowHit, 20_000);
    to_target(&mut path, &tcp(CLIENT_AT, WEB, SYN), Reason::FlowNew, 30_001);
}

#[test]
fn expired_flows_leave_the_table_without_another_packet() {
    let mut path = leaked_datapath(1_024, settings(), &Scene::default());
    for port in 10_000..10_500 {
        to_target(&mut path, &tcp((CLIENT, port), WEB, SYN), Reason::FlowNew, 0);
    }
    for ms in (0..60_000).step_by(100) {
        path.expire(lb_core::time::Instant::from_millis(ms));
    }
    let counters = path.counters();
    assert_eq!((counters.flows.value(), counters.half_open.value()), (0, 0));
    assert!(counters.targets.iter().all(|target| target.active_flows.value() == 0));
}

#[test]
fn a_closed_port_pair_is_used_again_by_a_new_syn() {
    let mut path = leaked_datapath(64, settings(), &Scene::default());
    let n = connect(&mut path, 0);
    to_target(&mut path, &tcp(CLIENT_AT, WEB, FIN | ACK), Reason::FlowHit, 1);
    to_client(&mut path, n, FIN | ACK, 1);
    to_target(&mut path, &tcp(CLIENT_AT, WEB, ACK), Reason::FlowHit, 1);
    to_target(&mut path, &tcp(CLIENT_AT, WEB, SYN), Reason::FlowNew, 2);
    assert_eq!(path.counters().flows.value(), 1);
}

#[test]
fn a_segment_of_no_flow_gets_the_reset_of_rfc_9293() {
    let mut path = leaked_datapath(64, settings(), &Scene::default());
    let (verdict, out) = send(&mut path, OUTSIDE, &tcp(CLIENT_AT, WEB, ACK).payload(b"late").bytes(), 0);
    assert_eq!((verdict.reason, verdict.port), (Reason::ResetNoFlow, OUTSIDE.0));
    let seen = read(&out.unwrap());
    assert_eq!((seen.source, seen.destination, seen.macs), (WEB, CLIENT_AT, (OUTSIDE_MAC, CLIENT_MAC)));
    assert_eq!((seen.flags, seen.sequence, seen.acknowledgement), (RST, FIRST_SEQUENCE + 1, 0));

    let (_, out) = send(&mut path, OUTSIDE, &tcp(CLIENT_AT, WEB, FIN).payload(b"late").bytes(), 0);
    let seen = read(&out.unwrap());
    assert_eq!((seen.flags, seen.sequence, seen.acknowledgement), (RST | ACK, 0, FIRST_SEQUENCE + 4 + 1));

    let stray = tcp((target(1), 8080), CLIENT_AT, ACK).macs(target_mac(1), INSIDE_MAC);
    let (verdict, out) = send(&mut path, INSIDE, &stray.bytes(), 0);
    assert_eq!((verdict.reason, verdict.port), (Reason::ResetNoFlow, INSIDE.0));
    assert_eq!(read(&out.unwrap()).destination, (target(1), 8080).into());
    assert_eq!(reason_of(&mut path, OUTSIDE, &tcp(CLIENT_AT, WEB, RST).bytes(), 0), Reason::NoFlow);
    assert_eq!(path.counters().flows.value(), 0);
    assert_books_balance(path.counters());
}

#[test]
fn after_an_unclean_start_strays_find_their_target_again_from_either_side() {
    let hops = vec![(CLIENT.into(), NextHop { interface: OUTSIDE, mac: CLIENT_MAC })];
    let mut before = leaked_datapath(64, settings(), &Scene::default());
    let n = connect(&mut before, 0);

    let adopting = lb_core::datapath::Settings {
        adopt_until: Some(lb_core::time::Instant::from_millis(350_000)),
        flow_hash_key: [99; 16],
        ..settings()
    };
    let mut after = leaked_datapath(64, adopting.clone(), &Scene::default());
    assert_eq!(to_target(&mut after, &tcp(CLIENT_AT, WEB, ACK), Reason::FlowAdopted, 5_000), n);
    to_client(&mut after, n, ACK, 5_001);

    let reply = tcp((target(n), 8080), CLIENT_AT, ACK).macs(target_mac(n), INSIDE_MAC).bytes();
    let mut after = leaked_datapath(64, adopting.clone(), &Scene::default());
    assert_eq!(reason_of(&mut after, INSIDE, &reply, 5_000), Reason::NextHopUnresolved);
    assert_eq!(after.take_wanted_hops().collect::<Vec<_>>(), [IpAddr::V4(CLIENT)]);
    after.install(Scene { generation: 2, hops, ..Scene::default() }.tables());
    let (verdict, out) = send(&mut after, INSIDE, &reply, 5_200);
    assert_eq!((verdict.reason, verdict.port), (Reason::FlowAdopted, OUTSIDE.0));
    assert_eq!(read(&out.unwrap()).source, WEB);
    assert_eq!(to_target(&mut after, &tcp(CLIENT_AT, WEB, ACK), Reason::FlowHit, 5_300), n);

    let other =
        tcp((target(1 + n % 3), 8080), CLIENT_AT, ACK).macs(target_mac(1 + n % 3), INSIDE_MAC).bytes();
    assert_eq!(reason_of(&mut after, INSIDE, &other, 5_400), Reason::NoFlow, "selection leads elsewhere");
    let late = tcp((CLIENT, 50_000), WEB, ACK).bytes();
    assert_eq!(reason_of(&mut after, OUTSIDE, &late, 350_000), Reason::ResetNoFlow, "the window is over");
}

#[test]
fn flows_of_a_target_that_is_cut_get_resets_and_the_others_never_notice() {
    let mut path = leaked_datapath(4_096, settings(), &Scene::default());
    let homes: Vec<(u16, u8)> = (10_000..10_300)
        .map(|port| (port, to_target(&mut path, &tcp((CLIENT, port), WEB, SYN), Reason::FlowNew, 0)))
        .collect();
    let mut scene = Scene { generation: 2, ..Scene::default() };
    scene.targets[0] = (1, false, FlowPolicy::Cut(CutCause::Unhealthy));
    path.install(scene.tables());
    for (port, n) in &homes {
        let reason = reason_of(&mut path, OUTSIDE, &tcp((CLIENT, *port), WEB, ACK).bytes(), 1);
        assert_eq!(reason, if *n == 1 { Reason::ResetTerminated } else { Reason::FlowHit });
    }
    let of_target = |path: &Datapath<'_>, n: usize| path.counters().targets[n].active_flows.value();
    assert_eq!(of_target(&path, 1), 0, "tombstones are no flows");
    assert_eq!(
        of_target(&path, 2) + of_target(&path, 3),
        homes.iter().filter(|home| home.1 != 1).count() as u64
    );
    let from_target = tcp((target(1), 8080), (CLIENT, homes.iter().find(|home| home.1 == 1).unwrap().0), ACK);
    let (verdict, out) = send(&mut path, INSIDE, &from_target.macs(target_mac(1), INSIDE_MAC).bytes(), 1);
    assert_eq!((verdict.reason, verdict.port), (Reason::ResetTerminated, INSIDE.0));
    assert_eq!(read(&out.unwrap()).flags, RST);

    path.install(Scene { generation: 3, ..Scene::default() }.tables());
    let (port, _) = *homes.iter().find(|home| home.1 == 1).unwrap();
    assert_eq!(
        reason_of(&mut path, OUTSIDE, &tcp((CLIENT, port), WEB, ACK).bytes(), 2),
        Reason::ResetTerminated
    );
    to_target(&mut path, &tcp((CLIENT, port), WEB, SYN), Reason::FlowNew, 2);
    assert_books_balance(path.counters());
}

#[test]
fn udp_flows_of_a_target_that_is_cut_or_gone_choose_another() {
    for cut in [Some(FlowPolicy::Cut(CutCause::Unhealthy)), None] {
        let mut path = leaked_datapath(64, settings(), &Scene::default());
        let n = to_target(&mut path, &udp(CLIENT_AT, DNS), Reason::FlowNew, 0);
        let mut scene = Scene { generation: 2, ..Scene::default() };
        match cut {
            Some(policy) => scene.targets[usize::from(n) - 1] = (n, false, policy),
            None => drop(scene.targets.remove(usize::from(n) - 1)),
        }
        path.install(scene.tables());
        assert_ne!(to_target(&mut path, &udp(CLIENT_AT, DNS), Reason::FlowNew, 1), n);
    }
}

#[test]
fn flows_of_a_draining_target_live_on_and_it_gets_no_new_ones() {
    let mut path = leaked_datapath(4_096, settings(), &Scene::default());
    let n = connect(&mut path, 0);
    let mut scene = Scene { generation: 2, ..Scene::default() };
    scene.targets[usize::from(n) - 1].1 = false;
    path.install(scene.tables());
    assert_eq!(to_target(&mut path, &tcp(CLIENT_AT, WEB, ACK), Reason::FlowHit, 1), n);
    for port in 10_000..11_000 {
        assert_ne!(to_target(&mut path, &tcp((CLIENT, port), WEB, SYN), Reason::FlowNew, 1), n);
    }
}

#[test]
fn a_changed_next_hop_reaches_existing_flows() {
    let mut path = leaked_datapath(64, settings(), &Scene::default());
    connect(&mut path, 0);
    let moved = tcp(CLIENT_AT, WEB, ACK).macs(Mac([2, 9, 9, 9, 9, 9]), OUTSIDE_MAC);
    let (_, out) = send(&mut path, OUTSIDE, &moved.bytes(), 1);
    let n = number_of(read(&out.unwrap()).destination);
    let reply = tcp((target(n), 8080), CLIENT_AT, ACK).macs(target_mac(n), INSIDE_MAC);
    let (_, out) = send(&mut path, INSIDE, &reply.bytes(), 2);
    assert_eq!(read(&out.unwrap()).macs.1, Mac([2, 9, 9, 9, 9, 9]), "auto last hop");
}

#[test]
fn a_full_table_refuses_state_and_not_traffic() {
    let hops = vec![(CLIENT.into(), NextHop { interface: OUTSIDE, mac: CLIENT_MAC })];
    let mut path = leaked_datapath(64, settings(), &Scene { hops, ..Scene::default() });
    for port in 10_000..10_064 {
        to_target(&mut path, &udp((CLIENT, port), DNS), Reason::FlowNew, 0);
    }
    let n = to_target(&mut path, &tcp(CLIENT_AT, WEB, SYN), Reason::Stateless, 1);
    let reply = tcp((target(n), 8080), CLIENT_AT, SYN | ACK).macs(target_mac(n), INSIDE_MAC);
    let (verdict, out) = send(&mut path, INSIDE, &reply.bytes(), 1);
    assert_eq!((verdict.reason, read(&out.unwrap()).source), (Reason::Stateless, WEB));
    assert_eq!(to_target(&mut path, &tcp(CLIENT_AT, WEB, ACK), Reason::Stateless, 1), n);
    for port in 10_000..10_064 {
        to_target(&mut path, &udp((CLIENT, port), DNS), Reason::FlowHit, 2);
    }
    for ms in (0..140_000).step_by(100) {
        path.expire(lb_core::time::Instant::from_millis(ms));
    }
    assert_eq!(
        to_target(&mut path, &tcp(CLIENT_AT, WEB, ACK), Reason::FlowAdopted, 140_000),
        n,
        "room again"
    );
    assert_books_balance(path.counters());
}

#[test]
fn one_client_port_through_two_listeners_reaches_two_targets() {
    let mut path = leaked_datapath(4_096, settings(), &Scene { second_port: Some(81), ..Scene::default() });
    for port in 10_000..10_500 {
        let first = to_target(&mut path, &tcp((CLIENT, port), WEB, SYN), Reason::FlowNew, 0);
        let second = to_target(&mut path, &tcp((CLIENT, port), (VIP, 81), SYN), Reason::FlowNew, 0);
        assert_ne!(first, second, "the target could not tell the connections apart");
    }
    let mut scene = Scene { second_port: Some(81), ..Scene::default() };
    scene.targets.truncate(1);
    let mut path = leaked_datapath(64, settings(), &scene);
    to_target(&mut path, &tcp(CLIENT_AT, WEB, SYN), Reason::FlowNew, 0);
    let second = tcp(CLIENT_AT, (VIP, 81), SYN).bytes();
    assert_eq!(reason_of(&mut path, OUTSIDE, &second, 0), Reason::TupleCollision);
}

/// Whatever listener a client came to, a packet of its target alone tells which: after a crash, and when the table is full.
#[test]
fn a_targets_packet_without_a_flow_finds_the_listener_of_several_that_share_the_group() {
    let hops = vec![(CLIENT.into(), NextHop { interface: OUTSIDE, mac: CLIENT_MAC })];
    let scene = Scene { second_port: Some(81), hops, ..Scene::default() };
    let mut before = leaked_datapath(4_096, settings(), &scene);
    let adopt_until = Some(lb_core::time::Instant::from_millis(350_000));
    let mut after = leaked_datapath(4_096, lb_core::datapath::Settings { adopt_until, ..settings() }, &scene);
    let mut full = leaked_datapath(64, settings(), &scene);
    for port in 1..=64 {
        to_target(&mut full, &udp((CLIENT, port), DNS), Reason::FlowNew, 0);
    }
    for port in 10_000..10_500 {
        let vip = (VIP, if port % 2 == 0 { 80 } else { 81 });
        let syn = tcp((CLIENT, port), vip, SYN);
        let n = to_target(&mut before, &syn, Reason::FlowNew, 0);
        assert_eq!(to_target(&mut full, &syn, Reason::Stateless, 0), n);
        let reply = tcp((target(n), 8080), (CLIENT, port), ACK).macs(target_mac(n), INSIDE_MAC).bytes();
        for (path, reason) in [(&mut after, Reason::FlowAdopted), (&mut full, Reason::Stateless)] {
            let (verdict, out) = send(path, INSIDE, &reply, 1);
            assert_eq!((verdict.reason, read(&out.unwrap()).source), (reason, vip.into()));
        }
    }
}

/// Spoofed packets that follow a SYN do not make it more than half-open: only the target's and the client's answers do.
#[test]
fn a_flood_of_connections_that_never_complete_leaves_room_for_honest_ones() {
    for follow_up in [RST, FIN | ACK, ACK, RST | ACK] {
        let mut path = leaked_datapath(64, settings(), &Scene::default());
        for port in 10_000..10_300 {
            send(&mut path, OUTSIDE, &tcp((CLIENT, port), WEB, SYN).bytes(), 0);
            send(&mut path, OUTSIDE, &tcp((CLIENT, port), WEB, follow_up).bytes(), 0);
        }
        assert!(path.counters().flows.value() <= 8, "{follow_up:#x}");
        connect(&mut path, 1);
    }
}

/// The same while strays are adopted: a SYN-ACK that finds no flow adopts one that is still half-open.
#[test]
fn adopted_handshakes_count_against_the_budget() {
    let hops = vec![(CLIENT.into(), NextHop { interface: OUTSIDE, mac: CLIENT_MAC })];
    let adopt_until = Some(lb_core::time::Instant::from_millis(350_000));
    let scene = Scene { targets: vec![(1, true, FlowPolicy::Keep)], hops, ..Scene::default() };
    let mut path = leaked_datapath(64, lb_core::datapath::Settings { adopt_until, ..settings() }, &scene);
    for port in 10_000..10_060 {
        let answer = tcp((target(1), 8080), (CLIENT, port), SYN | ACK).macs(target_mac(1), INSIDE_MAC);
        assert_eq!(reason_of(&mut path, INSIDE, &answer.bytes(), 0), Reason::FlowAdopted);
    }
    assert_eq!((path.counters().flows.value(), path.counters().half_open.value()), (8, 8));
}

/// Tables changed while the flow lived: what its target is now by selection has no part in it.
#[test]
fn a_stray_of_another_target_does_not_take_a_clients_flow_over() {
    let hops = vec![(CLIENT.into(), NextHop { interface: OUTSIDE, mac: CLIENT_MAC })];
    let adopt_until = Some(lb_core::time::Instant::from_millis(350_000));
    let mut scene = Scene { targets: vec![(1, true, FlowPolicy::Keep)], hops, ..Scene::default() };
    let mut path = leaked_datapath(64, lb_core::datapath::Settings { adopt_until, ..settings() }, &scene);
    assert_eq!(connect(&mut path, 0), 1);
    scene = Scene {
        generation: 2,
        targets: vec![(1, false, FlowPolicy::Keep), (2, true, FlowPolicy::Keep)],
        ..scene
    };
    path.install(scene.tables());
    let stray = tcp((target(2), 8080), CLIENT_AT, ACK).macs(target_mac(2), INSIDE_MAC).bytes();
    assert_eq!(reason_of(&mut path, INSIDE, &stray, 1), Reason::NoFlow);
    assert_eq!(to_target(&mut path, &tcp(CLIENT_AT, WEB, ACK), Reason::FlowHit, 1), 1);
}

#[test]
fn a_flow_is_over_after_any_silence_longer_than_its_timeout() {
    for days in [1, 20, 25, 40, 49] {
        let mut path = leaked_datapath(64, settings(), &Scene::default());
        connect(&mut path, 0);
        let reason = reason_of(&mut path, OUTSIDE, &tcp(CLIENT_AT, WEB, ACK).bytes(), days * 86_400_000);
        assert_eq!(reason, Reason::ResetNoFlow, "{days} days");
    }
}

#[test]
fn packets_that_another_worker_owns_are_handed_over_whichever_side_sent_them() {
    let worker = |worker| lb_core::datapath::Settings { worker, workers: 2, ..settings() };
    let mut paths = [0, 1].map(|n| leaked_datapath(1_024, worker(n), &Scene::default()));
    for port in 10_000..10_100 {
        let syn = tcp((CLIENT, port), WEB, SYN);
        let verdicts = [0, 1].map(|n| send(&mut paths[n], OUTSIDE, &syn.bytes(), 0).0);
        let home = usize::from(verdicts[0].reason == Reason::HandedOver);
        assert_eq!(verdicts[home].reason, Reason::FlowNew);
        assert_eq!(
            (verdicts[1 - home].reason, usize::from(verdicts[1 - home].port)),
            (Reason::HandedOver, home)
        );
        let reply = tcp((target(1), 8080), (CLIENT, port), ACK).macs(target_mac(1), INSIDE_MAC).bytes();
        assert_eq!(send(&mut paths[1 - home], INSIDE, &reply, 0).0.port, home as u8);
    }
}

#[test]
fn answers_are_rate_limited() {
    let mut path = leaked_datapath(64, settings(), &Scene::default());
    let stray = tcp(CLIENT_AT, WEB, ACK).bytes();
    for _ in 0..lb_core::limits::REPLIES_PER_SECOND {
        assert_eq!(reason_of(&mut path, OUTSIDE, &stray, 5), Reason::ResetNoFlow);
    }
    assert_eq!(reason_of(&mut path, OUTSIDE, &stray, 5), Reason::ResetRateLimited);
    assert_eq!(reason_of(&mut path, OUTSIDE, &stray, 1_000), Reason::ResetNoFlow);
}

/// Applies `change` to a good SYN, puts the IP checksum right unless asked not to, and gives the reason of its drop.
#[test]
fn every_malformed_frame_is_dropped_under_its_own_reason() {
    let fixed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = tcp(CLIENT_AT, WEB, SYN).bytes();
        change(&mut frame);
        if frame.len() >= 34 {
            fix_ip_checksum(&mut frame);
        }
        frame
    };
    let mut wrong_sum = tcp(CLIENT_AT, WEB, SYN).bytes();
    wrong_sum[24] ^= 1;
    let routed = Crafted { options: vec![131, 7, 4, 1, 2, 3, 4, 0], ..tcp(CLIENT_AT, WEB, SYN) }.bytes();
    let short_udp = |length: u16| {
        let mut frame = udp(CLIENT_AT, DNS).bytes();
        frame[38..40].copy_from_slice(&length.to_be_bytes());
        frame
    };
    let rows: Vec<(Vec<u8>, Reason)> = vec![
        (vec![0; 13], Reason::EthernetTruncated),
        (fixed(&|f| f.truncate(33)), Reason::Ipv4Truncated),
        (fixed(&|f| f[12] = 0x86), Reason::NotIp),
        (fixed(&|f| f[0] = 0xff), Reason::LinkMulticast),
        (fixed(&|f| f[6] = 0x01), Reason::LinkMulticast),
        (fixed(&|f| f[5] ^= 1), Reason::OtherMac),
        (fixed(&|f| f[14] = 0x65), Reason::Ipv4Version),
        (fixed(&|f| f[14] = 0x44), Reason::Ipv4HeaderLength),
        (fixed(&|f| f[14] = 0x4f), Reason::Ipv4HeaderLength),
        (fixed(&|f| f[16..18].copy_from_slice(&19u16.to_be_bytes())), Reason::Ipv4TotalLength),
        (fixed(&|f| f[16..18].copy_from_slice(&41u16.to_be_bytes())), Reason::Ipv4TotalLength),
        (wrong_sum, Reason::Ipv4Checksum),
        (routed, Reason::SourceRoute),
        (fixed(&|f| f[26] = 127), Reason::MartianSource),
        (fixed(&|f| f[26] = 224), Reason::MartianSource),
        (fixed(&|f| f[26] = 0), Reason::MartianSource),
        (tcp((VIP, 40_000), WEB, SYN).bytes(), Reason::OwnSource),
        (fixed(&|f| f[22] = 0), Reason::TtlExpired),
        (fixed(&|f| f[20] = 0x20), Reason::TcpFragment),
        (fixed(&|f| f[21] = 0x01), Reason::TcpFragment),
        (fixed(&|f| f[16..18].copy_from_slice(&39u16.to_be_bytes())), Reason::L4Truncated),
        (fixed(&|f| f[46] = 0x40), Reason::TcpHeaderLength),
        (fixed(&|f| f[46] = 0x60), Reason::TcpHeaderLength),
        (tcp(CLIENT_AT, WEB, SYN | FIN).bytes(), Reason::TcpFlags),
        (tcp(CLIENT_AT, WEB, SYN | RST).bytes(), Reason::TcpFlags),
        (tcp(CLIENT_AT, WEB, 0).bytes(), Reason::TcpFlags),
        (short_udp(7), Reason::UdpLength),
        (short_udp(13), Reason::UdpLength),
        (tcp((CLIENT, 0), WEB, SYN).bytes(), Reason::PortZero),
        (tcp(CLIENT_AT, (VIP, 0), SYN).bytes(), Reason::PortZero),
        (fixed(&|f| f[23] = 47), Reason::UnsupportedProtocol),
        (tcp(CLIENT_AT, (VIP, 443), SYN).bytes(), Reason::NoListener),
        (tcp(CLIENT_AT, WEB, RST).bytes(), Reason::NoFlow),
    ];
    let mut path = leaked_datapath(64, settings(), &Scene::default());
    for (frame, reason) in rows {
        let (verdict, out) = send(&mut path, OUTSIDE, &frame, 0);
        assert_eq!(verdict.reason, reason, "{frame:02x?}");
        assert_eq!((reason.action(), out), (Action::Drop, None));
        assert!(path.counters().reasons[reason as usize].value() > 0);
    }
    assert_eq!(path.counters().flows.value(), 0);
    assert_books_balance(path.counters());
}

#[test]
fn a_packet_that_cannot_be_sent_on_makes_no_flow() {
    let unresolved = Scene { is_resolved: false, ..Scene::default() };
    let mut path = leaked_datapath(64, settings(), &unresolved);
    assert_eq!(
        reason_of(&mut path, OUTSIDE, &tcp(CLIENT_AT, WEB, SYN).bytes(), 0),
        Reason::NextHopUnresolved
    );
    assert_eq!(path.counters().flows.value(), 0);

    let empty = Scene { targets: Vec::new(), ..Scene::default() };
    let mut path = leaked_datapath(64, settings(), &empty);
    assert_eq!(reason_of(&mut path, OUTSIDE, &tcp(CLIENT_AT, WEB, SYN).bytes(), 0), Reason::ResetNoTarget);
    assert_eq!(reason_of(&mut path, OUTSIDE, &udp(CLIENT_AT, DNS).bytes(), 0), Reason::NoTarget);

    let mut path = leaked_datapath(64, settings(), &Scene::default());
    let long = udp(CLIENT_AT, DNS).payload(&[0; 1_473]).bytes();
    assert_eq!(reason_of(&mut path, OUTSIDE, &long, 0), Reason::TooBig);
    assert_eq!(path.counters().flows.value(), 0);
}
