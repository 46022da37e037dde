//! What packets of steady targets' flows notice of others that come and go: `cargo bench --bench churn`.
//!
//! One thread runs bursts of established flows through a packet path without pause, as a busy worker does; another compiles and publishes
//! as the control thread does. By turns, five times for a second each (`-- --seconds N`: once for so long): nothing changes; a hundred targets become unhealthy or healthy again ten
//! times a second each, their flows cut each time; targets are registered and deregistered, a thousand a second. Every packet
//! must find its flow at the target that it has had from the beginning. Latency is that of a burst of 32 packets.

#[path = "../lb-core/tests/support/mod.rs"]
mod support;

use std::{
    collections::{BTreeSet, HashSet},
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, unbounded};
use lb_core::{
    counters::WorkerCounters,
    datapath::{Arrival, Datapath},
    flow_table::FlowArena,
    frame::Frame,
    tables::{Interface, InterfaceId, Mac, NextHop, Ownership, Tables},
    time,
    verdict::{Reason, Verdict},
};
use lb_ctl::{
    compile::{Compiler, Inputs},
    config::{self, Config, Target},
    health::{Cause, TargetHealth},
};
use support::{OUTSIDE, VIP};

fn main() {
    let mut control = Control::new();
    let quiet = control.compile();
    let mut ratios: Vec<(Change, Vec<f64>)> =
        vec![(Change::Flap, Vec::new()), (Change::Register, Vec::new())];
    let (rounds, seconds) = duration();
    for round in 1..=rounds {
        let base = run(&mut control, &quiet, None, seconds);
        base.print(&format!("round {round}, nothing changes"), 0);
        for (change, ratios) in &mut ratios {
            let before = control.publications;
            let times = run(&mut control, &quiet, Some(*change), seconds);
            times.print(&format!("round {round}, {}", change.name()), control.publications - before);
            ratios.push(times.p99.as_secs_f64() / base.p99.as_secs_f64());
        }
    }
    for (change, mut ratios) in ratios {
        ratios.sort_unstable_by(f64::total_cmp);
        let (least, median, most) = (ratios[0], ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
        println!("p99 while {}, to that of nothing: {median:.2} ({least:.2} - {most:.2})", change.name());
    }
}

/// Rounds, and seconds of each of their runs.
fn duration() -> (u32, u32) {
    let seconds = std::env::args().skip_while(|word| word != "--seconds").nth(1);
    seconds.and_then(|seconds| seconds.parse().ok()).map_or((ROUNDS, 1), |seconds| (1, seconds))
}

/// What goes on beside the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Flap,
    Register,
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Change::Flap => "100 targets flap at 10 Hz",
            Change::Register => "1,000 targets a second come or go",
        }
    }
}

/// The control thread's part.
struct Control {
    config: Config,
    compiler: Compiler,
    unhealthy: HashSet<IpAddr>,
    next: u32,
    publications: u32,
}

impl Control {
    fn new() -> Control {
        let steady: Vec<String> = (0..STEADY)
            .map(|n| format!("{{ address = \"{}\" }}", Ipv4Addr::from(FIRST_TARGET + n)))
            .collect();
        let text = format!(
            "interfaces = [\"outside\", \"inside\"]\n\
             [[load_balancers]]\nname = \"edge\"\naddresses = [\"{VIP}\"]\n\
             [[load_balancers.listeners]]\nprotocol = \"TCP\"\nport = 80\ntarget_group = \"web\"\n\
             [[target_groups]]\nname = \"web\"\nprotocol = \"TCP\"\nport = 8080\ntargets = [{}]\n\
             attributes.\"preserve_client_ip.enabled\" = true\n",
            steady.join(", ")
        );
        let config = config::parse(&text, "churn").expect("the configuration is right");
        let mut control = Control {
            config,
            compiler: Compiler::new(),
            unhealthy: HashSet::new(),
            next: 0,
            publications: 0,
        };
        control.all_there();
        control
    }

