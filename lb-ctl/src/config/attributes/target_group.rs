//! Attributes of target groups.

use std::ops::RangeInclusive;

use super::{
    super::{
        Leftover, MinimumHealthy, Protocols, TargetType,
        walk::{Section, Value, integer_expected},
    },
    Catalogue, each, only,
};
use lb_core::{limits, tables::HeaderPlacement};

/// What a target group's attributes say.
#[derive(Clone, Copy)]
pub(in crate::config) struct TargetGroupAttributes {
    pub(in crate::config) preserves_client_ip: bool,
    pub(in crate::config) is_sticky: bool,
    pub(in crate::config) has_proxy_header: bool,
    pub(in crate::config) header_placement: HeaderPlacement,
    pub(in crate::config) crosses_zones: Option<bool>,
    pub(in crate::config) deregistration_delay_seconds: u16,
    pub(in crate::config) after_deregistration: Leftover,
    pub(in crate::config) when_unhealthy: Leftover,
    pub(in crate::config) draining_interval_seconds: u32,
    pub(in crate::config) fail_open_below: MinimumHealthy,
    pub(in crate::config) dns_failover_below: MinimumHealthy,
}

/// Section `attributes` of a target group. The defaults depend on its protocol and its targets' type.
pub(in crate::config) fn of_target_group(
    section: &Section<'_>,
    protocol: Option<Protocols>,
    target_type: Option<TargetType>,
) -> Option<TargetGroupAttributes> {
    let is_tcp = protocol? == Protocols::Tcp;
    let mut attributes = TargetGroupAttributes::defaults(is_tcp, target_type?);
    if let Some(section) = section.optional_section("attributes")? {
        each(&section, |key, value| attributes.apply(key, value))?;
        each(&section, |key, value| attributes.agree(key, value, is_tcp))?;
    }
    Some(attributes)
}

impl TargetGroupAttributes {
    fn defaults(is_tcp: bool, target_type: TargetType) -> TargetGroupAttributes {
        TargetGroupAttributes {
            preserves_client_ip: !is_tcp || target_type == TargetType::Instance,
            is_sticky: false,
            has_proxy_header: false,
            header_placement: HeaderPlacement::default(),
            crosses_zones: None,
            deregistration_delay_seconds: DEREGISTRATION_DELAY_DEFAULT_SECONDS,
            after_deregistration: if is_tcp { Leftover::Continue } else { Leftover::Terminate },
            when_unhealthy: if is_tcp { Leftover::Terminate } else { Leftover::Continue },
            draining_interval_seconds: 0,
            fail_open_below: MinimumHealthy::default(),
            dns_failover_below: MinimumHealthy::default(),
        }
    }

    fn apply(&mut self, key: &str, value: &Value<'_>) -> Option<()> {
        match key {
            PRESERVE_CLIENT_IP => self.preserves_client_ip = value.attribute_boolean()?,
            STICKINESS => self.is_sticky = value.attribute_boolean()?,
            STICKINESS_TYPE => only(value, "source_ip", "the other types belong to other load balancers")?,
            CROSS_ZONE => self.crosses_zones = cross_zone(value)?,
            DEREGISTRATION_DELAY => {
                self.deregistration_delay_seconds = value.attribute_integer(DEREGISTRATION_DELAY_SECONDS)?;
            }
            DEREGISTRATION_TERMINATION => self.after_deregistration = leftover(value)?,
            UNHEALTHY_TERMINATION => self.when_unhealthy = leftover(value)?,
            DRAINING_INTERVAL => {
                self.draining_interval_seconds = value.attribute_integer(DRAINING_INTERVAL_SECONDS)?;
            }
            ROUTING_COUNT => self.fail_open_below.count = value.attribute_integer(COUNT).map(Some)?,
            ROUTING_PERCENTAGE => self.fail_open_below.percentage = or_off(value, PERCENTAGE)?,
            DNS_COUNT => self.dns_failover_below.count = or_off(value, COUNT)?,
            DNS_PERCENTAGE => self.dns_failover_below.percentage = or_off(value, PERCENTAGE)?,
            PROXY_PROTOCOL => self.has_proxy_header = value.attribute_boolean()?,
            HEADER_PLACEMENT => self.header_placement = header_placement(value)?,
            _ => return CATALOGUE.refuse(key, value),
        }
        Some(())
    }

    /// Refuses a value that another one, or the protocol, forbids.
    fn agree(&self, key: &str, value: &Value<'_>, is_tcp: bool) -> Option<()> {
        match key {
            PRESERVE_CLIENT_IP if !is_tcp && !self.preserves_client_ip => {
                value.refuse_with_advice("true", "UDP and TCP_UDP target groups keep the client's address")
            }
            UNHEALTHY_TERMINATION if !is_tcp && self.when_unhealthy == Leftover::Terminate => {
                value.refuse_with_advice("false", "UDP and TCP_UDP target groups cannot have it")
            }
            DRAINING_INTERVAL
                if self.draining_interval_seconds > 0 && self.when_unhealthy == Leftover::Terminate =>
            {
                value.refuse_with_advice("0", &format!("to drain, set {UNHEALTHY_TERMINATION:?} to false"))
            }
            ROUTING_COUNT => {
                not_above(value, self.fail_open_below.count, (DNS_COUNT, self.dns_failover_below.count))
            }
            ROUTING_PERCENTAGE => not_above(
                value,
                self.fail_open_below.percentage,
                (DNS_PERCENTAGE, self.dns_failover_below.percentage),
            ),
            _ => Some(()),
        }
    }
}

