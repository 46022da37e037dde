//! Attributes by their AWS keys: which exist, which are supported, and their values.

use super::{
    DEREGISTRATION_DELAY_DEFAULT_SECONDS, DEREGISTRATION_DELAY_SECONDS, Leftover, Protocols,
    walk::{Section, Value},
};
use lb_core::{limits, tables::Protocol};

/// What a target group's attributes say.
#[derive(Clone, Copy)]
pub(super) struct TargetGroupAttributes {
    pub(super) deregistration_delay_seconds: u16,
    pub(super) after_deregistration: Leftover,
    pub(super) when_unhealthy: Leftover,
}

/// Section `attributes` of a target group. The defaults depend on its protocol.
pub(super) fn of_target_group(
    section: &Section<'_>,
    protocol: Option<Protocols>,
) -> Option<TargetGroupAttributes> {
    let is_tcp = protocol? == Protocols::Tcp;
    let mut attributes = Some(TargetGroupAttributes {
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
            if !value.attribute_boolean()? {
                return value.refuse_with_advice("true", "hiding the client's address is not supported yet");
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

/// Section `attributes` of a listener: the TCP idle timeout, in seconds.
pub(super) fn of_listener(section: &Section<'_>, protocol: Option<Protocols>) -> Option<u16> {
    let mut seconds = Some(limits::TCP_IDLE_S);
    let Some(section) = section.optional_section("attributes")? else {
        return seconds;
    };
    let range = i64::from(*limits::TCP_IDLE_RANGE_S.start())..=i64::from(*limits::TCP_IDLE_RANGE_S.end());
    for (key, value) in section.flattened() {
        if key != TCP_IDLE_TIMEOUT {
            value.errors().report(
                &value.place,
                "an unknown attribute",
                format!("one of: {TCP_IDLE_TIMEOUT}"),
            );
            seconds = None;
            continue;
        }
        seconds = match protocol {
            Some(protocol) if !protocol.each().contains(&Protocol::Tcp) => value.refuse_with_advice(
                "no such attribute on a UDP listener",
                "UDP flows always time out after 120 s",
            ),
            _ => value.attribute_integer(range.clone()),
        };
    }
    seconds
}

const TCP_IDLE_TIMEOUT: &str = "tcp.idle_timeout.seconds";

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
