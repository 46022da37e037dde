//! Segments that are lost, repeated, forged or late.

use lb_core::{
    tables::{CutCause, FlowPolicy},
    time::Instant,
    verdict::Reason,
};

use super::{script::*, support::*};

#[test]
fn a_syn_that_is_repeated_gets_the_same_cookie() {
    for mode in cookie_modes() {
        let mut script = Script::new(&mode);
        let first = script.get_cookie(0);
        assert_eq!(script.get_cookie(1_000), first, "{}", mode.name);
        script.confirm(40_000);
        script.answer(40_001);
        script.assert_flows(40_002);
    }
}

#[test]
fn lost_segments_on_the_way_to_the_target_are_made_up_for_by_the_client() {
    for mode in cookie_modes() {
        let mut script = Script::new(&mode);
        script.get_cookie(0);
        let first = script.confirm(0);
        // The SYN was lost; the client acknowledges again, and probes the closed window by the number before its first.
        assert_eq!(script.confirm(1_000), first, "{}", mode.name);
        let probe = script.request(ACK, (CLIENT_INITIAL, script.cookie.wrapping_add(1)));
        assert_eq!(script.send(&probe, Reason::SynToTarget, 2_000), first);
        script.answer(2_001);
        script.assert_flows(2_002);
        assert_eq!(script.path.counters().flows.value(), 1);
    }
}

/// The client's acknowledgement itself was lost: its probe confirms the cookie as well.
#[test]
fn a_probe_of_the_closed_window_confirms_the_cookie() {
    for mode in cookie_modes() {
        let mut script = Script::new(&mode);
        script.get_cookie(0);
        let probe = script.request(ACK, (CLIENT_INITIAL, script.cookie.wrapping_add(1)));
        let seen = script.send(&probe, Reason::SynToTarget, 200);
        assert_eq!(seen.sequence, CLIENT_INITIAL, "{}", mode.name);
        (script.source, script.target) = (seen.source, seen.destination);
        script.answer(201);
        script.assert_flows(202);
    }
}

#[test]
fn lost_segments_behind_the_targets_answer_are_repeated_by_their_senders() {
    for mode in cookie_modes() {
        let mut script = Script::new(&mode);
        script.establish();
        // The acknowledgement was lost: the target repeats its answer, which reaches the client by the client's number.
        let seen = script.send(&script.target_answer(), Reason::FlowHit, 1_000);
        let numbers = (seen.flags, seen.sequence, seen.acknowledgement);
        assert_eq!(numbers, (SYN | ACK, script.cookie, CLIENT_INITIAL.wrapping_add(1)), "{}", mode.name);
        let seen = script.send(&script.confirmation(), Reason::FlowHit, 1_001);
        assert_eq!((seen.flags, seen.acknowledgement), (ACK, TARGET_INITIAL.wrapping_add(1)));
        // The window was lost: the client's probe reaches the target, which tells it.
        let probe = script.request(ACK, (CLIENT_INITIAL, script.cookie.wrapping_add(1)));
        assert_eq!(script.send(&probe, Reason::FlowHit, 1_002).sequence, CLIENT_INITIAL);
        let numbers = (TARGET_INITIAL.wrapping_add(1), CLIENT_INITIAL.wrapping_add(1));
        let seen = script.send(&script.reply(ACK, numbers), Reason::FlowHit, 1_003);
        assert_eq!(seen.sequence, script.cookie.wrapping_add(1));
        script.assert_flows(2_000);
    }
}

#[test]
fn a_target_that_refuses_is_refused_for_by_the_vip() {
    for mode in cookie_modes() {
        let mut script = Script::new(&mode);
        script.get_cookie(0);
        script.confirm(0);
        let refusal = script.reply(RST | ACK, (0, CLIENT_INITIAL.wrapping_add(1)));
        let seen = script.send(&refusal, Reason::RefusedByTarget, 1);
        assert_eq!((seen.source, seen.destination), (mode.web(), mode.client), "{}", mode.name);
        assert_eq!(seen.macs, (OUTSIDE_MAC, CLIENT_MAC));
        let numbers = (seen.flags, seen.sequence, seen.acknowledgement);
        assert_eq!(numbers, (RST | ACK, script.cookie.wrapping_add(1), CLIENT_INITIAL.wrapping_add(1)));
        assert_eq!(script.path.counters().flows.value(), 0);
        assert_books_balance(script.path.counters());
    }
}

/// Whoever does not know the client's initial number can neither refuse nor answer for the target.
#[test]
fn answers_with_another_number_are_not_the_targets() {
    for mode in cookie_modes() {
        let mut script = Script::new(&mode);
        script.get_cookie(0);
        script.confirm(0);
        for flags in [SYN | ACK, RST | ACK, RST, ACK, SYN] {
            for acknowledgement in [0, CLIENT_INITIAL, CLIENT_INITIAL.wrapping_add(2)] {
                let forged = script.reply(flags, (1, acknowledgement));
                assert_eq!(
                    through(&mut script.path, &forged, 1).0.reason,
                    Reason::Connecting,
                    "{}",
                    mode.name
                );
            }
        }
        script.answer(2);
        script.assert_flows(3);
    }
}

