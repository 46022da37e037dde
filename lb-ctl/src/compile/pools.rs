//! Pools: who of a group's targets gets new flows now, and what becomes of the flows of the others.

use std::sync::Arc;

use lb_core::{
    maglev::{Candidate, Maglev},
    tables::{CutCause, FlowPolicy, Pool, Tables, Target, TargetGroup, TargetGroupId, TargetId},
};

use super::{
    Inputs,
    layout::{Group, Member},
    maglevs::PoolName,
    report::Unused,
    zones::Place,
};
use crate::{
    config::{Leftover, MinimumHealthy},
    health::TargetHealth,
};

/// A group, and what is to be done with its targets now.
pub(super) struct GroupState<'l> {
    pub(super) group: &'l Group,
    /// In the order of the members.
    standings: Vec<Standing>,
    /// In the order of the pools.
    censuses: Vec<Census>,
}

/// Targets that flows may be sent to though there is no way to them now. A target that has just come is checked before its way is
/// known here, and a client's first packet is not to be lost for that; but where a way is lost, or not known yet after a start, no flow is
/// to be chosen another target for.
pub(super) struct Acquainted {
    /// By id; `None`: every target, because nothing was compiled before.
    targets: Option<Vec<bool>>,
}

impl Acquainted {
    pub(super) fn with(before: Option<&Tables>) -> Acquainted {
        let targets = before.map(|before| {
            let mut targets = before.reached().to_vec();
            for pool in before.groups().iter().flat_map(|group| &group.pools) {
                pool.eligible.iter().for_each(|id| targets[id.0 as usize] = true);
            }
            targets
        });
        Acquainted { targets }
    }

    fn include(&self, id: u32) -> bool {
        let is_known = |targets: &Vec<bool>| targets.get(id as usize).copied().unwrap_or_default();
        self.targets.as_ref().is_none_or(is_known)
    }
}

/// What is known of a registered target now.
struct Standing {
    health: TargetHealth,
    /// Whether there is a way to it, or need not be.
    is_reachable: bool,
    /// The pools that it serves, or why it serves none.
    place: Result<Place, Unused>,
}

impl Standing {
    fn gets_new_flows(&self) -> bool {
        self.health.gets_new_flows() && self.is_reachable
    }
}

/// Numbers of a pool's targets in use that have a weight.
struct Census {
    healthy: usize,
    registered: usize,
}

impl Census {
    fn has(&self, fewest: &MinimumHealthy) -> bool {
        fewest.is_met(self.healthy, self.registered)
    }
}

impl<'l> GroupState<'l> {
    pub(super) fn new(group: &'l Group, inputs: &Inputs<'_>, acquainted: &Acquainted) -> GroupState<'l> {
        let standing = |member: &Member| Standing {
            health: (inputs.health)(&member.key),
            is_reachable: acquainted.include(member.id) || (inputs.next_hop)(member.key.address).is_some(),
            place: match inputs.host_addresses.contains(&member.key.address) {
                true => member.place.and(Err(Unused::IpUnusable)),
                false => member.place,
            },
        };
        let mut state = GroupState {
            group,
            standings: group.members.iter().map(standing).collect(),
            censuses: Vec::new(),
        };
        state.censuses = (0..group.pools).map(|pool| state.census(pool)).collect();
        state
    }

    fn rows(&self) -> impl Iterator<Item = (&'l Member, &Standing)> {
        self.group.members.iter().zip(&self.standings)
    }

    /// The members that could get a pool's new flows.
    fn used(&self, pool: u8) -> impl Iterator<Item = (&'l Member, &Standing)> {
        self.rows().filter(move |(member, standing)| {
            member.weight > 0 && standing.place.is_ok_and(|place| place.is_in(pool))
        })
    }

    fn census(&self, pool: u8) -> Census {
        let standings = self.used(pool).map(|row| row.1);
        standings.fold(Census { healthy: 0, registered: 0 }, |census, standing| Census {
            healthy: census.healthy + usize::from(standing.gets_new_flows()),
            registered: census.registered + 1,
        })
    }

    /// Too few are healthy, so all count as if they were, if there are any.
    fn is_failing_open(&self, pool: u8) -> bool {
        !self.censuses[usize::from(pool)].has(&self.group.fail_open_below)
    }

    /// The members that get a pool's new flows.
    fn eligible(&self, pool: u8) -> impl Iterator<Item = &'l Member> {
        let is_failing_open = self.is_failing_open(pool);
        let rows = self.used(pool).filter(move |(_, standing)| match is_failing_open {
            true => standing.is_reachable,
            false => standing.gets_new_flows(),
        });
        rows.map(|row| row.0)
    }

    /// What the Maglev table of each pool is built over.
    pub(super) fn candidates(&self) -> impl Iterator<Item = (PoolName, Vec<Candidate>)> {
        let candidate = |member: &Member| Candidate {
            address: member.key.address,
            port: member.key.port,
            weight: member.weight,
        };
        (0..self.group.pools).map(move |pool| {
            let name = PoolName { group: self.group.name.clone(), pool };
            (name, self.eligible(pool).map(candidate).collect())
        })
    }

    /// The group's row, with the Maglev tables of its pools.
    pub(super) fn row(&self, maglevs: impl Iterator<Item = Arc<Maglev>>) -> TargetGroup {
        let pool = |(pool, maglev)| {
            let eligible: Arc<[TargetId]> = self.eligible(pool).map(|member| TargetId(member.id)).collect();
            let is_failing_open = self.is_failing_open(pool) && !eligible.is_empty();
            Pool { eligible, maglev, is_failing_open }
        };
        TargetGroup {
            name: (&*self.group.name).into(),
            preserves_client_ip: self.group.preserves_client_ip,
            is_sticky: self.group.is_sticky,
            proxy_header: self.group.proxy_header,
            pools: (0..self.group.pools).zip(maglevs).map(pool).collect(),
        }
    }

    pub(super) fn targets(&self, inputs: &Inputs<'_>) -> impl Iterator<Item = (u32, Target)> {
        self.rows().map(|(member, standing)| {
            let target = Target {
                group: TargetGroupId(self.group.id as u16),
                address: member.key.address,
                port: member.key.port,
                protocols: self.group.protocols,
                next_hop: (inputs.next_hop)(member.key.address),
                flow_policy: self.flow_policy(standing),
            };
            (member.id, target)
        })
    }

    /// An unhealthy target's flows go on for as long as one of its pools would give it new ones.
    fn flow_policy(&self, standing: &Standing) -> FlowPolicy {
        let Ok(place) = standing.place else { return FlowPolicy::Cut(CutCause::Unused) };
        let is_cut = self.group.when_unhealthy == Leftover::Terminate
            && standing.health.is_unhealthy()
            && !(0..self.group.pools).any(|pool| place.is_in(pool) && self.is_failing_open(pool));
        if is_cut { FlowPolicy::Cut(CutCause::Unhealthy) } else { FlowPolicy::Keep }
    }

    /// Whether each pool has too few healthy targets for its zone to count as healthy.
    pub(super) fn short_pools(&self) -> Vec<bool> {
        self.censuses.iter().map(|census| !census.has(&self.group.dns_failover_below)).collect()
    }

    /// The members that take no flows, with the reason.
    pub(super) fn unused(&self) -> impl Iterator<Item = (u32, Unused)> {
        self.rows().filter_map(|(member, standing)| {
            let reason = if self.group.is_used { standing.place.err()? } else { Unused::NotInUse };
            Some((member.id, reason))
        })
    }
}
