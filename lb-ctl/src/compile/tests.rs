//! What one generation keeps of the one before.

use lb_core::tables::{
    CutCause, Endpoint, FlowPolicy, InterfaceId, ListenerId, Mac, Protocol, TargetGroupId, TargetId,
};

use super::*;
use crate::{
    config::{self, parse},
    health::Cause,
};

mod epochs;
mod forward;
mod ids;
mod registration;
mod sources;
mod thresholds;
mod zones;

const FILE: &str = r#"
interfaces = ["eth0"]
[[load_balancers]]
name = "edge"
addresses = ["198.18.100.1"]
[[load_balancers.listeners]]
protocol = "TCP_UDP"
port = 53
target_group = "dns"
[[load_balancers.listeners]]
protocol = "TCP"
port = 80
target_group = "web"
[[target_groups]]
name = "dns"
protocol = "TCP_UDP"
port = 53
targets = [{ address = "198.19.1.2" }, { address = "198.19.1.3" }]
[[target_groups]]
name = "web"
protocol = "TCP"
port = 80
targets = [{ address = "198.19.1.2" }, { address = "198.19.1.3" }, { address = "198.19.1.4" }]
[target_groups.attributes]
"deregistration_delay.timeout_seconds" = 10
[[target_groups]]
name = "spare"
protocol = "TCP"
port = 80
targets = [{ address = "198.19.1.2", weight = 0 }]
"#;

const WEB_3: &str = "{ address = \"198.19.1.3\" }, { address = \"198.19.1.4\" }";
const WEB_2: &str = "{ address = \"198.19.1.4\" }";

/// A compiler with its inputs: everything healthy but what is named.
struct Bench {
    compiler: Compiler,
    config: Config,
    unhealthy: Vec<&'static str>,
    /// A target of another health.
    odd: Option<(&'static str, TargetHealth)>,
    shared: Vec<IpAddr>,
    of_host: BTreeSet<IpAddr>,
    /// Addresses that there is no way to.
    out_of_reach: Vec<IpAddr>,
    now: Instant,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            compiler: Compiler::new(),
            config: parse(FILE, "f").unwrap(),
            unhealthy: vec![],
            odd: None,
            shared: vec![],
            of_host: BTreeSet::new(),
            out_of_reach: vec![],
            now: Instant::from_millis(1_000_000),
        }
    }

    fn compile(&mut self) -> Arc<Tables> {
        let inputs = Inputs {
            config: &self.config,
            interfaces: vec![Interface {
                name: "eth0".into(),
                mac: Mac::default(),
                mtu: 1_500,
                receive_hash: None,
            }],
            health: &|key| match (key.to_string().as_str(), self.odd) {
                (key, Some((odd, health))) if odd == key => health,
                (key, _) if self.unhealthy.contains(&key) => TargetHealth::Unhealthy(Cause::Refused),
                _ => TargetHealth::Healthy,
            },
            next_hop: &|address| {
                let hop = NextHop { interface: InterfaceId(0), mac: Mac([2; 6]) };
                (!self.out_of_reach.contains(&address)).then_some(hop)
            },
            hops: vec![],
            ownership: &|address| match self.shared.contains(&address) {
                true => Ownership::SharedWithHost,
                false => Ownership::Exclusive,
            },
            host_addresses: &self.of_host,
            now: self.now,
        };
        self.compiler.compile(&inputs).unwrap()
    }

    /// The id of a TCP listener.
    fn listener(&mut self, address: &str, port: u16) -> ListenerId {
        let endpoint = Endpoint { address: address.parse().unwrap(), port, protocol: Protocol::Tcp };
        self.compile().listener_at(&endpoint).unwrap()
    }

    fn change(&mut self, text: &str, replacement: &str) {
        assert!(FILE.contains(text), "{text}");
        self.config = parse(&FILE.replace(text, replacement), "f").unwrap();
    }

    fn id(&self, key: &str) -> Option<TargetId> {
        self.compiler.targets().iter().find(|entry| entry.key.to_string() == key).map(|entry| entry.id)
    }

    /// What is told of a target whose checks succeed.
    fn report(&self, key: &str) -> TargetHealth {
        let entries = self.compiler.targets();
        let entry = entries.iter().find(|entry| entry.key.to_string() == key).unwrap();
        reported_health(entry, TargetHealth::Healthy, self.now)
    }

    /// The group `web`, to be changed.
    fn web(&mut self) -> &mut config::TargetGroup {
        &mut self.config.target_groups[1]
    }

    fn pass(&mut self, seconds: u64) {
        self.now = after(self.now, seconds);
    }
}

