//! Load balancers, listeners, rules, target groups, targets, attributes and tags by `lbctl`.

use serde_json::json;

use crate::daemon::Daemon;

/// A dualstack load balancer with a listener that forwards to two groups, and a rule.
const EDGE: &[&str] = &[
    "load-balancer create edge --pool subnet-a --pool subnet-b=198.18.101.20 --ip-address-type dualstack --tag team=web",
    "target-group create blue --protocol tcp --port 8080 --health-check protocol=HTTP --health-check path=/health",
    "target-group create green --protocol TCP --port 8080 --attribute stickiness.enabled=true",
    "target-group create six --protocol TCP --port 8080 --ip-address-type ipv6",
    "listener create edge TCP:80 --forward blue=9,green=1 --sticky --attribute tcp.idle_timeout.seconds=400",
    "rule create edge/TCP:80 --priority 10 --source ipv6 --forward six",
    "targets register blue 198.19.1.2 198.19.1.3:8081 --weight 2",
];

#[test]
fn what_is_made_is_listed_and_shown() {
    let daemon = Daemon::start();
    daemon.all_done(EDGE);
    let said = |line: &str| words(&daemon.lbctl(line).done());
    let list = said("lb list");
    assert!(list.contains("edge dualstack 198.18.100.16 (zone a, pool subnet-a), 2001:db8::100"), "{list}");
    assert!(list.contains("198.18.101.20 (zone b, pool subnet-b)"), "{list}");
    let listeners = said("listener list");
    assert!(listeners.contains("edge/TCP:80 blue 9, green 1 (sticky) 1 call"), "{listeners}");
    let rules = said("rule list edge/80");
    assert!(rules.contains("10 IPv6 six 0 default all others blue 9, green 1 (sticky)"), "{rules}");
    let groups = said("tg list");
    assert!(groups.contains("blue TCP 8080 2/2 HTTP, path /health edge/TCP:80 call"), "{groups}");
    assert!(groups.contains("green TCP 8080 0/0 TCP edge/TCP:80 call"), "{groups}");
    let group = said("target-group show green");
    assert!(group.contains("stickiness.enabled true stickiness.type source_ip default"), "{group}");
    let listener = said("listener show edge/TCP:80");
    assert!(
        listener.contains("tcp.idle_timeout.seconds 400 tcp.syn_cookies.enabled false default"),
        "{listener}"
    );
    let lb = daemon.lbctl("load-balancer show edge -o json").json();
    assert_eq!((&lb["name"], &lb["tags"]), (&json!("edge"), &json!({ "team": "web" })));
}

#[test]
fn what_is_there_is_changed_and_removed() {
    let daemon = Daemon::start();
    daemon.all_done(EDGE);
    daemon.all_done(&[
        "load-balancer set-attributes edge load_balancing.cross_zone.enabled=true deletion_protection.enabled=true",
        "load-balancer set-attributes edge --reset deletion_protection.enabled",
        "listener set-attributes edge/TCP:80 --reset tcp.idle_timeout.seconds",
        "listener modify edge/TCP:80 --port 81 --forward green",
        "rule create edge/81 --priority 20 --source ipv4 --forward blue",
        "rule modify edge/81 20 --forward blue=3,green=1",
        "target-group modify blue path=/ interval_seconds=10",
        "target-group modify blue --reset path",
        "target-group set-attributes blue deregistration_delay.timeout_seconds=20",
        "targets deregister blue 198.19.1.3:8081",
    ]);
    let lb = daemon.lbctl("lb show edge -o json").json();
    assert_eq!(lb["attributes"], json!({ "load_balancing.cross_zone.enabled": "true" }));
    let listener = &lb["listeners"][0];
    assert_eq!((&listener["port"], &listener["attributes"]), (&json!(81), &json!({})));
    assert_eq!(listener["forward"]["target_groups"], json!([{ "name": "green", "weight": 1 }]));
    assert_eq!(listener["rules"][1]["forward"]["target_groups"][0], json!({ "name": "blue", "weight": 3 }));
    let group = daemon.lbctl("tg show blue -o json").json();
    assert_eq!(group["health_check"], json!({ "protocol": "HTTP", "interval_seconds": 10 }));
    assert_eq!(group["attributes"], json!({ "deregistration_delay.timeout_seconds": "20" }));
    assert_eq!(group["targets"].as_array().unwrap().len(), 1);

    daemon.all_done(&[
        "rule delete edge/81 20",
        "rule delete edge/81 10",
        "load-balancer set-ip-address-type edge ipv4",
        "load-balancer set-addresses edge --pool subnet-a",
        "listener delete edge/81",
        "target-group delete blue",
        "load-balancer delete edge",
    ]);
    assert_eq!(daemon.lbctl("lb list -o json").json(), json!([]));
}

#[test]
fn rules_change_places_at_once() {
    let daemon = Daemon::start();
    daemon.all_done(EDGE);
    daemon.all_done(&[
        "rule create edge/80 --priority 20 --source ipv4 --forward blue",
        "rule set-priorities edge/80 10=20 20=10",
    ]);
    let rules = daemon.lbctl("rule list edge/80 -o json").json();
    let rows: Vec<_> =
        rules.as_array().unwrap().iter().map(|row| (&row["priority"], &row["source"])).collect();
    assert_eq!(rows, [(&json!(10), &json!("ipv4")), (&json!(20), &json!("ipv6"))]);
}

