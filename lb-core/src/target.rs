//! Targets and target groups, as the packet path sees them.

use std::{net::IpAddr, sync::Arc};

use crate::{
    maglev::Maglev,
    tables::{NextHop, Protocol},
};

/// Index of a target in the tables. Stays with its target across generations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId(pub u32);

/// Index of a target group in the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetGroupId(pub u16);

/// A target of a target group: the same address and port in two groups is two targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The group it is registered with.
    pub group: TargetGroupId,
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Protocols of the listeners that send flows to it, or have sent: replies to those are ours.
    pub protocols: &'static [Protocol],
    /// Way to it; `None` until the kernel has resolved it.
    pub next_hop: Option<NextHop>,
    /// What its existing flows get. New flows ask the group's Maglev table alone.
    pub flow_policy: FlowPolicy,
}

/// What becomes of the existing flows of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowPolicy {
    /// They go on.
    Keep,
    /// They are cut: a TCP packet is answered by a reset, a UDP packet selects a target anew.
    Cut(CutCause),
}

impl FlowPolicy {
    /// Why flows are cut, if they are.
    #[inline]
    pub const fn cause(self) -> Option<CutCause> {
        match self {
            FlowPolicy::Keep => None,
            FlowPolicy::Cut(cause) => Some(cause),
        }
    }
}

/// Why flows are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CutCause {
    /// Their target is unhealthy (NLB `target_health_state.unhealthy.connection_termination.enabled`).
    Unhealthy = 0,
    /// Their target's deregistration delay is over (NLB `deregistration_delay.connection_termination.enabled`).
    Deregistered = 1,
    /// Their listener gives their target group the weight 0.
    WeightZero = 2,
    /// Their target is in no zone of the load balancer, or out of use for another reason.
    Unused = 3,
    /// Their listener is gone, or its VIP with the zone that it was in.
    ListenerGone = 4,
}

impl CutCause {
    /// Every cause, in the order of its number.
    pub const ALL: [CutCause; 5] = [
        CutCause::Unhealthy,
        CutCause::Deregistered,
        CutCause::WeightZero,
        CutCause::Unused,
        CutCause::ListenerGone,
    ];

    /// The cause's name in counters and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            CutCause::Unhealthy => "unhealthy",
            CutCause::Deregistered => "deregistered",
            CutCause::WeightZero => "weight_zero",
            CutCause::Unused => "unused",
            CutCause::ListenerGone => "listener_gone",
        }
    }
}

/// A target group, reduced to who may get new flows.
#[derive(Clone, Debug)]
pub struct TargetGroup {
    /// Name.
    pub name: Box<str>,
    /// Whether targets see the client's address and port (NLB `preserve_client_ip.enabled`), where both have one family.
    pub preserves_client_ip: bool,
    /// Whether all flows of a client's address go to one target (NLB `stickiness.enabled`).
    pub is_sticky: bool,
    /// When targets are told of their client by a PROXY header, if they are (NLB `proxy_protocol_v2.enabled`).
    pub proxy_header: Option<HeaderPlacement>,
    /// One, or one for each zone where the VIPs of a zone use the targets of that zone alone.
    pub pools: Box<[Pool]>,
}

/// When the PROXY header goes to a connection's target (NLB `proxy_protocol_v2.client_to_server.header_placement`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderPlacement {
    /// With the client's first bytes: a target that speaks first says nothing until then.
    #[default]
    OnFirstAckWithPayload,
    /// With the acknowledgement that ends the handshake.
    OnFirstAck,
}

impl TargetGroup {
    /// A group whose targets serve every zone.
    pub fn of_one_pool(name: &str, preserves_client_ip: bool, pool: Pool) -> TargetGroup {
        TargetGroup {
            name: name.into(),
            preserves_client_ip,
            is_sticky: false,
            proxy_header: None,
            pools: [pool].into(),
        }
    }
}

/// The targets of a group that the flows of some listeners are shared out to.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Targets that may get new flows; the Maglev table holds indexes into this.
    pub eligible: Arc<[TargetId]>,
    /// Maps a hash to an index into `eligible`.
    pub maglev: Arc<Maglev>,
    /// Too few targets are healthy, so that all get flows (NLB `target_group_health.unhealthy_state_routing.*`).
    /// A pool that gives flows to nobody does not fail open.
    pub is_failing_open: bool,
}

impl Pool {
    /// The targets that may get new flows, with the Maglev table over them.
    pub fn new(eligible: Arc<[TargetId]>, maglev: Arc<Maglev>) -> Pool {
        Pool { eligible, maglev, is_failing_open: false }
    }
}
