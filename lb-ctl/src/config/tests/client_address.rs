//! Which addresses there can be, and which of them a target sees.

use super::*;

#[test]
fn addresses_are_unicast_and_reach_beyond_one_link() {
    let addresses = [
        ("2001:db8::1", None),
        ("fd00::1", None),
        ("169.254.0.1", None),
        ("0.0.0.0", Some("")),
        ("127.0.0.1", Some("")),
        ("255.255.255.255", Some("")),
        ("::", Some("")),
        ("::1", Some("")),
        ("ff02::1", Some("")),
        (
            "fe80::1",
            Some("; a link-local address is known on one link only: take a global or a unique local one"),
        ),
        ("::ffff:198.18.0.1", Some("; write an IPv4 address as such: 198.18.0.1")),
    ];
    for (address, refusal) in addresses {
        let text = format!("{BASE}[source_nat]\naddresses = [\"{address}\"]\n");
        let Some(advice) = refusal else {
            assert_eq!(parse(&text, "f").unwrap().source_nat.addresses, [address.parse::<IpAddr>().unwrap()]);
            continue;
        };
        let expected = format!(
            "22: source_nat.addresses[0]: found \"{address}\", expected a unicast address that other hosts can reach{advice}"
        );
        assert_errors(&text, &[&expected]);
    }
}

#[test]
fn source_ports_are_a_range() {
    for (ports, range) in [("1-1", 1..=1), ("1024-32767", 1_024..=32_767), ("1-65535", 1..=65_535)] {
        let config = parse(&format!("{BASE}[source_nat]\nports = \"{ports}\"\n"), "f").unwrap();
        assert_eq!(config.source_nat.ports, range);
    }
    for ports in ["", "-", "1024", "0-5", "5-4", "1-65536", "+1-5", "1 - 5", "1-2-3", "a-b"] {
        let expected = format!(
            "22: source_nat.ports: found {ports:?}, expected a range of ports from 1 to 65535, the lower first, such as \"1024-65535\""
        );
        assert_errors(&format!("{BASE}[source_nat]\nports = \"{ports}\"\n"), &[&expected]);
    }
}

#[test]
fn ports_of_one_client_can_be_limited() {
    assert_eq!(parse(BASE, "f").unwrap().source_nat.ports_per_client, None);
    assert_eq!(
        parse(&format!("{BASE}[source_nat]\nports_per_client = 64\n"), "f")
            .unwrap()
            .source_nat
            .ports_per_client,
        Some(64)
    );
    assert_errors(
        &format!("{BASE}[source_nat]\nports_per_client = 0\n"),
        &["22: source_nat.ports_per_client: found 0, expected an integer from 1 to 4194240"],
    );
}

#[test]
fn a_family_without_a_source_address_takes_the_load_balancers_own() {
    let [v4, v6, source_v4]: [IpAddr; 3] =
        ["198.18.100.1", "2001:db8::1", "198.18.100.9"].map(|address| address.parse().unwrap());
    let mut source_nat = parse(BASE, "f").unwrap().source_nat;
    assert_eq!(source_nat.addresses_for(&[v4, v6]), [v4, v6]);
    source_nat.addresses = vec![source_v4];
    assert_eq!(source_nat.addresses_for(&[v4, v6]), [source_v4, v6]);
    assert_eq!(source_nat.addresses_for(&[v4]), [source_v4]);
}

#[test]
fn a_listener_translates_when_there_is_a_source_of_the_targets_family() {
    let v6 = BASE.replace("198.18.100.1", "2001:db8::1");
    parse(&format!("{v6}[source_nat]\naddresses = [\"198.18.100.9\"]\n"), "f").unwrap();
    parse(&BASE.replace("\"198.18.100.1\"", "\"198.18.100.1\", \"2001:db8::1\""), "f").unwrap();
}

#[test]
fn keeping_the_clients_address_depends_on_protocol_and_target_type() {
    for (protocol, target_type, preserves) in [
        ("TCP", "ip", false),
        ("TCP", "instance", true),
        ("TCP_UDP", "ip", true),
        ("TCP_UDP", "instance", true),
    ] {
        let text = BASE
            .replace("\"TCP\"", &format!("{protocol:?}"))
            .replace("port = 8080", &format!("port = 8080\ntarget_type = {target_type:?}"));
        let group = parse(&text, "f").unwrap().target_groups.remove(0);
        assert_eq!(group.preserves_client_ip, preserves, "{protocol} {target_type}");
        let text = format!("{text}[target_groups.attributes]\n\"preserve_client_ip.enabled\" = ");
        let kept = parse(&format!("{text}true"), "f").unwrap().target_groups.remove(0);
        assert!(kept.preserves_client_ip);
        match protocol {
            "TCP" => assert!(
                !parse(&format!("{text}\"false\""), "f").unwrap().target_groups[0].preserves_client_ip
            ),
            _ => assert_errors(
                &format!("{text}false"),
                &[
                    "23: target_groups[0].attributes.\"preserve_client_ip.enabled\": found false, expected true; UDP and \
                   TCP_UDP target groups keep the client's address",
                ],
            ),
        }
    }
}
