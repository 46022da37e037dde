//! Changes against a host with two address pools and nothing else.

use super::*;

const HOST: &str = r#"
interfaces = ["eth0", "eth1"]

[[address_pools]]
name = "subnet-a"
zone = "a"
addresses = ["198.18.100.0/29", "2001:db8:100::10-2001:db8:100::1f"]

[[address_pools]]
name = "subnet-b"
zone = "b"
addresses = ["198.18.101.1-198.18.101.2"]

[[address_pools]]
name = "subnet-far"
addresses = ["198.18.102.1"]
interface = "eth1"
"#;

struct Bench {
    host: Document,
    draft: Draft,
}

impl Bench {
    fn new() -> Bench {
        let host = Document::parse(HOST, "lbd.toml").unwrap();
        let draft = Draft::new(Objects::default(), host.config().unwrap(), 0);
        Bench { host, draft }
    }

    /// With a load balancer `edge` of two zones, and target groups `web` (TCP) and `dns` (UDP).
    fn furnished() -> Bench {
        let mut bench = Bench::new();
        bench.make(Change::CreateLoadBalancer(lb("edge", &["subnet-a", "subnet-b"])));
        bench.make(Change::CreateTargetGroup(group("web", Protocols::Tcp)));
        bench.make(Change::CreateTargetGroup(group("dns", Protocols::Udp)));
        bench
    }

    fn apply(&mut self, change: Change) -> Result<Option<Id>, Refusal> {
        let before = self.draft.clone();
        let context = Context { host: &self.host, now: "2026-11-23T10:00:00Z" };
        let applied =
            self.draft.apply(&change, &context).and_then(|id| self.draft.settle(&self.host).map(|()| id));
        if applied.is_err() {
            self.draft = before;
        }
        applied
    }

    fn make(&mut self, change: Change) -> Id {
        self.apply(change).unwrap().unwrap()
    }

    /// The code of a change's refusal, and the text.
    fn refused(&mut self, change: Change) -> (RefusalCode, String) {
        let refusal = self.apply(change).unwrap_err();
        (refusal.code.unwrap(), refusal.error)
    }

    fn addresses(&self, name: &str) -> Vec<String> {
        let lb = self.draft.objects().load_balancer(name).unwrap();
        lb.addresses.iter().map(|row| row.address.to_string()).collect()
    }
}

fn name(name: &str) -> Ref {
    Ref::Name(name.into())
}

fn lb(name: &str, pools: &[&str]) -> NewLoadBalancer {
    let request = |pool: &&str| AddressRequest { pool: Some(pool.to_string()), ..Default::default() };
    NewLoadBalancer {
        name: name.into(),
        scheme: Scheme::Internal,
        addresses: pools.iter().map(request).collect(),
        ip_address_type: IpAddressType::Ipv4,
        attributes: Attributes::new(),
        tags: Tags::new(),
    }
}

fn group(name: &str, protocol: Protocols) -> NewTargetGroup {
    NewTargetGroup {
        name: name.into(),
        protocol,
        port: 80,
        target_type: None,
        ip_address_type: None,
        vpc: None,
        health_check: Map::new(),
        attributes: Attributes::new(),
        tags: Tags::new(),
    }
}

fn forward(groups: &[&str]) -> ForwardRequest {
    ForwardRequest { target_groups: groups.iter().map(|group| (name(group), 1)).collect(), stickiness: false }
}

fn listener(lb: &str, protocol: Protocols, port: u16, groups: &[&str]) -> NewListener {
    NewListener {
        load_balancer: name(lb),
        protocol,
        port,
        forward: forward(groups),
        attributes: Attributes::new(),
        tags: Tags::new(),
    }
}

fn at(load_balancer: &str, port: u16) -> ListenerRef {
    ListenerRef::At { load_balancer: load_balancer.into(), port, protocol: None }
}

fn attributes(key: &str, value: Option<&str>) -> AttributeChanges {
    AttributeChanges::from([(key.into(), value.map(Into::into))])
}

