//! Which key of a request is to blame, and that in the words of JSON and of the request: not in those of Rust, of the library that
//! reads it, or of the file that objects are checked as.

use crate::{
    api::{Refusal, RefusalCode},
    change::{Change, ResourceRef},
};

/// A value that is not what it has to be, at a path as `serde_path_to_error` tells it (`.`: the whole body).
pub(super) fn value(path: &str, error: &str) -> Refusal {
    let inner = path.split('.').filter(|step| !matches!(*step, "" | "?"));
    let blamed = blamed(error).filter(|key| inner.clone().next_back() != Some(*key));
    let path: Vec<&str> = inner.chain(blamed).collect();
    at(path.join("."), error)
}

/// A query that is not what it has to be, as axum tells it.
pub(super) fn query(error: &str) -> Refusal {
    let error = error.rsplit_once("query string: ").map_or(error, |(_, error)| error);
    match error.split_once(": ") {
        Some((key, error)) => value(key, error),
        None => value("", error),
    }
}

fn at(path: String, error: &str) -> Refusal {
    let error = in_plain_words(error);
    match path.is_empty() {
        true => Refusal::of(RefusalCode::ValidationError, error),
        false => Refusal::of(RefusalCode::ValidationError, format!("{path}: {error}")).at(path),
    }
}

/// The key that an error is about, where it names one.
fn blamed(error: &str) -> Option<&str> {
    let kinds = ["missing field `", "duplicate field `", "unknown field `"];
    let rest = kinds.iter().find_map(|kind| error.strip_prefix(kind))?;
    rest.split_once('`').map(|(key, _)| key)
}

fn in_plain_words(error: &str) -> String {
    let mut text = error.to_owned();
    if let Some((before, name)) = error.split_once("expected struct ") {
        let rest = name.trim_start_matches(|letter: char| letter.is_alphanumeric() || letter == '_');
        let rest = rest
            .strip_prefix(" with ")
            .and_then(|rest| rest.split_once(" element"))
            .map_or(rest, |row| row.1.trim_start_matches('s'));
        text = format!("{before}expected an object{rest}");
    }
    WORDS.iter().fold(text, |text, (theirs, ours)| text.replace(theirs, ours))
}

/// What serde says, and what that means to who writes JSON.
const WORDS: &[(&str, &str)] = &[
    ("missing field ", "missing key "),
    ("duplicate field ", "twice the key "),
    ("unknown field ", "unknown key "),
    ("unknown variant ", "unknown value "),
    ("invalid type: ", "found "),
    ("invalid value: ", "found "),
    ("invalid length ", "found a list of length "),
    ("found map", "found an object"),
    ("found sequence", "found a list"),
    ("found unit value", "found null"),
    ("expected u8", "expected a number from 0 to 255"),
    ("expected u16", "expected a number from 0 to 65535"),
    ("expected u32", "expected a number from 0 to 4294967295"),
    ("expected u64", "expected a number from 0 on"),
    ("expected usize", "expected a number from 0 on"),
    ("expected a boolean", "expected true or false"),
    ("expected a sequence", "expected a list"),
    ("expected a map", "expected an object"),
    ("expected IP address", "expected an IP address"),
    ("expected enum ", "expected a value of "),
];

/// Which object a request makes or changes, as far as paths tell: the lists that lead to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subject(&'static [&'static str]);

impl Subject {
    pub(super) fn of(change: &Change) -> Subject {
        match change {
            Change::CreateLoadBalancer(_)
            | Change::SetAddresses { .. }
            | Change::SetIpAddressType { .. }
            | Change::ModifyLoadBalancerAttributes { .. }
            | Change::DeleteLoadBalancer(_) => LOAD_BALANCER,
            Change::CreateListener(_)
            | Change::ModifyListener { .. }
            | Change::ModifyListenerAttributes { .. }
            | Change::DeleteListener(_) => LISTENER,
            Change::CreateRule { .. }
            | Change::ModifyRule { .. }
            | Change::DeleteRule(_)
            | Change::SetRulePriorities(_) => RULE,
            Change::CreateTargetGroup(_)
            | Change::ModifyTargetGroup { .. }
            | Change::ModifyTargetGroupAttributes { .. }
            | Change::DeleteTargetGroup(_)
            | Change::ChangeTargets { .. } => TARGET_GROUP,
            Change::Tag { resources, .. } => match resources.as_slice() {
                [ResourceRef::LoadBalancer(_)] => LOAD_BALANCER,
                [ResourceRef::Listener(_)] => LISTENER,
                [ResourceRef::Rule(_)] => RULE,
                [ResourceRef::TargetGroup(_)] => TARGET_GROUP,
                _ => NOBODY,
            },
            Change::All(changes) => changes.first().map_or(NOBODY, Subject::of),
            Change::Apply(_) => NOBODY,
        }
    }

