//! Listeners that share their flows out to several target groups by weight.

use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use super::{LINES, Scene};
use crate::{
    Test,
    config::{Config, Forward, Registered, Service},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("flow_rules::weights_share_out_new_flows_and_leave_others", share_out),
    ("flow_rules::flows_to_a_group_of_weight_zero_are_reset_after_a_while", weight_zero),
    ("flow_rules::a_sticky_choice_of_groups_keeps_a_clients_flows_together", sticky),
];

fn share_out() -> Result<(), Failed> {
    let scene = Scene::serve(&weighted(&[("blue", 4), ("green", 1)]))?;
    let mut crowd = scene.crowd(&BLUE)?;
    for (weights, mostly) in [(&[("blue", 1), ("green", 9)], 1), (&[("blue", 9), ("green", 1)], 0)] {
        scene.rig.reload(&weighted(weights))?;
        let shares = scene.new_shares(&BLUE)?;
        assert!(shares[mostly] > shares[1 - mostly], "{shares:?} by {weights:?}");
    }
    scene.assert_unhurt(&mut crowd, &BLUE, "after other weights");
    drop(crowd);
    scene.finish()
}

/// New flows avoid the group at once, existing ones have some seconds.
fn weight_zero() -> Result<(), Failed> {
    let scene = Scene::serve(&weighted(&[("blue", 1), ("green", 1)]))?;
    let mut crowd = scene.crowd(&BLUE)?;
    let since = Instant::now();
    scene.rig.reload(&weighted(&[("blue", 0), ("green", 1)]))?;
    assert_eq!(scene.new_shares(&BLUE)?[0], 0);
    scene.assert_unhurt_before(since + GRACE, &mut crowd, &BLUE, "shortly after");
    let cut = scene.assert_reset(&mut crowd, &BLUE, 1)?;
    assert!(since.elapsed() >= GRACE, "reset already after {:?}", since.elapsed());
    drop(crowd);
    scene.finish_cut("weight_zero", cut.flows)
}

fn sticky() -> Result<(), Failed> {
    let scene = Scene::serve(&Config { services: vec![STICKY, GREEN], ..Config::of(&super::PLAN) })?;
    let crowd = scene.crowd(&STICKY)?;
    assert!(scene.rig.shares(&crowd).contains(&super::CONNECTIONS), "{:?}", scene.rig.shares(&crowd));
    drop(crowd);
    scene.finish()
}

/// Target 1 is blue, target 2 is green; the one listener goes to both.
fn weighted(groups: &'static [(&'static str, u16)]) -> Config {
    let blue = Service { forward: Forward::Weighted(groups), ..BLUE };
    Config { services: vec![blue, GREEN], ..Config::of(&super::PLAN) }
}

const BLUE: Service = Service { name: "blue", registered: Registered::These(&[1]), ..LINES };
const GREEN: Service =
    Service { name: "green", registered: Registered::These(&[2]), forward: Forward::Nowhere, ..LINES };
const STICKY: Service = Service { forward: Forward::Sticky(&[("blue", 1), ("green", 1)]), ..BLUE };
/// How long flows outlive their group's weight.
const GRACE: Duration = Duration::from_secs(5);
