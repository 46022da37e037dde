//! What listeners, targets and target groups have counted, apart from who had their ids before: workers count by id and never begin
//! anew, ids have other holders in time, and a target group's counters must not fall when a target leaves it.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use lb_core::{
    counters::WorkerCounters,
    tables::{ListenerId, Tables, Target, TargetId},
};
use lb_ctl::api::Traffic;

/// What was counted when the holders of today got their ids, and what the holders of a former time have left to their groups.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By `ListenerId`.
    listeners: Vec<Traffic>,
    /// By `TargetId`.
    targets: Vec<Traffic>,
    /// By target group: traffic of targets that are gone.
    left: HashMap<Box<str>, Traffic>,
}

impl Ledger {
    /// Notes who gets an id and who loses one, before workers go by the new tables.
    pub fn note(&mut self, before: &Tables, after: &Tables, counters: &[Arc<WorkerCounters>]) {
        if before.are_steered_like(after) {
            return;
        }
        for (id, listener) in after.listeners().iter().enumerate() {
            let endpoint = listener.as_ref().map(|row| row.endpoint);
            let was = before.listener(ListenerId(id as u16)).map(|row| row.endpoint);
            if endpoint.is_some() && endpoint != was {
                set(&mut self.listeners, id, listener_total(counters, ListenerId(id as u16)));
            }
        }
        for id in (0..before.targets().len().max(after.targets().len())).map(|id| TargetId(id as u32)) {
            let (was, is) = (identity(before, id), identity(after, id));
            if was == is {
                continue;
            }
            if let Some((group, _)) = was {
                let left = Traffic { active_flows: 0, ..self.target(counters, id) };
                let sum = self.left.entry(group.into()).or_default();
                *sum = sum.and(left);
            }
            set(&mut self.targets, id.0 as usize, target_total(counters, id));
        }
        let groups: HashSet<&str> = after.groups().iter().map(|group| &*group.name).collect();
        self.left.retain(|name, _| groups.contains(&**name));
    }

    /// Traffic of a listener since it has its id.
    pub fn listener(&self, counters: &[Arc<WorkerCounters>], id: ListenerId) -> Traffic {
        let earlier = self.listeners.get(usize::from(id.0)).copied().unwrap_or_default();
        listener_total(counters, id).since(earlier)
    }

    /// Traffic of a target since it has its id.
    pub fn target(&self, counters: &[Arc<WorkerCounters>], id: TargetId) -> Traffic {
        let earlier = self.targets.get(id.0 as usize).copied().unwrap_or_default();
        target_total(counters, id).since(earlier)
    }

    /// Traffic of each target group in the tables, targets that have left it included.
    pub fn groups<'t>(
        &self,
        tables: &'t Tables,
        counters: &[Arc<WorkerCounters>],
    ) -> HashMap<&'t str, Traffic> {
        let left = |name: &str| self.left.get(name).copied().unwrap_or_default();
        let mut sums: HashMap<&str, Traffic> =
            tables.groups().iter().map(|group| (&*group.name, left(&group.name))).collect();
        for id in (0..tables.targets().len()).map(|id| TargetId(id as u32)) {
            if let Some((group, _)) = identity(tables, id)
                && let Some(sum) = sums.get_mut(group)
            {
                *sum = sum.and(self.target(counters, id));
            }
        }
        sums
    }
}

/// What tells the holders of one id apart: the group's name and the target's endpoint.
fn identity(tables: &Tables, id: TargetId) -> Option<(&str, (IpAddr, u16))> {
    let Target { group, address, port, .. } = tables.target(id)?;
    Some((&tables.group(*group)?.name, (*address, *port)))
}

fn listener_total(counters: &[Arc<WorkerCounters>], id: ListenerId) -> Traffic {
    Traffic::sum(counters.iter().filter_map(|worker| worker.listeners.get(usize::from(id.0))))
}

fn target_total(counters: &[Arc<WorkerCounters>], id: TargetId) -> Traffic {
    Traffic::sum(counters.iter().filter_map(|worker| worker.targets.get(id.0 as usize)))
}

fn set(rows: &mut Vec<Traffic>, at: usize, traffic: Traffic) {
    if rows.len() <= at {
        rows.resize(at + 1, Traffic::default());
    }
    rows[at] = traffic;
}

#[cfg(test)]
mod tests {
    use lb_core::{
        maglev::Maglev,
        tables::{FlowPolicy, Pool, TablesParts, TargetGroup, TargetGroupId},
    };

    use super::*;

    /// Tables whose target 0 has this port, in one of two groups; none without.
    fn tables(target: Option<(u16, u16)>) -> Tables {
        let group =
            |name| TargetGroup::of_one_pool(name, true, Pool::new([].into(), Maglev::build(&[], 7).into()));
        let target = target.map(|(group, port)| Target {
            group: TargetGroupId(group),
            address: [198, 19, 1, 2].into(),
            port,
            protocols: &[],
            next_hop: None,
            flow_policy: FlowPolicy::Keep,
        });
        let groups = vec![group("web"), group("dns")];
        Tables::new(TablesParts { generation: 1, groups, targets: vec![target], ..Default::default() })
            .unwrap()
    }

    #[test]
    fn who_gets_an_id_begins_at_0_and_a_group_keeps_what_its_targets_had() {
        let counters = [Arc::new(WorkerCounters::new()), Arc::new(WorkerCounters::new())];
        let count = |flows| {
            for worker in &counters {
                worker.targets[0].new_flows.add(flows);
            }
            counters[0].targets[0].active_flows.add(1);
        };
        let mut ledger = Ledger::default();
        let mut before = tables(None);
        for (target, flows, own, (web, dns)) in [
            (Some((0, 80)), 10, 20, (20, 0)),
            (Some((0, 80)), 1, 22, (22, 0)),
            (Some((0, 81)), 2, 4, (26, 0)), // Another target has its id.
            (None, 0, 0, (26, 0)),
            (Some((1, 53)), 3, 6, (26, 6)),
            (Some((0, 81)), 4, 8, (34, 6)),
        ] {
            let after = tables(target);
            ledger.note(&before, &after, &counters);
            count(flows);
            assert_eq!(ledger.target(&counters, TargetId(0)).new_flows, own, "{target:?}");
            let groups = ledger.groups(&after, &counters);
            assert_eq!((groups["web"].new_flows, groups["dns"].new_flows), (web, dns), "{target:?}");
            before = after;
        }
        let active = ledger.groups(&before, &counters)["web"].active_flows;
        assert_eq!(active, 6, "flows of now are those of the target of now");
    }
}
