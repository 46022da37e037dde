//! Which targets serve the VIPs of which zone, and which serve none.

use super::*;
use crate::config::{MinimumHealthy, Vip};

/// VIPs in the zones `a` and `b`; targets 2 and 3 of `web` are in `a`, 4 in `b`, 5 in every zone, 6 in another.
fn bench() -> Bench {
    let mut bench = Bench::new();
    let vip = |last: u8, zone: &str| Vip { address: [198, 18, 100, last].into(), zone: Some(zone.into()) };
    bench.config.load_balancers[0].vips = vec![vip(1, "b"), vip(2, "a")];
    let template = bench.web().targets[0].clone();
    let zones = [(2u8, Some("a")), (3, Some("a")), (4, Some("b")), (5, None), (6, Some("c"))];
    let target = |(last, zone): (u8, Option<&str>)| config::Target {
        address: [198, 19, 1, last].into(),
        zone: zone.map(str::to_owned),
        ..template.clone()
    };
    bench.web().targets = zones.map(target).into();
    bench
}

/// The targets that may get new flows to port 80 of each VIP.
fn eligible_by_vip(tables: &Tables) -> Vec<String> {
    let listeners = tables.listeners().iter().flatten().filter(|row| row.endpoint.port == 80);
    let pool = |row: &lb_core::tables::Listener| tables.pool(&row.forward.groups[0]).unwrap().1;
    listeners.map(|row| eligible_of(tables, pool(row)).join(" ")).collect()
}

#[test]
fn a_vip_uses_the_targets_of_its_zone_unless_flows_cross_zones() {
    // The group's attribute, the load balancer's, targets of the VIPs in the zones b and a.
    let rows = [
        (None, false, ["4 5", "2 3 5"]),
        (None, true, ["2 3 4 5", "2 3 4 5"]),
        (Some(true), false, ["2 3 4 5", "2 3 4 5"]),
        (Some(false), true, ["4 5", "2 3 5"]),
    ];
    for (of_group, of_load_balancer, expected) in rows {
        let mut bench = bench();
        bench.web().crosses_zones = of_group;
        bench.config.load_balancers[0].crosses_zones = of_load_balancer;
        assert_eq!(eligible_by_vip(&bench.compile()), expected, "{of_group:?} {of_load_balancer}");
    }
}

#[test]
fn a_load_balancer_without_zones_has_the_targets_of_all() {
    let mut bench = bench();
    bench.config.load_balancers[0].vips.iter_mut().for_each(|vip| vip.zone = None);
    assert_eq!(eligible_by_vip(&bench.compile()), ["2 3 4 5 6"; 2]);
}

#[test]
fn a_target_that_is_not_used_gets_no_flows_and_loses_those_it_has() {
    let mut bench = bench();
    bench.web().targets[1].is_stopped = true;
    bench.of_host = ["198.19.1.5".parse().unwrap()].into();
    let tables = bench.compile();
    assert_eq!(eligible_by_vip(&tables), ["4", "2"]);
    let rows = [
        (2, TargetHealth::Healthy),
        (3, TargetHealth::InvalidState),
        (4, TargetHealth::Healthy),
        (5, TargetHealth::IpUnusable),
        (6, TargetHealth::ZoneNotEnabled),
    ];
    for (last, health) in rows {
        let key = format!("web/198.19.1.{last}:80");
        let policy = match health {
            TargetHealth::Healthy => FlowPolicy::Keep,
            _ => FlowPolicy::Cut(CutCause::Unused),
        };
        assert_eq!(bench.report(&key), health, "{key}");
        assert_eq!(tables.target(bench.id(&key).unwrap()).unwrap().flow_policy, policy, "{key}");
    }
}

#[test]
fn each_zone_fails_open_by_itself() {
    // Unhealthy targets, eligible ones of the VIPs in b and a, flows of targets 2 to 6.
    let rows: &[(&[&str], [&str; 2], &str)] = &[
        (&["web/198.19.1.4:80"], ["5", "2 3 5"], "kkckc"),
        (&["web/198.19.1.4:80", "web/198.19.1.5:80"], ["4 5", "2 3"], "kkkkc"),
        (&["web/198.19.1.2:80", "web/198.19.1.5:80"], ["4", "3"], "ckkcc"),
    ];
    for (unhealthy, expected, flows) in rows {
        let mut bench = Bench { unhealthy: unhealthy.to_vec(), ..bench() };
        let tables = bench.compile();
        assert_eq!(eligible_by_vip(&tables), *expected, "{unhealthy:?}");
        assert_eq!(policies(&tables, &bench, "web"), *flows, "{unhealthy:?}");
        let is_failing_open = |pool: &Pool| pool.is_failing_open;
        let pools = &group(&tables, "web").pools;
        assert_eq!(pools.iter().any(is_failing_open), unhealthy[0].contains("1.4") && unhealthy.len() == 2);
    }
}

#[test]
fn a_zone_is_healthy_while_every_group_has_enough_healthy_targets_there() {
    use ZonalHealth::{Healthy, Unhealthy};
    let both = MinimumHealthy { count: Some(2), percentage: Some(60) };
    let off = MinimumHealthy { count: None, percentage: None };
    // Fewest healthy targets of the group, unhealthy ones, health of the VIPs in b and a.
    let rows: &[(MinimumHealthy, &[&str], [ZonalHealth; 2])] = &[
        (MinimumHealthy::default(), &[], [Healthy, Healthy]),
        (MinimumHealthy::default(), &["web/198.19.1.2:80", "web/198.19.1.3:80"], [Healthy, Healthy]),
        (MinimumHealthy::default(), &["web/198.19.1.4:80", "web/198.19.1.5:80"], [Unhealthy, Healthy]),
        (both, &["web/198.19.1.2:80"], [Healthy, Healthy]),
        (both, &["web/198.19.1.5:80"], [Unhealthy, Healthy]),
        (both, &["web/198.19.1.2:80", "web/198.19.1.4:80"], [Unhealthy, Healthy]),
        (both, &["web/198.19.1.2:80", "web/198.19.1.3:80"], [Healthy, Unhealthy]),
        (off, &["web/198.19.1.4:80", "web/198.19.1.5:80"], [Healthy, Healthy]),
        // Another group of the same VIPs, with targets of every zone.
        (off, &["dns/198.19.1.2:53", "dns/198.19.1.3:53"], [Unhealthy, Unhealthy]),
    ];
    for (fewest, unhealthy, expected) in rows {
        let mut bench = Bench { unhealthy: unhealthy.to_vec(), ..bench() };
        bench.web().dns_failover_below = *fewest;
        bench.compile();
        let zones: Vec<ZonalHealth> = bench.compiler.zonal_health().iter().map(|row| row.1).collect();
        assert_eq!(zones, expected, "{fewest:?} {unhealthy:?}");
    }
}

#[test]
fn a_group_of_weight_0_does_not_make_its_zone_unhealthy() {
    let mut bench = bench();
    for (weight, expected) in [(1, ZonalHealth::Unhealthy), (0, ZonalHealth::Healthy)] {
        let groups = [(1, 1), (2, weight)].map(|(group, weight)| config::WeightedGroup { group, weight });
        bench.config.load_balancers[0].listeners[1].forward.groups = groups.into();
        bench.compile();
        assert_eq!(
            bench.compiler.zonal_health()[0].1,
            expected,
            "weight {weight} of the group without targets"
        );
    }
}
