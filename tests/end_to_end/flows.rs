//! `flows`: filters find what is there, and a worker that is stuck holds nobody up.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use lb_ctl::api::{FlowList, FlowsQuery};
use lbd::testbed::{
    client::Flows,
    network::{Layout, Offload, Plan, target_address},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    harness::{PATIENCE, PORTS, Rig, tcp_vip, udp_vip},
    stopped_thread::StoppedThread,
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("flows::filters_find_what_is_there", filters_find_what_is_there),
    ("flows::a_worker_that_is_stuck_holds_nobody_up", stuck_worker),
];

fn filters_find_what_is_there() -> Result<(), Failed> {
    let rig = Rig::serve(PLAN)?;
    let crowd = rig.crowd(TCP_FLOWS)?;
    let datagrams = Flows::open(&rig.network.client, udp_vip(), UDP_FLOWS)?;
    datagrams.ask_all("hello")?;
    let find = |query: FlowsQuery| answered_by_all(&rig, &query);
    let one = |list: FlowList| (list.flows.len(), list.count, list.is_complete, list.silent_workers);

    let all = find(FlowsQuery { limit: Some(1_000), ..FlowsQuery::default() })?;
    assert_eq!(one(all.clone()), (TCP_FLOWS + UDP_FLOWS, (TCP_FLOWS + UDP_FLOWS) as u64, true, vec![]));
    let counted = |query: FlowsQuery| -> Result<u64, Failed> {
        let list = find(FlowsQuery { count: true, ..query })?;
        assert_eq!((list.flows.len(), list.is_complete), (0, true));
        Ok(list.count)
    };
    let every = FlowsQuery::default();
    for (filter, expected) in [
        (FlowsQuery { protocol: "tcp".parse().ok(), ..every.clone() }, TCP_FLOWS),
        (FlowsQuery { state: "established".parse().ok(), ..every.clone() }, TCP_FLOWS),
        (FlowsQuery { vip: udp_vip().to_string().parse().ok(), ..every.clone() }, UDP_FLOWS),
        (FlowsQuery { vip: tcp_vip().ip().to_string().parse().ok(), ..every.clone() }, TCP_FLOWS + UDP_FLOWS),
        (FlowsQuery { client: "198.18.0.0/24".parse().ok(), ..every.clone() }, TCP_FLOWS + UDP_FLOWS),
        (FlowsQuery { client: "198.18.1.0/24".parse().ok(), ..every.clone() }, 0),
        (FlowsQuery { state: "half_open".parse().ok(), ..every.clone() }, 0),
    ] {
        assert_eq!(counted(filter.clone())?, expected as u64, "{filter:?}");
    }
    for (share, number) in rig.shares(&crowd).into_iter().zip(1..) {
        let target = SocketAddr::from((target_address(number), PORTS.tcp)).to_string().parse().ok();
        assert_eq!(counted(FlowsQuery { target, ..every.clone() })?, share as u64, "target {number}");
    }
    let of_workers = [0, 1].map(|worker| counted(FlowsQuery { worker: Some(worker), ..every.clone() }));
    let [first, second] = of_workers;
    assert_eq!(first? + second?, all.count);

    let member = &crowd.members()[0];
    let client = member.local().to_string().parse().ok();
    let found = find(FlowsQuery { client, protocol: "tcp".parse().ok(), ..every.clone() })?;
    let [flow] = &found.flows[..] else { return Err(format!("not one flow: {found:?}").into()) };
    assert_eq!((flow.client, flow.listener), (member.local(), tcp_vip()));
    assert_eq!(
        format!("target{}", flow.target.to_string().split('.').nth(2).unwrap_or_default()),
        member.target
    );

    let few = find(FlowsQuery { limit: Some(5), ..every })?;
    assert_eq!((few.flows.len(), few.is_complete), (5, false));
    drop(crowd);
    rig.finish().map(drop)
}

/// The answer to a question, once it is that of all workers: one that the machine kept from running is silent.
fn answered_by_all(rig: &Rig, query: &FlowsQuery) -> Result<FlowList, Failed> {
    let mut list = rig.control.flows(query)?;
    let deadline = Instant::now() + PATIENCE;
    while !list.silent_workers.is_empty() && Instant::now() < deadline {
        list = rig.control.flows(query)?;
    }
    Ok(list)
}

fn stuck_worker() -> Result<(), Failed> {
    let rig = Rig::serve(PLAN)?;
    let crowd = rig.crowd(STUCK_FLOWS)?;
    let worker = StoppedThread::of(&rig, "worker 0")?;
    let begun = Instant::now();
    let (mut list, mut answers) = ask_meanwhile(&rig)?;
    assert!(begun.elapsed() > Duration::from_secs(2), "nobody was stuck");
    // A machine that stands still in between keeps everybody from an answer.
    for _ in 1..ATTEMPTS {
        if list.silent_workers == [0] && answers >= MEANWHILE_LEAST {
            break;
        }
        (list, answers) = ask_meanwhile(&rig)?;
    }
    assert_eq!(list.silent_workers, [0]);
    assert!(
        answers >= MEANWHILE_LEAST,
        "the control thread waits for the worker: {answers} answers meanwhile"
    );
    assert!(list.flows.iter().all(|flow| flow.worker == 1) && list.flows.len() < STUCK_FLOWS);
    drop(worker);
    let list = answered_by_all(&rig, &FlowsQuery::default())?;
    assert_eq!((list.flows.len(), list.silent_workers), (STUCK_FLOWS, vec![]));
    drop(crowd);
    rig.finish().map(drop)
}

/// The flows, and how many other questions were answered while the workers were asked for them.
fn ask_meanwhile(rig: &Rig) -> Result<(FlowList, usize), Failed> {
    let control = rig.control.clone();
    let asking = std::thread::spawn(move || control.flows(&FlowsQuery::default()));
    let mut answers = 0;
    while !asking.is_finished() {
        rig.control.stats()?;
        answers += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok((asking.join().map_err(|_| "the thread that asked has panicked")??, answers))
}

const PLAN: Plan = Plan { layout: Layout::Switched, targets: 3, queues: 2, offload: Offload::Off };
/// Enough that the worker that is stuck has one.
const STUCK_FLOWS: usize = 50;
/// A control thread that waits for the worker answers once or twice.
const MEANWHILE_LEAST: usize = 10;
const ATTEMPTS: usize = 5;
const TCP_FLOWS: usize = 120;
const UDP_FLOWS: usize = 30;
