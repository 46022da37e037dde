//! Load balancers, listeners, rules, target groups, targets, their attributes and tags, as they are kept, told and changed:
//! NLB's objects. [`crate::config::Config`] is made of them, and is what the packet path is compiled from.
//!
//! One store for all front ends. A file *declares* the objects that it names; the others were made by call.

mod arn;
mod declaration;
mod defaults;
mod difference;
mod document;
mod id;

use std::{collections::BTreeMap, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use arn::{Arn, Arns, Resource};
pub use declaration::Declaration;
pub(crate) use declaration::is_protected;
pub use defaults::Attribute;
pub use difference::{Difference, DifferenceAction, differences, summary};
pub use id::Id;

use crate::config::{Family, Protocols, TargetType};

/// All objects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Objects {
    /// No name and no address twice.
    #[serde(default)]
    pub load_balancers: Vec<LoadBalancer>,
    /// No name twice.
    #[serde(default)]
    pub target_groups: Vec<TargetGroup>,
}

/// Attributes by their AWS keys: only those that somebody set.
pub type Attributes = BTreeMap<String, String>;

/// Tags: values by keys.
pub type Tags = BTreeMap<String, String>;

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadBalancer {
    /// Name.
    pub name: String,
    /// What tells it from others of the same name before and after it.
    #[serde(default = "Id::fresh")]
    #[schemars(!default)]
    pub id: Id,
    /// When it was made (RFC 3339, UTC).
    #[serde(default)]
    pub created: String,
    /// Whether a file set it last.
    #[serde(default)]
    pub declared: bool,
    /// Where clients are. Nothing depends on it.
    #[serde(default)]
    pub scheme: Scheme,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// Interface that they are put on; `None`: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Whether the daemon puts them there; `None`: it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assign: Option<bool>,
    /// Attributes.
    #[serde(default)]
    pub attributes: Attributes,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
    /// Listeners.
    #[serde(default)]
    pub listeners: Vec<Listener>,
}

/// Where a load balancer's clients are (NLB "Scheme").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// In the network behind.
    Internal,
    /// Anywhere.
    #[default]
    InternetFacing,
}

/// An address of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// Its zone; `None` where the load balancer has no zones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The address pool that it was taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// What tells it from others.
    #[serde(default = "Id::fresh")]
    #[schemars(!default)]
    pub id: Id,
    /// Whether a file set it last.
    #[serde(default)]
    pub declared: bool,
    /// What it listens for.
    pub protocol: Protocols,
    /// Port.
    pub port: u16,
    /// Where new flows go that no rule is for.
    pub forward: Forward,
    /// Rules.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Attributes.
    #[serde(default)]
    pub attributes: Attributes,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// A forward action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// Target groups, none twice.
    pub target_groups: Vec<ForwardGroup>,
    /// Whether the flows of one client's address go to one group.
    #[serde(default)]
    pub stickiness: bool,
}

/// A target group's part in a forward action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardGroup {
    /// The group's name.
    pub name: String,
    /// Share of new flows in proportion to the other weights, 0 to 999.
    #[serde(default = "one")]
    pub weight: u16,
}

/// A rule of a listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What tells it from others.
    #[serde(default = "Id::fresh")]
    #[schemars(!default)]
    pub id: Id,
    /// The lowest that fits wins, 1 to 50000.
    pub priority: u16,
    /// The family of the clients that it is for.
    pub source: Family,
    /// Where their new flows go.
    pub forward: Forward,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// A target group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetGroup {
    /// Name.
    pub name: String,
    /// What tells it from others of the same name before and after it.
    #[serde(default = "Id::fresh")]
    #[schemars(!default)]
    pub id: Id,
    /// When it was made (RFC 3339, UTC).
    #[serde(default)]
    pub created: String,
    /// Whether a file set it last.
    #[serde(default)]
    pub declared: bool,
    /// Protocol.
    pub protocol: Protocols,
    /// Port of targets that name none.
    pub port: u16,
    /// How targets are named.
    #[serde(default = "ip")]
    pub target_type: TargetType,
    /// The family of its targets; `None`: that of the first, or IPv4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address_type: Option<Family>,
    /// The VPC that the caller named. Nothing depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc: Option<String>,
    /// Settings of its health check, by the keys of a file's section: only those that somebody set.
    #[serde(default)]
    pub health_check: Map<String, Value>,
    /// Attributes.
    #[serde(default)]
    pub attributes: Attributes,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
    /// Registered targets; no address and port twice.
    #[serde(default)]
    pub targets: Vec<Target>,
}

/// A registered target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Share of new flows in proportion to the group's other weights; 0: none.
    #[serde(default = "one")]
    pub weight: u16,
    /// Its zone; `None`: all zones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The machine is switched off on purpose: no checks and no flows.
    #[serde(default)]
    pub stopped: bool,
}

impl Objects {
    /// The load balancer of a name.
    pub fn load_balancer(&self, name: &str) -> Option<&LoadBalancer> {
        self.load_balancers.iter().find(|lb| lb.name == name)
    }

    /// The target group of a name.
    pub fn target_group(&self, name: &str) -> Option<&TargetGroup> {
        self.target_groups.iter().find(|group| group.name == name)
    }

    /// The listener of an id, and its load balancer.
    pub fn listener(&self, id: Id) -> Option<(&LoadBalancer, &Listener)> {
        self.listeners().find(|(_, listener)| listener.id == id)
    }

    /// Every listener, with its load balancer.
    pub fn listeners(&self) -> impl Iterator<Item = (&LoadBalancer, &Listener)> {
        self.load_balancers.iter().flat_map(|lb| lb.listeners.iter().map(move |listener| (lb, listener)))
    }

    /// The listeners that forward to a target group, with their load balancers.
    pub fn users<'o>(&'o self, group: &'o str) -> impl Iterator<Item = (&'o LoadBalancer, &'o Listener)> {
        self.listeners().filter(move |(_, listener)| listener.names(group))
    }
}

impl LoadBalancer {
    /// Whether it has addresses of both families (NLB `dualstack`).
    pub fn is_dualstack(&self) -> bool {
        let has = |family| self.addresses.iter().any(|row| Family::of(row.address) == family);
        has(Family::V4) && has(Family::V6)
    }
}

impl Listener {
    /// Every forward action: the default one and the rules'.
    pub fn forwards(&self) -> impl Iterator<Item = &Forward> {
        [&self.forward].into_iter().chain(self.rules.iter().map(|rule| &rule.forward))
    }

    fn names(&self, group: &str) -> bool {
        self.forwards().any(|forward| forward.target_groups.iter().any(|row| row.name == group))
    }
}

fn one() -> u16 {
    1
}

fn ip() -> TargetType {
    TargetType::Ip
}

#[cfg(test)]
mod tests;
