//! `lbctl doctor` on real links: what it finds, and that it leaves everything as it was.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use lbd::testbed::{
    namespace::Namespace,
    network::{Layout, Network, Offload, Plan},
};
use libtest_mimic::Failed;
use serde_json::Value;

use crate::{
    Test,
    harness::{LBCTL, PATIENCE, Rig, unprivileged},
    stranger::{Stranger, program_on_first_link},
};

pub const TESTS: &[Test] = &[
    ("doctor_tries_a_veth_and_leaves_it_as_it_was", a_fit_link),
    ("doctor_sees_a_large_mtu_and_strict_filtering", an_unfit_link),
    ("doctor_does_not_touch_a_link_with_another_program", another_program),
    ("doctor_does_not_disturb_a_running_lbd", a_running_daemon),
    ("doctor_works_without_privileges_as_far_as_it_can", no_privileges),
];

fn a_fit_link() -> Result<(), Failed> {
    let network = Network::build(&PLAN)?;
    let before = links(&network.lb)?;
    let report = Report::of(&network.lb, &[])?;
    assert_eq!(links(&network.lb)?, before);
    for link in &network.interfaces {
        report.expect(link, "link", "ok", "up, veth");
        report.expect(link, "native_xdp", "ok", "veth runs the XDP program");
        report.expect(link, "zero_copy", "note", "veth has no zero-copy mode");
        report.expect(link, "queues", "ok", "2 receive and 2 transmit queues");
        report.expect(link, "receive_hash", "note", "");
        assert!(!report.has_worse_than_notes(link), "{}", report.text);
    }
    Ok(())
}

fn an_unfit_link() -> Result<(), Failed> {
    let network = Network::build(&PLAN)?;
    let link = &network.interfaces[0];
    ip(&network.lb, &["link", "set", link, "mtu", "9000"])?;
    ip(&network.client, &["link", "set", "eth0", "mtu", "9000"])?;
    network.lb.set_sysctl(&format!("net/ipv4/conf/{link}/rp_filter"), "1")?;
    let before = links(&network.lb)?;
    let report = Report::of(&network.lb, &[link, "eth9"])?;
    assert_eq!(links(&network.lb)?, before);
    assert_eq!(report.exit_code, Some(1));
    report.expect(link, "mtu", "warning", "9000");
    report.expect(link, "native_xdp", "warning", "MTU");
    let cure = report.expect(link, "rp_filter", "warning", "strictly");
    assert_eq!(cure, [format!("sysctl -w net.ipv4.conf.{link}.rp_filter=2")]);
    report.expect("eth9", "link", "fault", "there is no interface eth9");
    ip(&network.lb, &["link", "set", link, "down"])?;
    let cure = Report::of(&network.lb, &[link])?.expect(link, "link", "fault", "down");
    assert_eq!(cure, [format!("ip link set {link} up")]);
    Ok(())
}

fn another_program() -> Result<(), Failed> {
    let network = Network::build(&PLAN)?;
    let link = &network.interfaces[0];
    let stranger = Stranger::attach(&network.lb, link)?;
    let before = program_on_first_link(&network)?;
    for when in ["idle", "always"] {
        let report = Report::of(&network.lb, &[link, "--probe", when])?;
        report.expect(link, "program", "fault", "another's XDP program");
        report.expect(link, "native_xdp", "note", "not tried: a program is on it");
        assert_eq!((program_on_first_link(&network)?, report.exit_code), (before, Some(1)));
    }
    drop(stranger);
    Ok(())
}

fn a_running_daemon() -> Result<(), Failed> {
    let rig = Rig::serve(PLAN)?;
    let mut crowd = rig.crowd(50)?;
    let config = rig.directory.path().join("lbd.toml");
    let report = Report::of(&rig.network.lb, &["--config", config.to_str().ok_or("a path of text")?])?;
    let process = rig.control.status()?.pid;
    for link in &rig.network.interfaces {
        report.expect(link, "program", "ok", &format!("an lbd (process {process}) serves it"));
        report.expect(link, "native_xdp", "ok", "not tried: an lbd uses it");
    }
    report.expect("", "workers", "ok", "2 workers");
    assert_eq!(crowd.ask_all("unhurt", PATIENCE).len(), 0);
    drop(crowd);
    rig.finish().map(drop)
}

fn no_privileges() -> Result<(), Failed> {
    let network = Network::build(&PLAN)?;
    let link = &network.interfaces[0];
    let report =
        Report::run(unprivileged(network.lb.command(Path::new(LBCTL)).args(["doctor", "-o", "json", link])))?;
    report.expect("", "capabilities", "note", "this process lacks CAP_NET_ADMIN");
    report.expect(link, "native_xdp", "note", "not tried: not allowed");
    report.expect(link, "mtu", "ok", "1500");
    Ok(())
}

/// What `lbctl doctor` said.
struct Report {
    exit_code: Option<i32>,
    text: String,
    findings: Vec<Value>,
}

impl Report {
    fn of(namespace: &Namespace, arguments: &[&str]) -> Result<Report, Failed> {
        Report::run(namespace.command(Path::new(LBCTL)).args(["doctor", "-o", "json"]).args(arguments))
    }

    fn run(command: &mut std::process::Command) -> Result<Report, Failed> {
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let answer: Value = serde_json::from_str(&text)
            .map_err(|error| format!("{error}:\n{text}{}", String::from_utf8_lossy(&output.stderr)))?;
        let findings = answer["findings"].as_array().ok_or("no findings")?.clone();
        Ok(Report { exit_code: output.status.code(), text, findings })
    }

    /// The finding about a topic, of an interface or (empty) the host, is of this severity and says this. Returns its cure.
    fn expect(&self, interface: &str, topic: &str, severity: &str, found: &str) -> Vec<String> {
        let is_it = |finding: &&Value| {
            finding["topic"] == topic && finding["interface"].as_str().unwrap_or_default() == interface
        };
        let finding = self.findings.iter().find(is_it).unwrap_or_else(|| panic!("no {topic}: {}", self.text));
        assert_eq!(finding["severity"], severity, "{finding}");
        assert!(finding["found"].as_str().is_some_and(|text| text.contains(found)), "{finding}");
        let cure = finding["cure"].as_array().expect("a list");
        cure.iter().map(|line| line.as_str().expect("a line").to_owned()).collect()
    }

    fn has_worse_than_notes(&self, interface: &str) -> bool {
        let is_worse = |finding: &Value| finding["severity"] == "warning" || finding["severity"] == "fault";
        self.findings.iter().any(|finding| finding["interface"] == interface && is_worse(finding))
    }
}

/// Every link with all its properties, as `ip` prints them, once those that have just been made are up.
fn links(namespace: &Namespace) -> Result<String, Failed> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = ip(namespace, &["-d", "link"])?;
        if text.lines().filter(|line| line.contains(": lb")).all(|line| line.contains(" state UP ")) {
            return Ok(text);
        }
        if Instant::now() > deadline {
            return Err(format!("links do not come up:\n{text}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn ip(namespace: &Namespace, arguments: &[&str]) -> Result<String, Failed> {
    let output = namespace.command(Path::new("ip")).args(arguments).output()?;
    if !output.status.success() {
        return Err(format!("ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 1, queues: 2, offload: Offload::Off };
