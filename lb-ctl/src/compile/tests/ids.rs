//! Ids, apart from what has them.

use super::*;
use crate::compile::ids::Ids;

const MOST: usize = 4;

/// Gives the keys ids at a time; missing ones keep theirs for 10 s.
fn assign(ids: &mut Ids<char>, keys: &str, second: u64) {
    ids.assign(keys.chars(), after(Instant::default(), second), |_| 10, MOST);
}

fn of(ids: &Ids<char>, keys: &str) -> Vec<Option<u32>> {
    keys.chars().map(|key| ids.id(&key)).collect()
}

#[test]
fn an_id_is_free_again_some_time_after_its_key_went() {
    let mut ids = Ids::default();
    assign(&mut ids, "abc", 0);
    assign(&mut ids, "c", 1);
    assign(&mut ids, "cd", 10);
    assert_eq!(of(&ids, "abcd"), [Some(0), Some(1), Some(2), Some(3)]);
    assign(&mut ids, "acd", 10);
    assign(&mut ids, "acde", 11);
    assert_eq!(of(&ids, "abcde"), [Some(0), None, Some(2), Some(3), Some(1)]);
}

#[test]
fn when_ids_run_out_those_missing_for_longest_lose_theirs() {
    let mut ids = Ids::default();
    assign(&mut ids, "abcd", 0);
    assign(&mut ids, "acd", 1);
    assign(&mut ids, "cd", 2);
    assign(&mut ids, "cde", 3);
    assert_eq!(of(&ids, "abcde"), [Some(0), None, Some(2), Some(3), Some(1)]);
    assign(&mut ids, "cdefg", 4);
    assert_eq!(of(&ids, "acdefg"), [None, Some(2), Some(3), Some(1), Some(0), Some(4)], "all are needed");
}
