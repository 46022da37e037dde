//! Changes of objects: what each means, and why one is refused. Pure; called by the daemon's control thread.
//!
//! What NLB names an error for is checked here, on the objects. Then the whole is read by the rules of a file
//! ([`crate::config`]), so no change leads to what a file could not say.

pub(crate) mod address;
pub(crate) mod attributes;
mod listener;
mod load_balancer;
mod rule;
mod tag;
mod target_group;
pub(crate) mod targets;

use std::{collections::BTreeMap, fmt};

pub use address::AddressRequest;
pub use listener::LISTENERS;
pub use load_balancer::LOAD_BALANCERS;
pub use rule::RULES;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    api::{Refusal, RefusalCode, TargetChanges},
    config::{Config, ConfigError, Document, Family, Protocols, TargetType},
    near::nearest_first,
    objects::{
        Attribute, Attributes, Declaration, Id, Listener, LoadBalancer, Objects, Scheme, Tags, Target,
        TargetGroup,
    },
};

/// A change. Serialized, it is what the control API takes as the body of a request.
#[derive(Clone, Debug)]
pub enum Change {
    /// Make a load balancer.
    CreateLoadBalancer(NewLoadBalancer),
    /// Give a load balancer other addresses: those of pools that it has already stay as they are.
    SetAddresses {
        /// Which.
        load_balancer: Ref,
        /// One for each zone.
        addresses: Vec<AddressRequest>,
        /// `None`: as it is.
        ip_address_type: Option<IpAddressType>,
    },
    /// Give a load balancer IPv6 addresses beside its IPv4 ones, or take them away.
    SetIpAddressType {
        /// Which.
        load_balancer: Ref,
        /// What it becomes.
        ip_address_type: IpAddressType,
    },
    /// Set attributes; `None` puts the default back.
    ModifyLoadBalancerAttributes {
        /// Which.
        load_balancer: Ref,
        /// By their AWS keys.
        attributes: AttributeChanges,
    },
    /// Remove a load balancer with its listeners.
    DeleteLoadBalancer(Ref),
    /// Make a listener.
    CreateListener(NewListener),
    /// Change what is given of a listener.
    ModifyListener {
        /// Which.
        listener: ListenerRef,
        /// `None`: as it is.
        protocol: Option<Protocols>,
        /// `None`: as it is.
        port: Option<u16>,
        /// `None`: as it is.
        forward: Option<ForwardRequest>,
    },
    /// Set attributes; `None` puts the default back.
    ModifyListenerAttributes {
        /// Which.
        listener: ListenerRef,
        /// By their AWS keys.
        attributes: AttributeChanges,
    },
    /// Remove a listener with its rules.
    DeleteListener(ListenerRef),
    /// Make a rule.
    CreateRule {
        /// The listener that has it.
        listener: ListenerRef,
        /// The rule.
        rule: NewRule,
    },
    /// Change what is given of a rule.
    ModifyRule {
        /// Which.
        rule: Id,
        /// `None`: as it is.
        source: Option<Family>,
        /// `None`: as it is.
        forward: Option<ForwardRequest>,
    },
    /// Remove a rule.
    DeleteRule(Id),
    /// Give rules other priorities.
    SetRulePriorities(Vec<(Id, u16)>),
    /// Make a target group.
    CreateTargetGroup(NewTargetGroup),
    /// Set keys of a target group's health check; `null` puts the default back.
    ModifyTargetGroup {
        /// Which.
        target_group: Ref,
        /// By the keys of a file.
        health_check: Map<String, Value>,
    },
    /// Set attributes; `None` puts the default back.
    ModifyTargetGroupAttributes {
        /// Which.
        target_group: Ref,
        /// By their AWS keys.
        attributes: AttributeChanges,
    },
    /// Remove a target group that no listener forwards to.
    DeleteTargetGroup(Ref),
    /// Register and deregister targets.
    ChangeTargets {
        /// Their target group.
        target_group: Ref,
        /// Who comes and who goes.
        changes: TargetChanges,
    },
    /// Set and remove tags.
    Tag {
        /// Whose.
        resources: Vec<ResourceRef>,
        /// To set.
        set: Tags,
        /// Keys to remove; unknown ones are no error.
        remove: Vec<String>,
    },
    /// Several changes of objects, wholly or not at all; none of targets.
    All(Vec<Change>),
    /// Apply a file: what it declares takes the place of what files declared before.
    Apply(Document),
}

