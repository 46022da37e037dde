//! From configuration, health and next hops to the tables of the packet path.
//!
//! Called by the daemon's control thread on every change. Pure: time and all that the kernel or the health checks know come
//! as arguments. The [`Compiler`] remembers what must not change between generations: ids, deregistered targets that
//! still have flows, and the Maglev table of every group whose eligible targets did not change.
//!
//! ```text
//!   configuration, ownership, time -> registry: ids -> layout: who there is      made anew only when one of them changes
//!   layout, health, next hops      -> who is eligible -> maglevs -> tables       every time
//! ```

mod ids;
mod layout;
mod listeners;
mod maglevs;
mod registry;
mod sources;

use std::{net::IpAddr, sync::Arc};

use lb_core::{
    maglev::{Candidate, Maglev},
    tables::{
        CutCause, FlowPolicy, Interface, NextHop, Ownership, Pool, Tables, TablesError, TablesParts, Target,
        TargetGroup, TargetGroupId, TargetId,
    },
    time::Instant,
};

use crate::{
    config::{self, Config, Leftover},
    health::{TargetHealth, TargetKey},
};
use layout::{Group, Layout, Member};
use maglevs::Maglevs;
use registry::Registry;
pub use sources::sources;

/// What tables are compiled from.
pub struct Inputs<'a> {
    /// The configuration in force.
    pub config: &'a Config,
    /// The interfaces, in the order of their ids.
    pub interfaces: Vec<Interface>,
    /// What the checks say of a registered target.
    pub health: &'a dyn Fn(&TargetKey) -> TargetHealth,
    /// The way to an address, if the kernel knows one.
    pub next_hop: &'a dyn Fn(IpAddr) -> Option<NextHop>,
    /// Ways to other addresses, which workers asked for.
    pub hops: Vec<(IpAddr, NextHop)>,
    /// Who else uses an address of a load balancer.
    pub ownership: &'a dyn Fn(IpAddr) -> Ownership,
    /// The time now.
    pub now: Instant,
}

/// Compiles one generation after the other.
#[derive(Clone, Default)]
pub struct Compiler {
    generation: u32,
    registry: Arc<Registry>,
    layout: Option<Arc<Layout>>,
    maglevs: Maglevs,
    /// What was compiled last.
    tables: Option<Arc<Tables>>,
}

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
    Registered,
    /// It was until some compilation; its flows go on until the delay ends.
    Deregistered {
        /// When the deregistration delay ends.
        delay_ends: Instant,
    },
}

impl Compiler {
    /// A compiler that has compiled nothing yet.
    pub fn new() -> Compiler {
        Compiler::default()
    }

    /// Makes the tables of the next generation. After an error, the next ones are as if it had not been.
    pub fn compile(&mut self, inputs: &Inputs<'_>) -> Result<Arc<Tables>, TablesError> {
        let (registry, layout) = match &self.layout {
            Some(layout) if layout.is_in_force(inputs) => (self.registry.clone(), layout.clone()),
            _ => self.lay_out(inputs),
        };
        let generation = self.generation.checked_add(1).unwrap_or(1);
        let parts = self.parts(generation, &layout, inputs);
        let tables = Arc::new(match &self.tables {
            Some(before) => Tables::succeeding(before, parts)?,
            None => Tables::new(parts)?,
        });
        self.maglevs.retain(|name| registry.groups.id(name).is_some());
        self.tables = Some(tables.clone());
        (self.generation, self.registry, self.layout) = (generation, registry, Some(layout));
        Ok(tables)
    }

    /// When to compile again although nothing else changes: a deregistration delay ends, or an id becomes free.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.layout.as_ref()?.deadline
    }

    /// Every target in the tables last compiled, in the order of its key. All of them need next hops.
    pub fn targets(&self) -> Vec<TargetEntry> {
        let entry = |(key, id, gone): (&TargetKey, u32, Option<Instant>)| TargetEntry {
            id: TargetId(id),
            key: key.clone(),
            registration: match gone {
                None => Registration::Registered,
                Some(since) => {
                    Registration::Deregistered { delay_ends: self.registry.delay_ends(key, since) }
                }
            },
        };
        let mut targets: Vec<TargetEntry> = self.registry.targets.iter().map(entry).collect();
        targets.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        targets
    }

    fn lay_out(&self, inputs: &Inputs<'_>) -> (Arc<Registry>, Arc<Layout>) {
        let mut registry = Registry::clone(&self.registry);
        registry.assign(inputs);
        let layout = Layout::new(&registry, inputs);
        (registry.into(), layout.into())
    }

    fn parts(&mut self, generation: u32, layout: &Layout, inputs: &Inputs<'_>) -> TablesParts {
        let states: Vec<GroupState<'_>> =
            layout.groups.iter().map(|group| GroupState::new(group, inputs)).collect();
        let candidates: Vec<_> =
            states.iter().map(|state| (state.group.name.clone(), state.candidates())).collect();
        let maglevs = self.maglevs.of(&candidates);
        let groups = states.iter().zip(maglevs).map(|(state, maglev)| (state.group.id, state.row(maglev)));
        let gone_groups = layout.gone_groups.iter().map(|(id, name)| (*id, empty_group(name)));
        let deregistered = layout.deregistered.iter().map(|(id, target)| {
            (*id, Target { next_hop: (inputs.next_hop)(target.address), ..target.clone() })
        });
        TablesParts {
            generation,
            listeners: layout.listeners.clone(),
            groups: by_id(groups.chain(gone_groups))
                .into_iter()
                .map(|group| group.unwrap_or_else(|| empty_group("")))
                .collect(),
            targets: by_id(states.iter().flat_map(|state| state.targets(inputs)).chain(deregistered)),
            interfaces: inputs.interfaces.clone(),
            vips: layout.vips.clone(),
            sources: layout.sources.clone(),
            hops: inputs.hops.clone(),
        }
    }
}

