//! Why packets fare as they do: what is asked, and what is told.

use std::net::{IpAddr, SocketAddr};

use lb_core::{flow_key::FlowKey, tables::Protocol, verdict::Reason};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bypass, FlowRow, ProtocolName, TargetRow};
use crate::config::Family;

/// The query of `GET /v1/why`: from whom to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhyQuery {
    /// Client's address and port; or a target's, if `vip` is the client of one of its flows, as the target sees it.
    pub client: SocketAddr,
    /// Listener's address and port.
    pub vip: SocketAddr,
    /// Protocol; by default TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ProtocolName>,
}

impl WhyQuery {
    /// The protocol that is meant.
    pub fn protocol(&self) -> Protocol {
        self.protocol.map_or(Protocol::Tcp, |name| name.0)
    }

    /// The key of the packets that are meant; an error is a sentence for a person.
    pub fn key(&self) -> Result<FlowKey, String> {
        let end = |end: SocketAddr| (end.ip(), end.port().to_be_bytes());
        if self.client.port() == 0 || self.vip.port() == 0 {
            return Err("expected ports from 1 to 65535".into());
        }
        FlowKey::new(end(self.client), end(self.vip), self.protocol() as u8).ok_or_else(|| {
            "expected two addresses of one family: no packet has an IPv4 and an IPv6 address".into()
        })
    }

    /// As the query of a URL has it.
    pub(crate) fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![("client", self.client.to_string()), ("vip", self.vip.to_string())];
        pairs.extend(self.protocol.map(|protocol| ("protocol", protocol.to_string())));
        pairs
    }
}

/// What `GET /v1/why` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Why {
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// Who sends the packets.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// What the sender is.
    pub sender: WhySender,
    /// What the next packet meets: one of the flow, or else the first of a new flow (TCP: a SYN).
    pub verdict: WhyVerdict,
    /// What any other TCP packet meets, where there is no flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stray: Option<WhyVerdict>,
    /// Where the packets go to.
    pub address: WhyAddress,
    /// The listener that they are for, or whose flow they belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<WhyListener>,
    /// Where nothing listens: what listens on the same address instead, such as `edge/TCP:80`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_listeners: Vec<String>,
    /// The flow that they belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<WhyFlow>,
    /// What the hash selects for a client's packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<WhySelection>,
    /// The target: of the flow, or else of a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetRow>,
    /// Where packets to that target are sent next, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<WhyNextHop>,
    /// Whom that target sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<WhySource>,
    /// How the target's replies go past the load balancer, where this flow or others show that they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bypass: Option<Bypass>,
    /// The worker that has the flow, or would have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<u8>,
    /// Generation of the tables that this was found in.
    pub generation: u32,
    /// Workers that did not answer in time: a flow of theirs is not told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent_workers: Vec<u8>,
}

/// What sends the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhySender {
    /// A client, to a listener.
    Client,
    /// A target of a listener.
    Target,
    /// Nobody that the load balancer has to do with.
    Nobody,
}

/// What a packet meets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhyVerdict {
    /// What it is counted under, as in `GET /v1/stats`.
    pub reason: String,
    /// `transmit`, `reply`, `drop`, or `pass`: left to the kernel.
    pub verdict: String,
    /// What that means.
    pub help: String,
}

impl From<Reason> for WhyVerdict {
    fn from(reason: Reason) -> WhyVerdict {
        WhyVerdict {
            reason: reason.name().into(),
            verdict: reason.action().name().into(),
            help: reason.help().into(),
        }
    }
}

/// An address that packets go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhyAddress {
    /// The address.
    pub address: IpAddr,
    /// The load balancer that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<String>,
    /// Its zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The address pool that it was taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Whether the host has it, too, or alone: what is for no listener is the kernel's.
    pub is_host: bool,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhyListener {
    /// Name, such as `edge/TCP:80`.
    pub name: String,
    /// Its rule that is for the client, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<WhyRule>,
    /// The target groups that the rule, or else the listener itself, forwards new flows to.
    pub forward: Vec<WhyWeight>,
    /// Whether a client's flows go to one of these groups.
    pub is_sticky: bool,
    /// Whether clients are answered by SYN cookies.
    pub has_syn_cookies: bool,
    /// Flows without packets for this long are forgotten, in seconds.
    pub idle_timeout_seconds: u16,
}

/// A rule of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhyRule {
    /// Its priority.
    pub priority: u16,
    /// The family of the clients that it is for.
    pub source: Family,
}

/// A target group's part in a forward action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhyWeight {
    /// Its name.
    pub target_group: String,
    /// Share of new flows in proportion to the other weights; 0: none.
    pub weight: u16,
}

/// A flow in the flow table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhyFlow {
    /// The flow.
    #[serde(flatten)]
    pub row: FlowRow,
    /// Whether the packets asked about go from the target to the client.
    pub is_reply: bool,
    /// Whether a client's first packet starts a new one in its place.
    pub is_over: bool,
    /// Why it is about to be cut, if it is, such as `unhealthy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<String>,
}

/// What the hash selects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WhySelection {
    /// The target group.
    pub target_group: String,
    /// What the group was chosen by, `flow` or `client_address`; `None` where there is but one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<String>,
    /// What the target was chosen by, `flow` or `client_address`.
    pub target_by: String,
    /// The zone whose targets alone were chosen among.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// How many targets were chosen among.
    pub eligible_targets: usize,
    /// Whether too few are healthy, so that all were.
    pub is_failing_open: bool,
    /// The flow's slot in the group's Maglev table; `None` without a target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// Slots of that table.
    pub slots: usize,
    /// Who owns the slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<SocketAddr>,
    /// The listener that sends the same client's port to the owner, so that the search went on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_by: Option<String>,
    /// What is selected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<SocketAddr>,
    /// Where nothing is: the group's targets, each with what keeps it from flows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetRow>,
}

/// Where packets are sent next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhyNextHop {
    /// Link-layer address of the neighbour.
    pub mac: String,
    /// Interface that leads to it.
    pub interface: String,
}

/// Whom a target sees as its client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhySource {
    /// Address and port: the client's own, or those that the flow has; `None` before a flow has some of the load balancer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// Why it does not see the client: `not_preserved`, `other_family`, `hairpin`, `same_node` or `collision`; `None` where it
    /// does, or where the flow was made under rules that are no longer known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Addresses that new flows take theirs from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// First and last of their ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<(u16, u16)>,
}
