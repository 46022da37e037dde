//! Errors of the load balancer's own: RFC 1122, RFC 1191, RFC 1812, RFC 4443, RFC 8200, RFC 8201.

use lb_core::{datapath::Datapath, limits, verdict::Reason};

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
            // Only what may not be cut up becomes one IPv6 packet of this length.
            let is_translated = mode.is_ipv4() != (mode.scene.target_family == Family::V4);
            let uncut = Crafted { do_not_fragment: is_translated, ..long.clone() };
            let (_, whole) = send(&mut wide, ingress_of(&uncut), &uncut.bytes(), 0);
            let (verdict, first) = process(&mut narrow, ingress_of(&long), &long.bytes(), 0);
            assert_eq!(verdict.reason, Reason::FlowHit, "{}", mode.name);
            let rest = take_extras(&mut narrow);
            assert!(rest.iter().all(|(verdict, _)| verdict.reason == Reason::CutUp), "{}", mode.name);
            let pieces: Vec<_> = first.into_iter().chain(rest.into_iter().map(|(_, frame)| frame)).collect();
            assert_eq!(pieces.len(), 3);
            assert!(pieces.iter().all(|piece| piece.len() <= 14 + 1_400));
            let mut whole = whole.unwrap();
            if read_ip(&whole).source.is_ipv4() {
                whole[18..20].copy_from_slice(&pieces[0][18..20]); // Pieces of replies have other numbers.
                fix_ip_checksum(&mut whole);
            }
            assert_eq!(read(&join(&pieces)), read(&whole), "{}", mode.name);
        }
        assert_books_balance(narrow.counters());
    }
}

/// A packet, and the pieces in which it leaves; whole, it is the only one.
fn leaving(path: &mut Datapath<'_>, packet: &Crafted, frame: &[u8]) -> (Reason, Vec<Vec<u8>>) {
    let (verdict, first) = process(path, ingress_of(packet), frame, 0);
    let rest = take_extras(path);
    assert!(rest.iter().all(|(verdict, _)| verdict.reason == Reason::CutUp));
    (verdict.reason, first.into_iter().chain(rest.into_iter().map(|(_, frame)| frame)).collect())
}

/// No IPv6 link cuts a packet up, and its sender looks for no MTU: it leaves in pieces that every link carries.
#[test]
fn rfc_7915_4_what_becomes_an_ipv6_packet_and_may_be_fragmented_leaves_in_at_most_1280_bytes() {
    for mtu in [1_280, 1_500, 9_000] {
        for (mode, is_request) in [(v4_to_v6(), true), (v6_to_v4(), false)] {
            let mut path = leaked_datapath(64, settings(), &Scene { mtus: [mtu; 2], ..mode.scene.clone() });
            for first in [mode.syn(), mode.datagram()] {
                let flow = OpenFlow::open(&mut path, &first, 0);
                let packet = if is_request { flow.request(ACK) } else { flow.reply(ACK) };
                let headers = if packet.protocol == 6 { 40 } else { 28 };
                for (total_length, expected) in
                    [(1_260, vec![1_280]), (1_261, vec![1_280, 57]), (1_500, vec![1_280, 296])]
                {
                    let sent = Crafted { do_not_fragment: false, ..packet.clone() }
                        .payload(&vec![7; total_length - headers]);
                    let (_, pieces) = leaving(&mut path, &sent, &sent.bytes());
                    let lengths: Vec<usize> = pieces.iter().map(|piece| piece.len() - 14).collect();
                    assert_eq!(lengths, expected, "{} {total_length}", mode.name);
                    if let [_, _] = &pieces[..] {
                        assert_eq!(read(&join(&pieces)).payload, sent.payload);
                    }
                }
                let whole = packet.payload(&vec![7; 1_280 - headers]);
                let reason = if mtu < 1_300 { Reason::TooBig } else { Reason::FlowHit };
                assert_eq!(through(&mut path, &whole, 0).0.reason, reason, "one that may not be");
            }
        }
    }
}