#[test]
fn a_load_balancer_has_an_address_of_each_pool() {
    let mut bench = Bench::furnished();
    assert_eq!(bench.addresses("edge"), ["198.18.100.1", "198.18.101.1"]);
    bench.make(Change::CreateLoadBalancer(lb("rim", &["subnet-b", "subnet-a"])));
    assert_eq!(bench.addresses("rim"), ["198.18.101.2", "198.18.100.2"]);
    let zones = |bench: &Bench| {
        bench.draft.config().load_balancers[0].vips.iter().map(|vip| vip.zone.clone()).collect::<Vec<_>>()
    };
    assert_eq!(zones(&bench), [Some("a".into()), Some("b".into())]);

    let dualstack = NewLoadBalancer { ip_address_type: IpAddressType::Dualstack, ..lb("six", &["subnet-a"]) };
    bench.make(Change::CreateLoadBalancer(dualstack));
    assert_eq!(bench.addresses("six"), ["198.18.100.3", "2001:db8:100::10"]);
    bench.make(Change::CreateLoadBalancer(lb("far", &["subnet-far"])));
    assert_eq!(bench.draft.objects().load_balancer("far").unwrap().interface.as_deref(), Some("eth1"));
    let (code, error) = bench.refused(Change::CreateLoadBalancer(lb("more", &["subnet-b"])));
    assert_eq!(code, RefusalCode::InvalidSubnet);
    assert!(error.contains("not enough IPv4 address space available in subnet 'subnet-b'"), "{error}");
}

#[test]
fn addresses_stay_with_their_zones_when_others_come_and_go() {
    let mut bench = Bench::furnished();
    let requests = |pools: &[&str]| lb("edge", pools).addresses;
    let set = |addresses, ip_address_type| Change::SetAddresses {
        load_balancer: name("edge"),
        addresses,
        ip_address_type,
    };
    bench.make(set(requests(&["subnet-b"]), None));
    assert_eq!(bench.addresses("edge"), ["198.18.101.1"]);
    bench.make(set(requests(&["subnet-b", "subnet-a"]), None));
    assert_eq!(bench.addresses("edge"), ["198.18.101.1", "198.18.100.1"]);
    let (code, _) = bench.refused(set(requests(&["subnet-b"]), Some(IpAddressType::Dualstack)));
    assert_eq!(code, RefusalCode::InvalidSubnet);

    bench.make(set(requests(&["subnet-a"]), None));
    let change = |ip_address_type| Change::SetIpAddressType { load_balancer: name("edge"), ip_address_type };
    bench.make(change(IpAddressType::Dualstack));
    assert_eq!(bench.addresses("edge"), ["198.18.100.1", "2001:db8:100::10"]);
    bench.make(change(IpAddressType::Ipv4));
    assert_eq!(bench.addresses("edge"), ["198.18.100.1"]);
}

#[test]
fn a_certain_address_must_be_the_pools_and_free() {
    let mut bench = Bench::furnished();
    let wanting = |address: &str| {
        let mut new = lb("own", &["subnet-a"]);
        new.addresses[0].ipv4 = address.parse().ok();
        Change::CreateLoadBalancer(new)
    };
    for (address, why) in [
        ("198.18.100.1", "is in use"),
        ("198.18.101.2", "is not in the range"),
        ("2001:db8::1", "is not an IPv4"),
    ] {
        let (code, error) = bench.refused(wanting(address));
        assert_eq!(code, RefusalCode::InvalidConfigurationRequest);
        assert!(error.contains(why), "{error}");
    }
    bench.make(wanting("198.18.100.6"));
    assert_eq!(bench.addresses("own"), ["198.18.100.6"]);
}

#[test]
fn creates_with_the_same_settings_succeed_again_and_change_nothing() {
    let mut bench = Bench::furnished();
    let id = bench.make(Change::CreateListener(listener("edge", Protocols::Tcp, 80, &["web"])));
    let generation = bench.draft.generation();
    assert_eq!(bench.make(Change::CreateListener(listener("edge", Protocols::Tcp, 80, &["web"]))), id);
    bench.make(Change::CreateLoadBalancer(lb("edge", &["subnet-a", "subnet-b"])));
    bench.make(Change::CreateTargetGroup(group("web", Protocols::Tcp)));
    assert_eq!(bench.draft.generation(), generation);
    for (other, code) in [
        (Change::CreateLoadBalancer(lb("edge", &["subnet-a"])), RefusalCode::DuplicateLoadBalancerName),
        (Change::CreateTargetGroup(group("web", Protocols::TcpUdp)), RefusalCode::DuplicateTargetGroupName),
        (
            Change::CreateListener(listener("edge", Protocols::Udp, 80, &["dns"])),
            RefusalCode::DuplicateListener,
        ),
    ] {
        assert_eq!(bench.refused(other).0, code);
    }
}

