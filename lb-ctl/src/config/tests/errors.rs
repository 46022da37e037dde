//! Every mistake in a configuration has its own message, with line and key.

use super::*;

/// A change to `BASE` (text, replacement) and every error that it causes, without the file's name.
const ERRORS: &[(&str, &str, &[&str])] = &[
    (
        "interfaces",
        "interface",
        &[
            "1: interface: found an unknown key, expected one of: interfaces, state_directory, control_socket, control_api, workers, \
             flow_table, selection, source_nat, metrics, flow_log, address_pools, elbv2, load_balancers, target_groups",
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
           forward, rules, attributes, tags",
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
            "11: load_balancers[0].listeners[0].target_group: found \"web\", a target group of IPv4 targets, expected a target \
             group of the family of load_balancers[0].addresses; to translate, give load_balancers[0].addresses or \
             source_nat.addresses an IPv4 address, which targets see instead of the client's",
        ],
    ),
    (
        "\"198.18.100.1\"",
        "\"198.18.100\"",
        &[
            "5: load_balancers[0].addresses[0]: found \"198.18.100\", expected an IPv4 or IPv6 address, such as \
             \"198.19.1.2\" or \"2001:db8:1::2\"",
        ],
    ),
    (
        "{ address = \"198.19.1.2\" },",
        "{ address = \"2001:db8:1::2\" },",
        &[
            "19: target_groups[0].targets[1]: found 198.19.2.2, expected an IPv6 address; the targets of a group are of one \
             family: make a target group for each",
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
            "5: load_balancers[0].addresses[0]: found \"224.0.0.1\", expected a unicast address that other hosts can reach",
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
        "port = 8080\ntarget_type = \"alb\"",
        &[
            "17: target_groups[0].target_type: found \"alb\", expected one of \"instance\", \"ip\"; this target type is not \
             supported yet: register the load balancer behind by its addresses, as \"ip\"",
        ],
    ),
    (
        "8080\ntargets = [\n  { address = \"198.19.1.2\" },\n  { address = \"198.19.2.2\", port = 81, weight = 2 },\n",
        "8080\ntarget_type = \"instance\"\ntargets = [\n  { address = \"2001:db8:1::2\" },\n",
        &[
            "19: target_groups[0].targets[0]: found 2001:db8:1::2, expected an IPv4 address; instance targets have IPv4 \
             addresses: take target_type \"ip\"",
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
    (
        "[source_nat]\naddresses = [\"198.18.100.9\", \"2001:db8::9\"]\nports = \"1024-32767\"\nassign = false",
        "",
    ),
    ("[source_nat]\naddresses = [\"198.18.100.1\"]", ""),
    (
        "[source_nat]\naddress = \"198.18.100.9\"",
        "22: source_nat.address: found an unknown key, expected one of: addresses, ports, ports_per_client, interface, assign",
    ),
    (
        "[source_nat]\naddresses = []",
        "22: source_nat.addresses: found an empty array, expected 1 to 64 addresses, such as [\"198.18.100.9\"]",
    ),
    (
        "[source_nat]\naddresses = [\"198.18.100.9\", \"198.18.100.9\"]",
        "22: source_nat.addresses[1]: found \"198.18.100.9\", expected each address once",
    ),
    (
        "[source_nat]\naddresses = [\"198.19.2.2\"]",
        "22: source_nat.addresses[0]: found \"198.19.2.2\", expected an address that no target has (as \
         target_groups[0].targets[1] has)",
    ),
    (
        "[source_nat]\ninterface = \"eth7\"",
        "22: source_nat.interface: found \"eth7\", expected one of the interfaces: eth0, eth1",
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
     target_type, ip_address_type, targets, health_check, attributes, vpc, tags",
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
