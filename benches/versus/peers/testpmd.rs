//! DPDK's testpmd in its mode `io` on AF_XDP sockets of both links: every frame that comes in by one leaves by the other, unseen.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use lbd::testbed::{cleanup::Setting, process::Process};

use super::Running;
use crate::topology::{BALANCER_CPU, CLIENT_CPU, CLIENT_SIDE, Failure, TARGET_SIDE, Topology};

/// Starts it, with huge pages that are given back when it ends. Its main thread sleeps; one thread forwards on the balancer's CPU.
pub fn start(topology: &Topology) -> Result<Running, Failure> {
    let pages = Setting::change("vm/nr_hugepages", HUGE_PAGES)?;
    let program = super::find("dpdk-testpmd").ok_or("it is not installed")?;
    let log = topology.directory.path().join("testpmd.log");
    let mut command = topology.network.lb.command(Path::new(&program));
    command.args(["--in-memory", "--no-pci", "--main-lcore", &CLIENT_CPU.to_string()]);
    command.args(["-l", &format!("{CLIENT_CPU},{BALANCER_CPU}")]);
    for (port, link) in [CLIENT_SIDE, TARGET_SIDE].iter().enumerate() {
        command.args(["--vdev", &format!("net_af_xdp{port},iface={link}")]);
    }
    command.args(["--", "--forward-mode=io", "--auto-start", "--nb-cores=1", "--port-topology=paired"]);
    command.args(["--total-num-mbufs=32768", "--stats-period=1"]);
    let mut process = Process::start(&mut command, &log)?;
    wait_until_it_forwards(&mut process)?;
    let entry = topology.by_wire()?;
    Ok(Running { entry, _process: Some(process), _setting: Some(pages) })
}

fn wait_until_it_forwards(process: &mut Process) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while !process.printed().contains("Port statistics") {
        let printed = process.printed();
        if process.ended()?.is_some() || Instant::now() > deadline {
            return Err(format!("testpmd does not forward: {}", last_words(&printed)).into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The end of what a program printed, which is where it says why it ended.
fn last_words(printed: &str) -> String {
    let lines: Vec<_> = printed.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("; ")
}

const HUGE_PAGES: &str = "256";
const LAST_LINES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(15);
