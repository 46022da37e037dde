//! Metrics for Prometheus: what one scrape tells, in the text format of OpenMetrics 1.0.
//!
//! The control thread answers a scrape by [`Metrics`], plain numbers that it has at hand; whoever was asked (the control API, or
//! [`MetricsServer`]) turns them into text on a thread of its own. Packet threads are never asked: their counters are read.
//!
//! Every name begins with `lbd_`; where a family is a metric of NLB's (namespace `AWS/NetworkELB`), its help says which.

mod checks;
mod exposition;
mod families;
mod groups;
mod peaks;
mod server;

use crate::api::{Stats, Status, TargetRow, Traffic};

pub use checks::{Checks, Results};
pub use exposition::expose;
pub use peaks::{Peak, Peaks};
pub use server::{MetricsServer, MetricsServerError};

/// What one scrape tells.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// When the daemon started, in seconds since the epoch.
    pub started_seconds: f64,
    /// Load balancers, listeners, workers, flow table.
    pub status: Status,
    /// Frames and flows over all workers.
    pub stats: Stats,
    /// Highest rates of each load balancer, by its name; none in the first 10 s.
    pub peaks: Vec<(String, Peak)>,
    /// Target groups.
    pub target_groups: Vec<GroupRow>,
    /// Every target.
    pub targets: Vec<TargetRow>,
    /// With more targets than this, none has series of its own.
    pub targets_max: usize,
}

/// A target group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupRow {
    /// Name.
    pub name: String,
    /// The load balancer that uses it, if one does.
    pub load_balancer: Option<String>,
    /// Whether all targets get flows, because too few are healthy.
    pub is_failing_open: bool,
    /// Targets whose replies go past the load balancer.
    pub bypassed_targets: u64,
    /// What went to and from its targets, those that have left it included.
    pub traffic: Traffic,
    /// Checks of its targets that succeeded.
    pub checks_passed: u64,
    /// Checks of its targets that failed.
    pub checks_failed: u64,
}

/// The media type of what [`expose`] makes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(test)]
mod tests;
