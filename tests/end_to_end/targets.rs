//! Targets come and go under a thousand live connections.

use lb_ctl::api::TargetRow;
use lbd::testbed::{
    daemon::{is_avoided, is_serving},
    network::{Layout, Offload, Plan, target_address},
    sniffer::Sniffer,
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::Config,
    harness::{PATIENCE, Rig, heavy},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("targets::connections_stay_while_a_target_is_removed_and_added", removed_and_added),
    ("targets::a_dead_target_is_avoided_and_its_return_noticed", dies_and_returns),
    ("targets::a_refused_reload_changes_nothing", refused_reload),
];

fn removed_and_added() -> Result<(), Failed> {
    let _heavy = heavy()?;
    let mut rig = Rig::serve(PLAN)?;
    let sniffer = Sniffer::start(&rig.network.client)?;
    let all = Config::of(&PLAN);
    let mut crowd = rig.crowd(1000)?;

    rig.reload(&all.without(LEAVING))?;
    assert_eq!(
        rig.shares(&rig.crowd(200)?)[usize::from(LEAVING) - 1],
        0,
        "a removed target got new connections"
    );
    // The removed target's connections go on, too: its deregistration delay has just begun.
    assert_no_failures(&crowd.ask_all("while removed", PATIENCE))?;

    rig.write(&all)?;
    rig.daemon.as_ref().ok_or("no daemon was started")?.signal(libc::SIGHUP)?;
    rig.wait_for("the target to be back", |targets| {
        let returning = |target: &&TargetRow| target.target.ip() == target_address(LEAVING);
        targets.iter().any(|target| returning(&target)) && targets.iter().filter(returning).all(is_serving)
    })?;
    assert!(rig.shares(&rig.crowd(200)?)[usize::from(LEAVING) - 1] > 0, "the target got no new connections");
    assert_no_failures(&crowd.ask_all("while back", PATIENCE))?;
    assert_eq!(sniffer.resets(), []);
    drop(crowd);
    rig.finish().map(drop)
}

fn dies_and_returns() -> Result<(), Failed> {
    let mut rig = Rig::serve(PLAN)?;
    let mut crowd = rig.crowd(400)?;
    let victim = usize::from(LEAVING) - 1;
    let name = rig.targets[victim].name().to_owned();
    let is_victim = |target: &&TargetRow| target.target.ip() == target_address(LEAVING);

    rig.targets[victim].stop();
    rig.wait_for("the dead target to be unhealthy", |targets| {
        targets.iter().filter(is_victim).all(is_avoided)
    })?;
    assert_eq!(rig.shares(&rig.crowd(200)?)[victim], 0, "an unhealthy target got new connections");
    crowd.retain(|member| member.target != name);
    assert_no_failures(&crowd.ask_all("after its death", PATIENCE))?;

    rig.targets[victim].start(&rig.network.targets[victim])?;
    rig.wait_for("the target to be healthy again", |targets| targets.iter().all(is_serving))?;
    assert!(rig.shares(&rig.crowd(200)?)[victim] > 0, "a healthy target got no new connections");
    assert_no_failures(&crowd.ask_all("after its return", PATIENCE))?;
    drop(crowd);
    rig.finish().map(drop)
}

fn refused_reload() -> Result<(), Failed> {
    let rig = Rig::serve(PLAN)?;
    let mut crowd = rig.crowd(100)?;
    let good = Config::of(&PLAN).text(&rig.network.interfaces, rig.directory.path());
    for bad in
        ["", "interfaces = [", &good.replace("port = 80\n", "port = 0\n"), &good.replace("name", "nmae")]
    {
        rig.write_text(bad)?;
        assert!(rig.control.reload().is_err(), "this was accepted:\n{bad}");
        assert_no_failures(&crowd.ask_all("after a refusal", PATIENCE))?;
    }
    rig.write_text(&good)?;
    rig.control.reload()?;
    assert_eq!(rig.shares(&rig.crowd(200)?).iter().sum::<usize>(), 200);
    drop(crowd);
    rig.finish().map(drop)
}

fn assert_no_failures(failures: &[lbd::testbed::client::Failure]) -> Result<(), Failed> {
    match failures {
        [] => Ok(()),
        [first, ..] => {
            Err(format!("{} connections did not go on, the first: {first:?}", failures.len()).into())
        }
    }
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 4, queues: 2, offload: Offload::Off };
/// Number of the target that comes and goes.
const LEAVING: u8 = 3;
