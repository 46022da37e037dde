//! Load balancers and where their addresses come from.

use std::{collections::HashSet, net::IpAddr};

use lb_core::limits;

use super::{AddressRequest, Ground, IpAddressType, NewLoadBalancer, Ref};
use crate::{
    api::{Refusal, RefusalCode},
    config::{AddressPool, Assignment, Family},
    objects::{Address, Id, LoadBalancer, Objects, is_protected},
};

/// Makes a load balancer; one that is there already with the same settings is as good.
pub(super) fn create(
    objects: &mut Objects,
    new: NewLoadBalancer,
    ground: &Ground<'_>,
) -> Result<Id, Refusal> {
    if let Some(known) = objects.load_balancer(&new.name) {
        return match is_like(known, &new) {
            true => Ok(known.id),
            false => Err(Refusal::of(
                RefusalCode::DuplicateLoadBalancerName,
                format!("a load balancer named {:?} exists already, with other settings", new.name),
            )),
        };
    }
    if objects.load_balancers.len() >= LOAD_BALANCERS {
        let error = format!("there can be {LOAD_BALANCERS} load balancers");
        return Err(Refusal::of(RefusalCode::TooManyLoadBalancers, error));
    }
    let asked =
        Asked { requests: &new.addresses, is_dualstack: new.ip_address_type == IpAddressType::Dualstack };
    let addresses = asked.addresses(objects, &[], ground)?;
    let id = Id::fresh();
    let placed = placement(&new.addresses, ground);
    objects.load_balancers.push(LoadBalancer {
        name: new.name,
        id,
        created: ground.context.now.into(),
        declared: false,
        scheme: new.scheme,
        addresses,
        interface: placed.as_ref().map(|(interface, _)| interface.clone()),
        assign: placed.and_then(|(_, assignment)| (assignment == Assignment::Elsewhere).then_some(false)),
        attributes: new.attributes,
        tags: new.tags,
        listeners: Vec::new(),
    });
    Ok(id)
}

/// Gives a load balancer other addresses.
pub(super) fn set_addresses(
    objects: &mut Objects,
    at: usize,
    (requests, ip_address_type): (&[AddressRequest], Option<IpAddressType>),
    ground: &Ground<'_>,
) -> Result<Id, Refusal> {
    let lb = &objects.load_balancers[at];
    let is_dualstack = ip_address_type.map_or(lb.is_dualstack(), |wanted| wanted == IpAddressType::Dualstack);
    let own = lb.addresses.clone();
    let addresses = Asked { requests, is_dualstack }.addresses(objects, &own, ground)?;
    let lb = &mut objects.load_balancers[at];
    lb.addresses = addresses;
    Ok(lb.id)
}

/// Adds or removes the IPv6 addresses of a load balancer whose addresses are from pools.
pub(super) fn set_ip_address_type(
    objects: &mut Objects,
    at: usize,
    wanted: IpAddressType,
    ground: &Ground<'_>,
) -> Result<Id, Refusal> {
    let lb = &objects.load_balancers[at];
    if wanted == IpAddressType::Dualstack {
        if lb.is_dualstack() {
            return Ok(lb.id);
        }
        if lb.addresses.iter().all(|row| row.pool.is_none()) {
            let error = format!(
                "no address of load balancer {:?} is of an address pool, so no pool can give it an IPv6 address: set its \
                 addresses",
                lb.name
            );
            return Err(Refusal::of(RefusalCode::InvalidConfigurationRequest, error));
        }
    }
    let mut requests: Vec<AddressRequest> = Vec::new();
    for row in lb.addresses.iter().filter(|row| Family::of(row.address) == Family::V4) {
        let (ipv4, zone) = (Some(row.address), row.zone.clone());
        requests.push(AddressRequest { pool: row.pool.clone(), ipv4, ipv6: None, zone });
    }
    set_addresses(objects, at, (&requests, Some(wanted)), ground)
}

