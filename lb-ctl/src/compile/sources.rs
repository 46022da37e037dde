//! Sources: the addresses and ports that flows have towards their targets when they do not keep the client's.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use lb_core::tables::{Ownership, Source, Sources};

use super::listeners::endpoints;
use crate::config::{ClientAddress, Config, Family, Listener, LoadBalancer};

/// Every source that a flow of this configuration can have.
pub fn sources(config: &Config, ownership: &dyn Fn(IpAddr) -> Ownership) -> BTreeSet<Source> {
    let mut sources = BTreeSet::new();
    for (endpoint, lb, listener) in endpoints(config) {
        let addresses = addresses(config, ownership, (lb, endpoint.address), listener);
        sources.extend(addresses.into_iter().map(|address| Source {
            address,
            first_port: *config.source_nat.ports.start(),
            last_port: *config.source_nat.ports.end(),
        }));
    }
    sources
}

/// The sources of a listener on one of its load balancer's addresses.
pub(super) fn of_listener(
    config: &Config,
    ownership: &dyn Fn(IpAddr) -> Ownership,
    vip: (&LoadBalancer, IpAddr),
    listener: &Listener,
) -> Arc<Sources> {
    let addresses = addresses(config, ownership, vip, listener).into();
    Arc::new(Sources { addresses, ports: config.source_nat.ports.clone() })
}

/// A listener whose flows keep the client's address needs sources for targets that are their own clients only. For that it
/// takes no ports from the host: of its own addresses it uses those that the host does not.
fn addresses(
    config: &Config,
    ownership: &dyn Fn(IpAddr) -> Ownership,
    (lb, vip): (&LoadBalancer, IpAddr),
    listener: &Listener,
) -> Vec<IpAddr> {
    let forward = listener.forward_for(Family::of(vip));
    let groups = || forward.groups.iter().map(|row| &config.target_groups[row.group]);
    let is_usable = |address: &IpAddr| {
        let mut groups = groups().filter(|group| group.family == Family::of(*address)).peekable();
        groups.peek().is_some()
            && (groups.any(|group| group.client_address(vip) != ClientAddress::Preserved)
                || config.source_nat.addresses.contains(address)
                || ownership(*address) == Ownership::Exclusive)
    };
    let own: Vec<IpAddr> = lb.addresses().collect();
    config.source_nat.addresses_for(&own).into_iter().filter(is_usable).collect()
}
