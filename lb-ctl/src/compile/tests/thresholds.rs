//! Groups with too few healthy targets.

use super::*;
use crate::config::MinimumHealthy;

const KEYS: [&str; 3] = ["web/198.19.1.2:80", "web/198.19.1.3:80", "web/198.19.1.4:80"];

#[test]
fn with_too_few_healthy_targets_all_get_flows_and_none_loses_its_own() {
    // Count, percentage, unhealthy targets of three: whether that is too few.
    let rows = [
        (Some(1), None, 2, false),
        (Some(1), None, 3, true),
        (Some(2), None, 1, false),
        (Some(2), None, 2, true),
        (Some(9), None, 0, true),
        (Some(1), Some(66), 1, false),
        (Some(1), Some(67), 1, true),
        (Some(1), Some(100), 0, false),
        (None, Some(34), 2, true),
        (None, Some(33), 2, false),
        (None, None, 3, false),
    ];
    for (count, percentage, unhealthy, is_failing_open) in rows {
        let mut bench = Bench { unhealthy: KEYS[..unhealthy].to_vec(), ..Bench::new() };
        bench.web().fail_open_below = MinimumHealthy { count, percentage };
        let tables = bench.compile();
        let row = format!("{count:?} {percentage:?} {unhealthy}");
        assert_eq!(group(&tables, "web").pools[0].is_failing_open, is_failing_open, "{row}");
        let (targets, flows) = match is_failing_open {
            true => (3, "kkk".to_owned()),
            false => (3 - unhealthy, format!("{}{}", "c".repeat(unhealthy), "k".repeat(3 - unhealthy))),
        };
        assert_eq!(eligible(&tables, "web").len(), targets, "{row}");
        assert_eq!(policies(&tables, &bench, "web"), flows, "{row}");
    }
}

#[test]
fn a_target_of_weight_0_or_out_of_use_counts_for_nothing() {
    let mut bench = Bench { unhealthy: vec![KEYS[1]], ..Bench::new() };
    bench.web().fail_open_below = MinimumHealthy { count: None, percentage: Some(50) };
    assert!(!group(&bench.compile(), "web").pools[0].is_failing_open, "two of three");
    bench.web().targets[2].weight = 0;
    assert!(!group(&bench.compile(), "web").pools[0].is_failing_open, "one of two");
    bench.web().targets[0].is_stopped = true;
    let tables = bench.compile();
    assert!(group(&tables, "web").pools[0].is_failing_open, "none of one");
    assert_eq!(eligible(&tables, "web"), ["3"]);
}

#[test]
fn a_group_that_gives_flows_to_nobody_does_not_fail_open() {
    let mut bench = Bench::new();
    bench.web().fail_open_below = MinimumHealthy { count: Some(2), percentage: None };
    bench.web().targets.iter_mut().for_each(|target| target.weight = 0);
    assert!(!group(&bench.compile(), "web").pools[0].is_failing_open, "weights of 0");
    bench.web().targets.clear();
    assert!(!group(&bench.compile(), "web").pools[0].is_failing_open, "empty");
}

#[test]
fn an_unavailable_target_that_was_healthy_still_gets_flows() {
    let healthy = TargetHealth::Unavailable { was_healthy: true, cause: Cause::Internal };
    let other = TargetHealth::Unavailable { was_healthy: false, cause: Cause::Internal };
    let rows = [(healthy, true), (other, false), (TargetHealth::InitialHealthChecking, false)];
    for (health, gets_flows) in rows {
        let mut bench = Bench { odd: Some((KEYS[0], health)), ..Bench::new() };
        let tables = bench.compile();
        assert_eq!(eligible(&tables, "web").contains(&"2".to_owned()), gets_flows, "{health:?}");
        assert_eq!(policies(&tables, &bench, "web"), "kkk", "{health:?}");
    }
}
