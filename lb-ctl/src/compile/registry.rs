//! Who has which id, and what is remembered of those that are gone.

use std::{collections::HashMap, mem, sync::Arc};

use lb_core::{
    limits,
    tables::{CutCause, Endpoint, FlowPolicy, Protocol, Source},
    time::Instant,
};

use super::{
    Inputs, after,
    ids::Ids,
    keys,
    listeners::{CLOSING_SECONDS, endpoints},
    sources,
};
use crate::{
    config::{Config, Family, Leftover, Protocols},
    health::TargetKey,
};

/// Ids of all that the tables hold.
#[derive(Clone, Default)]
pub(super) struct Registry {
    pub(super) listeners: Ids<Endpoint>,
    pub(super) groups: Ids<Arc<str>>,
    pub(super) targets: Ids<TargetKey>,
    /// Sources that flows have, or may still have: those of an earlier configuration until they are forgotten by hand. Their ids
    /// mean nothing.
    pub(super) sources: Ids<Source>,
    /// By group name; of a group that is gone, what it was last.
    deregistrations: HashMap<Arc<str>, Deregistration>,
    /// Since when a listener gives a group the weight 0.
    weightless: HashMap<(Endpoint, Arc<str>), Instant>,
    /// Protocols of the listeners that send flows to a group, or have sent, by group name.
    served: HashMap<Arc<str>, Protocols>,
}

/// What happens to a group's targets when they are deregistered.
#[derive(Clone, Copy)]
struct Deregistration {
    delay_seconds: u16,
    leftover: Leftover,
}

impl Registry {
    /// Takes in who is there now, and returns the sources of before that there is no room for.
    pub(super) fn assign(&mut self, inputs: &Inputs<'_>) -> Vec<Source> {
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
        self.targets.assign(config.target_groups.iter().flat_map(keys), now, kept_for, limits::TARGETS);
        let endpoints = endpoints(config).map(|row| row.0);
        self.listeners.assign(endpoints, now, |_| FLOW_SECONDS, limits::LISTENERS);
        let sources = sources(config, inputs.ownership).into_iter();
        let crowded_out = self.sources.assign(sources, now, |_| UNTIL_FORGOTTEN, limits::SOURCES);
        let names = config.target_groups.iter().map(|group| group.name.as_str().into());
        self.groups.assign(names, now, |_| GROUP_SECONDS, limits::TARGET_GROUPS);
        self.weigh(config, now);
        self.deregistrations.retain(|name, _| self.groups.id(name).is_some());
        for listener in config.load_balancers.iter().flat_map(|lb| &lb.listeners) {
            for row in listener.forwards().flat_map(|forward| &forward.groups) {
                let group = config.target_groups[row.group].name.as_str().into();
                let served = self.served.entry(group).or_insert(listener.protocol);
                *served = served.and(listener.protocol);
            }
        }
        self.served.retain(|name, _| self.groups.id(name).is_some());
        crowded_out
    }

    /// Notes since when weights are 0.
    fn weigh(&mut self, config: &Config, now: Instant) {
        let before = mem::take(&mut self.weightless);
        for (endpoint, _, listener) in endpoints(config) {
            let forward = listener.forward_for(Family::of(endpoint.address));
            for row in forward.groups.iter().filter(|row| row.weight == 0) {
                let part = (endpoint, config.target_groups[row.group].name.as_str().into());
                let since = before.get(&part).copied().unwrap_or(now);
                self.weightless.insert(part, since);
            }
        }
    }

    /// What a listener's flows to a group get: they end a while after its weight turned 0 (NLB "Target group weights").
    pub(super) fn flow_policy(&self, endpoint: &Endpoint, group: &Arc<str>, now: Instant) -> FlowPolicy {
        match self.weightless.get(&(*endpoint, group.clone())) {
            Some(since) if now >= after(*since, WEIGHT_ZERO_SECONDS) => FlowPolicy::Cut(CutCause::WeightZero),
            _ => FlowPolicy::Keep,
        }
    }

    /// The protocols of the listeners that send flows to a group, or have sent.
    pub(super) fn protocols(&self, group: &Arc<str>) -> &'static [Protocol] {
        self.served.get(group).map_or(&[], |protocols| protocols.each())
    }

    /// When the deregistration delay of a target ends that has been missing since some time.
    pub(super) fn delay_ends(&self, key: &TargetKey, since: Instant) -> Instant {
        after(since, delay_seconds(&self.deregistrations, &key.group))
    }

    /// What becomes of the flows of a deregistered target when its delay ends.
    pub(super) fn leftover(&self, key: &TargetKey) -> Option<Leftover> {
        self.deregistrations.get(&key.group).map(|deregistration| deregistration.leftover)
    }

    /// The next time that a deregistration delay ends, an id becomes free or flows to a group of weight 0 end.
    pub(super) fn deadline_after(&self, now: Instant) -> Option<Instant> {
        let targets =
            self.targets.iter().filter_map(|(key, _, gone)| gone.map(|since| self.delay_ends(key, since)));
        let targets = targets.flat_map(|delay_ends| [delay_ends, after(delay_ends, FLOW_SECONDS)]);
        let listeners = self.listeners.iter().filter_map(|(.., gone)| gone);
        let closing = self.listeners.iter().filter_map(|(.., gone)| gone);
        let closing = closing.map(|since| after(since, CLOSING_SECONDS));
        let others = listeners.map(|since| after(since, FLOW_SECONDS)).chain(closing);
        let groups =
            self.groups.iter().filter_map(|(.., gone)| gone).map(|since| after(since, GROUP_SECONDS));
        let weights = self.weightless.values().map(|since| after(*since, WEIGHT_ZERO_SECONDS));
        targets.chain(others).chain(groups).chain(weights).filter(|deadline| *deadline > now).min()
    }
}

fn delay_seconds(deregistrations: &HashMap<Arc<str>, Deregistration>, group: &Arc<str>) -> u64 {
    deregistrations.get(group).map_or(0, |deregistration| u64::from(deregistration.delay_seconds))
}

/// The flows to a group whose weight has turned 0 go on for this long, in seconds.
const WEIGHT_ZERO_SECONDS: u64 = 5;

/// A flow that the tables no longer name may still be in a flow table for this long, in seconds: ids rest that long.
const FLOW_SECONDS: u64 = *limits::TCP_IDLE_RANGE_S.end() as u64;

/// A flow may live, and have its source, for any time: seconds without an end.
const UNTIL_FORGOTTEN: u64 = u64::MAX;

/// The id of a group rests for this long, in seconds: at least as long as that of any target that names the group.
const GROUP_SECONDS: u64 = u16::MAX as u64 + FLOW_SECONDS;