/// Removes a load balancer that is not protected.
pub(super) fn delete(objects: &mut Objects, load_balancer: &Ref) -> Result<Id, Refusal> {
    let at = objects.load_balancer_at(load_balancer)?;
    let lb = &objects.load_balancers[at];
    if is_protected(lb) {
        return Err(Refusal::of(
            RefusalCode::OperationNotPermitted,
            format!(
                "load balancer {:?} cannot be deleted because deletion protection is enabled: set its attribute \
                 \"deletion_protection.enabled\" to false first",
                lb.name
            ),
        ));
    }
    Ok(objects.load_balancers.remove(at).id)
}

/// Whether a load balancer is what a request asks for.
fn is_like(known: &LoadBalancer, new: &NewLoadBalancer) -> bool {
    let is_had = |wanted: IpAddr| known.addresses.iter().any(|row| row.address == wanted);
    let is_served = |request: &AddressRequest| {
        request.ipv4.is_none_or(is_had)
            && request.ipv6.is_none_or(is_had)
            && request
                .pool
                .as_ref()
                .is_none_or(|pool| known.addresses.iter().any(|row| row.pool.as_ref() == Some(pool)))
    };
    let is_of_request = |row: &Address| match &row.pool {
        Some(pool) => new.addresses.iter().any(|request| request.pool.as_ref() == Some(pool)),
        None => new.addresses.iter().any(|request| [request.ipv4, request.ipv6].contains(&Some(row.address))),
    };
    let is_dualstack = new.ip_address_type == IpAddressType::Dualstack;
    let has_given_v6 = new.addresses.iter().any(|request| request.ipv6.is_some());
    known.scheme == new.scheme
        && known.tags == new.tags
        && known.is_dualstack() == (is_dualstack || has_given_v6 && known.is_dualstack())
        && new.addresses.iter().all(is_served)
        && known.addresses.iter().all(is_of_request)
}

/// Interface and assignment that the pools of the requests ask for.
fn placement(requests: &[AddressRequest], ground: &Ground<'_>) -> Option<(String, Assignment)> {
    let name = requests.iter().find_map(|request| request.pool.as_ref())?;
    let pool = ground.config.address_pools.iter().find(|pool| pool.name == *name)?;
    Some((ground.config.interfaces.get(usize::from(pool.interface.0))?.clone(), pool.assignment))
}

/// What addresses are asked for.
struct Asked<'a> {
    requests: &'a [AddressRequest],
    is_dualstack: bool,
}

impl Asked<'_> {
    /// The addresses; those of `own` that still fit stay.
    fn addresses(
        &self,
        objects: &Objects,
        own: &[Address],
        ground: &Ground<'_>,
    ) -> Result<Vec<Address>, Refusal> {
        if self.requests.is_empty() {
            let error = "at least one subnet or address must be specified";
            return Err(Refusal::of(RefusalCode::ValidationError, error));
        }
        let mut taken = taken(objects, ground);
        taken.retain(|address| own.iter().all(|row| row.address != *address));
        let mut addresses = Vec::new();
        let mut pools: Vec<&AddressPool> = Vec::new();
        for request in self.requests {
            match &request.pool {
                None => addresses.extend(given(request)?),
                Some(name) => {
                    let pool = pool(name, ground)?;
                    if pools.iter().any(|known| {
                        known.name == pool.name || known.zone == pool.zone && pool.zone.is_some()
                    }) {
                        return Err(Refusal::of(
                            RefusalCode::InvalidConfigurationRequest,
                            "a load balancer cannot be attached to multiple subnets in the same Availability Zone",
                        ));
                    }
                    if pools.first().is_some_and(|first| first.interface != pool.interface) {
                        return Err(Refusal::of(
                            RefusalCode::InvalidSubnet,
                            "the subnets of a load balancer must be on the same interface",
                        ));
                    }
                    pools.push(pool);
                    addresses.extend(self.of_pool(request, pool, own, &mut taken)?);
                }
            }
        }
        // Either all addresses have zones or none has: pools without are zones by their own names among pools with.
        if addresses.iter().any(|row| row.zone.is_some()) {
            for row in addresses.iter_mut().filter(|row| row.zone.is_none()) {
                row.zone.clone_from(&row.pool);
            }
        }
        Ok(addresses)
    }

    fn of_pool(
        &self,
        request: &AddressRequest,
        pool: &AddressPool,
        own: &[Address],
        taken: &mut HashSet<IpAddr>,
    ) -> Result<Vec<Address>, Refusal> {
        if let Some(address) = request.ipv6.filter(|_| !self.is_dualstack) {
            let error = format!(
                "the address {address} of subnet '{}' needs the IP address type dualstack, and the load balancer's is ipv4",
                pool.name
            );
            return Err(Refusal::of(RefusalCode::InvalidConfigurationRequest, error));
        }
        let wanted = [(Family::V4, request.ipv4, true), (Family::V6, request.ipv6, self.is_dualstack)];
        let mut addresses = Vec::new();
        for (family, given, is_wanted) in wanted {
            if !is_wanted {
                continue;
            }
            let kept = || {
                let mut own = own.iter().filter(|row| row.pool.as_deref() == Some(&*pool.name));
                own.find(|row| Family::of(row.address) == family).map(|row| row.address)
            };
            let address = match given {
                Some(address) => certain(address, (family, pool), taken)?,
                None => kept().or_else(|| pool.free(family, taken)).ok_or_else(|| exhausted(family, pool))?,
            };
            taken.insert(address);
            addresses.push(Address { address, zone: pool.zone.clone(), pool: Some(pool.name.clone()) });
        }
        Ok(addresses)
    }
}