/// A group, and what is to be done with its targets now.
struct GroupState<'l> {
    group: &'l Group,
    /// In the order of the members.
    healths: Vec<TargetHealth>,
    /// Nobody is healthy, so everybody counts as if they were.
    is_failing_open: bool,
}

impl<'l> GroupState<'l> {
    fn new(group: &'l Group, inputs: &Inputs<'_>) -> GroupState<'l> {
        let healths: Vec<TargetHealth> =
            group.members.iter().map(|member| (inputs.health)(&member.key)).collect();
        let mut members = group.members.iter().zip(&healths);
        let is_failing_open =
            !members.any(|(member, health)| *health == TargetHealth::Healthy && member.weight > 0);
        GroupState { group, healths, is_failing_open }
    }

    /// The members that may get new flows.
    fn eligible(&self) -> impl Iterator<Item = &Member> {
        let is_eligible = |(member, health): &(&Member, &TargetHealth)| {
            member.weight > 0 && (self.is_failing_open || **health == TargetHealth::Healthy)
        };
        self.group.members.iter().zip(&self.healths).filter(is_eligible).map(|row| row.0)
    }

    fn candidates(&self) -> Vec<Candidate> {
        let candidate = |member: &Member| Candidate {
            address: member.key.address,
            port: member.key.port,
            weight: member.weight,
        };
        self.eligible().map(candidate).collect()
    }

    fn row(&self, maglev: Arc<Maglev>) -> TargetGroup {
        let eligible = self.eligible().map(|member| TargetId(member.id)).collect();
        TargetGroup::of_one_pool(
            &self.group.name,
            self.group.preserves_client_ip,
            Pool::new(eligible, maglev),
        )
    }

    fn targets(&self, inputs: &Inputs<'_>) -> impl Iterator<Item = (u32, Target)> {
        let cuts = self.group.when_unhealthy == Leftover::Terminate && !self.is_failing_open;
        self.group.members.iter().zip(&self.healths).map(move |(member, health)| {
            let target = Target {
                group: TargetGroupId(self.group.id as u16),
                address: member.key.address,
                port: member.key.port,
                protocols: self.group.protocols,
                next_hop: (inputs.next_hop)(member.key.address),
                flow_policy: if cuts && health.is_unhealthy() {
                    FlowPolicy::Cut(CutCause::Unhealthy)
                } else {
                    FlowPolicy::Keep
                },
            };
            (member.id, target)
        })
    }
}

/// What is told of a target: its registration first, then whether its group is used, then what the checks say.
pub fn reported_health(
    entry: &TargetEntry,
    config: &Config,
    checked: TargetHealth,
    now: Instant,
) -> TargetHealth {
    if let Registration::Deregistered { delay_ends } = entry.registration {
        return if now < delay_ends {
            TargetHealth::DeregistrationInProgress
        } else {
            TargetHealth::NotRegistered
        };
    }
    let group = config.target_groups.iter().position(|group| *group.name == *entry.key.group);
    if group.is_some_and(|group| config.is_used(group)) { checked } else { TargetHealth::NotInUse }
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

fn empty_group(name: &str) -> TargetGroup {
    TargetGroup::of_one_pool(name, true, Pool::new(Arc::default(), Maglev::with_default_slots(&[]).into()))
}

/// Rows at the places that their ids say.
fn by_id<T>(rows: impl Iterator<Item = (u32, T)>) -> Vec<Option<T>> {
    let mut vector = Vec::new();
    for (id, row) in rows {
        if vector.len() <= id as usize {
            vector.resize_with(id as usize + 1, || None);
        }
        vector[id as usize] = Some(row);
    }
    vector
}

pub(crate) fn after(instant: Instant, seconds: u64) -> Instant {
    Instant::from_nanos(instant.nanos().saturating_add(seconds.saturating_mul(1_000_000_000)))
}

#[cfg(test)]
mod tests;
