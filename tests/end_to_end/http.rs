//! Real HTTP by ab and curl, to targets that see the client's own address.

use lbd::testbed::{
    daemon::Books,
    network::{CLIENT, Layout, Offload, Plan},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::Config,
    harness::{Rig, frames_of, heavy, tcp_vip},
    web::{WebServers, ab},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("http::ten_thousand_requests", ten_thousand_requests),
    ("http::one_gib_arrives_whole", || arrives_whole(Offload::Off, 1 << 30)),
    ("http::a_transfer_finds_the_narrow_way_to_the_client", finds_the_narrow_way),
    ("http::a_transfer_with_unfinished_checksums_arrives_whole", || arrives_whole(Offload::On, 64 << 20)),
];

fn ten_thousand_requests() -> Result<(), Failed> {
    let _heavy = heavy()?;
    let mut rig = Rig::build(Plan { layout: Layout::Direct, targets: 4, queues: 2, offload: Offload::Off })?;
    let servers = WebServers::start(&rig)?;
    rig.start_daemon(&Config::of(rig.plan()))?;
    ab(&rig.network.client, tcp_vip(), REQUESTS)?;

    let visitors = servers.take_visitors()?;
    let even = REQUESTS / visitors.len();
    for visitors in &visitors {
        assert_eq!(visitors.keys().collect::<Vec<_>>(), [&CLIENT]);
        let share = visitors.values().sum::<usize>();
        assert!(share.abs_diff(even) <= even / 5, "{share} requests, {even} would be even");
    }
    assert_eq!(visitors.iter().flat_map(|visitors| visitors.values()).sum::<usize>(), REQUESTS);
    rig.finish().map(drop)
}

/// The link to the client carries less than either end knows: targets learn it from the load balancer's ICMP errors.
fn finds_the_narrow_way() -> Result<(), Failed> {
    let rig = Rig::build(Plan { layout: Layout::Direct, targets: 2, queues: 1, offload: Offload::Off })?;
    rig.network.set_mtu(&rig.network.interfaces[0], 1_400)?;
    let books = transfer(rig, 8 << 20)?;
    assert!(frames_of(&books.0, "too_big")? > 0, "{books}");
    Ok(())
}

fn arrives_whole(offload: Offload, bytes: u64) -> Result<(), Failed> {
    let _heavy = heavy()?;
    let rig = Rig::build(Plan { layout: Layout::Direct, targets: 2, queues: 1, offload })?;
    transfer(rig, bytes).map(drop)
}

fn transfer(mut rig: Rig, bytes: u64) -> Result<Books, Failed> {
    let servers = WebServers::start(&rig)?;
    servers.make_noise(bytes)?;
    rig.start_daemon(&Config::of(rig.plan()))?;
    servers.download(&rig.network.client, tcp_vip())?;
    rig.finish()
}

const REQUESTS: usize = 10_000;
