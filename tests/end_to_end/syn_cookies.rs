//! Listeners that answer SYNs by cookies, so that targets meet only clients that are really there.

use std::{net::SocketAddrV4, thread, time::Duration};

use lbd::testbed::{
    client::{Conversation, PATIENCE},
    flood::SynFlood,
    network::{Family, Layout, Offload, Plan, VIP},
    target::GREETING,
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{Config, Service},
    harness::{self, Rig, TCP_PORT, embedded_target, heavy, tcp_vip, vip_of},
    web::{WebServers, ab},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("syn_cookies::http_works", http_works),
    ("syn_cookies::targets_may_speak_first", targets_may_speak_first),
    ("syn_cookies::a_flood_leaves_no_trace", a_flood_leaves_no_trace),
];

fn http_works() -> Result<(), Failed> {
    let _heavy = heavy()?;
    let mut rig = Rig::build(PLAN)?;
    let servers = WebServers::start(&rig)?;
    servers.make_noise(10 << 20)?;
    rig.start_daemon(&with_cookies())?;
    ab(&rig.network.client, tcp_vip(), 2_000)?;
    for client in Family::BOTH {
        for service in [Service::LINES, Service::LINES_V6] {
            servers.download(&rig.network.client, vip_of(client, &service))?;
            servers.upload(&rig.network.client, vip_of(client, &service))?;
        }
    }
    rig.finish().map(drop)
}

/// The client waits for the target's first words, so nothing of its own leads to the target.
fn targets_may_speak_first() -> Result<(), Failed> {
    let mut rig = Rig::build(PLAN)?;
    for (number, namespace) in (1..).zip(&rig.network.targets) {
        let mut target = embedded_target(number).greeting();
        target.start(namespace)?;
        rig.targets.push(target);
    }
    rig.start_daemon(&with_cookies())?;
    for (family, service) in [(Family::V4, Service::LINES), (Family::V6, Service::LINES_V6)] {
        for _ in 0..20 {
            let mut conversation =
                rig.network.client.within(|| Conversation::open(vip_of(family, &service)))?;
            let greeting = conversation.hear(PATIENCE)?;
            assert_eq!((greeting.text.as_str(), greeting.client), (GREETING, conversation.local));
            conversation.ask("thank you")?;
        }
    }
    rig.finish().map(drop)
}

/// Neither flows nor connections at the targets come of it, and those who mean it connect meanwhile.
fn a_flood_leaves_no_trace() -> Result<(), Failed> {
    let _heavy = heavy()?;
    let mut rig = Rig::build(PLAN)?;
    rig.start_targets()?;
    rig.start_daemon(&with_cookies())?;
    let flood = SynFlood { to: SocketAddrV4::new(VIP, TCP_PORT), count: 30_000, per_second: 15_000 };
    let client = &rig.network.client;
    thread::scope(|scope| -> Result<(), Failed> {
        let flooding = scope.spawn(|| client.within(|| flood.run()));
        thread::sleep(Duration::from_millis(200));
        let mut steady = rig.crowd(20)?;
        let mut half_open = 0;
        while !flooding.is_finished() {
            rig.crowd(20)?;
            half_open = half_open.max(rig.control.stats()?.half_open);
        }
        assert!(half_open <= HALF_OPEN_AT_MOST, "{half_open} half-open flows");
        assert_eq!(steady.ask_all("after the flood", harness::PATIENCE).len(), 0);
        flooding.join().map_err(|_| "the flood panicked")??;
        Ok(())
    })?;
    rig.finish().map(drop)
}

fn with_cookies() -> Config {
    let cookies = |service| Service { listener_attributes: &["tcp.syn_cookies.enabled"], ..service };
    Config { services: [Service::LINES, Service::LINES_V6].map(cookies).into(), ..Config::dual_stack(&PLAN) }
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 2, queues: 2, offload: Offload::Off };
/// Clients that are under way at a time.
const HALF_OPEN_AT_MOST: u64 = 20;
