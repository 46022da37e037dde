//! A daemon that was not running for a while does not blame its targets for it.

use std::{
    thread,
    time::{Duration, Instant},
};

use lbd::testbed::{
    daemon::is_serving,
    network::{Layout, Offload, Plan},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{Config, Service},
    harness::{PATIENCE, Rig},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[("asleep::no_target_is_blamed_for_our_own_sleep", nobody_is_blamed)];

fn nobody_is_blamed() -> Result<(), Failed> {
    let mut rig = Rig::serve_by(PLAN, &Config::only(&PLAN, Service::LINES))?;
    let mut crowd = rig.crowd(30)?;
    let daemon = rig.daemon.as_ref().ok_or("no daemon was started")?;
    daemon.signal(libc::SIGSTOP)?;
    thread::sleep(SLEEP);
    daemon.signal(libc::SIGCONT)?;
    let awake = Instant::now();
    while awake.elapsed() < WATCHED {
        rig.wait_for("every target healthy", |rows| rows.iter().all(is_serving))?;
    }
    let said = rig.daemon.as_ref().ok_or("no daemon was started")?.printed();
    assert!(!said.contains("unhealthy"), "{said}");
    assert_eq!(crowd.ask_all("awake", PATIENCE).len(), 0);
    drop(crowd);
    rig.finish().map(drop)
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 3, queues: 1, offload: Offload::Off };
/// Checks that were begun before are long overdue: the harness's take a second at most.
const SLEEP: Duration = Duration::from_secs(5);
/// Time enough for a wrong verdict.
const WATCHED: Duration = Duration::from_secs(3);