/// Addresses that cannot be given to anybody else.
fn taken(objects: &Objects, ground: &Ground<'_>) -> HashSet<IpAddr> {
    let vips = objects.load_balancers.iter().flat_map(|lb| &lb.addresses).map(|row| row.address);
    let targets = objects.target_groups.iter().flat_map(|group| &group.targets).map(|row| row.address);
    vips.chain(targets).chain(ground.config.source_nat.addresses.iter().copied()).collect()
}

/// Addresses of no pool.
fn given(request: &AddressRequest) -> Result<Vec<Address>, Refusal> {
    let addresses: Vec<Address> = [request.ipv4, request.ipv6]
        .into_iter()
        .flatten()
        .map(|address| Address { address, zone: request.zone.clone(), pool: None })
        .collect();
    match addresses.is_empty() {
        true => Err(Refusal::of(RefusalCode::ValidationError, "an address or a pool must be specified")),
        false => Ok(addresses),
    }
}

fn pool<'g>(name: &str, ground: &'g Ground<'_>) -> Result<&'g AddressPool, Refusal> {
    let pools = &ground.config.address_pools;
    pools.iter().find(|pool| pool.name == name).ok_or_else(|| {
        let known: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
        let known = match known.is_empty() {
            true => "no [[address_pools]] are configured".into(),
            false => format!("the address pools are: {}", known.join(", ")),
        };
        Refusal::of(RefusalCode::SubnetNotFound, format!("the subnet ID '{name}' does not exist; {known}"))
    })
}

/// A certain address of a pool.
fn certain(
    address: IpAddr,
    (family, pool): (Family, &AddressPool),
    taken: &HashSet<IpAddr>,
) -> Result<IpAddr, Refusal> {
    let why = if Family::of(address) != family {
        format!("is not an {} address", family.name())
    } else if !pool.has(address) {
        format!("is not in the range of subnet '{}'", pool.name)
    } else if taken.contains(&address) {
        "is in use".into()
    } else {
        return Ok(address);
    };
    Err(Refusal::of(RefusalCode::InvalidConfigurationRequest, format!("the address {address} {why}")))
}

fn exhausted(family: Family, pool: &AddressPool) -> Refusal {
    let (family_name, name) = (family.name(), &pool.name);
    let error = match pool.serves(family) {
        true => format!("not enough {family_name} address space available in subnet '{name}'"),
        false => format!("subnet '{name}' has no {family_name} addresses"),
    };
    Refusal::of(RefusalCode::InvalidSubnet, error)
}

/// Most load balancers made by calls: as many as there can be listeners, without which they are nothing.
pub const LOAD_BALANCERS: usize = limits::LISTENERS;
