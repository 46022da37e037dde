//! Flows without packets.

use super::*;

#[test]
fn is_350_s_for_tcp_and_restarted_by_packets_of_either_side() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        flow.to_target(&mut path, &flow.request(ACK), 350_000);
        flow.to_client(&mut path, &flow.reply(ACK), 700_000);
        flow.to_client(&mut path, &flow.reply(ACK), 1_050_000);
        flow.to_target(&mut path, &flow.request(ACK), 1_400_000);
        assert_reset(&mut path, &flow.request(ACK), Reason::ResetNoFlow, 1_750_001);
    }
}

/// Nothing is sent when the time is over; whoever sends next gets the reset.
#[test]
fn ends_in_silence_and_the_next_packet_of_either_side_gets_a_reset() {
    for mode in modes() {
        for is_request in [true, false] {
            let mut path = mode.path();
            let flow = mode.connect(&mut path);
            path.expire(Instant::from_millis(0));
            path.expire(Instant::from_millis(351_000));
            assert!(take_extras(&mut path).is_empty());
            assert_eq!(path.counters().expired.value(), 1);
            let packet = if is_request { flow.request(ACK) } else { flow.reply(ACK) }.payload(b"late");
            assert_reset(&mut path, &packet, Reason::ResetNoFlow, 351_001);
            assert!(take_extras(&mut path).is_empty());
            assert_books_balance(path.counters());
        }
    }
}

#[test]
fn of_udp_is_120_s_and_then_another_target_may_be_selected() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
        flow.to_target(&mut path, &flow.request(0), 120_000);
        let n = number_of(flow.target);
        path.install(with_policy(&mode.scene, n, FlowPolicy::Keep).tables());
        flow.to_target(&mut path, &flow.request(0), 240_000);
        let after = OpenFlow::open(&mut path, &mode.datagram(), 360_001);
        assert_ne!(after.target, flow.target, "{}", mode.name);
    }
}

#[test]
fn that_is_changed_counts_for_a_flow_from_its_next_packet_on() {
    for mode in modes() {
        for (before_s, after_s) in [(120, 30), (30, 120)] {
            let scene = Scene { udp_idle_s: before_s, ..mode.scene.clone() };
            for (silence_ms, reason) in [(0, Reason::FlowHit), (1, Reason::NoFlow)] {
                let mut path = leaked_datapath(64, settings(), &scene);
                let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
                path.install(Scene { udp_idle_s: after_s, generation: 2, ..scene.clone() }.tables());
                flow.to_target(&mut path, &flow.request(0), 30_000);
                let late_ms = 30_000 + u64::from(after_s) * 1_000 + silence_ms;
                assert_eq!(through(&mut path, &flow.reply(0), late_ms).0.reason, reason, "{}", mode.name);
            }
        }
    }
}

#[test]
fn of_a_handshake_is_30_s() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.syn(), 0);
        flow.to_target(&mut path, &flow.request(SYN), 29_999);
        let (verdict, _) = through(&mut path, &flow.reply(SYN | ACK), 30_001);
        assert_eq!(verdict.reason, Reason::ResetNoFlow, "{}", mode.name);
        assert_eq!(through(&mut path, &mode.syn(), 30_002).0.reason, Reason::FlowNew);
    }
}
