//! Errors of the load balancer's own: RFC 1122, RFC 1191, RFC 1812, RFC 4443, RFC 8200, RFC 8201.

use lb_core::{limits, verdict::Reason};

use super::{dropped, support::*};

/// Of our own: the first link that cannot carry the packet is the one behind us.
#[test]
fn rfc_1191_and_rfc_8201_a_packet_too_long_for_the_way_out_is_answered_with_the_mtu_of_its_family() {
    for mode in modes() {
        let scene = Scene { mtus: [1_400, 1_400], ..mode.scene.clone() };
        let (gap_there, gap_back) = match (mode.is_ipv4(), scene.target_family) {
            (true, Family::V6) => (-20, 20),
            (false, Family::V4) => (20, -20),
            _ => (0, 0),
        };
        let mut path = leaked_datapath(64, settings(), &scene);
        let flow = OpenFlow::open(&mut path, &mode.syn(), 0);
        for (packet, gap) in [(flow.request(SYN), gap_there), (flow.reply(SYN | ACK), gap_back)] {
            let longest = (1_400 + gap) as usize;
            let headers = if packet.source.is_ipv4() { 40 } else { 60 };
            let fitting = packet.clone().payload(&vec![1; longest - headers]);
            assert_eq!(through(&mut path, &fitting, 0).0.reason, Reason::FlowHit, "{}", mode.name);
            let long = packet.clone().payload(&vec![1; longest - headers + 1]);
            let (verdict, out) = through(&mut path, &long, 0);
            assert_eq!(verdict.reason, Reason::TooBig, "{}", mode.name);
            let seen = read_error(&out.unwrap());
            let kind = if packet.source.is_ipv4() { (3, 4) } else { (2, 0) };
            assert_eq!((seen.kind, seen.word), (kind, longest as u32), "{}", mode.name);
            assert_is_about(&seen, &long);
            let answering = if packet.source == flow.client { flow.vip } else { flow.source };
            if flow.source != flow.client {
                assert_eq!(seen.source, answering.ip(), "{}", mode.name);
            }
        }
    }
}

/// An error of ours goes back to where its packet came from, and quotes as much of it as the family allows.
fn assert_is_about(seen: &SeenError, packet: &Crafted) {
    assert_eq!(seen.destination, packet.source.ip());
    let (from, to) = packet.macs;
    assert_eq!(seen.macs, (to, from));
    let (most, headers) = if packet.source.is_ipv4() { (limits::ICMP_ERROR_BYTES, 28) } else { (1_280, 48) };
    let whole = packet.bytes();
    assert_eq!(seen.quote[14..], whole[14..][..(most - headers).min(whole.len() - 14)]);
    assert_eq!(seen.ttl, limits::REPLY_TTL);
}

#[test]
fn rfc_1812_5_2_6_and_rfc_7915_4_a_packet_that_may_be_fragmented_is_cut_up() {
    for mode in modes() {
        let narrow = Scene { mtus: [1_400, 1_400], ..mode.scene.clone() };
        let wide = Scene { mtus: [9_000, 9_000], ..mode.scene.clone() };
        let [mut narrow, mut wide] = [narrow, wide].map(|scene| leaked_datapath(64, settings(), &scene));
        let (flow, same) =
            (OpenFlow::open(&mut narrow, &mode.syn(), 0), OpenFlow::open(&mut wide, &mode.syn(), 0));
        assert_eq!(flow, same);
        for packet in [flow.request(ACK), flow.reply(ACK)].into_iter().filter(|one| one.source.is_ipv4()) {
            let data: Vec<u8> = (0..3_000u32).map(|at| at as u8).collect();
            let long = Crafted { do_not_fragment: false, ..packet }.payload(&data);
            let (_, whole) = send(&mut wide, ingress_of(&long), &long.bytes(), 0);
            let (verdict, first) = process(&mut narrow, ingress_of(&long), &long.bytes(), 0);
            assert_eq!(verdict.reason, Reason::FlowHit, "{}", mode.name);
            let rest = take_extras(&mut narrow);
            assert!(rest.iter().all(|(verdict, _)| verdict.reason == Reason::CutUp), "{}", mode.name);
            let pieces: Vec<_> = first.into_iter().chain(rest.into_iter().map(|(_, frame)| frame)).collect();
            assert_eq!(pieces.len(), 3);
            assert!(pieces.iter().all(|piece| piece.len() <= 14 + 1_400));
            assert_eq!(read(&join(&pieces)), read(&whole.unwrap()), "{}", mode.name);
        }
        assert_books_balance(narrow.counters());
    }
}

#[test]
fn rfc_8200_5_no_ipv6_sender_is_told_less_than_1280() {
    let mode = v6_to_v4();
    let mut path = leaked_datapath(64, settings(), &Scene { mtus: [1_500, 600], ..mode.scene.clone() });
    let flow = OpenFlow::open(&mut path, &mode.syn(), 0);
    let (_, out) = through(&mut path, &flow.request(ACK).payload(&[1; 700]), 0);
    assert_eq!(read_error(&out.unwrap()).word, 1_280);
}

/// RFC 792 and RFC 4443 section 3.3: of a new flow, and of both sides of a flow.
#[test]
fn rfc_1812_5_3_1_a_packet_on_its_last_hop_is_answered_by_time_exceeded() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        for packet in [mode.datagram(), flow.request(ACK), flow.reply(ACK)] {
            let last = Crafted { ttl: 1, ..packet };
            let (verdict, out) = through(&mut path, &last, 0);
            assert_eq!(verdict.reason, Reason::TimeExceeded, "{}", mode.name);
            let seen = read_error(&out.unwrap());
            assert_eq!(seen.kind, if last.source.is_ipv4() { (11, 0) } else { (3, 0) });
            assert_is_about(&seen, &last);
        }
        assert_eq!(path.counters().flows.value(), 1);
        let nobodys = Crafted { ttl: 1, ..tcp(mode.client, (mode.vip, 81), SYN) };
        assert_eq!(dropped(&mut path, &nobodys, &nobodys.bytes()), Reason::TtlExpired);
    }
}

#[test]
fn rfc_1122_3_2_2_no_error_is_made_about_a_later_piece_of_an_ipv4_packet() {
    for mode in modes().into_iter().filter(Mode::is_ipv4) {
        let mut path = mode.path();
        let datagram = Crafted { ttl: 1, ..mode.datagram() }.payload(&[1; 64]);
        let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
        let pieces = cut(&datagram.bytes(), &[16, 32], 9);
        assert_eq!(send(&mut path, OUTSIDE, &pieces[0], 0).0.reason, Reason::TimeExceeded, "{}", mode.name);
        for later in &pieces[1..] {
            let (_, out) = send(&mut path, OUTSIDE, later, 0);
            assert_eq!(out, None, "{}", mode.name);
        }
        flow.to_target(&mut path, &flow.request(0), 0);
    }
}

#[test]
fn rfc_4443_2_4_f_errors_of_our_own_are_rate_limited() {
    for mode in modes() {
        let mut path = mode.path();
        let last = Crafted { ttl: 1, ..mode.syn() };
        for _ in 0..limits::REPLIES_PER_SECOND {
            assert_eq!(through(&mut path, &last, 0).0.reason, Reason::TimeExceeded);
        }
        assert_eq!(dropped(&mut path, &last, &last.bytes()), Reason::ReplyRateLimited, "{}", mode.name);
        assert_eq!(through(&mut path, &last, 1_000).0.reason, Reason::TimeExceeded);
    }
}
