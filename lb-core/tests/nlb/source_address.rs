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
