//! A listener: an endpoint of a load balancer and where its flows go.

use std::{net::IpAddr, ops::RangeInclusive, sync::Arc};

use crate::{
    tables::{Endpoint, InterfaceId},
    target::{FlowPolicy, TargetGroupId},
};

/// Index of a listener in the tables. Stays with its listener across generations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u16);

/// A listener of a load balancer (NLB "Listeners for your Network Load Balancers").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// `LOAD-BALANCER/PROTOCOL:PORT`, with `@ADDRESS` in front of the protocol's slash when the load balancer has several.
    pub name: Box<str>,
    /// Address, port and protocol that it listens on.
    pub endpoint: Endpoint,
    /// Where new flows go.
    pub forward: Forward,
    /// Flows without packets for this long are forgotten, in seconds.
    pub idle_timeout_s: u16,
    /// Interface that its address is on.
    pub interface: InterfaceId,
    /// Source addresses of flows that do not keep the client's, to targets of either family.
    pub sources: Arc<Sources>,
    /// Whether TCP packets of no flow are always adopted, as after an unclean start.
    pub adopts_strays: bool,
    /// Whether SYNs are answered here, by cookies, and the target meets only clients that confirm theirs.
    pub has_syn_cookies: bool,
}

/// Which target groups a listener's new flows go to (NLB "Forward action").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// None twice; none at all when the listener is gone: what it had of flows is cut, and there are no new ones.
    pub groups: Box<[WeightedGroup]>,
    /// Whether all flows of a client's address go to one group, for as long as the weights stay.
    pub is_sticky: bool,
}

/// A target group's part in a forward action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightedGroup {
    /// The group.
    pub group: TargetGroupId,
    /// Which of its pools: that of the listener's zone.
    pub pool: u8,
    /// Share of new flows in proportion to the other weights; 0: none.
    pub weight: u16,
    /// What tells it from other groups in the choice among them; lasting.
    pub salt: u64,
    /// What the listener's existing flows to the group's targets get, unless their target's policy is to cut them.
    pub flow_policy: FlowPolicy,
}

impl Forward {
    /// To one group.
    pub fn to(group: TargetGroupId) -> Forward {
        let only = WeightedGroup { group, pool: 0, weight: 1, salt: 0, flow_policy: FlowPolicy::Keep };
        Forward { groups: [only].into(), is_sticky: false }
    }

    /// Of a listener that is gone.
    pub fn closing() -> Forward {
        Forward { groups: Box::default(), is_sticky: false }
    }

    /// Whether the listener is gone.
    #[inline]
    pub fn is_closing(&self) -> bool {
        self.groups.is_empty()
    }

    /// The part of a group.
    pub fn of(&self, group: TargetGroupId) -> Option<&WeightedGroup> {
        self.groups.iter().find(|row| row.group == group)
    }
}

/// Where source addresses and ports come from when the client's are not kept (NLB "Client IP preservation").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// Addresses of either family; a flow takes one of its target's.
    pub addresses: Box<[IpAddr]>,
    /// Ports of each of them, in host order. Ports with a listener on the same address are left out.
    pub ports: RangeInclusive<u16>,
}

impl Sources {
    /// No source at all: only flows that keep the client's address are possible.
    pub fn none() -> Arc<Sources> {
        Arc::new(Sources { addresses: Box::default(), ports: 1..=u16::MAX })
    }
}
