//! The packet path allocates nothing, whatever comes.

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
};

use lb_core::{
    datapath::{Arrival, Datapath},
    frame::Frame,
    tables::{CutCause, FlowPolicy, InterfaceId},
    time::Instant,
    verdict::{Reason, Verdict},
};
use support::*;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps `GlobalAlloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn process_burst_and_expire_allocate_nothing() {
    for mode in modes() {
        for (has_syn_cookies, has_flow_log) in [(false, false), (true, false), (false, true), (true, true)] {
            let scene = Scene { has_syn_cookies, second_port: Some(81), ..mode.scene.clone() };
            let mut path = leaked_datapath(256, settings(), &scene);
            let corpus = corpus(&mode);
            path.log_flows(NonZeroU32::new(has_flow_log.into()), Instant::from_millis(0));
            for round in 0..4u64 {
                for burst in corpus.chunks(60) {
                    let before = ALLOCATIONS.with(Cell::get);
                    let allocated = allocated_outside(&mut path, burst, round * 20_000);
                    assert_eq!(ALLOCATIONS.with(Cell::get), before + allocated, "{}", mode.name);
                }
                // Every other round cuts a target, whose flows then get resets on both sides.
                let policy =
                    if round % 2 == 0 { FlowPolicy::Cut(CutCause::Unhealthy) } else { FlowPolicy::Keep };
                let targets = vec![(1, true, policy), (2, true, FlowPolicy::Keep)];
                path.install(Scene { generation: round as u32 + 2, targets, ..scene.clone() }.tables());
            }
            let is_cut = path.counters().all_cut() > 0;
            assert!(is_cut || has_syn_cookies || !mode.name.contains("preserved"), "{}", mode.name);
        }
    }
}

/// Processes a burst of frames; the allocations that this function itself made.
fn allocated_outside(path: &mut Datapath<'_>, burst: &[(Vec<u8>, InterfaceId)], now_ms: u64) -> u64 {
    let start = ALLOCATIONS.with(Cell::get);
    let mut buffers: Vec<Vec<u8>> =
        burst.iter().map(|(bytes, _)| [&[0; 64], &bytes[..], &[0; 64]].concat()).collect();
    let mut frames: Vec<Frame<'_>> = buffers
        .iter_mut()
        .zip(burst)
        .map(|(buffer, (bytes, ingress))| Frame::new(buffer, 64, 64 + bytes.len(), *ingress))
        .collect();
    let allocated = ALLOCATIONS.with(Cell::get) - start;
    let mut verdicts = [Verdict::drop(Reason::NoFlow); 60];
    path.process_burst(&mut frames, Arrival::Ring, Instant::from_millis(now_ms), &mut verdicts);
    path.expire(Instant::from_millis(now_ms + 1));
    while path.next_extra().is_some() {}
    path.take_ended().for_each(drop);
    allocated
}

/// New flows until the table is full and beyond, hits, replies, strays, pieces, errors, what is too long or on its last hop, and
/// garbage.
fn corpus(mode: &Mode) -> Vec<(Vec<u8>, InterfaceId)> {
    let source = if mode.scene.target_family == Family::V4 { SOURCE.into() } else { IpAddr::V6(SOURCE6) };
    let mut corpus = Vec::new();
    for port in 10_000..10_300 {
        let client: SocketAddr = (mode.client.ip(), port).into();
        let seen = if mode.name.contains("preserved") { client } else { (source, port).into() };
        let (syn, datagram) = (tcp(client, mode.web(), SYN), udp(client, mode.dns()).payload(&[7; 100]));
        let reply = tcp(mode.scene.target(1), seen, SYN | ACK).macs(target_mac(1), INSIDE_MAC);
        let pieces = cut(&datagram.bytes(), &[40, 80], u32::from(port));
        for packet in [
            syn.clone(),
            reply.clone(),
            tcp(client, mode.web(), ACK),
            tcp(client, (mode.vip, 81), SYN),
            tcp(client, (mode.vip, 443), SYN),
            Crafted { ttl: 1, ..datagram.clone() },
            datagram.clone().payload(&[1; 1_600]),
            udp(mode.scene.target(2), seen).macs(target_mac(2), INSIDE_MAC),
        ] {
            corpus.push((packet.bytes(), ingress_of(&packet)));
        }
        corpus.extend([2, 0, 1].map(|at| (pieces[at].clone(), OUTSIDE)));
        corpus.push((pieces[2].clone(), INSIDE));
        let kind = if source.is_ipv4() { (3, 4) } else { (2, 0) };
        let about = Crafted { source: seen, destination: mode.scene.target(1), ..syn };
        let error = icmp_error(kind, (mode.scene.target(1).ip(), seen.ip()), reply.macs, &about.bytes(), 40);
        corpus.push((error, INSIDE));
        corpus.push((vec![port as u8; usize::from(port) % 70], OUTSIDE));
    }
    corpus
}
