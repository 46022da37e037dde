//! What a configuration is read into, and what is refused.

use super::*;

mod attributes;
mod client_address;
mod control_api;
mod elbv2;
mod errors;
mod flow_log;
mod forwards;
mod health_checks;
mod metrics;
mod targets;

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
