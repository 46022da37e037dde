//! Listeners with SYN cookies (RFC 4987 section 3.6) between a scripted client and a scripted target: what each of them gets for
//! what it sends, in every mode.

#[path = "../support/mod.rs"]
mod support;

mod loss;
mod proxy;
mod script;

use lb_core::{
    tables::{CutCause, FlowPolicy},
    verdict::{Action, Reason},
};
use script::*;
use support::*;

/// What options say, in the order that one looks for it: segment size, window scale, selective acknowledgements, timestamps.
fn offered(options: &[u8]) -> (Option<u16>, Option<u8>, bool, bool) {
    let mut offered = (None, None, false, false);
    let mut rest = options;
    while let [kind, after @ ..] = rest {
        if *kind <= 1 {
            rest = after;
            continue;
        }
        let (option, next) = rest.split_at(usize::from(after[0]));
        match kind {
            2 => offered.0 = Some(u16::from_be_bytes([option[2], option[3]])),
            3 => offered.1 = Some(option[2]),
            4 => offered.2 = true,
            8 => offered.3 = true,
            other => panic!("option {other}"),
        }
        rest = next;
    }
    offered
}

#[test]
fn a_syn_is_answered_by_the_vip_with_a_closed_window_and_nothing_is_kept() {
    for mode in cookie_modes() {
        let mut script = Script::new(&mode);
        let seen = script.get_cookie(0);
        assert_eq!((seen.source, seen.destination), (mode.web(), mode.client), "{}", mode.name);
        assert_eq!(seen.macs, (OUTSIDE_MAC, CLIENT_MAC));
        assert_eq!((seen.flags, seen.acknowledgement), (SYN | ACK, CLIENT_INITIAL.wrapping_add(1)));
        assert_eq!(seen.window, 0, "the client waits until the target is there");
        let is_ipv4 = mode.is_ipv4() && mode.scene.target_family == Family::V4;
        let segment_size = if is_ipv4 { 1_460 } else { 1_440 };
        assert_eq!(offered(&seen.tcp_options), (Some(segment_size), Some(7), true, false));
        assert_eq!((script.path.counters().flows.value(), seen.payload.len()), (0, 0));
        assert_books_balance(script.path.counters());
    }
}

#[test]
fn what_began_with_a_cookie_is_reset_after_an_unclean_start() {
    for mode in cookie_modes() {
        let adopting = lb_core::datapath::Settings {
            adopt_until: Some(lb_core::time::Instant::from_millis(350_000)),
            ..settings()
        };
        let mut path = leaked_datapath(64, adopting, &mode.scene);
        let stray = tcp(mode.client, mode.web(), PSH | ACK);
        let (verdict, _) = send(&mut path, OUTSIDE, &stray.bytes(), 1_000);
        assert_eq!(verdict.reason, Reason::ResetNoFlow, "{}: its numbers went with the process", mode.name);
    }
}

#[test]
fn a_client_that_confirms_meets_its_target_by_its_own_number() {
    for mode in cookie_modes() {
        let mut script = Script::new(&mode);
        script.get_cookie(0);
        let seen = script.confirm(0);
        assert_eq!(
            (seen.flags, seen.sequence, seen.acknowledgement),
            (SYN, CLIENT_INITIAL, 0),
            "{}",
            mode.name
        );
        assert_eq!(seen.macs, (INSIDE_MAC, target_mac(number_of(seen.destination))));
        assert_eq!(seen.source == mode.client, mode.name.contains("preserved"));
        let (segment_size, window_scale, has_sack, has_timestamps) = offered(&seen.tcp_options);
        assert!(segment_size <= Some(1_460));
        assert_eq!(
            (window_scale, has_sack, has_timestamps),
            (Some(9), true, false),
            "what the client offered"
        );
        let counters = script.path.counters();
        assert_eq!((counters.flows.value(), counters.half_open.value()), (1, 0));
    }
}

