//! What a file declares: objects, and which of its target groups leave their targets to calls.

use std::{collections::BTreeSet, mem};

use serde_json::{Map, Value, json};

use super::{Listener, LoadBalancer, Objects, TargetGroup};
use crate::{
    api::{Refusal, RefusalCode},
    config::{Config, ConfigErrors, Document, Part},
};

/// What a file declares.
#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    objects: Objects,
    /// Names of target groups without the key `targets`.
    open_groups: BTreeSet<String>,
}

impl Declaration {
    /// What `document` declares on a host with the settings of `host`, all checked.
    ///
    /// # Errors
    /// Names every place of the document that breaks a rule.
    pub fn of(document: &Document, host: &Document) -> Result<Declaration, ConfigErrors> {
        let config = host.config_of(document)?;
        let declaration = Declaration::of_checked(document.part(Part::Objects), &config);
        declaration.map_err(|error| ConfigErrors::not_understood(document.file(), &error))
    }

    fn of_checked(mut objects: Map<String, Value>, config: &Config) -> serde_json::Result<Declaration> {
        let open = config.target_groups.iter().filter(|group| group.is_open());
        let open_groups = open.map(|group| group.name.clone()).collect();
        for_each(objects.get_mut("load_balancers"), load_balancer);
        for_each(objects.get_mut("target_groups"), target_group);
        Ok(Declaration { objects: serde_json::from_value(Value::Object(objects))?, open_groups })
    }

    /// Refuses to take away a load balancer that is protected against deletion.
    pub fn check_protected(&self, objects: &Objects) -> Result<(), Refusal> {
        let is_named = |lb: &LoadBalancer| self.objects.load_balancer(&lb.name).is_some();
        let gone = |lb: &&LoadBalancer| lb.declared && !is_named(lb);
        match objects.load_balancers.iter().filter(gone).find(|lb| is_protected(lb)) {
            None => Ok(()),
            Some(lb) => Err(Refusal::of(
                RefusalCode::OperationNotPermitted,
                format!(
                    "load balancer {:?} is protected against deletion, and the file does not have it any more: put it back, \
                     set its attribute \"deletion_protection.enabled\" to false and apply that; then remove or rename it",
                    lb.name
                ),
            )),
        }
    }

    /// Has these objects declared in place of those that were before. Objects made by call stay, unless this names
    /// them; what they need of a file's stays with them.
    pub fn apply(mut self, objects: &mut Objects, now: &str) {
        let lbs = mem::take(&mut self.objects.load_balancers).into_iter();
        let mut lbs: Vec<LoadBalancer> =
            lbs.map(|lb| declared_load_balancer(lb, &objects.load_balancers, now)).collect();
        let open = |group: &TargetGroup| self.open_groups.contains(&group.name);
        let groups = mem::take(&mut self.objects.target_groups).into_iter();
        let mut groups: Vec<TargetGroup> =
            groups.map(|group| declared_group((open(&group), group), &objects.target_groups, now)).collect();
        // The file's come first, in its order: a start without anything by call is as the file says.
        let others = mem::take(&mut objects.load_balancers).into_iter();
        let others: Vec<LoadBalancer> =
            others.filter(|lb| lbs.iter().all(|new| new.name != lb.name)).filter_map(given_up).collect();
        lbs.extend(others);
        objects.load_balancers = lbs;
        let mut others = mem::take(&mut objects.target_groups);
        others.retain(|group| groups.iter().all(|new| new.name != group.name));
        others.retain(|group| !group.declared || objects.users(&group.name).next().is_some());
        groups.extend(others.into_iter().map(|group| TargetGroup { declared: false, ..group }));
        objects.target_groups = groups;
    }
}

/// What is left of a load balancer that no file names any more: all of one made by call; one of a file lives on, as if made by call,
/// while it has listeners that were.
fn given_up(lb: LoadBalancer) -> Option<LoadBalancer> {
    if !lb.declared {
        return Some(lb);
    }
    let listeners: Vec<Listener> = lb.listeners.iter().filter(|row| !row.declared).cloned().collect();
    (!listeners.is_empty()).then_some(LoadBalancer { listeners, declared: false, ..lb })
}

