//! Forward actions with several target groups, and zones of load balancers.

use super::*;

/// `BASE` with another group, and this in place of the listener's key `target_group`.
fn forwarding(action: &str) -> String {
    let text = BASE.replace("target_group = \"web\"", action);
    format!("{text}[[target_groups]]\nname = \"green\"\nprotocol = \"TCP\"\nport = 8080\ntargets = []\n")
}

#[test]
fn a_listener_forwards_to_groups_by_weight() {
    let forward = |action: &str| {
        parse(&forwarding(action), "f").unwrap().load_balancers.remove(0).listeners.remove(0).forward
    };
    let row = |group, weight| WeightedGroup { group, weight };
    for (action, groups, is_sticky) in [
        ("target_group = \"green\"", vec![row(1, 1)], false),
        ("forward = { target_groups = [{ name = \"web\" }] }", vec![row(0, 1)], false),
        (
            "forward = { target_groups = [{ name = \"green\", weight = 0 }, { name = \"web\", weight = 999 }], stickiness = \
             true }",
            vec![row(1, 0), row(0, 999)],
            true,
        ),
    ] {
        assert_eq!(forward(action), Forward { groups, is_sticky });
    }
}

#[test]
fn every_group_of_a_forward_action_keeps_the_rules() {
    let listener = "load_balancers[0].listeners[0]";
    let group = format!("11: {listener}.forward.target_groups");
    for (action, expected) in [
        (
            "",
            format!(
                "8: {listener}.target_group: found nothing, expected the name of a target group, or forward to several"
            ),
        ),
        (
            "target_group = \"web\"\nforward = {}",
            format!("12: {listener}.forward: found a table, expected target_group or forward, not both"),
        ),
        (
            "forward = { target_groups = [] }",
            format!(
                "{group}: found an empty array, expected 1 to 5 target groups, such as [{{ name = \"blue\", weight = 9 }}]"
            ),
        ),
        (
            "forward = { target_groups = [{ name = \"web\" }, { name = \"web\" }] }",
            format!("{group}[1]: found a table, expected each target group once"),
        ),
        (
            "forward = { target_groups = [{ name = \"web\", weight = 1000 }] }",
            format!("{group}[0].weight: found 1000, expected an integer from 0 to 999"),
        ),
        (
            "forward = { target_groups = [{ name = \"web\" }, { name = \"blue\" }] }",
            format!("{group}[1].name: found \"blue\", expected one of the target groups: web, green"),
        ),
        (
            "forward = { target_groups = [{ name = \"web\" }], stickiness = 60 }",
            format!("11: {listener}.forward.stickiness: found 60, expected true or false"),
        ),
    ] {
        assert_errors(&forwarding(action), &[&expected]);
    }
    let udp = forwarding("forward = { target_groups = [{ name = \"web\" }, { name = \"green\" }] }")
        .replacen("\"TCP\"", "\"UDP\"", 1);
    let refused = |index, name| {
        format!(
            "{group}[{index}].name: found \"{name}\", a TCP target group, expected a UDP or TCP_UDP target group for a UDP \
             listener"
        )
    };
    assert_errors(&udp, &[&refused(0, "web"), &refused(1, "green")]);
}

#[test]
fn addresses_are_all_in_zones_or_none_is() {
    let with = |addresses: &str| BASE.replace("\"198.18.100.1\"", addresses);
    let text = with(
        "{ address = \"198.18.100.1\", zone = \"a\" }, { address = \"198.18.100.2\", zone = \"eu-1b\" }",
    );
    let lb = parse(&text, "f").unwrap().load_balancers.remove(0);
    let zones: Vec<_> = lb.vips.iter().map(|vip| vip.zone.as_deref().unwrap()).collect();
    assert_eq!(zones, ["a", "eu-1b"]);
    assert!(lb.serves(None) && lb.serves(Some("a")) && !lb.serves(Some("c")));
    assert!(parse(BASE, "f").unwrap().load_balancers[0].serves(Some("c")));
    let place = "5: load_balancers[0].addresses";
    let name = "expected a zone's name of 1 to 32 letters, digits and hyphens";
    for (addresses, expected) in [
        (
            "{ address = \"198.18.100.1\", zone = \"a\" }, \"198.18.100.2\"",
            format!("{place}[1]: found \"198.18.100.2\", expected addresses all with a zone, or all without"),
        ),
        ("{ address = \"198.18.100.1\", zone = \"a b\" }", format!("{place}[0].zone: found \"a b\", {name}")),
        (
            "{ address = \"198.18.100.1\", zone = \"all\" }",
            format!("{place}[0].zone: found \"all\", expected one zone"),
        ),
        (
            "1",
            format!(
                "{place}[0]: found 1, expected an address, or {{ address = \"198.18.100.1\", zone = \"a\" }}"
            ),
        ),
    ] {
        assert_errors(&with(addresses), &[&expected]);
    }
}
