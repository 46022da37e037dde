//! What a worker shares with the engine and the other workers, and what the engine asks of it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{
            AtomicU32,
            Ordering::{Acquire, Release},
        },
    },
};

use crossbeam_channel::Sender;
use crossbeam_utils::CachePadded;
use lb_core::{
    counters::Counter,
    datapath::{FlowView, Why},
    flow_key::FlowKey,
    tables::Tables,
    time::Instant,
};

use super::{flow_log::FlowLogSink, trace::Tracer};
use crate::{bell::Bell, sys::Wakeup};

/// What a worker shares with the engine and the other workers.
#[derive(Debug)]
pub(crate) struct Shared {
    /// What is wanted of the worker, and whether it sleeps: read by others in every turn, so apart from what changes in every turn.
    pub(super) bell: CachePadded<Bell>,
    /// Ends its sleep.
    pub(super) wakeup: Wakeup,
    /// Generation of the tables in use.
    generation: AtomicU32,
    /// Turns taken.
    pub(crate) turns: Counter,
    /// Time in turns that moved frames, in nanoseconds.
    pub(crate) busy_ns: Counter,
    /// Time in turns that moved none, in nanoseconds.
    pub(crate) idle_ns: Counter,
}

impl Shared {
    /// Of a worker that has not begun.
    pub(crate) fn new() -> io::Result<Shared> {
        Ok(Shared {
            bell: CachePadded::new(Bell::new()),
            wakeup: Wakeup::new()?,
            generation: AtomicU32::new(0),
            turns: Counter::default(),
            busy_ns: Counter::default(),
            idle_ns: Counter::default(),
        })
    }

    /// Has the worker look at its commands.
    pub(crate) fn call(&self) {
        self.bell.call(|| self.wakeup.wake());
    }

    /// Has the worker end after its turn.
    pub(crate) fn stop(&self) {
        self.bell.stop(|| self.wakeup.wake());
    }

    /// Wakes the worker if it sleeps: whatever was done for it before this call, it sees after.
    pub(crate) fn wake(&self) {
        self.bell.ring(|| self.wakeup.wake());
    }

    /// Generation of the tables in use, 0 before the first.
    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Acquire)
    }

    /// Says that the tables of this generation are in use.
    pub(super) fn apply_generation(&self, generation: u32) {
        self.generation.store(generation, Release);
    }
}

/// What the engine asks of a worker.
pub(crate) enum Command {
    /// Use these tables from the next burst on.
    Install(Arc<Tables>),
    /// Tell of flows that end from now on, or nobody.
    LogFlows(Option<FlowLogSink>),
    /// Find flows.
    Flows(FlowQuery, Asker<FlowsFound>),
    /// Say why packets with a key fare as they do.
    Why(FlowKey, Asker<Why>),
    /// Note what becomes of frames.
    Trace(Tracer),
}

/// Who waits for an answer.
pub(crate) struct Asker<T> {
    /// Where the answer goes; has room for it.
    pub(crate) answer: Sender<T>,
    /// Nobody waits any longer from then on.
    pub(crate) until: Instant,
}

/// Which flows to find.
#[derive(Clone)]
pub struct FlowQuery {
    /// Most flows in a worker's answer, and whether those beyond are counted.
    pub extent: Extent,
    /// Which flows. Called by workers between bursts, for each of their flows: must be quick.
    pub filter: Arc<dyn Fn(&FlowView) -> bool + Send + Sync>,
}

/// How much is wanted of the flows that pass a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// At most so many flows of each worker.
    Some(usize),
    /// The number of all.
    Count,
}

/// What a worker found.
#[derive(Clone, Debug, Default)]
pub struct FlowsFound {
    /// Flows that pass; none where only their number is wanted.
    pub flows: Vec<FlowView>,
    /// How many passed of those looked at.
    pub count: u64,
    /// Whether all were looked at.
    pub is_complete: bool,
}

impl FlowsFound {
    /// Whether more is wanted.
    pub(super) fn has_room(&self, extent: Extent) -> bool {
        match extent {
            Extent::Some(most) => self.flows.len() < most,
            Extent::Count => true,
        }
    }

    pub(super) fn add(&mut self, flow: FlowView, extent: Extent) {
        self.count += 1;
        if extent != Extent::Count {
            self.flows.push(flow);
        }
    }
}
