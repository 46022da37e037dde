//! The identification of IPv4 packets: RFC 6864, RFC 7857.

use std::{collections::HashSet, net::SocketAddr};

use lb_core::{datapath::Datapath, verdict::Reason};

use super::{one_family_modes, support::*};

/// Of TCP and UDP, from clients of either family: no two that share source, target and protocol have one number, though they had.
#[test]
fn rfc_7857_and_rfc_6864_5_3_clients_of_one_source_do_not_meet_in_their_identifications() {
    let [v4, _] = source_translating_modes();
    for mode in [v4, v6_to_v4()] {
        let mut path = leaked_datapath(512, settings(), &mode.scene.clone().with_targets(1));
        let [mut of_tcp, mut of_udp] = [HashSet::new(), HashSet::new()];
        for at in 0..60 {
            let (last, port) = (10 + at % 4, 10_000 + u16::from(at));
            let client: SocketAddr = match mode.is_ipv4() {
                true => ([198, 18, 0, last], port).into(),
                false => ([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)], port).into(),
            };
            let connection = OpenFlow::connect(&mut path, client, mode.web(), 0);
            let alike = |packet| Crafted { identification: 7, do_not_fragment: false, ..packet };
            let segment = connection.to_target(&mut path, &alike(connection.request(ACK)), 0);
            let (_, datagram) = through(&mut path, &alike(udp(client, mode.dns())), 0);
            let datagram = read(&datagram.unwrap());
            assert_eq!(datagram.source.ip(), segment.source.ip());
            assert!(of_tcp.insert(segment.header[4..6].to_vec()), "{} TCP {at}", mode.name);
            assert!(of_udp.insert(datagram.header[4..6].to_vec()), "{} UDP {at}", mode.name);
        }
    }
}

/// Nor do datagrams that come in pieces; the pieces of one keep a number in common.
#[test]
fn rfc_7857_and_rfc_6864_5_3_pieces_of_clients_of_one_source_do_not_meet_either() {
    let [v4, _] = source_translating_modes();
    for mode in [v4, v6_to_v4()] {
        let mut path = leaked_datapath(256, settings(), &mode.scene.clone().with_targets(1));
        let mut seen = HashSet::new();
        for port in 10_000..10_060 {
            let datagram = udp((mode.client.ip(), port), mode.dns()).payload(&[7; 100]);
            let pieces = cut(&datagram.bytes(), &[40, 80], u32::from(port) << 16 | 7);
            let numbers: HashSet<[u8; 2]> = pieces
                .iter()
                .map(|piece| send(&mut path, OUTSIDE, piece, 0).1.unwrap())
                .map(|out| [out[18], out[19]])
                .collect();
            assert_eq!(numbers.len(), 1, "{}: of one datagram", mode.name);
            assert!(seen.is_disjoint(&numbers), "{}: port {port}", mode.name);
            seen.extend(numbers);
        }
    }
}

/// A flow of the same client to each target.
fn flow_to_each_target(path: &mut Datapath<'_>, mode: &Mode) -> Vec<OpenFlow> {
    let mut targets = HashSet::new();
    let flows = (10_000..10_060)
        .map(|port| OpenFlow::open(path, &udp((mode.client.ip(), port), mode.dns()), 0))
        .filter(|flow| targets.insert(flow.target))
        .collect::<Vec<_>>();
    assert_eq!(flows.len(), 3);
    flows
}

/// Numbers of all pieces that leave when these frames of a target come.
fn numbers_leaving(path: &mut Datapath<'_>, frames: &[Vec<u8>]) -> Vec<u32> {
    let mut numbers = Vec::new();
    for frame in frames {
        let (_, out) = process(path, INSIDE, frame, 0);
        numbers.extend(out.iter().map(|out| number(out)));
        numbers.extend(take_extras(path).iter().map(|(_, out)| number(out)));
    }
    numbers
}

