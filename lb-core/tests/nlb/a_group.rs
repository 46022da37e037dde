//! Target groups: with many targets, none, or no port towards them.

use super::*;

#[test]
fn without_targets_refuses_connections_and_drops_datagrams() {
    for mode in modes() {
        let mut path = leaked_datapath(64, settings(), &Scene { targets: Vec::new(), ..mode.scene.clone() });
        assert_reset(&mut path, &mode.syn(), Reason::ResetNoTarget, 0);
        assert_silence(&mut path, &mode.datagram(), Reason::NoTarget);
        assert_eq!(path.counters().flows.value(), 0);
        let rejected = path.counters().listeners.iter().map(|traffic| traffic.rejected_flows.value());
        assert_eq!(rejected.sum::<u64>(), 2, "NLB RejectedFlowCount");
    }
}

/// What makes a health check come sooner.
#[test]
fn counts_handshakes_that_a_target_does_not_answer_or_refuses() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.syn(), 0);
        through(&mut path, &mode.syn(), 1_000);
        through(&mut path, &mode.syn(), 3_000);
        through(&mut path, &flow.reply(RST | ACK), 3_001);
        let traffic = &path.counters().targets[usize::from(number_of(flow.target))];
        assert_eq!((traffic.repeated_syns.value(), traffic.refused_syns.value()), (2, 1), "{}", mode.name);
    }
}

/// What shows that replies go past the load balancer.
#[test]
fn counts_flows_whose_client_acknowledges_what_has_not_come_by_here_once() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.syn(), 0);
        for (flags, at_ms) in [(ACK, 1), (ACK, 2), (FIN | ACK, 3)] {
            flow.to_target(&mut path, &tcp(mode.client, mode.web(), flags), at_ms);
        }
        let other = (mode.client.ip(), mode.client.port() + 1);
        let answered = OpenFlow::open(&mut path, &tcp(other, mode.web(), SYN), 4);
        through(&mut path, &answered.reply(SYN | ACK), 5);
        through(&mut path, &tcp(other, mode.web(), ACK), 6);
        let counted: u64 = path.counters().targets.iter().map(|target| target.bypassed_flows.value()).sum();
        assert_eq!(counted, u64::from(flow.source == flow.client), "{}", mode.name);
    }
}

#[test]
fn spreads_flows_over_its_targets_and_a_repeated_syn_stays() {
    for mode in modes() {
        let mut path = leaked_datapath(8_192, settings(), &mode.scene);
        let mut counts = [0; 4];
        for port in 10_000..10_900 {
            let syn = tcp((mode.client.ip(), port), mode.web(), SYN);
            let flow = OpenFlow::open(&mut path, &syn, 0);
            flow.to_target(&mut path, &syn, 1_000);
            counts[usize::from(number_of(flow.target))] += 1;
        }
        assert!(counts[1..].iter().all(|&count| (220..380).contains(&count)), "{} {counts:?}", mode.name);
    }
}

#[test]
fn without_a_free_source_port_drops_and_counts() {
    for mode in [v4_to_v6(), v6_to_v4()].into_iter().chain(source_translating_modes()) {
        let scene = Scene { sources: sources(5_000..=5_000), ..mode.scene.clone().with_targets(1) };
        let mut path = leaked_datapath(64, settings(), &scene);
        let listeners = if mode.is_ipv4() { (0, 1) } else { (2, 3) };
        OpenFlow::open(&mut path, &mode.syn(), 0);
        OpenFlow::open(&mut path, &mode.datagram(), 0);
        assert_silence(&mut path, &tcp((mode.client.ip(), 1), mode.web(), SYN), Reason::NoSourcePort);
        assert_silence(&mut path, &udp((mode.client.ip(), 1), mode.dns()), Reason::NoSourcePort);
        let errors = |listener: usize| path.counters().listeners[listener].port_allocation_errors.value();
        assert_eq!((errors(listeners.0), errors(listeners.1)), (1, 1), "{}", mode.name);
    }
}
