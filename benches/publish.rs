//! What a change of one target's health costs, and what packets notice of it: `cargo bench --bench publish`.
//!
//! One thread runs bursts of established flows through a packet path without pause, as a busy worker does. Another is the control
//! thread: 100 times a second one target becomes unhealthy or healthy again, it compiles and publishes. What is said:
//! how long after the control thread knows the worker goes by it; and how long bursts take, those before which tables were
//! installed apart from the others. On a machine with fewer than two idle cores, the longest times are the scheduler's: the run
//! without any publication shows them, too.

#[path = "large/control.rs"]
mod control;
mod large;
#[path = "../lb-core/tests/support/mod.rs"]
mod support;

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use control::Control;
use crossbeam_channel::{Receiver, Sender, unbounded};
use lb_core::{
    counters::WorkerCounters,
    datapath::{Arrival, Datapath, Settings},
    flow_table::FlowArena,
    frame::Frame,
    tables::Tables,
    time,
    verdict::{Reason, Verdict},
};
use support::{ACK, OUTSIDE};

fn main() {
    for listeners in [1, 10, 100, 1_000] {
        let mut control = Control::new(listeners);
        let begun = Instant::now();
        let first = control.compile();
        println!("{listeners:>5} listeners: first tables compiled in {:?}", begun.elapsed());
        for changes in [0, CHANGES] {
            let (bursts, effective) = run(&mut control, &first, listeners, changes);
            let name = |what: &str| format!("{listeners:>5} listeners, {changes} changes: {what}");
            print_times(&name("bursts without installation"), bursts.without);
            if changes > 0 {
                print_times(&name("bursts with installation"), bursts.with);
                print_times(&name("change in force after"), effective);
            }
        }
    }
}

/// Runs packets for as long as `changes` publications take, or a fixed time when there are none.
fn run(control: &mut Control, first: &Arc<Tables>, listeners: u32, changes: u32) -> (Bursts, Vec<Duration>) {
    let (publish, published) = unbounded();
    let (retire, retired) = unbounded::<Arc<Tables>>();
    let shared = Arc::new(Shared::default());
    let worker = {
        let (shared, tables) = (shared.clone(), first.clone());
        thread::spawn(move || work(&shared, tables, &published, &retire, listeners))
    };
    while shared.generation.load(Ordering::Acquire) == 0 && !worker.is_finished() {
        thread::yield_now();
    }
    let mut effective = Vec::new();
    let begun = Instant::now();
    for change in 1..=changes.max(CHANGES) {
        thread::sleep((INTERVAL * change).saturating_sub(begun.elapsed()));
        while retired.try_recv().is_ok() {}
        if changes == 0 {
            continue;
        }
        control.toggle();
        let known = Instant::now();
        let tables = control.compile();
        let generation = tables.generation();
        publish.send(tables.clone()).expect("the worker runs");
        shared.is_called.store(true, Ordering::Release);
        while shared.generation.load(Ordering::Acquire) != generation && !worker.is_finished() {
            std::hint::spin_loop();
        }
        effective.push(known.elapsed());
        assert!(tables.are_steered_like(first), "health does not change what is ours");
    }
    shared.is_stopped.store(true, Ordering::Release);
    (worker.join().expect("the worker does not panic"), effective)
}

#[derive(Default)]
struct Shared {
    is_called: AtomicBool,
    is_stopped: AtomicBool,
    generation: AtomicU32,
}

/// Times of bursts: those before which tables were installed, that included, and the others.
#[derive(Default)]
struct Bursts {
    with: Vec<Duration>,
    without: Vec<Duration>,
}

/// The worker: bursts of packets of random flows over all listeners, for ever.
fn work(
    shared: &Shared,
    tables: Arc<Tables>,
    published: &Receiver<Arc<Tables>>,
    retire: &Sender<Arc<Tables>>,
    listeners: u32,
) -> Bursts {
    let mut arena = FlowArena::new(2 * FLOWS);
    let settings = Settings { adopt_until: Some(time::Instant::from_millis(1 << 40)), ..support::settings() };
    let mut path = Datapath::new(settings, arena.memory(), tables, Arc::new(WorkerCounters::new()));
    let mut umem = vec![0; BURST * CHUNK];
    let packets = packets(listeners);
    let mut next_flow = 0;
    while next_flow < FLOWS {
        burst(&mut path, &mut umem, &packets, || {
            next_flow += 1;
            next_flow - 1
        });
    }
    shared.generation.store(path.tables().generation(), Ordering::Release);
    let mut bursts = Bursts { with: Vec::new(), without: Vec::with_capacity(1 << 22) };
    let mut random = 1u64;
    while !shared.is_stopped.load(Ordering::Acquire) {
        let mut installing = Duration::ZERO;
        if shared.is_called.swap(false, Ordering::AcqRel) {
            let begun = Instant::now();
            while let Ok(tables) = published.try_recv() {
                let generation = tables.generation();
                retire.send(path.install(tables)).expect("the control thread runs");
                shared.generation.store(generation, Ordering::Release);
            }
            installing = begun.elapsed();
        }
        let taken = burst(&mut path, &mut umem, &packets, || {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (random >> 33) as u32 % FLOWS
        });
        match installing {
            Duration::ZERO => bursts.without.push(taken),
            _ => bursts.with.push(installing + taken),
        }
    }
    bursts
}

/// Processes one burst of packets of the flows that `next` names; how long that takes.
fn burst(
    path: &mut Datapath<'_>,
    umem: &mut [u8],
    packets: &[Vec<u8>],
    mut next: impl FnMut() -> u32,
) -> Duration {
    let mut frames: Vec<Frame<'_>> = umem
        .chunks_exact_mut(CHUNK)
        .map(|chunk| {
            let packet = &packets[next() as usize];
            chunk[HEADROOM..][..packet.len()].copy_from_slice(packet);
            Frame::new(chunk, HEADROOM, HEADROOM + packet.len(), OUTSIDE)
        })
        .collect();
    let mut verdicts = [Verdict::drop(Reason::NoFlow); BURST];
    let begun = Instant::now();
    path.process_burst(&mut frames, Arrival::Ring, time::Instant::from_millis(1_000), &mut verdicts);
    let taken = begun.elapsed();
    let is_sent = |verdict: &Verdict| matches!(verdict.reason, Reason::FlowHit | Reason::FlowAdopted);
    assert!(verdicts.iter().all(is_sent), "{verdicts:?}");
    taken
}

/// A packet of each flow.
fn packets(listeners: u32) -> Vec<Vec<u8>> {
    let packet = |flow: u32| {
        let listener = flow % listeners;
        let vip = (large::vip(listener / large::LISTENERS_EACH), large::port(listener));
        support::tcp((Ipv4Addr::from(0x0a00_0000 + flow), 40_000), vip, ACK).bytes()
    };
    (0..FLOWS).map(packet).collect()
}

fn print_times(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at =
        |share: f64| times.get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1)));
    let [median, p99, p9999, longest] =
        [0.5, 0.99, 0.9999, 1.0].map(|share| at(share).copied().unwrap_or_default());
    println!(
        "{what}: {} times, median {median:?}, p99 {p99:?}, p99.99 {p9999:?}, longest {longest:?}",
        times.len()
    );
}

/// Publications of a run.
const CHANGES: u32 = 300;
const INTERVAL: Duration = Duration::from_millis(10);
const FLOWS: u32 = 100_000;
const BURST: usize = 32;
const CHUNK: usize = 2_048;
const HEADROOM: usize = 256;
