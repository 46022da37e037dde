//! The flow log: a record for each flow that is over, as a line of JSON in a file. Workers tell of flows by a bounded channel and wait
//! for nobody; a thread here names them, writes them and rotates the file. What cannot be written is counted and lost, and the
//! daemon goes on.

mod file;
mod names;
mod record;
mod writer;

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use lb_core::{flow_log::EndedFlow, tables::Tables, time::Instant};

pub use self::file::LogFile;
use self::{
    names::Names,
    writer::{Order, Writer},
};
use crate::config;

/// A flow log that is on.
#[derive(Debug)]
pub struct FlowLog {
    flows: Sender<EndedFlow>,
    orders: Sender<Order>,
    names: Arc<Mutex<Names>>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

/// What has become of records, over all flow logs of a run.
#[derive(Debug, Default)]
pub struct Outcomes {
    written: AtomicU64,
    lost: AtomicU64,
    trouble: Mutex<Option<String>>,
}

/// What the thread is given of the world.
pub struct Surroundings {
    /// Where records are counted.
    pub outcomes: Arc<Outcomes>,
    /// The clock of the workers.
    pub clock: fn() -> Instant,
    /// Is told when records begin to be lost, and when they are written again.
    pub tell: Box<dyn Fn(Fate) + Send>,
}

/// What becomes of records from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They cannot be written, and are lost.
    Lost {
        /// Why, with the file's name.
        error: String,
    },
    /// They are written again.
    Written,
}

impl FlowLog {
    /// Starts the thread. Without a file it tries to open one when there are records.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        settings: &config::FlowLog,
        file: Option<LogFile>,
        surroundings: Surroundings,
    ) -> io::Result<FlowLog> {
        let (flows, told) = bounded(settings.queue_records);
        let (orders, ordered) = unbounded();
        let (running, ended) = bounded(0);
        let names = Arc::new(Mutex::new(Names::default()));
        let writer = Writer::new(settings.clone(), file, names.clone(), surroundings);
        std::thread::Builder::new().name("flow log".into()).spawn(move || {
            writer.run(&told, ordered);
            drop(running);
        })?;
        Ok(FlowLog { flows, orders, names, ended })
    }

    /// Where workers tell of flows.
    pub fn flows(&self) -> Sender<EndedFlow> {
        self.flows.clone()
    }

    /// Flows that can wait for the thread.
    pub fn queue_records(&self) -> Option<usize> {
        self.flows.capacity()
    }

    /// Notes who there is, before workers go by these tables. Former ones are still named.
    pub fn note(&self, tables: &Tables) {
        unpoisoned(&self.names).note(tables);
    }

    /// Goes on with other settings but for the queue's length, and a file opened for them.
    pub fn change(&self, settings: &config::FlowLog, file: LogFile) {
        // The thread ends after this handle.
        let _ = self.orders.send(Order { settings: settings.clone(), file });
    }

    /// Waits, but not for long, until all is written, once no worker tells of flows any more.
    pub fn finish(self) {
        let FlowLog { flows, orders, ended, .. } = self;
        drop((flows, orders));
        let _ = ended.recv_timeout(PATIENCE); // A disk that hangs must not keep the daemon from its end.
    }
}

impl Outcomes {
    /// Records that were written.
    pub fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Records that could not be written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Why records cannot be written, while they cannot.
    pub fn trouble(&self) -> Option<String> {
        unpoisoned(&self.trouble).clone()
    }
}

/// What a lock guards is whole between any two statements here.
fn unpoisoned<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long the end of the daemon waits for the file.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