    /// The same refusal with paths from the object on.
    pub(super) fn own_keys(self, refusal: Refusal) -> Refusal {
        let lines: Vec<&str> = refusal.error.lines().map(|line| self.own(line)).collect();
        let path = refusal.path.as_deref().map(|path| self.own(path).to_owned());
        Refusal { error: lines.join("\n"), path, ..refusal }
    }

    /// What follows the object's place in a path; the whole path, if it leads to another object.
    fn own(self, path: &str) -> &str {
        let own = self.0.iter().try_fold(path, |rest, list| after_place(rest, list));
        own.filter(|own| !PARTS.iter().any(|part| own.starts_with(part))).unwrap_or(path)
    }
}

/// What follows `LIST[INDEX].` in a path.
fn after_place<'p>(path: &'p str, list: &str) -> Option<&'p str> {
    let (index, rest) = path.strip_prefix(list)?.strip_prefix('[')?.split_once("].")?;
    index.bytes().all(|digit| digit.is_ascii_digit()).then_some(rest)
}

const LOAD_BALANCER: Subject = Subject(&["load_balancers"]);
const LISTENER: Subject = Subject(&["load_balancers", "listeners"]);
const RULE: Subject = Subject(&["load_balancers", "listeners", "rules"]);
const TARGET_GROUP: Subject = Subject(&["target_groups"]);
const NOBODY: Subject = Subject(&[]);

/// Beginnings of paths that go on to objects of an object, which no request about that one names.
const PARTS: &[&str] = &["listeners[", "rules[", "targets["];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_begin_at_the_object_that_a_request_is_about() {
        for (subject, path, own) in [
            (
                TARGET_GROUP,
                "target_groups[10].health_check.interval_seconds",
                "health_check.interval_seconds",
            ),
            (LOAD_BALANCER, "load_balancers[0].addresses[1].address", "addresses[1].address"),
            (LOAD_BALANCER, "load_balancers[0].listeners[1].port", "load_balancers[0].listeners[1].port"),
            (LISTENER, "load_balancers[0].listeners[1].port", "port"),
            (RULE, "load_balancers[0].listeners[1].rules[22].priority", "priority"),
            (RULE, "target_groups[1].port", "target_groups[1].port"),
            (NOBODY, "target_groups[1].port", "target_groups[1].port"),
        ] {
            assert_eq!(subject.own(path), own);
        }
        let errors =
            "target_groups[1].port: found 0, expected 1\ntarget_groups[1].name: found \"-\", expected a name";
        let told = TARGET_GROUP.own_keys(Refusal::from(errors).at("target_groups[1].port"));
        assert_eq!(told.error, "port: found 0, expected 1\nname: found \"-\", expected a name");
        assert_eq!(told.path.as_deref(), Some("port"));
    }

    #[test]
    fn values_are_spoken_of_as_in_json() {
        for (path, error, blamed, told) in [
            (".", "missing field `name` at line 1", Some("name"), "name: missing key `name` at line 1"),
            ("a[0]", "missing field `name`", Some("a[0].name"), "a[0].name: missing key `name`"),
            ("x", "unknown field `x`, expected `y`", Some("x"), "x: unknown key `x`, expected `y`"),
            (
                "a[0]",
                "invalid type: integer `7`, expected struct Row with 6 elements at line 1",
                Some("a[0]"),
                "a[0]: found integer `7`, expected an object at line 1",
            ),
            (
                "port",
                "invalid value: integer `-1`, expected u16",
                Some("port"),
                "port: found integer `-1`, expected a number from 0 to 65535",
            ),
            ("?", "found nothing", None, "found nothing"),
        ] {
            let refusal = value(path, error);
            assert_eq!((refusal.path.as_deref(), refusal.error.as_str()), (blamed, told));
        }
    }
}
