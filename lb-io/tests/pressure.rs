//! What a worker does with frames while the kernel sends none: it leaves them where they are. The tests play the kernel.

mod support;

use std::{
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use lb_core::{
    counters::WorkerCounters,
    datapath::{MacFilter, Settings},
    tables::{Mac, Protocol},
    verdict::Reason,
};
use lb_io::in_memory::{self, CrewSettings, KernelEnd, Recruit};

use crate::support::{CLIENT, CLIENT_MAC, TARGET, TARGET_MAC, VIP, frame, tables};

#[test]
fn frames_wait_while_the_kernel_sends_none() {
    // Only a short stall is waited for, so a run that something else held up shows nothing.
    let is_shown = (0..ATTEMPTS).any(|_| stall_for_some_turns() < SHORT);
    assert!(is_shown, "no stall of {ATTEMPTS} was short enough");
}

/// Has the kernel receive but not send for some turns, then send; returns how long that took.
fn stall_for_some_turns() -> Duration {
    let recruit = recruit();
    let counters = recruit.counters();
    let (mut received, mut sent) = (Vec::new(), Vec::new());
    let (began, mut stalled, mut turn) = (Instant::now(), Duration::ZERO, 0);
    run(recruit, |client_side, target_side| {
        turn += 1;
        if turn <= STALLED_TURNS + 1 {
            stalled = began.elapsed();
        }
        if turn <= STALLED_TURNS {
            client_side.receive(u32::MAX, |buffer| {
                received.push(FIRST_PORT + received.len() as u16);
                write(buffer, &request(received[received.len() - 1]))
            });
        } else {
            target_side.send(u32::MAX, |frame| sent.push(u16::from_be_bytes([frame[34], frame[35]])));
        }
        if turn < 2 * STALLED_TURNS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    if stalled < SHORT {
        assert_eq!(received.len(), 2 * RING_FRAMES, "as many as the tx ring and the rx ring hold");
        assert_eq!(sent, received, "all, in order");
        assert_eq!(counted(&counters, Reason::TxRingFull), 0);
    }
    stalled
}

#[test]
fn frames_wait_for_a_slow_interface_for_as_long_as_it_takes() {
    let recruit = recruit();
    let counters = recruit.counters();
    let (began, mut received, mut sent) = (Instant::now(), 0, 0);
    run(recruit, |client_side, target_side| {
        let is_over = began.elapsed() >= OVERLOADED;
        if !is_over {
            client_side.receive(u32::MAX, |buffer| {
                received += 1;
                write(buffer, &request(FIRST_PORT + (received % RING_FRAMES) as u16))
            });
        }
        sent += target_side.send(FEW, |_| {});
        let is_done = is_over && sent == received;
        if is_done || began.elapsed() > PATIENCE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((sent, counted(&counters, Reason::TxRingFull)), (received, 0));
}

#[test]
fn an_interface_that_is_stuck_holds_the_others_back_for_a_moment_only() {
    let recruit = recruit();
    let counters = recruit.counters();
    let (began, mut port, mut replies) = (Instant::now(), FIRST_PORT, 0);
    run(recruit, |client_side, target_side| {
        client_side.receive(u32::MAX, |buffer| {
            port = port.wrapping_add(1).max(FIRST_PORT);
            write(buffer, &request(port))
        });
        if counted(&counters, Reason::TxRingFull) > 0 {
            target_side.receive(1, |buffer| write(buffer, &reply(FIRST_PORT + 1)));
        }
        replies += client_side.send(u32::MAX, |_| {});
        let is_over = replies > 0 || began.elapsed() > PATIENCE;
        if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(replies > 0, "what leaves by the other interface is held back");
    assert!(began.elapsed() >= SHORT, "frames are dropped too soon: {:?}", began.elapsed());
}

/// A worker between a client and a target, whose rings have [`RING_FRAMES`] entries.
fn recruit() -> Recruit {
    let datapath = Settings {
        worker: 0,
        workers: 1,
        flow_hash_key: std::array::from_fn(|word| (word as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        selection_secret: [7; 16],
        adopt_until: None,
        ports_per_client: None,
        mac_filter: MacFilter::Own,
    };
    let settings = CrewSettings {
        cpus: vec![in_memory::cores().unwrap()[0]],
        interfaces: 2,
        frames_per_worker: 4 * RING_FRAMES as u32,
        flow_capacity: 65_536,
        datapath,
    };
    in_memory::muster(&settings).unwrap().remove(0)
}

/// Runs the worker with `play` as the kernel of its client's side and its target's side.
fn run(recruit: Recruit, mut play: impl FnMut(&mut KernelEnd, &mut KernelEnd) -> ControlFlow<()>) {
    let tables = tables(1, MACS, Some(TARGET_MAC));
    recruit
        .run(tables, |kernel| match kernel {
            [client_side, target_side] => play(client_side, target_side),
            _ => panic!("there are two interfaces"),
        })
        .unwrap();
}

fn request(port: u16) -> Vec<u8> {
    frame((MACS[0], CLIENT_MAC), Protocol::Udp, (CLIENT, port), (VIP, 80), 0)
}

fn reply(port: u16) -> Vec<u8> {
    frame((MACS[1], TARGET_MAC), Protocol::Udp, (TARGET, 8_080), (CLIENT, port), 0)
}

fn write(buffer: &mut [u8], frame: &[u8]) -> usize {
    buffer[..frame.len()].copy_from_slice(frame);
    frame.len()
}

fn counted(counters: &Arc<WorkerCounters>, reason: Reason) -> u64 {
    counters.reasons[reason as usize].value()
}

const MACS: [Mac; 2] = [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 1, 1])];
const RING_FRAMES: usize = 64;
const FIRST_PORT: u16 = 1_000;
const STALLED_TURNS: u32 = 20;
/// Many times what a worker waits for an interface that sends nothing.
const OVERLOADED: Duration = Duration::from_millis(20);
/// Frames that a slow interface sends in a turn: fewer than a burst.
const FEW: u32 = 7;
/// Surely less than what a worker waits for.
const SHORT: Duration = Duration::from_millis(1);
const ATTEMPTS: u32 = 100;
const PATIENCE: Duration = Duration::from_secs(60);