    /// All targets there and well.
    fn all_there(&mut self) {
        self.unhealthy.clear();
        let targets = &mut self.config.target_groups[0].targets;
        targets.truncate(STEADY as usize);
        let like = targets[0].clone();
        targets.extend((0..OTHERS).map(|n| Target { address: other(n), ..like.clone() }));
    }

    /// A part of a hundredth of a second's changes.
    fn change(&mut self, change: Change) {
        for _ in 0..CHANGES_PER_PUBLICATION {
            let address = other(self.next % OTHERS);
            self.next += 1;
            match change {
                Change::Flap => {
                    if !self.unhealthy.remove(&address) {
                        self.unhealthy.insert(address);
                    }
                }
                Change::Register => {
                    let targets = &mut self.config.target_groups[0].targets;
                    match targets.iter().position(|target| target.address == address) {
                        Some(at) => drop(targets.remove(at)),
                        None => targets.push(Target { address, ..targets[0].clone() }),
                    }
                }
            }
        }
    }

    fn compile(&mut self) -> Arc<Tables> {
        let interface = |name: &str, last| {
            let mac = Mac([2, 0, 0, 0, 0, last]);
            Interface { name: name.into(), mac, mtu: 1_500, receive_hash: None }
        };
        self.publications += 1;
        let inputs = Inputs {
            config: &self.config,
            interfaces: vec![interface("outside", 0xa0), interface("inside", 0xa1)],
            health: &|key| match self.unhealthy.contains(&key.address) {
                true => TargetHealth::Unhealthy(Cause::Refused),
                false => TargetHealth::Healthy,
            },
            next_hop: &|_| Some(NextHop { interface: InterfaceId(1), mac: support::target_mac(0) }),
            hops: Vec::new(),
            ownership: &|_| Ownership::Exclusive,
            host_addresses: &BTreeSet::new(),
            now: time::Instant::from_millis(1_000),
        };
        self.compiler.compile(&inputs).expect("the tables fit")
    }
}

/// Runs packets for a while beside changes.
fn run(control: &mut Control, quiet: &Arc<Tables>, change: Option<Change>, seconds: u32) -> Times {
    control.all_there();
    let first = control.compile();
    let (publish, published) = unbounded();
    let (retire, retired) = unbounded::<Arc<Tables>>();
    let shared = Arc::new(Shared::default());
    let worker = {
        let (shared, quiet) = (shared.clone(), quiet.clone());
        thread::spawn(move || work(&shared, quiet, &published, &retire))
    };
    publish.send(first).expect("the worker runs");
    shared.is_called.store(true, Ordering::Release);
    while !shared.is_ready.load(Ordering::Acquire) && !worker.is_finished() {
        thread::yield_now();
    }
    let begun = Instant::now();
    for step in 1..=seconds * STEPS {
        thread::sleep((INTERVAL * step).saturating_sub(begun.elapsed()));
        while retired.try_recv().is_ok() {}
        let Some(change) = change else { continue };
        control.change(change);
        publish.send(control.compile()).expect("the worker runs");
        shared.is_called.store(true, Ordering::Release);
    }
    shared.is_stopped.store(true, Ordering::Release);
    Times::of(worker.join().expect("the worker does not panic"))
}

#[derive(Default)]
struct Shared {
    is_called: AtomicBool,
    is_ready: AtomicBool,
    is_stopped: AtomicBool,
}

/// How long bursts took.
struct Times {
    count: usize,
    median: Duration,
    p99: Duration,
    longest: Duration,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Times {
        times.sort_unstable();
        let at = |share: f64| times[(times.len() as f64 * share) as usize];
        let longest = times[times.len() - 1];
        Times { count: times.len(), median: at(0.5), p99: at(0.99), longest }
    }

    fn print(&self, what: &str, publications: u32) {
        let Times { count, median, p99, longest } = self;
        println!(
            "{what}: {count} bursts, median {median:?}, p99 {p99:?}, longest {longest:?}; {publications} tables"
        );
    }
}

