//! What the log says of targets' states: a line for each change, or, when many change at once, one for all that are alike.

use std::collections::BTreeMap;

use lb_ctl::health::{TargetHealth, Transition};

/// Prints the changes of state that came together.
pub fn log(transitions: &[Transition]) {
    for line in lines(transitions) {
        println!("lbd: {line}");
    }
}

fn lines(transitions: &[Transition]) -> Vec<String> {
    let changes = transitions.iter().filter(|transition| transition.from.state() != transition.to.state());
    let changes: Vec<&Transition> = changes.collect();
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
    let line = |((group, from, to), count)| format!("target group {group}, {count} targets: {from} -> {to}");
    alike.into_iter().map(line).collect()
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
