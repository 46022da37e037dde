//! Target groups.

use lb_core::limits;
use serde_json::{Map, Value};

use super::{NewTargetGroup, Ref, unknown_key};
use crate::{
    api::{Refusal, RefusalCode},
    config::{Family, HEALTH_CHECK_KEYS, TargetType},
    objects::{Id, Objects, TargetGroup},
};

/// Makes a target group; one that is there already with the same settings is as good.
pub(super) fn create(objects: &mut Objects, new: NewTargetGroup, now: &str) -> Result<Id, Refusal> {
    let new = TargetGroup {
        name: new.name,
        id: Id::fresh(),
        created: now.into(),
        declared: false,
        protocol: new.protocol,
        port: new.port,
        target_type: new.target_type.unwrap_or(TargetType::Ip),
        ip_address_type: Some(new.ip_address_type.unwrap_or(Family::V4)),
        vpc: new.vpc,
        health_check: new.health_check,
        attributes: new.attributes,
        tags: new.tags,
        targets: Vec::new(),
    };
    if let Some(known) = objects.target_group(&new.name) {
        return match is_like(known, &new) {
            true => Ok(known.id),
            false => Err(Refusal::of(
                RefusalCode::DuplicateTargetGroupName,
                format!("a target group named {:?} exists already, with other settings", new.name),
            )),
        };
    }
    if objects.target_groups.len() >= limits::TARGET_GROUPS {
        let error = format!("there can be {} target groups", limits::TARGET_GROUPS);
        return Err(Refusal::of(RefusalCode::TooManyTargetGroups, error));
    }
    let id = new.id;
    objects.target_groups.push(new);
    Ok(id)
}

/// Sets keys of the health check. Of another protocol's own keys none stays.
pub(super) fn modify(
    objects: &mut Objects,
    group: &Ref,
    health_check: Map<String, Value>,
) -> Result<Id, Refusal> {
    let at = objects.group_at(group)?;
    let group = &mut objects.target_groups[at];
    let known = &mut group.health_check;
    let mut reset = health_check.iter().filter(|(_, value)| value.is_null()).map(|(key, _)| key.as_str());
    let is_key = |key: &str| HEALTH_CHECK_KEYS.contains(&key) || known.contains_key(key);
    if let Some(key) = reset.find(|key| !is_key(key)) {
        let kind = (key, "a setting of a health check");
        return Err(unknown_key(RefusalCode::ValidationError, kind, HEALTH_CHECK_KEYS.to_vec()));
    }
    let has_other_kind =
        KINDS.iter().any(|kind| health_check.get(*kind).is_some_and(|value| known.get(*kind) != Some(value)));
    if has_other_kind {
        // What belongs to TCP, HTTP or HTTPS alone is for the new kind to say; HTTP and HTTPS share theirs.
        let keeps =
            health_check.get("protocol").and_then(Value::as_str).is_some_and(|name| name.starts_with("HTTP"));
        known.retain(|key, _| !OF_KINDS.contains(&key.as_str()) || keeps && OF_HTTP.contains(&key.as_str()));
        KINDS.iter().for_each(|kind| drop(known.remove(*kind)));
        if health_check.contains_key("udp") {
            known.remove(OF_CONNECTIONS);
        }
    }
    for (key, value) in health_check {
        // Two keys say the same in other units: the newer one counts.
        let twin = TWINS.iter().find_map(|(one, other)| match key.as_str() {
            name if name == *one => Some(*other),
            name if name == *other => Some(*one),
            _ => None,
        });
        twin.iter().for_each(|twin| drop(known.remove(*twin)));
        match value {
            Value::Null => drop(known.remove(&key)),
            value => drop(known.insert(key, value)),
        }
    }
    Ok(group.id)
}

/// Removes a target group that nobody uses.
pub(super) fn delete(objects: &mut Objects, group: &Ref) -> Result<Id, Refusal> {
    let at = objects.group_at(group)?;
    let name = &objects.target_groups[at].name;
    if let Some((lb, listener)) = objects.users(name).next() {
        return Err(Refusal::of(
            RefusalCode::ResourceInUse,
            format!(
                "target group {name:?} is currently in use by listener {}:{} of load balancer {:?}: have that forward \
                 elsewhere, or delete it, first",
                listener.protocol.name(),
                listener.port,
                lb.name
            ),
        ));
    }
    Ok(objects.target_groups.remove(at).id)
}

/// Whether two groups have the same settings, apart from attributes (NLB "CreateTargetGroup").
fn is_like(known: &TargetGroup, new: &TargetGroup) -> bool {
    let family = |group: &TargetGroup| group.ip_address_type.unwrap_or(Family::V4);
    known.tags == new.tags
        && (known.protocol, known.port, known.target_type, &known.vpc, &known.health_check, family(known))
            == (new.protocol, new.port, new.target_type, &new.vpc, &new.health_check, family(new))
}

/// Keys that choose a kind of check.
const KINDS: [&str; 3] = ["protocol", "grpc", "udp"];

/// Keys that only some kinds have.
const OF_KINDS: [&str; 3] = ["path", "matcher", "tls"];

/// Keys that HTTP and HTTPS share.
const OF_HTTP: [&str; 2] = ["path", "matcher"];

/// The key that only checks that connect have.
const OF_CONNECTIONS: &str = "proxy_header";

const TWINS: [(&str, &str); 2] =
    [("interval_seconds", "fast_interval_ms"), ("timeout_seconds", "fast_timeout_ms")];
