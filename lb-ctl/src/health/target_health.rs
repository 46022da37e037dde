//! The states of targets with their reason codes and descriptions (NLB "Target health status", "Health check reason codes").

use std::io;

use serde::{Deserialize, Serialize};

use super::tls;

/// State of a target with the reason for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetHealth {
    /// Registered; its first check has not begun.
    RegistrationInProgress,
    /// No check has succeeded yet.
    InitialHealthChecking,
    /// Gets new flows.
    Healthy,
    /// Checks failed.
    Unhealthy(Cause),
    /// Checks failed a short while ago: its flows go on until the draining interval is over.
    UnhealthyDraining(Cause),
    /// Checks could not be made, for reasons of this host.
    Unavailable {
        /// Whether it was healthy when checks could still be made.
        was_healthy: bool,
        /// What kept them from being made.
        #[serde(default = "internal")]
        cause: Cause,
    },
    /// Deregistered; its flows go on through the deregistration delay.
    DeregistrationInProgress,
    /// Deregistered; the delay is over.
    NotRegistered,
    /// Its group is used by no listener.
    NotInUse,
    /// Its zone is none of the load balancer's.
    ZoneNotEnabled,
    /// It is stopped.
    InvalidState,
    /// Its address is the host's own.
    IpUnusable,
}

/// Why a check failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// No answer in time.
    Timeout,
    /// An HTTP status code that the matcher does not name.
    Code(u16),
    /// The connection was refused, or the datagram by an ICMP error.
    Refused,
    /// The connection was reset.
    Reset,
    /// There is no way to the target, or nobody has its address.
    Unreachable,
    /// The connection was closed before the answer was whole.
    Closed,
    /// The head of the HTTP response is larger than is read.
    HeaderTooLong,
    /// The answer is not of the protocol.
    Malformed,
    /// The TLS handshake failed.
    Tls,
    /// The target's certificate is not valid.
    Certificate,
    /// The gRPC health service said something else than `SERVING`.
    NotServing,
    /// A gRPC status other than `OK`.
    GrpcStatus(u8),
    /// The datagram that answered does not contain what was expected.
    WrongAnswer,
    /// The system refused for another reason.
    Failed,
    /// The check could not be made, for reasons of this host: says nothing about the target.
    Internal,
    /// The same: all ports that the host may connect from are in use, or kept for flows.
    NoSourcePort,
}

impl TargetHealth {
    /// The state's name.
    pub const fn state(self) -> &'static str {
        match self {
            TargetHealth::RegistrationInProgress | TargetHealth::InitialHealthChecking => "initial",
            TargetHealth::Healthy => "healthy",
            TargetHealth::Unhealthy(_) => "unhealthy",
            TargetHealth::UnhealthyDraining(_) => "unhealthy.draining",
            TargetHealth::Unavailable { .. } => "unavailable",
            TargetHealth::DeregistrationInProgress => "draining",
            TargetHealth::NotRegistered
            | TargetHealth::NotInUse
            | TargetHealth::ZoneNotEnabled
            | TargetHealth::InvalidState
            | TargetHealth::IpUnusable => "unused",
        }
    }

    /// The reason code; `None` for a healthy target.
    pub const fn reason(self) -> Option<&'static str> {
        Some(match self {
            TargetHealth::RegistrationInProgress => "Elb.RegistrationInProgress",
            TargetHealth::InitialHealthChecking => "Elb.InitialHealthChecking",
            TargetHealth::Healthy => return None,
            TargetHealth::Unhealthy(cause) => cause.reason(),
            TargetHealth::UnhealthyDraining(_) => "Target.FailedHealthChecks",
            TargetHealth::Unavailable { .. } => "Elb.InternalError",
            TargetHealth::DeregistrationInProgress => "Target.DeregistrationInProgress",
            TargetHealth::NotRegistered => "Target.NotRegistered",
            TargetHealth::NotInUse | TargetHealth::ZoneNotEnabled => "Target.NotInUse",
            TargetHealth::InvalidState => "Target.InvalidState",
            TargetHealth::IpUnusable => "Target.IpUnusable",
        })
    }

    /// The reason in a sentence; `None` for a healthy target.
    pub fn description(self) -> Option<String> {
        let text = match self {
            TargetHealth::RegistrationInProgress => "Target registration is in progress",
            TargetHealth::InitialHealthChecking => "Initial health checks in progress",
            TargetHealth::Healthy => return None,
            TargetHealth::Unhealthy(cause)
            | TargetHealth::UnhealthyDraining(cause)
            | TargetHealth::Unavailable { cause, .. } => return Some(cause.description()),
            TargetHealth::DeregistrationInProgress => "Target deregistration is in progress",
            TargetHealth::NotRegistered => "Target is not registered to the target group",
            TargetHealth::NotInUse => {
                "Target group is not configured to receive traffic from the load balancer"
            }
            TargetHealth::ZoneNotEnabled => {
                "Target is in an Availability Zone that is not enabled for the load balancer"
            }
            TargetHealth::InvalidState => "Target is in the stopped state",
            TargetHealth::IpUnusable => "Target IP address is in use by the load balancer's own host",
        };
        Some(text.into())
    }

    /// Whether checks have found the target unhealthy, be its flows draining or not.
    pub const fn is_unhealthy(self) -> bool {
        matches!(self, TargetHealth::Unhealthy(_) | TargetHealth::UnhealthyDraining(_))
    }

    /// Whether new flows go to it while its group does not fail open.
    pub const fn gets_new_flows(self) -> bool {
        matches!(self, TargetHealth::Healthy | TargetHealth::Unavailable { was_healthy: true, .. })
    }

    /// What a state that an earlier run has saved says about a target today; `None`: nothing.
    pub(super) const fn restored(self) -> Option<TargetHealth> {
        match self {
            TargetHealth::Healthy | TargetHealth::Unavailable { was_healthy: true, .. } => {
                Some(TargetHealth::Healthy)
            }
            TargetHealth::Unhealthy(cause) | TargetHealth::UnhealthyDraining(cause) => {
                Some(TargetHealth::Unhealthy(cause))
            }
            _ => None,
        }
    }
}