fn group<'t>(tables: &'t Tables, name: &str) -> &'t TargetGroup {
    tables.groups().iter().find(|row| *row.name == *name).unwrap()
}

fn eligible(tables: &Tables, name: &str) -> Vec<String> {
    eligible_of(tables, &group(tables, name).pools[0])
}

fn eligible_of(tables: &Tables, pool: &Pool) -> Vec<String> {
    let address = |id: &TargetId| tables.target(*id).unwrap().address.to_string();
    pool.eligible.iter().map(|id| address(id).trim_start_matches("198.19.1.").to_owned()).collect()
}

fn policies(tables: &Tables, bench: &Bench, group: &str) -> String {
    let entries = bench.compiler.targets();
    let of_group = entries.iter().filter(|entry| *entry.key.group == *group);
    of_group
        .map(|entry| match tables.target(entry.id).unwrap().flow_policy {
            FlowPolicy::Keep => 'k',
            FlowPolicy::Cut(_) => 'c',
        })
        .collect()
}

#[test]
fn listeners_have_names_endpoints_and_timeouts() {
    let mut bench = Bench::new();
    let tables = bench.compile();
    let names: Vec<(&str, u16)> =
        tables.listeners().iter().flatten().map(|row| (&*row.name, row.idle_timeout_s)).collect();
    assert_eq!(names, [("edge/TCP:53", 350), ("edge/UDP:53", 120), ("edge/TCP:80", 350)]);
    bench.change("[\"198.18.100.1\"]", "[\"198.18.100.1\", \"198.18.100.2\"]");
    let tables = bench.compile();
    assert_eq!(&*tables.listener(ListenerId(0)).unwrap().name, "edge@198.18.100.1/TCP:53");
    assert_eq!(&*tables.listener(ListenerId(3)).unwrap().name, "edge@198.18.100.2/TCP:53");
    assert_eq!(tables.vips().len(), 2);
}

/// A listener of both protocols has two idle timeouts, each for the flows of its own.
#[test]
fn idle_timeouts_are_those_of_the_protocol() {
    let mut bench = Bench::new();
    let both = &mut bench.config.load_balancers[0].listeners[0];
    (both.tcp_idle_timeout_seconds, both.udp_idle_timeout_seconds) = (60, 30);
    let tables = bench.compile();
    let timeouts: Vec<u16> = tables.listeners().iter().flatten().map(|row| row.idle_timeout_s).collect();
    assert_eq!(timeouts, [60, 30, 350]);
}

#[test]
fn eligibility_and_flow_policy_follow_health() {
    let rows: &[(&[&str], &[&str], &str)] = &[
        (&[], &["2", "3", "4"], "kkk"),
        (&["web/198.19.1.3:80"], &["2", "4"], "kck"),
        (&["web/198.19.1.3:80", "web/198.19.1.2:80"], &["4"], "cck"),
        // None healthy: fails open, and no flow is cut.
        (&["web/198.19.1.3:80", "web/198.19.1.2:80", "web/198.19.1.4:80"], &["2", "3", "4"], "kkk"),
        // Another group's health is not ours.
        (&["dns/198.19.1.3:53"], &["2", "3", "4"], "kkk"),
    ];
    for (unhealthy, expected, flows) in rows {
        let mut bench = Bench { unhealthy: unhealthy.to_vec(), ..Bench::new() };
        let tables = bench.compile();
        assert_eq!(eligible(&tables, "web"), *expected, "{unhealthy:?}");
        assert_eq!(policies(&tables, &bench, "web"), *flows, "{unhealthy:?}");
    }
}

