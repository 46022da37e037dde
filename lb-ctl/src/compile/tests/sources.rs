//! Who has which source addresses, and for how long.

use lb_core::{
    limits,
    tables::{Protocol, Source},
};

use super::*;

const FILE: &str = r#"
interfaces = ["eth0", "eth1"]
[[load_balancers]]
name = "edge"
addresses = ["198.18.100.1", "2001:db8::1"]
interface = "eth1"
[[load_balancers.listeners]]
protocol = "TCP"
port = 80
target_group = "hidden"
[load_balancers.listeners.attributes]
tcp = { adopt_strays.enabled = true, syn_cookies.enabled = true }
[[load_balancers.listeners]]
protocol = "TCP_UDP"
port = 53
target_group = "kept"
[load_balancers.listeners.attributes]
tcp = { adopt_strays.enabled = true, syn_cookies.enabled = true }
[[target_groups]]
name = "hidden"
protocol = "TCP"
port = 80
targets = [{ address = "198.19.1.2" }]
[[target_groups]]
name = "kept"
protocol = "TCP_UDP"
port = 53
targets = [{ address = "2001:db8:1::2" }]
"#;

fn bench(addition: &str) -> Bench {
    Bench { config: parse(&format!("{FILE}{addition}"), "f").unwrap(), ..Bench::new() }
}

/// The source addresses of each listener, by name.
fn of_listeners(tables: &Tables) -> Vec<(&str, String)> {
    let text = |addresses: &[IpAddr]| addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ");
    let listeners = tables.listeners().iter().flatten();
    listeners.map(|listener| (&*listener.name, text(&listener.sources.addresses))).collect()
}

fn of_tables(tables: &Tables) -> Vec<String> {
    let text = |source: &Source| format!("{} {}-{}", source.address, source.first_port, source.last_port);
    tables.sources().iter().map(text).collect()
}

#[test]
fn listeners_say_where_they_are_and_what_they_do_with_tcp() {
    let tables = bench("").compile();
    for listener in tables.listeners().iter().flatten() {
        let is_tcp = listener.endpoint.protocol == Protocol::Tcp;
        assert_eq!(listener.interface, InterfaceId(1));
        assert_eq!((listener.adopts_strays, listener.has_syn_cookies), (is_tcp, is_tcp), "{}", listener.name);
    }
    let kept: Vec<bool> = tables.groups().iter().map(|group| group.preserves_client_ip).collect();
    assert_eq!(kept, [false, true]);
}

#[test]
fn a_listener_has_the_load_balancers_addresses_of_its_targets_family() {
    let tables = bench("").compile();
    let expected = [
        ("edge@198.18.100.1/TCP:80", "198.18.100.1".to_owned()),
        ("edge@198.18.100.1/TCP:53", "2001:db8::1".to_owned()),
        ("edge@198.18.100.1/UDP:53", "2001:db8::1".to_owned()),
        ("edge@2001:db8::1/TCP:80", "198.18.100.1".to_owned()),
        ("edge@2001:db8::1/TCP:53", "2001:db8::1".to_owned()),
        ("edge@2001:db8::1/UDP:53", "2001:db8::1".to_owned()),
    ];
    assert_eq!(of_listeners(&tables), expected);
    assert_eq!(of_tables(&tables), ["198.18.100.1 1024-65535", "2001:db8::1 1024-65535"]);
}

#[test]
fn configured_sources_come_before_the_load_balancers_addresses() {
    let tables =
        bench("[source_nat]\naddresses = [\"198.18.100.8\", \"198.18.100.9\"]\nports = \"2000-2999\"")
            .compile();
    assert_eq!(of_listeners(&tables)[0].1, "198.18.100.8 198.18.100.9");
    assert_eq!(of_listeners(&tables)[1].1, "2001:db8::1");
    assert_eq!(
        of_tables(&tables),
        ["198.18.100.8 2000-2999", "198.18.100.9 2000-2999", "2001:db8::1 2000-2999"]
    );
    assert!(tables.listeners().iter().flatten().all(|listener| listener.sources.ports == (2_000..=2_999)));
}

#[test]
fn an_address_of_the_host_is_a_source_only_where_one_is_needed() {
    let shared = vec!["198.18.100.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    let mut bench = Bench { shared, ..bench("") };
    let tables = bench.compile();
    let rows = of_listeners(&tables);
    assert_eq!(rows[0].1, "198.18.100.1", "the client's address is hidden");
    assert_eq!(rows[1].1, "2001:db8::1", "the client's address is translated");
    assert_eq!(rows[4].1, "", "the client's address is kept");
    let text = format!("{FILE}[source_nat]\naddresses = [\"2001:db8::1\"]\n");
    bench.config = parse(&text, "f").unwrap();
    assert_eq!(of_listeners(&bench.compile())[4].1, "2001:db8::1", "the operator has named it");
}

#[test]
fn a_source_stays_until_no_flow_has_it() {
    let mut bench = bench("[source_nat]\naddresses = [\"198.18.100.9\"]\n");
    bench.compile();
    bench.config = parse(FILE, "f").unwrap();
    let tables = bench.compile();
    assert_eq!(of_listeners(&tables)[0].1, "198.18.100.1");
    let expected = ["198.18.100.1 1024-65535", "198.18.100.9 1024-65535", "2001:db8::1 1024-65535"];
    assert_eq!(of_tables(&tables), expected);
    bench.pass(100_000);
    assert_eq!(of_tables(&bench.compile()), expected, "a flow may live for any time");
    let old = bench.compiler.old_sources();
    assert_eq!(old.iter().map(|source| source.address.to_string()).collect::<Vec<_>>(), ["198.18.100.9"]);
    bench.compiler.forget_sources(&tables.sources().iter().copied().collect());
    assert_eq!(of_tables(&bench.compile()), [expected[0], expected[2]], "the others are configured");
}

#[test]
fn sources_that_there_is_no_room_for_are_told_of() {
    let ports =
        |first: usize| format!("[source_nat]\naddresses = [\"198.18.100.9\"]\nports = \"{first}-65535\"\n");
    let mut bench = bench(&ports(1_024));
    let first = bench.compile().sources().to_vec();
    for more in 1..limits::SOURCES / first.len() {
        bench.config = parse(&format!("{FILE}{}", ports(1_024 + more)), "f").unwrap();
        bench.pass(1);
        bench.compile();
    }
    assert_eq!(bench.compiler.take_crowded_out(), BTreeSet::new());
    bench.config = parse(&format!("{FILE}{}", ports(2_000)), "f").unwrap();
    bench.compile();
    assert_eq!(bench.compiler.take_crowded_out(), BTreeSet::from_iter(first), "missing for longest");
    assert_eq!(bench.compiler.take_crowded_out(), BTreeSet::new(), "told of already");
}
