//! Targets that are deregistered, and come back.

use super::*;

#[test]
fn a_deregistered_target_drains_and_then_its_id_rests() {
    let mut bench = Bench::new();
    bench.compile();
    let gone = bench.id("web/198.19.1.3:80").unwrap();
    bench.change(WEB_3, WEB_2);
    let tables = bench.compile();
    assert_eq!(eligible(&tables, "web"), ["2", "4"]);
    assert_eq!(tables.target(gone).unwrap().flow_policy, FlowPolicy::Keep);
    assert_eq!(bench.compiler.next_deadline(), Some(after(bench.now, 10)));
    assert_eq!(bench.report("web/198.19.1.3:80"), TargetHealth::DeregistrationInProgress);

    bench.pass(10);
    let tables = bench.compile();
    assert_eq!(tables.target(gone).unwrap().flow_policy, FlowPolicy::Keep, "a TCP group lets flows go on");
    assert_eq!(bench.report("web/198.19.1.3:80"), TargetHealth::NotRegistered);
    assert_eq!(bench.compiler.next_deadline(), Some(after(bench.now, 6_000)));

    bench.pass(6_000);
    let tables = bench.compile();
    assert_eq!(tables.target(gone), None);
    assert_eq!(bench.compiler.next_deadline(), None);
}

#[test]
fn flows_left_after_the_delay_are_cut_when_the_group_says_so() {
    let terminate = "\"deregistration_delay.timeout_seconds\" = 10\n\
                     \"deregistration_delay.connection_termination.enabled\" = true";
    let mut bench = Bench::new();
    bench.change("\"deregistration_delay.timeout_seconds\" = 10", terminate);
    bench.compile();
    let gone = bench.id("web/198.19.1.3:80").unwrap();
    let text = FILE.replace("\"deregistration_delay.timeout_seconds\" = 10", terminate).replace(WEB_3, WEB_2);
    bench.config = parse(&text, "f").unwrap();
    for (seconds, policy) in
        [(0, FlowPolicy::Keep), (9, FlowPolicy::Keep), (1, FlowPolicy::Cut(CutCause::Deregistered))]
    {
        bench.pass(seconds);
        assert_eq!(bench.compile().target(gone).unwrap().flow_policy, policy);
    }
}

#[test]
fn a_target_that_comes_back_has_its_id_again() {
    let mut bench = Bench::new();
    bench.compile();
    let id = bench.id("web/198.19.1.3:80");
    bench.change(WEB_3, WEB_2);
    bench.compile();
    bench.pass(60);
    bench.change(WEB_2, WEB_2);
    let tables = bench.compile();
    assert_eq!(bench.id("web/198.19.1.3:80"), id);
    assert_eq!(eligible(&tables, "web"), ["2", "3", "4"]);
}

#[test]
fn a_new_target_never_takes_the_id_of_a_draining_one() {
    let mut bench = Bench::new();
    bench.compile();
    let gone = bench.id("web/198.19.1.3:80").unwrap();
    bench
        .change("{ address = \"198.19.1.3\" }, { address = \"198.19.1.4\" }", "{ address = \"198.19.1.9\" }");
    bench.compile();
    assert_ne!(bench.id("web/198.19.1.9:80"), Some(gone));
    assert_eq!(bench.id("web/198.19.1.3:80"), Some(gone));
}

#[test]
fn a_removed_group_drains_with_its_last_delay() {
    let mut bench = Bench::new();
    bench.compile();
    let id = bench.id("spare/198.19.1.2:80").unwrap();
    let from = FILE.find("[[target_groups]]\nname = \"spare\"").unwrap();
    bench.config = parse(&FILE[..from], "f").unwrap();
    let tables = bench.compile();
    assert_eq!(tables.target(id).unwrap().group, TargetGroupId(2));
    assert_eq!(bench.compiler.next_deadline(), Some(after(bench.now, 300)));
    bench.pass(300 + 6_000);
    assert_eq!(bench.compile().target(id), None);
}

#[test]
fn a_target_that_comes_back_while_it_drains_is_as_if_it_had_not_gone() {
    let mut bench = Bench::new();
    bench.web().after_deregistration = config::Leftover::Terminate;
    let epoch = bench.compile().epoch();
    let (id, target) = (bench.id("web/198.19.1.3:80").unwrap(), bench.web().targets[1].clone());
    // Seconds that pass, whether it is registered, what its flows get: the delay is 10 s.
    let rows = [
        (0, false, FlowPolicy::Keep),
        (9, true, FlowPolicy::Keep),
        (5, true, FlowPolicy::Keep),
        (1, false, FlowPolicy::Keep),
        (9, false, FlowPolicy::Keep),
    ];
    for (at, (seconds, is_registered, policy)) in rows.into_iter().enumerate() {
        bench.pass(seconds);
        bench.web().targets.retain(|known| known.address != target.address);
        bench.web().targets.extend(is_registered.then(|| target.clone()));
        let tables = bench.compile();
        assert_eq!(bench.id("web/198.19.1.3:80"), Some(id), "row {at}");
        assert_eq!(tables.target(id).unwrap().flow_policy, policy, "row {at}");
        assert_eq!(eligible(&tables, "web").contains(&"3".to_owned()), is_registered, "row {at}");
        assert_eq!(tables.epoch(), epoch, "row {at}: no flow is concerned");
    }
    bench.pass(1);
    assert_eq!(bench.compile().target(id).unwrap().flow_policy, FlowPolicy::Cut(CutCause::Deregistered));
    bench.web().targets.push(target);
    assert_eq!(bench.compile().target(id).unwrap().flow_policy, FlowPolicy::Keep, "new flows are welcome");
}

#[test]
fn a_target_that_comes_back_unhealthy_waits_for_its_checks() {
    let mut bench = Bench::new();
    bench.compile();
    bench.change(WEB_3, WEB_2);
    bench.compile();
    bench.odd = Some(("web/198.19.1.3:80", TargetHealth::InitialHealthChecking));
    bench.change(WEB_2, WEB_2);
    assert_eq!(eligible(&bench.compile(), "web"), ["2", "4"]);
    bench.odd = None;
    assert_eq!(eligible(&bench.compile(), "web"), ["2", "3", "4"]);
}

/// Its check may have succeeded before the kernel has told how: a client's first packet would be lost.
#[test]
fn a_target_that_has_just_come_gets_flows_when_there_is_a_way_to_it() {
    let mut bench = Bench::new();
    let all = bench.config.clone();
    bench.config.target_groups[1].targets.pop();
    bench.compile();
    bench.config = all;
    bench.out_of_reach = vec!["198.19.1.4".parse().unwrap()];
    assert_eq!(eligible(&bench.compile(), "web"), ["2", "3"]);
    bench.out_of_reach.clear();
    assert_eq!(eligible(&bench.compile(), "web"), ["2", "3", "4"]);
    bench.out_of_reach = vec!["198.19.1.4".parse().unwrap()];
    assert_eq!(eligible(&bench.compile(), "web"), ["2", "3", "4"], "a way that is lost comes back");
}

/// So that flows from before a restart find their targets again.
#[test]
fn targets_there_from_the_start_get_flows_before_ways_are_known() {
    let mut bench = Bench::new();
    bench.out_of_reach = ["198.19.1.2", "198.19.1.3", "198.19.1.4"].map(|text| text.parse().unwrap()).into();
    for _ in 0..2 {
        assert_eq!(eligible(&bench.compile(), "web"), ["2", "3", "4"]);
    }
}
