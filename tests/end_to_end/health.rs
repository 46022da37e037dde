//! Health checks against real servers: what is found out about good, bad and strange ones, and how soon a death is noticed.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use lb_ctl::api::TargetRow;
use lbd::testbed::{
    daemon::{is_avoided, is_serving},
    network::{Family, Layout, Offload, Plan, VIP},
    target::{Ports, Target},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{Config, Registered, Service},
    harness::{PORTS, Rig, wait_until},
};
use servers::{Nginx, Port, Silent, drop_syns};

mod servers;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    ("health::every_kind_of_server_is_told_apart", told_apart),
    ("health::a_death_is_noticed_within_threshold_times_interval", noticed),
];

fn told_apart() -> Result<(), Failed> {
    let plan = Plan { targets: 1, ..PLAN };
    let mut rig = Rig::build(plan)?;
    let target = &rig.network.targets[0];
    let _silent = Silent::start(target)?;
    let mut echo =
        Target::new("echo".into(), Family::V4.target(1), Ports { tcp: PORTS.tcp, udp: Port::Echo as u16 });
    echo.start(target)?;
    drop_syns(target, Port::HalfOpen)?;
    let nginx = Nginx::start(target, &rig.directory.path().join("nginx"))?;
    let services = KINDS.iter().map(Kind::service).collect();
    rig.launch_daemon(&Config { services, ..Config::of(&plan) })?;
    rig.wait_for("a right verdict on every server", |rows| KINDS.iter().all(|kind| kind.is_told(rows)))?;

    let host = |kind: &Kind| format!("{} {VIP}:{}", kind.port as u16, kind.listener_port());
    let hosts = KINDS.iter().filter(|kind| Nginx::HEARS.contains(&kind.port)).map(host);
    let hosts: BTreeSet<String> = hosts.collect();
    // A request is logged when it is over, that to the slow server when nobody waits for its end any more.
    wait_until("a line for each request", || Ok(nginx.requests()?.is_superset(&hosts)))?;
    assert_eq!(nginx.requests()?, hosts, "ports and Host headers");
    rig.finish().map(drop)
}

/// One server is killed, so that connections are refused, and one is stopped, so that nothing comes at all. Time that the machine takes
/// for others is none of the checks': in one of a few rounds it is little.
fn noticed() -> Result<(), Failed> {
    let mut rig = Rig::build(PLAN)?;
    let start = |number: usize, name: &str, rig: &Rig| {
        Nginx::start(&rig.network.targets[number - 1], &rig.directory.path().join(name))
    };
    let _steady = start(1, "steady", &rig)?;
    let stopped = start(3, "stopped", &rig)?;
    let service = Service { registered: Registered::All, health_check: HTTP_SOON_OVER, ..HTTP.service() };
    rig.launch_daemon(&Config::only(&PLAN, service))?;
    let mut latest = Duration::MAX;
    for round in 0..ROUNDS {
        let killed = start(2, &format!("killed{round}"), &rig)?;
        rig.wait_for("all targets healthy", |rows| !rows.is_empty() && rows.iter().all(is_serving))?;
        let death = Instant::now();
        stopped.process.signal(libc::SIGSTOP)?;
        killed.process.kill()?;
        for (number, how) in [(2, "killed"), (3, "stopped")] {
            let address = Family::V4.target(number);
            rig.wait_for("the death to be noticed", |rows| {
                rows.iter().filter(|row| row.target.ip() == address).all(is_avoided)
            })?;
            latest = death.elapsed();
            println!(
                "a {how} server was noticed after {:.2} s, {DETECTION:.1?} allowed",
                latest.as_secs_f64()
            );
        }
        stopped.process.signal(libc::SIGCONT)?;
        if latest < DETECTION + NOISE {
            return rig.finish().map(drop);
        }
    }
    Err(format!("noticed after {latest:?} at the best").into())
}

