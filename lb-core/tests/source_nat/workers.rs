//! Several workers take ports and find flows, without asking each other.

use std::{collections::HashSet, net::SocketAddr, sync::Arc};

use lb_core::{receive_hash::ReceiveHash, verdict::Reason};

use super::{client, support::*, translating_modes};

/// What the only frame that leaves has for its source and destination.
fn ends(delivery: Delivery) -> (SocketAddr, SocketAddr) {
    let (reason, frame) = delivery.only();
    let seen = read(&frame.unwrap_or_else(|| panic!("{reason:?}")));
    (seen.source, seen.destination)
}

/// The reply of the target that got a packet from `source`.
fn answer(target: SocketAddr, source: SocketAddr, flags: u8) -> Vec<u8> {
    tcp(target, source, flags).macs(target_mac(number_of(target)), INSIDE_MAC).bytes()
}

#[test]
fn a_target_never_meets_one_source_twice_however_many_workers_take_ports() {
    for mode in translating_modes() {
        for workers in [1, 2, 4, 8] {
            for receive_hash in
                [None, receive_hash(u16::from(workers)), receive_hash_without_ports(u16::from(workers))]
            {
                let scene = Scene { receive_hash, ..mode.scene.clone().with_targets(1) };
                let mut fleet = Fleet::new(workers, 4_096, &scene);
                let mut sources = HashSet::new();
                for port in 1_000..1_500 {
                    let syn = tcp(client(&mode, port), mode.web(), SYN).bytes();
                    let at = (port % u16::from(workers)) as u8;
                    let (source, _) = ends(fleet.send(at, OUTSIDE, &syn, 0));
                    assert!(sources.insert(source), "{} {workers}", mode.name);
                }
                fleet.assert_books_balance();
            }
        }
    }
}

#[test]
fn with_a_receive_hash_nothing_is_handed_over() {
    for mode in translating_modes() {
        for workers in [1, 2, 4, 8] {
            let scene = Scene { receive_hash: receive_hash(u16::from(workers)), ..mode.scene.clone() };
            let mut fleet = Fleet::new(workers, 1_024, &scene);
            for port in 1_000..1_300 {
                let client = client(&mode, port);
                let syn = tcp(client, mode.web(), SYN).bytes();
                let (source, target) = ends(fleet.send_by_hash(&scene, OUTSIDE, &syn, 0));
                let reply = answer(target, source, SYN | ACK);
                assert_eq!(ends(fleet.send_by_hash(&scene, INSIDE, &reply, 0)), (mode.web(), client));
                let ack = tcp(client, mode.web(), ACK).bytes();
                assert_eq!(ends(fleet.send_by_hash(&scene, OUTSIDE, &ack, 0)), (source, target));
            }
            assert_eq!(fleet.hand_overs, 0, "{} {workers}", mode.name);
            fleet.assert_books_balance();
        }
    }
}

/// Nobody knows by which queue packets come in: wherever that is, their flow is one step away.
#[test]
fn without_a_receive_hash_packets_are_handed_over_once_at_most() {
    for mode in translating_modes() {
        for receive_hash in [None, receive_hash_without_ports(4)] {
            let scene = Scene { receive_hash, ..mode.scene.clone() };
            let mut fleet = Fleet::new(4, 1_024, &scene);
            for port in 1_000..1_200 {
                let client = client(&mode, port);
                let syn = tcp(client, mode.web(), SYN).bytes();
                let delivery = fleet.send((port % 4) as u8, OUTSIDE, &syn, 0);
                assert!(delivery.hand_overs <= 1);
                let (source, target) = ends(delivery);
                for at in 0..4 {
                    let delivery = fleet.send(at, INSIDE, &answer(target, source, SYN | ACK), 0);
                    assert!(delivery.hand_overs <= 1, "{}", mode.name);
                    assert_eq!(ends(delivery), (mode.web(), client));
                    let delivery = fleet.send(at, OUTSIDE, &tcp(client, mode.web(), ACK).bytes(), 0);
                    assert!(delivery.hand_overs <= 1, "{}", mode.name);
                    assert_eq!(ends(delivery), (source, target));
                }
            }
            assert_eq!(fleet.flows(), 200);
        }
    }
}

