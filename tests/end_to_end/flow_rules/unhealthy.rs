//! Targets that turn unhealthy: what becomes of their flows, and when they get flows all the same.

use std::time::Duration;

use lb_core::limits;
use lbd::testbed::{client::Flows, network::Family};
use libtest_mimic::Failed;

use super::{CHECKED, CONNECTIONS, Cut, LINES, Scene, UNTOUCHED};
use crate::{
    Test,
    config::{Config, Registered, Service},
    harness::{udp_vip, wait_until},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("flow_rules::idle_flows_of_an_unhealthy_target_are_reset", || are_reset(&LINES)),
    ("flow_rules::idle_flows_of_an_unhealthy_target_are_reset_over_ipv6", || are_reset(&LINES_V6)),
    ("flow_rules::without_termination_flows_live_on", live_on),
    ("flow_rules::an_unhealthy_target_keeps_its_datagram_flows", keeps_datagrams),
    ("flow_rules::a_group_without_a_healthy_target_fails_open", fails_open),
    ("flow_rules::a_group_with_too_few_healthy_targets_fails_open", too_few),
];

/// Nobody says anything: the load balancer itself must notice these connections.
fn are_reset(service: &Service) -> Result<(), Failed> {
    let mut scene = Scene::serve(&only(&[*service]))?;
    let mut crowd = scene.crowd(service)?;
    scene.fail_checks(1);
    scene.wait_for_state(service, 1, "unhealthy")?;
    let Cut { flows, took } = scene.assert_reset(&mut crowd, service, 1)?;
    println!("idle flows of an unhealthy target were reset within {took:.1?}");
    assert!(took < SWEPT + NOISE, "{took:?}");
    assert_eq!(scene.new_shares(service)?[0], 0);
    drop(crowd);
    scene.finish_cut("unhealthy", flows)
}

/// One group's draining interval is soon over, during the other's the target recovers.
fn live_on() -> Result<(), Failed> {
    let mut scene = Scene::serve(&only(&[SPARED_SHORTLY, SPARED]))?;
    let mut crowds = [scene.crowd(&SPARED_SHORTLY)?, scene.crowd(&SPARED)?];
    scene.fail_checks(1);
    scene.wait_for_state(&SPARED, 1, "unhealthy.draining")?;
    assert_eq!(scene.new_shares(&SPARED)?[0], 0);
    scene.wait_for_state(&SPARED_SHORTLY, 1, "unhealthy")?;
    wait_until("a draining interval that is told of", || {
        let told = scene.states_told(&SPARED_SHORTLY, 1)?;
        Ok(told.ends_with(&["unhealthy.draining", "unhealthy"].map(String::from)))
    })?;
    assert_eq!(scene.state(&SPARED, 1)?, "unhealthy.draining");
    assert_eq!(scene.new_shares(&SPARED_SHORTLY)?[0], 0);
    for (crowd, service) in crowds.iter_mut().zip([SPARED_SHORTLY, SPARED]) {
        scene.assert_unhurt(crowd, &service, "while unhealthy");
    }
    scene.pass_checks(1)?;
    for (crowd, service) in crowds.iter_mut().zip([SPARED_SHORTLY, SPARED]) {
        scene.wait_for_state(&service, 1, "healthy")?;
        assert!(scene.new_shares(&service)?[0] > 0);
        scene.assert_unhurt(crowd, &service, "healthy again");
    }
    drop(crowds);
    scene.finish()
}

fn keeps_datagrams() -> Result<(), Failed> {
    let service = Service { check_port: CHECKED.tcp, ..Service::DATAGRAMS };
    let mut scene = Scene::serve(&only(&[service]))?;
    let flows = Flows::open(&scene.rig.network.client, udp_vip(), CONNECTIONS)?;
    let before = flows.ask_all("before")?;
    scene.fail_checks(1);
    scene.wait_for_state(&service, 1, "unhealthy")?;
    std::thread::sleep(UNTOUCHED);
    for (before, after) in before.iter().zip(flows.ask_all("after")?) {
        assert_eq!(before.target, after.target);
    }
    let new = Flows::open(&scene.rig.network.client, udp_vip(), CONNECTIONS)?.ask_all("new")?;
    assert!(new.iter().all(|answer| answer.target == scene.rig.targets[1].name()));
    scene.finish()
}

/// The only target serves on, though its checks fail.
fn fails_open() -> Result<(), Failed> {
    let mut scene = Scene::serve(&only(&[ALONE]))?;
    let mut crowd = scene.crowd(&ALONE)?;
    scene.fail_checks(1);
    scene.wait_for_fail_open(&ALONE, 1)?;
    let before = scene.rig.control.stats()?.unhealthy_routing_flows;
    assert_eq!(scene.new_shares(&ALONE)?[0], CONNECTIONS);
    assert_eq!(scene.rig.control.stats()?.unhealthy_routing_flows, before + CONNECTIONS as u64);
    std::thread::sleep(UNTOUCHED);
    scene.assert_unhurt(&mut crowd, &ALONE, "failing open");
    drop(crowd);
    scene.finish()
}

/// One healthy target of two is less than the group wants.
fn too_few() -> Result<(), Failed> {
    let mut scene = Scene::serve(&only(&[WANTS_TWO]))?;
    let mut crowd = scene.crowd(&WANTS_TWO)?;
    scene.fail_checks(1);
    scene.wait_for_fail_open(&WANTS_TWO, 1)?;
    let before = scene.rig.control.stats()?.unhealthy_routing_flows;
    assert!(scene.new_shares(&WANTS_TWO)?[0] > 0);
    assert_eq!(scene.rig.control.stats()?.unhealthy_routing_flows, before + CONNECTIONS as u64);
    std::thread::sleep(UNTOUCHED);
    scene.assert_unhurt(&mut crowd, &WANTS_TWO, "failing open");
    drop(crowd);
    scene.finish()
}

fn only(services: &[Service]) -> Config {
    Config { services: services.into(), ..Config::dual_stack(&super::PLAN) }
}

/// How long after its target's change the last flow is reset, at the latest.
const SWEPT: Duration = Duration::from_millis(limits::PURGE_ROUND_MS);
/// What a busy machine may add.
const NOISE: Duration = Duration::from_secs(6);
const ALONE: Service = Service { registered: Registered::These(&[1]), ..LINES };
const LINES_V6: Service = Service { target_family: Family::V6, ..LINES };
const SPARED: Service = Service {
    name: "spared",
    attributes: &[
        "target_health_state.unhealthy.connection_termination.enabled = false",
        "target_health_state.unhealthy.draining_interval_seconds = 3600",
    ],
    ..LINES
};
const SPARED_SHORTLY: Service = Service {
    name: "spared-shortly",
    port: 81,
    attributes: &[
        "target_health_state.unhealthy.connection_termination.enabled = false",
        "target_health_state.unhealthy.draining_interval_seconds = 2",
    ],
    ..LINES
};
const WANTS_TWO: Service = Service {
    attributes: &[
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count = 2",
        "target_group_health.dns_failover.minimum_healthy_targets.count = 2",
    ],
    ..LINES
};
