//! Deregistered within its delay, or unhealthy without connection termination.

use super::*;

#[test]
fn keeps_its_flows_and_gets_no_new_ones() {
    for mode in modes() {
        for first in [mode.syn(), mode.datagram()] {
            let mut path = mode.path();
            let flow = OpenFlow::open(&mut path, &first, 0);
            let n = number_of(flow.target);
            path.install(with_policy(&mode.scene, n, FlowPolicy::Keep).tables());
            flow.to_client(&mut path, &flow.reply(SYN | ACK), 1);
            flow.to_target(&mut path, &flow.request(ACK), 1);
            for port in 10_000..10_030 {
                let other = OpenFlow::open(&mut path, &udp((mode.client.ip(), port), mode.dns()), 1);
                assert_ne!(number_of(other.target), n, "{}", mode.name);
            }
        }
    }
}

/// The delay is over, and nothing is terminated: TCP flows that are not idle go on, even without a target in the tables.
#[test]
fn and_is_gone_still_serves_the_tcp_flows_it_has() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        let targets = mode.scene.targets.iter().copied().filter(|row| row.0 != number_of(flow.target));
        let gone = Scene { generation: 2, targets: targets.collect(), ..mode.scene.clone() };
        path.install(gone.tables());
        for at in [1, 350_000, 700_000] {
            flow.to_target(&mut path, &flow.request(ACK), at);
            flow.to_client(&mut path, &flow.reply(ACK), at);
        }
    }
}

#[test]
fn and_is_gone_loses_its_udp_flows_to_others() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
        let targets = mode.scene.targets.iter().copied().filter(|row| row.0 != number_of(flow.target));
        let gone = Scene { generation: 2, targets: targets.collect(), ..mode.scene.clone() };
        path.install(gone.tables());
        let again = OpenFlow::open(&mut path, &mode.datagram(), 1);
        assert_ne!(again.target, flow.target, "{}", mode.name);
    }
}
