//! Targets in a file and in calls.

use super::*;

/// `BASE` with this in place of its targets.
fn with_targets(key: &str) -> String {
    let start = BASE.find("targets = [").unwrap();
    format!("{}{key}\n", &BASE[..start])
}

#[test]
fn a_group_without_the_key_is_filled_by_calls() {
    let group = |key: &str| parse(&with_targets(key), "f").unwrap().target_groups.remove(0);
    let empty = group("targets = []");
    assert_eq!((empty.targets, empty.registrar, empty.family), (vec![], Registrar::File, Family::V4));
    let open = group("");
    assert_eq!((open.targets, open.registrar, open.family), (vec![], Registrar::Calls, Family::V4));
    let v6 = with_targets("ip_address_type = \"ipv6\"").replace("\"198.18.100.1\"", "\"2001:db8::1\"");
    assert_eq!(parse(&v6, "f").unwrap().target_groups[0].family, Family::V6);
}

#[test]
fn a_target_may_have_a_zone_and_be_stopped() {
    let text = with_targets(
        "targets = [{ address = \"198.19.1.2\", zone = \"a\" }, { address = \"198.19.1.3\", zone = \"all\", stopped = true }]",
    );
    let targets = parse(&text, "f").unwrap().target_groups.remove(0).targets;
    let rows: Vec<_> = targets.iter().map(|target| (target.zone.as_deref(), target.is_stopped)).collect();
    assert_eq!(rows, [(Some("a"), false), (None, true)]);
}

#[test]
fn every_target_of_a_group_is_of_its_family() {
    let place = "target_groups[0]";
    for (key, expected) in [
        (
            "ip_address_type = \"ipv6\"\ntargets = [{ address = \"198.19.1.2\" }]",
            "18: target_groups[0].targets[0]: found 198.19.1.2, expected an IPv6 address; the targets of a group are of one \
             family: make a target group for each"
                .into(),
        ),
        (
            "target_type = \"instance\"\nip_address_type = \"ipv6\"\ntargets = []",
            format!(
                "18: {place}.ip_address_type: found \"ipv6\", expected \"ipv4\"; instance targets have IPv4 addresses: take \
                 target_type \"ip\""
            ),
        ),
        (
            "ip_address_type = \"dualstack\"",
            format!("17: {place}.ip_address_type: found \"dualstack\", expected one of \"ipv4\", \"ipv6\""),
        ),
        (
            "targets = 1",
            format!(
                "17: {place}.targets: found 1, expected an array of targets, such as [{{ address = \"198.19.1.2\" }}]"
            ),
        ),
    ] {
        assert_errors(&with_targets(key), &[&expected]);
    }
    let many: String =
        (0..1_001).map(|n| format!("{{ address = \"198.19.{}.{}\" }},", n / 250, n % 250)).collect();
    let expected = format!("17: {place}.targets: found 1001 targets, expected at most 1000");
    assert_errors(&with_targets(&format!("targets = [{many}]")), &[&expected]);
}

fn request(address: &str) -> TargetRequest {
    TargetRequest { address: address.parse().unwrap(), port: None, weight: None, zone: None }
}

#[test]
fn a_call_registers_what_a_file_could_have() {
    let config = parse(BASE, "f").unwrap();
    let group = &config.target_groups[0];
    let asked = TargetRequest { weight: Some(5), zone: Some("a".into()), ..request("198.19.9.9") };
    let target =
        Target { address: asked.address, port: 8080, weight: 5, zone: Some("a".into()), is_stopped: false };
    assert_eq!(config.admit(group, &asked), Ok(target));
    let other_port = TargetRequest { port: Some(82), zone: Some("all".into()), ..request("198.19.1.2") };
    let target = config.admit(group, &other_port).unwrap();
    assert_eq!((target.port, target.weight, target.zone), (82, 1, None));
}

#[test]
fn a_call_is_refused_what_a_file_is() {
    let config = parse(&format!("{BASE}[source_nat]\naddresses = [\"198.18.100.9\"]\n"), "f").unwrap();
    let rows = [
        (
            request("198.18.100.1"),
            "address: found \"198.18.100.1\", expected an address that no load balancer has",
        ),
        (request("198.18.100.9"), "address: found \"198.18.100.9\", expected an address that no source has"),
        (
            request("224.0.0.1"),
            "address: found \"224.0.0.1\", expected a unicast address that other hosts can reach",
        ),
        (
            request("2001:db8::2"),
            "address: found 2001:db8::2, expected an IPv4 address; the targets of a group are of one family: make a target \
             group for each",
        ),
        (
            TargetRequest { port: Some(0), ..request("198.19.9.9") },
            "port: found 0, expected an integer from 1 to 65535",
        ),
        (
            TargetRequest { weight: Some(1_000), ..request("198.19.9.9") },
            "weight: found 1000, expected an integer from 0 to 999",
        ),
        (
            TargetRequest { zone: Some(String::new()), ..request("198.19.9.9") },
            "zone: found \"\", expected a zone's name of 1 to 32 letters, digits and hyphens",
        ),
    ];
    for (asked, expected) in rows {
        assert_eq!(config.admit(&config.target_groups[0], &asked).unwrap_err().to_string(), expected);
    }
}