/// A sender of IPv6 packets need not send shorter ones than 1,280 bytes: what becomes of them may be cut up, here as behind us. So may
/// what its sender has cut up itself.
#[test]
fn rfc_7915_5_1_ipv6_packets_of_1280_bytes_are_cut_up_for_a_way_that_carries_less() {
    for (mode, is_request) in [(v6_to_v4(), true), (v4_to_v6(), false)] {
        let narrow = if is_request { [1_500, 576] } else { [576, 1_500] };
        let mut path = leaked_datapath(64, settings(), &Scene { mtus: narrow, ..mode.scene.clone() });
        for first in [mode.syn(), mode.datagram()] {
            let flow = OpenFlow::open(&mut path, &first, 0);
            let packet = if is_request { flow.request(ACK) } else { flow.reply(ACK) };
            let headers = if packet.protocol == 6 { 60 } else { 48 };
            for total_length in [597, 1_279, 1_280] {
                let sent = packet.clone().payload(&vec![9; total_length - headers]);
                let (reason, pieces) = leaving(&mut path, &sent, &sent.bytes());
                assert_eq!(reason, Reason::FlowHit, "{} {total_length}", mode.name);
                assert_eq!(pieces.len(), (total_length - 40).div_ceil(552));
                assert!(pieces.iter().all(|piece| piece.len() <= 14 + 576));
                assert_eq!(read(&join(&pieces)).payload, sent.payload);
            }
            let long = packet.clone().payload(&vec![9; 1_281 - headers]);
            let (_, out) = through(&mut path, &long, 0);
            assert_eq!(read_error(&out.unwrap()).word, 1_280, "{}", mode.name);
            if packet.protocol == 17 {
                let sent = packet.payload(&[9; 2_000]);
                let pieces = cut(&sent.bytes(), &[1_200], 5);
                let pieces = pieces.iter().flat_map(|piece| leaving(&mut path, &sent, piece).1);
                assert_eq!(read(&join(&pieces.collect::<Vec<_>>())).payload, sent.payload);
            }
        }
        assert_books_balance(path.counters());
    }
}

/// The options without the copied flag stand in the piece that has the packet's beginning, and nowhere else.
#[test]
fn rfc_791_3_1_options_that_are_not_copied_stand_in_the_first_piece_alone() {
    let [mode, ..] = modes();
    let mut path = leaked_datapath(64, settings(), &Scene { mtus: [576; 2], ..mode.scene.clone() });
    let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
    let options = vec![7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 1, 68, 8, 5, 0, 0, 0, 0, 0];
    let copied = vec![1, 1, 1, 1, 1, 1, 1, 148, 4, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1];
    let long = Crafted { do_not_fragment: false, options, ..flow.request(0) }.payload(&[3; 1_472]);
    for parts in [vec![long.bytes()], cut(&long.bytes(), &[800], 9)] {
        let pieces = parts.iter().flat_map(|part| leaving(&mut path, &long, part).1).collect::<Vec<_>>();
        assert!(pieces.len() > parts.len());
        for piece in &pieces {
            let header = read_ip(piece).header;
            let is_first = u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0;
            let expected = if is_first { &long.options } else { &copied };
            assert_eq!(header[20..], expected[..], "{header:02x?}");
        }
    }
}

#[test]
fn rfc_8200_5_no_ipv6_sender_is_told_less_than_1280() {
    let mode = v6_to_v4();
    let mut path = leaked_datapath(64, settings(), &Scene { mtus: [1_500, 600], ..mode.scene.clone() });
    let flow = OpenFlow::open(&mut path, &mode.syn(), 0);
    let (_, out) = through(&mut path, &flow.request(ACK).payload(&[1; 1_300]), 0);
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
        assert_eq!(dropped(&mut path, &last, &last.bytes()), Reason::ErrorRateLimited, "{}", mode.name);
        assert_eq!(through(&mut path, &last, 1_000).0.reason, Reason::TimeExceeded);
    }
}

/// Above all, path MTU discovery of honest flows does not wait for a flood of strays to end.
#[test]
fn rfc_4443_2_4_f_a_flood_that_draws_one_kind_of_answers_leaves_the_others() {
    for mode in preserving_modes() {
        let kinds_of_family = if mode.is_ipv4() { 3 } else { 4 };
        for flooded in 0..kinds_of_family {
            let mut path = leaked_datapath(64, settings(), &Scene { mtus: [1_400; 2], ..mode.scene.clone() });
            let flow = mode.connect(&mut path);
            let kinds = [
                (tcp((mode.client.ip(), 40_001), mode.web(), ACK), Reason::ResetNoFlow),
                (flow.request(ACK).payload(&[1; 1_400]), Reason::TooBig),
                (Crafted { ttl: 1, ..flow.request(ACK) }, Reason::TimeExceeded),
                (flow.request(ACK).extension(routing(2, 1)), Reason::ParameterProblem),
            ];
            let (packet, answered) = &kinds[flooded];
            for _ in 0..limits::REPLIES_PER_SECOND {
                assert_eq!(through(&mut path, packet, 0).0.reason, *answered, "{}", mode.name);
            }
            for (at, (packet, answered)) in kinds[..kinds_of_family].iter().enumerate() {
                let expected = match (at == flooded, answered) {
                    (false, answered) => *answered,
                    (true, Reason::ResetNoFlow) => Reason::ResetRateLimited,
                    (true, _) => Reason::ErrorRateLimited,
                };
                assert_eq!(through(&mut path, packet, 0).0.reason, expected, "{}", mode.name);
            }
            assert_books_balance(path.counters());
        }
    }
}
