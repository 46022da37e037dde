//! From configuration, health and next hops to the tables of the packet path.
//!
//! Called by the daemon's control thread on every change. Pure: time and all that the kernel or the health checks know come
//! as arguments. The [`Compiler`] remembers only what must not change between generations: ids, deregistered targets that
//! still have flows, and the Maglev table of every group whose eligible targets did not change.

mod ids;
mod listeners;
mod sources;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use lb_core::{
    limits,
    maglev::{Candidate, Maglev},
    tables::{
        Endpoint, FlowPolicy, Interface, NextHop, Ownership, Protocol, Source, Tables, TablesError,
        TablesParts, Target, TargetGroup, TargetGroupId, TargetId, Vip,
    },
    time::Instant,
};

use crate::{
    config::{self, Config, Leftover, Protocols},
    health::{TargetHealth, TargetKey},
};
use ids::Ids;
use listeners::endpoints;
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
    listeners: Ids<Endpoint>,
    groups: Ids<Arc<str>>,
    targets: Ids<TargetKey>,
    /// By group name; of a group that is gone, what it was last.
    deregistrations: HashMap<Arc<str>, Deregistration>,
    maglevs: HashMap<Arc<str>, CachedMaglev>,
    /// Protocols of the listeners that send flows to a group, or have sent, by group name.
    served: HashMap<Arc<str>, Protocols>,
    /// Sources that flows have, or may still have. Their ids mean nothing.
    sources: Ids<Source>,
    next_deadline: Option<Instant>,
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

/// What happens to a group's targets when they are deregistered.
#[derive(Clone, Copy)]
struct Deregistration {
    delay_seconds: u16,
    leftover: Leftover,
}

/// A group's Maglev table, for as long as its candidates stay the same.
#[derive(Clone)]
struct CachedMaglev {
    candidates: Vec<Candidate>,
    maglev: Arc<Maglev>,
}

impl Compiler {
    /// A compiler that has compiled nothing yet.
    pub fn new() -> Compiler {
        Compiler::default()
    }

    /// Makes the tables of the next generation. On an error the compiler is as it was before.
    pub fn compile(&mut self, inputs: &Inputs<'_>) -> Result<Tables, TablesError> {
        let mut next = self.clone();
        let tables = next.compile_next(inputs)?;
        *self = next;
        Ok(tables)
    }