#[test]
fn what_cannot_be_is_refused_by_its_name() {
    use RefusalCode::*;
    let mut bench = Bench::furnished();
    bench.make(Change::CreateListener(listener("edge", Protocols::Tcp, 80, &["web"])));
    bench.make(Change::CreateLoadBalancer(lb("rim", &["subnet-a"])));
    let listener_of =
        |lb, port, groups: &[&str]| Change::CreateListener(listener(lb, Protocols::Tcp, port, groups));
    let rule = NewRule { priority: 1, source: Family::V6, forward: forward(&["web"]), tags: Tags::new() };
    let health_check = Map::from_iter([("interval_seconds".to_owned(), Value::from(4))]);
    for (change, code) in [
        (Change::CreateLoadBalancer(lb("new", &["subnet-c"])), SubnetNotFound),
        (Change::CreateLoadBalancer(lb("new", &["subnet-a", "subnet-a"])), InvalidConfigurationRequest),
        (Change::CreateLoadBalancer(lb("new", &["subnet-a", "subnet-far"])), InvalidSubnet),
        (Change::CreateLoadBalancer(lb("internal-new", &["subnet-a"])), ValidationError),
        (Change::CreateLoadBalancer(lb("new", &[])), ValidationError),
        (Change::DeleteLoadBalancer(name("none")), LoadBalancerNotFound),
        (Change::DeleteLoadBalancer(Ref::Id(Id(7))), LoadBalancerNotFound),
        (listener_of("none", 80, &["web"]), LoadBalancerNotFound),
        (listener_of("edge", 81, &["none"]), TargetGroupNotFound),
        (listener_of("edge", 81, &["dns"]), IncompatibleProtocols),
        (listener_of("rim", 80, &["web"]), TargetGroupAssociationLimit),
        (listener_of("edge", 0, &["web"]), ValidationError),
        (listener_of("edge", 81, &[]), ValidationError),
        (Change::DeleteListener(at("edge", 81)), ListenerNotFound),
        (Change::DeleteListener(ListenerRef::Id(Id(7))), ListenerNotFound),
        (Change::CreateRule { listener: at("edge", 80), rule }, InvalidConfigurationRequest),
        (Change::DeleteRule(Id(7)), RuleNotFound),
        (Change::DeleteTargetGroup(name("web")), ResourceInUse),
        (Change::DeleteTargetGroup(name("none")), TargetGroupNotFound),
        (Change::CreateTargetGroup(group("-web", Protocols::Tcp)), ValidationError),
        (Change::ModifyTargetGroup { target_group: name("web"), health_check }, ValidationError),
        (
            Change::ModifyTargetGroupAttributes {
                target_group: name("web"),
                attributes: attributes("slow_start.duration_seconds", Some("30")),
            },
            InvalidConfigurationRequest,
        ),
        (
            Change::ModifyListener {
                listener: at("edge", 80),
                protocol: Some(Protocols::Udp),
                port: None,
                forward: None,
            },
            IncompatibleProtocols,
        ),
    ] {
        let described = change.describe();
        let (found, error) = bench.refused(change);
        assert_eq!(found, code, "{described}: {error}");
    }
}

#[test]
fn a_protected_load_balancer_stays() {
    let mut bench = Bench::furnished();
    let protect = |value| Change::ModifyLoadBalancerAttributes {
        load_balancer: name("edge"),
        attributes: attributes("deletion_protection.enabled", value),
    };
    bench.make(protect(Some("true")));
    assert_eq!(bench.refused(Change::DeleteLoadBalancer(name("edge"))).0, RefusalCode::OperationNotPermitted);
    bench.make(protect(None));
    bench.make(Change::DeleteLoadBalancer(name("edge")));
    assert!(bench.draft.config().load_balancers.is_empty());
}

