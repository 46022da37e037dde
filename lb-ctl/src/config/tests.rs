//! Every mistake in a configuration has its own message, with line and key.

use super::*;

const BASE: &str = r#"interfaces = ["eth0", "eth1"]

[[load_balancers]]
name = "edge"
addresses = ["198.18.100.1"]
interface = "eth1"

[[load_balancers.listeners]]
protocol = "TCP"
port = 80
target_group = "web"

[[target_groups]]
name = "web"
protocol = "TCP"
port = 8080
targets = [
  { address = "198.19.1.2" },
  { address = "198.19.2.2", port = 81, weight = 2 },
]
"#;

/// A change to `BASE` (text, replacement) and every error that it causes, without the file's name.
const ERRORS: &[(&str, &str, &[&str])] = &[
    (
        "interfaces",
        "interface",
        &[
            "1: interface: found an unknown key, expected one of: interfaces, state_directory, control_socket, workers, \
             flow_table, selection, load_balancers, target_groups",
            "1: interfaces: found nothing, expected an array of 1 to 16 interface names",
        ],
    ),
    (
        "[\"eth0\", \"eth1\"]",
        "[]",
        &["1: interfaces: found an empty array, expected an array of 1 to 16 interface names"],
    ),
    ("\"eth1\"]", "\"eth0\", \"eth1\"]", &["1: interfaces[1]: found \"eth0\", expected each interface once"]),
    (
        "\"eth0\",",
        "\"a/b\",",
        &["1: interfaces[0]: found \"a/b\", expected the name of a network interface, such as \"eth0\""],
    ),
    (
        "port = 80\n",
        "port = 0\n",
        &["10: load_balancers[0].listeners[0].port: found 0, expected an integer from 1 to 65535"],
    ),
    (
        "port = 8080",
        "port = 65_536",
        &["16: target_groups[0].port: found 65536, expected an integer from 1 to 65535"],
    ),
    (
        "port = 80\n",
        "port = 80\nprt = 1\n",
        &[
            "11: load_balancers[0].listeners[0].prt: found an unknown key, expected one of: protocol, port, target_group, \
           attributes",
        ],
    ),
    (
        "interface = \"eth1\"",
        "interface = \"eth7\"",
        &["6: load_balancers[0].interface: found \"eth7\", expected one of the interfaces: eth0, eth1"],
    ),
    (
        "\"198.18.100.1\"",
        "\"2001:db8::1\"",
        &[
            "5: load_balancers[0].addresses[0]: found \"2001:db8::1\", expected an IPv4 address, such as \"198.19.1.2\"; \
           IPv6 is not supported yet",
        ],
    ),
    (
        "\"198.18.100.1\"",
        "\"198.18.100.1\", \"198.18.100.1\"",
        &[
            "5: load_balancers[0].addresses[1]: found \"198.18.100.1\", expected an address that nothing else has (as \
           load_balancers[0].addresses[0] has)",
        ],
    ),
    (
        "\"198.18.100.1\"",
        "\"198.19.2.2\"",
        &[
            "5: load_balancers[0].addresses[0]: found \"198.19.2.2\", expected an address that nothing else has (as \
           target_groups[0].targets[1] has)",
        ],
    ),
    (
        "\"198.18.100.1\"",
        "\"224.0.0.1\"",
        &[
            "5: load_balancers[0].addresses[0]: found \"224.0.0.1\", expected a unicast IPv4 address that other hosts can \
           reach",
        ],
    ),
    (
        "name = \"edge\"",
        "name = \"internal-edge\"",
        &[
            "4: load_balancers[0].name: found \"internal-edge\", expected a name that does not start with \"internal-\"",
        ],
    ),
    (
        "target_group = \"web\"",
        "target_group = \"wbe\"",
        &[
            "11: load_balancers[0].listeners[0].target_group: found \"wbe\", expected one of the target groups: web",
        ],
    ),
    (
        "protocol = \"TCP\"\nport = 80\n",
        "protocol = \"UDP\"\nport = 80\n",
        &[
            "11: load_balancers[0].listeners[0].target_group: found \"web\", a TCP target group, expected a UDP or TCP_UDP \
           target group for a UDP listener",
        ],
    ),
    (
        "protocol = \"TCP\"\nport = 80\n",
        "protocol = \"TLS\"\nport = 80\n",
        &[
            "9: load_balancers[0].listeners[0].protocol: found \"TLS\", expected one of \"TCP\", \"UDP\", \"TCP_UDP\"; this \
           protocol is not supported yet",
        ],
    ),
    (
        "  { address = \"198.19.1.2\" },\n  { address = \"198.19.2.2\", port = 81, weight = 2 },\n",
        "",
        &[
            "17: target_groups[0].targets: found an empty array, expected 1 to 1000 targets, such as [{ address = \
           \"198.19.1.2\" }]",
        ],
    ),
    (
        "\"198.19.2.2\", port = 81",
        "\"198.19.1.2\", port = 8080",
        &[
            "19: target_groups[0].targets[1]: found 198.19.1.2:8080 a second time, expected each address and port once",
        ],
    ),
    (
        "weight = 2",
        "weight = 1000",
        &["19: target_groups[0].targets[1].weight: found 1000, expected an integer from 0 to 999"],
    ),
    (
        "port = 8080",
        "port = 8080\ntarget_type = \"instance\"",
        &[
            "17: target_groups[0].target_type: found \"instance\", expected \"ip\"; this target type is not supported yet: \
           register targets by address",
        ],
    ),
    (
        "[[target_groups]]",
        "[[load_balancers]]\nname = \"edge\"\naddresses = [\"198.18.100.1\"]\n[[load_balancers.listeners]]\nprotocol = \
         \"TCP\"\nport = 81\ntarget_group = \"web\"\n\n[[target_groups]]",
        &[
            "14: load_balancers[1].name: found \"edge\", expected a name that no other load balancer has (as \
             load_balancers[0] has)",
            "15: load_balancers[1].addresses[0]: found \"198.18.100.1\", expected an address that nothing else has (as \
             load_balancers[0].addresses[0] has)",
            "19: load_balancers[1].listeners[0].target_group: found \"web\", expected a target group that no other load \
             balancer uses (as load_balancers[0] does)",
        ],
    ),
    (
        "[[target_groups]]",
        "[[load_balancers.listeners]]\nprotocol = \"TCP\"\nport = 80\ntarget_group = \"web\"\n\n[[target_groups]]",
        &[
            "13: load_balancers[0].listeners[1]: found TCP port 80 a second time, expected each protocol and port once per \
           load balancer",
        ],
    ),
    (
        "[[target_groups]]",
        "[load_balancers.listeners.attributes]\n\"tcp.idle_timeout.seconds\" = 59\n[[target_groups]]",
        &[
            "14: load_balancers[0].listeners[0].attributes.\"tcp.idle_timeout.seconds\": found 59, expected an integer from \
           60 to 6000",
        ],
    ),
];

