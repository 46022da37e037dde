//! The short ways of the packet path do exactly what the long ones do: the same packets, once such as they take and once with IP
//! options, come to the same verdicts, bytes, counters and flows, whatever clients, targets and the control thread do.
//!
//! `PROPTEST_CASES=10000 SHORT_WAYS_ROUNDS=1000 cargo test --release -p lb-core --test short_ways` looks at more than the suite does.

#[path = "../generate/mod.rs"]
mod generate;
mod script;
#[path = "../support/mod.rs"]
mod support;
mod twins;

use std::collections::BTreeSet;

use lb_core::{
    datapath::Settings, flow_key::FlowKey, flow_table::FlowArena, hash::FlowHash, tables::NextHop,
    verdict::Reason,
};
use proptest::{prelude::*, sample::select, strategy::ValueTree, test_runner::TestRunner};

use generate::{
    detour::assert_same_events,
    fleet::{Arriving, Fleet},
    random::Random,
    traffic::{Manners, Traffic},
    world::World,
};
use script::{SECOND_PORT, Stage, Step, steps};
use support::{
    CLIENT, CLIENT_MAC, CLIENT6, Crafted, Family, OUTSIDE, SYN, Scene, VIP, settings, sources, tcp, udp,
};
use twins::Twins;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn clients_that_targets_see(settings in some_settings(), capacity in capacities(), steps in steps()) {
        play((Scene::default(), Family::V4), &settings, capacity, &steps);
    }

    #[test]
    fn siblings(settings in some_settings(), capacity in capacities(), targets in 1..4u8, steps in steps()) {
        let scene = Scene { second_port: Some(SECOND_PORT), sources: sources(1_024..=1_039), ..Scene::default() };
        play((scene.with_targets(targets), Family::V4), &settings, capacity, &steps);
    }

    #[test]
    fn clients_that_targets_do_not_see(settings in some_settings(), capacity in capacities(), few: bool, steps in steps()) {
        let ports = if few { 1_024..=1_027 } else { 1_024..=65_535 };
        let scene = Scene { sources: sources(ports), ..Scene::full_nat(Family::V4) };
        play((scene, Family::V4), &settings, capacity, &steps);
    }

    #[test]
    fn both_families(settings in some_settings(), capacity in capacities(), (family, targets) in families(), steps in steps()) {
        play((Scene::dual_stack(targets), family), &settings, capacity, &steps);
    }

    #[test]
    fn both_families_that_targets_do_not_see(settings in some_settings(), capacity in capacities(), (family, targets) in families(), steps in steps()) {
        play((Scene::full_nat(targets), family), &settings, capacity, &steps);
    }

    #[test]
    fn adopted_strays(settings in some_settings(), capacity in capacities(), family in family(), steps in steps()) {
        let hop = NextHop { interface: OUTSIDE, mac: CLIENT_MAC };
        let hops = vec![(CLIENT.into(), hop), (CLIENT6.into(), hop)];
        play((Scene { adopts_strays: true, hops, ..Scene::dual_stack(family) }, family), &settings, capacity, &steps);
    }

    #[test]
    fn syn_cookies(settings in some_settings(), capacity in capacities(), preserves_client_ip: bool, family in family(), steps in steps()) {
        let scene = Scene { has_syn_cookies: true, preserves_client_ip, ..Scene::full_nat(family) };
        play((scene, family), &settings, capacity, &steps);
    }
}

/// The scripts are worth playing.
#[test]
fn scripts_lead_to_every_verdict_about_whole_packets() {
    let mut runner = TestRunner::deterministic();
    let mut met = BTreeSet::new();
    let scripts = (some_settings(), capacities(), steps());
    let few_sources = Scene { sources: sources(1_024..=1_027), ..Scene::full_nat(Family::V4) };
    for scene in [
        Scene { second_port: Some(SECOND_PORT), ..Scene::default().with_targets(1) },
        Scene { has_syn_cookies: true, ..few_sources.clone() },
        Scene { adopts_strays: true, ..Scene::default() },
        few_sources,
    ] {
        for _ in 0..SCRIPTS {
            let (settings, capacity, steps) = scripts.new_tree(&mut runner).unwrap().current();
            met.extend(play((scene.clone(), Family::V4), &settings, capacity, &steps));
        }
    }
    let missed: Vec<_> = EXPECTED.iter().filter(|reason| !met.contains(reason)).collect();
    assert!(missed.is_empty(), "no script led to {missed:?}");
}

