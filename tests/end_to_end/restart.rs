//! A crash of the daemon is silence and retransmission, never a reset.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use lbd::testbed::{
    daemon::is_serving,
    network::{CLIENT, Layout, Offload, Plan, VIP},
    sniffer::{Reset, Sniffer},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::Config,
    harness::{PATIENCE, Rig, heavy, wait_until},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("restart::connections_survive_kill_9", || survives(Plan { layout: Layout::Direct, ..PLAN })),
    ("restart::connections_survive_kill_9_one_armed_two_workers", || {
        survives(Plan { layout: Layout::OneArmed, queues: 2, ..PLAN })
    }),
    ("restart::what_a_power_cut_took_is_put_back", puts_back),
    ("restart::an_interface_made_anew_is_served_again", serves_again),
];

fn survives(plan: Plan) -> Result<(), Failed> {
    let _heavy = heavy()?;
    let mut rig = Rig::serve(plan)?;
    let mut sniffers = vec![Sniffer::start(&rig.network.client)?];
    for target in &rig.network.targets {
        sniffers.push(Sniffer::start(target)?);
    }
    let mut crowd = rig.crowd(CONNECTIONS)?;

    let killed = Instant::now();
    rig.daemon.take().ok_or("no daemon was started")?.kill()?;
    // Said into the silence: these lines are what the kernel retransmits.
    let failures = crowd.ask_all("while it is dead", SILENCE);
    assert_eq!(failures.len(), CONNECTIONS, "something forwarded although lbd was dead");
    rig.start_daemon(&Config::of(&plan))?;
    // Retransmission backs off: the next may be as far away as the first was long ago.
    let outage = killed.elapsed();
    let failures = crowd.ask_all("after the restart", outage + PATIENCE);
    assert!(failures.len() <= CONNECTIONS / 1000, "{} broke, the first: {:?}", failures.len(), failures[0]);
    let resets: Vec<_> = sniffers.iter().flat_map(Sniffer::resets).filter(concerns_clients).collect();
    assert_eq!(resets, []);
    drop(crowd);
    rig.finish().map(drop)
}

/// After a power cut, the marker of the run is all there is: no address, no program, and a state file cut short.
fn puts_back() -> Result<(), Failed> {
    let mut rig = Rig::serve(PLAN)?;
    rig.daemon.take().ok_or("no daemon was started")?.kill()?;
    let take = format!(
        "ip address del {VIP}/32 dev lb0 && for link in {}; do ip link set $link xdp off; done",
        rig.network.interfaces.join(" ")
    );
    run(rig.network.lb.command(Path::new("sh")).arg("-c").arg(take))?;
    fs::write(rig.directory.path().join("state/health.json"), "")?;

    rig.start_daemon(&Config::of(&PLAN))?;
    assert!(rig.network.lb_has(VIP));
    rig.crowd(30)?;
    rig.finish().map(drop)
}

/// As a driver's reset or a hot plug does it: the link goes, and comes back under another number.
fn serves_again() -> Result<(), Failed> {
    let mut rig = Rig::serve(Plan { targets: 2, ..PLAN })?;
    let (lb, target) = (rig.network.lb.name().to_owned(), rig.network.targets[1].name().to_owned());
    let again = format!(
        "ip -n {lb} link del lb2 && sleep 1.5 && \
         ip -n {lb} link add lb2 type veth peer name eth0 netns {target} && \
         ip -n {lb} address add 198.19.2.1/24 dev lb2 && ip -n {target} address add 198.19.2.2/24 dev eth0 && \
         ip -n {lb} link set lb2 up && ip -n {target} link set eth0 up && \
         ip -n {target} route add default via 198.19.2.1"
    );
    let steady = rig.crowd(20)?;
    run(Command::new("sh").arg("-c").arg(again))?;

    wait_until("lbd comes back to the interface", || Ok(rig.network.xdp_program("lb2")?.is_some()))?;
    rig.wait_for("all targets healthy", |targets| targets.iter().all(is_serving))?;
    let crowd = rig.crowd(100)?;
    assert!(rig.shares(&crowd).iter().all(|&share| share > 10));
    let mut steady = steady;
    steady.retain(|member| member.target == "target1");
    let failures = steady.ask_all("all the while on the other link", PATIENCE);
    assert!(failures.is_empty(), "{failures:?}");
    rig.finish().map(drop)
}

fn run(command: &mut Command) -> Result<(), Failed> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Health checks may end in a reset between the load balancer and a target; the client's traffic must not.
fn concerns_clients(reset: &Reset) -> bool {
    [reset.from.ip(), reset.to.ip()].iter().any(|address| *address == CLIENT || *address == VIP)
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 3, queues: 1, offload: Offload::Off };
const CONNECTIONS: usize = 1000;
/// How long nobody answers, beyond the time of the restart itself.
const SILENCE: Duration = Duration::from_secs(1);