#[test]
fn tags_are_set_listed_and_removed() {
    let daemon = Daemon::start();
    daemon.all_done(EDGE);
    for resource in ["load-balancer/edge", "listener/edge/TCP:80", "rule/edge/TCP:80/10", "target-group/blue"]
    {
        daemon.all_done(&[
            &format!("tag set {resource} stage=test owner=me"),
            &format!("tag remove {resource} owner none"),
        ]);
        let tags = daemon.lbctl(&format!("tag list {resource} -o json")).json();
        assert_eq!((&tags["stage"], tags.get("owner")), (&json!("test"), None), "{resource}");
    }
    assert_eq!(words(&daemon.lbctl("tag list tg/green").done()), "no tags");
}

#[test]
fn refusals_say_why_and_what_there_is() {
    let daemon = Daemon::start();
    daemon.all_done(EDGE);
    let before = daemon.generation();
    for (line, said) in [
        ("lb show egde", "there is no load balancer \"egde\"; there are: edge"),
        ("tg show bleu", "there is no target group \"bleu\"; there are: blue, "),
        ("listener show edge/443", "load balancer \"edge\" has no listener 443; it has: TCP:80"),
        ("listener delete edge/UDP:80", "has no listener UDP:80"),
        (
            "listener create edge TCP:81 --forward bleu",
            "there is no target group \"bleu\"; there are: blue, ",
        ),
        ("rule delete edge/80 11", "no rule of priority"),
        ("tag list rule/edge/80/11", "listener edge/80 has no rule of priority 11"),
        ("target-group delete blue", "currently in use by listener TCP:80"),
        ("load-balancer create edge --address 198.18.100.99", "exists already, with other settings"),
        ("lb set-attributes edge load_balancing.crosszone.enabled=true", "load_balancing.cross_zone.enabled"),
        ("lb create other --pool subnet-c", "the address pools are: subnet-a, subnet-b"),
    ] {
        let error = daemon.lbctl(line).failed(1);
        assert!(error.contains(said), "{line}: {error}");
    }
    for (line, said) in [
        ("listener create edge TCP:81", "say where new flows go: --forward GROUP"),
        ("listener modify edge/80", "say what changes"),
        ("listener show edge", "expected LOAD-BALANCER/PROTOCOL:PORT"),
        ("lb create other", "--address <ADDRESS[=ZONE]>"),
        (
            "rule create edge/80 --priority 0 --source ipv4 --forward blue",
            "expected a priority from 1 to 50000",
        ),
        ("rule create edge/80 --priority 9 --source v6 --forward blue", "[possible values: ipv4, ipv6]"),
        ("lb set-attributes edge key", "expected KEY=VALUE"),
        ("tag list blue", "expected load-balancer/NAME"),
        ("lb delete edge --watch", "--watch is for verbs that show something"),
    ] {
        let error = daemon.lbctl(line).failed(2);
        assert!(error.contains(said), "{line}: {error}");
    }
    assert_eq!(daemon.generation(), before);
}

#[test]
fn a_change_can_depend_on_the_generation() {
    let daemon = Daemon::start();
    let generation = daemon.generation();
    daemon.lbctl(&format!("tg create web --protocol TCP --port 80 --if-generation {generation}")).done();
    let error = daemon.lbctl(&format!("tg delete web --if-generation {generation}")).failed(3);
    assert!(error.contains(&format!("generation {}", generation + 1)), "{error}");
    let error =
        daemon.lbctl(&format!("targets register web 198.19.1.2 --if-generation {generation}")).failed(3);
    assert!(error.contains("generation"), "{error}");
    daemon.lbctl("tg show web").done();
}

/// A text with one space between words.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn where_nothing_changes_nothing_is_said_to_have_changed() {
    let daemon = Daemon::start();
    daemon.all_done(EDGE);
    daemon.all_done(&["lb create given --address 198.18.200.1"]);
    let nothing = format!("nothing to change: generation {}\n", daemon.generation());
    for line in [
        "tag remove lb/edge nosuch",
        "tg modify blue path=/health",
        "listener modify edge/TCP:80 --port 80",
        "lb set-ip-address-type edge dualstack",
        "targets register blue 198.19.1.2 --weight 2",
    ] {
        assert_eq!(daemon.lbctl(line).done(), nothing, "{line}");
    }
    let absent = daemon.lbctl("targets deregister blue 198.19.1.9").done();
    assert_eq!(absent, format!("198.19.1.9 was not registered\n{nothing}"));
    let one_of_two = daemon.lbctl("targets deregister blue 198.19.1.9 198.19.1.2").done();
    assert!(one_of_two.contains("198.19.1.9 was not registered\n1 target deregistered"), "{one_of_two}");
    let error = daemon.lbctl("lb set-ip-address-type given dualstack").failed(1);
    assert!(error.contains("of an address pool"), "{error}");
}

#[test]
fn keys_that_nobody_knows_cannot_be_reset() {
    let daemon = Daemon::start();
    daemon.all_done(EDGE);
    for (line, nearest) in [
        ("lb set-attributes edge --reset deletion_protection.enable", "deletion_protection.enabled"),
        ("listener set-attributes edge/80 --reset tcp.idle_timeout", "tcp.idle_timeout.seconds"),
        ("tg set-attributes blue --reset stickiness.enable", "stickiness.enabled"),
        ("tg modify blue --reset patch", "path"),
    ] {
        let error = daemon.lbctl(line).failed(1);
        assert!(error.contains(&format!("the nearest one is {nearest:?}")), "{error}");
    }
}

#[test]
fn flows_of_a_worker_that_is_not_there_are_not_counted_as_none() {
    let error = Daemon::start().lbctl("flows --worker 7").failed(1);
    assert!(error.contains("there is no worker 7"), "{error}");
}
