//! Health checks by target group. A target's own counts go when it does, and begin anew when it is back; a group's must not fall.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use crate::api::TargetRow;

/// Checks of the targets of each group. Those that a target had after it was last noted, and before it went, are not known.
#[derive(Debug, Default)]
pub struct Checks {
    /// By target group and target, when last noted.
    seen: HashMap<(String, SocketAddr), Results>,
    /// By target group.
    sums: HashMap<String, Results>,
}

/// How many checks succeeded and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Results {
    /// Succeeded.
    pub passed: u64,
    /// Failed.
    pub failed: u64,
}

impl Checks {
    /// Takes in what has come since the last time. Groups without targets are forgotten.
    pub fn note(&mut self, targets: &[TargetRow]) {
        let before = std::mem::take(&mut self.seen);
        for row in targets {
            let now = Results { passed: row.checks_passed, failed: row.checks_failed };
            let key = (row.target_group.clone(), row.target);
            let had = before.get(&key).filter(|had| had.passed <= now.passed && had.failed <= now.failed);
            let had = had.copied().unwrap_or_default();
            let sum = self.sums.entry(row.target_group.clone()).or_default();
            sum.passed += now.passed - had.passed;
            sum.failed += now.failed - had.failed;
            self.seen.insert(key, now);
        }
        let groups: HashSet<&str> = targets.iter().map(|row| row.target_group.as_str()).collect();
        self.sums.retain(|name, _| groups.contains(name.as_str()));
    }

    /// Those of a target group.
    pub fn of(&self, target_group: &str) -> Results {
        self.sums.get(target_group).copied().unwrap_or_default()
    }
}
