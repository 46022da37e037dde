//! How flows end, and when their port may be taken again.

use lb_core::{datapath::Datapath, limits, time::Instant, verdict::Reason};

use super::{client, support::*, translating_modes};

/// Takes the only port there is, ends the flow by `end`, which says when its rest begins, and expects the port to be
/// refused until `rest_s` later.
fn assert_rest(protocol: u8, rest_s: u16, end: impl Fn(&mut Datapath<'static>, &OpenFlow) -> u64) {
    for mode in translating_modes() {
        let scene = Scene { sources: sources(5_000..=5_000), ..mode.scene.clone().with_targets(1) };
        let mut path = leaked_datapath(256, settings(), &scene);
        let packet = |port| match protocol {
            6 => tcp(client(&mode, port), mode.web(), SYN),
            _ => udp(client(&mode, port), mode.dns()),
        };
        let flow = OpenFlow::open(&mut path, &packet(1), 0);
        let rests_from_ms = end(&mut path, &flow);
        let rest_ms = u64::from(rest_s) * 1_000;
        if rest_ms > 0 {
            let reason = through(&mut path, &packet(2), rests_from_ms + rest_ms).0.reason;
            assert_eq!(reason, Reason::NoSourcePort, "{}", mode.name);
        }
        let later_ms = rests_from_ms + rest_ms + u64::from(limits::EXHAUSTION_MS);
        let again = OpenFlow::open(&mut path, &packet(2), later_ms);
        assert_eq!(again.source, flow.source, "{}", mode.name);
        assert_eq!(path.counters().flows.value(), 1);
    }
}

/// Lets time pass as a worker does; the moment that a flow silent since 0 is seen to have ended.
fn expire_at(path: &mut Datapath<'_>, ended_ms: u64) -> u64 {
    path.expire(Instant::from_millis(0));
    path.expire(Instant::from_millis(ended_ms));
    assert_eq!(path.counters().expired.value(), 1);
    ended_ms
}

#[test]
fn a_port_rests_for_120_s_after_a_udp_flow() {
    assert_rest(17, 120, |path, _| expire_at(path, 120_001));
}

#[test]
fn a_port_rests_for_120_s_after_a_tcp_flow_that_fell_silent() {
    assert_rest(6, 120, |path, flow| {
        flow.to_client(path, &flow.reply(SYN | ACK), 0);
        flow.to_target(path, &flow.request(ACK), 0);
        expire_at(path, 350_001)
    });
}

#[test]
fn a_port_rests_for_60_s_after_both_fins() {
    assert_rest(6, 60, |path, flow| {
        flow.to_client(path, &flow.reply(SYN | ACK), 0);
        flow.to_target(path, &flow.request(FIN | ACK), 0);
        flow.to_client(path, &flow.reply(FIN | ACK), 1_000);
        flow.to_target(path, &flow.request(ACK), 2_000);
        2_000
    });
}

#[test]
fn a_port_rests_for_240_s_after_a_reset() {
    assert_rest(6, 240, |path, flow| {
        flow.to_client(path, &flow.reply(SYN | ACK), 0);
        flow.to_target(path, &flow.request(ACK), 0);
        flow.to_client(path, &flow.reply(RST), 1_000);
        1_000
    });
}

/// The target knows no connection that a new one could be taken for.
#[test]
fn a_port_does_not_rest_after_a_handshake_that_never_completed() {
    assert_rest(6, 0, |_, _| 30_001);
}

/// A client that connects again from the same port at once gets another source: at the target, the old one is in TIME_WAIT.
#[test]
fn a_client_that_comes_back_gets_another_port() {
    for mode in translating_modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        flow.to_target(&mut path, &flow.request(FIN | ACK), 1);
        flow.to_client(&mut path, &flow.reply(FIN | ACK), 1);
        let again = OpenFlow::connect(&mut path, flow.client, flow.vip, 2);
        if again.target == flow.target {
            assert_ne!(again.source, flow.source, "{}", mode.name);
        }
        // What the target still sends to the old source is none of the new flow's.
        let late = through(&mut path, &flow.reply(FIN | ACK), 3);
        assert_eq!(late.0.reason, Reason::ResetNoFlow, "{}", mode.name);
        again.to_client(&mut path, &again.reply(ACK), 4);
        assert_books_balance(path.counters());
    }
}
