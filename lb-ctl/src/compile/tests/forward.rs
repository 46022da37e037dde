//! Listeners that share their flows out to several groups.

use lb_core::{hash, tables::WeightedGroup};

use super::*;
use crate::config::Forward;

/// The listener of port 80 forwards to `web` and `spare`, with these weights.
fn weigh(bench: &mut Bench, weights: [u16; 2]) {
    let groups = [1, 2].into_iter().zip(weights);
    let groups = groups.map(|(group, weight)| config::WeightedGroup { group, weight }).collect();
    bench.config.load_balancers[0].listeners[1].forward = Forward { groups, is_sticky: true };
}

fn rows(tables: &Tables) -> Vec<WeightedGroup> {
    tables.listener(ListenerId(2)).unwrap().forward.groups.to_vec()
}

#[test]
fn every_group_has_its_weight_and_a_lasting_number() {
    let mut bench = Bench::new();
    weigh(&mut bench, [900, 1]);
    let tables = bench.compile();
    assert!(tables.listener(ListenerId(2)).unwrap().forward.is_sticky);
    let shares: Vec<(u16, u64)> = rows(&tables).iter().map(|row| (row.weight, row.salt)).collect();
    assert_eq!(shares, [(900, hash::name("web")), (1, hash::name("spare"))]);
}

#[test]
fn flows_to_a_group_end_a_while_after_its_weight_turned_0() {
    let cut = FlowPolicy::Cut(CutCause::WeightZero);
    // Seconds that pass, the group's weight, what its flows get.
    let rows_of_time = [
        (0, 5, FlowPolicy::Keep),
        (9, 0, FlowPolicy::Keep),
        (4, 0, FlowPolicy::Keep),
        (1, 0, cut),
        (99, 0, cut),
        (1, 3, FlowPolicy::Keep),
        (1, 0, FlowPolicy::Keep),
        (5, 0, cut),
    ];
    let mut bench = Bench::new();
    for (at, (seconds, weight, policy)) in rows_of_time.into_iter().enumerate() {
        bench.pass(seconds);
        weigh(&mut bench, [1, weight]);
        let tables = bench.compile();
        let policies: Vec<FlowPolicy> = rows(&tables).iter().map(|row| row.flow_policy).collect();
        assert_eq!(policies, [FlowPolicy::Keep, policy], "row {at}");
    }
}

#[test]
fn the_end_of_a_weightless_groups_flows_is_a_deadline() {
    let mut bench = Bench::new();
    weigh(&mut bench, [1, 0]);
    bench.compile();
    assert_eq!(bench.compiler.next_deadline(), Some(after(bench.now, 5)));
    bench.pass(5);
    bench.compile();
    assert_eq!(bench.compiler.next_deadline(), None);
}

/// Whoever is asked to end a connection must be able to answer.
#[test]
fn a_listener_that_is_gone_is_known_for_ten_seconds() {
    let mut bench = Bench::new();
    let vip = "addresses = [\"198.18.100.1\", \"198.18.100.2\"]";
    bench.change("addresses = [\"198.18.100.1\"]", vip);
    let id = bench.listener("198.18.100.2", 80);
    bench.config = parse(FILE, "f").unwrap();
    for (seconds, is_known) in [(0, true), (9, true), (1, false)] {
        bench.pass(seconds);
        let tables = bench.compile();
        let listener = tables.listener(id);
        assert_eq!(listener.map(|listener| listener.forward.is_closing()), is_known.then_some(true));
        assert_eq!(tables.is_vip("198.18.100.2".parse().unwrap()), is_known, "after {seconds} s more");
        assert_eq!(tables.has_cuts(), is_known);
        assert!(bench.compiler.next_deadline().is_some());
    }
    bench.change("addresses = [\"198.18.100.1\"]", vip);
    let tables = bench.compile();
    assert!(!tables.listener(bench.listener("198.18.100.2", 80)).unwrap().forward.is_closing());
}
