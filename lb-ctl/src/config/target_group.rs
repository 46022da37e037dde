//! Target groups and their targets.

use std::{net::IpAddr, time::Duration};

use super::{
    CHECK_FAST_INTERVAL_MS, CHECK_FAST_TIMEOUT_MS, CHECK_INTERVAL_SECONDS, CHECK_THRESHOLD,
    CHECK_TIMEOUT_SECONDS, HealthCheck, TargetGroup, TargetType, attributes,
    read::{PORT, name, one_of, port, protocols, sections},
    target,
    walk::Section,
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
    if let Err(refusal) = target::have_room(targets) {
        root.errors().refuse(&root.place, refusal);
    }
    groups
}

fn group(section: &Section<'_>, earlier: &[Group]) -> Group {
    section.allow_only(&[
        "name",
        "protocol",
        "port",
        "target_type",
        "ip_address_type",
        "targets",
        "health_check",
        "attributes",
    ]);
    let name = unique_name(section, earlier);
    let protocol = protocols(section);
    let port = port(section);
    let target_type = target_type(section);
    let registered = target::registered(section, port, target_type);
    let health_check = health_check(section);
    let attributes = attributes::of_target_group(section, protocol, target_type);
    let checked = || {
        let (registered, attributes) = (registered?, attributes?);
        Some(TargetGroup {
            name: name.clone()?,
            protocol: protocol?,
            port: port?,
            target_type: target_type?,
            family: registered.family,
            targets: registered.targets,
            registrar: registered.registrar,
            preserves_client_ip: attributes.preserves_client_ip,
            is_sticky: attributes.is_sticky,
            crosses_zones: attributes.crosses_zones,
            health_check: health_check?,
            deregistration_delay_seconds: attributes.deregistration_delay_seconds,
            after_deregistration: attributes.after_deregistration,
            when_unhealthy: attributes.when_unhealthy,
            draining_interval_seconds: attributes.draining_interval_seconds,
            fail_open_below: attributes.fail_open_below,
            dns_failover_below: attributes.dns_failover_below,
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
