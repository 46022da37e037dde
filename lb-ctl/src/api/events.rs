//! What `GET /v1/events` tells: lines of JSON, one event each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Bypass;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Its number. Numbers go up, over restarts too, and can skip some. A heartbeat has that of the latest event.
    pub seq: u64,
    /// When it happened (RFC 3339, UTC).
    pub at: String,
    /// What happened.
    #[serde(flatten)]
    pub what: Happening,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Happening {
    /// Objects were changed, or targets registered or deregistered.
    Change {
        /// Generation that the change led to.
        generation: u64,
        /// Who changed them.
        by: String,
        /// What was changed, in words.
        change: String,
    },
    /// A target changed its state.
    Health {
        /// Its target group.
        target_group: String,
        /// Address and port.
        target: String,
        /// State before.
        from: String,
        /// State now.
        to: String,
        /// Reason code of the state.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The reason in a sentence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
    },
    /// A target group begins or ends to fail open.
    FailOpen {
        /// Its name.
        target_group: String,
        /// Whether all its targets get flows now, because too few are healthy.
        is_failing_open: bool,
    },
    /// Replies of a target go past the load balancer, or nothing shows that any more.
    Bypass {
        /// Its target group.
        target_group: String,
        /// Address and port.
        target: String,
        /// What shows it, and what to do; nothing when it is over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bypass: Option<Bypass>,
    },
    /// The configuration file was read again.
    Reload {
        /// Generation that it led to; nothing when it was refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        generation: Option<u64>,
        /// Who asked for it.
        by: String,
        /// Why it was refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A network interface changed.
    Interface {
        /// Its name; nothing where several did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interface: Option<String>,
        /// What became of it.
        state: InterfaceState,
    },
    /// Records of the flow log begin to be lost, or are written again.
    FlowLog {
        /// Why the file cannot be written; nothing when it is written again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// Events that this reader cannot have any more.
    Missed {
        /// How many; nothing when an earlier run of the daemon had them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        events: Option<u64>,
    },
    /// Nothing happened for a while.
    Heartbeat,
}

/// What became of a network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InterfaceState {
    /// It is gone; its traffic rests.
    Gone,
    /// It spreads packets over its queues in another way than before.
    Rehashed,
    /// Link addresses or MTUs are others, or an interface is there again.
    Altered,
}
