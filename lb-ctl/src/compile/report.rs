//! What is told of targets and zones, for people and the control API.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use lb_core::{
    tables::{Listener, TargetId, WeightedGroup},
    time::Instant,
};

use super::Compiler;
use crate::{
    config,
    health::{TargetHealth, TargetKey},
};

/// A target that the tables hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetEntry {
    /// Its id in the tables.
    pub id: TargetId,
    /// What it is known by.
    pub key: TargetKey,
    /// Whether it is still registered.
    pub registration: Registration,
}

/// Whether a target is still registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// It is.
    Registered {
        /// Why it takes no flows whatever the checks say.
        unused: Option<Unused>,
    },
    /// It was until some compilation; its flows go on until the delay ends.
    Deregistered {
        /// When the deregistration delay ends.
        delay_ends: Instant,
    },
}

/// Why a registered target takes no flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unused {
    /// No listener uses its group.
    NotInUse,
    /// Its zone is none of the load balancer's.
    ZoneNotEnabled,
    /// It is switched off.
    InvalidState,
    /// Its address is the host's own.
    IpUnusable,
}

/// Whether the zone of a VIP has enough healthy targets (NLB metric `ZonalHealthStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZonalHealth {
    /// In every group that new flows to the VIP go to.
    Healthy,
    /// Not in all of them (NLB attributes `target_group_health.dns_failover.*`).
    Unhealthy,
}

impl Compiler {
    /// Every target in the tables last compiled, in the order of its key. All of them need next hops.
    pub fn targets(&self) -> Vec<TargetEntry> {
        let entry = |(key, id, gone): (&TargetKey, u32, Option<Instant>)| TargetEntry {
            id: TargetId(id),
            key: key.clone(),
            registration: match gone {
                None => Registration::Registered {
                    unused: self.findings.unused.get(id as usize).copied().flatten(),
                },
                Some(since) => {
                    Registration::Deregistered { delay_ends: self.registry.delay_ends(key, since) }
                }
            },
        };
        let mut targets: Vec<TargetEntry> = self.registry.targets.iter().map(entry).collect();
        targets.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        targets
    }

    /// How the zone of each VIP fares by the tables last compiled, in the order of the configuration.
    pub fn zonal_health(&self) -> Vec<(IpAddr, ZonalHealth)> {
        let Some(layout) = &self.layout else { return Vec::new() };
        let listeners = layout.listeners.iter().flatten();
        let short: HashSet<IpAddr> = listeners
            .filter(|listener| self.findings.is_short(listener))
            .map(|listener| listener.endpoint.address)
            .collect();
        let health = |address| match short.contains(&address) {
            true => ZonalHealth::Unhealthy,
            false => ZonalHealth::Healthy,
        };
        layout.vips.iter().map(|vip| (vip.address, health(vip.address))).collect()
    }
}

/// What a compilation found of targets and pools.
#[derive(Clone, Default)]
pub(super) struct Findings {
    /// By target id.
    pub(super) unused: Vec<Option<Unused>>,
    /// Whether a pool has too few healthy targets for its zone to count as healthy: by group id and pool.
    pub(super) short_pools: Vec<Option<Vec<bool>>>,
}

impl Findings {
    /// Whether a pool that a listener's new flows go to is short.
    fn is_short(&self, listener: &Listener) -> bool {
        let is_short = |row: &WeightedGroup| {
            let pools = self.short_pools.get(usize::from(row.group.0))?.as_ref()?;
            pools.get(usize::from(row.pool)).copied()
        };
        listener.forward.groups.iter().any(|row| row.weight > 0 && is_short(row) == Some(true))
    }
}

/// What is told of a target: its registration first, then why it is not used, then what the checks say.
pub fn reported_health(entry: &TargetEntry, checked: TargetHealth, now: Instant) -> TargetHealth {
    match entry.registration {
        Registration::Registered { unused: None } => checked,
        Registration::Registered { unused: Some(Unused::NotInUse) } => TargetHealth::NotInUse,
        Registration::Registered { unused: Some(Unused::ZoneNotEnabled) } => TargetHealth::ZoneNotEnabled,
        Registration::Registered { unused: Some(Unused::InvalidState) } => TargetHealth::InvalidState,
        Registration::Registered { unused: Some(Unused::IpUnusable) } => TargetHealth::IpUnusable,
        Registration::Deregistered { delay_ends } if now < delay_ends => {
            TargetHealth::DeregistrationInProgress
        }
        Registration::Deregistered { .. } => TargetHealth::NotRegistered,
    }
}

/// The keys of a group's targets, in the order of the file.
pub fn keys(group: &config::TargetGroup) -> impl Iterator<Item = TargetKey> + '_ {
    let name: Arc<str> = group.name.as_str().into();
    group.targets.iter().map(move |target| TargetKey {
        group: name.clone(),
        address: target.address,
        port: target.port,
    })
}
