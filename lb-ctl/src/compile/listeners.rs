//! Listeners: one in the tables for each address, port and protocol of a load balancer.

use std::sync::Arc;

use lb_core::{
    limits,
    tables::{Endpoint, FlowPolicy, Forward, Listener, Protocol, TargetGroupId, WeightedGroup},
};

use super::{Inputs, by_id, registry::Registry, sources};
use crate::config::{self, Config};

/// The listeners, by id.
pub(super) fn listeners(registry: &Registry, inputs: &Inputs<'_>) -> Vec<Option<Listener>> {
    let config = inputs.config;
    let listeners = endpoints(config).filter_map(|(endpoint, lb, listener)| {
        let id = registry.listeners.id(&endpoint)?;
        let is_tcp = endpoint.protocol == Protocol::Tcp;
        let listener = Listener {
            name: listener_name(lb, &endpoint),
            endpoint,
            forward: forward(registry, config, &listener.forward),
            idle_timeout_s: if is_tcp { listener.tcp_idle_timeout_seconds } else { limits::UDP_IDLE_S },
            interface: lb.interface,
            sources: sources::of_listener(config, inputs.ownership, (lb, endpoint.address), listener),
            adopts_strays: is_tcp && listener.adopts_strays,
            has_syn_cookies: is_tcp && listener.has_syn_cookies,
        };
        Some((id, listener))
    });
    by_id(listeners)
}

fn forward(registry: &Registry, config: &Config, forward: &config::Forward) -> Forward {
    let row = |row: &config::WeightedGroup| {
        let name: Arc<str> = config.target_groups[row.group].name.as_str().into();
        let group = TargetGroupId(registry.groups.id(&name)? as u16);
        Some(WeightedGroup { group, pool: 0, weight: row.weight, salt: 0, flow_policy: FlowPolicy::Keep })
    };
    Forward { groups: forward.groups.iter().filter_map(row).collect(), is_sticky: forward.is_sticky }
}

/// Every endpoint that is listened on.
pub(super) fn endpoints(
    config: &Config,
) -> impl Iterator<Item = (Endpoint, &config::LoadBalancer, &config::Listener)> {
    config.load_balancers.iter().flat_map(|lb| {
        lb.addresses().flat_map(move |address| {
            lb.listeners.iter().flat_map(move |listener| {
                let endpoint = move |&protocol| Endpoint { address, port: listener.port, protocol };
                listener.protocol.each().iter().map(move |protocol| (endpoint(protocol), lb, listener))
            })
        })
    })
}

fn listener_name(lb: &config::LoadBalancer, endpoint: &Endpoint) -> Box<str> {
    let address = if lb.vips.len() > 1 { format!("@{}", endpoint.address) } else { String::new() };
    format!("{}{address}/{}:{}", lb.name, endpoint.protocol.name(), endpoint.port).into()
}
