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
fn a_udp_listener_has_no_tcp_attributes() {
    let text = |protocol: &str| {
        let attributes = "[load_balancers.listeners.attributes]\n\"tcp.idle_timeout.seconds\" = 60\n\
                          \"tcp.adopt_strays.enabled\" = true\n\"tcp.syn_cookies.enabled\" = \"true\"\n";
        let text = BASE.replace("\"TCP\"", &format!("{protocol:?}"));
        text.replace("[[target_groups]]", &format!("{attributes}[[target_groups]]"))
    };
    for protocol in ["TCP", "TCP_UDP"] {
        let listener = parse(&text(protocol), "f").unwrap().load_balancers.remove(0).listeners.remove(0);
        assert!(listener.adopts_strays && listener.has_syn_cookies);
    }
    let errors = parse(&text("UDP"), "f").unwrap_err().to_string();
    let place = "load_balancers[0].listeners[0].attributes.";
    let expected: Vec<String> = [
        ("14", "tcp.idle_timeout.seconds", "60", "UDP flows always time out after 120 s"),
        ("15", "tcp.adopt_strays.enabled", "true", "every UDP packet of no flow starts one"),
        ("16", "tcp.syn_cookies.enabled", "\"true\"", "UDP has no handshake"),
    ]
    .map(|(line, key, found, reason)| {
        format!(
            "f:{line}: {place}{key:?}: found {found}, expected no such attribute on a UDP listener; {reason}"
        )
    })
    .into();
    assert_eq!(errors, expected.join("\n"));
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
