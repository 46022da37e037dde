//! Load balancers and their listeners.

use std::{collections::HashMap, net::IpAddr};

use super::{
    ADDRESSES, Family, Forward, Listener, LoadBalancer, Protocols, SourceNat, TargetGroup, Vip,
    WeightedGroup,
    address::unicast,
    attributes,
    read::{assignment, interface, name, protocols, required_sections},
    target_group::{Group, groups_for, port},
    walk::{Section, Value},
};
use lb_core::limits;

/// What the file says elsewhere; `None` where that is wrong and reported already.
pub(super) struct Known<'k> {
    pub(super) interfaces: Option<&'k [String]>,
    pub(super) groups: &'k [Group],
    pub(super) source_nat: Option<&'k SourceNat>,
}

/// Every load balancer; what no two of them may share is kept in `Taken`.
pub(super) fn all(root: &Section<'_>, known: &Known<'_>) -> Option<Vec<LoadBalancer>> {
    let sections = required_sections(root, "load_balancers")?;
    let mut taken = Taken { names: HashMap::new(), addresses: HashMap::new(), groups: HashMap::new() };
    taken.addresses_of_targets(known.groups);
    let mut load_balancers = Vec::new();
    for section in sections {
        load_balancers.push(section.and_then(|section| load_balancer(&section, known, &mut taken)));
    }
    let load_balancers = load_balancers.into_iter().collect::<Option<Vec<_>>>()?;
    let listeners: usize = load_balancers.iter().map(listener_count).sum();
    if listeners > limits::LISTENERS {
        let found = format!("{listeners} listeners, counted once for each address and protocol");
        root.errors().report(&root.place, found, format!("at most {}", limits::LISTENERS));
        return None;
    }
    Some(load_balancers)
}

fn listener_count(lb: &LoadBalancer) -> usize {
    lb.vips.len() * lb.listeners.iter().map(|listener| listener.protocol.each().len()).sum::<usize>()
}

/// What is used already, and the key path of its user.
struct Taken {
    names: HashMap<String, String>,
    addresses: HashMap<IpAddr, String>,
    groups: HashMap<usize, String>,
}

impl Taken {
    fn addresses_of_targets(&mut self, groups: &[Group]) {
        for (index, group) in groups.iter().enumerate() {
            for (target_index, target) in group.checked.iter().flat_map(|group| &group.targets).enumerate() {
                let path = format!("target_groups[{index}].targets[{target_index}]");
                self.addresses.entry(target.address).or_insert(path);
            }
        }
    }
}

fn load_balancer(section: &Section<'_>, known: &Known<'_>, taken: &mut Taken) -> Option<LoadBalancer> {
    section.allow_only(&["name", "addresses", "interface", "assign", "listeners"]);
    let name = unique_name(section, taken);
    let addresses = addresses(section, taken);
    let interface = interface(section, known.interfaces);
    let assignment = assignment(section);
    let owner = Owner { path: &section.place.path, addresses: addresses.as_deref() };
    let listeners = listeners(section, known, taken, &owner);
    Some(LoadBalancer {
        name: name?,
        vips: addresses?.into_iter().map(|address| Vip { address, zone: None }).collect(),
        interface: interface?,
        assignment: assignment?,
        listeners: listeners?,
        crosses_zones: false,
        is_deletion_protected: false,
    })
}

fn unique_name(section: &Section<'_>, taken: &mut Taken) -> Option<String> {
    let (name, value) = name(section)?;
    if name.starts_with("internal-") {
        return value.refuse("a name that does not start with \"internal-\"");
    }
    match taken.names.insert(name.into(), section.place.path.clone()) {
        None => Some(name.into()),
        Some(other) => value.refuse(format!("a name that no other load balancer has (as {other} has)")),
    }
}

fn addresses(section: &Section<'_>, taken: &mut Taken) -> Option<Vec<IpAddr>> {
    let expected = format!("1 to {ADDRESSES} addresses, such as [\"198.18.100.1\"]");
    let value = section.required("addresses", &expected)?;
    let items = value.items(&expected)?;
    if items.is_empty() || items.len() > ADDRESSES {
        return value.refuse(expected);
    }
    let addresses: Vec<Option<IpAddr>> = items.iter().map(|item| free_address(item, taken)).collect();
    addresses.into_iter().collect()
}