#[test]
fn errors_find_the_worker_of_their_flow() {
    for mode in translating_modes() {
        for receive_hash in [None, receive_hash(4)] {
            let scene = Scene { receive_hash, ..mode.scene.clone() };
            let mut fleet = Fleet::new(4, 1_024, &scene);
            for port in 1_000..1_050 {
                let client = client(&mode, port);
                let syn = tcp(client, mode.web(), SYN).bytes();
                let got = fleet.send((port % 4) as u8, OUTSIDE, &syn, 0).only().1.unwrap();
                let (source, target) = (read(&got).source, read(&got).destination);
                let reply = answer(target, source, SYN | ACK);
                let replied = fleet.send((port / 4 % 4) as u8, INSIDE, &reply, 0).only().1.unwrap();
                for at in 0..4 {
                    let macs = (target_mac(number_of(target)), INSIDE_MAC);
                    let kind = |address: SocketAddr| if address.is_ipv4() { (3, 3) } else { (1, 4) };
                    let error =
                        icmp_error(kind(target), (target.ip(), source.ip()), macs, &got, got.len() - 14);
                    assert_eq!(
                        fleet.send(at, INSIDE, &error, 0).only().0,
                        Reason::IcmpError,
                        "{}",
                        mode.name
                    );
                    let macs = (CLIENT_MAC, OUTSIDE_MAC);
                    let error =
                        icmp_error(kind(client), (client.ip(), mode.vip), macs, &replied, replied.len() - 14);
                    assert_eq!(
                        fleet.send(at, OUTSIDE, &error, 0).only().0,
                        Reason::IcmpError,
                        "{}",
                        mode.name
                    );
                }
            }
            fleet.assert_books_balance();
        }
    }
}

/// Each worker has its share of the ports, and none has another's.
#[test]
fn workers_share_a_range_without_asking_each_other() {
    for mode in translating_modes() {
        let scene = Scene { sources: sources(5_000..=5_039), ..mode.scene.clone().with_targets(1) };
        let mut fleet = Fleet::new(4, 1_024, &scene);
        let mut sources = HashSet::new();
        for port in 1_000..2_000u16 {
            let syn = tcp(client(&mode, port), mode.web(), SYN).bytes();
            let (reason, frame) = fleet.send(0, OUTSIDE, &syn, u64::from(port)).only();
            match frame {
                Some(frame) => assert!(sources.insert(read(&frame).source)),
                None => assert_eq!(reason, Reason::NoSourcePort),
            }
        }
        assert_eq!(sources.len(), 40, "{}", mode.name);
    }
}

/// NLB: a change of the attribute touches new connections only.
#[test]
fn changing_preservation_disturbs_no_flow_that_lives() {
    for (first, second) in preserving_modes().into_iter().zip(source_translating_modes()) {
        for (before, after) in [(&first, &second), (&second, &first)] {
            for workers in [1, 4] {
                for receive_hash in [None, receive_hash(workers), receive_hash_without_ports(workers)] {
                    assert_undisturbed(before, after, workers, receive_hash);
                }
            }
        }
    }
}

fn assert_undisturbed(before: &Mode, after: &Mode, workers: u16, receive_hash: Option<Arc<ReceiveHash>>) {
    let scene = Scene { receive_hash, ..before.scene.clone() };
    let mut fleet = Fleet::new(workers as u8, 1_024, &scene);
    // By the queue that the receive hash says, or by any.
    let mut turn = 0;
    let mut through = |fleet: &mut Fleet, ingress, frame: &[u8]| {
        turn += 1;
        match scene.receive_hash {
            Some(_) => ends(fleet.send_by_hash(&scene, ingress, frame, 0)),
            None => ends(fleet.send((turn % workers) as u8, ingress, frame, 0)),
        }
    };
    let mut flows = Vec::new();
    for port in 1_000..1_060 {
        let client = client(before, port);
        let (source, target) = through(&mut fleet, OUTSIDE, &tcp(client, before.web(), SYN).bytes());
        through(&mut fleet, INSIDE, &answer(target, source, SYN | ACK));
        through(&mut fleet, OUTSIDE, &tcp(client, before.web(), ACK).bytes());
        flows.push((client, source, target));
    }
    let preserves_client_ip = after.scene.preserves_client_ip;
    fleet.install(&Scene { generation: 2, preserves_client_ip, ..scene.clone() });
    for (client, source, target) in flows {
        let ack = tcp(client, before.web(), ACK).bytes();
        let reply = answer(target, source, ACK);
        for _ in 0..3 {
            assert_eq!(through(&mut fleet, OUTSIDE, &ack), (source, target));
            assert_eq!(through(&mut fleet, INSIDE, &reply), (before.web(), client));
        }
    }
    let late: SocketAddr = (before.client.ip(), 3_000).into();
    let (source, _) = through(&mut fleet, OUTSIDE, &tcp(late, before.web(), SYN).bytes());
    assert_eq!(source == late, preserves_client_ip, "new flows follow the tables");
    fleet.assert_books_balance();
}
