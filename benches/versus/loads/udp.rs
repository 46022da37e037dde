//! Small UDP frames from the client's link, counted where they reach the targets' link.

use std::{
    sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed},
    thread,
    time::Duration,
};

use lbd::testbed::{namespace::Namespace, network::CLIENT};

use super::{Stage, idle_cpu, join};
use crate::{
    measure::Flows,
    system,
    topology::{CLIENT_CPU, Failure, ReceiveThread, shell},
    udp_programs::{Counter, Frames, Sender},
};

/// Packets forwarded per second when more are offered than can be. The sender has CPU 0, the balancer CPU 1: the kernel's forwarding
/// and the proxies' receive processing run there in a thread. AF_XDP's receive half runs where veth has it, at the sender, for lbd as
/// for testpmd: on one CPU with a thread that polls, it would starve.
pub fn packets_per_second(stage: Stage<'_>, flows: Flows) -> Result<f64, Failure> {
    let thread = if stage.peer.is_af_xdp() { None } else { Some(ReceiveThread::start(stage.topology)?) };
    let rate = while_sending(stage, flows.count(), 0, |counter| {
        if flows == Flows::HundredThousand {
            thread::sleep(ALL_FLOWS_SEEN);
        }
        stage.rate(|| Ok(counter.frames()?))
    });
    drop(thread);
    rate
}

/// CPU time of a packet at a fixed rate, with everything but the sender on CPU 1, whatever it runs in.
pub fn cpu_ns_per_packet(stage: Stage<'_>) -> Result<f64, Failure> {
    let thread = ReceiveThread::start(stage.topology)?;
    let used = while_sending(stage, Flows::Thousand.count(), PACED_INTERVAL_NS, |counter| {
        thread::scope(|scope| {
            let used = scope.spawn(|| idle_cpu::used(stage.time));
            let rate = stage.rate(|| Ok(counter.frames()?))?;
            if rate < 0.9 * 1e9 / PACED_INTERVAL_NS as f64 {
                return Err(format!("only {rate:.0} packets/s arrive").into());
            }
            Ok(join(used)? * 1e9 / rate)
        })
    });
    drop(thread);
    used
}

/// Calls `measure` while frames are sent.
fn while_sending(
    stage: Stage<'_>,
    flows: u32,
    interval_ns: u64,
    measure: impl FnOnce(&Counter) -> Result<f64, Failure>,
) -> Result<f64, Failure> {
    let (client, targets) = (&stage.topology.network.client, stage.topology.targets());
    let arrival = index_of_link(targets)?;
    let counter = targets.within(|| Counter::attach(arrival))?;
    let frames = Frames {
        source: CLIENT,
        destination: stage.entry.addresses[0],
        macs: [stage.entry.mac, CLIENT_MAC],
        flows,
        interval_ns,
    };
    let departure = index_of_link(client)?;
    let (stopping, sender) = (AtomicBool::new(false), AtomicI32::new(0));
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            client.within(|| {
                sender.store(system::own_task(), Relaxed);
                system::pin(0, &[CLIENT_CPU])?;
                Sender::load(&frames, departure)?.run(&stopping)?;
                Ok::<_, Failure>(())
            })
        });
        let measured = measure(&counter);
        stopping.store(true, Relaxed);
        // Again and again: a signal that comes just before the system call does not end it. It fails only for a thread that has not
        // begun, or has ended.
        while !sending.is_finished() {
            drop(system::interrupt(sender.load(Relaxed)));
            thread::sleep(Duration::from_millis(5));
        }
        join(sending)?;
        // What is still on its way must meet the counter, too: nobody else expects it.
        thread::sleep(ON_THEIR_WAY);
        measured
    })
}

/// The index of a host's only link.
fn index_of_link(host: &Namespace) -> Result<u32, Failure> {
    Ok(shell(host, "cat /sys/class/net/eth0/ifindex")?.trim().parse()?)
}

/// Any but the receiver's own: nobody answers to it.
const CLIENT_MAC: [u8; 6] = [0x02, 0x1b, 0, 0, 0, 0xff];
/// 100,000 packets/s.
const PACED_INTERVAL_NS: u64 = 10_000;
/// For a first packet of each of 100,000 flows, most of which are lost at first.
const ALL_FLOWS_SEEN: Duration = Duration::from_millis(700);
const ON_THEIR_WAY: Duration = Duration::from_millis(50);