impl Cause {
    /// Whether the check could not be made, for reasons of this host.
    pub const fn is_of_this_host(self) -> bool {
        matches!(self, Cause::Internal | Cause::NoSourcePort)
    }

    /// The reason code of a target that is unhealthy by this.
    pub const fn reason(self) -> &'static str {
        match self {
            Cause::Timeout => "Target.Timeout",
            Cause::Code(_) | Cause::GrpcStatus(_) => "Target.ResponseCodeMismatch",
            Cause::Internal | Cause::NoSourcePort => "Elb.InternalError",
            _ => "Target.FailedHealthChecks",
        }
    }

    /// What came, in a sentence.
    pub fn description(self) -> String {
        let what = match self {
            Cause::Timeout => return "Request timed out".into(),
            Cause::Code(code) => return format!("Health checks failed with these codes: [{code}]"),
            Cause::GrpcStatus(code) => return format!("Health checks failed with these codes: [{code}]"),
            Cause::Internal => return INTERNAL_ERROR.into(),
            Cause::NoSourcePort => return format!("{INTERNAL_ERROR}: the host has no free source port"),
            Cause::Failed => return "Health checks failed".into(),
            Cause::Refused => "connection refused",
            Cause::Reset => "connection reset",
            Cause::Unreachable => "target unreachable",
            Cause::Closed => "connection closed before the response was complete",
            Cause::HeaderTooLong => "response header too long",
            Cause::Malformed => "malformed response",
            Cause::Tls => "TLS handshake failed",
            Cause::Certificate => "certificate not valid",
            Cause::NotServing => "service is not serving",
            Cause::WrongAnswer => "response does not contain what was expected",
        };
        format!("Health checks failed: {what}")
    }
}

impl From<&io::Error> for Cause {
    /// What an error of a socket says about the target.
    fn from(error: &io::Error) -> Cause {
        if let Some(error) = tls::error_in(error) {
            return tls::cause(error);
        }
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EPERM | libc::EACCES) => {
                Cause::Internal
            }
            Some(libc::EADDRNOTAVAIL) => Cause::NoSourcePort,
            Some(libc::ETIMEDOUT) => Cause::Timeout,
            Some(libc::ECONNREFUSED) => Cause::Refused,
            Some(libc::ECONNRESET | libc::EPIPE) => Cause::Reset,
            Some(libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN | libc::ENETDOWN) => {
                Cause::Unreachable
            }
            Some(_) => Cause::Failed,
            None if error.kind() == io::ErrorKind::InvalidData => Cause::Malformed,
            None => Cause::Closed, // All other errors that are not the system's are early ends.
        }
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Cause {
        Cause::from(&error)
    }
}

/// The cause in states that earlier versions saved.
const fn internal() -> Cause {
    Cause::Internal
}

const INTERNAL_ERROR: &str = "Health checks failed due to an internal error";

#[cfg(test)]
mod tests {
    use TargetHealth::*;

    use super::*;

