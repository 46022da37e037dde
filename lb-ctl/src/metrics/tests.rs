//! The text of a small scrape, and what counters of groups do when targets go.

use super::*;
use crate::api::{ListenerRow, LoadBalancerRow, ReasonRow, VipRow};

fn target(number: u8, state: &str, passed: u64) -> TargetRow {
    TargetRow {
        target_group: "web".into(),
        target: ([198, 19, 1, number], 8080).into(),
        zone: Some("a".into()),
        state: state.into(),
        reason: None,
        description: None,
        changed: None,
        changed_seconds_ago: None,
        checks_passed: passed,
        checks_failed: 1,
        weight: Some(1),
        is_eligible: state == "healthy",
        share_percent: 100.0,
        is_reachable: true,
        bypass: None,
        traffic: Traffic { new_flows: 10 * u64::from(number), target_resets: 3, ..Traffic::default() },
    }
}

fn listener(packets_in: u64) -> ListenerRow {
    ListenerRow {
        name: "edge@198.18.100.1/TCP:80".into(),
        address: "198.18.100.1".parse().unwrap(),
        forward: vec![],
        is_sticky: false,
        mode: "full NAT".into(),
        has_syn_cookies: false,
        adopts_strays: false,
        traffic: Traffic { packets_in, bytes_in: 60 * packets_in, ..Traffic::default() },
    }
}

fn load_balancer(packets_in: u64) -> LoadBalancerRow {
    let vip = VipRow {
        address: "198.18.100.1".parse().unwrap(),
        zone: Some("a".into()),
        zonal_health: Some("unhealthy".into()),
    };
    LoadBalancerRow {
        name: "edge".into(),
        addresses: vec![vip],
        interface: "eth0".into(),
        crosses_zones: false,
        listeners: vec![listener(packets_in)],
    }
}

fn metrics() -> Metrics {
    let reason = ReasonRow { reason: "flow".into(), verdict: "transmit".into(), help: "".into(), frames: 9 };
    let group = GroupRow {
        name: "web".into(),
        load_balancer: Some("edge".into()),
        is_failing_open: true,
        traffic: Traffic { active_flows: 4, ..Traffic::default() },
        ..GroupRow::default()
    };
    Metrics {
        started_seconds: 1.5,
        status: Status {
            version: "1 \"beta\"\\\n".into(),
            load_balancers: vec![load_balancer(7)],
            ..Status::default()
        },
        stats: Stats { reasons: vec![reason], ..Stats::default() },
        target_groups: vec![group],
        targets: vec![target(2, "healthy", 5), target(3, "unhealthy", 0)],
        targets_max: 2,
        ..Metrics::default()
    }
}

#[test]
fn a_family_has_its_help_and_type_and_its_series_stable_labels() {
    let text = expose(metrics());
    for lines in [
        "# HELP lbd_build_info Version of lbd.\n# TYPE lbd_build_info gauge\nlbd_build_info{version=\"1 \\\"beta\\\"\\\\\\n\"} 1\n",
        "# TYPE lbd_start_time_seconds gauge\nlbd_start_time_seconds 1.5\n",
        "# TYPE lbd_frames_settled counter\nlbd_frames_settled_total{reason=\"flow\",verdict=\"transmit\"} 9\n",
        "lbd_zonal_health{load_balancer=\"edge\",address=\"198.18.100.1\",zone=\"a\"} 0\n",
        "# TYPE lbd_listener_packets counter\nlbd_listener_packets_total{load_balancer=\"edge\",listener=\"TCP:80\",protocol=\"TCP\",\
         address=\"198.18.100.1\",zone=\"a\",direction=\"in\"} 7\n",
        "lbd_target_group_active_flows{target_group=\"web\",load_balancer=\"edge\"} 4\n",
        "lbd_target_group_failing_open{target_group=\"web\",load_balancer=\"edge\"} 1\n",
        "lbd_target_group_targets{target_group=\"web\",load_balancer=\"edge\",zone=\"a\",state=\"unhealthy\"} 1\n",
        "lbd_target_group_targets{target_group=\"web\",load_balancer=\"edge\",zone=\"a\",state=\"draining\"} 0\n",
        "lbd_target_new_flows_total{target_group=\"web\",load_balancer=\"edge\",target=\"198.19.1.2:8080\"} 20\n",
        "lbd_target_passed_resets_total{target_group=\"web\",load_balancer=\"edge\",target=\"198.19.1.3:8080\",sender=\"target\"} 3\n",
        "lbd_metrics_omitted_targets 0\n",
    ] {
        assert!(text.contains(lines), "{lines}not in\n{text}");
    }
    assert!(text.ends_with("\n# EOF\n"));
}

