//! What the log says of targets' states: a line for each change, or, when many change at once, one for all that are alike. And of
//! target groups that have too few healthy targets. Those who follow the control API's events are told of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use lb_core::tables::{Listener, Tables, TargetGroup};
use lb_ctl::{
    api::Happening,
    health::{TargetHealth, Transition},
    server::Events,
};

use crate::log::say;

/// Tells the changes of state that came together.
pub fn tell(transitions: &[Transition], events: &Events) {
    for line in lines(transitions) {
        say!("{line}");
    }
    for Transition { key, from, to } in transitions.iter().filter(is_change) {
        events.publish(Happening::Health {
            target_group: key.group.to_string(),
            target: SocketAddr::from((key.address, key.port)).to_string(),
            from: from.state().into(),
            to: to.state().into(),
            reason: to.reason().map(Into::into),
            description: to.description().map(|description| description.to_string()),
        });
    }
}

/// Whether it is one of the state, and not of the reason alone.
fn is_change(transition: &&Transition) -> bool {
    transition.from.state() != transition.to.state()
}

fn lines(transitions: &[Transition]) -> Vec<String> {
    let changes: Vec<&Transition> = transitions.iter().filter(is_change).collect();
    if changes.len() <= EACH_SHOWN {
        let line = |Transition { key, from, to }: &&Transition| {
            format!("target {key}: {} -> {}", from.state(), describe(*to))
        };
        return changes.iter().map(line).collect();
    }
    let mut alike: BTreeMap<(&str, &str, String), usize> = BTreeMap::new();
    for Transition { key, from, to } in changes {
        *alike.entry((&key.group, from.state(), describe(*to))).or_default() += 1;
    }
    let line = |((group, from, to), count)| {
        let targets = if count == 1 { "target" } else { "targets" };
        format!("target group {group}, {count} {targets}: {from} -> {to}")
    };
    alike.into_iter().map(line).collect()
}

/// Target groups that have begun to fail open, and not ended. Those that do from their start on, or that of their first target, until
/// first checks are none.
#[derive(Debug, Default)]
pub struct FailingOpen {
    groups: BTreeSet<Box<str>>,
}

impl FailingOpen {
    /// Tells which groups begin or end to fail open with new tables.
    pub fn tell(&mut self, before: &Tables, after: &Tables, events: &Events) {
        for (target_group, is_failing_open) in self.changes(before, after) {
            if is_failing_open {
                say!(
                    "WARNING: target group {target_group} fails open: too few targets are healthy, so all get flows"
                );
            } else {
                say!("target group {target_group} fails open no longer");
            }
            events.publish(Happening::FailOpen { target_group, is_failing_open });
        }
    }

    /// Names of groups, and whether they fail open now.
    fn changes(&mut self, before: &Tables, after: &Tables) -> Vec<(String, bool)> {
        let well = |group: &&TargetGroup| has_targets(group) && !is_failing_open(group);
        let used: BTreeSet<u16> = after.listeners().iter().flatten().flat_map(groups_of).collect();
        let well: BTreeSet<&str> = before.groups().iter().filter(well).map(|group| &*group.name).collect();
        let mut changes = Vec::new();
        let is_used = |at: usize| u16::try_from(at).is_ok_and(|id| used.contains(&id));
        for (at, TargetGroup { name, .. }) in
            after.groups().iter().enumerate().filter(|(_, group)| is_failing_open(group))
        {
            if is_used(at) && well.contains(&**name) && self.groups.insert(name.clone()) {
                changes.push((name.to_string(), true));
            }
        }
        for TargetGroup { name, .. } in after.groups().iter().filter(|group| !is_failing_open(group)) {
            if self.groups.remove(name) {
                changes.push((name.to_string(), false));
            }
        }
        changes
    }
}

fn groups_of(listener: &Listener) -> impl Iterator<Item = u16> {
    listener.forward.groups.iter().map(|row| row.group.0)
}

fn has_targets(group: &TargetGroup) -> bool {
    group.pools.iter().any(|pool| !pool.eligible.is_empty())
}

/// Whether flows go to targets without regard to their health.
pub(crate) fn is_failing_open(group: &TargetGroup) -> bool {
    group.pools.iter().any(|pool| pool.is_failing_open)
}

