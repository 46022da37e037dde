//! Pieces of packets: RFC 791, RFC 1858, RFC 3128, RFC 4787, RFC 5722, RFC 8200.

use std::{collections::HashSet, net::IpAddr};

use lb_core::{datapath::Datapath, limits, time::Instant, verdict::Reason};

use super::{assert_books_balance, dropped, support::*};

/// A datagram of the client or of the target, long enough for several pieces, with a golden copy of what is to come out.
fn datagrams(path: &mut Datapath<'_>, mode: &Mode) -> [(Crafted, OpenFlow); 2] {
    let flow = OpenFlow::open(path, &mode.datagram(), 0);
    let payload: Vec<u8> = (0..200).collect();
    [(flow.request(0).payload(&payload), flow.clone()), (flow.reply(0).payload(&payload), flow)]
}

/// The pieces that leave, the held ones included.
fn leaving(path: &mut Datapath<'_>, packet: &Crafted, pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for piece in pieces {
        let (verdict, frame) = process(path, ingress_of(packet), piece, 0);
        assert!(frame.is_some() || verdict.reason == Reason::FragmentHeld, "{:?}", verdict.reason);
        out.extend(frame);
        out.extend(take_extras(path).into_iter().map(|(_, frame)| frame));
    }
    out
}

/// Asserts that pieces make the datagram that would have come out whole.
fn assert_makes_whole(pieces: &[Vec<u8>], packet: &Crafted, flow: &OpenFlow) {
    let seen = read(&join(pieces));
    let expected =
        if packet.source == flow.client { (flow.source, flow.target) } else { (flow.vip, flow.client) };
    assert_eq!((seen.source, seen.destination), expected);
    assert_eq!((seen.payload, seen.ttl), (packet.payload.clone(), packet.ttl - 1));
}

#[test]
fn rfc_4787_req_14_and_14a_pieces_in_any_order_make_one_datagram_on_the_other_side() {
    for mode in modes() {
        let mut path = mode.path();
        for (packet, flow) in datagrams(&mut path, &mode) {
            let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
            for (number, order) in orders.into_iter().enumerate() {
                let pieces = cut(&packet.bytes(), &[64, 128], number as u32 + 1);
                let pieces = order.map(|at| pieces[at].clone());
                let out = leaving(&mut path, &packet, &pieces);
                assert_eq!(out.len(), 3, "{} {order:?}", mode.name);
                assert_makes_whole(&out, &packet, &flow);
            }
        }
        assert_books_balance(path.counters());
    }
}

/// The first piece of a datagram opens a flow as a whole one would, and its other pieces follow it.
#[test]
fn rfc_4787_req_14_a_flow_may_begin_with_pieces() {
    for mode in modes() {
        let mut path = mode.path();
        let datagram = mode.datagram().payload(&[9; 100]);
        let mut pieces = cut(&datagram.bytes(), &[8, 48], 77);
        pieces.reverse();
        let out = leaving(&mut path, &datagram, &pieces);
        let flow = OpenFlow::open(&mut path, &mode.datagram(), 1);
        assert_makes_whole(&out, &datagram, &flow);
        assert_eq!(path.counters().flows.value(), 1, "{}", mode.name);
    }
}

#[test]
fn rfc_791_datagrams_with_different_numbers_or_ends_are_not_mixed_up() {
    for mode in modes() {
        let mut path = mode.path();
        let datagrams: Vec<Crafted> = (0..8)
            .map(|at| udp((mode.client.ip(), 41_000 + at), mode.dns()).payload(&[at as u8; 64]))
            .collect();
        let pieces: Vec<Vec<Vec<u8>>> = datagrams
            .iter()
            .enumerate()
            .map(|(number, datagram)| cut(&datagram.bytes(), &[32], number as u32 + 500))
            .collect();
        for second in &pieces {
            assert_eq!(process(&mut path, OUTSIDE, &second[1], 0).0.reason, Reason::FragmentHeld);
        }
        for (datagram, pieces) in datagrams.iter().zip(&pieces).rev() {
            let (_, first) = process(&mut path, OUTSIDE, &pieces[0], 0);
            let mut out = vec![first.unwrap()];
            out.extend(take_extras(&mut path).into_iter().map(|(_, frame)| frame));
            assert_eq!(out.len(), 2, "{}", mode.name);
            assert_eq!(read(&join(&out)).payload, datagram.payload);
        }
        assert_books_balance(path.counters());
    }
}

