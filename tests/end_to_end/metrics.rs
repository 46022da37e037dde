//! Metrics of a daemon with traffic: read by the reference parser, equal to what the control API says, and what the dashboard in
//! `configs` asks for.

mod dashboard;
mod scrape;

use std::{path::Path, time::Instant};

use lb_ctl::api::{Stats, Status, TargetRow, Traffic};
use lbd::testbed::{
    client::Flows,
    daemon::{Books, is_serving},
    network::{Layout, Offload, Plan},
    process::Process,
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{Config, Zones},
    harness::{PATIENCE, Rig, udp_vip},
};
use scrape::Scrape;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("metrics::are_what_the_control_api_says", equal_the_api),
    ("metrics::a_target_group_keeps_what_its_lost_targets_counted", survive_targets),
    ("metrics::the_dashboard_asks_for_what_there_is", dashboard::asks_for_what_there_is),
];

fn equal_the_api() -> Result<(), Failed> {
    let mut rig = serve(&config())?;
    exercise(&mut rig)?;
    let Look { scrape, by_socket, status, stats, targets, .. } = still_look(&rig)?;
    assert_frames(&scrape, &status, &stats);
    assert_listeners(&scrape, &status);
    assert_targets(&scrape, &targets);
    assert_eq!(by_socket.series_without_time(), scrape.series_without_time());
    rig.finish().map(drop)
}

/// What is said in all ways, one right after the other.
struct Look {
    before: Stats,
    scrape: Scrape,
    by_socket: Scrape,
    status: Status,
    targets: Vec<TargetRow>,
    stats: Stats,
}

impl Look {
    fn take(rig: &Rig) -> Result<Look, Failed> {
        Ok(Look {
            before: rig.control.stats()?,
            scrape: scrape(rig)?,
            by_socket: Scrape::parse(&rig.control.metrics()?)?,
            status: rig.control.status()?,
            targets: rig.control.targets()?,
            stats: rig.control.stats()?,
        })
    }

    /// Whether nothing moved meanwhile, and no time was up: a frame that is late, the end of a peak's 10 s.
    fn is_still(&self) -> bool {
        let counted = |stats: &Stats| (stats.received, stats.flows, stats.reasons.clone());
        counted(&self.before) == counted(&self.stats)
            && self.scrape.series_without_time() == self.by_socket.series_without_time()
    }
}

/// A look while nothing moves; one as good as any if that does not come to be.
fn still_look(rig: &Rig) -> Result<Look, Failed> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let look = Look::take(rig)?;
        if look.is_still() || Instant::now() > deadline {
            return Ok(look);
        }
    }
}

fn assert_frames(scrape: &Scrape, status: &Status, stats: &Stats) {
    assert_eq!(scrape.sum("lbd_frames_received_total", &[]), stats.received as f64);
    assert!(stats.received > 0);
    for row in &stats.reasons {
        let labels = [("reason", row.reason.as_str()), ("verdict", row.verdict.as_str())];
        assert_eq!(scrape.only("lbd_frames_settled_total", &labels), Some(row.frames as f64), "{labels:?}");
    }
    let settled = |verdict| scrape.sum("lbd_worker_settled_frames_total", &[("verdict", verdict)]);
    assert_eq!(
        ["transmit", "reply", "drop"].map(settled).iter().sum::<f64>(),
        (stats.received + stats.made) as f64
    );
    assert_eq!(settled("hand_over"), stats.handed_over as f64);
    assert_eq!(scrape.sum("lbd_worker_received_frames_total", &[]), stats.received as f64);
    assert_eq!(scrape.sum("lbd_worker_flows", &[]), stats.flows as f64);
    assert_eq!(scrape.count("lbd_worker_busy_seconds_total", &[]), status.workers.len());
    assert_eq!(scrape.only("lbd_flow_table_capacity_flows", &[]), Some(status.flow_table.capacity as f64));
    assert_eq!(scrape.only("lbd_tables_generation", &[]), Some(f64::from(status.tables_generation)));
    let version = [("version", status.version.as_str())];
    assert_eq!(scrape.only("lbd_build_info", &version), Some(1.0));
}