    /// Every state with its name, reason code and description.
    const ROWS: &[(TargetHealth, &str, Option<&str>, Option<&str>)] = &[
        (
            RegistrationInProgress,
            "initial",
            Some("Elb.RegistrationInProgress"),
            Some("Target registration is in progress"),
        ),
        (
            InitialHealthChecking,
            "initial",
            Some("Elb.InitialHealthChecking"),
            Some("Initial health checks in progress"),
        ),
        (Healthy, "healthy", None, None),
        (
            Unhealthy(Cause::Code(500)),
            "unhealthy",
            Some("Target.ResponseCodeMismatch"),
            Some("Health checks failed with these codes: [500]"),
        ),
        (
            Unhealthy(Cause::GrpcStatus(12)),
            "unhealthy",
            Some("Target.ResponseCodeMismatch"),
            Some("Health checks failed with these codes: [12]"),
        ),
        (Unhealthy(Cause::Timeout), "unhealthy", Some("Target.Timeout"), Some("Request timed out")),
        (
            Unhealthy(Cause::Refused),
            "unhealthy",
            Some("Target.FailedHealthChecks"),
            Some("Health checks failed: connection refused"),
        ),
        (
            Unhealthy(Cause::Failed),
            "unhealthy",
            Some("Target.FailedHealthChecks"),
            Some("Health checks failed"),
        ),
        (
            Unhealthy(Cause::Internal),
            "unhealthy",
            Some("Elb.InternalError"),
            Some("Health checks failed due to an internal error"),
        ),
        (
            UnhealthyDraining(Cause::Timeout),
            "unhealthy.draining",
            Some("Target.FailedHealthChecks"),
            Some("Request timed out"),
        ),
        (
            Unavailable { was_healthy: true, cause: Cause::Internal },
            "unavailable",
            Some("Elb.InternalError"),
            Some("Health checks failed due to an internal error"),
        ),
        (
            Unavailable { was_healthy: false, cause: Cause::NoSourcePort },
            "unavailable",
            Some("Elb.InternalError"),
            Some("Health checks failed due to an internal error: the host has no free source port"),
        ),
        (
            DeregistrationInProgress,
            "draining",
            Some("Target.DeregistrationInProgress"),
            Some("Target deregistration is in progress"),
        ),
        (
            NotRegistered,
            "unused",
            Some("Target.NotRegistered"),
            Some("Target is not registered to the target group"),
        ),
        (
            NotInUse,
            "unused",
            Some("Target.NotInUse"),
            Some("Target group is not configured to receive traffic from the load balancer"),
        ),
        (
            ZoneNotEnabled,
            "unused",
            Some("Target.NotInUse"),
            Some("Target is in an Availability Zone that is not enabled for the load balancer"),
        ),
        (InvalidState, "unused", Some("Target.InvalidState"), Some("Target is in the stopped state")),
        (
            IpUnusable,
            "unused",
            Some("Target.IpUnusable"),
            Some("Target IP address is in use by the load balancer's own host"),
        ),
    ];

    #[test]
    fn states_reasons_and_descriptions_are_nlbs() {
        for (health, state, reason, description) in ROWS {
            let told = (health.state(), health.reason(), health.description());
            assert_eq!(told, (*state, *reason, description.map(Into::into)), "{health:?}");
        }
    }

    #[test]
    fn a_state_file_keeps_states_with_their_causes() {
        for (health, ..) in ROWS {
            let text = serde_json::to_string(health).unwrap();
            assert_eq!(serde_json::from_str::<TargetHealth>(&text).unwrap(), *health, "{text}");
        }
        let earlier = r#"{"unavailable":{"was_healthy":true}}"#;
        let expected = Unavailable { was_healthy: true, cause: Cause::Internal };
        assert_eq!(serde_json::from_str::<TargetHealth>(earlier).unwrap(), expected);
    }

    #[test]
    fn new_flows_go_to_healthy_targets_and_those_that_were_when_checks_could_be_made() {
        let eligible = ROWS.iter().filter(|(health, ..)| health.gets_new_flows());
        let eligible: Vec<TargetHealth> = eligible.map(|(health, ..)| *health).collect();
        assert_eq!(eligible, [Healthy, Unavailable { was_healthy: true, cause: Cause::Internal }]);
    }

    #[test]
    fn errors_of_this_host_say_nothing_about_the_target() {
        for (error, expected) in [
            (libc::ECONNREFUSED, Cause::Refused),
            (libc::ECONNRESET, Cause::Reset),
            (libc::EHOSTUNREACH, Cause::Unreachable),
            (libc::ETIMEDOUT, Cause::Timeout),
            (libc::EMFILE, Cause::Internal),
            (libc::EADDRNOTAVAIL, Cause::NoSourcePort),
            (libc::EIO, Cause::Failed),
        ] {
            assert_eq!(Cause::from(io::Error::from_raw_os_error(error)), expected);
        }
        assert_eq!(Cause::from(io::Error::from(io::ErrorKind::UnexpectedEof)), Cause::Closed);
    }
}
