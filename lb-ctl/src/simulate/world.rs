//! The world around a simulated load balancer: who is registered, in which state, and which next hops there are.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use lb_core::{
    tables::{Interface, InterfaceId, Mac, NextHop, Ownership, Tables},
    time::Instant,
};

use super::{AssumedHealth, AssumedState, Assumptions, Neighbor, SimulateError};
use crate::{
    api::{NewTarget, TargetChanges},
    change::targets,
    compile::{Compiler, Inputs},
    config::{Config, Registrar},
    health::{TargetHealth, TargetKey},
};

/// All that tables are compiled from.
pub(super) struct World<'a> {
    config: Config,
    assumptions: &'a Assumptions,
    /// Of targets that are not healthy.
    healths: HashMap<TargetKey, TargetHealth>,
    hops: BTreeMap<IpAddr, NextHop>,
    compiler: Compiler,
}

impl<'a> World<'a> {
    /// The configuration with the assumed states. Draining targets are registered first and deregistered then, as they were in
    /// the daemon; unused ones are not registered at all.
    pub(super) fn new(config: &Config, assumptions: &'a Assumptions) -> Result<World<'a>, SimulateError> {
        interface(config, &assumptions.interface).ok_or_else(|| {
            let Assumptions { interface, .. } = assumptions;
            none_of_the_interfaces(config, &format!("the frames' interface is {interface:?}"))
        })?;
        let mut world = World {
            config: config.clone(),
            assumptions,
            healths: HashMap::new(),
            hops: neighbors(config, assumptions)?,
            compiler: Compiler::new(),
        };
        world.register_named()?;
        world.note_healths()?;
        world.deregister(AssumedHealth::Unused);
        world.tables()?;
        world.deregister(AssumedHealth::Draining);
        Ok(world)
    }

    /// The tables of the world as it is now.
    pub(super) fn tables(&mut self) -> Result<Arc<Tables>, SimulateError> {
        let World { config, assumptions, healths, hops, compiler } = self;
        let interface = |(index, name): (usize, &String)| Interface {
            name: name.as_str().into(),
            mac: Mac([0x02, 0x4c, 0x42, 0, 0, index as u8 + 1]),
            mtu: assumptions.mtu,
            receive_hash: None,
        };
        let tables = compiler.compile(&Inputs {
            config,
            interfaces: config.interfaces.iter().enumerate().map(interface).collect(),
            health: &|key| healths.get(key).copied().unwrap_or(TargetHealth::Healthy),
            next_hop: &|address| Some(hops.get(&address).copied().unwrap_or_else(|| made_up_hop(address))),
            hops: hops.iter().map(|(address, hop)| (*address, *hop)).collect(),
            ownership: &|_| Ownership::Exclusive,
            host_addresses: &BTreeSet::new(),
            now: Instant::default(),
        });
        tables.map_err(SimulateError::Tables)
    }

    /// Makes up next hops for addresses that have none.
    pub(super) fn resolve(&mut self, wanted: &[IpAddr]) {
        for &address in wanted {
            self.hops.entry(address).or_insert_with(|| made_up_hop(address));
        }
    }

    /// Registers the targets that a state is told of, where targets come by calls.
    fn register_named(&mut self) -> Result<(), SimulateError> {
        for AssumedState { group, target, .. } in &self.assumptions.states {
            let is_of_calls = self
                .config
                .target_groups
                .iter()
                .any(|row| row.name == *group && row.registrar == Registrar::Calls);
            if is_of_calls {
                let new =
                    NewTarget { address: target.ip(), port: Some(target.port()), weight: None, zone: None };
                let changes = TargetChanges { register: vec![new], deregister: Vec::new() };
                let registered = targets::apply(&mut self.config, group, &changes);
                registered.map_err(|refusal| SimulateError::Assumption(refusal.error))?;
            }
        }
        Ok(())
    }

    /// Looks up whose health is told. States of single groups go before those of all.
    fn note_healths(&mut self) -> Result<(), SimulateError> {
        for target in &self.assumptions.unhealthy {
            let groups = self
                .config
                .target_groups
                .iter()
                .filter(|group| has_target(&self.config, &group.name, *target));
            let keys: Vec<TargetKey> = groups.map(|group| key(&group.name, *target)).collect();
            if keys.is_empty() {
                return Err(SimulateError::Assumption(format!("no target group has the target {target}")));
            }
            self.healths.extend(keys.into_iter().map(|key| (key, AssumedHealth::Unhealthy.of_checks())));
        }
        for AssumedState { group, target, health } in &self.assumptions.states {
            if !has_target(&self.config, group, *target) {
                return Err(SimulateError::Assumption(no_target(&self.config, group, *target)));
            }
            self.healths.insert(key(group, *target), health.of_checks());
        }
        Ok(())
    }

    /// Takes the targets in one state out of the configuration.
    fn deregister(&mut self, health: AssumedHealth) {
        for state in self.assumptions.states.iter().filter(|state| state.health == health) {
            let groups = self.config.target_groups.iter_mut().filter(|group| group.name == state.group);
            for group in groups {
                group.targets.retain(|target| {
                    (target.address, target.port) != (state.target.ip(), state.target.port())
                });
            }
        }
    }
}

fn key(group: &str, target: SocketAddr) -> TargetKey {
    TargetKey { group: group.into(), address: target.ip(), port: target.port() }
}

fn has_target(config: &Config, group: &str, target: SocketAddr) -> bool {
    config.target(group, target.ip(), target.port()).is_some()
}

fn no_target(config: &Config, group: &str, target: SocketAddr) -> String {
    let names: Vec<&str> = config.target_groups.iter().map(|group| group.name.as_str()).collect();
    match names.contains(&group) {
        true => format!("target group {group:?} has no target {target}"),
        false => format!("there is no target group {group:?}: the configuration has {}", names.join(", ")),
    }
}

fn neighbors(config: &Config, assumptions: &Assumptions) -> Result<BTreeMap<IpAddr, NextHop>, SimulateError> {
    let hop = |neighbor: &Neighbor| match interface(config, &neighbor.interface) {
        Some(interface) => Ok((neighbor.address, NextHop { interface, mac: neighbor.mac })),
        None => {
            let what = format!("the neighbor {} is on {:?}", neighbor.address, neighbor.interface);
            Err(none_of_the_interfaces(config, &what))
        }
    };
    assumptions.neighbors.iter().map(hop).collect()
}

/// The configured interface of a name.
pub(super) fn interface(config: &Config, name: &str) -> Option<InterfaceId> {
    config.interfaces.iter().position(|known| known == name).map(|index| InterfaceId(index as u8))
}

fn none_of_the_interfaces(config: &Config, what: &str) -> SimulateError {
    SimulateError::Assumption(format!(
        "{what}, which is none of the configured interfaces: {}",
        config.interfaces.join(", ")
    ))
}

/// On the first interface, with a link address that tells the address.
fn made_up_hop(address: IpAddr) -> NextHop {
    let [.., a, b, c, d] = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    NextHop { interface: InterfaceId(0), mac: Mac([0x02, 0, a, b, c, d]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_up_hop_tells_its_address() {
        let hop = made_up_hop("198.19.1.2".parse().unwrap());
        assert_eq!(hop, NextHop { interface: InterfaceId(0), mac: Mac([0x02, 0, 198, 19, 1, 2]) });
        let hop = made_up_hop("2001:db8:1::1234:2".parse().unwrap());
        assert_eq!(hop.mac, Mac([0x02, 0, 0x12, 0x34, 0, 2]));
    }
}