/// The worker: bursts of packets of random flows of steady targets.
fn work(
    shared: &Shared,
    quiet: Arc<Tables>,
    published: &Receiver<Arc<Tables>>,
    retire: &Sender<Arc<Tables>>,
) -> Vec<Duration> {
    let mut arena = FlowArena::new(2 * FLOWS);
    let mut path = Datapath::new(support::settings(), arena.memory(), quiet, Arc::new(WorkerCounters::new()));
    let steady = open_flows(&mut path);
    shared.is_ready.store(true, Ordering::Release);
    let mut umem = vec![0; BURST * CHUNK];
    let mut times = Vec::with_capacity(1 << 22);
    let started = Instant::now();
    let mut random = 1u64;
    while !shared.is_stopped.load(Ordering::Acquire) {
        let chosen: [&Opened; BURST] = std::array::from_fn(|_| {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            &steady[(random >> 33) as usize % steady.len()]
        });
        let begun = Instant::now();
        if shared.is_called.swap(false, Ordering::AcqRel) {
            while let Ok(tables) = published.try_recv() {
                retire.send(path.install(tables)).expect("the control thread runs");
            }
        }
        let installing = begun.elapsed();
        let now = time::Instant::from_nanos(OPENED_NS + started.elapsed().as_nanos() as u64);
        times.push(installing + burst(&mut path, &mut umem, &chosen, now));
    }
    times
}

/// An established flow of a steady target.
struct Opened {
    packet: Vec<u8>,
    target: Ipv4Addr,
}

/// Opens flows to all targets; those that steady ones got.
fn open_flows(path: &mut Datapath<'_>) -> Vec<Opened> {
    let mut steady = Vec::new();
    for flow in 0..FLOWS {
        let client = (Ipv4Addr::from(0x0a00_0000 + flow), 40_000);
        let open = support::OpenFlow::connect(path, client.into(), (VIP, 80).into(), 0);
        let IpAddr::V4(target) = open.target.ip() else { continue };
        if target.to_bits() < FIRST_TARGET + STEADY {
            steady.push(Opened { packet: open.request(support::ACK).bytes(), target });
        }
    }
    steady
}

/// Processes one burst of packets; how long that takes.
fn burst(path: &mut Datapath<'_>, umem: &mut [u8], flows: &[&Opened; BURST], now: time::Instant) -> Duration {
    let mut frames: Vec<Frame<'_>> = umem
        .chunks_exact_mut(CHUNK)
        .zip(flows)
        .map(|(chunk, flow)| {
            chunk[HEADROOM..][..flow.packet.len()].copy_from_slice(&flow.packet);
            Frame::new(chunk, HEADROOM, HEADROOM + flow.packet.len(), OUTSIDE)
        })
        .collect();
    let mut verdicts = [Verdict::drop(Reason::NoFlow); BURST];
    let begun = Instant::now();
    path.process_burst(&mut frames, Arrival::Ring, now, &mut verdicts);
    path.expire(now);
    let taken = begun.elapsed();
    for ((frame, verdict), flow) in frames.iter().zip(verdicts).zip(flows) {
        assert_eq!(verdict.reason, Reason::FlowHit);
        assert_eq!(frame.bytes()[DESTINATION], flow.target.octets(), "a steady target's flow has moved");
    }
    while path.next_extra().is_some() {}
    taken
}

fn other(n: u32) -> IpAddr {
    Ipv4Addr::from(FIRST_TARGET + STEADY + n).into()
}

/// Time at the worker when all flows are open, in nanoseconds.
const OPENED_NS: u64 = 1_000_000_000;
const ROUNDS: u32 = 5;
/// Publications in a second, and the time between them.
const STEPS: u32 = 100;
const INTERVAL: Duration = Duration::from_millis(10);
const CHANGES_PER_PUBLICATION: u32 = 10;
const FIRST_TARGET: u32 = 0xc613_0001;
const STEADY: u32 = 100;
const OTHERS: u32 = 100;
const FLOWS: u32 = 100_000;
const BURST: usize = 32;
const CHUNK: usize = 2_048;
const HEADROOM: usize = 256;
/// Destination address in a frame.
const DESTINATION: std::ops::Range<usize> = 30..34;
