//! TCP segments and datagrams of no flow.

use super::*;

#[test]
fn to_a_port_without_a_listener_are_dropped_silently() {
    for mode in modes() {
        let mut path = mode.path();
        for port in [81, 443, 8080] {
            for flags in [SYN, ACK, FIN | ACK, RST] {
                assert_silence(&mut path, &tcp(mode.client, (mode.vip, port), flags), Reason::NoListener);
            }
            assert_silence(&mut path, &udp(mode.client, (mode.vip, port)), Reason::NoListener);
        }
        // A port has the protocol of its listener.
        assert_silence(&mut path, &udp(mode.client, mode.web()), Reason::NoListener);
        assert_silence(&mut path, &tcp(mode.client, mode.dns(), SYN), Reason::NoListener);
        assert_eq!(path.counters().flows.value(), 0);
    }
}

#[test]
fn on_a_listeners_port_get_a_reset_unless_they_are_syns() {
    for mode in modes() {
        let mut path = mode.path();
        for flags in [ACK, ACK | PSH, FIN | ACK, SYN | ACK, FIN] {
            for payload in [&b""[..], b"late data"] {
                let packet = tcp(mode.client, mode.web(), flags).payload(payload);
                assert_reset(&mut path, &packet, Reason::ResetNoFlow, 0);
            }
        }
        for flags in [RST, RST | ACK] {
            assert_silence(&mut path, &tcp(mode.client, mode.web(), flags), Reason::NoFlow);
        }
        let listener = if mode.is_ipv4() { 0 } else { 2 };
        assert_eq!(path.counters().listeners[listener].resets.value(), 10);
        assert_eq!(path.counters().flows.value(), 0);
        assert_books_balance(path.counters());
    }
}

/// Options and extension headers of what is answered do not come back, nor do they shift anything.
#[test]
fn with_options_or_extension_headers_get_the_same_reset() {
    for mode in modes() {
        let mut path = mode.path();
        let packet = tcp(mode.client, mode.web(), FIN).payload(b"data");
        let packet = Crafted { tcp_options: vec![1; 12], ..packet };
        let packet = match mode.is_ipv4() {
            true => Crafted { options: vec![1; 8], ..packet },
            false => packet.extension(hop_by_hop()).extension(destination_options(24)),
        };
        assert_reset(&mut path, &packet, Reason::ResetNoFlow, 0);
    }
}

#[test]
fn are_the_first_of_a_new_one_when_they_are_datagrams() {
    for mode in modes() {
        let mut path = mode.path();
        assert_eq!(through(&mut path, &mode.datagram(), 0).0.reason, Reason::FlowNew, "{}", mode.name);
        assert_eq!(through(&mut path, &mode.datagram(), 0).0.reason, Reason::FlowHit);
    }
}

/// Fleets behind ECMP: the listener's attribute, at any time; where the source is ours, it cannot be known again.
#[test]
fn are_adopted_by_a_listener_that_is_told_so_from_either_side() {
    for mode in preserving_modes() {
        let hops = vec![(mode.client.ip(), NextHop { interface: OUTSIDE, mac: CLIENT_MAC })];
        let scene = Scene { adopts_strays: true, hops, ..mode.scene.clone() };
        for port in 10_000..10_050 {
            let client: SocketAddr = (mode.client.ip(), port).into();
            let flow = OpenFlow::connect(&mut leaked_datapath(64, settings(), &scene), client, mode.web(), 0);
            for first in [flow.request(ACK), flow.reply(ACK)] {
                let mut path = leaked_datapath(64, settings(), &scene);
                let (verdict, out) = through(&mut path, &first, 1 << 40);
                assert_eq!(verdict.reason, Reason::FlowAdopted, "{}", mode.name);
                let golden =
                    if first.source == client { flow.at_target(&first) } else { flow.at_client(&first) };
                assert_eq!(out.unwrap(), golden.bytes());
                flow.to_target(&mut path, &flow.request(ACK), 1 << 40);
                flow.to_client(&mut path, &flow.reply(ACK), 1 << 40);
                assert_eq!(path.counters().flows.value(), 1);
            }
        }
    }
}

/// With a wrong checksum they are of nobody's connection. A SYN with one still goes its way, but does not have strays adopted.
#[test]
fn are_not_adopted_for_the_sake_of_a_wrong_checksum() {
    for mode in preserving_modes() {
        let hops = vec![(mode.client.ip(), NextHop { interface: OUTSIDE, mac: CLIENT_MAC })];
        let scene = Scene { hops, ..mode.scene.clone() };
        let flow =
            OpenFlow::connect(&mut leaked_datapath(64, settings(), &scene), mode.client, mode.web(), 0);
        let spoilt = |packet: Crafted| {
            let mut frame = packet.bytes();
            frame[if mode.is_ipv4() { 50 } else { 70 }] ^= 1;
            frame
        };
        let mut adopting = leaked_datapath(64, settings(), &Scene { adopts_strays: true, ..scene.clone() });
        for packet in [flow.request(ACK), flow.reply(ACK)] {
            let (verdict, out) = send(&mut adopting, ingress_of(&packet), &spoilt(packet.clone()), 0);
            assert_eq!((verdict.reason, out), (Reason::TcpChecksum, None), "{}", mode.name);
        }

        let mut full = leaked_datapath(64, settings(), &scene);
        for port in 1..=64 {
            OpenFlow::open(&mut full, &udp((mode.client.ip(), port), mode.dns()), 0);
        }
        let syn = spoilt(flow.request(SYN));
        assert_eq!(send(&mut full, OUTSIDE, &syn, 0).0.reason, Reason::Stateless, "{}", mode.name);
        assert_reset(&mut full, &flow.request(ACK), Reason::ResetNoFlow, 0);
        assert_eq!(through(&mut full, &flow.request(SYN), 0).0.reason, Reason::Stateless, "{}", mode.name);
        flow.to_target(&mut full, &flow.request(ACK), 0);
        flow.to_client(&mut full, &flow.reply(SYN | ACK), 0);
    }
}

/// Wherever they come in: the flow is made by the worker that owns it, and found there from then on.
#[test]
fn are_adopted_by_the_worker_that_owns_their_flow() {
    for mode in preserving_modes() {
        for receive_hash in [None, receive_hash(4)] {
            let hops = vec![(mode.client.ip(), NextHop { interface: OUTSIDE, mac: CLIENT_MAC })];
            let scene = Scene { adopts_strays: true, hops, receive_hash, ..mode.scene.clone() };
            let mut fleet = Fleet::new(4, 256, &scene);
            for port in 10_000..10_060u16 {
                let client: SocketAddr = (mode.client.ip(), port).into();
                let mut before = leaked_datapath(64, settings(), &scene);
                let flow = OpenFlow::connect(&mut before, client, mode.web(), 0);
                let packets = [flow.request(ACK), flow.reply(ACK)];
                for turn in port..port + 6 {
                    let packet = &packets[usize::from(turn % 2)];
                    let delivery = fleet.send((turn / 3 % 4) as u8, ingress_of(packet), &packet.bytes(), 0);
                    assert!(delivery.hand_overs <= 1, "{}", mode.name);
                    let reason = if turn == port { Reason::FlowAdopted } else { Reason::FlowHit };
                    assert_eq!(delivery.reasons(), [reason]);
                }
            }
            assert_eq!(fleet.flows(), 60);
            fleet.assert_books_balance();
        }
    }
}