#[test]
fn the_targets_answer_is_acknowledged_and_the_client_may_send() {
    for mode in cookie_modes() {
        let mut script = Script::new(&mode);
        script.get_cookie(0);
        script.confirm(0);
        let (to_target, to_client) = script.answer(0);
        assert_eq!(
            (to_target.source, to_target.destination),
            (script.source, script.target),
            "{}",
            mode.name
        );
        assert_eq!(to_target.macs, (INSIDE_MAC, target_mac(number_of(script.target))));
        let next = CLIENT_INITIAL.wrapping_add(1);
        assert_eq!(
            (to_target.flags, to_target.sequence, to_target.acknowledgement),
            (ACK, next, TARGET_INITIAL.wrapping_add(1))
        );
        assert_eq!(u32::from(to_target.window) << 9, 8_192, "a little, until the client says how much");
        assert_eq!((to_client.source, to_client.destination), (mode.web(), mode.client));
        assert_eq!(to_client.macs, (OUTSIDE_MAC, CLIENT_MAC));
        let numbers = (to_client.flags, to_client.sequence, to_client.acknowledgement);
        assert_eq!(numbers, (ACK, script.cookie.wrapping_add(1), next));
        assert_eq!(to_client.window, 28_960 >> 7, "the target's, which no SYN scales");
        script.assert_flows(1);
        assert_books_balance(script.path.counters());
    }
}

#[test]
fn the_connection_lives_and_ends_as_any_other() {
    for mode in cookie_modes() {
        let mut script = Script::new(&mode);
        script.establish();
        script.assert_flows(350_000);
        script.assert_flows(700_000);
        let (client_next, target_next) = (CLIENT_INITIAL.wrapping_add(6), TARGET_INITIAL.wrapping_add(6));
        let fin = script.request(FIN | ACK, (client_next, script.cookie.wrapping_add(6)));
        assert_eq!(script.send(&fin, Reason::FlowHit, 700_001).acknowledgement, target_next);
        let fin = script.reply(FIN | ACK, (target_next, client_next.wrapping_add(1)));
        assert_eq!(script.send(&fin, Reason::FlowHit, 700_001).sequence, script.cookie.wrapping_add(6));
        script.send(&script.syn(), Reason::SynCookie, 700_002);
        assert_eq!(
            script.path.counters().targets[usize::from(number_of(script.target))].active_flows.value(),
            0
        );
    }
}

/// Selective acknowledgements of the client are about the target's numbers, those of the target about the client's own.
#[test]
fn selective_acknowledgements_are_translated() {
    for mode in cookie_modes() {
        let mut script = Script::new(&mode);
        script.establish();
        let blocks = |edges: [u32; 4]| {
            let mut options = vec![1, 1, 5, 18];
            options.extend(edges.iter().flat_map(|edge| edge.to_be_bytes()));
            options
        };
        let of =
            |initial: u32| blocks([100, 200, 0x9000_0000, 0x9000_0100].map(|at| initial.wrapping_add(at)));
        let numbers = (CLIENT_INITIAL.wrapping_add(1), script.cookie.wrapping_add(1));
        let request = Crafted { tcp_options: of(script.cookie), ..script.request(ACK, numbers) };
        assert_eq!(
            script.send(&request, Reason::FlowHit, 1).tcp_options,
            of(TARGET_INITIAL),
            "{}",
            mode.name
        );
        let numbers = (TARGET_INITIAL.wrapping_add(1), CLIENT_INITIAL.wrapping_add(1));
        let reply = Crafted { tcp_options: of(CLIENT_INITIAL), ..script.reply(ACK, numbers) };
        assert_eq!(script.send(&reply, Reason::FlowHit, 1).tcp_options, of(CLIENT_INITIAL));
    }
}