/// Wherever the pieces of a datagram come in, they meet, and go on from the worker that owns the flow.
#[test]
fn rfc_4787_req_14_pieces_that_come_by_different_queues_reach_one_target() {
    for mode in modes() {
        for workers in [2, 4, 8] {
            let mut fleet = Fleet::new(workers, 256, &mode.scene);
            for port in 0..40u16 {
                let datagram = udp((mode.client.ip(), 42_000 + port), mode.dns()).payload(&[port as u8; 100]);
                let mut pieces = cut(&datagram.bytes(), &[8, 48], u32::from(port) + 1);
                pieces.rotate_left(usize::from(port) % 3);
                let mut out = Vec::new();
                for (at, piece) in pieces.iter().enumerate() {
                    let queue = (u16::from(workers) + port + 3 * at as u16) % u16::from(workers);
                    let delivery = fleet.send(queue as u8, OUTSIDE, piece, 0);
                    assert!(delivery.hand_overs <= 4, "{} {workers}", mode.name);
                    out.extend(delivery.fates.into_iter().filter_map(|(_, _, frame)| frame));
                }
                assert_eq!(out.len(), 3, "{} {workers}", mode.name);
                assert_eq!(read(&join(&out)).payload, datagram.payload);
            }
            assert_eq!(fleet.flows(), 40);
            fleet.assert_books_balance();
        }
    }
}

#[test]
fn rfc_4787_req_14_a_flood_of_pieces_does_not_hurt_whole_packets_nor_other_datagrams_for_long() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        let template = mode.datagram().payload(&[1; 64]).bytes();
        for number in 0..5_000 {
            send(&mut path, OUTSIDE, &piece(&template, 32..72, number), 0);
            if number % 100 == 0 {
                flow.to_target(&mut path, &flow.request(ACK), 0);
                flow.to_client(&mut path, &flow.reply(ACK), 0);
            }
        }
        let held = limits::HELD_FRAGMENTS as u64;
        assert_eq!(path.counters().reasons[Reason::FragmentLost as usize].value(), 5_000 - held);
        let datagram = mode.datagram().payload(&[2; 64]);
        let pieces = cut(&datagram.bytes(), &[32], 1_000_000);
        assert_eq!(leaving(&mut path, &datagram, &pieces).len(), 2, "{}", mode.name);
        path.expire(Instant::from_millis(limits::HELD_FRAGMENT_S * 1_000));
        assert_books_balance(path.counters());
    }
}

#[test]
fn rfc_1858_a_piece_without_its_first_is_lost_after_a_while() {
    for mode in modes() {
        let mut path = mode.path();
        let pieces = cut(&mode.datagram().payload(&[1; 64]).bytes(), &[32], 4);
        assert_eq!(send(&mut path, OUTSIDE, &pieces[1], 0).0.reason, Reason::FragmentHeld);
        path.expire(Instant::from_millis(limits::HELD_FRAGMENT_S * 1_000));
        assert_eq!(path.counters().reasons[Reason::FragmentLost as usize].value(), 1);
        let (_, first) = process(&mut path, OUTSIDE, &pieces[0], 5_001);
        assert!(first.is_some() && take_extras(&mut path).is_empty(), "{}", mode.name);
        assert_books_balance(path.counters());
    }
}

