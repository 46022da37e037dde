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
    Cut,
}

/// A target group, reduced to who may get new flows.
#[derive(Clone, Debug)]
pub struct TargetGroup {
    /// Name.
    pub name: Box<str>,
    /// Whether targets see the client's address and port (NLB `preserve_client_ip.enabled`), where both have one family.
    pub preserves_client_ip: bool,
    /// Targets that may get new flows; the Maglev table holds indexes into this.
    pub eligible: Arc<[TargetId]>,
    /// Maps a hash to an index into `eligible`.
    pub maglev: Arc<Maglev>,
}
