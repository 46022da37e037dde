//! What differs between objects before and after: what a person is shown of a change.

use std::{collections::BTreeMap, net::SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Forward, Listener, LoadBalancer, Objects, Rule, TargetGroup};
use crate::config::Family;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// What happens to it.
    pub action: DifferenceAction,
    /// The object, such as `listener edge/TCP:80`.
    pub object: String,
    /// The key that changes; `None`: the object as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its value before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its value after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceAction {
    /// It comes.
    Add,
    /// It goes.
    Remove,
    /// One key of it changes.
    Change,
}

/// What differs, object by object.
pub fn differences(before: &Objects, after: &Objects) -> Vec<Difference> {
    let (before, after) = (rows(before), rows(after));
    let mut found = Vec::new();
    for (object, keys) in &before {
        match after.get(object) {
            None => found.push(whole(DifferenceAction::Remove, object)),
            Some(new) => found.extend(changed_keys(object, keys, new)),
        }
    }
    let added = after.keys().filter(|object| !before.contains_key(*object));
    found.extend(added.map(|object| whole(DifferenceAction::Add, object)));
    found
}

/// An object's values by its keys.
type Keys = BTreeMap<String, String>;

fn whole(action: DifferenceAction, object: &str) -> Difference {
    Difference { action, object: object.into(), key: None, from: None, to: None }
}

fn changed_keys(object: &str, before: &Keys, after: &Keys) -> Vec<Difference> {
    let keys = before.keys().chain(after.keys().filter(|key| !before.contains_key(*key)));
    keys.filter(|key| before.get(*key) != after.get(*key))
        .map(|key| Difference {
            action: DifferenceAction::Change,
            object: object.into(),
            key: Some(key.clone()),
            from: before.get(key).cloned(),
            to: after.get(key).cloned(),
        })
        .collect()
}

fn rows(objects: &Objects) -> BTreeMap<String, Keys> {
    let mut rows = BTreeMap::new();
    for lb in &objects.load_balancers {
        rows.insert(format!("load balancer {}", lb.name), load_balancer(lb));
        for row in &lb.listeners {
            let name = format!("{}/{}:{}", lb.name, row.protocol.name(), row.port);
            for rule in &row.rules {
                rows.insert(format!("rule {name}/{}", rule.priority), of_rule(rule));
            }
            rows.insert(format!("listener {name}"), listener(row));
        }
    }
    for group in &objects.target_groups {
        rows.insert(format!("target group {}", group.name), target_group(group));
        for target in &group.targets {
            let endpoint = SocketAddr::new(target.address, target.port);
            let mut keys = Keys::from([("weight".into(), target.weight.to_string())]);
            keys.insert("zone".into(), target.zone.clone().unwrap_or("all".into()));
            keys.insert("stopped".into(), target.stopped.to_string());
            rows.insert(format!("target {}/{endpoint}", group.name), keys);
        }
    }
    rows
}

fn load_balancer(lb: &LoadBalancer) -> Keys {
    let address = |row: &super::Address| match &row.zone {
        Some(zone) => format!("{} (zone {zone})", row.address),
        None => row.address.to_string(),
    };
    let addresses: Vec<String> = lb.addresses.iter().map(address).collect();
    let mut keys = Keys::from([("addresses".into(), addresses.join(", ")), owner(lb.declared)]);
    keys.insert("scheme".into(), text(&lb.scheme));
    keys.extend(lb.interface.iter().map(|name| ("interface".into(), name.clone())));
    keys.extend(lb.assign.iter().map(|assign| ("assign".into(), assign.to_string())));
    named(&mut keys, "attributes", &lb.attributes);
    named(&mut keys, "tags", &lb.tags);
    keys
}

fn listener(listener: &Listener) -> Keys {
    let mut keys = Keys::from([("forward".into(), forward(&listener.forward)), owner(listener.declared)]);
    named(&mut keys, "attributes", &listener.attributes);
    named(&mut keys, "tags", &listener.tags);
    keys
}

fn of_rule(rule: &Rule) -> Keys {
    let mut keys = Keys::from([("forward".into(), forward(&rule.forward))]);
    keys.insert("source".into(), text(&rule.source));
    named(&mut keys, "tags", &rule.tags);
    keys
}

fn target_group(group: &TargetGroup) -> Keys {
    let mut keys = Keys::from([("protocol".into(), group.protocol.name().into()), owner(group.declared)]);
    keys.insert("port".into(), group.port.to_string());
    keys.insert("target_type".into(), text(&group.target_type));
    keys.insert("ip_address_type".into(), text(&group.ip_address_type.unwrap_or(Family::V4)));
    keys.extend(group.vpc.iter().map(|vpc| ("vpc".into(), vpc.clone())));
    let check = |(key, value): (&String, &Value)| (format!("health_check.{key}"), plain(value));
    keys.extend(group.health_check.iter().map(check));
    named(&mut keys, "attributes", &group.attributes);
    named(&mut keys, "tags", &group.tags);
    keys
}

/// Whose the object is: the next file that does not name it takes away what a file declared.
fn owner(is_declared: bool) -> (String, String) {
    ("owner".into(), if is_declared { "file" } else { "calls" }.into())
}

/// One line that says what comes, goes and changes, and names what goes.
pub fn summary(differences: &[Difference]) -> String {
    let of = |action| differences.iter().filter(move |row| row.action == action);
    let (added, changed) = (of(DifferenceAction::Add).count(), of(DifferenceAction::Change).count());
    let removed: Vec<&str> = of(DifferenceAction::Remove).map(|row| row.object.as_str()).collect();
    let named = match removed.len() {
        0 => String::new(),
        1..=NAMED => format!(" ({})", removed.join(", ")),
        _ => format!(" ({}, ...)", removed[..NAMED].join(", ")),
    };
    format!("{added} objects added, {} removed{named}, {changed} keys changed", removed.len())
}

/// Objects that a summary names.
const NAMED: usize = 20;

fn forward(forward: &Forward) -> String {
    let groups = forward.target_groups.iter();
    let groups: Vec<String> = match forward.target_groups.len() {
        1 => groups.map(|row| row.name.clone()).collect(),
        _ => groups.map(|row| format!("{} x{}", row.name, row.weight)).collect(),
    };
    let sticky = if forward.stickiness { ", sticky" } else { "" };
    format!("{}{sticky}", groups.join(", "))
}

fn named(keys: &mut Keys, prefix: &str, values: &BTreeMap<String, String>) {
    keys.extend(values.iter().map(|(key, value)| (format!("{prefix}.{key}"), value.clone())));
}

/// The word that stands for a value.
fn text(value: &impl Serialize) -> String {
    serde_json::to_value(value).map(|value| plain(&value)).unwrap_or_default()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), Into::into)
}