#[test]
fn a_target_has_thirty_seconds_to_answer() {
    for mode in cookie_modes() {
        let mut script = Script::new(&mode);
        script.get_cookie(0);
        script.confirm(0);
        script.confirm(29_000);
        let late = script.target_answer();
        let (verdict, out) = through(&mut script.path, &late, 30_001);
        assert_eq!((verdict.reason, read(&out.unwrap()).flags), (Reason::ResetNoFlow, RST), "{}", mode.name);
        assert_eq!(script.path.counters().flows.value(), 0);
    }
}

#[test]
fn a_client_that_gives_up_while_it_waits_leaves_nothing() {
    for mode in cookie_modes() {
        let mut script = Script::new(&mode);
        script.get_cookie(0);
        script.confirm(0);
        let reset = script.request(RST, (CLIENT_INITIAL.wrapping_add(1), 0));
        assert_eq!(through(&mut script.path, &reset, 1).0.reason, Reason::NoFlow);
        assert_eq!(script.path.counters().flows.value(), 0);
        script.send(&script.target_answer(), Reason::ResetNoFlow, 2);
    }
}

/// The client has connected to the VIP, and the target to nobody yet: another one serves as well.
#[test]
fn a_target_that_is_cut_before_it_answers_is_replaced_by_another() {
    for mode in cookie_modes() {
        let mut script = Script::new(&mode);
        script.get_cookie(0);
        script.confirm(0);
        let first = script.target;
        let mut scene = Scene { generation: 2, ..mode.scene.clone() };
        scene.targets[usize::from(number_of(first)) - 1] =
            (number_of(first), false, FlowPolicy::Cut(CutCause::Unhealthy));
        script.path.install(scene.tables());
        assert_eq!(script.send(&script.target_answer(), Reason::ResetNoFlow, 1).destination, first);
        assert!(take_extras(&mut script.path).is_empty(), "the client waits on");
        let probe = script.request(ACK, (CLIENT_INITIAL, script.cookie.wrapping_add(1)));
        let seen = script.send(&probe, Reason::SynToTarget, 2);
        assert_ne!(seen.destination, first);
        (script.source, script.target) = (seen.source, seen.destination);
        script.answer(3);
        script.assert_flows(4);
    }
}

/// The client believes to be connected, and may wait for the target to speak first.
#[test]
fn a_syn_without_an_answer_is_repeated_each_second_and_then_the_client_is_reset() {
    for mode in cookie_modes() {
        let mut script = Script::new(&mode);
        script.get_cookie(0);
        let syn = script.confirm(0);
        let mut made = Vec::new();
        for second in 1..=30 {
            script.path.expire(Instant::from_millis(second * 1_000));
            made.extend(
                take_extras(&mut script.path)
                    .into_iter()
                    .map(|(verdict, frame)| (verdict.reason, read(&frame))),
            );
        }
        let (last, repeated) = made.split_last().unwrap();
        assert_eq!(repeated, vec![(Reason::SynToTarget, syn); 28], "{}", mode.name);
        assert_eq!((last.0, last.1.flags), (Reason::ResetUnanswered, RST | ACK));
        assert_eq!((last.1.source, last.1.destination), (mode.web(), mode.client));
        assert_eq!(
            (last.1.sequence, last.1.acknowledgement),
            (script.cookie.wrapping_add(1), CLIENT_INITIAL + 1)
        );
        assert_eq!(script.path.counters().flows.value(), 0);
        assert_books_balance(script.path.counters());
    }
}

/// Here the handshake ends, so here its checksums are verified: what is damaged is as good as lost.
#[test]
fn damaged_segments_are_neither_answered_nor_acted_on() {
    for mode in cookie_modes() {
        let mut script = Script::new(&mode);
        assert_damage_is_dropped(&mut script, |script| script.syn());
        script.get_cookie(0);
        assert_damage_is_dropped(&mut script, |script| script.confirmation());
        assert_eq!(script.path.counters().flows.value(), 0, "{}", mode.name);
        script.confirm(0);
        assert_damage_is_dropped(&mut script, |script| script.target_answer());
        script.answer(0);
        script.assert_flows(1);
    }
}

fn assert_damage_is_dropped(script: &mut Script, packet: impl Fn(&Script) -> Crafted) {
    let packet = packet(script);
    let mut frame = packet.bytes();
    *frame.last_mut().unwrap() ^= 1;
    let (verdict, out) = send(&mut script.path, ingress_of(&packet), &frame, 0);
    assert_eq!((verdict.reason, out), (Reason::TcpChecksum, None));
}
