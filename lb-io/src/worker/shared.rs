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
use lb_core::{counters::Counter, datapath::FlowView, tables::Tables};

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
    /// Answer this question.
    Flows(FlowQuery),
}

/// A question for flows.
#[derive(Clone)]
pub(crate) struct FlowQuery {
    /// Most flows in the answer.
    pub(crate) most: usize,
    /// Which flows.
    pub(crate) filter: Arc<dyn Fn(&FlowView) -> bool + Send + Sync>,
    /// Where the answer goes; has room for it.
    pub(crate) answer: Sender<Vec<FlowView>>,
}
