//! Targets that come and go by calls: how soon a change is in effect, and that flows of steady targets do not notice a thousand a
//! second.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use lb_ctl::{
    api::{NewTarget, TargetAddress, TargetChanges},
    client::{Client, ClientError},
};
use lbd::testbed::{
    client::Conversation,
    daemon::is_serving,
    network::{Family, Layout, Offload, Plan},
    sniffer::Sniffer,
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{Config, Registered, Service},
    harness::{PATIENCE, PORTS, Rig, heavy, tcp_vip},
    web::output_of,
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("churn::a_call_is_in_effect_at_once", in_effect_at_once),
    ("churn::a_thousand_changes_a_second_concern_nobody_else", concern_nobody_else),
];

/// A machine that stands still in between says nothing of the load balancer: then the target comes and goes once more.
fn in_effect_at_once() -> Result<(), Failed> {
    let rig = with_steady_targets()?;
    let mut crowds = Vec::new();
    loop {
        let registered = time_to_first_flow(&rig)?;
        crowds.push(rig.crowd(50)?);
        let removed = time_to_last_flow(&rig)?;
        println!(
            "registration: first flow after {} ms; removal: last flow begun after {} ms",
            registered.as_millis(),
            removed.as_millis()
        );
        if registered < REGISTRATION && removed < REMOVAL {
            break;
        }
        assert!(crowds.len() < ATTEMPTS, "never within {REGISTRATION:?} and {REMOVAL:?}");
    }
    for crowd in &mut crowds {
        assert_eq!(crowd.ask_all("still there?", PATIENCE).len(), 0);
    }
    assert_eq!(rig.frames("next_hop_unresolved")?, 0, "no first packet is lost");
    drop(crowds);
    rig.finish().map(drop)
}

/// Registers the newcomer. How long it takes until a flow reaches it.
fn time_to_first_flow(rig: &Rig) -> Result<Duration, Failed> {
    let asked = Instant::now();
    rig.control.change_targets(LINES.name, &registration([at(NEWCOMER, PORTS.tcp)]))?;
    Ok(rig.network.client.within(|| -> io::Result<Duration> {
        while !is_newcomers(&target_of_new_flow()?) {
            assert!(asked.elapsed() < PATIENCE, "no flow reaches the new target");
        }
        Ok(asked.elapsed())
    })?)
}

/// Deregisters the newcomer. How long after that the last flow has begun that reaches it.
fn time_to_last_flow(rig: &Rig) -> Result<Duration, Failed> {
    let asked = Instant::now();
    rig.control.change_targets(LINES.name, &deregistration([at(NEWCOMER, PORTS.tcp)]))?;
    Ok(rig.network.client.within(|| -> io::Result<Duration> {
        let mut last = Duration::ZERO;
        while asked.elapsed() < WATCHED {
            let begun = asked.elapsed();
            if is_newcomers(&target_of_new_flow()?) {
                last = begun;
            }
        }
        Ok(last)
    })?)
}

fn is_newcomers(target: &str) -> bool {
    target == format!("target{NEWCOMER}")
}

/// The name of the target that answers next, in the calling thread's namespace.
fn target_of_new_flow() -> io::Result<String> {
    Ok(Conversation::open(tcp_vip())?.ask("hello")?.target)
}

/// Neither do flows of the targets that come and go: each is still draining when it comes back.
fn concern_nobody_else() -> Result<(), Failed> {
    let _heavy = heavy()?;
    let rig = with_steady_targets()?;
    serve_restless_ports(&rig)?;
    let sniffer = Sniffer::start(&rig.network.client)?;
    let mut steady = rig.crowd(200)?;
    let mut newer = Vec::new();
    let mut rounds = 0_u32;
    let rate = thread::scope(|scope| -> Result<f64, Failed> {
        let churning = scope.spawn(|| churn(&rig.control));
        while !churning.is_finished() {
            let failures = steady.ask_all(&format!("round {rounds}"), PATIENCE);
            assert!(failures.is_empty(), "round {rounds}: {failures:?}");
            newer.push(rig.crowd(5)?);
            rounds += 1;
        }
        Ok(churning.join().map_err(|_| "the calls panicked")??)
    })?;
    println!("{rate:.0} changes in the best second, {rounds} rounds of 200 questions meanwhile");
    assert!(rate >= LEAST_RATE, "never more than {rate:.0} changes a second");
    for crowd in newer.iter_mut().chain([&mut steady]) {
        assert_eq!(crowd.ask_all("after all", PATIENCE).len(), 0);
    }
    assert_eq!(sniffer.resets(), []);
    drop((steady, newer));
    rig.finish().map(drop)
}

