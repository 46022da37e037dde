//! The table against a plain map, and against all that it promises at its limits.

use super::*;
use proptest::prelude::*;
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

pub(super) fn hash() -> FlowHash {
    FlowHash::new(&std::array::from_fn(|i| (i as u64 + 3).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// A flow of its own for each number: by turns IPv4, IPv6, and from an IPv6 client to an IPv4 target.
pub(super) fn flow(number: u32, state: State) -> NewFlow {
    let v4 = |a, b, c, d| IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    let v6 = |last| IpAddr::V6(Ipv6Addr::from(0x2001_0db8 << 96 | last));
    let (port, high, low) = ([0x80, 0], (number >> 8) as u8, number as u8);
    let (client, vip, source, target) = match number % 3 {
        0 => (v4(10, 0, high, low), v4(198, 18, 100, 1), v4(10, 0, high, low), v4(198, 19, 1, 2)),
        1 => (v6(u128::from(number)), v6(1 << 64), v6(u128::from(number)), v6(2 << 64)),
        _ => (v6(u128::from(number)), v6(1 << 64), v4(198, 18, high, low), v4(198, 19, 1, 2)),
    };
    let forward = FlowKey::new((client, port), (vip, [0, 80]), 6).unwrap();
    let mut new = NewFlow::new(&forward, (source, port), (target, [0x1f, 0x90]), state);
    new.flow.timeout_s = 10;
    new.flow.target_id = number as u16;
    new
}

pub(super) fn insert(table: &mut FlowTable<'_>, new: &NewFlow) -> (Result<u32, Full>, Option<NewFlow>) {
    table.insert(new, table.hashes(new))
}

fn find(table: &FlowTable<'_>, key: &FlowKey) -> Option<(u32, Direction)> {
    table.lookup(table.hash(key), key)
}

#[test]
fn both_directions_lead_to_one_record() {
    let mut arena = FlowArena::new(64);
    let mut table = FlowTable::new(arena.memory(), hash());
    let flow = flow(1, State::Established);
    let record = insert(&mut table, &flow).0.unwrap();
    assert_eq!(find(&table, &flow.key(Direction::Forward)), Some((record, Direction::Forward)));
    assert_eq!(find(&table, &flow.key(Direction::Reverse)), Some((record, Direction::Reverse)));
}

#[test]
fn a_resting_flow_is_found_by_the_targets_packets_alone_and_leaves_without_a_trace() {
    for number in 0..3 {
        let mut arena = FlowArena::new(64);
        let mut table = FlowTable::new(arena.memory(), hash());
        let flow = flow(number, State::HalfOpen);
        let record = insert(&mut table, &flow).0.unwrap();
        table.rest(record);
        assert_eq!(find(&table, &flow.key(Direction::Forward)), None);
        assert_eq!(find(&table, &flow.key(Direction::Reverse)), Some((record, Direction::Reverse)));
        assert_eq!((table.len(), table.half_open()), (1, 0));
        table.remove(record);
        assert_eq!(find(&table, &flow.key(Direction::Reverse)), None);
        assert!(table.is_empty() && table.buckets.iter().all(|bucket| bucket.tags == [0; BUCKET_ENTRIES]));
    }
}

#[test]
fn a_full_table_refuses_and_keeps_every_flow_it_has() {
    for capacity in [1, 7, 64, 1_000, 50_000] {
        let mut arena = FlowArena::new(capacity);
        let mut table = FlowTable::new(arena.memory(), hash());
        let stored = (0..capacity)
            .take_while(|&n| insert(&mut table, &flow(n, State::Established)).0.is_ok())
            .count() as u32;
        assert_eq!(stored, capacity, "every record is usable");
        assert_eq!(insert(&mut table, &flow(capacity, State::Established)), (Err(Full), None));
        for n in 0..capacity {
            assert!(find(&table, &flow(n, State::Established).key(Direction::Forward)).is_some());
        }
    }
}

#[test]
fn half_open_flows_over_budget_push_out_the_oldest_of_their_kind_only() {
    let mut arena = FlowArena::new(80);
    let mut table = FlowTable::new(arena.memory(), hash());
    insert(&mut table, &flow(1_000, State::Established)).0.unwrap();
    for n in 0..10 {
        assert_eq!(insert(&mut table, &flow(n, State::HalfOpen)).1, None);
    }
    let (second, _) = find(&table, &flow(1, State::HalfOpen).key(Direction::Forward)).unwrap();
    table.set_state(second, State::Answered);
    table.set_state(second, State::Established);
    assert_eq!(table.half_open(), 9);
    insert(&mut table, &flow(10, State::HalfOpen)).0.unwrap();
    let (_, evicted) = insert(&mut table, &flow(11, State::HalfOpen));
    assert_eq!(evicted.unwrap().flow.target_id, 0);
    let (_, evicted) = insert(&mut table, &flow(12, State::HalfOpen));
    assert_eq!(evicted.unwrap().flow.target_id, 2, "1 is established and stays");
    assert!(find(&table, &flow(1, State::HalfOpen).key(Direction::Forward)).is_some());
    assert_eq!((table.len(), table.half_open()), (12, 10));
}

#[test]
fn sweep_finds_each_expired_flow_once_per_round() {
    let mut arena = FlowArena::new(64);
    let mut table = FlowTable::new(arena.memory(), hash());
    for n in 0..5 {
        let mut flow = flow(n, State::Established);
        flow.flow.last_seen_ms = n * 1_000;
        insert(&mut table, &flow).0.unwrap();
    }
    let expired: Vec<u32> = (0..5).filter_map(|_| table.sweep(12_001)).collect();
    assert_eq!(expired, [0, 1, 2]);
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, bool),
    Remove(u32),
    Establish(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..120u32, any::<bool>()).prop_map(|(n, half_open)| Step::Insert(n, half_open)),
        2 => (0..120u32).prop_map(Step::Remove),
        1 => (0..120u32).prop_map(Step::Establish),
    ];
    prop::collection::vec(step, 0..600)
}

proptest! {
    #[test]
    fn behaves_as_a_map(steps in steps()) {
        let mut arena = FlowArena::new(96);
        let mut table = FlowTable::new(arena.memory(), hash());
        let mut model: HashMap<u32, State> = HashMap::new();
        for step in steps {
            match step {
                Step::Insert(n, half_open) if !model.contains_key(&n) => {
                    let state = if half_open { State::HalfOpen } else { State::Established };
                    match insert(&mut table, &flow(n, state)) {
                        (Ok(_), evicted) => {
                            if let Some(evicted) = evicted {
                                prop_assert_eq!(model.remove(&u32::from(evicted.flow.target_id)), Some(State::HalfOpen));
                            }
                            model.insert(n, state);
                        }
                        (Err(Full), _) => prop_assert_eq!(model.len(), 96),
                    }
                }
                Step::Remove(n) => {
                    let found = find(&table, &flow(n, State::HalfOpen).key(Direction::Reverse));
                    prop_assert_eq!(found.is_some(), model.remove(&n).is_some());
                    if let Some((record, _)) = found {
                        table.remove(record);
                    }
                }
                Step::Establish(n) => {
                    if let Some((record, _)) = find(&table, &flow(n, State::HalfOpen).key(Direction::Forward)) {
                        table.set_state(record, State::Established);
                        model.insert(n, State::Established);
                    }
                }
                Step::Insert(..) => {}
            }
            let half_open = model.values().filter(|state| **state == State::HalfOpen).count();
            prop_assert_eq!((table.len() as usize, table.half_open() as usize), (model.len(), half_open));
        }
        for n in 0..120 {
            let found = find(&table, &flow(n, State::HalfOpen).key(Direction::Forward)).map(|(record, _)| table.flow(record).state());
            prop_assert_eq!(found, model.get(&n).copied());
        }
    }
}
