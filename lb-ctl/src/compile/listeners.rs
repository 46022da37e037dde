//! Listeners: one in the tables for each address, port and protocol of a load balancer.

use std::{collections::BTreeMap, sync::Arc};

use lb_core::{
    limits,
    tables::{Endpoint, Listener, Protocol, TargetGroupId},
};

use super::{Compiler, Inputs, by_id, sources};
use crate::config::{self, Config};

impl Compiler {
    /// The listeners, by id.
    pub(super) fn listeners(&self, inputs: &Inputs<'_>) -> Vec<Option<Listener>> {
        let config = inputs.config;
        let mut listeners = BTreeMap::new();
        for (endpoint, lb, listener) in endpoints(config) {
            let group: Arc<str> = config.target_groups[listener.target_group].name.as_str().into();
            let (Some(id), Some(group)) = (self.listeners.id(&endpoint), self.groups.id(&group)) else {
                continue; // Both were assigned just now.
            };
            let is_tcp = endpoint.protocol == Protocol::Tcp;
            let listener = Listener {
                name: listener_name(lb, &endpoint),
                endpoint,
                group: TargetGroupId(group as u16),
                idle_timeout_s: if is_tcp { listener.tcp_idle_timeout_seconds } else { limits::UDP_IDLE_S },
                interface: lb.interface,
                sources: sources::of_listener(config, inputs.ownership, (lb, endpoint.address), listener),
                adopts_strays: is_tcp && listener.adopts_strays,
                has_syn_cookies: is_tcp && listener.has_syn_cookies,
            };
            listeners.insert(id, listener);
        }
        by_id(listeners)
    }
}

/// Every endpoint that is listened on.
pub(super) fn endpoints(
    config: &Config,
) -> impl Iterator<Item = (Endpoint, &config::LoadBalancer, &config::Listener)> {
    config.load_balancers.iter().flat_map(|lb| {
        lb.addresses.iter().flat_map(move |&address| {
            lb.listeners.iter().flat_map(move |listener| {
                let endpoint = move |&protocol| Endpoint { address, port: listener.port, protocol };
                listener.protocol.each().iter().map(move |protocol| (endpoint(protocol), lb, listener))
            })
        })
    })
}

fn listener_name(lb: &config::LoadBalancer, endpoint: &Endpoint) -> Box<str> {
    let address = if lb.addresses.len() > 1 { format!("@{}", endpoint.address) } else { String::new() };
    format!("{}{address}/{}:{}", lb.name, endpoint.protocol.name(), endpoint.port).into()
}