fn describe(health: TargetHealth) -> String {
    match (health.reason(), health.description()) {
        (Some(reason), Some(description)) => format!("{} ({reason}: {description})", health.state()),
        _ => health.state().to_owned(),
    }
}

/// More changes than this at once are told together.
const EACH_SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    use lb_core::{
        maglev::{Candidate, Maglev},
        tables::{
            Endpoint, FlowPolicy, Forward, Interface, InterfaceId, Mac, Pool, Protocol, Sources, TablesParts,
            Target, TargetGroupId, TargetId, WeightedGroup,
        },
    };
    use lb_ctl::health::{Cause, TargetKey};

    use super::*;

    fn transition(group: &str, port: u16, from: TargetHealth, to: TargetHealth) -> Transition {
        Transition { key: TargetKey { group: group.into(), address: [198, 19, 1, 2].into(), port }, from, to }
    }

    const TIMEOUT: TargetHealth = TargetHealth::Unhealthy(Cause::Timeout);

    #[test]
    fn a_change_of_state_is_a_line_with_its_reason() {
        let changes = [
            transition("web", 80, TargetHealth::Healthy, TIMEOUT),
            transition("web", 81, TargetHealth::RegistrationInProgress, TargetHealth::InitialHealthChecking),
            transition("dns", 53, TargetHealth::InitialHealthChecking, TargetHealth::Healthy),
        ];
        let expected = [
            "target web/198.19.1.2:80: healthy -> unhealthy (Target.Timeout: Request timed out)",
            "target dns/198.19.1.2:53: initial -> healthy",
        ];
        assert_eq!(lines(&changes), expected);
    }

    #[test]
    fn a_group_that_begins_or_ends_to_fail_open_is_told_once() {
        let tables = |is_failing_open| {
            let candidate = Candidate { address: [198, 19, 1, 2].into(), port: 80, weight: 1 };
            let pool = Pool::new([TargetId(0)].into(), Maglev::build(&[candidate], 7).into());
            let group = TargetGroup::of_one_pool("web", true, Pool { is_failing_open, ..pool });
            let target = Target {
                group: TargetGroupId(0),
                address: candidate.address,
                port: 80,
                protocols: &[],
                next_hop: None,
                flow_policy: FlowPolicy::Keep,
            };
            let weighted = WeightedGroup {
                group: TargetGroupId(0),
                pool: 0,
                weight: 1,
                salt: 0,
                flow_policy: FlowPolicy::Keep,
            };
            let listener = Listener {
                name: "edge/TCP:80".into(),
                endpoint: Endpoint { address: [198, 18, 100, 1].into(), port: 80, protocol: Protocol::Tcp },
                forward: Forward { groups: [weighted].into(), is_sticky: false },
                idle_timeout_s: 350,
                interface: InterfaceId(0),
                sources: Sources::none(),
                adopts_strays: false,
                has_syn_cookies: false,
            };
            let interface =
                Interface { name: "eth0".into(), mac: Mac::default(), mtu: 1_500, receive_hash: None };
            let parts = TablesParts {
                generation: 1,
                listeners: vec![Some(listener)],
                groups: vec![group],
                targets: vec![Some(target)],
                interfaces: vec![interface],
                ..Default::default()
            };
            Tables::new(parts).unwrap()
        };
        let (open, well, none) = (tables(true), tables(false), Tables::empty());
        let (begins, ends) = (("web".to_owned(), true), ("web".to_owned(), false));
        let mut failing = FailingOpen::default();
        for (before, after, expected) in [
            (&*none, &open, &[][..]), // At a start, before the first checks.
            (&open, &well, &[]),
            (&well, &open, std::slice::from_ref(&begins)),
            (&open, &open, &[]),
            (&open, &well, std::slice::from_ref(&ends)),
        ] {
            assert_eq!(failing.changes(before, after), expected);
        }
    }

    #[test]
    fn many_changes_at_once_are_told_together() {
        let fall = (1..=9).map(|port| transition("web", port, TargetHealth::Healthy, TIMEOUT));
        let rise = (1..=2).map(|port| transition("web", port, TIMEOUT, TargetHealth::Healthy));
        let changes: Vec<Transition> = fall.chain(rise).collect();
        let expected = [
            "target group web, 9 targets: healthy -> unhealthy (Target.Timeout: Request timed out)",
            "target group web, 2 targets: unhealthy -> healthy",
        ];
        assert_eq!(lines(&changes), expected);
    }
}