/// A server behind a target group, and what its checks must find.
struct Kind {
    name: &'static str,
    port: Port,
    health_check: &'static [&'static str],
    state: &'static str,
    reason: Option<&'static str>,
    /// Words of the description.
    says: &'static str,
}

impl Kind {
    /// The listener's port is another than the target's, to tell which one the Host header has.
    const fn listener_port(&self) -> u16 {
        self.port as u16 - 7_000
    }

    const fn service(&self) -> Service {
        Service {
            name: self.name,
            port: self.listener_port(),
            target_port: self.port as u16,
            check_port: self.port as u16,
            health_check: self.health_check,
            registered: Registered::These(&[1]),
            ..Service::LINES
        }
    }

    fn is_told(&self, rows: &[TargetRow]) -> bool {
        rows.iter().filter(|row| row.target_group == self.name).any(|row| {
            row.state == self.state
                && row.reason.as_deref() == self.reason
                && row.description.as_deref().unwrap_or_default().contains(self.says)
        })
    }
}

const HTTP: Kind = Kind {
    name: "http",
    port: Port::Http,
    health_check: &["protocol = 'HTTP'", "fast_timeout_ms = 900"],
    state: "healthy",
    reason: None,
    says: "",
};

const KINDS: &[Kind] = &[
    HTTP,
    Kind { name: "https", port: Port::Https, health_check: &["protocol = 'HTTPS'"], ..HTTP },
    Kind {
        name: "https-validated",
        port: Port::HttpsAgain,
        health_check: &["protocol = 'HTTPS'", "tls = { validate = true }"],
        state: "unhealthy",
        reason: Some("Target.FailedHealthChecks"),
        says: "certificate",
    },
    Kind {
        name: "udp",
        port: Port::Echo,
        health_check: &["udp = { send = 'ping', expect = 'ping' }"],
        ..HTTP
    },
    Kind {
        name: "udp-refused",
        port: Port::UdpRefused,
        health_check: &["udp = { send = 'ping' }"],
        state: "unhealthy",
        reason: Some("Target.FailedHealthChecks"),
        says: "refused",
    },
    Kind {
        name: "wrong-code",
        port: Port::Unavailable,
        state: "unhealthy",
        reason: Some("Target.ResponseCodeMismatch"),
        says: "[503]",
        ..HTTP
    },
    Kind {
        name: "slow",
        port: Port::Slow,
        state: "unhealthy",
        reason: Some("Target.Timeout"),
        says: "timed out",
        ..HTTP
    },
    Kind {
        name: "silent",
        port: Port::Silent,
        state: "unhealthy",
        reason: Some("Target.Timeout"),
        says: "timed out",
        ..HTTP
    },
    Kind { name: "silent-by-tcp", port: Port::SilentByTcp, health_check: &["fast_timeout_ms = 900"], ..HTTP },
    Kind {
        name: "half-open",
        port: Port::HalfOpen,
        health_check: &["fast_timeout_ms = 200"],
        state: "unhealthy",
        reason: Some("Target.Timeout"),
        says: "timed out",
    },
    Kind {
        name: "refused",
        port: Port::Refused,
        state: "unhealthy",
        reason: Some("Target.FailedHealthChecks"),
        says: "refused",
        ..HTTP
    },
    Kind {
        name: "header-bomb",
        port: Port::HeaderBomb,
        state: "unhealthy",
        reason: Some("Target.FailedHealthChecks"),
        says: "header",
        ..HTTP
    },
];

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 3, queues: 1, offload: Offload::Off };
/// Unhealthy threshold times interval, and a tenth.
const DETECTION: Duration = Duration::from_millis(2_200);
/// What a busy machine may add in the best round.
const NOISE: Duration = Duration::from_secs(1);
const ROUNDS: usize = 4;
/// A stopped server is noticed by the end of a check.
const HTTP_SOON_OVER: &[&str] = &["protocol = 'HTTP'", "fast_timeout_ms = 200"];