fn free_address(value: &Value<'_>, taken: &mut Taken) -> Option<IpAddr> {
    let address = unicast(value)?;
    if let Some(other) = taken.addresses.get(&address) {
        return value.refuse(format!("an address that nothing else has (as {other} has)"));
    }
    taken.addresses.insert(address, value.place.path.clone());
    Some(address)
}

/// The load balancer that listeners belong to.
struct Owner<'o> {
    /// Its key path.
    path: &'o str,
    /// Its addresses, unless they are wrong.
    addresses: Option<&'o [IpAddr]>,
}

fn listeners(
    section: &Section<'_>,
    known: &Known<'_>,
    taken: &mut Taken,
    owner: &Owner<'_>,
) -> Option<Vec<Listener>> {
    let mut listeners: Vec<Option<Listener>> = Vec::new();
    for section in required_sections(section, "listeners")? {
        let listener = section.and_then(|section| listener(&section, known, taken, owner, &listeners));
        listeners.push(listener);
    }
    listeners.into_iter().collect()
}

fn listener(
    section: &Section<'_>,
    known: &Known<'_>,
    taken: &mut Taken,
    owner: &Owner<'_>,
    earlier: &[Option<Listener>],
) -> Option<Listener> {
    section.allow_only(&["protocol", "port", "target_group", "attributes"]);
    let protocol = protocols(section);
    let port = port(section);
    let target_group = target_group(section, protocol, known, taken, owner);
    let attributes = attributes::of_listener(section, protocol);
    let (protocol, port) = (protocol?, port?);
    if earlier.iter().flatten().any(|listener| listener.port == port && overlap(listener.protocol, protocol))
    {
        let found = format!("{} port {port} a second time", protocol.name());
        section.errors().report(&section.place, found, "each protocol and port once per load balancer");
        return None;
    }
    let attributes = attributes?;
    Some(Listener {
        protocol,
        port,
        forward: Forward {
            groups: vec![WeightedGroup { group: target_group?, weight: 1 }],
            is_sticky: false,
        },
        tcp_idle_timeout_seconds: attributes.tcp_idle_timeout_seconds,
        adopts_strays: attributes.adopts_strays,
        has_syn_cookies: attributes.has_syn_cookies,
    })
}

fn overlap(one: Protocols, other: Protocols) -> bool {
    one.each().iter().any(|protocol| other.each().contains(protocol))
}

fn target_group(
    section: &Section<'_>,
    protocol: Option<Protocols>,
    known: &Known<'_>,
    taken: &mut Taken,
    owner: &Owner<'_>,
) -> Option<usize> {
    let expected = "the name of a target group";
    let value = section.required("target_group", expected)?;
    let name = value.text(expected)?;
    let groups = known.groups;
    let Some(index) = groups.iter().position(|group| group.name.as_deref() == Some(name)) else {
        let known: Vec<&str> = groups.iter().filter_map(|group| group.name.as_deref()).collect();
        return value.refuse(match known.is_empty() {
            true => "a target group; the file has none".into(),
            false => format!("one of the target groups: {}", known.join(", ")),
        });
    };
    let user = taken.groups.entry(index).or_insert_with(|| owner.path.into());
    if user != owner.path {
        return value.refuse(format!("a target group that no other load balancer uses (as {user} does)"));
    }
    let group = groups[index].checked.as_ref()?;
    let protocol = protocol?;
    if !protocol.forwards_to().contains(&group.protocol) {
        let found = format!("{:?}, a {} target group", group.name, group.protocol.name());
        let expected = format!("a {} target group for a {} listener", groups_for(protocol), protocol.name());
        section.errors().report(&value.place, found, expected);
        return None;
    }
    has_source(&value, group, known, owner)?;
    Some(index)
}

/// Refuses a target group that the load balancer could not send a packet of its own to: a flow whose client has another family
/// than its target is translated, and needs a source address of the target's.
fn has_source(value: &Value<'_>, group: &TargetGroup, known: &Known<'_>, owner: &Owner<'_>) -> Option<()> {
    let family = group.family;
    let sources = known.source_nat?.addresses_for(owner.addresses?);
    if sources.iter().any(|address| Family::of(*address) == family) {
        return Some(());
    }
    let found = format!("{:?}, a target group of {} targets", group.name, family.name());
    let expected = format!("a target group of the family of {}.addresses", owner.path);
    let advice = format!(
        "to translate, give {0}.addresses or source_nat.addresses an {1} address, which targets see instead of the client's",
        owner.path,
        family.name()
    );
    value.errors().advise(&value.place, found, expected, &advice);
    None
}
