//! Attributes: which there are, their values, and whose the others are.

use lb_core::tables::HeaderPlacement;

use super::*;

/// Rows of a table: an attribute with its value, and what is refused of it; "" where nothing is.
type Rows<'r> = &'r [(&'r str, &'r str)];

/// Reads each row in a section of its own, which begins at a line of the file.
fn assert_rows(text: impl Fn(&str) -> String, place: &str, rows: Rows<'_>) {
    for (attribute, refusal) in rows {
        let text = text(attribute);
        match *refusal {
            "" => drop(parse(&text, "f").unwrap()),
            refusal => {
                let (key, _) = attribute.split_once(" = ").unwrap();
                let line = 1 + text.lines().position(|line| line == *attribute).unwrap();
                assert_errors(&text, &[&format!("{line}: {place}.attributes.{key}: found {refusal}")]);
            }
        }
    }
}

fn group_with(attributes: &str) -> String {
    format!("{BASE}[target_groups.attributes]\n{attributes}\n")
}

#[test]
fn a_target_group_has_nlbs_attributes() {
    assert_rows(
        group_with,
        "target_groups[0]",
        &[
            (r#""preserve_client_ip.enabled" = true"#, ""),
            (r#"preserve_client_ip.enabled = "true""#, ""),
            (r#""preserve_client_ip.enabled" = 0"#, "0, expected true or false"),
            (r#""deregistration_delay.timeout_seconds" = 0"#, ""),
            (
                r#""deregistration_delay.timeout_seconds" = "3601""#,
                r#""3601", expected an integer from 0 to 3600"#,
            ),
            (r#""stickiness.enabled" = "true""#, ""),
            (r#""stickiness.type" = "source_ip""#, ""),
            (
                r#""stickiness.type" = "lb_cookie""#,
                r#""lb_cookie", expected "source_ip"; the other types belong to other load balancers"#,
            ),
            (r#""load_balancing.cross_zone.enabled" = "use_load_balancer_configuration""#, ""),
            (
                r#""load_balancing.cross_zone.enabled" = "off""#,
                r#""off", expected true, false or "use_load_balancer_configuration""#,
            ),
            (
                r#""target_health_state.unhealthy.draining_interval_seconds" = 5"#,
                "5, expected 0; to drain, set \"target_health_state.unhealthy.connection_termination.enabled\" to false",
            ),
            (
                r#""target_health_state.unhealthy.draining_interval_seconds" = 360001"#,
                "360001, expected an integer from 0 to 360000",
            ),
            (
                r#""target_group_health.unhealthy_state_routing.minimum_healthy_targets.count" = "off""#,
                r#""off", expected an integer from 1 to 1000"#,
            ),
            (
                r#""target_group_health.unhealthy_state_routing.minimum_healthy_targets.count" = 3"#,
                "3, expected at most 1, as \"target_group_health.dns_failover.minimum_healthy_targets.count\" is; raise that, \
                 or set it to \"off\", for 3 here",
            ),
            (r#""target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage" = 50"#, ""),
            (r#""target_group_health.dns_failover.minimum_healthy_targets.count" = "off""#, ""),
            (
                r#""target_group_health.dns_failover.minimum_healthy_targets.percentage" = 0"#,
                r#"0, expected "off" or an integer from 1 to 100"#,
            ),
            (r#""proxy_protocol_v2.enabled" = "false""#, ""),
            (r#""proxy_protocol_v2.enabled" = true"#, ""),
            (
                r#""proxy_protocol_v2.client_to_server.header_placement" = "first""#,
                r#""first", expected "on_first_ack_with_payload" or "on_first_ack""#,
            ),
        ],
    );
}

#[test]
fn what_a_target_groups_attributes_say_is_kept() {
    let defaults = parse(BASE, "f").unwrap().target_groups.remove(0);
    let group = parse(
        &group_with(
            r#"stickiness.enabled = true
load_balancing.cross_zone.enabled = "false"
proxy_protocol_v2.enabled = "true"
proxy_protocol_v2.client_to_server.header_placement = "on_first_ack"
target_health_state.unhealthy.connection_termination.enabled = false
target_health_state.unhealthy.draining_interval_seconds = 60
target_group_health.dns_failover.minimum_healthy_targets = { count = "4", percentage = 60 }
target_group_health.unhealthy_state_routing.minimum_healthy_targets = { count = 3, percentage = "50" }"#,
        ),
        "f",
    )
    .unwrap()
    .target_groups
    .remove(0);
    let expected = TargetGroup {
        is_sticky: true,
        proxy_header: Some(HeaderPlacement::OnFirstAck),
        crosses_zones: Some(false),
        when_unhealthy: Leftover::Continue,
        draining_interval_seconds: 60,
        dns_failover_below: MinimumHealthy { count: Some(4), percentage: Some(60) },
        fail_open_below: MinimumHealthy { count: Some(3), percentage: Some(50) },
        ..defaults
    };
    assert_eq!(group, expected);
}

#[test]
fn attributes_of_others_are_refused_by_name() {
    let refused = |owner: &str, own: &str| {
        format!(
            "an attribute of {owner}, expected an attribute of {own}; remove it (the API's InvalidConfigurationRequest)"
        )
    };
    let own = "a Network Load Balancer's target groups";
    let of_application = refused("an Application Load Balancer's target groups", own);
    let of_gateway = refused("a Gateway Load Balancer's target groups", own);
    let of_lambda = refused("an Application Load Balancer's Lambda functions", own);
    assert_rows(
        group_with,
        "target_groups[0]",
        &[
            (r#""slow_start.duration_seconds" = 30"#, &of_application),
            (r#""load_balancing.algorithm.type" = "round_robin""#, &of_application),
            (r#""load_balancing.algorithm.anomaly_mitigation" = "on""#, &of_application),
            (r#""stickiness.lb_cookie.duration_seconds" = 30"#, &of_application),
            (r#""stickiness.app_cookie.cookie_name" = "c""#, &of_application),
            (r#""lambda.multi_value_headers.enabled" = true"#, &of_lambda),
            (r#""target_failover.on_unhealthy" = "rebalance""#, &of_gateway),
            (
                r#""stickyness.enabled" = true"#,
                "an unknown attribute, expected an attribute of a Network Load Balancer's target groups; the nearest one is \
                 \"stickiness.enabled\"",
            ),
        ],
    );
    let of_listeners =
        refused("an Application Load Balancer's listeners", "a Network Load Balancer's listeners");
    assert_rows(
        |attribute| {
            BASE.replace(
                "[[target_groups]]",
                &format!("[load_balancers.listeners.attributes]\n{attribute}\n[[target_groups]]"),
            )
        },
        "load_balancers[0].listeners[0]",
        &[
            (r#""routing.http.response.server.enabled" = true"#, &of_listeners),
            (
                r#""tcp.syn_cookies" = true"#,
                "an unknown attribute, expected an attribute of a Network Load Balancer's listeners; the nearest one is \
                 \"tcp.syn_cookies.enabled\"",
            ),
        ],
    );
}

fn load_balancer_with(attributes: &str) -> String {
    BASE.replacen(
        "[[load_balancers.listeners]]",
        &format!("[load_balancers.attributes]\n{attributes}\n[[load_balancers.listeners]]"),
        1,
    )
}

#[test]
fn a_load_balancer_has_nlbs_attributes() {
    let of_application = "an attribute of an Application Load Balancer, expected an attribute of a Network Load Balancer; \
                          remove it (the API's InvalidConfigurationRequest)";
    assert_rows(
        load_balancer_with,
        "load_balancers[0]",
        &[
            (r#""access_logs.s3.enabled" = "false""#, ""),
            (r#""access_logs.s3.bucket" = "logs""#, ""),
            (
                r#""access_logs.s3.enabled" = true"#,
                "true, expected false; nothing is written to S3: `lbctl flows` and `lbctl stats` tell of flows",
            ),
            (
                r#""ipv6.deny_all_igw_traffic" = true"#,
                "true, expected false; there is no internet gateway here: filter at the router",
            ),
            (r#""dns_record.client_routing_policy" = "any_availability_zone""#, ""),
            (
                r#""dns_record.client_routing_policy" = "availability_zone_affinity""#,
                "\"availability_zone_affinity\", expected \"any_availability_zone\"; whoever answers DNS for the addresses \
                 decides which of them a client is told",
            ),
            (
                r#""dns_record.client_routing_policy" = "nearest""#,
                "\"nearest\", expected one of \"any_availability_zone\", \"partial_availability_zone_affinity\", \
                 \"availability_zone_affinity\"",
            ),
            (r#""secondary_ips.auto_assigned.per_subnet" = "0""#, ""),
            (
                r#""secondary_ips.auto_assigned.per_subnet" = 7"#,
                "7, expected 0; give the addresses themselves, in source_nat.addresses",
            ),
            (r#""secondary_ips.auto_assigned.per_subnet" = 8"#, "8, expected an integer from 0 to 7"),
            (
                r#""zonal_shift.config.enabled" = true"#,
                "true, expected false; to take a zone out of service, take its addresses out of DNS or of this file",
            ),
            (r#""idle_timeout.timeout_seconds" = 60"#, of_application),
            (r#""routing.http2.enabled" = true"#, of_application),
            (
                r#""delete_protection.enabled" = true"#,
                "an unknown attribute, expected an attribute of a Network Load Balancer; the nearest one is \
                 \"deletion_protection.enabled\"",
            ),
        ],
    );
    let text = load_balancer_with(
        "load_balancing.cross_zone.enabled = \"true\"\ndeletion_protection.enabled = true",
    );
    let lb = parse(&text, "f").unwrap().load_balancers.remove(0);
    assert!(lb.crosses_zones && lb.is_deletion_protected);
    let lb = parse(BASE, "f").unwrap().load_balancers.remove(0);
    assert!(!lb.crosses_zones && !lb.is_deletion_protected);
}

#[test]
fn a_listener_has_the_attributes_of_its_protocols() {
    let text = |protocol: &str, attributes: &str| {
        let section = format!("[load_balancers.listeners.attributes]\n{attributes}\n[[target_groups]]");
        BASE.replace("\"TCP\"", &format!("{protocol:?}")).replace("[[target_groups]]", &section)
    };
    let of_tcp = "\"tcp.idle_timeout.seconds\" = 60\n\"tcp.adopt_strays.enabled\" = true\n\
                  \"tcp.syn_cookies.enabled\" = \"true\"";
    let of_udp = "\"udp.idle_timeout.seconds\" = \"30\"";
    let both = format!("{of_tcp}\n{of_udp}");
    let listener = |protocol: &str, attributes: &str| {
        parse(&text(protocol, attributes), "f").unwrap().load_balancers.remove(0).listeners.remove(0)
    };
    for listener in [listener("TCP", of_tcp), listener("TCP_UDP", &both)] {
        assert!(listener.adopts_strays && listener.has_syn_cookies);
        assert_eq!(listener.tcp_idle_timeout_seconds, 60);
    }
    for listener in [listener("UDP", of_udp), listener("TCP_UDP", &both)] {
        assert_eq!(listener.udp_idle_timeout_seconds, 30);
    }
    let errors = |protocol: &str, rows: &[(u32, &str, &str, &str)]| {
        let place = "load_balancers[0].listeners[0].attributes";
        let told = |(line, key, found, reason): &(u32, &str, &str, &str)| {
            let expected = format!("expected no such attribute on a {protocol} listener; {reason}");
            format!("f:{line}: {place}.{key:?}: found {found}, {expected}")
        };
        assert_eq!(
            parse(&text(protocol, &both), "f").unwrap_err().to_string(),
            rows.iter().map(told).collect::<Vec<_>>().join("\n")
        );
    };
    errors(
        "UDP",
        &[
            (14, "tcp.idle_timeout.seconds", "60", "UDP flows have \"udp.idle_timeout.seconds\""),
            (15, "tcp.adopt_strays.enabled", "true", "every UDP packet of no flow starts one"),
            (16, "tcp.syn_cookies.enabled", "\"true\"", "UDP has no handshake"),
        ],
    );
    let of_tcp_listener =
        [(17, "udp.idle_timeout.seconds", "\"30\"", "TCP flows have \"tcp.idle_timeout.seconds\"")];
    errors("TCP", &of_tcp_listener);
}

/// RFC 4787 REQ-5: the time without packets after which a UDP flow is over can be configured, 120 s if nobody does.
#[test]
fn rfc_4787_req_5_a_udp_flows_idle_timeout_is_10_to_6000_s_and_120_by_default() {
    let text = |attribute: &str| {
        let section = format!("[load_balancers.listeners.attributes]\n{attribute}\n[[target_groups]]");
        BASE.replace("\"TCP\"", "\"UDP\"").replace("[[target_groups]]", &section)
    };
    for (attribute, seconds) in [
        ("", 120),
        ("\"udp.idle_timeout.seconds\" = 10", 10),
        ("udp.idle_timeout.seconds = \"30\"", 30),
        ("\"udp.idle_timeout.seconds\" = 6000", 6_000),
    ] {
        let listener = parse(&text(attribute), "f").unwrap().load_balancers.remove(0).listeners.remove(0);
        assert_eq!(listener.udp_idle_timeout_seconds, seconds, "{attribute}");
    }
    for found in ["9", "6001", "-1", "\"\"", "true"] {
        let error = parse(&text(&format!("\"udp.idle_timeout.seconds\" = {found}")), "f").unwrap_err();
        let expected = format!(
            "f:14: load_balancers[0].listeners[0].attributes.\"udp.idle_timeout.seconds\": found {found}, expected an \
             integer from 10 to 6000"
        );
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_udp_group_cannot_terminate_when_unhealthy() {
    let text = BASE.replace("\"TCP\"", "\"TCP_UDP\"");
    let group = parse(&text, "f").unwrap().target_groups.remove(0);
    assert_eq!((group.after_deregistration, group.when_unhealthy), (Leftover::Terminate, Leftover::Continue));
    let text = format!(
        "{text}[target_groups.attributes]\n\"target_health_state.unhealthy.connection_termination.enabled\" = true\n"
    );
    assert_errors(
        &text,
        &[
            "22: target_groups[0].attributes.\"target_health_state.unhealthy.connection_termination.enabled\": found true, \
           expected false; UDP and TCP_UDP target groups cannot have it",
        ],
    );
}
