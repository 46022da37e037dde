//! Starts and stops everything of the data path: locks, programs, sockets, workers.

use std::{path::PathBuf, sync::Arc};

use lb_core::{
    counters::WorkerCounters,
    datapath::FlowView,
    steer::Steering,
    tables::{Interface, Tables},
    time::Instant,
};

/// How the data path is set up.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Names of interfaces; the place in this list is the `InterfaceId`.
    pub interfaces: Vec<String>,
    /// Number of workers; `None` for one per queue that every interface has, at most one per core.
    pub workers: Option<u8>,
    /// Core of each worker; empty for the first ones that this process may use.
    pub cpus: Vec<usize>,
    /// What a worker does while there is no traffic.
    pub polling: Polling,
    /// UMEM frames of each worker, a power of two.
    pub frames_per_worker: u32,
    /// Flows that all workers together can hold; split evenly.
    pub flow_capacity: u32,
    /// Key of the flow tables' hash.
    pub flow_hash_key: [u64; 16],
    /// Secret of target selection.
    pub selection_secret: [u8; 16],
    /// Until when TCP packets of no flow are adopted.
    pub adopt_until: Option<Instant>,
    /// Directory of the files that keep two instances off one interface.
    pub lock_directory: PathBuf,
}

/// What a worker does while there is no traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polling {
    /// Never sleeps.
    Busy,
    /// Spins for a while, then sleeps until the kernel has frames.
    Adaptive,
    /// Sleeps at once.
    Interrupt,
}

/// Why the data path cannot run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// An interface cannot be used.
    #[error(transparent)]
    Device(#[from] crate::device::DeviceError),
}

/// What one worker does.
#[derive(Clone, Debug)]
pub struct WorkerStatus {
    /// Its number.
    pub worker: u8,
    /// The core that it is pinned to.
    pub cpu: usize,
    /// Iterations of its loop.
    pub turns: u64,
    /// Time in turns that moved frames, in nanoseconds.
    pub busy_ns: u64,
    /// Time in turns that moved none, asleep or not, in nanoseconds.
    pub idle_ns: u64,
    /// Its sockets.
    pub sockets: Vec<SocketStatus>,
}

impl WorkerStatus {
    /// Part of the time that was idle, 0 to 1.
    pub fn idle_share(&self) -> f64 {
        let total = self.busy_ns + self.idle_ns;
        if total == 0 { 1.0 } else { self.idle_ns as f64 / total as f64 }
    }
}

/// One AF_XDP socket.
#[derive(Clone, Debug)]
pub struct SocketStatus {
    /// Interface.
    pub interface: String,
    /// Receive queue.
    pub queue: u32,
    /// How frames get to it: `zero-copy, native`, `copy, native` or `copy, generic`.
    pub mode: &'static str,
    /// What the kernel counts for it.
    pub statistics: RingStatistics,
}

/// The kernel's counters of one socket (XDP_STATISTICS), in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingStatistics {
    /// Dropped on receive for other reasons, frames that are too long among them.
    pub rx_dropped: u64,
    /// Descriptors on the fill ring that the kernel could not use.
    pub rx_invalid: u64,
    /// Descriptors on the transmit ring that the kernel could not use.
    pub tx_invalid: u64,
    /// Dropped because the receive ring was full.
    pub rx_ring_full: u64,
    /// Dropped because the fill ring was empty.
    pub rx_fill_ring_empty: u64,
    /// Times that the transmit ring was found empty.
    pub tx_ring_empty: u64,
}

/// How the XDP program sits on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Interface.
    pub interface: String,
    /// Where it runs.
    pub mode: AttachMode,
    /// Whether it took the place of a program that an earlier process of ours had left.
    pub adopted: bool,
    /// Why it does not run in the driver, when it does not.
    pub native_refusal: Option<String>,
}

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver.
    Native,
    /// In the network stack, for drivers that cannot: slower.
    Generic,
}

/// The memory of all flow tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowMemorySize {
    /// Flows that all workers together can hold.
    pub flows: u32,
    /// Bytes of memory for them.
    pub bytes: usize,
}

/// The data path.
pub struct Engine {}

impl Engine {
    /// Locks the interfaces, loads the XDP program and opens the sockets. No traffic is taken yet.
    pub fn prepare(_settings: EngineSettings) -> Result<Engine, EngineError> {
        Ok(Engine {})
    }
    /// The interfaces, by `InterfaceId`.
    pub fn interfaces(&self) -> Vec<Interface> {
        Vec::new()
    }
    /// Fills the maps, starts the workers and attaches the programs.
    pub fn start(&mut self, _tables: Arc<Tables>, _steering: &Steering) -> Result<(), EngineError> {
        Ok(())
    }
    /// Gives the workers new tables.
    pub fn publish(&self, _tables: Arc<Tables>) {}
    /// Changes what the XDP program steers.
    pub fn steer(&mut self, _steering: &Steering) -> Result<(), EngineError> {
        Ok(())
    }
    /// Lowest generation in use by any worker.
    pub fn applied_generation(&self) -> u32 {
        0
    }
    /// What each worker does.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        Vec::new()
    }
    /// How the programs are attached.
    pub fn attachments(&self) -> Vec<Attachment> {
        Vec::new()
    }
    /// Counters by worker.
    pub fn counters(&self) -> Vec<Arc<WorkerCounters>> {
        Vec::new()
    }
    /// Up to `most` flows that pass `filter`.
    pub fn flows(
        &self,
        _most: usize,
        _filter: impl Fn(&FlowView) -> bool + Send + Sync + 'static,
    ) -> Vec<FlowView> {
        Vec::new()
    }
    /// Memory of the flow tables.
    pub fn flow_memory(&self) -> FlowMemorySize {
        FlowMemorySize { flows: 0, bytes: 0 }
    }
    /// Detaches the programs and stops the workers.
    pub fn stop(self) {}
}