impl Change {
    /// What it does, for a log.
    pub fn describe(&self) -> String {
        match self {
            Change::CreateLoadBalancer(new) => format!("create load balancer {}", new.name),
            Change::SetAddresses { load_balancer, .. } => {
                format!("set addresses of load balancer {load_balancer}")
            }
            Change::SetIpAddressType { load_balancer, .. } => {
                format!("set IP address type of load balancer {load_balancer}")
            }
            Change::ModifyLoadBalancerAttributes { load_balancer, attributes } => {
                format!("modify attributes of load balancer {load_balancer}: {}", pairs(attributes))
            }
            Change::DeleteLoadBalancer(load_balancer) => format!("delete load balancer {load_balancer}"),
            Change::CreateListener(new) => {
                let (lb, protocol) = (&new.load_balancer, new.protocol.name());
                format!("create listener {protocol}:{} of load balancer {lb}", new.port)
            }
            Change::ModifyListener { listener, .. } => format!("modify listener {listener}"),
            Change::ModifyListenerAttributes { listener, attributes } => {
                format!("modify attributes of listener {listener}: {}", pairs(attributes))
            }
            Change::DeleteListener(listener) => format!("delete listener {listener}"),
            Change::CreateRule { listener, rule } => {
                format!("create rule {} of listener {listener}", rule.priority)
            }
            Change::ModifyRule { rule, .. } => format!("modify rule {rule}"),
            Change::DeleteRule(rule) => format!("delete rule {rule}"),
            Change::SetRulePriorities(rules) => format!("set priorities of {} rules", rules.len()),
            Change::CreateTargetGroup(new) => format!("create target group {}", new.name),
            Change::ModifyTargetGroup { target_group, .. } => format!("modify target group {target_group}"),
            Change::ModifyTargetGroupAttributes { target_group, attributes } => {
                format!("modify attributes of target group {target_group}: {}", pairs(attributes))
            }
            Change::DeleteTargetGroup(target_group) => format!("delete target group {target_group}"),
            Change::ChangeTargets { target_group, changes: TargetChanges { register, deregister } } => {
                let (coming, going) = (register.len(), deregister.len());
                format!("register {coming}, deregister {going} targets of target group {target_group}")
            }
            Change::Tag { set, remove, resources } => {
                format!("set {}, remove {} tags of {} objects", set.len(), remove.len(), resources.len())
            }
            Change::All(changes) => changes.iter().map(Change::describe).collect::<Vec<_>>().join(", "),
            Change::Apply(file) => format!("apply {}", file.file()),
        }
    }
}

fn pairs(attributes: &AttributeChanges) -> String {
    let pair = |(key, value): (&String, &Option<String>)| {
        let value: String = value.as_deref().unwrap_or("default").chars().take(VALUE_TOLD).collect();
        format!("{key}={value}")
    };
    attributes.iter().map(pair).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ref::Name(name) => f.write_str(name),
            Ref::Id(id) => id.fmt(f),
        }
    }
}

impl fmt::Display for ListenerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenerRef::Id(id) => id.fmt(f),
            ListenerRef::At { load_balancer, port, protocol: None } => write!(f, "{load_balancer}/{port}"),
            ListenerRef::At { load_balancer, port, protocol: Some(protocol) } => {
                write!(f, "{load_balancer}/{}:{port}", protocol.name())
            }
        }
    }
}

/// An object by its name, or by the id of its ARN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Ref {
    /// Whatever has the name now.
    Name(String),
    /// That one alone.
    Id(Id),
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerRef {
    /// By the id of its ARN.
    Id(Id),
    /// By its place.
    At {
        /// Name of its load balancer.
        load_balancer: String,
        /// Port.
        port: u16,
        /// Needed only where two listeners share the port.
        protocol: Option<Protocols>,
    },
}

