//! What is told of targets.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use lb_core::{tables::TargetId, time::Instant};
use lb_ctl::{
    api::{Refusal, TargetRow, Traffic},
    change::Ref,
    compile::{Registration, TargetEntry, reported_health},
    config::{Config, Target},
    health::{TargetHealth, TargetReport},
    timestamp::rfc3339,
};
use lb_io::clock;

use crate::control::Control;

impl Control {
    /// Every target, those still draining included.
    pub fn targets(&self) -> Vec<TargetRow> {
        self.target_rows(|_| true)
    }

    /// The targets of one group, which exists or has draining targets.
    pub fn targets_of(&self, group: &str) -> Result<Vec<TargetRow>, Refusal> {
        let rows = self.target_rows(|entry| *entry.key.group == *group);
        if rows.is_empty() {
            self.store.objects.group_at(&Ref::Name(group.into()))?;
        }
        Ok(rows)
    }

    pub(crate) fn target_rows(&self, is_wanted: impl Fn(&TargetEntry) -> bool) -> Vec<TargetRow> {
        let entries: Vec<TargetEntry> = self.compiler.targets().into_iter().filter(is_wanted).collect();
        let registered = registered(&self.store.config);
        let target = |entry: &TargetEntry| {
            registered.get(&(&*entry.key.group, entry.key.address, entry.key.port)).copied()
        };
        let weights: HashMap<TargetId, u16> =
            entries.iter().filter_map(|entry| Some((entry.id, target(entry)?.weight))).collect();
        let shares = self.shares(&weights);
        let counters = self.engine.counters();
        let row = |entry: &TargetEntry| {
            let row = self.target_row(entry, target(entry));
            let share = shares.get(&entry.id).filter(|_| row.is_eligible).copied().unwrap_or_default();
            TargetRow {
                traffic: self.ledger.target(&counters, entry.id),
                share_percent: share * 100.0,
                ..row
            }
        };
        // Who is gone and has no flows any more is nobody's concern, though its id rests.
        let now = clock::now();
        let is_over = |entry: &TargetEntry| matches!(entry.registration, Registration::Deregistered { delay_ends } if delay_ends <= now);
        let rows = entries.iter().map(|entry| (is_over(entry), row(entry)));
        rows.filter(|(is_over, row)| !is_over || row.traffic.active_flows > 0).map(|(_, row)| row).collect()
    }

    /// A row without what is counted in packets and flows.
    fn target_row(&self, entry: &TargetEntry, target: Option<&Target>) -> TargetRow {
        let now = clock::now();
        let report = self.health.report(&entry.key);
        let checked = report.map_or(TargetHealth::RegistrationInProgress, |report| report.health);
        let health = reported_health(entry, checked, now);
        let age = self.age(entry, report.filter(|_| health == checked), now);
        let is_used = entry.registration == Registration::Registered { unused: None };
        let in_tables = self.tables.target(entry.id);
        let group = in_tables.and_then(|target| self.tables.group(target.group));
        TargetRow {
            target_group: entry.key.group.to_string(),
            target: SocketAddr::new(entry.key.address, entry.key.port),
            zone: target.and_then(|target| target.zone.clone()),
            state: health.state().into(),
            reason: health.reason().map(Into::into),
            description: health.description(),
            changed: age.and_then(|age| SystemTime::now().checked_sub(age)).map(rfc3339),
            changed_seconds_ago: age.map(|age| age.as_secs()),
            checks_passed: report.map_or(0, |report| report.passed),
            checks_failed: report.map_or(0, |report| report.failed),
            weight: target.map(|target| target.weight),
            is_eligible: is_used
                && group
                    .is_some_and(|group| group.pools.iter().any(|pool| pool.eligible.contains(&entry.id))),
            share_percent: 0.0,
            is_reachable: in_tables.is_some_and(|target| target.next_hop.is_some()),
            bypass: self.bypass.of(&entry.key),
            traffic: Traffic::default(),
        }
    }

    /// How long a target has been in its state, if that is known.
    fn age(&self, entry: &TargetEntry, report: Option<TargetReport>, now: Instant) -> Option<Duration> {
        match entry.registration {
            Registration::Registered { .. } => {
                // A clock that was set back makes it new.
                report.map(|report| report.changed.elapsed().unwrap_or_default())
            }
            Registration::Deregistered { delay_ends } if delay_ends <= now => {
                Some(Duration::from_nanos(now.nanos() - delay_ends.nanos()))
            }
            Registration::Deregistered { delay_ends } => {
                let group =
                    self.store.config.target_groups.iter().find(|group| *group.name == *entry.key.group)?;
                let delay = Duration::from_secs(group.deregistration_delay_seconds.into());
                delay.checked_sub(Duration::from_nanos(delay_ends.nanos() - now.nanos()))
            }
        }
    }

    /// The part of its group's new flows that each eligible target gets, by the weights of the targets.
    fn shares(&self, weights: &HashMap<TargetId, u16>) -> HashMap<TargetId, f64> {
        let mut shares = HashMap::new();
        let weight = |id: &TargetId| f64::from(weights.get(id).copied().unwrap_or_default());
        for group in self.tables.groups() {
            for pool in &group.pools {
                let all: f64 = pool.eligible.iter().map(weight).sum();
                for id in pool.eligible.iter().filter(|_| all > 0.0) {
                    *shares.entry(*id).or_default() += weight(id) / all / group.pools.len() as f64;
                }
            }
        }
        shares
    }
}

/// Every registered target, by the name of its group, its address and its port.
fn registered(config: &Config) -> HashMap<(&str, IpAddr, u16), &Target> {
    let groups = config.target_groups.iter();
    groups
        .flat_map(|group| {
            group.targets.iter().map(|target| ((group.name.as_str(), target.address, target.port), target))
        })
        .collect()
}
