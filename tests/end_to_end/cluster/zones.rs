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

use super::scene::Scene;
use crate::Test;

/// The tests of this file.
pub const TESTS: &[Test] = &[("cluster::no_flow_leaves_its_zone_unless_it_may", zones)];

fn zones() -> Result<(), Failed> {
    const CROSS_ZONE: &str = "\"load_balancing.cross_zone.enabled\"";
    let mut scene = Scene::serve()?;
    assert_eq!(met_by(&mut scene, VIP_A)?, ["198.19.1.51", "198.19.1.52"]);
    assert_eq!(met_by(&mut scene, VIP_B)?, ["198.19.1.71"]);
    scene.reconfigure("zonal", &format!("{CROSS_ZONE} = false"), &format!("{CROSS_ZONE} = true"))?;
    for vip in [VIP_A, VIP_B] {
        assert_eq!(met_by(&mut scene, vip)?, ["198.19.1.51", "198.19.1.52", "198.19.1.71"]);
    }
    scene.finish().map(drop)
}

/// Whom the load balancer sent connections to a VIP on to, by what was seen on its link.
fn met_by(scene: &mut Scene, vip: Ipv4Addr) -> Result<Vec<String>, Failed> {
    scene.hops()?;
    let crowd = scene.crowd(SocketAddr::from((vip, 84)), 60, Seen::Client)?;
    let clients: BTreeSet<_> = crowd.members().iter().map(|member| member.local()).collect();
    let sent = scene.hops()?.into_iter().filter(|hop| {
        hop.is_syn() && hop.place == "lb/eth0" && hop.destination.ip() != vip && clients.contains(&hop.source)
    });
    let targets: BTreeSet<_> = sent.map(|hop| hop.destination.ip().to_string()).collect();
    Ok(targets.into_iter().collect())
}