/// Whose tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceRef {
    /// A load balancer's.
    LoadBalancer(Ref),
    /// A listener's.
    Listener(ListenerRef),
    /// A rule's.
    Rule(Id),
    /// A target group's.
    TargetGroup(Ref),
}

/// Attributes to set, or to put back to their defaults (`None`).
pub type AttributeChanges = BTreeMap<String, Option<String>>;

/// A load balancer to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLoadBalancer {
    /// Name.
    pub name: String,
    /// Where clients are.
    #[serde(default)]
    pub scheme: Scheme,
    /// Its addresses: one request for each zone.
    #[serde(deserialize_with = "address::requests")]
    pub addresses: Vec<AddressRequest>,
    /// Families of the addresses taken from pools.
    #[serde(default)]
    pub ip_address_type: IpAddressType,
    /// Attributes.
    #[serde(default, deserialize_with = "attributes::attributes")]
    #[schemars(with = "attributes::Values")]
    pub attributes: Attributes,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// Families of a load balancer's addresses (NLB "IP address type").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IpAddressType {
    /// IPv4 alone.
    #[default]
    Ipv4,
    /// IPv4 and IPv6.
    Dualstack,
}

/// A listener to make.
#[derive(Clone, Debug, PartialEq)]
pub struct NewListener {
    /// Its load balancer.
    pub load_balancer: Ref,
    /// What it listens for.
    pub protocol: Protocols,
    /// Port.
    pub port: u16,
    /// Where new flows go.
    pub forward: ForwardRequest,
    /// Attributes.
    pub attributes: Attributes,
    /// Tags.
    pub tags: Tags,
}

/// A forward action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardRequest {
    /// Target groups with their weights.
    pub target_groups: Vec<(Ref, u16)>,
    /// Whether the flows of one client's address go to one group.
    pub stickiness: bool,
}

/// A rule to make.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRule {
    /// Its place in the order, 1 to 50000.
    pub priority: u16,
    /// The family of the clients that it is for.
    pub source: Family,
    /// Where their new flows go.
    pub forward: ForwardRequest,
    /// Tags.
    pub tags: Tags,
}

/// A target group to make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTargetGroup {
    /// Name.
    pub name: String,
    /// Protocol.
    pub protocol: Protocols,
    /// Port of targets that name none.
    pub port: u16,
    /// How targets are named; `None`: `ip`.
    #[serde(default)]
    pub target_type: Option<TargetType>,
    /// The family of its targets; `None`: IPv4.
    #[serde(default)]
    pub ip_address_type: Option<Family>,
    /// Any text: nothing depends on it.
    #[serde(default)]
    pub vpc: Option<String>,
    /// Settings of its health check, by the keys of a file.
    #[serde(default)]
    pub health_check: Map<String, Value>,
    /// Attributes.
    #[serde(default, deserialize_with = "attributes::attributes")]
    #[schemars(with = "attributes::Values")]
    pub attributes: Attributes,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// What changes are made against, besides the objects.
pub struct Context<'c> {
    /// The document that the host's settings are from.
    pub host: &'c Document,
    /// Now (RFC 3339, UTC).
    pub now: &'c str,
}

/// What a change of objects may look at besides them.
struct Ground<'g> {
    /// The configuration before the change.
    config: &'g Config,
    context: &'g Context<'g>,
}

/// Objects with changes tried on them, and the configuration that they lead to.
#[derive(Clone, Debug)]
pub struct Draft {
    objects: Objects,
    config: Config,
    /// What led to objects that the configuration does not know yet; `None`: it knows all.
    unread: Option<RefusalCode>,
    /// Goes up by one with each change.
    generation: u64,
}

impl Draft {
    /// Objects of a generation, and the configuration that they led to.
    pub fn new(objects: Objects, config: Config, generation: u64) -> Draft {
        Draft { objects, config, unread: None, generation }
    }

    /// The objects.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The configuration as it was when last settled.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Number of changes that led here.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Objects and configuration, once settled.
    pub fn into_parts(self) -> (Objects, Config) {
        (self.objects, self.config)
    }

