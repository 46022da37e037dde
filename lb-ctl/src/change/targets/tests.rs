//! Calls against a configuration with two groups.

use super::*;
use crate::config;

const CONFIG: &str = r#"
interfaces = ["eth0"]
[[load_balancers]]
name = "edge"
addresses = ["198.18.100.1"]
[[load_balancers.listeners]]
protocol = "TCP"
port = 80
target_group = "web"
[[target_groups]]
name = "web"
protocol = "TCP"
port = 8080
[[target_groups]]
name = "dns"
protocol = "UDP"
port = 53
targets = [{ address = "198.19.1.2" }]
"#;

fn in_force() -> Config {
    config::parse(CONFIG, "lbd.toml").unwrap()
}

fn new(target: &str) -> NewTarget {
    let TargetAddress { address, port } = target.parse().unwrap();
    NewTarget { address, port, weight: None, zone: None }
}

fn changes(register: &[&str], deregister: &[&str]) -> TargetChanges {
    TargetChanges {
        register: register.iter().map(|target| new(target)).collect(),
        deregister: deregister.iter().map(|target| target.parse().unwrap()).collect(),
    }
}

fn targets(config: &Config) -> Vec<String> {
    let target = |target: &Target| SocketAddr::new(target.address, target.port).to_string();
    config.target_groups[0].targets.iter().map(target).collect()
}

#[test]
fn targets_come_and_go() {
    let mut config = in_force();
    for (register, deregister, expected) in [
        (&["198.19.1.2", "198.19.1.2:81"][..], &[][..], &["198.19.1.2:8080", "198.19.1.2:81"][..]),
        (&["198.19.1.3"], &["198.19.1.2"], &["198.19.1.2:81", "198.19.1.3:8080"]),
        (&["198.19.1.3"], &[], &["198.19.1.2:81", "198.19.1.3:8080"]),
        (&[], &["198.19.1.2:81", "198.19.1.3"], &[]),
        (&[], &["198.19.1.9"], &[]), // Gone already.
    ] {
        apply(&mut config, "web", &changes(register, deregister)).unwrap();
        assert_eq!(targets(&config), expected);
    }
}

#[test]
fn who_is_registered_again_has_the_new_weight_and_zone() {
    let mut config = in_force();
    apply(&mut config, "web", &changes(&["198.19.1.2", "198.19.1.3"], &[])).unwrap();
    for (zone, expected) in [(Some("a"), Some("a")), (Some("all"), None), (None, None)] {
        let again = NewTarget { weight: Some(7), zone: zone.map(Into::into), ..new("198.19.1.2") };
        apply(&mut config, "web", &TargetChanges { register: vec![again], deregister: vec![] }).unwrap();
        let target = &config.target_groups[0].targets[0];
        assert_eq!((target.weight, target.zone.as_deref()), (7, expected));
    }
    assert_eq!(targets(&config), ["198.19.1.2:8080", "198.19.1.3:8080"]);
}

#[test]
fn a_call_that_is_wrong_somewhere_changes_nothing() {
    use RefusalCode::*;
    let mut before = in_force();
    apply(&mut before, "web", &changes(&["198.19.1.2"], &[])).unwrap();
    for (group, register, deregister, code, error) in [
        ("wbe", &["198.19.1.3"][..], &[][..], TargetGroupNotFound, "there is no target group \"wbe\""),
        (
            "web",
            &["198.19.1.3", "2001:db8::2"],
            &[],
            InvalidTarget,
            "target web/[2001:db8::2]:8080 cannot be registered: address: ",
        ),
        ("web", &["198.19.1.3", "198.18.100.1"], &[], InvalidTarget, "an address that no load balancer has"),
        ("web", &["198.19.1.3", "198.19.1.3:8080"], &[], InvalidTarget, "198.19.1.3:8080 is named twice"),
        (
            "web",
            &["198.19.1.3"],
            &["198.19.1.2", "198.19.1.2"],
            InvalidTarget,
            "198.19.1.2:8080 is named twice",
        ),
        ("web", &["198.19.1.2"], &["198.19.1.2"], InvalidTarget, "is both in register and in deregister"),
    ] {
        let mut config = before.clone();
        let refusal = apply(&mut config, group, &changes(register, deregister)).unwrap_err();
        assert_eq!(refusal.code, Some(code), "{}", refusal.error);
        assert!(refusal.error.contains(error), "{}", refusal.error);
        assert_eq!(config, before);
    }
}

#[test]
fn a_group_has_so_many_targets_and_no_more() {
    let mut config = in_force();
    let many = |ports: std::ops::RangeInclusive<u16>| TargetChanges {
        register: ports.map(|port| new(&format!("198.19.1.2:{port}"))).collect(),
        deregister: vec![],
    };
    let most = limits::TARGETS_PER_GROUP as u16;
    apply(&mut config, "web", &many(1..=most)).unwrap();
    let refusal = apply(&mut config, "web", &many(most + 1..=most + 1)).unwrap_err();
    let error = "there would be 1001 targets in target group \"web\", expected at most 1000";
    assert_eq!((refusal.code, refusal.error.as_str()), (Some(RefusalCode::TooManyTargets), error));
    let swap =
        TargetChanges { deregister: vec!["198.19.1.2:1".parse().unwrap()], ..many(most + 1..=most + 1) };
    apply(&mut config, "web", &swap).unwrap();
}