/// Every target of the restless ports is registered and deregistered in turn, 10 times a second, and for longer where the machine
/// has come to too few changes in each second so far. Returns how many there were in the best.
fn churn(control: &Client) -> Result<f64, ClientError> {
    let restless: Vec<_> = RESTLESS_PORTS.map(|port| at(NEWCOMER, port)).collect();
    let mut beats = vec![Instant::now()];
    let mut best = 0.0_f64;
    while beats.len() <= BEATS || best < LEAST_RATE && beats.len() <= MOST_BEATS {
        let begun = Instant::now();
        for some in restless.chunks(CALL_TARGETS) {
            let some = some.iter().copied();
            let call = if beats.len() % 2 == 1 { registration(some) } else { deregistration(some) };
            control.change_targets(LINES.name, &call)?;
        }
        thread::sleep(BEAT.saturating_sub(begun.elapsed()));
        beats.push(Instant::now());
        if let Some(first) = beats.len().checked_sub(SECOND_BEATS + 1) {
            let changes = SECOND_BEATS * restless.len();
            best = best.max(changes as f64 / beats[first].elapsed().as_secs_f64());
        }
    }
    Ok(best)
}

/// A daemon whose targets come and go by calls, all but one registered and healthy.
fn with_steady_targets() -> Result<Rig, Failed> {
    let mut rig = Rig::build(PLAN)?;
    rig.start_targets()?;
    rig.launch_daemon(&Config::only(&PLAN, LINES))?;
    let steady = PLAN.numbers().filter(|number| *number != NEWCOMER).map(|number| at(number, PORTS.tcp));
    rig.control.change_targets(LINES.name, &registration(steady))?;
    rig.wait_for("the steady targets healthy", |rows| !rows.is_empty() && rows.iter().all(is_serving))?;
    Ok(rig)
}

/// Has the newcomer's server answer at many ports, each of which is a target.
fn serve_restless_ports(rig: &Rig) -> Result<(), Failed> {
    let (first, last) = (RESTLESS_PORTS.start, RESTLESS_PORTS.end - 1);
    let rules = format!(
        "table inet restless {{\n\
             chain prerouting {{\n\
                 type nat hook prerouting priority dstnat\n\
                 tcp dport {first}-{last} redirect to :{}\n\
             }}\n\
         }}",
        PORTS.tcp
    );
    let newcomer = &rig.network.targets[usize::from(NEWCOMER) - 1];
    output_of(newcomer.command("nft".as_ref()).arg(rules)).map(drop)
}

fn at(number: u8, port: u16) -> TargetAddress {
    TargetAddress { address: Family::V4.target(number), port: Some(port) }
}

fn registration(targets: impl IntoIterator<Item = TargetAddress>) -> TargetChanges {
    let register = targets.into_iter();
    let register =
        register.map(|TargetAddress { address, port }| NewTarget { address, port, weight: None, zone: None });
    TargetChanges { register: register.collect(), ..TargetChanges::default() }
}

fn deregistration(targets: impl IntoIterator<Item = TargetAddress>) -> TargetChanges {
    TargetChanges { deregister: targets.into_iter().collect(), ..TargetChanges::default() }
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 3, queues: 2, offload: Offload::Off };
const LINES: Service = Service { registered: Registered::ByCalls, ..Service::LINES };
/// Number of the target that comes and goes.
const NEWCOMER: u8 = 3;
/// Time that a registration may take until a first flow, for a target that answers its first check.
const REGISTRATION: Duration = Duration::from_secs(1);
/// Time that a removal may take until the last flow.
const REMOVAL: Duration = Duration::from_millis(100);
/// Times that the target comes and goes, at most.
const ATTEMPTS: usize = 10;
/// How long a removed target must not get a flow.
const WATCHED: Duration = Duration::from_secs(1);
const RESTLESS_PORTS: std::ops::Range<u16> = 20_000..20_100;
/// Targets of one call.
const CALL_TARGETS: usize = 20;
const BEAT: Duration = Duration::from_millis(100);
/// Beats at least.
const BEATS: usize = 40;
const MOST_BEATS: usize = 400;
/// Beats of a second.
const SECOND_BEATS: usize = 10;
/// Changes in a second that a busy machine must come to once; 1,000 are asked for.
const LEAST_RATE: f64 = 500.0;
