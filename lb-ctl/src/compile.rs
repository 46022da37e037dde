//! From configuration, health and next hops to the tables of the packet path.
//!
//! Called by the daemon's control thread on every change. Pure: time and all that the kernel or the health checks know come
//! as arguments. The [`Compiler`] remembers what must not change between generations: ids, deregistered targets that
//! still have flows, since when weights are 0, and the Maglev table of every pool whose eligible targets did not change.
//!
//! ```text
//!   configuration, ownership, time -> registry: ids -> layout: who there is    made anew only when one of them changes
//!   layout, health, next hops      -> pools: who is eligible -> maglevs -> tables            every time
//! ```

mod ids;
mod layout;
mod listeners;
mod maglevs;
mod pools;
mod registry;
mod report;
mod sources;
mod zones;

use std::{collections::BTreeSet, mem, net::IpAddr, sync::Arc};

use lb_core::{
    maglev::Maglev,
    tables::{
        Interface, NextHop, Ownership, Pool, Source, Tables, TablesError, TablesParts, Target, TargetGroup,
    },
    time::Instant,
};

use crate::{
    config::Config,
    health::{TargetHealth, TargetKey},
};
use layout::Layout;
use maglevs::Maglevs;
use pools::{Acquainted, GroupState};
use registry::Registry;
use report::Findings;
pub use report::{Registration, TargetEntry, Unused, ZonalHealth, keys, reported_health};
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
    /// The host's own addresses, and the broadcast addresses of its subnets.
    pub host_addresses: &'a BTreeSet<IpAddr>,
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
    findings: Findings,
    /// Sources that had to go although flows may have them.
    crowded_out: BTreeSet<Source>,
    /// What was compiled last.
    tables: Option<Arc<Tables>>,
}

impl Compiler {
    /// A compiler that has compiled nothing yet.
    pub fn new() -> Compiler {
        Compiler::default()
    }

    /// Makes the tables of the next generation. After an error, the next ones are as if it had not been.
    pub fn compile(&mut self, inputs: &Inputs<'_>) -> Result<Arc<Tables>, TablesError> {
        let (registry, layout, crowded_out) = match &self.layout {
            Some(layout) if layout.is_in_force(&self.registry, inputs) => {
                (self.registry.clone(), layout.clone(), Vec::new())
            }
            _ => self.lay_out(inputs),
        };
        let generation = self.generation.checked_add(1).unwrap_or(1);
        let (parts, findings) = self.parts(generation, &layout, inputs);
        let tables = Arc::new(match &self.tables {
            Some(before) => Tables::succeeding(before, parts)?,
            None => Tables::new(parts)?,
        });
        self.maglevs.retain(|name| registry.groups.id(name).is_some());
        self.tables = Some(tables.clone());
        (self.generation, self.findings) = (generation, findings);
        (self.registry, self.layout) = (registry, Some(layout));
        self.crowded_out.extend(crowded_out);
        Ok(tables)
    }

    /// When to compile again although nothing else changes: a deregistration delay ends, flows to a group of weight 0 end, or an
    /// id becomes free.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.layout.as_ref()?.deadline
    }

    /// Sources that the configuration has no more, but flows may still have: the tables keep them until they are forgotten.
    pub fn old_sources(&self) -> BTreeSet<Source> {
        let missing = self.registry.sources.iter().filter(|(.., gone)| gone.is_some());
        missing.map(|(source, ..)| *source).collect()
    }

    /// Forgets those of these sources that the configuration has no more, now that no flow has them: the next tables are without.
    pub fn forget_sources(&mut self, unused: &BTreeSet<Source>) {
        let registry = Arc::make_mut(&mut self.registry);
        unused.iter().for_each(|source| registry.sources.forget_missing(source));
    }

    /// Sources that the tables have no more, although flows may have them, because there would be too many; each is told of once.
    pub fn take_crowded_out(&mut self) -> BTreeSet<Source> {
        mem::take(&mut self.crowded_out)
    }

    fn lay_out(&self, inputs: &Inputs<'_>) -> (Arc<Registry>, Arc<Layout>, Vec<Source>) {
        let mut registry = Registry::clone(&self.registry);
        let crowded_out = registry.assign(inputs);
        let layout = Layout::new(&registry, inputs, self.layout.as_deref());
        (registry.into(), layout.into(), crowded_out)
    }

    fn parts(&mut self, generation: u32, layout: &Layout, inputs: &Inputs<'_>) -> (TablesParts, Findings) {
        let acquainted = Acquainted::with(self.tables.as_deref());
        let states: Vec<GroupState<'_>> =
            layout.groups.iter().map(|group| GroupState::new(group, inputs, &acquainted)).collect();
        let candidates: Vec<_> = states.iter().flat_map(GroupState::candidates).collect();
        let mut maglevs = self.maglevs.of(&candidates).into_iter();
        let groups = states.iter().map(|state| (state.group.id, state.row(maglevs.by_ref())));
        let gone_groups = layout.gone_groups.iter().map(|(id, name)| (*id, empty_group(name)));
        let deregistered = layout.deregistered.iter().map(|(id, target)| {
            (*id, Target { next_hop: (inputs.next_hop)(target.address), ..target.clone() })
        });
        let parts = TablesParts {
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
            host_addresses: inputs.host_addresses.iter().copied().collect(),
            hops: inputs.hops.clone(),
        };
        let findings = Findings {
            unused: by_id(states.iter().flat_map(GroupState::unused)),
            short_pools: by_id(states.iter().map(|state| (state.group.id, state.short_pools()))),
        };
        (parts, findings)
    }
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
