//! Listeners: one in the tables for each address, port and protocol of a load balancer.

use std::sync::Arc;

use lb_core::{
    hash,
    tables::{Endpoint, Forward, Listener, Protocol, TargetGroupId, WeightedGroup},
    time::Instant,
};

use super::{Inputs, after, by_id, registry::Registry, sources, zones::Zones};
use crate::config::{self, Config, Family};

/// The listeners, by id.
pub(super) fn listeners(
    registry: &Registry,
    inputs: &Inputs<'_>,
    zones: &[Zones<'_>],
) -> Vec<Option<Listener>> {
    let config = inputs.config;
    let group = |lb: &config::LoadBalancer, endpoint: &Endpoint, row: &config::WeightedGroup| {
        let name: Arc<str> = config.target_groups[row.group].name.as_str().into();
        let vip = lb.vips.iter().find(|vip| vip.address == endpoint.address)?;
        Some(WeightedGroup {
            group: TargetGroupId(registry.groups.id(&name)? as u16),
            pool: zones[row.group].pool_of(vip),
            weight: row.weight,
            salt: hash::name(&name),
            flow_policy: registry.flow_policy(endpoint, &name, inputs.now),
        })
    };
    let listeners = endpoints(config).filter_map(|(endpoint, lb, listener)| {
        let id = registry.listeners.id(&endpoint)?;
        let is_tcp = endpoint.protocol == Protocol::Tcp;
        let forward = listener.forward_for(Family::of(endpoint.address));
        let listener = Listener {
            name: listener_name(lb, &endpoint),
            endpoint,
            forward: Forward {
                groups: forward.groups.iter().filter_map(|row| group(lb, &endpoint, row)).collect(),
                is_sticky: forward.is_sticky,
            },
            idle_timeout_s: match endpoint.protocol {
                Protocol::Tcp => listener.tcp_idle_timeout_seconds,
                Protocol::Udp => listener.udp_idle_timeout_seconds,
            },
            interface: lb.interface,
            sources: sources::of_listener(config, inputs.ownership, (lb, endpoint.address), listener),
            adopts_strays: is_tcp && listener.adopts_strays,
            has_syn_cookies: is_tcp && listener.has_syn_cookies,
        };
        Some((id, listener))
    });
    by_id(listeners)
}

/// Listeners that were there a short while ago, by id: their flows are cut. Who is asked to end a connection must be able to
/// answer, so until then their endpoints are ours.
pub(super) fn closing(
    registry: &Registry,
    now: Instant,
    before: &[Option<Listener>],
) -> Vec<(u32, Listener)> {
    let closing = |(endpoint, id, gone): (&Endpoint, u32, Option<Instant>)| {
        let is_over = now >= after(gone?, CLOSING_SECONDS);
        let listener =
            before.get(id as usize)?.as_ref().filter(|row| !is_over && row.endpoint == *endpoint)?;
        Some((id, Listener { forward: Forward::closing(), ..listener.clone() }))
    };
    registry.listeners.iter().filter_map(closing).collect()
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

/// Flows of a listener that is gone are cut for this long, in seconds; a worker finds them all within one.
pub(super) const CLOSING_SECONDS: u64 = 10;
