//! Load balancers and their addresses.

use std::{collections::HashMap, net::IpAddr};

use super::{
    ADDRESSES, LoadBalancer, SourceNat, Vip,
    address::{ADDRESS_EXPECTED, unicast},
    attributes, listener,
    read::{assignment, interface, name, one_of, sections},
    tags,
    target_group::Group,
    walk::{Section, Value},
    zone,
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
    let sections = sections(root, "load_balancers")?;
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
pub(super) struct Taken {
    names: HashMap<String, String>,
    addresses: HashMap<IpAddr, String>,
    /// By their indexes.
    pub(super) groups: HashMap<usize, String>,
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
    section.allow_only(&[
        "name",
        "scheme",
        "addresses",
        "interface",
        "assign",
        "listeners",
        "attributes",
        "tags",
    ]);
    let name = unique_name(section, taken);
    let vips = vips(section, taken);
    let interface = interface(section, known.interfaces);
    let assignment = assignment(section);
    let owner = Owner { path: &section.place.path, vips: vips.as_deref() };
    let listeners = listener::all(section, known, taken, &owner);
    let is_internal = match section.optional("scheme") {
        Some(value) => one_of(&value, &SCHEMES)?,
        None => false,
    };
    let attributes = attributes::of_load_balancer(section, is_internal);
    tags::check(section);
    Some(LoadBalancer {
        name: name?,
        vips: vips?,
        interface: interface?,
        assignment: assignment?,
        listeners: listeners?,
        crosses_zones: attributes?.crosses_zones,
        is_deletion_protected: attributes?.is_deletion_protected,
    })
}

/// The load balancer that listeners belong to.
pub(super) struct Owner<'o> {
    /// Its key path.
    pub(super) path: &'o str,
    /// Its addresses, unless they are wrong.
    pub(super) vips: Option<&'o [Vip]>,
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

fn vips(section: &Section<'_>, taken: &mut Taken) -> Option<Vec<Vip>> {
    let expected = format!("1 to {ADDRESSES} addresses, such as [\"198.18.100.1\"]");
    let value = section.required("addresses", &expected)?;
    let items = value.items(&expected)?;
    if items.is_empty() || items.len() > ADDRESSES {
        return value.refuse(expected);
    }
    let vips: Vec<Option<Vip>> = items.iter().map(|item| vip(item, taken)).collect();
    let vips = vips.into_iter().collect::<Option<Vec<Vip>>>()?;
    let has_zones = vips[0].zone.is_some();
    match items.iter().zip(&vips).find(|(_, vip)| vip.zone.is_some() != has_zones) {
        Some((item, _)) => item.refuse("addresses all with a zone, or all without"),
        None => Some(vips),
    }
}

/// `"ADDRESS"` or `{ address, zone }`.
fn vip(item: &Value<'_>, taken: &mut Taken) -> Option<Vip> {
    if item.as_text().is_some() {
        return Some(Vip { address: free_address(item, taken)?, zone: None });
    }
    let section = item.section_or("an address, or { address = \"198.18.100.1\", zone = \"a\" }")?;
    section.allow_only(&["address", "zone", "pool"]);
    if let Some(value) = section.optional("pool") {
        value.text("the name of an address pool")?;
    }
    let address = section.required("address", ADDRESS_EXPECTED).and_then(|value| free_address(&value, taken));
    let zone = match section.optional("zone") {
        Some(value) => zone::one(&value).map(Some),
        None => Some(None),
    };
    Some(Vip { address: address?, zone: zone? })
}

fn free_address(value: &Value<'_>, taken: &mut Taken) -> Option<IpAddr> {
    let address = unicast(value)?;
    if let Some(other) = taken.addresses.get(&address) {
        return value.refuse(format!("an address that nothing else has (as {other} has)"));
    }
    taken.addresses.insert(address, value.place.path.clone());
    Some(address)
}

/// Where clients are; nothing depends on it (NLB "Scheme").
/// Schemes, and whether they are internal.
const SCHEMES: [(&str, bool); 2] = [("internal", true), ("internet-facing", false)];