#[test]
fn too_many_targets_have_no_series_of_their_own_but_their_groups_have() {
    let text = expose(Metrics { targets_max: 1, ..metrics() });
    assert!(text.contains("lbd_metrics_omitted_targets 2\n"));
    assert!(!text.contains("target=\""), "{text}");
    let counted = "lbd_target_group_targets{target_group=\"web\",load_balancer=\"edge\",zone=\"a\",state=\"healthy\"} 1\n";
    assert!(text.contains(counted), "{text}");
}

#[test]
fn a_group_without_targets_has_each_state_at_0() {
    let text = expose(Metrics { targets: vec![], ..metrics() });
    let none = "lbd_target_group_targets{target_group=\"web\",load_balancer=\"edge\",state=\"healthy\"} 0\n";
    assert!(text.contains(none), "{text}");
}

#[test]
fn checks_of_a_group_never_fall() {
    let mut checks = Checks::default();
    for (targets, passed, failed) in [
        (vec![target(2, "healthy", 5), target(3, "healthy", 2)], 7, 2),
        (vec![target(2, "healthy", 6)], 8, 2),
        (vec![target(2, "healthy", 1)], 9, 3), // Registered anew.
        (vec![target(2, "healthy", 1), target(3, "healthy", 4)], 13, 4),
    ] {
        checks.note(&targets);
        assert_eq!(checks.of("web"), Results { passed, failed });
    }
    checks.note(&[]);
    assert_eq!(checks.of("web"), Results::default());
}

#[test]
fn a_peak_is_the_highest_mean_of_the_last_minute() {
    let mut peaks = Peaks::default();
    let mut packets = 1_000_000; // Counted before anybody looked.
    let mut observe = |seconds: u64, growth: u64| {
        packets += growth;
        let now = std::time::Duration::from_secs(seconds);
        assert!(peaks.is_due(now));
        peaks.observe(now, &[load_balancer(packets)]);
        assert!(!peaks.is_due(now));
        peaks
            .highest()
            .first()
            .map(|(name, peak)| (name.clone(), peak.packets_per_second, peak.bytes_per_second))
    };
    let rate = |rate: f64| Some(("edge".to_owned(), rate, 60.0 * rate));
    assert_eq!(observe(3, 0), None);
    assert_eq!(observe(13, 100), rate(10.0));
    assert_eq!(observe(23, 400), rate(40.0));
    for seconds in [33, 43, 53, 63, 73] {
        assert_eq!(observe(seconds, 50), rate(40.0));
    }
    assert_eq!(observe(83, 50), rate(5.0));
}

#[test]
fn a_listener_that_counts_from_0_again_makes_no_peak() {
    let mut peaks = Peaks::default();
    for (seconds, packets) in [(0, 500), (10, 1_000), (20, 20)] {
        peaks.observe(std::time::Duration::from_secs(seconds), &[load_balancer(packets)]);
    }
    assert_eq!(peaks.highest()[0].1.packets_per_second, 50.0);
    peaks.observe(std::time::Duration::from_secs(30), &[]);
    assert_eq!(peaks.highest(), []);
}
