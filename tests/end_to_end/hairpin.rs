//! A target that is a client of its own service.

use lbd::testbed::{
    client::{Crowd, Seen},
    network::{Family, Layout, Offload, Plan},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{Config, Service},
    harness::{PATIENCE, Rig, vip_of},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("hairpin::the_only_target_reaches_itself", || reaches_itself(Layout::Direct)),
    ("hairpin::the_only_target_reaches_itself_one_armed", || reaches_itself(Layout::OneArmed)),
];

/// From its own address it would take the answers for its own; so the load balancer's stands in, for it alone.
fn reaches_itself(layout: Layout) -> Result<(), Failed> {
    const CONNECTIONS: usize = 20;
    let plan = Plan { layout, targets: 1, queues: 2, offload: Offload::Off };
    let rig = Rig::serve_by(plan, &Config::dual_stack(&plan))?;
    for (family, service) in [(Family::V4, Service::LINES), (Family::V6, Service::LINES_V6)] {
        let (to, seen) = (vip_of(family, &service), Seen::Source(family.vip()));
        let mut own = Crowd::open_seen(&rig.network.targets[0], to, CONNECTIONS, seen)?;
        let mut others = Crowd::open(&rig.network.client, to, CONNECTIONS)?;
        assert_eq!(own.ask_all("again", PATIENCE).len(), 0);
        assert_eq!(others.ask_all("again", PATIENCE).len(), 0);
    }
    let books = rig.finish()?;
    assert_eq!(books.0.hairpins, (2 * CONNECTIONS) as u64, "{books}");
    Ok(())
}