    /// Makes a change, or refuses it and stays as it was. Tells the id of the object that was made, or is there already. What
    /// several changes lead to is checked against the rules of configurations once, by [`Draft::settle`].
    pub fn apply(&mut self, change: &Change, context: &Context<'_>) -> Result<Option<Id>, Refusal> {
        if let Change::ChangeTargets { target_group, changes } = change {
            self.settle(context.host)?;
            return self.change_targets(target_group, changes).map(Some);
        }
        let mut objects = self.objects.clone();
        let id = change_objects(&mut objects, change, &Ground { config: &self.config, context })?;
        if objects != self.objects {
            self.unread = Some(code_of(change));
            self.objects = objects;
            self.generation += 1;
        }
        Ok(id)
    }

    /// Brings the configuration up to date.
    ///
    /// # Errors
    /// The objects break rules of configurations: the draft is good for nothing.
    pub fn settle(&mut self, host: &Document) -> Result<(), Refusal> {
        if let Some(code) = self.unread {
            let config = host.config_with(&self.objects.to_document());
            self.config = config.map_err(|errors| refusal_of(&errors, code))?;
            self.unread = None;
        }
        Ok(())
    }

    /// The quick way of the commonest change: what it touches is checked, not the whole.
    fn change_targets(&mut self, target_group: &Ref, changes: &TargetChanges) -> Result<Id, Refusal> {
        let at = self.objects.group_at(target_group)?;
        let group = &mut self.objects.target_groups[at];
        targets::apply(&mut self.config, &group.name, changes)?;
        let registered = self.config.target_groups.iter().find(|known| known.name == group.name);
        let targets = registered.map_or(Vec::new(), |known| known.targets.iter().map(target).collect());
        if group.targets != targets {
            group.targets = targets;
            self.generation += 1;
        }
        Ok(group.id)
    }
}

fn target(target: &crate::config::Target) -> Target {
    Target {
        address: target.address,
        port: target.port,
        weight: target.weight,
        zone: target.zone.clone(),
        stopped: target.is_stopped,
    }
}

