//! Targets that are deregistered: through the delay, after it, and back again.

use std::time::{Duration, Instant};

use lbd::testbed::client::{Answer, Flows};
use libtest_mimic::Failed;

use super::{CHECKED, CONNECTIONS, LINES, Scene, UNTOUCHED};
use crate::{
    Test,
    config::{Config, Service},
    harness::udp_vip,
    web::output_of,
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("flow_rules::flows_of_a_deregistered_target_go_on", go_on),
    ("flow_rules::with_termination_flows_are_reset_after_the_delay", are_reset),
    ("flow_rules::a_target_registered_again_while_draining_keeps_its_flows", comes_back),
    ("flow_rules::datagram_flows_are_hashed_anew_after_the_delay", hashed_anew),
];

/// Through the delay and, without termination, after it.
fn go_on() -> Result<(), Failed> {
    let config = only(LASTING);
    let mut scene = Scene::serve(&config)?;
    let mut crowd = scene.crowd(&LASTING)?;
    let draining = Instant::now() + DELAY;
    scene.rig.reload(&config.without(1))?;
    assert_draining_before(draining, &scene, &LASTING)?;
    assert_eq!(scene.new_shares(&LASTING)?[0], 0);
    scene.assert_unhurt(&mut crowd, &LASTING, "while draining");
    scene.wait_for_unused(&LASTING, 1)?;
    std::thread::sleep(UNTOUCHED);
    scene.assert_unhurt(&mut crowd, &LASTING, "after the delay");
    drop(crowd);
    scene.finish()
}

fn are_reset() -> Result<(), Failed> {
    let config = only(ENDING);
    let scene = Scene::serve(&config)?;
    let mut crowd = scene.crowd(&ENDING)?;
    let draining = Instant::now() + DELAY;
    scene.rig.reload(&config.without(1))?;
    assert_draining_before(draining, &scene, &ENDING)?;
    scene.assert_unhurt_before(draining, &mut crowd, &ENDING, "while draining");
    let cut = scene.assert_reset(&mut crowd, &ENDING, 1)?;
    assert!(Instant::now() >= draining, "reset too soon");
    drop(crowd);
    scene.finish_cut("deregistered", cut.flows)
}

/// Registered again it is a new target, which must pass a check before it gets new flows; the old ones do not notice.
fn comes_back() -> Result<(), Failed> {
    let config = only(PATIENT);
    let mut scene = Scene::serve(&config)?;
    let mut crowd = scene.crowd(&PATIENT)?;
    scene.rig.reload(&config.without(1))?;
    assert_eq!(scene.state(&PATIENT, 1)?, "draining");
    let target = &scene.rig.network.targets[0];
    let nft = |line: String| output_of(target.command("nft".as_ref()).arg(line));
    nft(format!(
        "table ip silent {{ chain in {{ type filter hook input priority 0; tcp dport {} drop; }}; }}",
        CHECKED.tcp
    ))?;
    scene.rig.reload(&config)?;
    assert_eq!(scene.state(&PATIENT, 1)?, "initial");
    assert_eq!(scene.new_shares(&PATIENT)?[0], 0);
    scene.assert_unhurt(&mut crowd, &PATIENT, "registered again");
    nft("delete table ip silent".into())?;
    scene.wait_for_state(&PATIENT, 1, "healthy")?;
    assert!(scene.new_shares(&PATIENT)?[0] > 0);
    scene.assert_unhurt(&mut crowd, &PATIENT, "healthy again");
    drop(crowd);
    scene.finish()
}

/// Datagram flows are terminated by default: the client's next datagram goes to another target.
fn hashed_anew() -> Result<(), Failed> {
    let config = only(DATAGRAMS);
    let mut scene = Scene::serve(&config)?;
    let flows = Flows::open(&scene.rig.network.client, udp_vip(), CONNECTIONS)?;
    let before = flows.ask_all("before")?;
    let leaving = scene.rig.targets[0].name().to_owned();
    let cut = before.iter().filter(|answer| answer.target == leaving).count();
    assert!(cut > 0);
    let draining = Instant::now() + DELAY;
    scene.rig.reload(&config.without(1))?;
    let meanwhile = flows.ask_all("while draining")?;
    assert!(targets(&meanwhile) == targets(&before) || Instant::now() > draining, "{meanwhile:?}");
    scene.wait_for_unused(&DATAGRAMS, 1)?;
    scene.wait_for_cut(cut)?;
    assert!(targets(&flows.ask_all("after the delay")?).iter().all(|target| *target != leaving));
    scene.finish_cut("deregistered", cut)
}

/// Unless the machine has been so slow that this is said too late to tell.
fn assert_draining_before(end: Instant, scene: &Scene, service: &Service) -> Result<(), Failed> {
    let state = scene.state(service, 1)?;
    assert!(state == "draining" || Instant::now() > end, "{state}");
    Ok(())
}

fn targets(answers: &[Answer]) -> Vec<&str> {
    answers.iter().map(|answer| answer.target.as_str()).collect()
}

fn only(service: Service) -> Config {
    Config { services: vec![service], ..Config::of(&super::PLAN) }
}

/// The deregistration delay of the services below.
const DELAY: Duration = Duration::from_secs(2);
/// A check that is not answered is under way for long.
const PATIENT: Service =
    Service { check_interval: "interval_seconds = 30", health_check: &["timeout_seconds = 30"], ..LINES };
const LASTING: Service = Service { attributes: &["deregistration_delay.timeout_seconds = 2"], ..LINES };
const ENDING: Service = Service {
    attributes: &[
        "deregistration_delay.timeout_seconds = 2",
        "deregistration_delay.connection_termination.enabled = true",
    ],
    ..LINES
};
const DATAGRAMS: Service = Service {
    check_port: CHECKED.tcp,
    attributes: &["deregistration_delay.timeout_seconds = 2"],
    ..Service::DATAGRAMS
};
