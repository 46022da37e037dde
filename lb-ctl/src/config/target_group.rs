//! Target groups and their targets.

use std::{net::IpAddr, time::Duration};

use super::{
    CHECK_FAST_INTERVAL_MS, CHECK_FAST_TIMEOUT_MS, CHECK_INTERVAL_SECONDS, CHECK_THRESHOLD,
    CHECK_TIMEOUT_SECONDS, HealthCheck, Protocols, Target, TargetGroup, attributes,
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
    let is_type_known = target_type(section);
    let targets = targets(section, port);
    let health_check = health_check(section);
    let attributes = attributes::of_target_group(section, protocol);
    let checked = || {
        is_type_known?;
        let attributes = attributes?;
        Some(TargetGroup {
            name: name.clone()?,
            protocol: protocol?,
            port: port?,
            targets: targets?,
            health_check: health_check?,
            deregistration_delay_seconds: attributes.deregistration_delay_seconds,
            after_deregistration: attributes.after_deregistration,
            when_unhealthy: attributes.when_unhealthy,
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

fn target_type(section: &Section<'_>) -> Option<()> {
    let Some(value) = section.optional("target_type") else {
        return Some(());
    };
    match value.as_text() {
        Some("instance" | "alb") => value.refuse_with_advice(
            "\"ip\"",
            "this target type is not supported yet: register targets by address",
        ),
        _ => one_of(&value, &[("ip", ())]),
    }
}

fn targets(section: &Section<'_>, default_port: Option<u16>) -> Option<Vec<Target>> {
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
    targets.into_iter().collect()
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
    Some(Target { address: address?, port: port?, weight: weight? })
}

/// An IPv4 address that one host can have and others can reach.
pub(super) fn unicast(value: &Value<'_>) -> Option<IpAddr> {
    let address = match value.text(ADDRESS_EXPECTED)?.parse() {
        Ok(IpAddr::V4(address)) => address,
        Ok(IpAddr::V6(_)) => return value.refuse_with_advice(ADDRESS_EXPECTED, "IPv6 is not supported yet"),
        Err(_) => return value.refuse(ADDRESS_EXPECTED),
    };
    let is_reserved = address.octets()[0] == 0 || address.octets()[0] >= 240;
    if is_reserved || address.is_loopback() || address.is_multicast() {
        return value.refuse("a unicast IPv4 address that other hosts can reach");
    }
    Some(address.into())
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
const ADDRESS_EXPECTED: &str = "an IPv4 address, such as \"198.19.1.2\"";
