//! What the control API says: the shapes of its JSON, shared by server and client.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | [`Status`] |
//! | `GET /v1/load-balancers`, `/NAME`, `/NAME/listeners`, `/NAME/listeners/PORT`, `.../rules`, `.../rules/PRIORITY` | objects ([`crate::objects`]) |
//! | `GET /v1/target-groups`, `/NAME` | the same |
//! | `POST` to the lists, `PATCH` and `DELETE` of each | [`InForce`] |
//! | `POST /v1/tags` [`TagsBody`] | [`InForce`] |
//! | `POST /v1/apply`, a file | [`InForce`] |
//! | `POST /v1/diff`, a file | [`crate::objects::Difference`] array |
//! | `GET /v1/export` | a file |
//! | `GET /v1/targets` | [`TargetRow`] array |
//! | `GET /v1/target-groups/NAME/targets` | the same of one target group |
//! | `POST /v1/target-groups/NAME/targets` [`TargetChanges`] | [`InForce`] |
//! | `GET /v1/flows?`[`FlowsQuery`] | [`FlowList`] |
//! | `GET /v1/why?`[`WhyQuery`] | [`Why`] |
//! | `GET /v1/trace?`[`TraceQuery`] | [`TraceLine`] lines |
//! | `GET /v1/capture?`[`TraceQuery`] | pcapng |
//! | `GET /v1/stats` | [`Stats`] |
//! | `GET /v1/metrics` | [`crate::metrics`] in the text format of OpenMetrics |
//! | `GET /v1/events?since=SEQ&follow=true` | [`Event`] lines |
//! | `POST /v1/reload` | [`InForce`] |
//!
//! An answer other than 200 carries a [`Refusal`]. Answers about objects carry their generation as `ETag`; a change with `If-Match` is
//! refused unless it is still that one. `GET /v1/openapi.json` describes all of it.

mod bypass;
mod events;
mod flows;
mod objects;
mod stats;
mod status;
mod targets;
mod trace;
mod why;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{config::ConfigErrors, objects::Id};

pub use bypass::{Bypass, BypassSign};
pub use events::{Event, Happening, InterfaceState};
pub use flows::{
    AddressFilter, FLOWS_LISTED, FLOWS_LISTED_DEFAULT, FlowList, FlowRow, FlowsQuery, ProtocolName, StateName,
};
pub use objects::{
    ListenerPatch, LoadBalancerPatch, NewListenerBody, NewRuleBody, ResourceName, RulePatch, RulePriorities,
    TagChanges, TagsBody, TargetGroupPatch,
};
pub(crate) use objects::{optional_forward, required_forward};
pub use stats::{ApiTraffic, CutRow, ReasonRow, Stats, Traffic};
pub use status::{
    FlowLogStatus, FlowTable, ForwardRow, InterfaceRow, ListenerRow, LoadBalancerRow, RingCounters,
    SocketRow, Status, VipRow, WorkerFrames, WorkerRow,
};
pub use targets::{NewTarget, TargetAddress, TargetChanges, TargetRow};
pub use trace::{
    CAPTURE_COUNT_DEFAULT, PacketHead, ReasonName, SNAP_BYTES, TRACE_COUNT_DEFAULT, TRACE_SECONDS,
    TRACE_SECONDS_DEFAULT, TRACED_FRAMES, TcpHead, TraceEnd, TraceLine, TraceOrigin, TraceQuery,
    TraceSelection, TracedFrame,
};
pub use why::{
    Why, WhyAddress, WhyFlow, WhyListener, WhyNextHop, WhyQuery, WhyRule, WhySelection, WhySender, WhySource,
    WhyVerdict, WhyWeight,
};

/// A change, or a configuration, is in force and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InForce {
    /// Generation of the objects that have it.
    pub generation: u64,
    /// Generation of the tables that hold it.
    pub tables_generation: u32,
    /// Id of the object that was made or changed, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// One paragraph for a person.
    pub error: String,
    /// What kind of error, for a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<RefusalCode>,
    /// Path of the key that is to blame, such as `load_balancers[0].listeners[1].port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The generation that the objects are of, where another was expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

/// Kinds of errors, by their names in the Elastic Load Balancing API where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RefusalCode {
    /// There is no such load balancer.
    LoadBalancerNotFound,
    /// There is no such listener.
    ListenerNotFound,
    /// There is no such rule.
    RuleNotFound,
    /// There is no such target group.
    TargetGroupNotFound,
    /// There is no such address pool.
    SubnetNotFound,
    /// Another load balancer has the name, with other settings.
    DuplicateLoadBalancerName,
    /// Another target group has the name, with other settings.
    DuplicateTargetGroupName,
    /// Another listener has the port.
    DuplicateListener,
    /// Another rule has the priority.
    PriorityInUse,
    /// A target is not registered, or cannot be.
    InvalidTarget,
    /// An address pool that cannot give what is asked of it.
    InvalidSubnet,
    /// Settings that contradict each other, or do not exist here.
    InvalidConfigurationRequest,
    /// A value out of its range, or of another shape.
    ValidationError,
    /// A target group whose protocol does not go with the listener's.
    IncompatibleProtocols,
    /// A protocol that this load balancer does not have.
    UnsupportedProtocol,
    /// The target group belongs to another load balancer.
    TargetGroupAssociationLimit,
    /// Somebody still uses it.
    ResourceInUse,
    /// A protection forbids it.
    OperationNotPermitted,
    /// More load balancers than there may be.
    TooManyLoadBalancers,
    /// More listeners than there may be.
    TooManyListeners,
    /// More rules than there may be.
    TooManyRules,
    /// More target groups than there may be.
    TooManyTargetGroups,
    /// More targets than there may be.
    TooManyTargets,
    /// More tags than there may be.
    TooManyTags,
    /// The objects have changed since the caller looked.
    GenerationMismatch,
    /// What is asked cannot be kept: the state directory cannot be written.
    StoreUnwritable,
    /// The caller may not do this.
    AccessDenied,
    /// The API has no such path.
    NotFound,
    /// The path has other methods.
    MethodNotAllowed,
    /// The body is not said to be of a type that is read here.
    UnsupportedMediaType,
    /// The body is longer than it may be.
    BodyTooLarge,
    /// The request is none that can be read.
    BadRequest,
    /// The request did not come in time.
    RequestTimeout,
    /// Not now: too many ask, or nobody answers.
    ServiceUnavailable,
}

impl RefusalCode {
    /// Its name, as in JSON.
    pub fn name(self) -> String {
        format!("{self:?}")
    }
}

impl Refusal {
    /// With a kind.
    pub fn of(code: RefusalCode, error: impl Into<String>) -> Refusal {
        Refusal { code: Some(code), ..Refusal::from(error) }
    }

    /// Why a configuration file is not taken.
    pub fn of_file(errors: &ConfigErrors) -> Refusal {
        let path = errors.errors.first().map(|error| error.path.clone());
        let refusal = Refusal::of(RefusalCode::ValidationError, errors.to_string());
        Refusal { path: path.filter(|path| !path.is_empty()), ..refusal }
    }

    /// The same, because of a key.
    pub fn at(self, path: impl Into<String>) -> Refusal {
        Refusal { path: Some(path.into()), ..self }
    }
}

impl<T: Into<String>> From<T> for Refusal {
    fn from(error: T) -> Refusal {
        Refusal { error: error.into(), code: None, path: None, generation: None }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}