/// Nothing is reassembled here, so pieces that overlap reach one target as they are, for it to refuse.
#[test]
fn rfc_5722_pieces_that_overlap_are_never_put_together() {
    for mode in modes() {
        let mut path = mode.path();
        let datagram = mode.datagram().payload(&[3; 100]).bytes();
        let overlapping = [0..64, 32..80, 64..108, 0..64].map(|range| piece(&datagram, range, 5));
        let mut ends = Vec::new();
        for piece in &overlapping {
            let (_, out) = send(&mut path, OUTSIDE, piece, 0);
            let seen = read_ip(&out.unwrap());
            assert_eq!(seen.payload[8..], read_ip(piece).payload[8..], "{}", mode.name);
            ends.push((seen.source, seen.destination, seen.macs));
        }
        assert!(ends.iter().all(|end| *end == ends[0]), "{}", mode.name);
    }
}

/// RFC 1858: a first piece that ends within the header; RFC 3128: a second one that begins there, at offset 1.
#[test]
fn rfc_1858_and_rfc_3128_tcp_in_pieces_is_dropped_tiny_or_not() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        for packet in [mode.syn(), flow.request(ACK), flow.reply(ACK)] {
            let whole = packet.clone().payload(&[1; 64]).bytes();
            for range in [0..8, 8..16, 0..16, 16..84, 0..40, 40..84] {
                let piece = piece(&whole, range, 1);
                assert_eq!(dropped(&mut path, &packet, &piece), Reason::TcpFragment, "{}", mode.name);
            }
        }
    }
}

#[test]
fn rfc_8200_4_5_a_piece_that_is_not_the_last_has_a_multiple_of_8_bytes() {
    for mode in modes() {
        let mut path = mode.path();
        let datagram = mode.datagram().payload(&[1; 64]);
        for range in [0..33, 8..20, 16..16] {
            let piece = piece(&datagram.bytes(), range, 1);
            assert_eq!(dropped(&mut path, &datagram, &piece), Reason::FragmentLength, "{}", mode.name);
        }
    }
}

/// Options behind the fragment header would be in the first piece alone: such a datagram is dropped as a whole.
#[test]
fn rfc_8200_4_5_every_piece_is_carried_or_none() {
    let [_, _, preserving, translating, _, to_ipv4] = modes();
    for mode in [preserving, translating, to_ipv4] {
        let mut path = mode.path();
        let datagram = mode.datagram().payload(&[1; 64]).extension(destination_options(8));
        let bytes = datagram.bytes();
        // The fragment header goes in front of the destination options.
        let with_header = |range: std::ops::Range<usize>| {
            let more = u16::from(range.end < bytes.len() - 54);
            let mut frame = bytes[..54].to_vec();
            (frame[19], frame[20]) = (8 + range.len() as u8, 44);
            frame.extend([60, 0]);
            frame.extend((range.start as u16 | more).to_be_bytes());
            frame.extend([0, 0, 0, 8]);
            frame.extend(&bytes[54..][range]);
            frame
        };
        for (piece, reason) in
            [(with_header(0..40), Reason::Ipv6Extension), (with_header(40..80), Reason::UnsupportedProtocol)]
        {
            assert_eq!(dropped(&mut path, &datagram, &piece), reason, "{}", mode.name);
        }
    }
}

/// A first piece that cannot go on takes the others with it, those that are held included.
#[test]
fn pieces_of_a_datagram_whose_first_is_dropped_do_not_go_on() {
    for mode in modes() {
        let scene = Scene { is_resolved: false, ..mode.scene.clone() };
        let mut path = leaked_datapath(64, settings(), &scene);
        let pieces = cut(&mode.datagram().payload(&[1; 64]).bytes(), &[24, 48], 6);
        assert_eq!(process(&mut path, OUTSIDE, &pieces[1], 0).0.reason, Reason::FragmentHeld);
        assert_eq!(process(&mut path, OUTSIDE, &pieces[0], 0).0.reason, Reason::NextHopUnresolved);
        assert!(take_extras(&mut path).is_empty(), "{}", mode.name);
        assert_eq!(path.counters().reasons[Reason::FragmentLost as usize].value(), 1);
        path.install(Scene { generation: 2, ..mode.scene.clone() }.tables());
        assert_eq!(process(&mut path, OUTSIDE, &pieces[2], 1).1, None, "{}", mode.name);
    }
}

