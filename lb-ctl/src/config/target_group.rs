//! Target groups and their targets.

use std::{net::IpAddr, time::Duration};

use super::{
    CHECK_FAST_INTERVAL_MS, CHECK_FAST_TIMEOUT_MS, CHECK_INTERVAL_SECONDS, CHECK_THRESHOLD,
    CHECK_TIMEOUT_SECONDS, Family, HealthCheck, MinimumHealthy, Protocols, Registrar, Target, TargetGroup,
    TargetType,
    address::{ADDRESS_EXPECTED, unicast},
    attributes,
    read::{name, one_of, protocols, sections},
    walk::{Section, Value},
};
use lb_core::limits;

/// A target group as far as it could be read.
pub(super) struct Group {
    /// Its name, even if the rest is wrong, so that listeners that name it are not blamed.
    pub(super) name: Option<String>,
    pub(super) checked: Option<TargetGroup>,
}

pub(super) fn all(root: &Section<'_>) -> Vec<Group> {
    let sections = sections(root, "target_groups");
    if sections.len() > limits::TARGET_GROUPS {
        root.errors().report(
            &root.place,
            format!("{} target groups", sections.len()),
            format!("at most {}", limits::TARGET_GROUPS),
        );
    }
    let mut groups: Vec<Group> = Vec::new();
    for section in sections {
        let group = section.map_or(Group { name: None, checked: None }, |section| group(&section, &groups));
        groups.push(group);
    }
    let targets: usize =
        groups.iter().filter_map(|group| group.checked.as_ref()).map(|group| group.targets.len()).sum();
    if targets > limits::TARGETS {
        let most = format!("at most {} over all target groups", limits::TARGETS);
        root.errors().report(&root.place, format!("{targets} targets"), most);
    }
    groups
}

fn group(section: &Section<'_>, earlier: &[Group]) -> Group {
    section.allow_only(&["name", "protocol", "port", "target_type", "targets", "health_check", "attributes"]);
    let name = unique_name(section, earlier);
    let protocol = protocols(section);
    let port = port(section);
    let target_type = target_type(section);
    let targets = targets(section, port, target_type);
    let health_check = health_check(section);
    let attributes = attributes::of_target_group(section, protocol, target_type);
    let checked = || {
        let attributes = attributes?;
        Some(TargetGroup {
            name: name.clone()?,
            protocol: protocol?,
            port: port?,
            target_type: target_type?,
            family: Family::of(targets.as_ref()?.first()?.address),
            targets: targets?,
            registrar: Registrar::File,
            is_sticky: false,
            crosses_zones: None,
            health_check: health_check?,
            preserves_client_ip: attributes.preserves_client_ip,
            deregistration_delay_seconds: attributes.deregistration_delay_seconds,
            after_deregistration: attributes.after_deregistration,
            when_unhealthy: attributes.when_unhealthy,
            draining_interval_seconds: 0,
            fail_open_below: MinimumHealthy::default(),
            dns_failover_below: MinimumHealthy::default(),
        })
    };
    Group { checked: checked(), name }
}

fn unique_name(section: &Section<'_>, earlier: &[Group]) -> Option<String> {
    let (name, value) = name(section)?;
    if earlier.iter().any(|group| group.name.as_deref() == Some(name)) {
        return value.refuse("a name that no other target group has");
    }
    Some(name.into())
}

/// Key `port`: required, 1 to 65535.
pub(super) fn port(section: &Section<'_>) -> Option<u16> {
    section.required("port", "an integer from 1 to 65535")?.integer(PORT)
}

/// The key path of a target that has an address.
pub(super) fn target_at(groups: &[Group], address: IpAddr) -> Option<String> {
    groups.iter().enumerate().find_map(|(index, group)| {
        let targets = &group.checked.as_ref()?.targets;
        let target = targets.iter().position(|target| target.address == address)?;
        Some(format!("target_groups[{index}].targets[{target}]"))
    })
}

fn target_type(section: &Section<'_>) -> Option<TargetType> {
    let Some(value) = section.optional("target_type") else {
        return Some(TargetType::Ip);
    };
    let types = [("instance", TargetType::Instance), ("ip", TargetType::Ip)];
    match value.as_text() {
        Some("alb") => value.refuse_with_advice(
            "one of \"instance\", \"ip\"",
            "this target type is not supported yet: register the load balancer behind by its addresses, as \"ip\"",
        ),
        _ => one_of(&value, &types),
    }
}

fn targets(
    section: &Section<'_>,
    default_port: Option<u16>,
    target_type: Option<TargetType>,
) -> Option<Vec<Target>> {
    let expected =
        format!("1 to {} targets, such as [{{ address = \"198.19.1.2\" }}]", limits::TARGETS_PER_GROUP);
    let value = section.required("targets", &expected)?;
    let items = value.items(&expected)?;
    if items.is_empty() || items.len() > limits::TARGETS_PER_GROUP {
        return match items.len() {
            0 => value.refuse(expected),
            count => {
                section.errors().report(&value.place, format!("{count} targets"), expected);
                None
            }
        };
    }
    let mut seen = std::collections::HashSet::new();
    let read = |item: &Value<'_>| {
        let target = target(item, default_port)?;
        if !seen.insert((target.address, target.port)) {
            let found = format!("{}:{} a second time", target.address, target.port);
            section.errors().report(&item.place, found, "each address and port once");
            return None;
        }
        Some(target)
    };
    let targets: Vec<Option<Target>> = items.iter().map(read).collect();
    let targets = targets.into_iter().collect::<Option<Vec<Target>>>()?;
    has_one_family(&items, &targets, target_type)?;
    Some(targets)
}

