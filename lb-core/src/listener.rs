//! A listener: an endpoint of a load balancer and where its flows go.

use crate::{tables::Endpoint, target::TargetGroupId};

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
    pub group: TargetGroupId,
    /// Flows without packets for this long are forgotten, in seconds.
    pub idle_timeout_s: u16,
}
