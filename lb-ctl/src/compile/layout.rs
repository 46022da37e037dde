//! All of the tables that stays the same while only health, next hops and interfaces change.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use lb_core::{
    tables::{
        CutCause, FlowPolicy, HeaderPlacement, Listener, Ownership, Protocol, Source, Target, TargetGroupId,
        Vip,
    },
    time::Instant,
};

use super::{
    Inputs, Unused, keys, listeners,
    registry::Registry,
    zones::{Place, Zones},
};
use crate::{
    config::{self, Config, Leftover, MinimumHealthy},
    health::TargetKey,
};

/// Who there is, under which ids.
pub(super) struct Layout {
    /// Groups of the configuration.
    pub(super) groups: Vec<Group>,
    /// Groups that are gone but may still be named, with their ids.
    pub(super) gone_groups: Vec<(u32, Arc<str>)>,
    /// Deregistered targets that may still have flows, with their ids; without next hops.
    pub(super) deregistered: Vec<(u32, Target)>,
    /// Listeners, by id.
    pub(super) listeners: Vec<Option<Listener>>,
    /// Addresses of load balancers.
    pub(super) vips: Vec<Vip>,
    /// Sources that flows have, or may still have.
    pub(super) sources: Vec<Source>,
    /// When it changes although nothing else does.
    pub(super) deadline: Option<Instant>,
    /// What it was made from.
    config: Config,
    ownerships: Vec<(IpAddr, Ownership)>,
}

/// A group of the configuration.
pub(super) struct Group {
    pub(super) id: u32,
    pub(super) name: Arc<str>,
    pub(super) preserves_client_ip: bool,
    pub(super) is_sticky: bool,
    pub(super) proxy_header: Option<HeaderPlacement>,
    pub(super) when_unhealthy: Leftover,
    pub(super) fail_open_below: MinimumHealthy,
    pub(super) dns_failover_below: MinimumHealthy,
    pub(super) protocols: &'static [Protocol],
    /// Whether a listener sends flows to it.
    pub(super) is_used: bool,
    /// Number of its pools, at least one.
    pub(super) pools: u8,
    /// Its registered targets, in an order that the file's does not change.
    pub(super) members: Vec<Member>,
}

/// A registered target.
pub(super) struct Member {
    pub(super) id: u32,
    pub(super) key: TargetKey,
    pub(super) weight: u16,
    /// The pools that it serves, or why it serves none.
    pub(super) place: Result<Place, Unused>,
}

impl Layout {
    /// From what is registered, and was before.
    pub(super) fn new(registry: &Registry, inputs: &Inputs<'_>, before: Option<&Layout>) -> Layout {
        let config = inputs.config;
        let zones = Zones::of_groups(config);
        let gone_groups = registry.groups.iter().filter(|(.., gone)| gone.is_some());
        let mut sources: Vec<Source> = registry.sources.iter().map(|(source, ..)| *source).collect();
        sources.sort_unstable();
        let closing =
            listeners::closing(registry, inputs.now, before.map_or(&[], |before| &before.listeners));
        let mut layout = Layout {
            groups: config
                .target_groups
                .iter()
                .zip(&zones)
                .filter_map(|(row, zones)| group(registry, row, zones))
                .collect(),
            gone_groups: gone_groups.map(|(name, id, _)| (id, name.clone())).collect(),
            deregistered: deregistered(registry, inputs.now),
            listeners: listeners::listeners(registry, inputs, &zones),
            vips: config
                .addresses()
                .map(|address| Vip { address, ownership: (inputs.ownership)(address) })
                .collect(),
            sources,
            deadline: registry.deadline_after(inputs.now),
            config: config.clone(),
            ownerships: ownerships(inputs),
        };
        layout.close(closing, inputs);
        layout
    }

    /// Adds listeners that are gone, with their VIPs, unless somebody else has those now.
    fn close(&mut self, closing: Vec<(u32, Listener)>, inputs: &Inputs<'_>) {
        let targets: HashSet<IpAddr> = inputs
            .config
            .target_groups
            .iter()
            .flat_map(|group| &group.targets)
            .map(|target| target.address)
            .collect();
        for (id, listener) in closing {
            let (address, place) = (listener.endpoint.address, id as usize);
            if targets.contains(&address) {
                continue;
            }
            if !self.vips.iter().any(|vip| vip.address == address) {
                self.vips.push(Vip { address, ownership: (inputs.ownership)(address) });
            }
            if self.listeners.len() <= place {
                self.listeners.resize(place + 1, None);
            }
            self.listeners[place] = Some(listener);
        }
    }

    /// Whether another one would be the same.
    pub(super) fn is_in_force(&self, registry: &Registry, inputs: &Inputs<'_>) -> bool {
        self.sources.len() == registry.sources.count() // Others only because some were forgotten.
            && self.deadline.is_none_or(|deadline| inputs.now < deadline)
            && self.config == *inputs.config
            && self.ownerships == ownerships(inputs)
    }
}

/// Who else uses each of the configured addresses.
fn ownerships(inputs: &Inputs<'_>) -> Vec<(IpAddr, Ownership)> {
    let addresses = inputs.config.addresses().chain(inputs.config.source_nat.addresses.iter().copied());
    addresses.map(|address| (address, (inputs.ownership)(address))).collect()
}

fn group(registry: &Registry, group: &config::TargetGroup, zones: &Zones<'_>) -> Option<Group> {
    let name: Arc<str> = group.name.as_str().into();
    let member = |(key, target): (TargetKey, &config::Target)| {
        let place = match target.is_stopped {
            true => Err(Unused::InvalidState),
            false => zones.place_of(target).ok_or(Unused::ZoneNotEnabled),
        };
        Some(Member { id: registry.targets.id(&key)?, key, weight: target.weight, place })
    };
    let mut members: Vec<Member> = keys(group).zip(&group.targets).filter_map(member).collect();
    members.sort_unstable_by_key(|member| (member.key.address, member.key.port));
    Some(Group {
        id: registry.groups.id(&name)?,
        preserves_client_ip: group.preserves_client_ip,
        is_sticky: group.is_sticky,
        proxy_header: group.proxy_header,
        when_unhealthy: group.when_unhealthy,
        fail_open_below: group.fail_open_below,
        dns_failover_below: group.dns_failover_below,
        protocols: registry.protocols(&name),
        is_used: zones.is_used(),
        pools: zones.pools(),
        members,
        name,
    })
}

/// Deregistered targets stay for their flows: never eligible, cut after the delay if the group says so.
fn deregistered(registry: &Registry, now: Instant) -> Vec<(u32, Target)> {
    let target = |(key, id, gone): (&TargetKey, u32, Option<Instant>)| {
        let (since, group) = (gone?, registry.groups.id(&key.group)?);
        let is_over = now >= registry.delay_ends(key, since);
        let is_cut = is_over && registry.leftover(key) == Some(Leftover::Terminate);
        let target = Target {
            group: TargetGroupId(group as u16),
            address: key.address,
            port: key.port,
            protocols: registry.protocols(&key.group),
            next_hop: None,
            flow_policy: if is_cut { FlowPolicy::Cut(CutCause::Deregistered) } else { FlowPolicy::Keep },
        };
        Some((id, target))
    };
    registry.targets.iter().filter_map(target).collect()
}
