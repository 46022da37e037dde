//! The passive signal: a target that leaves SYNs unanswered, or refuses them, while others of its group do not, is checked
//! sooner. It decides nothing: the checks do (NLB's passive health checks, without their verdict).

use std::collections::{HashMap, HashSet};

use lb_core::{counters::WorkerCounters, tables::TargetId};
use lb_ctl::{
    compile::{Registration, TargetEntry},
    health::TargetKey,
};

use crate::control::Control;

/// What was counted of each target, the last time.
#[derive(Debug, Default)]
pub struct PassiveSignal {
    seen: HashMap<TargetKey, Signs>,
}

/// What flows tell of a target, counted since the start or between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Signs {
    new_flows: u64,
    /// SYNs that clients had to repeat, or that the target refused.
    unanswered: u64,
}

impl Control {
    /// Looks at the counters of targets, which are in the order of their keys, and has the suspects checked.
    pub(crate) fn hasten_suspects(&mut self, targets: &[TargetEntry]) {
        let groups =
            self.store.config.target_groups.iter().filter(|group| group.health_check.has_passive_signal);
        let groups: HashSet<&str> = groups.map(|group| group.name.as_str()).collect();
        let is_watched = |entry: &&TargetEntry| {
            entry.registration == Registration::Registered { unused: None }
                && groups.contains(&*entry.key.group)
        };
        let counters = self.engine.counters();
        let row = |entry: &TargetEntry| (entry.key.clone(), count(&counters, entry.id));
        let rows = targets.iter().filter(is_watched).map(row).collect();
        let suspects = suspects(&self.passive.growth(rows));
        if !suspects.is_empty() {
            self.health.hasten(suspects);
        }
    }
}

impl PassiveSignal {
    /// What has come since the last time; nothing of a target that is seen for the first time.
    fn growth(&mut self, rows: Vec<(TargetKey, Signs)>) -> Vec<(TargetKey, Signs)> {
        let before = std::mem::take(&mut self.seen);
        self.seen = rows.iter().cloned().collect();
        let growth = |(key, now): (TargetKey, Signs)| {
            let before = before.get(&key).copied().unwrap_or(now);
            let growth = Signs {
                new_flows: now.new_flows.saturating_sub(before.new_flows),
                unanswered: now.unanswered.saturating_sub(before.unanswered),
            };
            (key, growth)
        };
        rows.into_iter().map(growth).collect()
    }
}

fn count(counters: &[impl AsRef<WorkerCounters>], id: TargetId) -> Signs {
    let mut signs = Signs::default();
    for target in counters.iter().filter_map(|worker| worker.as_ref().targets.get(id.0 as usize)) {
        signs.new_flows += target.new_flows.value();
        signs.unanswered += target.repeated_syns.value() + target.refused_syns.value();
    }
    signs
}

/// The targets with some unanswered SYNs, where another one of their group had new flows and none of that. Rows of one group
/// are next to each other.
fn suspects(growth: &[(TargetKey, Signs)]) -> Vec<TargetKey> {
    let mut suspects = Vec::new();
    for group in growth.chunk_by(|one, other| one.0.group == other.0.group) {
        if group.iter().any(|(_, signs)| signs.new_flows > 0 && signs.unanswered == 0) {
            let suspicious = group.iter().filter(|(_, signs)| signs.unanswered >= UNANSWERED);
            suspects.extend(suspicious.map(|(key, _)| key.clone()));
        }
    }
    suspects
}

/// So many SYNs without answer in one look are a sign: one alone may have been lost on the way.
const UNANSWERED: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(group: &str, port: u16) -> TargetKey {
        TargetKey { group: group.into(), address: [198, 19, 1, 2].into(), port }
    }

    fn signs(new_flows: u64, unanswered: u64) -> Signs {
        Signs { new_flows, unanswered }
    }

    #[test]
    fn who_does_not_answer_while_others_do_is_suspect() {
        for (first, second, expected) in [
            (signs(0, 0), signs(0, 0), &[][..]),
            (signs(9, 0), signs(9, 0), &[]),
            (signs(9, 1), signs(9, 0), &[]), // Lost on the way.
            (signs(9, 2), signs(9, 0), &[1]),
            (signs(0, 2), signs(9, 0), &[1]), // Repeated for flows of a while ago.
            (signs(9, 0), signs(1, 5), &[2]),
            (signs(9, 2), signs(0, 0), &[]), // Nobody shows that clients can be answered.
            (signs(9, 2), signs(9, 1), &[]),
            (signs(9, 2), signs(9, 2), &[]),
        ] {
            let rows = [(key("web", 1), first), (key("web", 2), second)];
            let ports: Vec<u16> = suspects(&rows).iter().map(|key| key.port).collect();
            assert_eq!(ports, expected, "{rows:?}");
        }
    }

    #[test]
    fn groups_say_nothing_about_each_other() {
        let rows = [(key("dns", 1), signs(9, 0)), (key("web", 1), signs(9, 2)), (key("web", 2), signs(0, 0))];
        assert_eq!(suspects(&rows), []);
    }

    #[test]
    fn only_what_came_since_the_last_look_counts() {
        let mut passive = PassiveSignal::default();
        for (now, expected) in
            [(signs(9, 3), signs(0, 0)), (signs(9, 3), signs(0, 0)), (signs(12, 5), signs(3, 2))]
        {
            assert_eq!(passive.growth(vec![(key("web", 1), now)]), [(key("web", 1), expected)]);
        }
        assert_eq!(passive.growth(vec![]), []);
        assert_eq!(passive.growth(vec![(key("web", 1), signs(99, 9))]), [(key("web", 1), signs(0, 0))]);
    }
}