/// The client was told a shift of 7; whatever the target has, both understand the same number of bytes.
#[test]
fn windows_are_shifted_to_what_each_side_was_told() {
    for mode in cookie_modes() {
        for (offered, answered) in
            [(Some(9), Some(7)), (Some(0), Some(10)), (Some(14), Some(2)), (Some(8), None), (None, None)]
        {
            let plain = vec![2, 4, 0x05, 0xb4];
            let scaled = |scale: Option<u8>| scale.map_or(plain.clone(), |scale| options(1_460, scale));
            let mut script = Script::with(&mode, scaled(offered), scaled(answered));
            script.establish();
            let client_shift = if offered.is_some() { 7 } else { 0 };
            let numbers = (TARGET_INITIAL.wrapping_add(1), CLIENT_INITIAL.wrapping_add(1));
            for window in [0u16, 1_024, 20_000] {
                let bytes = u64::from(window) << answered.unwrap_or(0);
                let reply = Crafted { window, ..script.reply(ACK, numbers) };
                let seen = script.send(&reply, Reason::FlowHit, 1);
                let understood = u64::from(seen.window) << client_shift;
                assert!(
                    understood <= bytes && bytes - understood < 128 || seen.window == 0xffff,
                    "{}",
                    mode.name
                );
            }
            let numbers = (CLIENT_INITIAL.wrapping_add(1), script.cookie.wrapping_add(1));
            for window in [0u16, 1, 500] {
                let bytes = u64::from(window) << offered.unwrap_or(0);
                let target_shift = if answered.is_some() { offered.unwrap_or(0) } else { 0 };
                let request = Crafted { window, ..script.request(ACK, numbers) };
                let seen = script.send(&request, Reason::FlowHit, 1);
                let understood = u64::from(seen.window) << target_shift;
                assert_eq!(
                    understood,
                    bytes.min(0xffff << target_shift),
                    "{} {offered:?} {answered:?}",
                    mode.name
                );
            }
        }
    }
}

#[test]
fn what_a_client_does_not_offer_is_offered_to_nobody() {
    for mode in cookie_modes() {
        for (offer, expected) in [
            (vec![], (Some(536), None, false, false)),
            (vec![2, 4, 0x02, 0x00], (Some(64), None, false, false)),
            (vec![2, 4, 0x05, 0x78], (Some(1_400), None, false, false)),
            (vec![4, 2, 1, 1], (Some(536), None, true, false)),
            (vec![1, 3, 3, 15], (Some(536), Some(14), false, false)),
            (vec![2, 3, 5, 0], (Some(536), None, false, false)),
        ] {
            let mut script = Script::with(&mode, offer.clone(), Vec::new());
            let (_, window_scale, has_sack, _) = offered(&script.get_cookie(0).tcp_options);
            assert_eq!((window_scale.is_some(), has_sack), (expected.1.is_some(), expected.2), "{offer:?}");
            assert_eq!(offered(&script.confirm(0).tcp_options), expected, "{} {offer:?}", mode.name);
        }
    }
}

#[test]
fn an_acknowledgement_of_no_cookie_gets_a_reset() {
    for mode in cookie_modes() {
        let mut script = Script::new(&mode);
        script.get_cookie(0);
        let good = script.confirmation();
        let forged = [
            Crafted { acknowledgement: good.acknowledgement ^ 0x100, ..good.clone() },
            Crafted { acknowledgement: good.acknowledgement.wrapping_add(1), ..good.clone() },
            Crafted { sequence: good.sequence.wrapping_add(1), ..good.clone() },
            Crafted { source: (mode.client.ip(), 40_001).into(), ..good.clone() },
        ];
        for packet in &forged {
            let seen = script.send(packet, Reason::ResetNoFlow, 1);
            assert_eq!((seen.flags, seen.sequence), (RST, packet.acknowledgement), "{}", mode.name);
            assert_eq!((seen.source, seen.destination), (packet.destination, packet.source));
        }
        assert_eq!(script.path.counters().flows.value(), 0);
        // The right one is too old after two periods of 32 s.
        let seen = script.send(&good, Reason::ResetNoFlow, 64_000);
        assert_eq!(seen.flags, RST);
        script.confirm(63_999);
    }
}

#[test]
fn a_hundred_thousand_spoofed_syns_leave_no_state_and_hurt_nobody() {
    let mode = &cookie_modes()[0];
    let mut script = Script::new(mode);
    script.establish();
    for number in 0..100_000u32 {
        let source = (std::net::Ipv4Addr::from(0xc612_8000 + (number >> 1)), 1_000 + (number & 1) as u16);
        script.send(&Crafted { source: source.into(), ..script.syn() }, Reason::SynCookie, 1);
    }
    let counters = script.path.counters();
    assert_eq!((counters.flows.value(), counters.half_open.value()), (1, 0));
    assert_eq!(counters.half_open_evicted.value(), 0);
    script.assert_flows(2);
    let other = Mode { client: (CLIENT, 40_001).into(), ..mode.clone() };
    let mut honest = Script { path: script.path, ..Script::new(&other) };
    honest.establish();
    honest.assert_flows(3);
    assert_books_balance(honest.path.counters());
}