fn assert_listeners(scrape: &Scrape, status: &Status) {
    let lb = &status.load_balancers[0];
    assert_eq!(scrape.sum("lbd_zonal_health", &[("zone", "a")]), 1.0);
    for row in &lb.listeners {
        let endpoint = row.name.split('/').next_back().unwrap_or_default();
        let labels = [("load_balancer", lb.name.as_str()), ("listener", endpoint), ("zone", "a")];
        let Traffic { new_flows, active_flows, packets_in, bytes_out, client_resets, resets, .. } =
            row.traffic;
        for (series, label, value) in [
            ("lbd_listener_new_flows_total", None, new_flows),
            ("lbd_listener_active_flows", None, active_flows),
            ("lbd_listener_packets_total", Some(("direction", "in")), packets_in),
            ("lbd_listener_bytes_total", Some(("direction", "out")), bytes_out),
            ("lbd_listener_passed_resets_total", Some(("sender", "client")), client_resets),
            ("lbd_listener_made_resets_total", None, resets),
        ] {
            let labels: Vec<_> = labels.into_iter().chain(label).collect();
            assert_eq!(scrape.only(series, &labels), Some(value as f64), "{series} {labels:?}");
        }
        assert!(new_flows > 0 && packets_in > 0 && bytes_out > 0, "{row:?}");
    }
}

fn assert_targets(scrape: &Scrape, targets: &[TargetRow]) {
    for row in targets {
        let target = row.target.to_string();
        let labels = [("target_group", row.target_group.as_str()), ("target", &target)];
        assert_eq!(scrape.only("lbd_target_new_flows_total", &labels), Some(row.traffic.new_flows as f64));
        assert_eq!(scrape.only("lbd_target_healthy", &labels), Some(1.0));
    }
    for group in ["lines", "datagrams"] {
        let group = [("target_group", group), ("load_balancer", "test")];
        for series in ["new_flows_total", "packets_total", "bytes_total"] {
            let (own, all) = (format!("lbd_target_{series}"), format!("lbd_target_group_{series}"));
            assert_eq!(scrape.sum(&own, &group), scrape.sum(&all, &group), "{all} {group:?}");
        }
        let healthy = [group[0], group[1], ("state", "healthy"), ("zone", "a")];
        assert_eq!(scrape.only("lbd_target_group_targets", &healthy), Some(f64::from(PLAN.targets)));
        assert!(scrape.sum("lbd_target_group_checks_total", &[group[0], ("result", "passed")]) > 0.0);
    }
    assert_eq!(scrape.only("lbd_metrics_omitted_targets", &[]), Some(0.0));
}

fn survive_targets() -> Result<(), Failed> {
    let mut rig = serve(&config())?;
    let before = exercise(&mut rig)?;
    for number in PLAN.numbers().skip(1) {
        rig.write_text(&text(&rig, &config().without(number)))?;
        rig.control.reload()?;
        let after = Scrape::parse(&rig.control.metrics()?)?;
        for series in ["new_flows_total", "packets_total", "bytes_total"] {
            let series = format!("lbd_target_group_{series}");
            assert!(after.sum(&series, &[]) >= before.sum(&series, &[]), "{series} fell");
        }
    }
    rig.finish().map(drop)
}

/// Connections and datagrams that are answered, and resets; then a scrape, when nothing moves any more.
fn exercise(rig: &mut Rig) -> Result<Scrape, Failed> {
    let mut crowd = rig.crowd(60)?;
    assert!(crowd.ask_all("counted", PATIENCE).is_empty());
    drop(crowd);
    Flows::open(&rig.network.client, udp_vip(), 20)?.ask_all("counted")?;
    Books::settled(&rig.control, PATIENCE)?;
    scrape(rig)
}

fn scrape(rig: &Rig) -> Result<Scrape, Failed> {
    let mut curl = rig.network.lb.command(Path::new("curl"));
    let output =
        curl.args(["--silent", "--show-error", "--fail", &format!("http://{LISTEN}/metrics")]).output()?;
    if !output.status.success() {
        return Err(format!("curl: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(Scrape::parse(&String::from_utf8(output.stdout)?)?)
}

fn serve(config: &Config) -> Result<Rig, Failed> {
    let mut rig = Rig::build(PLAN)?;
    rig.start_targets()?;
    let path = rig.write_text(&text(&rig, config))?;
    let log = rig.directory.path().join("lbd.log");
    rig.daemon = Some(Process::start(&mut rig.lbd(&path), &log)?);
    rig.wait_for("all targets healthy", |targets| !targets.is_empty() && targets.iter().all(is_serving))?;
    Ok(rig)
}

fn text(rig: &Rig, config: &Config) -> String {
    let text = config.text(&rig.network.interfaces, rig.directory.path());
    format!("{text}\n[metrics]\nlisten = \"{LISTEN}\"\n")
}

/// All in one zone.
fn config() -> Config {
    let zones = Zones { vips: vec!["a"], targets: PLAN.numbers().map(|_| "a").collect() };
    Config { zones, ..Config::of(&PLAN) }
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 3, queues: 2, offload: Offload::Off };
const LISTEN: &str = "127.0.0.1:9464";
