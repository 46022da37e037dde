//! Zones: whose targets get whose flows, and what becomes of those of a zone that is given up.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use lbd::testbed::{client::Crowd, network::VIP};
use libtest_mimic::Failed;

use super::{CONNECTIONS, LINES, Scene};
use crate::{
    Test,
    config::{Config, Service, Zones},
    harness::PATIENCE,
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("flow_rules::a_zone_keeps_to_its_targets", keeps_to_its_targets),
    ("flow_rules::flows_to_targets_of_a_removed_zone_are_reset", to_its_targets),
    ("flow_rules::flows_through_a_removed_vip_are_reset", through_its_vip),
];

fn keeps_to_its_targets() -> Result<(), Failed> {
    let scene = Scene::serve(&two_zones(LINES))?;
    assert_eq!(scene.new_shares(&LINES)?, [CONNECTIONS, 0]);
    assert_eq!(scene.rig.shares(&through_other(&scene)?), [0, CONNECTIONS]);
    scene.finish()
}

/// Zones are crossed, so the VIP that stays has flows to targets of the zone that goes.
fn to_its_targets() -> Result<(), Failed> {
    let mut scene = Scene::serve(&two_zones(CROSSING))?;
    let mut crowd = scene.crowd(&CROSSING)?;
    scene.rig.reload(&one_zone(CROSSING))?;
    scene.wait_for_state(&CROSSING, 2, "unused")?;
    let cut = scene.assert_reset(&mut crowd, &CROSSING, 2)?;
    assert_eq!(scene.new_shares(&CROSSING)?[1], 0);
    drop(crowd);
    scene.finish_cut("unused", cut.flows)
}

/// Nobody speaks on them: both ends are asked to, while the VIP is still known.
fn through_its_vip() -> Result<(), Failed> {
    let two = Config { zones: Zones::default(), ..two_zones(LINES) };
    let scene = Scene::serve(&two)?;
    let (mut steady, crowd) = (scene.crowd(&LINES)?, through_other(&scene)?);
    scene.rig.reload(&Config { vips: vec![VIP.into()], ..two })?;
    let clients: BTreeSet<SocketAddr> = crowd.members().iter().map(|member| member.local()).collect();
    let is_reset = || {
        let at_targets = scene.at_targets.iter().flat_map(|sniffer| sniffer.resets());
        let ends = [
            scene.at_client.resets().into_iter().map(|reset| reset.to).collect::<BTreeSet<_>>(),
            at_targets.map(|reset| reset.from).collect(),
        ];
        ends == [clients.clone(), clients.clone()]
    };
    let since = Instant::now();
    while !is_reset() {
        assert!(since.elapsed() < PATIENCE, "not reset at both ends: {clients:?}");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(steady.ask_all("still there?", PATIENCE).len(), 0);
    drop((steady, crowd));
    scene.finish_cut("listener_gone", CONNECTIONS)
}

/// Connections by the VIP of zone b.
fn through_other(scene: &Scene) -> Result<Crowd, Failed> {
    let vip = SocketAddr::from((OTHER_VIP, LINES.port));
    Ok(Crowd::open(&scene.rig.network.client, vip, CONNECTIONS)?)
}

/// The same after zone b was given up.
fn one_zone(service: Service) -> Config {
    let Config { mut vips, mut zones, .. } = two_zones(service);
    vips.truncate(1);
    zones.vips.truncate(1);
    Config { vips, zones, ..two_zones(service) }
}

/// A VIP and a target in each of two zones.
fn two_zones(service: Service) -> Config {
    Config {
        vips: vec![VIP.into(), OTHER_VIP],
        zones: Zones { vips: vec!["a", "b"], targets: vec!["a", "b"] },
        services: vec![service],
        ..Config::of(&super::PLAN)
    }
}

const CROSSING: Service = Service { attributes: &["load_balancing.cross_zone.enabled = true"], ..LINES };
/// The VIP of zone b.
const OTHER_VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 100, 2));