#[test]
fn a_group_without_targets_refuses_before_any_cookie() {
    for mode in cookie_modes() {
        let empty = Mode { scene: Scene { targets: Vec::new(), ..mode.scene.clone() }, ..mode };
        let mut script = Script::new(&empty);
        let seen = script.send(&script.syn(), Reason::ResetNoTarget, 0);
        assert_eq!((seen.flags, seen.acknowledgement), (RST | ACK, CLIENT_INITIAL.wrapping_add(1)));
    }
}

/// A client that may not send yet has one number to reset with; who does not know it ends nothing (RFC 5961 section 3.2).
#[test]
fn only_a_reset_with_the_clients_number_ends_a_flow_that_waits_for_its_target() {
    for mode in cookie_modes() {
        for flags in [RST, RST | ACK] {
            let mut script = Script::new(&mode);
            script.get_cookie(0);
            script.confirm(0);
            let numbers = |sequence| (sequence, script.cookie.wrapping_add(1));
            let right = script.request(flags, numbers(CLIENT_INITIAL.wrapping_add(1)));
            let forged = [0, CLIENT_INITIAL, CLIENT_INITIAL.wrapping_add(2), 0xbad]
                .map(|sequence| script.request(flags, numbers(sequence)));
            for forged in forged {
                assert_eq!(through(&mut script.path, &forged, 1).0.reason, Reason::Connecting);
            }
            script.answer(2);
            script.assert_flows(3);

            let mut script = Script::new(&mode);
            script.get_cookie(0);
            script.confirm(0);
            assert_eq!(through(&mut script.path, &right, 1).0.reason, Reason::NoFlow);
            assert_eq!(script.path.counters().flows.value(), 0, "{}", mode.name);
        }
    }
}

/// Once it has answered, it is reset as any other: by the numbers that each side knows.
#[test]
fn both_sides_of_a_cut_connection_are_reset_by_their_own_numbers() {
    for mode in cookie_modes() {
        for by_client in [true, false] {
            let mut script = Script::new(&mode);
            script.establish();
            let n = number_of(script.target);
            let mut scene = Scene { generation: 2, ..mode.scene.clone() };
            scene.targets[usize::from(n) - 1] = (n, false, FlowPolicy::Cut(CutCause::Unhealthy));
            script.path.install(scene.tables());
            let client_numbers = (CLIENT_INITIAL.wrapping_add(1), script.cookie.wrapping_add(1));
            let target_numbers = (TARGET_INITIAL.wrapping_add(1), CLIENT_INITIAL.wrapping_add(1));
            let packet = match by_client {
                true => script.request(ACK, client_numbers),
                false => script.reply(ACK, target_numbers),
            };
            let answer = script.send(&packet, Reason::ResetTerminated, 1);
            assert_eq!((answer.sequence, answer.destination), (packet.acknowledgement, packet.source));
            let extras = take_extras(&mut script.path);
            assert_eq!(extras[0].0.reason, Reason::ResetOtherSide);
            let other = read(&extras[0].1);
            let expected = match by_client {
                true => (script.target, target_numbers.1, target_numbers.0),
                false => (mode.client, client_numbers.1, client_numbers.0),
            };
            assert_eq!((other.destination, other.sequence, other.acknowledgement), expected, "{}", mode.name);
        }
    }
}

