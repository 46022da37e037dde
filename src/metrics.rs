//! What a scrape is told.

use std::collections::{HashMap, HashSet};

use lb_ctl::{
    api::TargetRow,
    config::{Config, TargetGroup},
    metrics::{GroupRow, Metrics},
};

use crate::{control::Control, events::is_failing_open};

impl Control {
    /// What a scrape is told.
    pub fn metrics(&mut self) -> Metrics {
        let targets: Vec<TargetRow> = self.targets();
        self.checks.note(&targets);
        Metrics {
            started_seconds: self.started_seconds,
            status: self.status(),
            stats: self.stats(),
            peaks: self.peaks.highest(),
            target_groups: self.group_rows(&targets),
            targets,
            targets_max: self.store.config.metrics.targets_max,
        }
    }

    /// Ends a window of peak rates when it is due.
    pub(crate) fn watch_peaks(&mut self) {
        let now = self.started.elapsed();
        if self.peaks.is_due(now) {
            let rows = self.load_balancers(&self.engine.counters());
            self.peaks.observe(now, &rows);
        }
    }

    fn group_rows(&self, targets: &[TargetRow]) -> Vec<GroupRow> {
        let traffic = self.ledger.groups(&self.tables, &self.engine.counters());
        let open = self.tables.groups().iter().filter(|group| is_failing_open(group));
        let open: HashSet<&str> = open.map(|group| &*group.name).collect();
        let users = users(&self.store.config);
        let mut bypassed: HashMap<&str, u64> = HashMap::new();
        for row in targets.iter().filter(|row| row.bypass.is_some()) {
            *bypassed.entry(&row.target_group).or_default() += 1;
        }
        let row = |(index, group): (usize, &TargetGroup)| {
            let checks = self.checks.of(&group.name);
            GroupRow {
                name: group.name.clone(),
                load_balancer: users.get(&index).map(|name| (*name).to_owned()),
                is_failing_open: open.contains(group.name.as_str()),
                bypassed_targets: bypassed.get(group.name.as_str()).copied().unwrap_or_default(),
                traffic: traffic.get(group.name.as_str()).copied().unwrap_or_default(),
                checks_passed: checks.passed,
                checks_failed: checks.failed,
            }
        };
        self.store.config.target_groups.iter().enumerate().map(row).collect()
    }
}

/// The load balancer that uses each target group, by the group's index; a group has one at most.
fn users(config: &Config) -> HashMap<usize, &str> {
    let listeners = config.load_balancers.iter().flat_map(|lb| lb.listeners.iter().map(move |row| (lb, row)));
    let groups = listeners.flat_map(|(lb, row)| {
        row.forwards().flat_map(|forward| &forward.groups).map(move |group| (group.group, lb))
    });
    groups.map(|(group, lb)| (group, lb.name.as_str())).collect()
}