#[test]
fn every_rule_names_line_and_key() {
    parse(BASE, "f").unwrap();
    for (text, replacement, expected) in ERRORS {
        assert!(BASE.contains(text), "{text}");
        assert_errors(&BASE.replacen(text, replacement, 1), expected);
    }
}

/// Additions to the end of `BASE`, which is inside its target group, and the error; "" when there is none.
const ADDITIONS: &[(&str, &str)] = &[
    ("[target_groups.attributes]\n\"preserve_client_ip.enabled\" = true", ""),
    ("[target_groups.attributes]\npreserve_client_ip.enabled = \"true\"", ""),
    (
        "[target_groups.attributes]\n\"preserve_client_ip.enabled\" = false",
        "22: target_groups[0].attributes.\"preserve_client_ip.enabled\": found false, expected true; hiding the client's \
         address is not supported yet",
    ),
    (
        "[target_groups.attributes]\n\"stickiness.enabled\" = true",
        "22: target_groups[0].attributes.\"stickiness.enabled\": found an attribute that is not supported yet, expected one \
         of: preserve_client_ip.enabled, deregistration_delay.timeout_seconds, \
         deregistration_delay.connection_termination.enabled, target_health_state.unhealthy.connection_termination.enabled; \
         remove it",
    ),
    (
        "[target_groups.attributes]\nslow_start.duration_seconds = 30",
        "22: target_groups[0].attributes.slow_start.duration_seconds: found an unknown attribute, expected one of: \
         preserve_client_ip.enabled, deregistration_delay.timeout_seconds, \
         deregistration_delay.connection_termination.enabled, target_health_state.unhealthy.connection_termination.enabled",
    ),
    (
        "[target_groups.attributes]\n\"deregistration_delay.timeout_seconds\" = \"3601\"",
        "22: target_groups[0].attributes.\"deregistration_delay.timeout_seconds\": found \"3601\", expected an integer from \
         0 to 3600",
    ),
    (
        "[target_groups.health_check]\nprotocol = \"HTTP\"",
        "22: target_groups[0].health_check.protocol: found \"HTTP\", expected \"TCP\"; HTTP and HTTPS checks are not \
         supported yet",
    ),
    (
        "[target_groups.health_check]\nport = \"8080\"",
        "22: target_groups[0].health_check.port: found \"8080\", expected \"traffic-port\" or an integer from 1 to 65535",
    ),
    (
        "[target_groups.health_check]\ninterval_seconds = 4",
        "22: target_groups[0].health_check.interval_seconds: found 4, expected an integer from 5 to 300",
    ),
    (
        "[target_groups.health_check]\ninterval_seconds = 5\nfast_interval_ms = 1000",
        "23: target_groups[0].health_check.fast_interval_ms: found 1000, expected interval_seconds or fast_interval_ms, \
         not both",
    ),
    (
        "[target_groups.health_check]\nhealthy_threshold = 1",
        "22: target_groups[0].health_check.healthy_threshold: found 1, expected an integer from 2 to 10",
    ),
    ("[selection]\nadopt_seconds = 0", ""),
    (
        "[selection]\nsecret = \"0123\"",
        "22: selection.secret: found something else (not shown), expected a string of 32 hex digits",
    ),
    (
        "[workers]\npolling = \"fast\"",
        "22: workers.polling: found \"fast\", expected one of \"busy\", \"adaptive\", \"interrupt\"",
    ),
    (
        "[workers]\nframes = 5000",
        "22: workers.frames: found 5000, expected a power of two from 512 to 1048576",
    ),
    (
        "[workers]\ncount = 2\ncpus = [1]",
        "23: workers.cpus: found an array, expected an array of CPU numbers, at least one per worker, none twice",
    ),
    (
        "[flow_table]\ncapacity = 1",
        "22: flow_table.capacity: found 1, expected an integer from 64 to 1073741824",
    ),
    (
        "[flow_table]\ncapacity = true",
        "22: flow_table.capacity: found true, expected an integer from 64 to 1073741824",
    ),
    (
        "[[target_groups]]\nname = \"web\"\nprotocol = \"UDP\"\nport = 1\ntargets = [{ address = \"198.19.9.9\" }]",
        "22: target_groups[1].name: found \"web\", expected a name that no other target group has",
    ),
    (
        "interfaces = 3",
        "21: target_groups[0].interfaces: found an unknown key, expected one of: name, protocol, port, \
     target_type, targets, health_check, attributes",
    ),
];

