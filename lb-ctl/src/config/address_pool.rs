//! Address pools: where load balancers made by call have their addresses from. What a subnet is to NLB.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use lb_core::tables::InterfaceId;

use super::{
    Assignment, Family,
    address::reachable,
    read::{assignment, interface, sections},
    walk::{Section, Value},
    zone,
};

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressPool {
    /// Its name, which the API calls `SubnetId`.
    pub name: String,
    /// Zone of its addresses; `None`: that of the pool's name in the API, and none otherwise.
    pub zone: Option<String>,
    /// Ranges of addresses, first and last.
    pub ranges: Vec<(IpAddr, IpAddr)>,
    /// Interface that its addresses are put on.
    pub interface: InterfaceId,
    /// Who puts them there.
    pub assignment: Assignment,
}

impl AddressPool {
    /// Whether an address is one of the pool's.
    pub fn has(&self, address: IpAddr) -> bool {
        let is_in = |(first, last): &(IpAddr, IpAddr)| {
            Family::of(*first) == Family::of(address) && (*first..=*last).contains(&address)
        };
        self.ranges.iter().any(is_in)
    }

    /// Whether it has addresses of a family.
    pub fn serves(&self, family: Family) -> bool {
        self.ranges.iter().any(|(first, _)| Family::of(*first) == family)
    }

    /// The first address of a family that is not taken.
    pub fn free(&self, family: Family, taken: &HashSet<IpAddr>) -> Option<IpAddr> {
        let ranges = self.ranges.iter().filter(|(first, _)| Family::of(*first) == family);
        let mut addresses = ranges.flat_map(|(first, last)| each(*first, *last));
        addresses.find(|address| !taken.contains(address))
    }
}

/// Key `address_pools`.
pub(super) fn all(root: &Section<'_>, interfaces: Option<&[String]>) -> Option<Vec<AddressPool>> {
    let sections = sections(root, "address_pools")?;
    let mut pools: Vec<Option<AddressPool>> = Vec::new();
    for section in sections {
        let pool = section.and_then(|section| pool(&section, interfaces, &pools));
        pools.push(pool);
    }
    pools.into_iter().collect()
}

fn pool(
    section: &Section<'_>,
    interfaces: Option<&[String]>,
    earlier: &[Option<AddressPool>],
) -> Option<AddressPool> {
    section.allow_only(&["name", "zone", "addresses", "interface", "assign"]);
    let expected = format!("a name of 1 to {NAME_CHARACTERS} letters, digits and hyphens");
    let value = section.required("name", &expected)?;
    let name = value.text(&expected)?;
    let is_valid = (1..=NAME_CHARACTERS).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_valid {
        return value.refuse(expected);
    }
    if earlier.iter().flatten().any(|pool| pool.name == name) {
        return value.refuse("a name that no other address pool has");
    }
    let zone = match section.optional("zone") {
        Some(value) => zone::one(&value).map(Some),
        None => Some(None),
    };
    let ranges = ranges(section, earlier);
    let interface = interface(section, interfaces);
    Some(AddressPool {
        name: name.into(),
        zone: zone?,
        ranges: ranges?,
        interface: interface?,
        assignment: assignment(section)?,
    })
}

fn ranges(section: &Section<'_>, earlier: &[Option<AddressPool>]) -> Option<Vec<(IpAddr, IpAddr)>> {
    let value = section.required("addresses", RANGES_EXPECTED)?;
    let items = value.items(RANGES_EXPECTED)?;
    if items.is_empty() {
        return value.refuse(RANGES_EXPECTED);
    }
    let mut ranges: Vec<(IpAddr, IpAddr)> = Vec::new();
    for item in &items {
        let (first, last) = range(item)?;
        let mut known = ranges.iter().chain(earlier.iter().flatten().flat_map(|pool| &pool.ranges));
        let overlaps = |known: &(IpAddr, IpAddr)| {
            Family::of(known.0) == Family::of(first) && known.0 <= last && first <= known.1
        };
        if known.any(overlaps) {
            return item.refuse("addresses that are in no other range");
        }
        ranges.push((first, last));
    }
    Some(ranges)
}

/// `FIRST-LAST`, `NETWORK/LENGTH` or one address.
fn range(value: &Value<'_>) -> Option<(IpAddr, IpAddr)> {
    let text = value.text(RANGE_EXPECTED)?;
    let Some((first, last)) = parse(text) else { return value.refuse(RANGE_EXPECTED) };
    value.accept(reachable(first))?;
    value.accept(reachable(last))?;
    Some((first, last))
}

fn parse(text: &str) -> Option<(IpAddr, IpAddr)> {
    if let Some((first, last)) = text.split_once('-') {
        let (first, last): (IpAddr, IpAddr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        return (Family::of(first) == Family::of(last) && first <= last).then_some((first, last));
    }
    let Some((network, length)) = text.split_once('/') else {
        let address = text.parse().ok()?;
        return Some((address, address));
    };
    let length: u32 = length.parse().ok()?;
    match network.parse().ok()? {
        // Neither the network's own address nor its broadcast address.
        IpAddr::V4(network) if (8..=30).contains(&length) => {
            let host = u32::MAX >> length;
            let bits = network.to_bits();
            let edge = |bits: u32| IpAddr::V4(Ipv4Addr::from_bits(bits));
            (bits & host == 0).then(|| (edge(bits + 1), edge((bits | host) - 1)))
        }
        IpAddr::V6(network) if (32..=126).contains(&length) => {
            let host = u128::MAX >> length;
            let bits = network.to_bits();
            let edge = |bits: u128| IpAddr::V6(Ipv6Addr::from_bits(bits));
            (bits & host == 0).then(|| (edge(bits + 1), edge(bits | host)))
        }
        _ => None,
    }
}

/// Each address from the first to the last.
fn each(first: IpAddr, last: IpAddr) -> Box<dyn Iterator<Item = IpAddr>> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            Box::new((first.to_bits()..=last.to_bits()).map(|bits| Ipv4Addr::from_bits(bits).into()))
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            Box::new((first.to_bits()..=last.to_bits()).map(|bits| Ipv6Addr::from_bits(bits).into()))
        }
        _ => Box::new(std::iter::empty()), // A range is of one family.
    }
}

const NAME_CHARACTERS: usize = 64;
const RANGE_EXPECTED: &str =
    "addresses such as \"198.18.100.16-198.18.100.31\", \"198.18.100.0/28\" or \"2001:db8:100::10\"";
const RANGES_EXPECTED: &str = "an array of addresses, such as [\"198.18.100.16-198.18.100.31\"]";
