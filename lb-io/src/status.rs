//! What the data path tells about itself.

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
    /// Generation of the tables that it uses, 0 before it runs.
    pub generation: u32,
    /// Whether it runs. One that was started and does not has failed, and its queues' traffic is dropped.
    pub is_running: bool,
    /// Its sockets.
    pub sockets: Vec<SocketStatus>,
}

impl WorkerStatus {
    /// Part of the time since start that was idle, 0 to 1.
    pub fn idle_share(&self) -> f64 {
        let total_ns = self.busy_ns + self.idle_ns;
        if total_ns == 0 { 1.0 } else { self.idle_ns as f64 / total_ns as f64 }
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
    /// Descriptors on the tx ring that the kernel could not use.
    pub tx_invalid: u64,
    /// Dropped because the rx ring was full.
    pub rx_ring_full: u64,
    /// Dropped because the fill ring was empty.
    pub rx_fill_ring_empty: u64,
    /// Times that the tx ring was found empty.
    pub tx_ring_empty: u64,
}

/// How the XDP program sits on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Interface.
    pub interface: String,
    /// Where the program runs.
    pub mode: AttachMode,
    /// Whether it took the place of a program that an earlier process of ours had left.
    pub adopted: bool,
    /// Why it does not run in the driver, when that was tried.
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

impl AttachMode {
    /// `native` or `generic`.
    pub const fn name(self) -> &'static str {
        match self {
            AttachMode::Native => "native",
            AttachMode::Generic => "generic",
        }
    }
}

/// What has become of the interfaces since they were last looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceChanges {
    /// Those that have gone.
    pub lost: Vec<String>,
    /// Those that have come to spread packets over their queues in another way than when they were opened. The tables keep what
    /// was true then.
    pub rehashed: Vec<String>,
    /// A link address or an MTU is another: the tables must be made anew.
    pub is_altered: bool,
    /// One was taken away and made again, and all are there: only a new engine can serve it.
    pub is_replaced: bool,
}

/// The memory of all flow tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowMemorySize {
    /// Flows that all workers together can hold.
    pub flows: u64,
    /// Bytes of memory for them when all are IPv4.
    pub bytes: usize,
    /// Bytes of memory for them when all have an IPv6 end.
    pub most_bytes: usize,
}
