//! What a configuration is read into, and what is refused.

use super::*;

mod client_address;
mod errors;

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

#[test]
fn defaults_and_values() {
    let config = parse(BASE, "f").unwrap();
    assert!(config.is_used(0));
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
    assert_eq!(
        group.targets[0],
        Target {
            address: "198.19.1.2".parse().unwrap(),
            port: 8080,
            weight: 1,
            zone: None,
            is_stopped: false
        }
    );
    assert_eq!(
        group.targets[1],
        Target { address: "198.19.2.2".parse().unwrap(), port: 81, weight: 2, zone: None, is_stopped: false }
    );
    assert_eq!(group.health_check, HealthCheck::default());
    assert_eq!(group.family, Family::V4);
    assert_eq!((config.source_nat.addresses, config.source_nat.ports), (vec![], 1_024..=65_535));
    assert_eq!((group.after_deregistration, group.when_unhealthy), (Leftover::Continue, Leftover::Terminate));
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
