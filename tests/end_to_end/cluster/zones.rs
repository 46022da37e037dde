//! Two zones, each with a VIP and a node.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
};

use lbd::testbed::{
    client::Seen,
    cluster::places::{VIP_A, VIP_B},
};
use libtest_mimic::Failed;

use super::scene::{Caller, Scene};
use crate::Test;

/// The tests of this file.
pub const TESTS: &[Test] = &[("cluster::no_flow_leaves_its_zone_unless_it_may", zones)];

fn zones() -> Result<(), Failed> {
    const CROSS_ZONE: &str = "\"load_balancing.cross_zone.enabled\"";
    let mut scene = Scene::serve()?;
    assert_eq!(met_by(&mut scene, VIP_A)?, ["198.19.1.51", "198.19.1.52"]);
    assert_eq!(met_by(&mut scene, VIP_B)?, ["198.19.1.71"]);
    scene.walk(Caller::Client, (VIP_B, PORT).into(), |_| true)?.assert(
        &[
            "client/eth0 > router/client: 198.18.0.2:c > 198.18.100.2:84",
            "router/vpc > lb/eth0: 198.18.0.2:c > 198.18.100.2:84",
            "lb/eth0 > node2/eth1: 198.18.0.2:c > 198.19.1.71:8080",
            "node2/pod71 > pod71/eth0: 198.18.0.2:c > 198.19.1.71:8080",
        ],
        &[
            "pod71/eth0 > node2/pod71: 198.19.1.71:8080 > 198.18.0.2:c",
            "node2/eth0 > lb/eth0: 198.19.1.71:8080 > 198.18.0.2:c",
            "lb/eth0 > router/vpc: 198.18.100.2:84 > 198.18.0.2:c",
            "router/client > client/eth0: 198.18.100.2:84 > 198.18.0.2:c",
        ],
    );
    scene.reconfigure("zonal", &format!("{CROSS_ZONE} = false"), &format!("{CROSS_ZONE} = true"))?;
    for vip in [VIP_A, VIP_B] {
        assert_eq!(met_by(&mut scene, vip)?, ["198.19.1.51", "198.19.1.52", "198.19.1.71"]);
    }
    scene.finish().map(drop)
}

/// Whom the load balancer sent connections to a VIP on to, by what was seen on its link.
fn met_by(scene: &mut Scene, vip: Ipv4Addr) -> Result<Vec<String>, Failed> {
    scene.hops()?;
    let crowd = scene.crowd(SocketAddr::from((vip, PORT)), 60, Seen::Client)?;
    let clients: BTreeSet<_> = crowd.members().iter().map(|member| member.local()).collect();
    let sent = scene.hops()?.into_iter().filter(|hop| {
        hop.is_syn() && hop.place == "lb/eth0" && hop.destination.ip() != vip && clients.contains(&hop.source)
    });
    let targets: BTreeSet<_> = sent.map(|hop| hop.destination.ip().to_string()).collect();
    Ok(targets.into_iter().collect())
}

/// The listener whose group keeps to zones.
const PORT: u16 = 84;
