//! The short ways of the packet path do exactly what the long ones do: the same packets, once such as they take and once with IPv4
//! options, come to the same verdicts, bytes, counters and flows, whatever clients, targets and the control thread do.

#[path = "../generate/mod.rs"]
mod generate;
mod script;
#[path = "../support/mod.rs"]
mod support;
mod twins;

use lb_core::datapath::Settings;
use proptest::{prelude::*, sample::select};

use script::{SECOND_PORT, Stage, Step, steps};
use support::{CLIENT, CLIENT_MAC, Family, OUTSIDE, Scene, settings, sources};
use twins::Twins;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn clients_that_targets_see(settings in some_settings(), capacity in capacities(), steps in steps()) {
        play(Scene::default(), &settings, capacity, &steps);
    }

    #[test]
    fn siblings(settings in some_settings(), capacity in capacities(), targets in 1..4u8, steps in steps()) {
        let scene = Scene { second_port: Some(SECOND_PORT), sources: sources(1_024..=1_039), ..Scene::default() };
        play(scene.with_targets(targets), &settings, capacity, &steps);
    }

    #[test]
    fn clients_that_targets_do_not_see(settings in some_settings(), capacity in capacities(), few: bool, steps in steps()) {
        let ports = if few { 1_024..=1_027 } else { 1_024..=65_535 };
        play(Scene { sources: sources(ports), ..Scene::full_nat(Family::V4) }, &settings, capacity, &steps);
    }

    #[test]
    fn both_families(settings in some_settings(), capacity in capacities(), is_v4: bool, steps in steps()) {
        let family = if is_v4 { Family::V4 } else { Family::V6 };
        play(Scene::dual_stack(family), &settings, capacity, &steps);
    }

    #[test]
    fn adopted_strays(settings in some_settings(), capacity in capacities(), steps in steps()) {
        let hops = vec![(CLIENT.into(), lb_core::tables::NextHop { interface: OUTSIDE, mac: CLIENT_MAC })];
        play(Scene { adopts_strays: true, hops, ..Scene::default() }, &settings, capacity, &steps);
    }

    #[test]
    fn syn_cookies(settings in some_settings(), capacity in capacities(), preserves_client_ip: bool, steps in steps()) {
        let scene = Scene { has_syn_cookies: true, preserves_client_ip, ..Scene::full_nat(Family::V4) };
        play(scene, &settings, capacity, &steps);
    }
}

fn play(scene: Scene, settings: &Settings, capacity: u32, steps: &[Step]) {
    let scene = Scene { mtus: [1_496; 2], ..scene };
    let twins = Twins::new(capacity, settings, &scene);
    let mut stage = Stage::new(twins, scene);
    for step in steps {
        stage.play(step);
    }
}

fn some_settings() -> impl Strategy<Value = Settings> {
    (select(vec![1, 1, 2, 3]), select(vec![None, Some(6)]))
        .prop_map(|(workers, ports_per_client)| Settings { workers, ports_per_client, ..settings() })
}

/// Of each worker's table: often so few that it is full.
fn capacities() -> impl Strategy<Value = u32> {
    select(vec![8, 16, 24, 64, 256])
}
