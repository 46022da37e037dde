//! Which target a listener's new flow goes to: the groups of its forward action by weight, the pool of its zone, and what sticks to the
//! client's address.

mod support;

use std::{net::IpAddr, sync::Arc};

use lb_core::{
    counters::WorkerCounters,
    datapath::Datapath,
    flow_key::FlowKey,
    flow_table::FlowArena,
    maglev::{Candidate, Maglev},
    select,
    tables::*,
    verdict::Reason,
};
use support::*;

const SECRET: [u8; 16] = [7; 16];
const FLOWS: u32 = 20_000;

/// Two listeners on ports 80 and 81 with the same forward action, to groups blue (targets 1 to 3) and green (4 to 6). Targets 1, 2, 4
/// and 5 are in zone 0, the others in zone 1.
#[derive(Clone)]
struct Front {
    generation: u32,
    weights: [u16; 2],
    is_forward_sticky: bool,
    are_groups_sticky: bool,
    /// The zone that port 80 and port 81 are in; `None`: one pool for all.
    zones: Option<[u8; 2]>,
    is_failing_open: bool,
    /// What flows to green get.
    green: FlowPolicy,
    /// Targets that get no new flows.
    unfit: &'static [u8],
}

impl Default for Front {
    fn default() -> Front {
        Front {
            generation: 1,
            weights: [1, 0],
            is_forward_sticky: false,
            are_groups_sticky: false,
            zones: None,
            is_failing_open: false,
            green: FlowPolicy::Keep,
            unfit: &[],
        }
    }
}

impl Front {
    fn parts(&self) -> TablesParts {
        let interface =
            |name: &str, mac| Interface { name: name.into(), mac, mtu: 1_500, receive_hash: None };
        let mut targets = vec![None; 7];
        for n in 1..=6 {
            targets[usize::from(n)] = Some(Target {
                group: TargetGroupId(u16::from(n > 3)),
                address: target(n).into(),
                port: 8080,
                protocols: &[Protocol::Tcp],
                next_hop: Some(NextHop { interface: INSIDE, mac: target_mac(n) }),
                flow_policy: FlowPolicy::Keep,
            });
        }
        TablesParts {
            generation: self.generation,
            listeners: vec![Some(self.listener(0)), Some(self.listener(1))],
            groups: vec![self.group("blue", [1, 2, 3]), self.group("green", [4, 5, 6])],
            targets,
            interfaces: vec![interface("outside", OUTSIDE_MAC), interface("inside", INSIDE_MAC)],
            vips: vec![Vip { address: VIP.into(), ownership: Ownership::Exclusive }],
            sources: Vec::new(),
            host_addresses: Vec::new(),
            hops: Vec::new(),
        }
    }

    fn listener(&self, at: u16) -> Listener {
        let row = |group: u16| WeightedGroup {
            group: TargetGroupId(group),
            pool: self.zones.map_or(0, |zones| zones[usize::from(at)]),
            weight: self.weights[usize::from(group)],
            salt: u64::from(group) + 1,
            flow_policy: if group == 1 { self.green } else { FlowPolicy::Keep },
        };
        Listener {
            name: "edge".into(),
            endpoint: Endpoint { address: VIP.into(), port: 80 + at, protocol: Protocol::Tcp },
            forward: Forward { groups: [row(0), row(1)].into(), is_sticky: self.is_forward_sticky },
            idle_timeout_s: 350,
            interface: OUTSIDE,
            sources: Sources::none(),
            adopts_strays: false,
            has_syn_cookies: false,
        }
    }

    fn group(&self, name: &str, members: [u8; 3]) -> TargetGroup {
        let pool = |members: &[u8]| {
            let fit: Vec<u8> = members.iter().copied().filter(|n| !self.unfit.contains(n)).collect();
            let candidate = |&n: &u8| Candidate { address: target(n).into(), port: 8080, weight: 1 };
            let candidates: Vec<Candidate> = fit.iter().map(candidate).collect();
            let eligible = fit.iter().map(|n| TargetId(u32::from(*n))).collect();
            let pool = Pool::new(eligible, Maglev::with_default_slots(&candidates).into());
            Pool { is_failing_open: self.is_failing_open, ..pool }
        };
        let pools = match self.zones {
            None => [pool(&members)].into(),
            Some(_) => [pool(&members[..2]), pool(&members[2..])].into(),
        };
        TargetGroup {
            name: name.into(),
            preserves_client_ip: true,
            is_sticky: self.are_groups_sticky,
            proxy_header: None,
            pools,
        }
    }

    fn tables(&self) -> Arc<Tables> {
        Tables::new(self.parts()).unwrap().into()
    }

