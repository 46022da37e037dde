//! A client's SYN on ports whose flow was reset: the reset may have been forged, and the SYN, too.

use super::*;

fn counted(path: &Datapath<'_>) -> [u64; 2] {
    let rows = path.counters().listeners.iter();
    rows.fold([0; 2], |sum, row| [sum[0] + row.new_flows.value(), sum[1] + row.active_flows.value()])
}

/// Two forged packets, which cost nobody more than the ports, must not take a connection from its target: RFC 7857 section 2, RFC 5961
/// sections 3 and 4.
#[test]
fn a_forged_reset_and_a_forged_syn_do_not_move_a_connection() {
    for mode in modes() {
        for forged in [Client(RST), Target(RST | ACK)] {
            let mut path = mode.path();
            let flow = mode.connect(&mut path);
            match forged {
                Client(flags) => flow.to_target(&mut path, &flow.request(flags), 1),
                Target(flags) => flow.to_client(&mut path, &flow.reply(flags), 1),
            };
            let syn = Crafted { sequence: 123_456_789, ..flow.request(SYN) };
            assert_eq!(flow.to_target(&mut path, &syn, 500).sequence, 123_456_789, "{}", mode.name);
            flow.to_target(&mut path, &syn, 1_500);
            // The target's challenge; then both go on as before.
            flow.to_client(&mut path, &flow.reply(ACK), 1_501);
            flow.to_target(&mut path, &flow.request(ACK), 2_000);
            flow.to_client(&mut path, &flow.reply(ACK), 350_000);
            assert_eq!(counted(&path), [2, 1], "a flow that is new for all that is known: {}", mode.name);
            assert_books_balance(path.counters());
        }
    }
}

/// By another listener that leads to the same target: there the SYN must not come from where the live connection does.
#[test]
fn nor_does_a_forged_syn_to_another_listener() {
    for mode in modes() {
        let scene =
            Scene { second_port: Some(84), is_dual_stack: true, ..mode.scene.clone() }.with_targets(1);
        let mode = Mode { scene, ..mode };
        if !mode.is_ipv4() {
            continue; // The second listener is IPv4's.
        }
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        flow.to_target(&mut path, &flow.request(RST), 1);
        let other = OpenFlow::open(&mut path, &tcp(mode.client, (mode.vip, 84), SYN), 2);
        assert_eq!(other.target, flow.target);
        assert_ne!(other.source, flow.source, "{}", mode.name);
        flow.to_target(&mut path, &flow.request(ACK), 3);
        flow.to_client(&mut path, &flow.reply(ACK), 4);
    }
}

/// What the old connection still sends begins nothing.
#[test]
fn a_late_answer_to_the_first_syn_begins_no_flow() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        flow.to_target(&mut path, &flow.request(RST), 1);
        flow.to_client(&mut path, &flow.reply(SYN | ACK), 2);
        assert_eq!(counted(&path), [1, 0], "{}", mode.name);
        assert_reset(&mut path, &flow.request(ACK), Reason::ResetNoFlow, 240_100);
    }
}

#[test]
fn a_connection_after_a_reset_is_a_new_flow_of_the_same_target() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        flow.to_target(&mut path, &flow.request(RST | ACK), 1);
        assert_eq!(counted(&path), [1, 0], "{}", mode.name);
        for _ in 0..2 {
            flow.to_target(&mut path, &flow.request(SYN), 2);
            assert_eq!(counted(&path), [2, 0], "{}", mode.name);
        }
        for _ in 0..2 {
            flow.to_client(&mut path, &flow.reply(SYN | ACK), 3);
        }
        flow.to_target(&mut path, &flow.request(ACK), 4);
        flow.to_client(&mut path, &flow.reply(ACK), 350_000);
        assert_eq!(counted(&path), [2, 1], "{}", mode.name);
    }
}

/// A target that refuses the new connection has told the truth about the old one. It is counted as one that refuses any other.
#[test]
fn a_refusal_leaves_the_flow_reset() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        flow.to_client(&mut path, &flow.reply(RST), 1);
        flow.to_target(&mut path, &flow.request(SYN), 2);
        flow.to_client(&mut path, &flow.reply(RST | ACK), 3);
        assert_eq!(counted(&path), [2, 0], "{}", mode.name);
        let target = &path.counters().targets[usize::from(number_of(flow.target))];
        assert_eq!((target.refused_syns.value(), target.target_resets.value()), (1, 2), "{}", mode.name);
        assert_reset(&mut path, &flow.request(ACK), Reason::ResetNoFlow, 240_100);
    }
}

/// Then a live connection can be moved by a forger: no flow can be new and go to such a target.
#[test]
fn a_target_that_has_no_new_flows_has_none_after_a_reset() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        flow.to_target(&mut path, &flow.request(RST), 1);
        path.install(with_policy(&mode.scene, number_of(flow.target), FlowPolicy::Keep).tables());
        let again = OpenFlow::open(&mut path, &flow.request(SYN), 2);
        assert_ne!(again.target, flow.target, "{}", mode.name);
        assert_eq!(counted(&path), [2, 1], "{}", mode.name);
    }
}

enum Forged {
    Client(u8),
    Target(u8),
}

use Forged::{Client, Target};