fn change_objects(
    objects: &mut Objects,
    change: &Change,
    ground: &Ground<'_>,
) -> Result<Option<Id>, Refusal> {
    match change.clone() {
        Change::CreateLoadBalancer(new) => load_balancer::create(objects, new, ground).map(Some),
        Change::SetAddresses { load_balancer, addresses, ip_address_type } => {
            let at = objects.load_balancer_at(&load_balancer)?;
            load_balancer::set_addresses(objects, at, (&addresses, ip_address_type), ground).map(Some)
        }
        Change::SetIpAddressType { load_balancer, ip_address_type } => {
            let at = objects.load_balancer_at(&load_balancer)?;
            load_balancer::set_ip_address_type(objects, at, ip_address_type, ground).map(Some)
        }
        Change::ModifyLoadBalancerAttributes { load_balancer, attributes } => {
            let at = objects.load_balancer_at(&load_balancer)?;
            let lb = &mut objects.load_balancers[at];
            refuse_unknown("a load balancer", &attributes, &lb.all_attributes())?;
            merge(&mut lb.attributes, attributes);
            Ok(Some(lb.id))
        }
        Change::DeleteLoadBalancer(load_balancer) => load_balancer::delete(objects, &load_balancer).map(Some),
        Change::CreateListener(new) => listener::create(objects, new, ground).map(Some),
        Change::ModifyListener { listener, protocol, port, forward } => {
            listener::modify(objects, &listener, (protocol, port), forward, ground).map(Some)
        }
        Change::ModifyListenerAttributes { listener, attributes } => {
            let listener = objects.listener_mut(&listener)?;
            refuse_unknown("this listener", &attributes, &listener.all_attributes())?;
            merge(&mut listener.attributes, attributes);
            Ok(Some(listener.id))
        }
        Change::DeleteListener(listener) => listener::delete(objects, &listener).map(Some),
        Change::CreateRule { listener, rule } => rule::create(objects, &listener, rule, ground).map(Some),
        Change::ModifyRule { rule, source, forward } => {
            rule::modify(objects, rule, (source, forward), ground).map(Some)
        }
        Change::DeleteRule(rule) => rule::delete(objects, rule).map(Some),
        Change::SetRulePriorities(priorities) => rule::set_priorities(objects, &priorities).map(|()| None),
        Change::CreateTargetGroup(new) => target_group::create(objects, new, ground.context.now).map(Some),
        Change::ModifyTargetGroup { target_group, health_check } => {
            target_group::modify(objects, &target_group, health_check).map(Some)
        }
        Change::ModifyTargetGroupAttributes { target_group, attributes } => {
            let at = objects.group_at(&target_group)?;
            let group = &mut objects.target_groups[at];
            refuse_unknown("a target group", &attributes, &group.all_attributes())?;
            merge(&mut group.attributes, attributes);
            Ok(Some(group.id))
        }
        Change::DeleteTargetGroup(group) => target_group::delete(objects, &group).map(Some),
        Change::Tag { resources, set, remove } => {
            tag::change(objects, &resources, &set, &remove).map(|()| None)
        }
        Change::All(changes) => {
            let mut id = None;
            for change in &changes {
                id = change_objects(objects, change, ground)?.or(id);
            }
            Ok(id)
        }
        Change::Apply(document) => {
            if document.is_without_objects() {
                let error = "the file declares nothing, neither load_balancers nor target_groups: to take away all that \
                             files have declared, write load_balancers = [] and target_groups = []";
                return Err(Refusal::of(RefusalCode::ValidationError, error));
            }
            let declared = Declaration::of(&document, ground.context.host);
            let declared = declared.map_err(|errors| {
                let path = errors.errors.first().map(|error| error.path.clone());
                let refusal = Refusal::of(RefusalCode::ValidationError, errors.to_string());
                Refusal { path: path.filter(|path| !path.is_empty()), ..refusal }
            })?;
            declared.check_protected(objects)?;
            declared.apply(objects, ground.context.now);
            Ok(None)
        }
        // Made elsewhere, on the configuration.
        Change::ChangeTargets { .. } => Ok(None),
    }
}

/// The code of the refusal if a change breaks the rules of configurations.
fn code_of(change: &Change) -> RefusalCode {
    match change {
        Change::ModifyLoadBalancerAttributes { .. }
        | Change::ModifyListenerAttributes { .. }
        | Change::ModifyTargetGroupAttributes { .. } => RefusalCode::InvalidConfigurationRequest,
        _ => RefusalCode::ValidationError,
    }
}

fn refusal_of(errors: &[ConfigError], code: RefusalCode) -> Refusal {
    let path = errors.first().map(|error| error.path.clone());
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Refusal { path: path.filter(|path| !path.is_empty()), ..Refusal::of(code, texts.join("\n")) }
}

/// Refuses to put back to its default what `owner` does not have. Values to set are read with the whole configuration.
fn refuse_unknown(owner: &str, changes: &AttributeChanges, known: &[Attribute<'_>]) -> Result<(), Refusal> {
    let known: Vec<&str> = known.iter().map(|row| row.key).collect();
    let reset = changes.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key.as_str());
    let what = format!("an attribute of {owner}");
    match { reset }.find(|key| !known.contains(key)) {
        Some(key) => Err(unknown_key(RefusalCode::InvalidConfigurationRequest, (key, &what), known)),
        None => Ok(()),
    }
}

/// That a key to put back to its default is not of a kind, and which one is like it.
fn unknown_key(code: RefusalCode, (key, kind): (&str, &str), known: Vec<&str>) -> Refusal {
    let nearest = nearest_first(key, known);
    let nearest = nearest.first().map_or(String::new(), |key| format!("; the nearest one is {key:?}"));
    Refusal::of(code, format!("{key:?} is not {kind}{nearest}"))
}

fn merge(attributes: &mut Attributes, changes: AttributeChanges) {
    for (key, value) in changes {
        match value {
            Some(value) => drop(attributes.insert(key, value)),
            None => drop(attributes.remove(&key)),
        }
    }
}