    /// When to compile again although nothing else changes: a deregistration delay ends, or an id becomes free.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next_deadline
    }

    /// Every target in the tables last compiled, in the order of its key. All of them need next hops.
    pub fn targets(&self) -> Vec<TargetEntry> {
        let entry = |(key, id, gone): (&TargetKey, u32, Option<Instant>)| TargetEntry {
            id: TargetId(id),
            key: key.clone(),
            registration: match gone {
                None => Registration::Registered,
                Some(since) => Registration::Deregistered { delay_ends: self.delay_ends(key, since) },
            },
        };
        let mut targets: Vec<TargetEntry> = self.targets.iter().map(entry).collect();
        targets.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        targets
    }

    fn compile_next(&mut self, inputs: &Inputs<'_>) -> Result<Tables, TablesError> {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.assign_ids(inputs);
        let (groups, mut targets) = self.registered(inputs);
        self.add_deregistered(inputs, &mut targets);
        self.next_deadline = self.deadline_after(inputs.now);
        Tables::new(TablesParts {
            generation: self.generation,
            listeners: self.listeners(inputs),
            groups,
            targets: by_id(targets),
            interfaces: inputs.interfaces.clone(),
            vips: inputs.config.addresses().map(|address| vip(inputs, address)).collect(),
            sources: self.sources(),
            hops: inputs.hops.clone(),
        })
    }

    fn assign_ids(&mut self, inputs: &Inputs<'_>) {
        let (config, now) = (inputs.config, inputs.now);
        for group in &config.target_groups {
            let deregistration = Deregistration {
                delay_seconds: group.deregistration_delay_seconds,
                leftover: group.after_deregistration,
            };
            self.deregistrations.insert(group.name.as_str().into(), deregistration);
        }
        let deregistrations = &self.deregistrations;
        let kept_for = |key: &TargetKey| delay_seconds(deregistrations, &key.group) + FLOW_SECONDS;
        self.targets.assign(config.target_groups.iter().flat_map(keys), now, kept_for);
        self.listeners.assign(endpoints(config).map(|row| row.0), now, |_| FLOW_SECONDS);
        self.sources.assign(sources(config, inputs.ownership).into_iter(), now, |_| FLOW_SECONDS);
        let longest = u64::from(u16::MAX) + FLOW_SECONDS; // At least as long as any target that names the group.
        self.groups
            .assign(config.target_groups.iter().map(|group| group.name.as_str().into()), now, |_| longest);
        self.deregistrations.retain(|name, _| self.groups.id(name).is_some());
        self.maglevs.retain(|name, _| self.groups.id(name).is_some());
        for listener in config.load_balancers.iter().flat_map(|lb| &lb.listeners) {
            let group = config.target_groups[listener.target_group].name.as_str().into();
            let served = self.served.entry(group).or_insert(listener.protocol);
            *served = served.and(listener.protocol);
        }
        self.served.retain(|name, _| self.groups.id(name).is_some());
    }

    fn protocols(&self, group: &Arc<str>) -> &'static [Protocol] {
        self.served.get(group).map_or(&[], |protocols| protocols.each())
    }

    fn sources(&self) -> Vec<Source> {
        let mut sources: Vec<Source> = self.sources.iter().map(|(source, ..)| *source).collect();
        sources.sort_unstable();
        sources
    }

    /// The groups, and their registered targets by id.
    fn registered(&mut self, inputs: &Inputs<'_>) -> (Vec<TargetGroup>, BTreeMap<u32, Target>) {
        let mut groups = BTreeMap::new();
        let mut targets = BTreeMap::new();
        for group in &inputs.config.target_groups {
            let name: Arc<str> = group.name.as_str().into();
            let Some(group_id) = self.groups.id(&name) else { continue };
            let members = self.members(inputs, group);
            let is_failing_open = !members.iter().any(Member::is_wanted);
            let eligible = members.iter().filter(|member| {
                member.target.weight > 0 && (is_failing_open || member.health == TargetHealth::Healthy)
            });
            let eligible: Vec<&Member<'_>> = eligible.collect();
            let maglev = self.maglev(&name, eligible.iter().map(|member| member.candidate()).collect());
            for member in &members {
                let is_cut = member.health.is_unhealthy()
                    && group.when_unhealthy == Leftover::Terminate
                    && !is_failing_open;
                let target = Target {
                    group: TargetGroupId(group_id as u16),
                    address: member.target.address,
                    port: member.target.port,
                    protocols: self.protocols(&name),
                    next_hop: (inputs.next_hop)(member.target.address),
                    flow_policy: if is_cut { FlowPolicy::Cut } else { FlowPolicy::Keep },
                };
                targets.insert(member.id, target);
            }
            let row = TargetGroup {
                name: group.name.as_str().into(),
                preserves_client_ip: group.preserves_client_ip,
                eligible: eligible.iter().map(|member| TargetId(member.id)).collect(),
                maglev,
            };
            groups.insert(group_id, row);
        }
        for (name, id, gone) in self.groups.iter() {
            if gone.is_some() {
                groups.insert(id, empty_group(name));
            }
        }
        (by_id(groups).into_iter().map(|group| group.unwrap_or_else(|| empty_group(""))).collect(), targets)
    }

    /// The registered targets of a group, in an order that the file's does not change.
    fn members<'c>(&self, inputs: &Inputs<'c>, group: &'c config::TargetGroup) -> Vec<Member<'c>> {
        let member = |(key, target): (TargetKey, &'c config::Target)| {
            let id = self.targets.id(&key)?;
            Some(Member { id, target, health: (inputs.health)(&key) })
        };
        let mut members: Vec<Member<'c>> = keys(group).zip(&group.targets).filter_map(member).collect();
        members.sort_unstable_by_key(|member| (member.target.address, member.target.port));
        members
    }

    fn maglev(&mut self, group: &Arc<str>, candidates: Vec<Candidate>) -> Arc<Maglev> {
        if let Some(cached) = self.maglevs.get(group)
            && cached.candidates == candidates
        {
            return cached.maglev.clone();
        }
        let maglev = Arc::new(Maglev::with_default_slots(&candidates));
        self.maglevs.insert(group.clone(), CachedMaglev { candidates, maglev: maglev.clone() });
        maglev
    }

    /// Deregistered targets stay for their flows: never eligible, cut after the delay if the group says so.
    fn add_deregistered(&self, inputs: &Inputs<'_>, targets: &mut BTreeMap<u32, Target>) {
        for (key, id, gone) in self.targets.iter() {
            let (Some(since), Some(group)) = (gone, self.groups.id(&key.group)) else { continue };
            let is_cut = inputs.now >= self.delay_ends(key, since)
                && self
                    .deregistrations
                    .get(&key.group)
                    .is_some_and(|rule| rule.leftover == Leftover::Terminate);
            let target = Target {
                group: TargetGroupId(group as u16),
                address: key.address,
                port: key.port,
                protocols: self.protocols(&key.group),
                next_hop: (inputs.next_hop)(key.address),
                flow_policy: if is_cut { FlowPolicy::Cut } else { FlowPolicy::Keep },
            };
            targets.insert(id, target);
        }
    }

    fn delay_ends(&self, key: &TargetKey, since: Instant) -> Instant {
        after(since, delay_seconds(&self.deregistrations, &key.group))
    }

    fn deadline_after(&self, now: Instant) -> Option<Instant> {
        let gone =
            self.targets.iter().filter_map(|(key, _, gone)| gone.map(|since| self.delay_ends(key, since)));
        let deadlines = gone.flat_map(|delay_ends| [delay_ends, after(delay_ends, FLOW_SECONDS)]);
        deadlines.filter(|deadline| *deadline > now).min()
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

/// A registered target while its group is compiled.
struct Member<'c> {
    id: u32,
    target: &'c config::Target,
    health: TargetHealth,
}