/// The quote is the target's packet, with the number that the target gave it.
#[test]
fn an_error_about_a_packet_to_the_client_quotes_the_targets_number() {
    for mode in cookie_modes() {
        let mut script = Script::new(&mode);
        script.establish();
        let numbers = (TARGET_INITIAL.wrapping_add(1), CLIENT_INITIAL.wrapping_add(1));
        let sent = script.reply(ACK, numbers).payload(&[1; 1_000]);
        let got = through(&mut script.path, &sent, 1).1.unwrap();
        let (kind, router) = match mode.is_ipv4() {
            true => ((3, 4), std::net::IpAddr::V4(ROUTER)),
            false => ((2, 0), std::net::IpAddr::V6(ROUTER6)),
        };
        for quoted in [8, 64] {
            let header = read_ip(&got).header.len();
            let error =
                icmp_error(kind, (router, mode.vip), (CLIENT_MAC, OUTSIDE_MAC), &got, header + quoted);
            let (verdict, out) = send(&mut script.path, OUTSIDE, &error, 2);
            assert_eq!((verdict.reason, verdict.reason.action()), (Reason::IcmpError, Action::Transmit));
            let quote = read_error(&out.unwrap()).quote;
            let at = if sent.source.is_ipv4() { 34 } else { 54 };
            assert_eq!(quote[at..at + 8], sent.bytes()[at..at + 8], "{}", mode.name);
        }
    }
}

/// A SYN after a reset goes to its target, so that both ends tell each other by how much they scale: nothing is shifted any more.
#[test]
fn windows_of_a_connection_after_a_reset_are_what_its_ends_say() {
    for mode in cookie_modes() {
        for answered in [Some(10), Some(7), Some(2), None] {
            let scaled = answered.map_or(vec![2, 4, 0x05, 0xb4], |scale| options(1_460, scale));
            let mut script = Script::with(&mode, options(1_460, 9), scaled);
            script.establish();
            let (client_next, target_next) = (CLIENT_INITIAL.wrapping_add(1), TARGET_INITIAL.wrapping_add(1));
            let numbers = (client_next, script.cookie.wrapping_add(1));
            script.send(&script.request(RST | ACK, numbers), Reason::FlowHit, 1);
            let syn = script.send(&script.syn(), Reason::FlowHit, 2);
            assert_eq!((syn.sequence, &syn.tcp_options), (CLIENT_INITIAL, &script.offer), "{}", mode.name);
            let told = script.send(&script.target_answer(), Reason::FlowHit, 3);
            assert_eq!((told.sequence, &told.tcp_options), (script.cookie, &script.answer));
            let request = Crafted { window: 500, ..script.request(ACK, numbers) };
            assert_eq!(script.send(&request, Reason::FlowHit, 4).window, 500, "{} {answered:?}", mode.name);
            let reply = Crafted { window: 1_024, ..script.reply(ACK, (target_next, client_next)) };
            assert_eq!(script.send(&reply, Reason::FlowHit, 4).window, 1_024, "{} {answered:?}", mode.name);
            script.assert_flows(5);
        }
    }
}

/// A cookie is good for whichever worker meets it, and the connection lives where any other of the client would.
#[test]
fn cookies_work_among_several_workers() {
    for mode in cookie_modes() {
        for receive_hash in [None, receive_hash(4)] {
            let scene = Scene { receive_hash, ..mode.scene.clone() };
            let mut fleet = Fleet::new(4, 256, &scene);
            for port in 1_000..1_060 {
                let mode = Mode { client: (mode.client.ip(), port).into(), ..mode.clone() };
                let mut script = Script::new(&mode);
                let queue = |number: u16| (number % 4) as u8;
                let answer = fleet.send(queue(port), OUTSIDE, &script.syn().bytes(), 0).only();
                assert_eq!(answer.0, Reason::SynCookie);
                script.cookie = read(&answer.1.unwrap()).sequence;
                let syn = fleet.send(queue(port / 2), OUTSIDE, &script.confirmation().bytes(), 0).only();
                assert_eq!(syn.0, Reason::SynToTarget);
                let syn = read(&syn.1.unwrap());
                (script.source, script.target) = (syn.source, syn.destination);
                let delivery = fleet.send(queue(port / 3), INSIDE, &script.target_answer().bytes(), 0);
                assert_eq!(
                    delivery.reasons(),
                    [Reason::AckToTarget, Reason::WindowToClient],
                    "{}",
                    mode.name
                );
            }
            assert_eq!(fleet.flows(), 60);
            fleet.assert_books_balance();
        }
    }
}