impl Objects {
    pub(crate) fn load_balancer_at(&self, wanted: &Ref) -> Result<usize, Refusal> {
        let is_wanted = |lb: &LoadBalancer| match wanted {
            Ref::Name(name) => lb.name == *name,
            Ref::Id(id) => lb.id == *id,
        };
        let at = self.load_balancers.iter().position(is_wanted);
        let known = || self.load_balancers.iter().map(|lb| lb.name.as_str()).collect();
        at.ok_or_else(|| missing(RefusalCode::LoadBalancerNotFound, ("load balancer", wanted), known()))
    }

    /// The index of a target group, or who there is instead.
    pub fn group_at(&self, wanted: &Ref) -> Result<usize, Refusal> {
        let is_wanted = |group: &TargetGroup| match wanted {
            Ref::Name(name) => group.name == *name,
            Ref::Id(id) => group.id == *id,
        };
        let at = self.target_groups.iter().position(is_wanted);
        let known = || self.target_groups.iter().map(|group| group.name.as_str()).collect();
        at.ok_or_else(|| missing(RefusalCode::TargetGroupNotFound, ("target group", wanted), known()))
    }

    /// The indexes of a listener's load balancer and of the listener.
    pub(crate) fn listener_at(&self, wanted: &ListenerRef) -> Result<(usize, usize), Refusal> {
        let lbs = self.load_balancers.iter().enumerate();
        let mut all = lbs.flat_map(|(at, lb)| {
            lb.listeners.iter().enumerate().map(move |(index, row)| (at, index, lb, row))
        });
        let found = match wanted {
            ListenerRef::Id(id) => all.find(|row| row.3.id == *id).map(|row| (row.0, row.1)),
            ListenerRef::At { load_balancer, port, protocol } => {
                self.load_balancer_at(&Ref::Name(load_balancer.clone()))?;
                let is_wanted = |lb: &LoadBalancer, row: &Listener| {
                    lb.name == *load_balancer
                        && row.port == *port
                        && protocol.is_none_or(|one| one == row.protocol)
                };
                let found: Vec<(usize, usize)> =
                    all.filter(|row| is_wanted(row.2, row.3)).map(|row| (row.0, row.1)).collect();
                if found.len() > 1 {
                    let error = format!(
                        "load balancer {load_balancer:?} has several listeners on port {port}: name the protocol, too"
                    );
                    return Err(Refusal::of(RefusalCode::ValidationError, error));
                }
                found.first().copied()
            }
        };
        found.ok_or_else(|| {
            let error = match wanted {
                ListenerRef::Id(id) => format!("there is no listener {id}"),
                ListenerRef::At { load_balancer, port, protocol } => {
                    let protocol = protocol.map_or(String::new(), |protocol| format!("{}:", protocol.name()));
                    format!("load balancer {load_balancer:?} has no listener {protocol}{port}")
                }
            };
            Refusal::of(RefusalCode::ListenerNotFound, error)
        })
    }

    fn listener_mut(&mut self, wanted: &ListenerRef) -> Result<&mut Listener, Refusal> {
        let (lb, listener) = self.listener_at(wanted)?;
        Ok(&mut self.load_balancers[lb].listeners[listener])
    }
}

fn missing(code: RefusalCode, (kind, wanted): (&str, &Ref), known: Vec<&str>) -> Refusal {
    let (wanted, known) = match wanted {
        Ref::Name(name) => (format!("{name:?}"), nearest_first(name, known)),
        Ref::Id(id) => (format!("of id {id}"), known),
    };
    let known = match known.len() {
        0 => "there are none".into(),
        1..=NAMES_TOLD => format!("there are: {}", known.join(", ")),
        many => format!("there are {many}, such as {}", known[..NAMES_TOLD].join(", ")),
    };
    Refusal::of(code, format!("there is no {kind} {wanted}; {known}"))
}

const NAMES_TOLD: usize = 10;

/// Characters of an attribute's value that a log tells.
const VALUE_TOLD: usize = 64;

#[cfg(test)]
mod tests;
