//! stub
use std::sync::Arc;
use crate::{counters::WorkerCounters, frame::Frame, tables::{Tables,InterfaceId,Mac,ListenerId,TargetId,Protocol}, time::Instant, verdict::{Verdict,Reason}};
use crate::flow_table::FlowMemory;
use std::net::IpAddr;

/// Where a burst came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A receive ring: counted as received; may be handed to another worker.
    Ring,
    /// Another worker, which found this one to own the flow.
    HandedOver,
}

/// What one worker's packet path is told at start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This worker's number, from 0.
    pub worker: u8,
    /// Number of workers.
    pub workers: u8,
    /// Key of the flow table's hash and of the choice of home worker: drawn at each start, equal in all workers.
    pub flow_hash_key: [u64; 16],
    /// Secret of target selection: lasting, equal on all nodes of a fleet.
    pub selection_secret: [u8; 16],
    /// Until when TCP packets of no flow are adopted instead of reset (after an unclean start).
    pub adopt_until: Option<Instant>,
}

/// One flow, for people.
#[derive(Clone, Debug)]
pub struct FlowView {
    /// Client address.
    pub client: (IpAddr, u16),
    /// Listener's address.
    pub vip: (IpAddr, u16),
    /// Target.
    pub target: (IpAddr, u16),
    /// Protocol
    pub protocol: Protocol,
    /// State name: half_open, established, closing, closed, udp
    pub state: &'static str,
    /// Idle for, ms.
    pub idle_ms: u32,
    /// Idle timeout, ms
    pub timeout_ms: u32,
    /// Listener
    pub listener: ListenerId,
    /// Target
    pub target_id: TargetId,
}

/// One worker's packet path.
pub struct Datapath<'m> { tables: Arc<Tables>, counters: Arc<WorkerCounters>, _m: std::marker::PhantomData<&'m mut ()> }

impl<'m> Datapath<'m> {
    /// New.
    pub fn new(_settings: Settings, _memory: FlowMemory<'m>, tables: Arc<Tables>, counters: Arc<WorkerCounters>) -> Datapath<'m> { Datapath { tables, counters, _m: std::marker::PhantomData } }
    /// At most BURST_FRAMES frames; verdicts[i] is set for each frame. Counts `received` for Arrival::Ring; the caller settles
    /// each verdict through `counters().settle(reason)` when the frame's fate is final.
    pub fn process_burst(&mut self, frames: &mut [Frame<'_>], _arrival: Arrival, _now: Instant, verdicts: &mut [Verdict]) {
        for (_f, v) in frames.iter().zip(verdicts) { *v = Verdict::drop(Reason::NoListener); }
    }
    /// Swaps in new tables, returns the old.
    pub fn install(&mut self, tables: Arc<Tables>) -> Arc<Tables> { std::mem::replace(&mut self.tables, tables) }
    /// The tables in use.
    pub fn tables(&self) -> &Arc<Tables> { &self.tables }
    /// Looks at the next few flow records and forgets those whose time is over. Bounded work; call once per turn.
    pub fn expire(&mut self, _now: Instant) {}
    /// The counters.
    pub fn counters(&self) -> &WorkerCounters { &self.counters }
    /// Looks at up to `records` flow records from number `cursor` on, calls `visit` for each live flow, and returns the next cursor, or None at the end.
    pub fn visit_flows(&self, cursor: u32, _records: u32, _now: Instant, _visit: impl FnMut(FlowView)) -> Option<u32> { let _ = cursor; None }
    /// unused
    pub fn _x(&self) -> Option<(InterfaceId, Mac)> { None }
}
