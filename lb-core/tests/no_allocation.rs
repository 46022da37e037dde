//! The packet path allocates nothing, whatever comes.

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use lb_core::{
    datapath::Arrival,
    frame::Frame,
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
    let mut path = leaked_datapath(256, settings(), &Scene::default());
    // New flows until the table is full and beyond, hits, replies, strays, garbage.
    let mut corpus: Vec<Vec<u8>> = Vec::new();
    for port in 10_000..10_600 {
        corpus.push(tcp((CLIENT, port), (VIP, 80), SYN).bytes());
        corpus.push(udp((CLIENT, port), (VIP, 53)).bytes());
        corpus.push(tcp((CLIENT, port), (VIP, 80), ACK).bytes());
        corpus.push(tcp((target(1), 8080), (CLIENT, port), ACK).bytes());
        corpus.push(tcp((CLIENT, port), (VIP, 443), SYN).bytes());
        corpus.push(vec![port as u8; usize::from(port) % 70]);
    }
    let mut verdicts = [Verdict::drop(Reason::NoFlow); 60];
    for round in 0..20u64 {
        for burst in corpus.chunks_mut(60) {
            let mut frames: Vec<Frame<'_>> = burst
                .iter_mut()
                .map(|bytes| {
                    let end = bytes.len();
                    Frame::new(bytes, 0, end, OUTSIDE)
                })
                .collect();
            let before = ALLOCATIONS.with(Cell::get);
            path.process_burst(
                &mut frames,
                Arrival::Ring,
                Instant::from_millis(round * 9_000),
                &mut verdicts,
            );
            path.expire(Instant::from_millis(round * 9_000 + 1));
            assert_eq!(ALLOCATIONS.with(Cell::get), before);
        }
    }
}
