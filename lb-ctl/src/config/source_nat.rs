//! Section `source_nat`: the addresses and ports that targets see in place of a client's.

use std::{net::IpAddr, ops::RangeInclusive};

use super::{
    Assignment, Family, PORTS_PER_CLIENT, SOURCE_ADDRESSES, SOURCE_PORTS_DEFAULT, SourceNat,
    address::unicast,
    read::{assignment, interface},
    target_group::{Group, target_at},
    walk::{Section, Value},
};
use lb_core::tables::InterfaceId;

impl SourceNat {
    /// Source addresses of a load balancer with these addresses: the configured ones and, of a family without any, its own.
    pub fn addresses_for(&self, own: &[IpAddr]) -> Vec<IpAddr> {
        let has = |family| self.addresses.iter().any(|address| Family::of(*address) == family);
        let own = own.iter().filter(|address| !has(Family::of(**address)));
        self.addresses.iter().chain(own).copied().collect()
    }
}

pub(super) fn read(root: &Section<'_>, interfaces: Option<&[String]>, groups: &[Group]) -> Option<SourceNat> {
    let Some(section) = root.optional_section("source_nat")? else {
        return Some(SourceNat {
            addresses: Vec::new(),
            ports: SOURCE_PORTS_DEFAULT,
            ports_per_client: None,
            interface: InterfaceId(0),
            assignment: Assignment::Daemon,
        });
    };
    section.allow_only(&["addresses", "ports", "ports_per_client", "interface", "assign"]);
    let addresses = addresses(&section, groups);
    let ports = match section.optional("ports") {
        Some(value) => ports(&value),
        None => Some(SOURCE_PORTS_DEFAULT),
    };
    let ports_per_client = match section.optional("ports_per_client") {
        Some(value) => value.integer(PORTS_PER_CLIENT).map(Some),
        None => Some(None),
    };
    let interface = interface(&section, interfaces);
    let assignment = assignment(&section);
    Some(SourceNat {
        addresses: addresses?,
        ports: ports?,
        ports_per_client: ports_per_client?,
        interface: interface?,
        assignment: assignment?,
    })
}

fn addresses(section: &Section<'_>, groups: &[Group]) -> Option<Vec<IpAddr>> {
    let Some(value) = section.optional("addresses") else {
        return Some(Vec::new());
    };
    let expected = format!("1 to {SOURCE_ADDRESSES} addresses, such as [\"198.18.100.9\"]");
    let items = value.items(&expected)?;
    if items.is_empty() || items.len() > SOURCE_ADDRESSES {
        return value.refuse(expected);
    }
    let mut addresses = Vec::new();
    for item in &items {
        let address = unicast(item)?;
        if addresses.contains(&address) {
            return item.refuse("each address once");
        }
        if let Some(target) = target_at(groups, address) {
            return item.refuse(format!("an address that no target has (as {target} has)"));
        }
        addresses.push(address);
    }
    Some(addresses)
}

/// `"FIRST-LAST"`.
fn ports(value: &Value<'_>) -> Option<RangeInclusive<u16>> {
    let expected = "a range of ports from 1 to 65535, the lower first, such as \"1024-65535\"";
    let range = value.text(expected)?.split_once('-').and_then(|(first, last)| {
        let range = port(first)?..=port(last)?;
        (!range.is_empty()).then_some(range)
    });
    if range.is_none() { value.refuse(expected) } else { range }
}

fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port != 0)
}
