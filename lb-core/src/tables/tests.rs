//! Which changes of tables concern flows made before.

use super::*;

/// A TCP listener that forwards to two groups with a target each.
fn parts(generation: u32) -> TablesParts {
    let group = |group: u16| WeightedGroup {
        group: TargetGroupId(group),
        pool: 0,
        weight: 1,
        salt: u64::from(group),
        flow_policy: FlowPolicy::Keep,
    };
    let listener = Listener {
        name: "edge/TCP:80".into(),
        endpoint: Endpoint { address: [198, 18, 100, 1].into(), port: 80, protocol: Protocol::Tcp },
        forward: Forward { groups: [group(0), group(1)].into(), is_sticky: false },
        idle_timeout_s: 350,
        interface: InterfaceId(0),
        sources: Sources::none(),
        adopts_strays: false,
        has_syn_cookies: false,
    };
    TablesParts {
        generation,
        listeners: vec![Some(listener)],
        groups: vec![pool_of(&[0]), pool_of(&[1])],
        targets: vec![Some(target(0)), Some(target(1))],
        interfaces: vec![Interface {
            name: "eth0".into(),
            mac: Mac::default(),
            mtu: 1_500,
            receive_hash: None,
        }],
        ..TablesParts::default()
    }
}

fn target(id: u8) -> Target {
    Target {
        group: TargetGroupId(u16::from(id % 2)),
        address: [198, 19, id, 2].into(),
        port: 80,
        protocols: &[Protocol::Tcp],
        next_hop: Some(NextHop { interface: InterfaceId(0), mac: Mac([id; 6]) }),
        flow_policy: FlowPolicy::Keep,
    }
}

fn pool_of(targets: &[u8]) -> TargetGroup {
    let candidate = |id: &u8| crate::maglev::Candidate { address: target(*id).address, port: 80, weight: 1 };
    let candidates: Vec<_> = targets.iter().map(candidate).collect();
    let eligible = targets.iter().map(|id| TargetId(u32::from(*id))).collect();
    TargetGroup::of_one_pool("web", true, Pool::new(eligible, Maglev::build(&candidates, 251).into()))
}

fn listener(parts: &mut TablesParts) -> &mut Listener {
    parts.listeners[0].as_mut().unwrap()
}

fn first(parts: &mut TablesParts) -> &mut Target {
    parts.targets[0].as_mut().unwrap()
}

/// A change, with what it is.
struct Change(&'static str, fn(&mut TablesParts));

impl Change {
    /// Whether it gives the tables another epoch.
    fn is_concerning(&self) -> bool {
        let before = Tables::new(parts(1)).unwrap();
        let mut parts = parts(2);
        self.1(&mut parts);
        Tables::succeeding(&before, parts).unwrap().epoch() != before.epoch()
    }
}

#[test]
fn what_concerns_new_flows_alone_keeps_the_epoch() {
    let changes = [
        Change("nothing", |_| {}),
        Change("a target more", |parts| parts.targets.push(Some(target(2)))),
        Change("a listener more", |parts| parts.listeners.push(None)),
        Change("nobody eligible", |parts| parts.groups[0] = pool_of(&[])),
        Change("other weights", |parts| listener(parts).forward.groups[0].weight = 9),
        Change("another group", |parts| listener(parts).forward = Forward::to(TargetGroupId(1))),
        Change("stickiness", |parts| listener(parts).forward.is_sticky = true),
        Change("strays adopted", |parts| listener(parts).adopts_strays = true),
    ];
    for change in changes {
        assert!(!change.is_concerning(), "{}", change.0);
    }
}

#[test]
fn what_concerns_flows_made_before_changes_the_epoch() {
    let changes = [
        Change("an idle timeout", |parts| listener(parts).idle_timeout_s = 60),
        Change("a listener gone", |parts| parts.listeners[0] = None),
        Change("a listener closing", |parts| listener(parts).forward = Forward::closing()),
        Change("a group cut", |parts| {
            listener(parts).forward.groups[1].flow_policy = FlowPolicy::Cut(CutCause::WeightZero);
        }),
        Change("a target cut", |parts| first(parts).flow_policy = FlowPolicy::Cut(CutCause::Unused)),
        Change("another way", |parts| first(parts).next_hop = target(7).next_hop),
        Change("a target gone", |parts| {
            parts.targets[1] = None;
            parts.groups[1] = pool_of(&[]);
        }),
    ];
    for change in changes {
        assert!(change.is_concerning(), "{}", change.0);
    }
}

#[test]
fn only_the_first_way_to_a_target_concerns_no_flow() {
    let mut tables =
        Tables::new(TablesParts { targets: vec![Some(target(0)), Some(target(1)), None], ..parts(1) })
            .unwrap();
    let ways = [None, Some(3), None, Some(3), Some(4)];
    let mut epochs = Vec::new();
    for (generation, way) in (2..).zip(ways) {
        let mut parts = parts(generation);
        let next_hop = way.and_then(|mac| target(mac).next_hop);
        parts.targets.push(Some(Target { next_hop, ..target(2) }));
        tables = Tables::succeeding(&tables, parts).unwrap();
        epochs.push(tables.epoch());
    }
    assert_eq!(epochs, [1, 1, 4, 5, 6], "a flow may still go the way that was lost");
}