    /// The target that each of many clients' flows to a listener gets.
    fn choices(&self, listener: u16) -> Vec<u8> {
        let tables = self.tables();
        let choose = |flow| {
            let (client, port) = client(flow);
            let vip = (VIP.into(), (80 + listener).to_be_bytes());
            let key = FlowKey::new((client, port.to_be_bytes()), vip, Protocol::Tcp as u8).unwrap();
            select::select(&tables, ListenerId(listener), &SECRET, &key).map_or(0, |id| id.0 as u8)
        };
        (0..FLOWS).map(choose).collect()
    }

    fn path(&self) -> Datapath<'static> {
        let arena = Box::leak(Box::new(FlowArena::new(8_192)));
        Datapath::new(settings(), arena.memory(), self.tables(), Arc::new(WorkerCounters::new()))
    }
}

/// Of each address, ten flows.
fn client(flow: u32) -> (IpAddr, u16) {
    let n = flow / 10;
    ([198, 18, (n >> 8) as u8, n as u8].into(), 1_024 + (flow % 10) as u16 * 7)
}

fn count(choices: &[u8], members: std::ops::RangeInclusive<u8>) -> u32 {
    choices.iter().filter(|n| members.contains(n)).count() as u32
}

/// How many flows have another target, or group, in one list than in another.
fn moved<T: PartialEq>(before: &[u8], after: &[u8], name: impl Fn(u8) -> T) -> u32 {
    before.iter().zip(after).filter(|(one, other)| name(**one) != name(**other)).count() as u32
}

fn is_green(n: u8) -> bool {
    n > 3
}

#[test]
fn groups_share_new_flows_by_weight() {
    for (weights, percent) in
        [([1, 0], 0), ([0, 7], 100), ([1, 1], 50), ([9, 1], 10), ([999, 1], 0), ([100, 300], 75)]
    {
        let choices = Front { weights, ..Front::default() }.choices(0);
        let share = count(&choices, 4..=6) * 100 / FLOWS;
        assert!(share.abs_diff(percent) <= 1, "{weights:?}: {share} % are green");
        assert!(!choices.contains(&0));
        if percent == 0 || percent == 100 {
            let others = if percent == 0 { 1..=3 } else { 4..=6 };
            assert!(weights.contains(&999) || count(&choices, others) == FLOWS, "{weights:?}");
        }
    }
}

/// By its short way (the first listener) and its long one (the second, which has to leave targets to the first).
#[test]
fn the_packet_path_chooses_what_select_names() {
    for (is_forward_sticky, are_groups_sticky) in [(false, false), (true, false), (false, true)] {
        let front = Front { weights: [2, 1], is_forward_sticky, are_groups_sticky, ..Front::default() };
        for listener in [0, 1] {
            let mut path = front.path();
            for (flow, named) in (0..300).zip(front.choices(listener)) {
                let syn = tcp(client(flow), (VIP, 80 + listener), SYN);
                assert_eq!(number_of(OpenFlow::open(&mut path, &syn, 0).target), named);
            }
        }
    }
}

#[test]
fn no_group_with_a_weight_is_no_target() {
    assert_eq!(count(&Front { weights: [0, 0], ..Front::default() }.choices(0), 0..=0), FLOWS);
}

/// So a shift of traffic from one group to another moves it one way only.
#[test]
fn other_weights_move_no_more_flows_than_they_must() {
    let choices = |weights| Front { weights, ..Front::default() }.choices(0);
    let (before, after) = (choices([90, 10]), choices([60, 40]));
    let to_blue =
        before.iter().zip(&after).filter(|(one, other)| is_green(**one) && !is_green(**other)).count();
    assert_eq!(to_blue, 0);
    assert!(moved(&before, &after, is_green).abs_diff(FLOWS * 30 / 100) < FLOWS / 50);
    assert_eq!(choices([6, 4]), after, "only the proportion counts");
}

#[test]
fn a_sticky_action_sends_a_client_to_one_group_and_spreads_it_over_its_targets() {
    let front = Front { weights: [3, 1], is_forward_sticky: true, ..Front::default() };
    let choices = front.choices(0);
    assert!(
        choices.chunks(10).all(|of_client| of_client.iter().all(|n| is_green(*n) == is_green(of_client[0])))
    );
    assert!(choices.chunks(10).any(|of_client| of_client.iter().any(|n| *n != of_client[0])));
    assert!((count(&choices, 4..=6) * 100 / FLOWS).abs_diff(25) <= 3);
    assert_eq!(moved(&choices, &front.choices(1), is_green), 0, "by any listener");
}

#[test]
fn a_sticky_group_sends_a_client_to_one_target_whatever_the_port_and_listener() {
    let front = Front { are_groups_sticky: true, ..Front::default() };
    let choices = front.choices(0);
    assert!(choices.chunks(10).all(|of_client| of_client.iter().all(|n| *n == of_client[0])));
    assert!((1..=3).all(|n| (count(&choices, n..=n) * 100 / FLOWS).abs_diff(33) <= 4));
    assert_eq!(front.choices(1), choices);
    let without = Front { unfit: &[2], ..front }.choices(0);
    let others = moved(&choices, &without, |n| if n == 2 { 0 } else { n }) - count(&choices, 2..=2);
    assert!(others <= FLOWS / 100, "{others} flows of other targets moved");
}

