//! "Client IP preservation": who the target sees, for a client of one family and a target of another.

use super::*;

#[test]
fn follows_from_the_families_and_the_attribute() {
    use Family::{V4, V6};
    let (v4, v6) = (IpAddr::from(CLIENT), IpAddr::from(CLIENT6));
    let (own4, own6) = (IpAddr::from(SOURCE), IpAddr::from(SOURCE6));
    for (client, target_family, preserved, not_preserved) in
        [(v4, V4, v4, own4), (v6, V4, own4, own4), (v4, V6, own6, own6), (v6, V6, v6, own6)]
    {
        for (scene, expected) in
            [(Scene::dual_stack(target_family), preserved), (Scene::full_nat(target_family), not_preserved)]
        {
            let mut path = leaked_datapath(64, settings(), &scene);
            let vip = if client.is_ipv4() { IpAddr::from(VIP) } else { IpAddr::from(VIP6) };
            for first in [tcp((client, 40_000), (vip, 80), SYN), udp((client, 40_000), (vip, 53))] {
                let flow = OpenFlow::open(&mut path, &first, 0);
                assert_eq!(flow.source.ip(), expected);
                assert_eq!(flow.target, scene.target(number_of(flow.target)), "the destination is rewritten");
                if expected == client {
                    assert_eq!(flow.source, flow.client, "port and all");
                }
                flow.to_client(&mut path, &flow.reply(SYN | ACK), 0);
            }
        }
    }
}

/// Limitation 1 of client IP preservation, mended: pods of one node, and the node, answer each other past the load balancer.
#[test]
fn a_client_behind_the_next_hop_of_its_target_is_hidden_from_it() {
    for family in [Family::V4, Family::V6] {
        let vip: IpAddr = if family == Family::V4 { VIP.into() } else { VIP6.into() };
        for (is_one_node, is_target) in [(true, true), (true, false), (false, true), (false, false)] {
            let scene = Scene { is_one_node, ..Scene::dual_stack(family) };
            let mut path = leaked_datapath(64, settings(), &scene);
            let number = if is_target { 2 } else { 200 };
            for port in 40_000..40_020 {
                let client = (scene.target(number).ip(), port);
                let (_, out) = through(&mut path, &tcp(client, (vip, 80), SYN), 0);
                let seen = read(&out.unwrap());
                let is_itself = seen.destination.ip() == client.0;
                let is_hidden = is_target && (is_one_node || is_itself);
                assert_eq!(seen.source == client.into(), !is_hidden, "{is_one_node} {is_target}");
            }
            let hairpins = path.counters().hairpins.value();
            assert_eq!(hairpins == 20, is_target && is_one_node, "{hairpins}");
        }
    }
}