/// A load balancer of a file, with what the store knows of it, and the listeners that calls have added.
fn declared_load_balancer(new: LoadBalancer, known: &[LoadBalancer], now: &str) -> LoadBalancer {
    let known = known.iter().find(|lb| lb.name == new.name);
    let before = known.map_or(&[][..], |lb| &lb.listeners);
    let is_same = |one: &Listener, other: &Listener| (one.protocol, one.port) == (other.protocol, other.port);
    let listener = |mut listener: Listener| {
        listener.declared = true;
        if let Some(known) = before.iter().find(|known| is_same(known, &listener)) {
            listener.id = known.id;
            for rule in &mut listener.rules {
                let same = known.rules.iter().find(|known| known.priority == rule.priority);
                rule.id = same.map_or(rule.id, |known| known.id);
            }
        }
        listener
    };
    let mut listeners: Vec<Listener> = new.listeners.into_iter().map(listener).collect();
    let added = |known: &&Listener| !known.declared && !listeners.iter().any(|row| is_same(row, known));
    listeners.extend(before.iter().filter(added).cloned().collect::<Vec<_>>());
    LoadBalancer {
        id: known.map_or(new.id, |lb| lb.id),
        created: known.map_or(now.into(), |lb| lb.created.clone()),
        declared: true,
        listeners,
        ..new
    }
}

/// A target group of a file, with what the store knows of it; an open one with the targets that it has.
fn declared_group((is_open, new): (bool, TargetGroup), known: &[TargetGroup], now: &str) -> TargetGroup {
    let known = known.iter().find(|group| group.name == new.name);
    let targets = match (is_open, known) {
        (true, Some(known)) => known.targets.clone(),
        _ => new.targets,
    };
    TargetGroup {
        id: known.map_or(new.id, |group| group.id),
        created: known.map_or(now.into(), |group| group.created.clone()),
        declared: true,
        targets,
        ..new
    }
}

/// Whether an attribute forbids to delete a load balancer.
pub(crate) fn is_protected(lb: &LoadBalancer) -> bool {
    lb.attributes.get("deletion_protection.enabled").is_some_and(|value| value == "true")
}

fn for_each(items: Option<&mut Value>, change: impl Fn(&mut Map<String, Value>)) {
    let items = items.and_then(Value::as_array_mut).into_iter().flatten();
    items.filter_map(Value::as_object_mut).for_each(change);
}

/// Writes out what a file may say in short.
fn load_balancer(lb: &mut Map<String, Value>) {
    for address in lb.get_mut("addresses").and_then(Value::as_array_mut).into_iter().flatten() {
        if address.is_string() {
            *address = json!({ "address": address });
        }
    }
    flatten_attributes(lb);
    for_each(lb.get_mut("listeners"), |listener| {
        forward(listener);
        flatten_attributes(listener);
        for_each(listener.get_mut("rules"), forward);
    });
}

fn forward(owner: &mut Map<String, Value>) {
    if let Some(group) = owner.remove("target_group") {
        owner.insert("forward".into(), json!({ "target_groups": [{ "name": group }] }));
    }
}

fn target_group(group: &mut Map<String, Value>) {
    flatten_attributes(group);
    let port = group.get("port").cloned();
    for_each(group.get_mut("targets"), |target| {
        if let Some(port) = &port {
            target.entry("port").or_insert_with(|| port.clone());
        }
        if target.get("zone").is_some_and(|zone| zone == "all") {
            target.remove("zone");
        }
    });
}

/// `a.b = 1` and `"a.b" = 1` are the same, and all values are texts.
fn flatten_attributes(owner: &mut Map<String, Value>) {
    if let Some(Value::Object(nested)) = owner.remove("attributes") {
        let mut flat = Map::new();
        flatten("", nested, &mut flat);
        owner.insert("attributes".into(), Value::Object(flat));
    }
}

fn flatten(prefix: &str, nested: Map<String, Value>, flat: &mut Map<String, Value>) {
    for (key, value) in nested {
        match value {
            Value::Object(inner) => flatten(&format!("{prefix}{key}."), inner, flat),
            Value::String(text) => drop(flat.insert(format!("{prefix}{key}"), text.into())),
            value => drop(flat.insert(format!("{prefix}{key}"), value.to_string().into())),
        }
    }
}