#[test]
fn a_listener_uses_the_targets_of_its_zone_alone() {
    let front = Front { weights: [1, 1], zones: Some([0, 1]), ..Front::default() };
    let (first, second) = (front.choices(0), front.choices(1));
    assert_eq!(count(&first, 3..=3) + count(&first, 6..=6), 0);
    assert_eq!(count(&second, 3..=3) + count(&second, 6..=6), FLOWS);
    let empty = Front { unfit: &[3, 6], ..front }.choices(1);
    assert_eq!(count(&empty, 0..=0), FLOWS, "other zones' targets do not help out");
}

#[test]
fn flows_made_while_a_group_fails_open_are_counted() {
    for (is_failing_open, counted) in [(true, 1), (false, 0)] {
        let mut path = Front { is_failing_open, ..Front::default() }.path();
        let flow = OpenFlow::open(&mut path, &tcp((CLIENT, 999), (VIP, 80), SYN), 0);
        let n = usize::from(number_of(flow.target));
        let counters = path.counters();
        for traffic in [&counters.listeners[0], &counters.targets[n]] {
            assert_eq!((traffic.unhealthy_routing_flows.value(), traffic.new_flows.value()), (counted, 1));
        }
    }
}

#[test]
fn a_listener_that_gives_a_group_no_weight_any_more_can_have_its_flows_cut() {
    let front = Front { weights: [0, 1], ..Front::default() };
    let mut path = front.path();
    let flow = OpenFlow::open(&mut path, &tcp((CLIENT, 999), (VIP, 80), SYN), 0);
    path.install(Front { generation: 2, weights: [1, 0], ..front.clone() }.tables());
    let (verdict, _) = through(&mut path, &flow.request(SYN), 1);
    assert_eq!(verdict.reason, Reason::FlowHit, "not yet");
    let green = FlowPolicy::Cut(CutCause::WeightZero);
    path.install(Front { generation: 3, weights: [1, 0], green, ..front }.tables());
    let (verdict, _) = through(&mut path, &flow.request(ACK), 2);
    assert_eq!(verdict.reason, Reason::ResetTerminated);
    assert_eq!(path.counters().cut[CutCause::WeightZero as usize].value(), 1);
    let again = OpenFlow::open(&mut path, &tcp((CLIENT, 999), (VIP, 80), SYN), 3);
    assert!(!is_green(number_of(again.target)));
}

/// Its VIP may be gone with it: both sides are to know before nobody answers there any more.
#[test]
fn a_listener_that_is_gone_has_its_flows_reset_and_gets_no_new_ones() {
    let mut path = Front::default().path();
    let syn = |port| tcp((CLIENT, port), (VIP, 80), SYN);
    let flow = OpenFlow::connect(&mut path, (CLIENT, 999).into(), (VIP, 80).into(), 0);
    let mut parts = Front { generation: 2, ..Front::default() }.parts();
    parts.listeners[0] =
        parts.listeners[0].take().map(|listener| Listener { forward: Forward::closing(), ..listener });
    path.install(Tables::new(parts).unwrap().into());
    let (verdict, out) = through(&mut path, &syn(1_000), 1);
    assert_eq!((verdict.reason, out), (Reason::NoListener, None), "in silence");
    let (verdict, _) = through(&mut path, &flow.request(ACK), 1);
    assert_eq!(verdict.reason, Reason::ResetTerminated);
    let other_side: Vec<Reason> = take_extras(&mut path).iter().map(|made| made.0.reason).collect();
    assert_eq!(other_side, [Reason::ResetOtherSide]);
    assert_eq!(path.counters().cut[CutCause::ListenerGone as usize].value(), 1);
    let (verdict, _) = through(&mut path, &syn(999), 2);
    assert_eq!(verdict.reason, Reason::NoListener, "a SYN on its ports, too");
}

/// A sticky group has one target for a client: where its port is taken there, the flow gets another source, not another target.
#[test]
fn the_same_ports_by_two_listeners_of_a_sticky_group_do_not_leave_its_target() {
    let mut path = Front { are_groups_sticky: true, ..Front::default() }.path();
    let from = (CLIENT, 999);
    OpenFlow::open(&mut path, &tcp(from, (VIP, 80), SYN), 0);
    let (verdict, _) = through(&mut path, &tcp(from, (VIP, 81), SYN), 0);
    assert_eq!(verdict.reason, Reason::TupleCollision, "there is no source in this scene");
}
