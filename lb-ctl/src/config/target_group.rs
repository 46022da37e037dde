//! Target groups and their targets.

use std::net::IpAddr;

use super::{
    TargetGroup, TargetType, attributes, health_check,
    read::{name, one_of, port, protocols, sections},
    tags, target,
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
    let sections = sections(root, "target_groups").unwrap_or_default();
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
        "vpc",
        "tags",
    ]);
    tags::check(section);
    if let Some(value) = section.optional("vpc") {
        value.text("the name of a VPC");
    }
    let name = unique_name(section, earlier);
    let protocol = protocols(section);
    let port = port(section);
    let target_type = target_type(section);
    let registered = target::registered(section, port, target_type);
    let health_check = health_check::read(section);
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
            proxy_header: attributes.has_proxy_header.then_some(attributes.header_placement),
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