/// To their client they are of one sender, the VIP. Also of a reply that is cut up here; a whole one keeps its number.
#[test]
fn rfc_7857_and_rfc_6864_5_3_pieces_of_replies_of_targets_behind_one_vip_do_not_meet() {
    for mode in modes().into_iter().filter(Mode::is_ipv4) {
        let narrow = Scene { mtus: [576, 1_500], ..mode.scene.clone() };
        let mut path = leaked_datapath(256, settings(), &narrow);
        let flows = flow_to_each_target(&mut path, &mode);
        for (same, order) in [(7, [0, 1, 2]), (8, [1, 2, 0]), (9, [2, 1, 0])] {
            let mut seen = HashSet::new();
            for flow in &flows {
                let pieces = cut(&flow.reply(0).payload(&[7; 100]).bytes(), &[40, 80], same);
                let numbers = numbers_leaving(&mut path, &order.map(|at| pieces[at].clone()));
                assert_eq!(numbers, [numbers[0]; 3], "{}: of one datagram", mode.name);
                assert!(seen.insert(numbers[0]), "{}: of {}", mode.name, flow.target);
            }
        }
        let mut seen = HashSet::new();
        for flow in &flows {
            let reply = Crafted { identification: 7, do_not_fragment: false, ..flow.reply(0) };
            let numbers = numbers_leaving(&mut path, &[reply.clone().payload(&[7; 900]).bytes()]);
            assert_eq!(numbers, [numbers[0]; 2], "{}: of one datagram", mode.name);
            assert!(seen.insert(numbers[0]), "{}: of {}", mode.name, flow.target);
            if flow.target.is_ipv4() {
                assert_eq!(numbers_leaving(&mut path, &[reply.bytes()]), [7]);
            }
        }
    }
}

/// `read_error` verifies the checksums of the error and of the IP header that it quotes.
#[test]
fn rfc_5508_req_4_and_5_an_error_quotes_the_number_that_the_packets_sender_has_given_it() {
    for mode in one_family_modes().filter(Mode::is_ipv4) {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
        for (sent, is_request) in [(flow.request(0), true), (flow.reply(0), false)] {
            let sent = Crafted { do_not_fragment: false, ..sent }.payload(&[7; 100]);
            let piece = &cut(&sent.bytes(), &[40], 7)[0];
            for frame in [piece, &sent.bytes()] {
                let out = send(&mut path, ingress_of(&sent), frame, 0).1.unwrap();
                let has_source = is_request && flow.source != flow.client;
                let is_renumbered = has_source || !is_request && frame == piece;
                assert_eq!(number(&out) != number(frame), is_renumbered, "{}", mode.name);
                let (ingress, macs, ends) = match is_request {
                    true => (INSIDE, (target_mac(1), INSIDE_MAC), (flow.target.ip(), flow.source.ip())),
                    false => (OUTSIDE, (CLIENT_MAC, OUTSIDE_MAC), (flow.client.ip(), flow.vip.ip())),
                };
                let error = icmp_error((11, 1), ends, macs, &out, 28);
                let (verdict, out) = send(&mut path, ingress, &error, 0);
                assert_eq!(verdict.reason, Reason::IcmpError, "{}", mode.name);
                let quote = read_error(&out.unwrap()).quote;
                assert_eq!(quote[14..22], frame[14..22], "{}: number and place", mode.name);
                assert_eq!(quote[26..38], frame[26..38], "{}: addresses and ports", mode.name);
            }
        }
    }
}

/// An atomic packet's identification means nothing, and stays.
#[test]
fn rfc_6864_4_1_atomic_packets_keep_their_identification() {
    for mode in one_family_modes().filter(Mode::is_ipv4) {
        for first in [mode.syn(), mode.datagram()] {
            let mut path = mode.path();
            let flow = OpenFlow::open(&mut path, &first, 0);
            let request = Crafted { identification: 0xabcd, ..flow.request(SYN) };
            assert_eq!(flow.to_target(&mut path, &request, 0).header[4..6], [0xab, 0xcd], "{}", mode.name);
            let reply = Crafted { identification: 0xabcd, ..flow.reply(SYN | ACK) };
            assert_eq!(flow.to_client(&mut path, &reply, 0).header[4..6], [0xab, 0xcd], "{}", mode.name);
        }
    }
}
