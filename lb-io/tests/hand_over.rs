//! Two real workers on rings in ordinary memory: what one receives for the other's flows leaves by the other, whole and once.

#[path = "../../lb-core/tests/support/mod.rs"]
mod support;

use std::{
    ops::ControlFlow,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use lb_core::{
    counters::WorkerCounters,
    verdict::{Action, Reason},
};
use lb_io::in_memory::{self, CrewSettings, KernelEnd, Recruit};
use support::{INSIDE, OUTSIDE, Scene, VIP};

#[test]
fn frames_for_another_worker_arrive_whole_and_are_counted_once() {
    let settings = CrewSettings {
        // They may share a core: this is no measurement.
        cpus: vec![in_memory::cores().unwrap()[0]; WORKERS],
        interfaces: 2,
        frames_per_worker: 1_024,
        flow_capacity: FRAMES as u32,
        datapath: support::settings(),
    };
    let recruits = in_memory::muster(&settings).unwrap();
    let counters: Arc<[_]> = recruits.iter().map(Recruit::counters).collect();
    let deadline = Instant::now() + PATIENCE;
    let threads: Vec<_> = recruits
        .into_iter()
        .enumerate()
        .map(|(worker, recruit)| {
            let (counters, mut numbers) = (counters.clone(), (worker..FRAMES).step_by(WORKERS));
            thread::spawn(move || {
                recruit.run(Scene::default().tables(), |kernel| {
                    play(kernel, &counters, &mut numbers);
                    let is_done = settled(&counters) == FRAMES as u64 || Instant::now() > deadline;
                    if is_done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap().unwrap();
    }
    assert_eq!(count(&counters, Reason::FlowNew), FRAMES as u64);
    let handed_over = count(&counters, Reason::HandedOver) as usize;
    assert!((FRAMES / 3..FRAMES * 2 / 3).contains(&handed_over), "{handed_over} of {FRAMES}");
}

/// Receives frames of the next clients from outside, while few are under way, and looks at those that leave inside.
fn play(
    kernel: &mut [KernelEnd],
    counters: &[Arc<WorkerCounters>],
    numbers: &mut impl ExactSizeIterator<Item = usize>,
) {
    kernel[usize::from(INSIDE.0)].send(u32::MAX, |frame| {
        let seen = support::read(frame);
        assert_eq!(
            (seen.destination.port(), seen.payload),
            (8_080, seen.source.port().to_be_bytes().to_vec())
        );
    });
    let received: u64 = counters.iter().map(|counters| counters.received.value()).sum();
    if received.saturating_sub(settled(counters)) < BURST {
        kernel[usize::from(OUTSIDE.0)].receive((numbers.len() as u64).min(BURST) as u32, |buffer| {
            let port = FIRST_PORT + numbers.next().expect("there are so many") as u16;
            let mut packet = support::udp((support::CLIENT, port), (VIP, 53));
            packet.payload = port.to_be_bytes().to_vec();
            let frame = packet.bytes();
            buffer[..frame.len()].copy_from_slice(&frame);
            frame.len()
        });
    }
}

/// Frames whose fate is final.
fn settled(counters: &[Arc<WorkerCounters>]) -> u64 {
    let is_final = |reason: &&Reason| reason.action() != Action::HandOver;
    Reason::ALL.iter().filter(is_final).map(|&reason| count(counters, reason)).sum()
}

fn count(counters: &[Arc<WorkerCounters>], reason: Reason) -> u64 {
    counters.iter().map(|counters| counters.reasons[reason as usize].value()).sum()
}

const WORKERS: usize = 2;
const FRAMES: usize = 20_000;
const FIRST_PORT: u16 = 20_000;
/// Less than a way between workers holds.
const BURST: u64 = 64;
const PATIENCE: Duration = Duration::from_secs(60);