impl Member<'_> {
    /// Whether it may get new flows while its group does not fail open.
    fn is_wanted(&self) -> bool {
        self.health == TargetHealth::Healthy && self.target.weight > 0
    }

    fn candidate(&self) -> Candidate {
        Candidate { address: self.target.address, port: self.target.port, weight: self.target.weight }
    }
}

fn vip(inputs: &Inputs<'_>, address: IpAddr) -> Vip {
    Vip { address, ownership: (inputs.ownership)(address) }
}

fn empty_group(name: &str) -> TargetGroup {
    TargetGroup {
        name: name.into(),
        preserves_client_ip: true,
        eligible: Arc::default(),
        maglev: Arc::new(Maglev::with_default_slots(&[])),
    }
}

fn delay_seconds(deregistrations: &HashMap<Arc<str>, Deregistration>, group: &Arc<str>) -> u64 {
    deregistrations.get(group).map_or(0, |deregistration| u64::from(deregistration.delay_seconds))
}

fn by_id<T>(rows: BTreeMap<u32, T>) -> Vec<Option<T>> {
    let mut vector = Vec::new();
    for (id, row) in rows {
        vector.resize_with(id as usize, || None);
        vector.push(Some(row));
    }
    vector
}

pub(crate) fn after(instant: Instant, seconds: u64) -> Instant {
    Instant::from_nanos(instant.nanos().saturating_add(seconds.saturating_mul(1_000_000_000)))
}

/// A flow that the tables no longer name may still be in a flow table for this long, in seconds: ids rest that long.
const FLOW_SECONDS: u64 = *limits::TCP_IDLE_RANGE_S.end() as u64;

#[cfg(test)]
mod tests;
