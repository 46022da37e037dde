//! Attributes of load balancers, target groups and listeners: those that somebody set over the defaults.

use super::{
    fault::Fault, form::Parameters, listeners, load_balancers, target_groups, view::View, xml::Element,
};
use crate::{
    change::{AttributeChanges, Change, ListenerRef, Ref},
    config::{Protocols, TargetType},
    objects::{Attributes, Id, Listener, TargetGroup},
};

pub(super) fn modify_load_balancer(
    parameters: &Parameters<'_>,
    view: &View<'_>,
) -> Result<Option<Change>, Fault> {
    let load_balancer = Ref::Id(load_balancers::of(parameters, view)?.id);
    Ok(Some(Change::ModifyLoadBalancerAttributes { load_balancer, attributes: changes(parameters)? }))
}

pub(super) fn of_load_balancer(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Element, Fault> {
    Ok(element(&LOAD_BALANCER, &load_balancers::of(parameters, view)?.attributes))
}

pub(super) fn load_balancer_modified(
    parameters: &Parameters<'_>,
    view: &View<'_>,
    _: Option<Id>,
) -> Result<Element, Fault> {
    of_load_balancer(parameters, view)
}

pub(super) fn modify_target_group(
    parameters: &Parameters<'_>,
    view: &View<'_>,
) -> Result<Option<Change>, Fault> {
    let target_group = Ref::Id(target_groups::of(parameters, view)?.id);
    Ok(Some(Change::ModifyTargetGroupAttributes { target_group, attributes: changes(parameters)? }))
}

pub(super) fn of_target_group(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Element, Fault> {
    let group = target_groups::of(parameters, view)?;
    Ok(element(&target_group_defaults(group), &group.attributes))
}

pub(super) fn target_group_modified(
    parameters: &Parameters<'_>,
    view: &View<'_>,
    _: Option<Id>,
) -> Result<Element, Fault> {
    of_target_group(parameters, view)
}

pub(super) fn modify_listener(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Option<Change>, Fault> {
    let listener = ListenerRef::Id(listeners::of(parameters, view)?.1.id);
    Ok(Some(Change::ModifyListenerAttributes { listener, attributes: changes(parameters)? }))
}

pub(super) fn of_listener(parameters: &Parameters<'_>, view: &View<'_>) -> Result<Element, Fault> {
    let (_, listener) = listeners::of(parameters, view)?;
    Ok(element(listener_defaults(listener), &listener.attributes))
}

pub(super) fn listener_modified(
    parameters: &Parameters<'_>,
    view: &View<'_>,
    _: Option<Id>,
) -> Result<Element, Fault> {
    of_listener(parameters, view)
}

/// Parameter `Attributes`.
fn changes(parameters: &Parameters<'_>) -> Result<AttributeChanges, Fault> {
    let mut changes = AttributeChanges::new();
    for attribute in parameters.required_list("Attributes")? {
        attribute.allow_only(&["Key", "Value"])?;
        let key = attribute.required_text("Key")?;
        let value = attribute.text("Value").ok_or_else(|| attribute.missing("Value"))?;
        if changes.insert(key.into(), Some(value.into())).is_some() {
            return Err(Fault::validation(format!("The attribute '{key}' is specified twice")));
        }
    }
    Ok(changes)
}

/// Attributes in the order of the defaults. None is set that has no default.
fn element(defaults: &[(&str, &str)], set: &Attributes) -> Element {
    let attribute = |(key, default): &(&str, &str)| {
        let value = set.get(*key).map_or(*default, String::as_str);
        Element::new("Attribute").with_text("Key", key).with_text("Value", value)
    };
    Element::new("Result").with(Element::of_members("Attributes", defaults.iter().map(attribute)))
}

/// Defaults depend on the group's protocol and its targets' type.
fn target_group_defaults(group: &TargetGroup) -> Vec<(&'static str, &'static str)> {
    let is_tcp = group.protocol == Protocols::Tcp;
    let keeps_address = !is_tcp || group.target_type == TargetType::Instance;
    let of_kind = [
        ("preserve_client_ip.enabled", keeps_address),
        ("deregistration_delay.connection_termination.enabled", !is_tcp),
        ("target_health_state.unhealthy.connection_termination.enabled", is_tcp),
    ];
    let of_kind = of_kind.map(|(key, value)| (key, if value { "true" } else { "false" }));
    TARGET_GROUP.into_iter().chain(of_kind).collect()
}

fn listener_defaults(listener: &Listener) -> &'static [(&'static str, &'static str)] {
    match listener.protocol {
        Protocols::Udp => &[],
        Protocols::Tcp | Protocols::TcpUdp => &TCP_LISTENER,
    }
}

const LOAD_BALANCER: [(&str, &str); 9] = [
    ("load_balancing.cross_zone.enabled", "false"),
    ("deletion_protection.enabled", "false"),
    ("access_logs.s3.enabled", "false"),
    ("access_logs.s3.bucket", ""),
    ("access_logs.s3.prefix", ""),
    ("ipv6.deny_all_igw_traffic", "false"),
    ("dns_record.client_routing_policy", "any_availability_zone"),
    ("secondary_ips.auto_assigned.per_subnet", "0"),
    ("zonal_shift.config.enabled", "false"),
];

const TARGET_GROUP: [(&str, &str); 11] = [
    ("deregistration_delay.timeout_seconds", "300"),
    ("stickiness.enabled", "false"),
    ("stickiness.type", "source_ip"),
    ("load_balancing.cross_zone.enabled", "use_load_balancer_configuration"),
    ("proxy_protocol_v2.enabled", "false"),
    ("proxy_protocol_v2.client_to_server.header_placement", "on_first_ack_with_payload"),
    ("target_group_health.dns_failover.minimum_healthy_targets.count", "1"),
    ("target_group_health.dns_failover.minimum_healthy_targets.percentage", "off"),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1"),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "off"),
    ("target_health_state.unhealthy.draining_interval_seconds", "0"),
];

const TCP_LISTENER: [(&str, &str); 3] = [
    ("tcp.idle_timeout.seconds", "350"),
    ("tcp.adopt_strays.enabled", "false"),
    ("tcp.syn_cookies.enabled", "false"),
];