#[test]
fn flows_of_unhealthy_udp_targets_go_on() {
    let mut bench = Bench { unhealthy: vec!["dns/198.19.1.3:53"], ..Bench::new() };
    let tables = bench.compile();
    assert_eq!(eligible(&tables, "dns"), ["2"]);
    assert_eq!(policies(&tables, &bench, "dns"), "kk");
}

#[test]
fn weight_zero_gets_no_new_flows_even_when_failing_open() {
    let mut bench = Bench::new();
    let tables = bench.compile();
    assert!(eligible(&tables, "spare").is_empty());
}

#[test]
fn ids_stay_when_the_file_is_reordered() {
    let mut bench = Bench::new();
    let before = bench.compile();
    let ids = bench.compiler.targets();
    let text = "{ address = \"198.19.1.2\" }, { address = \"198.19.1.3\" }, { address = \"198.19.1.4\" }";
    bench.change(
        text,
        "{ address = \"198.19.1.4\" }, { address = \"198.19.1.3\" }, { address = \"198.19.1.2\" }",
    );
    let after = bench.compile();
    assert_eq!(bench.compiler.targets(), ids);
    assert_eq!(eligible(&after, "web"), eligible(&before, "web"));
    assert_eq!(after.generation(), before.generation() + 1);
    let (one, other) = (&before.groups()[1].pools[0].maglev, &after.groups()[1].pools[0].maglev);
    assert!(Arc::ptr_eq(one, other), "the same candidates share one Maglev table");
}

#[test]
fn a_change_of_health_leaves_all_else_to_the_generation_before() {
    let mut bench = Bench::new();
    let before = bench.compile();
    bench.unhealthy = vec!["web/198.19.1.3:80"];
    let after = bench.compile();
    assert!(after.are_steered_like(&before));
    assert!(Arc::ptr_eq(&before.groups()[0].pools[0].maglev, &after.groups()[0].pools[0].maglev));
    assert_eq!(before.listeners(), after.listeners());
    assert_eq!(eligible(&after, "web"), ["2", "4"]);
    let endpoint = Endpoint { address: "198.19.1.3".parse().unwrap(), port: 80, protocol: Protocol::Tcp };
    assert_eq!(after.listeners_of_target(&endpoint), before.listeners_of_target(&endpoint));

    bench.shared = vec!["198.18.100.1".parse().unwrap()];
    assert!(!bench.compile().are_steered_like(&after), "the host shares the address");
    bench.change(WEB_3, WEB_2);
    assert!(bench.compile().are_steered_like(&bench.compile()));
}

#[test]
fn no_client_has_an_address_of_the_host_from_the_tables_on_that_know_of_it() {
    let mut bench = Bench::new();
    let [vip, host]: [IpAddr; 2] = ["198.18.100.1", "198.18.0.1"].map(|text| text.parse().unwrap());
    let before = bench.compile();
    assert!(before.is_own(vip) && !before.is_own(host));
    bench.of_host.insert(host);
    let after = bench.compile();
    assert!(after.is_own(vip) && after.is_own(host));
    assert_eq!(after.epoch(), before.epoch(), "flows made before are none of its business");
    bench.of_host.clear();
    assert!(!bench.compile().is_own(host));
}

#[test]
fn a_group_without_listener_is_not_in_use() {
    let mut bench = Bench::new();
    bench.compile();
    assert_eq!(bench.report("spare/198.19.1.2:80"), TargetHealth::NotInUse);
    assert_eq!(bench.report("web/198.19.1.2:80"), TargetHealth::Healthy);
}
