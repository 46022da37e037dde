//! Targets: what a group's table or a call may register, by the same rules.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
};

use super::{
    Config, ConfigError, Family, Registrar, TargetGroup, TargetType,
    address::{ADDRESS_EXPECTED, reachable, unicast},
    errors::Refusal,
    read::{PORT, one_of},
    walk::{Section, Value, integer_expected},
    zone,
};
use lb_core::limits;

/// A registered target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Address.
    pub address: IpAddr,
    /// Port, not 0.
    pub port: u16,
    /// Share of new flows in proportion to the group's other weights; 0: none.
    pub weight: u16,
    /// Its zone; `None`: all zones.
    pub zone: Option<String>,
    /// The machine is switched off on purpose: no checks and no flows.
    pub is_stopped: bool,
}

/// A target as a call names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRequest {
    /// Address.
    pub address: IpAddr,
    /// Port; `None`: the group's.
    pub port: Option<u16>,
    /// Share of new flows in proportion to the group's other weights; `None`: 1.
    pub weight: Option<u16>,
    /// Zone; `None`, or `all`: all zones.
    pub zone: Option<String>,
}

impl Config {
    /// The target that a call registers in one of the groups, by the rules of targets in a file. It is not added: whether the
    /// group has it already, or no room for it, is the caller's to see.
    ///
    /// # Errors
    /// Says which key of the request (`address`, `port`, `weight`, `zone`) is wrong.
    pub fn admit(&self, group: &TargetGroup, request: &TargetRequest) -> Result<Target, ConfigError> {
        let address = self.admit_address(group, request.address);
        let port = within(request.port.unwrap_or(group.port), PORT);
        let weight = within(request.weight.unwrap_or(WEIGHT_DEFAULT), WEIGHT);
        let zone = request.zone.as_deref().map_or(Ok(None), zone::parse);
        Ok(Target {
            address: address.map_err(|refusal| refusal.of_key("address"))?,
            port: port.map_err(|refusal| refusal.of_key("port"))?,
            weight: weight.map_err(|refusal| refusal.of_key("weight"))?,
            zone: zone.map_err(|refusal| refusal.of_key("zone"))?,
            is_stopped: false,
        })
    }

    fn admit_address(&self, group: &TargetGroup, address: IpAddr) -> Result<IpAddr, Refusal> {
        reachable(address)?;
        of_family(address, group.family, group.target_type)?;
        let of_listeners = self.addresses().map(|address| (address, "load balancer"));
        let of_sources = self.source_nat.addresses.iter().map(|address| (*address, "source"));
        match of_listeners.chain(of_sources).find(|(own, _)| *own == address) {
            Some((_, owner)) => {
                Err(Refusal::new(format!("\"{address}\""), format!("an address that no {owner} has")))
            }
            None => Ok(address),
        }
    }
}

/// A group's targets.
pub(super) struct Registered {
    pub(super) registrar: Registrar,
    pub(super) family: Family,
    pub(super) targets: Vec<Target>,
}

/// Keys `targets` and `ip_address_type` of a group.
pub(super) fn registered(
    section: &Section<'_>,
    default_port: Option<u16>,
    target_type: Option<TargetType>,
) -> Option<Registered> {
    let stated = stated_family(section, target_type);
    let Some(value) = section.optional("targets") else {
        let family = stated?.unwrap_or(Family::V4);
        return Some(Registered { registrar: Registrar::Calls, family, targets: Vec::new() });
    };
    let items = value.items("an array of targets, such as [{ address = \"198.19.1.2\" }]")?;
    value.accept(has_room(items.len()))?;
    let mut seen = HashSet::new();
    let read = |item: &Value<'_>| {
        let target = target(item, default_port)?;
        match seen.insert((target.address, target.port)) {
            true => Some(target),
            false => item.accept(Err(twice(&target))),
        }
    };
    let targets: Vec<Option<Target>> = items.iter().map(read).collect();
    let targets = targets.into_iter().collect::<Option<Vec<Target>>>()?;
    let of_first = targets.first().map_or(Family::V4, |target| Family::of(target.address));
    let family = stated?.unwrap_or(of_first);
    for (item, target) in items.iter().zip(&targets) {
        item.accept(of_family(target.address, family, target_type?))?;
    }
    Some(Registered { registrar: Registrar::File, family, targets })
}

/// The family that a group's targets must be of, if its type or `ip_address_type` says.
fn stated_family(section: &Section<'_>, target_type: Option<TargetType>) -> Option<Option<Family>> {
    let is_instance = target_type? == TargetType::Instance;
    let Some(value) = section.optional("ip_address_type") else {
        return Some(is_instance.then_some(Family::V4));
    };
    match one_of(&value, &FAMILIES)? {
        Family::V6 if is_instance => value.refuse_with_advice("\"ipv4\"", INSTANCES_ARE_V4),
        family => Some(Some(family)),
    }
}

fn target(item: &Value<'_>, default_port: Option<u16>) -> Option<Target> {
    let section = item.section()?;
    section.allow_only(&["address", "port", "weight", "zone", "stopped"]);
    let address = section.required("address", ADDRESS_EXPECTED).and_then(|value| unicast(&value));
    let port = match section.optional("port") {
        Some(value) => value.integer(PORT),
        None => default_port,
    };
    let weight = match section.optional("weight") {
        Some(value) => value.integer(WEIGHT),
        None => Some(WEIGHT_DEFAULT),
    };
    let zone = match section.optional("zone") {
        Some(value) => zone::one_or_all(&value),
        None => Some(None),
    };
    let is_stopped = match section.optional("stopped") {
        Some(value) => value.boolean(),
        None => Some(false),
    };
    Some(Target { address: address?, port: port?, weight: weight?, zone: zone?, is_stopped: is_stopped? })
}

fn of_family(address: IpAddr, family: Family, target_type: TargetType) -> Result<(), Refusal> {
    if Family::of(address) == family {
        return Ok(());
    }
    let advice = match target_type {
        TargetType::Instance => INSTANCES_ARE_V4,
        TargetType::Ip => "the targets of a group are of one family: make a target group for each",
    };
    Err(Refusal::new(address.to_string(), format!("an {} address", family.name())).advise(advice))
}

fn twice(target: &Target) -> Refusal {
    let found = format!("{} a second time", SocketAddr::new(target.address, target.port));
    Refusal::new(found, "each address and port once")
}

/// Refuses more targets than a group can have.
fn has_room(count: usize) -> Result<(), Refusal> {
    match count <= limits::TARGETS_PER_GROUP {
        true => Ok(()),
        false => {
            Err(Refusal::new(format!("{count} targets"), format!("at most {}", limits::TARGETS_PER_GROUP)))
        }
    }
}

/// Refuses more targets than all groups together can have.
pub(super) fn have_room(count: usize) -> Result<(), Refusal> {
    let most = format!("at most {} over all target groups", limits::TARGETS);
    if count <= limits::TARGETS { Ok(()) } else { Err(Refusal::new(format!("{count} targets"), most)) }
}

fn within(number: u16, range: RangeInclusive<i64>) -> Result<u16, Refusal> {
    match range.contains(&number.into()) {
        true => Ok(number),
        false => Err(Refusal::new(number.to_string(), integer_expected(&range))),
    }
}

const FAMILIES: [(&str, Family); 2] = [("ipv4", Family::V4), ("ipv6", Family::V6)];
const INSTANCES_ARE_V4: &str = "instance targets have IPv4 addresses: take target_type \"ip\"";
const WEIGHT: RangeInclusive<i64> = 0..=limits::TARGET_WEIGHT as i64;
const WEIGHT_DEFAULT: u16 = 1;
