//! Health checks: whether each target may get new flows.

mod machine;

use std::{fmt, net::IpAddr, sync::Arc};

pub use machine::{Machine, Outcome, Thresholds};

/// What a target is known by: the same address and port in two groups is two targets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetKey {
    /// Name of its target group.
    pub group: Arc<str>,
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
}

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, std::net::SocketAddr::new(self.address, self.port))
    }
}

/// State of a target with the reason for it (NLB "Target health status" and "Health check reason codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetHealth {
    /// Registered; its first check has not begun.
    RegistrationInProgress,
    /// No check has succeeded yet.
    InitialHealthChecking,
    /// Gets new flows.
    Healthy,
    /// Unhealthy: the last check had no answer in time.
    Timeout,
    /// Unhealthy: the last check was refused or failed otherwise.
    FailedHealthChecks,
    /// Deregistered; its flows go on through the deregistration delay.
    DeregistrationInProgress,
    /// Deregistered; the delay is over.
    NotRegistered,
    /// Its group is used by no listener.
    NotInUse,
}

impl TargetHealth {
    /// The state's name.
    pub const fn state(self) -> &'static str {
        match self {
            TargetHealth::RegistrationInProgress | TargetHealth::InitialHealthChecking => "initial",
            TargetHealth::Healthy => "healthy",
            TargetHealth::Timeout | TargetHealth::FailedHealthChecks => "unhealthy",
            TargetHealth::DeregistrationInProgress => "draining",
            TargetHealth::NotRegistered | TargetHealth::NotInUse => "unused",
        }
    }

    /// The reason code; `None` for a healthy target.
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            TargetHealth::RegistrationInProgress => Some("Elb.RegistrationInProgress"),
            TargetHealth::InitialHealthChecking => Some("Elb.InitialHealthChecking"),
            TargetHealth::Healthy => None,
            TargetHealth::Timeout => Some("Target.Timeout"),
            TargetHealth::FailedHealthChecks => Some("Target.FailedHealthChecks"),
            TargetHealth::DeregistrationInProgress => Some("Target.DeregistrationInProgress"),
            TargetHealth::NotRegistered => Some("Target.NotRegistered"),
            TargetHealth::NotInUse => Some("Target.NotInUse"),
        }
    }

    /// The reason in a sentence; `None` for a healthy target.
    pub const fn description(self) -> Option<&'static str> {
        match self {
            TargetHealth::RegistrationInProgress => Some("Target registration is in progress"),
            TargetHealth::InitialHealthChecking => Some("Initial health checks in progress"),
            TargetHealth::Healthy => None,
            TargetHealth::Timeout => Some("Request timed out"),
            TargetHealth::FailedHealthChecks => Some("Health checks failed"),
            TargetHealth::DeregistrationInProgress => Some("Target deregistration is in progress"),
            TargetHealth::NotRegistered => Some("Target is not registered to the target group"),
            TargetHealth::NotInUse => {
                Some("Target group is not configured to receive traffic from the load balancer")
            }
        }
    }

    /// Whether checks have found the target unhealthy.
    pub const fn is_unhealthy(self) -> bool {
        matches!(self, TargetHealth::Timeout | TargetHealth::FailedHealthChecks)
    }
}