#[test]
fn every_section_has_its_rules() {
    for (addition, expected) in ADDITIONS {
        let text = format!("{BASE}{addition}\n");
        match *expected {
            "" => drop(parse(&text, "f").unwrap()),
            expected => assert_errors(&text, &[expected]),
        }
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

#[test]
fn defaults_and_values() {
    let config = parse(BASE, "f").unwrap();
    assert_eq!(config.interfaces, ["eth0", "eth1"]);
    assert_eq!(config.control_socket, Path::new(CONTROL_SOCKET));
    assert_eq!(config.flow_capacity, limits::FLOWS_DEFAULT);
    assert_eq!(config.selection, Selection { secret: None, adopt_seconds: 350 });
    assert_eq!(
        config.workers,
        Workers { count: None, cpus: vec![], polling: Polling::Adaptive, frames: 8_192 }
    );
    let lb = &config.load_balancers[0];
    assert_eq!((lb.interface, lb.assignment), (InterfaceId(1), Assignment::Daemon));
    let group = &config.target_groups[0];
    assert_eq!(group.targets[0], Target { address: "198.19.1.2".parse().unwrap(), port: 8080, weight: 1 });
    assert_eq!(group.targets[1], Target { address: "198.19.2.2".parse().unwrap(), port: 81, weight: 2 });
    assert_eq!(group.health_check, HealthCheck::default());
    assert_eq!((group.after_deregistration, group.when_unhealthy), (Leftover::Continue, Leftover::Terminate));
    assert!(config.is_used(0));
}

#[test]
fn the_window_of_adoption_follows_the_longest_idle_timeout() {
    let text = BASE.replace(
        "[[target_groups]]",
        "[load_balancers.listeners.attributes]\n\"tcp.idle_timeout.seconds\" = \"600\"\n[[target_groups]]",
    );
    let config = parse(&text, "f").unwrap();
    assert_eq!(config.selection.adopt_seconds, 600);
    assert_eq!(config.load_balancers[0].listeners[0].tcp_idle_timeout_seconds, 600);
}

#[test]
fn a_fast_check_has_a_timeout_no_longer_than_its_interval() {
    let text = format!("{BASE}[target_groups.health_check]\nfast_interval_ms = 1000\n");
    let check = parse(&text, "f").unwrap().target_groups.remove(0).health_check;
    assert_eq!((check.interval, check.timeout), (Duration::from_secs(1), Duration::from_secs(1)));
}

#[test]
fn broken_toml_names_its_line() {
    let text = BASE.replace("port = 80\n", "port = \n");
    let line = "10: found text that is not TOML (string values must be quoted, expected literal string), expected TOML 1.1";
    assert_errors(&text, &[line]);
}

#[test]
fn garbage_is_refused_and_never_panics() {
    for text in
        ["", "\0", "[", "= 1", "a = [[[[", "interfaces = \"eth0", "[[load_balancers]]", "load_balancers = []"]
    {
        let errors = parse(text, "f").unwrap_err();
        assert!(!errors.errors.is_empty(), "{text:?}");
        assert!(errors.to_string().starts_with("f:1: "), "{errors}");
    }
    let mut text = String::from(BASE);
    while text.pop().is_some() {
        if let Err(errors) = parse(&text, "f") {
            assert!(!errors.errors.is_empty(), "{text:?}");
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    let errors = load(Path::new("/nonexistent/lbd.toml")).unwrap_err();
    let expected = "/nonexistent/lbd.toml: found a file that cannot be read (No such file or directory (os error 2)), \
                    expected a configuration file in TOML";
    assert_eq!(errors.to_string(), expected);
}

#[track_caller]
fn assert_errors(text: &str, expected: &[&str]) {
    let errors = parse(text, "f").expect_err(text).to_string();
    let expected: Vec<String> = expected.iter().map(|line| format!("f:{line}")).collect();
    assert_eq!(errors, expected.join("\n"));
}
