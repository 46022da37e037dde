//! A packet path with its flows, and the clock that it is measured by: frames are made and verdicts are checked outside it.

use std::{hint::black_box, time::Duration};

use lb_core::{
    datapath::{Arrival, Datapath},
    flow_table::FlowMemory,
    frame::Frame,
    time::Instant,
    verdict::{Reason, Verdict},
};

use crate::{
    frames::{Packet, Slip},
    memory::HugePages,
    support,
    traffic::{Mode, TargetEnd, Traffic},
};

/// A packet path and its traffic.
pub struct Bench<'m> {
    path: Datapath<'m>,
    umem: HugePages,
    /// Of the frames in the UMEM.
    slips: Vec<Slip>,
    /// Flows that the last round opened, as their targets see them.
    pub opened: Vec<(u32, TargetEnd)>,
    /// Who sends what.
    pub traffic: Traffic,
    /// Live flows that the rows are about.
    pub flows: u32,
    /// The live flow whose turn it is to be kept alive.
    now_ns: u64,
}

impl<'m> Bench<'m> {
    /// Without flows yet. `memory` is of [`Bench::memory_bytes`].
    pub fn new(memory: &'m mut HugePages, mode: Mode, flows: u32) -> Bench<'m> {
        let memory = FlowMemory::new(memory.bytes(), capacity(flows)).expect("memory of this size");
        Bench {
            path: support::datapath(memory, support::settings(), &mode.scene()),
            umem: HugePages::new(ROUND * CHUNK),
            slips: Vec::with_capacity(ROUND),
            opened: Vec::with_capacity(ROUND),
            traffic: Traffic::new(mode),
            flows,
            now_ns: 1_000_000_000,
        }
    }

    /// Bytes of the flow table of so many flows.
    pub fn memory_bytes(flows: u32) -> usize {
        FlowMemory::bytes_for(capacity(flows))
    }

    /// Time of `count` packets, or whatever `round` puts through [`ROUND`] of.
    pub fn time(&mut self, count: u64, mut round: impl FnMut(&mut Self) -> Duration) -> Duration {
        let rounds = count.div_ceil(ROUND as u64);
        let taken: Duration = (0..rounds).map(|_| round(self)).sum();
        taken.mul_f64(count as f64 / (rounds * ROUND as u64) as f64)
    }

    /// Puts frames into the UMEM, at most [`ROUND`].
    pub fn fill(&mut self, count: usize, mut make: impl FnMut(&mut Traffic) -> Packet) {
        self.slips.clear();
        for chunk in self.umem.bytes().chunks_exact_mut(CHUNK).take(count) {
            let Packet { head, slip } = make(&mut self.traffic);
            chunk[HEADROOM..][..head.len()].copy_from_slice(&head);
            self.slips.push(slip);
        }
    }

    /// Time of the frames in the UMEM, which come a burst every `step_ns` of the packet path's time; expiry included, if that
    /// passes.
    pub fn process(&mut self, step_ns: u64) -> Duration {
        let mut verdicts = [Verdict::drop(Reason::NoFlow); ROUND];
        let chunks = self.umem.bytes().chunks_exact_mut(CHUNK);
        let mut frames: Vec<Frame<'_>> = chunks
            .zip(&self.slips)
            .map(|(chunk, slip)| Frame::new(chunk, HEADROOM, HEADROOM + slip.length, slip.ingress))
            .collect();
        let start = std::time::Instant::now();
        for (frames, verdicts) in frames.chunks_mut(BURST).zip(verdicts.chunks_mut(BURST)) {
            let now = Instant::from_nanos(self.now_ns);
            self.path.process_burst(frames, Arrival::Ring, now, verdicts);
            black_box(&verdicts);
            if step_ns > 0 {
                self.path.expire(now);
                self.now_ns += step_ns;
            }
        }
        let taken = start.elapsed();
        for (slip, verdict) in self.slips.iter().zip(verdicts) {
            assert_eq!(verdict.reason, slip.expected, "flow {}", slip.flow);
        }
        note_opened(&mut self.opened, &self.slips, &frames);
        taken
    }

    /// Flows in the table.
    pub fn table_len(&self) -> u64 {
        self.path.counters().flows.value()
    }

    /// Half-open flows pushed out so far.
    pub fn evicted(&self) -> u64 {
        self.path.counters().half_open_evicted.value()
    }
}

fn note_opened(opened: &mut Vec<(u32, TargetEnd)>, slips: &[Slip], frames: &[Frame<'_>]) {
    let new = |(slip, _): &(&Slip, &Frame<'_>)| slip.expected == Reason::FlowNew;
    let mut new = slips.iter().zip(frames).filter(new).peekable();
    if new.peek().is_some() {
        opened.clear();
        opened.extend(new.map(|(slip, frame)| (slip.flow, TargetEnd::of(frame.bytes()))));
    }
}

/// Room beyond the live flows: for new ones, and for those that are over and not swept yet.
const fn capacity(flows: u32) -> u32 {
    flows + flows / 4 + 8_192
}

/// Frames made and processed at a time.
pub const ROUND: usize = 32 * BURST;
/// Frames in a burst.
pub const BURST: usize = 32;
const CHUNK: usize = 2_048;
const HEADROOM: usize = 256;