/// Refuses the first target that is not of the family that its group's type or first target says.
fn has_one_family(items: &[Value<'_>], targets: &[Target], target_type: Option<TargetType>) -> Option<()> {
    let (family, advice) = match target_type {
        Some(TargetType::Instance) => {
            (Family::V4, "instance targets have IPv4 addresses: take target_type \"ip\"")
        }
        _ => (
            Family::of(targets.first()?.address),
            "the targets of a group are of one family: make a target group for each",
        ),
    };
    let stranger = items.iter().zip(targets).find(|(_, target)| Family::of(target.address) != family);
    let Some((item, target)) = stranger else { return Some(()) };
    let expected = format!("an {} address", family.name());
    item.errors().advise(&item.place, target.address.to_string(), expected, advice);
    None
}

fn target(item: &Value<'_>, default_port: Option<u16>) -> Option<Target> {
    let section = item.section()?;
    section.allow_only(&["address", "port", "weight"]);
    let address = section.required("address", ADDRESS_EXPECTED).and_then(|value| unicast(&value));
    let port = match section.optional("port") {
        Some(value) => value.integer(PORT),
        None => default_port,
    };
    let weight = match section.optional("weight") {
        Some(value) => value.integer(0..=i64::from(limits::TARGET_WEIGHT)),
        None => Some(1),
    };
    Some(Target { address: address?, port: port?, weight: weight?, zone: None, is_stopped: false })
}

fn health_check(section: &Section<'_>) -> Option<HealthCheck> {
    let defaults = HealthCheck::default();
    let Some(section) = section.optional_section("health_check")? else {
        return Some(defaults);
    };
    for key in ["path", "matcher"] {
        if let Some(value) = section.optional(key) {
            value.refuse_with_advice::<()>(
                "no such key",
                "it belongs to HTTP checks, which are not supported yet",
            );
        }
    }
    section.allow_only(&[
        "protocol",
        "port",
        "interval_seconds",
        "fast_interval_ms",
        "timeout_seconds",
        "fast_timeout_ms",
        "healthy_threshold",
        "unhealthy_threshold",
        "path",
        "matcher",
    ]);
    let is_protocol_known = check_protocol(&section);
    let port = check_port(&section);
    let interval = either(
        &section,
        ("interval_seconds", CHECK_INTERVAL_SECONDS),
        ("fast_interval_ms", CHECK_FAST_INTERVAL_MS),
    )
    .map(|interval| interval.unwrap_or(defaults.interval));
    let timeout = either(
        &section,
        ("timeout_seconds", CHECK_TIMEOUT_SECONDS),
        ("fast_timeout_ms", CHECK_FAST_TIMEOUT_MS),
    );
    let healthy_threshold = threshold(&section, "healthy_threshold", defaults.healthy_threshold);
    let unhealthy_threshold = threshold(&section, "unhealthy_threshold", defaults.unhealthy_threshold);
    is_protocol_known?;
    Some(HealthCheck {
        port: port?,
        interval: interval?,
        timeout: timeout?.unwrap_or(defaults.timeout.min(interval?)),
        healthy_threshold: healthy_threshold?,
        unhealthy_threshold: unhealthy_threshold?,
    })
}

fn check_protocol(section: &Section<'_>) -> Option<()> {
    let Some(value) = section.optional("protocol") else {
        return Some(());
    };
    match value.as_text() {
        Some("HTTP" | "HTTPS") => {
            value.refuse_with_advice("\"TCP\"", "HTTP and HTTPS checks are not supported yet")
        }
        Some("UDP" | "QUIC") => {
            value.refuse_with_advice("\"TCP\"", "no such check exists: name a TCP port to check")
        }
        _ => one_of(&value, &[("TCP", ())]),
    }
}

fn check_port(section: &Section<'_>) -> Option<Option<u16>> {
    match section.optional("port") {
        None => Some(None),
        Some(value) => match value.as_text() {
            Some("traffic-port") => Some(None),
            Some(_) => value.refuse("\"traffic-port\" or an integer from 1 to 65535"),
            None => value.integer(PORT).map(Some),
        },
    }
}

/// A duration given in seconds, or finer in milliseconds, but not both.
fn either(
    section: &Section<'_>,
    (seconds_key, seconds): (&str, std::ops::RangeInclusive<i64>),
    (ms_key, ms): (&str, std::ops::RangeInclusive<i64>),
) -> Option<Option<Duration>> {
    match (section.optional(seconds_key), section.optional(ms_key)) {
        (None, None) => Some(None),
        (Some(value), None) => value.integer(seconds).map(|count| Some(Duration::from_secs(count))),
        (None, Some(value)) => value.integer(ms).map(|count| Some(Duration::from_millis(count))),
        (Some(_), Some(value)) => value.refuse(format!("{seconds_key} or {ms_key}, not both")),
    }
}

fn threshold(section: &Section<'_>, key: &str, default: u8) -> Option<u8> {
    match section.optional(key) {
        Some(value) => value.integer(CHECK_THRESHOLD),
        None => Some(default),
    }
}

/// Whether a listener of `listener` protocols may forward to a group of `group` protocols, for an error.
pub(super) fn groups_for(listener: Protocols) -> String {
    listener.forwards_to().iter().map(|protocols| protocols.name()).collect::<Vec<_>>().join(" or ")
}

const PORT: std::ops::RangeInclusive<i64> = 1..=65_535;