#[test]
fn rules_choose_by_the_clients_family() {
    let mut bench = Bench::furnished();
    bench.make(Change::CreateTargetGroup(group("web6", Protocols::Tcp)));
    let dualstack = NewLoadBalancer { ip_address_type: IpAddressType::Dualstack, ..lb("six", &["subnet-a"]) };
    bench.make(Change::CreateLoadBalancer(dualstack));
    bench.make(Change::CreateListener(listener("six", Protocols::Tcp, 80, &["web"])));
    let rule =
        |priority| NewRule { priority, source: Family::V6, forward: forward(&["web6"]), tags: Tags::new() };
    let create = |priority| Change::CreateRule { listener: at("six", 80), rule: rule(priority) };
    let first = bench.make(create(10));
    assert_eq!(bench.refused(create(10)).0, RefusalCode::PriorityInUse);
    assert_eq!(bench.refused(create(0)).0, RefusalCode::ValidationError);
    let second = bench.make(create(20));
    let of_family = |bench: &Bench, family| {
        let config = &bench.draft.config();
        let group = config.load_balancers[1].listeners[0].forward_for(family).groups[0].group;
        config.target_groups[group].name.clone()
    };
    assert_eq!((of_family(&bench, Family::V4), of_family(&bench, Family::V6)), ("web".into(), "web6".into()));

    bench.apply(Change::SetRulePriorities(vec![(first, 20), (second, 10)])).unwrap();
    let rules = &bench.draft.objects().load_balancers[1].listeners[0].rules;
    assert_eq!(rules.iter().map(|rule| rule.id).collect::<Vec<_>>(), [second, first]);
    assert_eq!(bench.refused(Change::SetRulePriorities(vec![(first, 10)])).0, RefusalCode::PriorityInUse);
    let ipv4 = Change::SetIpAddressType { load_balancer: name("six"), ip_address_type: IpAddressType::Ipv4 };
    assert_eq!(bench.refused(ipv4.clone()).0, RefusalCode::ValidationError);
    bench.make(Change::DeleteRule(first));
    bench.make(Change::DeleteRule(second));
    bench.make(ipv4);
    assert_eq!(of_family(&bench, Family::V6), "web");
}

#[test]
fn another_kind_of_check_leaves_nothing_of_the_one_before() {
    let mut bench = Bench::furnished();
    let set = |rows: &[(&str, Value)]| Change::ModifyTargetGroup {
        target_group: name("web"),
        health_check: rows.iter().map(|(key, value)| (key.to_string(), value.clone())).collect(),
    };
    let keys = |bench: &Bench| {
        let group = bench.draft.objects().target_group("web").unwrap();
        group.health_check.keys().cloned().collect::<Vec<_>>()
    };
    bench.make(set(&[
        ("protocol", "HTTP".into()),
        ("path", "/up".into()),
        ("fast_interval_ms", 1_000.into()),
    ]));
    bench.make(set(&[("protocol", "HTTPS".into()), ("tls", serde_json::json!({}))]));
    assert_eq!(keys(&bench), ["fast_interval_ms", "path", "protocol", "tls"]);
    bench.make(set(&[("protocol", "TCP".into()), ("interval_seconds", 10.into())]));
    assert_eq!(keys(&bench), ["interval_seconds", "protocol"]);
    bench.make(set(&[("interval_seconds", Value::Null)]));
    assert_eq!(keys(&bench), ["protocol"]);
}

#[test]
fn tags_are_set_on_all_resources_or_none() {
    let mut bench = Bench::furnished();
    let resources = vec![ResourceRef::LoadBalancer(name("edge")), ResourceRef::TargetGroup(name("web"))];
    let tag = |set: &[(&str, &str)], remove: &[&str]| Change::Tag {
        resources: resources.clone(),
        set: set.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        remove: remove.iter().map(ToString::to_string).collect(),
    };
    bench.apply(tag(&[("team", "net"), ("tier", "1")], &[])).unwrap();
    bench.apply(tag(&[("tier", "2")], &["team", "unknown"])).unwrap();
    let expected = Tags::from([("tier".into(), "2".into())]);
    assert_eq!(bench.draft.objects().load_balancers[0].tags, expected);
    assert_eq!(bench.draft.objects().target_groups[0].tags, expected);
    let many: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), "")).collect();
    assert_eq!(bench.refused(tag(&many, &[])).0, RefusalCode::TooManyTags);
}

#[test]
fn load_balancers_have_a_limit() {
    let mut bench = Bench::furnished();
    let edge = bench.draft.objects.load_balancers[0].clone();
    bench.draft.objects.load_balancers = vec![edge; LOAD_BALANCERS];
    let one_more = Change::CreateLoadBalancer(lb("more", &["subnet-a"]));
    assert_eq!(bench.refused(one_more).0, RefusalCode::TooManyLoadBalancers);
}