/// All that `hostile` sends, to listeners of all kinds.
#[test]
fn whatever_anybody_sends() {
    let rounds = std::env::var("SHORT_WAYS_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    for round in 0..rounds {
        let mut random = Random::seeded(0x5407_1e57 ^ round << 24);
        let mut world = World::default();
        let arenas =
            || (0..1 + round % 3).map(|_| FlowArena::new([192, 16, 500][round as usize / 3 % 3])).collect();
        let (mut arenas, mut detour_arenas): (Vec<FlowArena>, Vec<FlowArena>) = (arenas(), arenas());
        let mut fleet = Fleet::new(&mut arenas, &world.tables());
        let mut detours = Fleet::new(&mut detour_arenas, &world.tables()).by_detours();
        let mut traffic = Traffic::new(MANNERS);
        let mut now_ms = 0;
        for _ in 0..BURSTS {
            now_ms += random.below(40) as u64 * if random.one_in(100) { 5_000 } else { 1 };
            if random.one_in(60) {
                world.change(&mut random);
                fleet.install(&world.tables());
                detours.install(&world.tables());
            }
            let burst: Vec<_> = (0..1 + random.below(48)).flat_map(|_| traffic.next(&mut random)).collect();
            let by_detours = detours.process(burst.clone(), now_ms, &mut random.clone());
            let events = fleet.process(burst, now_ms, &mut random);
            assert_same_events(&events, &by_detours);
            traffic.deliver(&events);
        }
        detours.audit();
    }
}

/// A new flow that finds no place in the index, after a half-open one had to go for it, costs no other its place.
#[test]
fn a_flow_without_a_place_in_the_index() {
    let mut twins = Twins::new(16, &settings(), &Scene::default());
    let mut send = |packet: Crafted| {
        let frame = Arriving { bytes: packet.payload(&[0; 16]).bytes(), ingress: OUTSIDE };
        twins.process(0, &[frame], 0)[0].verdict.reason
    };
    for port in [1, 2] {
        assert_eq!(send(tcp((CLIENT, port), (VIP, 80), SYN)), Reason::FlowNew);
    }
    let reasons = ports_of_one_bucket(17, 53).take(11).map(|port| send(udp((CLIENT, port), (VIP, 53))));
    assert_eq!(reasons.last(), Some(Reason::Stateless));
    for port in ports_of_one_bucket(6, 80).take(3) {
        assert_eq!(send(tcp((CLIENT, port), (VIP, 80), SYN)), Reason::Stateless);
    }
}

/// Ports of a client whose packets to a listener can be in the first bucket alone, of the seven that a table for 16 flows has.
fn ports_of_one_bucket(protocol: u8, listener: u16) -> impl Iterator<Item = u16> {
    let hash = FlowHash::new(&settings().flow_hash_key);
    (1_000..u16::MAX).filter(move |port| {
        let client = (CLIENT.into(), port.to_be_bytes());
        let key = FlowKey::new(client, (VIP.into(), listener.to_be_bytes()), protocol).unwrap();
        let hash = hash.flow(&key);
        [(hash >> 32) as u32, hash as u32].iter().all(|&half| half < u32::MAX / 7)
    })
}

/// Half as many cases as usual, for they are long.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.div_ceil(2), failure_persistence: None, ..usual }
}

/// Most clients are of this family.
fn play(
    (scene, family): (Scene, Family),
    settings: &Settings,
    capacity: u32,
    steps: &[Step],
) -> BTreeSet<Reason> {
    let scene = Scene { mtus: [1_496; 2], ..scene };
    let twins = Twins::new(capacity, settings, &scene);
    let mut stage = Stage::new(twins, scene, family);
    for step in steps {
        stage.play(step);
    }
    stage.twins.reasons().collect()
}

fn some_settings() -> impl Strategy<Value = Settings> {
    (select(vec![1, 1, 2, 3]), select(vec![None, Some(6)])).prop_map(|(workers, ports_per_client)| Settings {
        workers,
        ports_per_client,
        ..settings()
    })
}

fn family() -> impl Strategy<Value = Family> {
    select(vec![Family::V4, Family::V6])
}

/// Of clients and of targets.
fn families() -> impl Strategy<Value = (Family, Family)> {
    (family(), family())
}

/// Of each worker's table: often so few that it is full.
fn capacities() -> impl Strategy<Value = u32> {
    select(vec![8, 16, 24, 64, 256])
}

const MANNERS: Manners = Manners { damaged: 32, spoiled: 24, odd: 16, disorderly: 2, noise: 64 };
const ROUNDS: u64 = 9;
const BURSTS: usize = 300;
const SCRIPTS: usize = 40;
const EXPECTED: [Reason; 31] = [
    Reason::FlowHit,
    Reason::FlowNew,
    Reason::FlowAdopted,
    Reason::Stateless,
    Reason::CutUp,
    Reason::ResetNoFlow,
    Reason::ResetOtherSide,
    Reason::ResetTerminated,
    Reason::ResetNoTarget,
    Reason::SynCookie,
    Reason::SynToTarget,
    Reason::AckToTarget,
    Reason::WindowToClient,
    Reason::RefusedByTarget,
    Reason::TimeExceeded,
    Reason::TooBig,
    Reason::HandedOver,
    Reason::OwnSource,
    Reason::TtlExpired,
    Reason::TcpChecksum,
    Reason::NoListener,
    Reason::NoTarget,
    Reason::NoFlow,
    Reason::Terminated,
    Reason::TupleCollision,
    Reason::NoSourcePort,
    Reason::ClientPorts,
    Reason::NoSource,
    Reason::FlowTableFull,
    Reason::Connecting,
    Reason::NextHopUnresolved,
];