/// A zone leaves DNS before, or when, all of its targets get flows (NLB "Target group health").
fn not_above<N: PartialOrd + std::fmt::Display>(
    value: &Value<'_>,
    routing: Option<N>,
    (dns_key, dns): (&str, Option<N>),
) -> Option<()> {
    match (routing, dns) {
        (Some(routing), Some(dns)) if routing > dns => {
            let advice = format!("raise that, or set it to \"off\", for {routing} here");
            value.refuse_with_advice(format!("at most {dns}, as {dns_key:?} is"), &advice)
        }
        _ => Some(()),
    }
}

fn leftover(value: &Value<'_>) -> Option<Leftover> {
    Some(if value.attribute_boolean()? { Leftover::Terminate } else { Leftover::Continue })
}

fn cross_zone(value: &Value<'_>) -> Option<Option<bool>> {
    match value.as_attribute_boolean() {
        Some(crosses_zones) => Some(Some(crosses_zones)),
        None if value.as_text() == Some(AS_LOAD_BALANCER) => Some(None),
        None => value.refuse(format!("true, false or {AS_LOAD_BALANCER:?}")),
    }
}

fn header_placement(value: &Value<'_>) -> Option<HeaderPlacement> {
    match value.as_text() {
        Some(ON_FIRST_ACK) => Some(HeaderPlacement::OnFirstAck),
        Some(ON_FIRST_ACK_WITH_PAYLOAD) => Some(HeaderPlacement::OnFirstAckWithPayload),
        _ => value.refuse(format!("{ON_FIRST_ACK_WITH_PAYLOAD:?} or {ON_FIRST_ACK:?}")),
    }
}

fn or_off<N: TryFrom<i64>>(value: &Value<'_>, range: RangeInclusive<i64>) -> Option<Option<N>> {
    match value.as_attribute_integer(&range) {
        Some(number) => Some(Some(number)),
        None if value.as_text() == Some("off") => Some(None),
        None => value.refuse(format!("\"off\" or {}", integer_expected(&range))),
    }
}

const PRESERVE_CLIENT_IP: &str = "preserve_client_ip.enabled";
const STICKINESS: &str = "stickiness.enabled";
const STICKINESS_TYPE: &str = "stickiness.type";
const CROSS_ZONE: &str = "load_balancing.cross_zone.enabled";
const DEREGISTRATION_DELAY: &str = "deregistration_delay.timeout_seconds";
const DEREGISTRATION_TERMINATION: &str = "deregistration_delay.connection_termination.enabled";
const UNHEALTHY_TERMINATION: &str = "target_health_state.unhealthy.connection_termination.enabled";
const DRAINING_INTERVAL: &str = "target_health_state.unhealthy.draining_interval_seconds";
const ROUTING_COUNT: &str = "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count";
const ROUTING_PERCENTAGE: &str =
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage";
const DNS_COUNT: &str = "target_group_health.dns_failover.minimum_healthy_targets.count";
const DNS_PERCENTAGE: &str = "target_group_health.dns_failover.minimum_healthy_targets.percentage";
const PROXY_PROTOCOL: &str = "proxy_protocol_v2.enabled";
const HEADER_PLACEMENT: &str = "proxy_protocol_v2.client_to_server.header_placement";

const ON_FIRST_ACK: &str = "on_first_ack";
const ON_FIRST_ACK_WITH_PAYLOAD: &str = "on_first_ack_with_payload";
const AS_LOAD_BALANCER: &str = "use_load_balancer_configuration";

const DEREGISTRATION_DELAY_SECONDS: RangeInclusive<i64> = 0..=3_600;
const DEREGISTRATION_DELAY_DEFAULT_SECONDS: u16 = 300;
const DRAINING_INTERVAL_SECONDS: RangeInclusive<i64> = 0..=360_000;
const COUNT: RangeInclusive<i64> = 1..=limits::TARGETS_PER_GROUP as i64;
const PERCENTAGE: RangeInclusive<i64> = 1..=100;

const CATALOGUE: Catalogue = Catalogue {
    owner: "a Network Load Balancer's target groups",
    keys: &[
        PRESERVE_CLIENT_IP,
        STICKINESS,
        STICKINESS_TYPE,
        CROSS_ZONE,
        DEREGISTRATION_DELAY,
        DEREGISTRATION_TERMINATION,
        UNHEALTHY_TERMINATION,
        DRAINING_INTERVAL,
        ROUTING_COUNT,
        ROUTING_PERCENTAGE,
        DNS_COUNT,
        DNS_PERCENTAGE,
        PROXY_PROTOCOL,
        HEADER_PLACEMENT,
    ],
    foreign: &[
        ("slow_start.", APPLICATION),
        ("load_balancing.algorithm.", APPLICATION),
        ("stickiness.lb_cookie.", APPLICATION),
        ("stickiness.app_cookie.", APPLICATION),
        ("lambda.", "an Application Load Balancer's Lambda functions"),
        ("target_failover.", "a Gateway Load Balancer's target groups"),
    ],
};

const APPLICATION: &str = "an Application Load Balancer's target groups";
