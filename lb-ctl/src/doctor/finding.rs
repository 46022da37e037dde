//! One thing that was looked at, and what to make of it.

use serde::Serialize;

/// What one rule says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The interface that it is about; `None`: the host, or the configuration.
    pub interface: Option<String>,
    /// What was looked at: one word that stays the same, for programs.
    pub topic: &'static str,
    /// What is.
    pub found: String,
    /// Why that matters; empty when all is well.
    pub why: String,
    /// What to type, line by line, or to write into the configuration.
    pub cure: Vec<String>,
}

/// How bad a finding is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// It works, but slowly, or not for all traffic.
    Warning,
    /// A load balancer does not start here, or takes no traffic.
    Fault,
}

impl Severity {
    /// Every severity, best first.
    pub const ALL: [Severity; 4] = [Severity::Ok, Severity::Note, Severity::Warning, Severity::Fault];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Fault => "fault",
        }
    }
}

impl Finding {
    pub(super) fn ok(topic: &'static str, found: impl Into<String>) -> Finding {
        Finding::new(Severity::Ok, topic, found.into(), String::new())
    }

    pub(super) fn note(topic: &'static str, found: impl Into<String>, why: impl Into<String>) -> Finding {
        Finding::new(Severity::Note, topic, found.into(), why.into())
    }

    pub(super) fn warning(topic: &'static str, found: impl Into<String>, why: impl Into<String>) -> Finding {
        Finding::new(Severity::Warning, topic, found.into(), why.into())
    }

    pub(super) fn fault(topic: &'static str, found: impl Into<String>, why: impl Into<String>) -> Finding {
        Finding::new(Severity::Fault, topic, found.into(), why.into())
    }

    fn new(severity: Severity, topic: &'static str, found: String, why: String) -> Finding {
        Finding { severity, interface: None, topic, found, why, cure: Vec::new() }
    }

    /// With one more line to type.
    pub(super) fn cure(mut self, line: impl Into<String>) -> Finding {
        self.cure.push(line.into());
        self
    }

    /// About an interface.
    pub(super) fn of(mut self, interface: &str) -> Finding {
        self.interface = Some(interface.to_owned());
        self
    }
}