/// Who guesses a datagram's number, but not its ports, cannot stop its later pieces by a first one that goes nowhere.
#[test]
fn rfc_4787_req_14_a_first_piece_that_is_dropped_does_not_take_those_of_other_ports_with_it() {
    for mode in modes() {
        let mut path = mode.path();
        let datagram = mode.datagram().payload(&[1; 64]);
        let pieces = cut(&datagram.bytes(), &[24, 48], 6);
        let nowhere = Crafted { destination: (mode.vip, 99).into(), ..datagram.clone() };
        let forged = cut(&nowhere.bytes(), &[24, 48], 6);
        let first = process(&mut path, OUTSIDE, &pieces[0], 0).1.unwrap();
        assert_eq!(process(&mut path, OUTSIDE, &forged[0], 0).0.reason, Reason::NoListener, "{}", mode.name);
        let rest = [1, 2].map(|at| process(&mut path, OUTSIDE, &pieces[at], 0).1.unwrap());
        assert_eq!(read(&join(&[&[first][..], &rest].concat())).payload, datagram.payload, "{}", mode.name);
        assert_books_balance(path.counters());
    }
}

/// Clients that share an address behind us number their datagrams without each other's knowledge, in 32 bits or in 16: those of one
/// datagram have one number there, in whatever order they come, and no other's have it.
#[test]
fn rfc_6864_5_3_and_rfc_7915_5_1_1_pieces_of_clients_of_one_source_do_not_meet() {
    let [_, v4, _, v6, v4_to_v6, v6_to_v4] = modes();
    for mode in [v4, v6, v4_to_v6, v6_to_v4] {
        let mut path = leaked_datapath(256, settings(), &mode.scene.clone().with_targets(1));
        let mut numbers = HashSet::new();
        for at in 0..100u8 {
            let client = match mode.client.ip() {
                IpAddr::V4(_) => IpAddr::from([198, 18, 1, at]),
                IpAddr::V6(_) => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 1, at.into()]),
            };
            let datagram = Crafted { source: (client, 40_000).into(), ..mode.datagram() }.payload(&[at; 100]);
            let mut pieces = cut(&datagram.bytes(), &[24, 64], 7 | u32::from(at % 2) << 16);
            pieces.rotate_left(usize::from(at) % 3);
            let pieces = leaving(&mut path, &datagram, &pieces);
            assert_eq!(read(&join(&pieces)).payload, datagram.payload, "{}", mode.name);
            assert!(numbers.insert(number(&pieces[0])), "{} {at}", mode.name);
        }
    }
}

/// The same of targets, whose datagrams a client gets from the VIP.
#[test]
fn rfc_7915_5_1_1_pieces_of_targets_behind_one_vip_do_not_meet() {
    let [_, _, v6, full_nat, v4_to_v6, v6_to_v4] = modes();
    for mode in [v6, full_nat, v4_to_v6, v6_to_v4] {
        let mut path = mode.path();
        let (mut targets, mut numbers) = (HashSet::new(), HashSet::new());
        for port in 40_000..40_100 {
            let first = Crafted { source: (mode.client.ip(), port).into(), ..mode.datagram() };
            let flow = OpenFlow::open(&mut path, &first, 0);
            if targets.insert(flow.target) {
                let datagram = flow.reply(0).payload(&[port as u8; 100]);
                let pieces = leaving(&mut path, &datagram, &cut(&datagram.bytes(), &[24, 64], 7));
                assert_eq!(read(&join(&pieces)).payload, datagram.payload, "{}", mode.name);
                assert!(numbers.insert(number(&pieces[0])), "{} {port}", mode.name);
            }
        }
        assert_eq!(targets.len(), 3);
    }
}
