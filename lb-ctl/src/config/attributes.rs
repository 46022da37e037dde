//! Attributes by their AWS keys: which exist, which are supported, and their values.

use super::{
    DEREGISTRATION_DELAY_DEFAULT_SECONDS, DEREGISTRATION_DELAY_SECONDS, Leftover, Protocols, TargetType,
    walk::{Section, Value},
};
use lb_core::{limits, tables::Protocol};

/// What a target group's attributes say.
#[derive(Clone, Copy)]
pub(super) struct TargetGroupAttributes {
    pub(super) preserves_client_ip: bool,
    pub(super) deregistration_delay_seconds: u16,
    pub(super) after_deregistration: Leftover,
    pub(super) when_unhealthy: Leftover,
}

/// Section `attributes` of a target group. The defaults depend on its protocol and its targets' type.
pub(super) fn of_target_group(
    section: &Section<'_>,
    protocol: Option<Protocols>,
    target_type: Option<TargetType>,
) -> Option<TargetGroupAttributes> {
    let is_tcp = protocol? == Protocols::Tcp;
    let mut attributes = Some(TargetGroupAttributes {
        preserves_client_ip: !is_tcp || target_type? == TargetType::Instance,
        deregistration_delay_seconds: DEREGISTRATION_DELAY_DEFAULT_SECONDS,
        after_deregistration: if is_tcp { Leftover::Continue } else { Leftover::Terminate },
        when_unhealthy: if is_tcp { Leftover::Terminate } else { Leftover::Continue },
    });
    let Some(section) = section.optional_section("attributes")? else {
        return attributes;
    };
    for (key, value) in section.flattened() {
        let applied = attributes.as_mut().map(|attributes| apply(attributes, &key, &value, is_tcp));
        if applied == Some(None) {
            attributes = None;
        }
    }
    attributes
}

fn apply(attributes: &mut TargetGroupAttributes, key: &str, value: &Value<'_>, is_tcp: bool) -> Option<()> {
    match key {
        PRESERVE_CLIENT_IP => {
            attributes.preserves_client_ip = value.attribute_boolean()?;
            if !attributes.preserves_client_ip && !is_tcp {
                return value
                    .refuse_with_advice("true", "UDP and TCP_UDP target groups keep the client's address");
            }
        }
        DEREGISTRATION_DELAY => {
            attributes.deregistration_delay_seconds =
                value.attribute_integer(DEREGISTRATION_DELAY_SECONDS)?;
        }
        DEREGISTRATION_TERMINATION => attributes.after_deregistration = leftover(value.attribute_boolean()?),
        UNHEALTHY_TERMINATION => {
            let is_terminating = value.attribute_boolean()?;
            if is_terminating && !is_tcp {
                return value.refuse_with_advice("false", "UDP and TCP_UDP target groups cannot have it");
            }
            attributes.when_unhealthy = leftover(is_terminating);
        }
        _ if NOT_YET.contains(&key) => {
            value.errors().advise(
                &value.place,
                "an attribute that is not supported yet",
                format!("one of: {}", SUPPORTED.join(", ")),
                "remove it",
            );
            return None;
        }
        _ => {
            value.errors().report(
                &value.place,
                "an unknown attribute",
                format!("one of: {}", SUPPORTED.join(", ")),
            );
            return None;
        }
    }
    Some(())
}

fn leftover(is_terminating: bool) -> Leftover {
    if is_terminating { Leftover::Terminate } else { Leftover::Continue }
}

/// What a listener's attributes say.
#[derive(Clone, Copy)]
pub(super) struct ListenerAttributes {
    pub(super) tcp_idle_timeout_seconds: u16,
    pub(super) adopts_strays: bool,
    pub(super) has_syn_cookies: bool,
}

/// Section `attributes` of a listener.
pub(super) fn of_listener(section: &Section<'_>, protocol: Option<Protocols>) -> Option<ListenerAttributes> {
    let mut attributes = ListenerAttributes {
        tcp_idle_timeout_seconds: limits::TCP_IDLE_S,
        adopts_strays: false,
        has_syn_cookies: false,
    };
    let Some(section) = section.optional_section("attributes")? else {
        return Some(attributes);
    };
    let is_udp = protocol.is_some_and(|protocol| !protocol.each().contains(&Protocol::Tcp));
    let mut is_valid = true;
    for (key, value) in section.flattened() {
        let applied = match TCP_ATTRIBUTES.iter().find(|(known, _)| *known == key) {
            Some((_, reason)) if is_udp => {
                value.refuse_with_advice("no such attribute on a UDP listener", reason)
            }
            _ => apply_to_listener(&mut attributes, &key, &value),
        };
        is_valid &= applied.is_some();
    }
    is_valid.then_some(attributes)
}

fn apply_to_listener(attributes: &mut ListenerAttributes, key: &str, value: &Value<'_>) -> Option<()> {
    match key {
        TCP_IDLE_TIMEOUT => {
            let (first, last) = limits::TCP_IDLE_RANGE_S.into_inner();
            attributes.tcp_idle_timeout_seconds = value.attribute_integer(first.into()..=last.into())?;
        }
        TCP_ADOPT_STRAYS => attributes.adopts_strays = value.attribute_boolean()?,
        TCP_SYN_COOKIES => attributes.has_syn_cookies = value.attribute_boolean()?,
        _ => {
            let known = TCP_ATTRIBUTES.map(|(known, _)| known).join(", ");
            value.errors().report(&value.place, "an unknown attribute", format!("one of: {known}"));
            return None;
        }
    }
    Some(())
}

const TCP_IDLE_TIMEOUT: &str = "tcp.idle_timeout.seconds";
const TCP_ADOPT_STRAYS: &str = "tcp.adopt_strays.enabled";
const TCP_SYN_COOKIES: &str = "tcp.syn_cookies.enabled";

/// A listener's attributes, each with the reason why UDP has none such.
const TCP_ATTRIBUTES: [(&str, &str); 3] = [
    (TCP_IDLE_TIMEOUT, "UDP flows always time out after 120 s"),
    (TCP_ADOPT_STRAYS, "every UDP packet of no flow starts one"),
    (TCP_SYN_COOKIES, "UDP has no handshake"),
];

const PRESERVE_CLIENT_IP: &str = "preserve_client_ip.enabled";
const DEREGISTRATION_DELAY: &str = "deregistration_delay.timeout_seconds";
const DEREGISTRATION_TERMINATION: &str = "deregistration_delay.connection_termination.enabled";
const UNHEALTHY_TERMINATION: &str = "target_health_state.unhealthy.connection_termination.enabled";

const SUPPORTED: [&str; 4] =
    [PRESERVE_CLIENT_IP, DEREGISTRATION_DELAY, DEREGISTRATION_TERMINATION, UNHEALTHY_TERMINATION];

/// Attributes that target groups of a Network Load Balancer have and ours do not yet.
const NOT_YET: [&str; 10] = [
    "stickiness.enabled",
    "stickiness.type",
    "load_balancing.cross_zone.enabled",
    "proxy_protocol_v2.enabled",
    "proxy_protocol_v2.client_to_server.header_placement",
    "target_group_health.dns_failover.minimum_healthy_targets.count",
    "target_group_health.dns_failover.minimum_healthy_targets.percentage",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage",
    "target_health_state.unhealthy.draining_interval_seconds",
];
