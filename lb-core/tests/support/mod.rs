//! Frames, tables and a packet path to put them through, for tests and benches.
#![allow(dead_code, missing_docs, unused_imports)] // Each test binary uses its part.

mod fleet;
mod flow;
mod fragment;
mod icmp;
mod packet;
mod scene;

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use lb_core::{
    counters::WorkerCounters,
    datapath::{Arrival, Datapath, MacFilter, Settings},
    flow_table::{FlowArena, FlowMemory},
    frame::Frame,
    tables::*,
    time::Instant,
    verdict::{Action, Reason, Verdict},
};

pub use fleet::{Delivery, Fleet};
pub use flow::*;
pub use fragment::{cut, join, number, piece};
pub use icmp::{SeenError, fix_icmp_checksum, icmp_error, read_error, with_word};
pub use packet::*;
pub use scene::*;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

/// The load balancer's host, and the broadcast address of its subnet, in which the client is.
pub const HOST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub const BROADCAST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 255);
pub const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
pub const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 100, 1);
pub const SOURCE: Ipv4Addr = Ipv4Addr::new(198, 19, 200, 1);
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 18, 50, 1);
pub const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 1);
pub const SOURCE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x200, 0, 0, 0, 0, 1);
pub const ROUTER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x50, 0, 0, 0, 0, 1);
pub const CLIENT_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xc1]);
pub const OUTSIDE: InterfaceId = InterfaceId(0);
pub const INSIDE: InterfaceId = InterfaceId(1);
pub const OUTSIDE_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xa0]);
pub const INSIDE_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xa1]);

/// Bytes in front of a frame and behind it, as a worker's frames have them in front.
pub const ROOM: usize = 256;

/// IPv4 address of target `n`, from 1.
pub fn target(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 19, n, 2)
}

/// IPv6 address of target `n`.
pub fn target6(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x300, u16::from(n), 0, 0, 0, 2)
}

/// Number of the target with an address of either family.
pub fn number_of(target: SocketAddr) -> u8 {
    match target {
        SocketAddr::V4(v4) => v4.ip().octets()[2],
        SocketAddr::V6(v6) => v6.ip().octets()[7],
    }
}

/// Link address of target `n`.
pub fn target_mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

pub fn settings() -> Settings {
    Settings {
        worker: 0,
        workers: 1,
        flow_hash_key: std::array::from_fn(|i| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        selection_secret: [7; 16],
        adopt_until: None,
        ports_per_client: None,
        mac_filter: MacFilter::Own,
    }
}

pub fn datapath<'m>(memory: FlowMemory<'m>, settings: Settings, scene: &Scene) -> Datapath<'m> {
    Datapath::new(settings, memory, scene.tables(), Arc::new(WorkerCounters::new()))
}

/// A packet path with room for `capacity` flows that lives as long as the test.
pub fn leaked_datapath(capacity: u32, settings: Settings, scene: &Scene) -> Datapath<'static> {
    let arena = Box::leak(Box::new(FlowArena::new(capacity)));
    datapath(arena.memory(), settings, scene)
}

/// Puts one frame through, settles it, and returns its verdict and the bytes that leave, if any. Frames that were kept or made
/// beside are settled, and thrown away.
pub fn send(
    datapath: &mut Datapath<'_>,
    ingress: InterfaceId,
    frame: &[u8],
    now_ms: u64,
) -> (Verdict, Option<Vec<u8>>) {
    let sent = process(datapath, ingress, frame, now_ms);
    take_extras(datapath);
    sent
}

/// The frames that were kept or made, settled, each with its verdict.
pub fn take_extras(datapath: &mut Datapath<'_>) -> Vec<(Verdict, Vec<u8>)> {
    take_extras_with_ingress(datapath).into_iter().map(|(verdict, _, bytes)| (verdict, bytes)).collect()
}

fn take_extras_with_ingress(datapath: &mut Datapath<'_>) -> Vec<(Verdict, InterfaceId, Vec<u8>)> {
    let mut extras = Vec::new();
    while let Some(extra) = datapath.next_extra() {
        extras.push((extra.verdict, extra.ingress, extra.bytes.to_vec()));
    }
    for (verdict, ..) in &extras {
        datapath.counters().settle(verdict.reason);
    }
    extras
}

/// Like [`send`], but leaves the frames that were kept or made to [`take_extras`].
pub fn process(
    datapath: &mut Datapath<'_>,
    ingress: InterfaceId,
    frame: &[u8],
    now_ms: u64,
) -> (Verdict, Option<Vec<u8>>) {
    process_arrived(datapath, ingress, frame, Arrival::Ring, now_ms)
}

fn process_arrived(
    datapath: &mut Datapath<'_>,
    ingress: InterfaceId,
    frame: &[u8],
    arrival: Arrival,
    now_ms: u64,
) -> (Verdict, Option<Vec<u8>>) {
    let mut buffer = [&[0; ROOM], frame, &[0; ROOM]].concat();
    let mut frames = [Frame::new(&mut buffer, ROOM, ROOM + frame.len(), ingress)];
    let mut verdicts = [Verdict::drop(Reason::NoFlow)];
    datapath.process_burst(&mut frames, arrival, Instant::from_millis(now_ms), &mut verdicts);
    datapath.counters().settle(verdicts[0].reason);
    let leaves = matches!(verdicts[0].reason.action(), Action::Transmit | Action::Reply);
    if !leaves {
        assert_eq!(frames[0].bytes(), frame, "a frame that does not leave is not touched");
    }
    (verdicts[0], leaves.then(|| frames[0].bytes().to_vec()))
}

/// Asserts that every frame received or made was settled under exactly one reason.
pub fn assert_books_balance(counters: &WorkerCounters) {
    assert_eq!(books(counters), (0, 0));
}

/// Frames received or made, and frames settled, less the smaller of both.
fn books(counters: &WorkerCounters) -> (u64, u64) {
    let settled: u64 = Reason::ALL
        .iter()
        .filter(|reason| !matches!(reason.action(), Action::HandOver | Action::Hold))
        .map(|&reason| counters.reasons[reason as usize].value())
        .sum();
    let taken = counters.received.value() + counters.made.value();
    (taken - taken.min(settled), settled - taken.min(settled))
}
