//! Attributes of load balancers.

use super::{
    super::walk::{Section, Value},
    Catalogue, each, only,
};

/// What a load balancer's attributes say.
#[derive(Clone, Copy, Default)]
pub(in crate::config) struct LoadBalancerAttributes {
    pub(in crate::config) crosses_zones: bool,
    pub(in crate::config) is_deletion_protected: bool,
}

/// Section `attributes` of a load balancer; `is_internal` by its scheme.
pub(in crate::config) fn of_load_balancer(
    section: &Section<'_>,
    is_internal: bool,
) -> Option<LoadBalancerAttributes> {
    let mut attributes = LoadBalancerAttributes::default();
    if let Some(section) = section.optional_section("attributes")? {
        each(&section, |key, value| attributes.apply(key, value, is_internal))?;
    }
    Some(attributes)
}

impl LoadBalancerAttributes {
    fn apply(&mut self, key: &str, value: &Value<'_>, is_internal: bool) -> Option<()> {
        match key {
            CROSS_ZONE => self.crosses_zones = value.attribute_boolean()?,
            DELETION_PROTECTION => self.is_deletion_protected = value.attribute_boolean()?,
            LOGS_BUCKET | LOGS_PREFIX => drop(value.text("text")?),
            LOGS => only(value, "false", NO_LOGS)?,
            DENY_INTERNET_GATEWAY => internet_gateway(value, is_internal)?,
            ZONAL_SHIFT => only(value, "false", NO_ZONAL_SHIFT)?,
            CLIENT_ROUTING => client_routing(value)?,
            SECONDARY_ADDRESSES => secondary_addresses(value)?,
            _ => return CATALOGUE.refuse(key, value),
        }
        Some(())
    }
}

/// An internal load balancer is denied such traffic by default, an internet-facing one is not (NLB "Load balancer attributes"): no
/// gateway is there to send it any, so either may say what holds for it by default, and that nothing is filtered.
fn internet_gateway(value: &Value<'_>, is_internal: bool) -> Option<()> {
    if is_internal { value.attribute_boolean().map(drop) } else { only(value, "false", NO_INTERNET_GATEWAY) }
}

fn client_routing(value: &Value<'_>) -> Option<()> {
    let expected = CLIENT_ROUTINGS.map(|policy| format!("{policy:?}")).join(", ");
    let expected = format!("one of {expected}");
    if !CLIENT_ROUTINGS.contains(&value.text(&expected)?) {
        return value.refuse(expected);
    }
    only(value, CLIENT_ROUTINGS[0], NO_DNS)
}

fn secondary_addresses(value: &Value<'_>) -> Option<()> {
    match value.attribute_integer(SECONDARY_ADDRESSES_RANGE)? {
        0_u8 => Some(()),
        _ => value.refuse_with_advice("0", "give the addresses themselves, in source_nat.addresses"),
    }
}

const CROSS_ZONE: &str = "load_balancing.cross_zone.enabled";
const DELETION_PROTECTION: &str = "deletion_protection.enabled";
const LOGS: &str = "access_logs.s3.enabled";
const LOGS_BUCKET: &str = "access_logs.s3.bucket";
const LOGS_PREFIX: &str = "access_logs.s3.prefix";
const DENY_INTERNET_GATEWAY: &str = "ipv6.deny_all_igw_traffic";
const CLIENT_ROUTING: &str = "dns_record.client_routing_policy";
const SECONDARY_ADDRESSES: &str = "secondary_ips.auto_assigned.per_subnet";
const ZONAL_SHIFT: &str = "zonal_shift.config.enabled";

/// The default first.
const CLIENT_ROUTINGS: [&str; 3] =
    ["any_availability_zone", "partial_availability_zone_affinity", "availability_zone_affinity"];

const SECONDARY_ADDRESSES_RANGE: std::ops::RangeInclusive<i64> = 0..=7;

const NO_LOGS: &str = "nothing is written to S3: `lbctl flows` and `lbctl stats` tell of flows";
const NO_INTERNET_GATEWAY: &str = "there is no internet gateway here: filter at the router";
const NO_ZONAL_SHIFT: &str = "to take a zone out of service, take its addresses out of DNS or of this file";
const NO_DNS: &str = "whoever answers DNS for the addresses decides which of them a client is told";

const CATALOGUE: Catalogue = Catalogue {
    owner: "a Network Load Balancer",
    keys: &[
        CROSS_ZONE,
        DELETION_PROTECTION,
        LOGS,
        LOGS_BUCKET,
        LOGS_PREFIX,
        DENY_INTERNET_GATEWAY,
        CLIENT_ROUTING,
        SECONDARY_ADDRESSES,
        ZONAL_SHIFT,
    ],
    foreign: &[
        ("idle_timeout.", APPLICATION),
        ("client_keep_alive.", APPLICATION),
        ("routing.http", APPLICATION),
        ("waf.", APPLICATION),
        ("connection_logs.", APPLICATION),
        ("health_check_logs.", APPLICATION),
    ],
};

const APPLICATION: &str = "an Application Load Balancer";
