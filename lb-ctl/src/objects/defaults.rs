//! Attributes with the values that they have when nobody sets them (NLB "attributes" of each kind of object).

use lb_core::tables::Protocol;

use super::{Attributes, Listener, LoadBalancer, Scheme, TargetGroup};
use crate::config::{Protocols, TargetType};

/// An attribute as it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its AWS key.
    pub key: &'a str,
    /// Its value.
    pub value: &'a str,
    /// Whether nobody set it.
    pub is_default: bool,
}

impl LoadBalancer {
    /// Every attribute that it has. One default depends on its scheme.
    pub fn all_attributes(&self) -> Vec<Attribute<'_>> {
        let denies_internet_gateway = if self.scheme == Scheme::Internal { "true" } else { "false" };
        let of_scheme = [("ipv6.deny_all_igw_traffic", denies_internet_gateway)];
        complete(&self.attributes, &[&of_scheme[..], &LOAD_BALANCER].concat())
    }
}

impl Listener {
    /// Every attribute that it has.
    pub fn all_attributes(&self) -> Vec<Attribute<'_>> {
        let of_protocol = |protocol: &Protocol| match protocol {
            Protocol::Tcp => &TCP_LISTENER[..],
            Protocol::Udp => &UDP_LISTENER[..],
        };
        let defaults: Vec<_> = self.protocol.each().iter().flat_map(of_protocol).copied().collect();
        complete(&self.attributes, &defaults)
    }
}

impl TargetGroup {
    /// Every attribute that it has. Some defaults depend on its protocol and its targets' type.
    pub fn all_attributes(&self) -> Vec<Attribute<'_>> {
        let is_tcp = self.protocol == Protocols::Tcp;
        let of_kind = [
            ("preserve_client_ip.enabled", !is_tcp || self.target_type == TargetType::Instance),
            ("deregistration_delay.connection_termination.enabled", !is_tcp),
            ("target_health_state.unhealthy.connection_termination.enabled", is_tcp),
        ];
        let of_kind = of_kind.map(|(key, value)| (key, if value { "true" } else { "false" }));
        complete(&self.attributes, &[&of_kind[..], &TARGET_GROUP].concat())
    }
}

/// In the order of keys: those that are set over the defaults.
fn complete<'a>(set: &'a Attributes, defaults: &[(&'static str, &'static str)]) -> Vec<Attribute<'a>> {
    let set_rows = set.iter().map(|(key, value)| Attribute { key, value, is_default: false });
    let unset = defaults.iter().filter(|(key, _)| !set.contains_key(*key));
    let unset = unset.map(|(key, value)| Attribute { key, value, is_default: true });
    let mut rows: Vec<Attribute<'a>> = set_rows.chain(unset).collect();
    rows.sort_by_key(|row| row.key);
    rows
}

const LOAD_BALANCER: [(&str, &str); 8] = [
    ("access_logs.s3.bucket", ""),
    ("access_logs.s3.enabled", "false"),
    ("access_logs.s3.prefix", ""),
    ("deletion_protection.enabled", "false"),
    ("dns_record.client_routing_policy", "any_availability_zone"),
    ("load_balancing.cross_zone.enabled", "false"),
    ("secondary_ips.auto_assigned.per_subnet", "0"),
    ("zonal_shift.config.enabled", "false"),
];

const TARGET_GROUP: [(&str, &str); 11] = [
    ("deregistration_delay.timeout_seconds", "300"),
    ("load_balancing.cross_zone.enabled", "use_load_balancer_configuration"),
    ("proxy_protocol_v2.client_to_server.header_placement", "on_first_ack_with_payload"),
    ("proxy_protocol_v2.enabled", "false"),
    ("stickiness.enabled", "false"),
    ("stickiness.type", "source_ip"),
    ("target_group_health.dns_failover.minimum_healthy_targets.count", "1"),
    ("target_group_health.dns_failover.minimum_healthy_targets.percentage", "off"),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1"),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "off"),
    ("target_health_state.unhealthy.draining_interval_seconds", "0"),
];

const TCP_LISTENER: [(&str, &str); 3] = [
    ("tcp.adopt_strays.enabled", "false"),
    ("tcp.idle_timeout.seconds", "350"),
    ("tcp.syn_cookies.enabled", "false"),
];

const UDP_LISTENER: [(&str, &str); 1] = [("udp.idle_timeout.seconds", "120")];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{config::Document, objects::Objects};

    fn objects(protocol: &str, target_type: &str) -> Objects {
        let objects = json!({
            "load_balancers": [{
                "name": "edge",
                "addresses": [{ "address": "198.18.100.1" }],
                "listeners": [{
                    "protocol": protocol,
                    "port": 80,
                    "forward": { "target_groups": [{ "name": "web" }] },
                }],
            }],
            "target_groups": [{ "name": "web", "protocol": protocol, "port": 80, "target_type": target_type }],
        });
        serde_json::from_value(objects).unwrap()
    }

    fn set(rows: &[Attribute<'_>]) -> Attributes {
        assert!(rows.iter().all(|row| row.is_default));
        rows.iter().map(|row| (row.key.to_owned(), row.value.to_owned())).collect()
    }

    #[test]
    fn setting_every_attribute_to_its_default_changes_nothing() {
        let host = Document::parse("interfaces = [\"eth0\"]", "lbd.toml").unwrap();
        for (protocol, target_type) in
            [("TCP", "ip"), ("TCP", "instance"), ("UDP", "ip"), ("UDP", "instance"), ("TCP_UDP", "ip")]
        {
            let unset = objects(protocol, target_type);
            let mut all = unset.clone();
            all.load_balancers[0].attributes = set(&unset.load_balancers[0].all_attributes());
            all.load_balancers[0].listeners[0].attributes =
                set(&unset.load_balancers[0].listeners[0].all_attributes());
            all.target_groups[0].attributes = set(&unset.target_groups[0].all_attributes());
            let [unset, all] = [unset, all].map(|objects| host.config_with(&objects.to_document()).unwrap());
            assert_eq!(unset, all, "{protocol} {target_type}");
        }
    }

    #[test]
    fn a_listener_of_both_protocols_has_the_attributes_of_both() {
        for (protocol, own) in [
            ("TCP", &["tcp.adopt_strays.enabled", "tcp.idle_timeout.seconds", "tcp.syn_cookies.enabled"][..]),
            ("UDP", &["udp.idle_timeout.seconds"]),
            (
                "TCP_UDP",
                &[
                    "tcp.adopt_strays.enabled",
                    "tcp.idle_timeout.seconds",
                    "tcp.syn_cookies.enabled",
                    "udp.idle_timeout.seconds",
                ],
            ),
        ] {
            let listener = objects(protocol, "ip").load_balancers.remove(0).listeners.remove(0);
            let keys: Vec<&str> = listener.all_attributes().iter().map(|row| row.key).collect();
            assert_eq!(keys, own, "{protocol}");
        }
    }

    #[test]
    fn what_is_set_is_told_in_place_of_the_default() {
        let mut group = objects("TCP", "ip").target_groups.remove(0);
        group.attributes.insert("stickiness.enabled".into(), "true".into());
        let rows = group.all_attributes();
        assert_eq!(rows.len(), 14);
        let row = rows.iter().find(|row| row.key == "stickiness.enabled");
        assert_eq!(row, Some(&Attribute { key: "stickiness.enabled", value: "true", is_default: false }));
        assert!(rows.is_sorted_by_key(|row| row.key));
    }
}
