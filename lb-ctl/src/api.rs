//! What the control API says: the shapes of its JSON, shared by server and client.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | [`Status`] |
//! | `GET /v1/targets` | [`TargetRow`] array |
//! | `GET /v1/target-groups/NAME/targets` | the same of one target group |
//! | `POST /v1/target-groups/NAME/targets` [`TargetChanges`] | [`InForce`] |
//! | `GET /v1/flows?limit=N` | [`FlowRow`] array |
//! | `GET /v1/stats` | [`Stats`] |
//! | `GET /v1/metrics` | [`crate::metrics`] in the text format of OpenMetrics |
//! | `POST /v1/reload` | [`Reloaded`] |
//!
//! An answer other than 200 carries a [`Refusal`].

mod stats;
mod status;
mod targets;

use std::net::SocketAddr;

use lb_core::datapath::FlowView;
use serde::{Deserialize, Serialize};

pub use stats::{CutRow, ReasonRow, Stats, Traffic};
pub use status::{
    FlowTable, ForwardRow, InterfaceRow, ListenerRow, LoadBalancerRow, RingCounters, SocketRow, Status,
    VipRow, WorkerFrames, WorkerRow,
};
pub use targets::{NewTarget, TargetAddress, TargetChanges, TargetRow};

/// A flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRow {
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// Client.
    pub client: SocketAddr,
    /// Listener's address and port.
    pub listener: SocketAddr,
    /// What the target sees as the client: another than `client` when that is hidden or translated.
    pub source: SocketAddr,
    /// Target.
    pub target: SocketAddr,
    /// State, such as `established`.
    pub state: String,
    /// Time without packets, in milliseconds.
    pub idle_ms: u32,
    /// Forgotten after this long without packets, in milliseconds.
    pub timeout_ms: u32,
}

/// A configuration was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Generation of the tables that it led to.
    pub generation: u32,
    /// Registrations by call that went with it.
    #[serde(default)]
    pub dropped: Vec<DroppedRegistrations>,
}

/// Targets registered by call whose target group is gone from the file, or has its targets there now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedRegistrations {
    /// Name of the target group.
    pub target_group: String,
    /// How many targets.
    pub targets: usize,
}

/// Targets were registered or deregistered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Generation of the tables that hold the change.
    pub generation: u32,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// One paragraph for a person.
    pub error: String,
    /// What kind of error, for a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<RefusalCode>,
}

/// Kinds of errors, by their names in the Elastic Load Balancing API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalCode {
    /// There is no such target group.
    TargetGroupNotFound,
    /// A target is not registered, or cannot be.
    InvalidTarget,
    /// More targets than there may be.
    TooManyTargets,
    /// The target group has its targets in the file.
    OperationNotPermitted,
}

impl Refusal {
    /// With a kind.
    pub fn of(code: RefusalCode, error: impl Into<String>) -> Refusal {
        Refusal { error: error.into(), code: Some(code) }
    }
}

impl<T: Into<String>> From<T> for Refusal {
    fn from(error: T) -> Refusal {
        Refusal { error: error.into(), code: None }
    }
}

impl From<FlowView> for FlowRow {
    fn from(view: FlowView) -> FlowRow {
        FlowRow {
            protocol: view.protocol.name().into(),
            client: view.client.into(),
            listener: view.vip.into(),
            source: view.source.into(),
            target: view.target.into(),
            state: view.state.into(),
            idle_ms: view.idle_ms,
            timeout_ms: view.timeout_ms,
        }
    }
}

/// Flows that `GET /v1/flows` lists when the request names no limit.
pub const FLOWS_LISTED_DEFAULT: usize = 100;

/// Most flows that `GET /v1/flows` lists.
pub const FLOWS_LISTED: usize = 10_000;
