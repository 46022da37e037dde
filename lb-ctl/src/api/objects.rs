//! Bodies of requests that change objects, as far as they are no objects themselves.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    change::{
        AddressRequest, AttributeChanges, Change, ForwardRequest, IpAddressType, ListenerRef, Ref,
        ResourceRef,
    },
    config::{Family, Protocols},
    objects::{Attributes, Forward, Id, Tags},
};

/// What `PATCH /v1/load-balancers/NAME` changes: what is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoadBalancerPatch {
    /// All addresses, one request for each zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<AddressRequest>>,
    /// Families of the addresses taken from pools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address_type: Option<IpAddressType>,
    /// Attributes to set; `null` puts the default back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<AttributeChanges>,
    /// Tags to set; `null` removes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<TagChanges>,
}

/// What `PATCH /v1/target-groups/NAME` changes: what is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TargetGroupPatch {
    /// Keys of the health check; `null` puts the default back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<Map<String, Value>>,
    /// Attributes to set; `null` puts the default back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<AttributeChanges>,
    /// Tags to set; `null` removes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<TagChanges>,
}

/// A listener to make, of the load balancer that the path names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewListenerBody {
    /// What it listens for.
    pub protocol: Protocols,
    /// Port.
    pub port: u16,
    /// Where new flows go.
    pub forward: Forward,
    /// Attributes.
    #[serde(default)]
    pub attributes: Attributes,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// What `PATCH /v1/load-balancers/NAME/listeners/PORT` changes: what is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerPatch {
    /// What it listens for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocols>,
    /// Port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Where new flows go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
    /// Attributes to set; `null` puts the default back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<AttributeChanges>,
    /// Tags to set; `null` removes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<TagChanges>,
}

/// A rule to make, of the listener that the path names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRuleBody {
    /// Its place in the order, 1 to 50000.
    pub priority: u16,
    /// The family of the clients that it is for.
    pub source: Family,
    /// Where their new flows go.
    pub forward: Forward,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// What `PATCH /v1/load-balancers/NAME/listeners/PORT/rules/PRIORITY` changes: what is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RulePatch {
    /// Its place in the order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u16>,
    /// The family of the clients that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Family>,
    /// Where their new flows go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
    /// Tags to set; `null` removes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<TagChanges>,
}

/// What `PATCH /v1/load-balancers/NAME/listeners/PORT/rules` changes: two rules may change places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RulePriorities {
    /// New priorities by the present ones.
    pub priorities: BTreeMap<u16, u16>,
}

/// Tags to set, or to remove (`null`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct TagChanges(pub BTreeMap<String, Option<String>>);

impl TagChanges {
    /// The change of one object's tags.
    pub fn change(self, resource: ResourceRef) -> Change {
        let (mut set, mut remove) = (Tags::new(), Vec::new());
        for (key, value) in self.0 {
            match value {
                Some(value) => drop(set.insert(key, value)),
                None => remove.push(key),
            }
        }
        Change::Tag { resources: vec![resource], set, remove }
    }
}

/// What `POST /v1/tags` changes, of several objects at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TagsBody {
    /// Whose tags.
    pub resources: Vec<ResourceName>,
    /// Tags to set.
    #[serde(default)]
    pub set: Tags,
    /// Keys of tags to remove.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// An object by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResourceName {
    /// A load balancer.
    LoadBalancer(String),
    /// A target group.
    TargetGroup(String),
    /// A listener, by its id.
    Listener(Id),
    /// A rule, by its id.
    Rule(Id),
}

impl From<ResourceName> for ResourceRef {
    fn from(name: ResourceName) -> ResourceRef {
        match name {
            ResourceName::LoadBalancer(name) => ResourceRef::LoadBalancer(Ref::Name(name)),
            ResourceName::TargetGroup(name) => ResourceRef::TargetGroup(Ref::Name(name)),
            ResourceName::Listener(id) => ResourceRef::Listener(ListenerRef::Id(id)),
            ResourceName::Rule(id) => ResourceRef::Rule(id),
        }
    }
}

impl From<Forward> for ForwardRequest {
    fn from(forward: Forward) -> ForwardRequest {
        let groups = forward.target_groups.into_iter().map(|group| (Ref::Name(group.name), group.weight));
        ForwardRequest { target_groups: groups.collect(), stickiness: forward.stickiness }
    }
}
