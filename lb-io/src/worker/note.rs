//! What a trace asks for, and the notes that it gets.

use std::sync::Arc;

use lb_core::{
    datapath::{Arrival, Parties, Why},
    tables::InterfaceId,
    time::Instant,
    verdict::{Reason, Verdict},
};

/// Which frames a trace follows, and what it wants of each.
#[derive(Clone)]
pub struct TraceQuery {
    /// Whose frames.
    pub filter: TraceFilter,
    /// Only frames that met their fate for this reason.
    pub reason: Option<Reason>,
    /// One in so many of these frames; at least 1.
    pub sample: u32,
    /// Most bytes of a frame in a note.
    pub snap_bytes: usize,
    /// Whether notes say why.
    pub wants_why: bool,
    /// Most notes of one worker in a second.
    pub notes_per_second: u32,
    /// When it ends.
    pub until: Instant,
}

/// Whose frames a trace follows.
#[derive(Clone)]
pub enum TraceFilter {
    /// Everybody's, damaged ones included.
    All,
    /// Those of packets with certain parties. Called by workers for each frame: must be quick.
    Of(Arc<dyn Fn(&Parties) -> bool + Send + Sync>),
}

/// What became of one frame.
#[derive(Clone, Debug)]
pub struct Note {
    /// The worker.
    pub worker: u8,
    /// When the worker took the burst that the frame came in.
    pub at: Instant,
    /// Where the worker had it from.
    pub origin: Origin,
    /// Interface that it came in by, or that the frame which it was made for came in by.
    pub ingress: InterfaceId,
    /// As it came in; `None` for one that the load balancer made or had kept.
    pub before: Option<Glimpse>,
    /// Why packets of its key fare as they do: before it was processed, or, where a reason was asked for, after. Of a frame without
    /// `before`, of the answers to it. `None` where that is not wanted, or where there is no key.
    pub why: Option<Why>,
    /// What was decided.
    pub verdict: Verdict,
    /// What it was counted under in the end.
    pub reason: Reason,
    /// As it was to leave, where that was decided.
    pub after: Option<Glimpse>,
}

/// The beginning of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glimpse {
    /// As much as was wanted, from the Ethernet header on.
    pub bytes: Vec<u8>,
    /// Length of the whole, in bytes.
    pub length: usize,
}

/// Where a worker has a frame from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A receive queue, by its number.
    Queue(u32),
    /// Another worker, which handed it over.
    Worker,
    /// The load balancer itself: made, or kept until it could go on.
    Own,
}

impl Origin {
    /// As the packet path is told.
    pub(super) fn arrival(self) -> Arrival {
        match self {
            Origin::Queue(_) => Arrival::Ring,
            Origin::Worker | Origin::Own => Arrival::HandedOver,
        }
    }
}
