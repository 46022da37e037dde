//! Screens of 80 columns and 24 lines, held against `golden`, and what keys do. `GOLDEN=write` writes them anew.

use std::path::Path;

use ratatui::{Terminal, backend::TestBackend};

use super::{
    columns::View,
    poll::Sample,
    screen::Screen,
    state::{Key, Top},
    text,
};
use crate::api::{
    FlowTable, ForwardRow, ListenerRow, LoadBalancerRow, ReasonRow, SocketRow, Stats, Status, TargetRow,
    Traffic, WorkerFrames, WorkerRow,
};

/// What is said after so many seconds.
fn sample(seconds: u64) -> Sample {
    let load_balancer = LoadBalancerRow {
        name: "edge".into(),
        addresses: vec![],
        interface: "eth0".into(),
        crosses_zones: false,
        listeners: vec![
            listener("edge/TCP:80", &[("blue", 9, 2), ("green", 1, 0)], wave(seconds, 1_200_000)),
            listener("edge/TCP:443", &[("blue", 1, 2)], wave(seconds, 45_000)),
            listener("edge/UDP:53", &[("dns", 1, 1)], steady(seconds, 300)),
        ],
    };
    let workers = (0..2).map(|number| worker(number, seconds)).collect();
    let flow_table = FlowTable { flows: 12_345, half_open: 67, capacity: 1_048_576, bytes: 94 << 20 };
    Sample {
        at_seconds: seconds as f64,
        status: Status {
            version: "0.1.0".into(),
            pid: 4_242,
            uptime_seconds: 3_600 + seconds,
            load_balancers: vec![load_balancer],
            workers,
            flow_table,
            ..Status::default()
        },
        targets: vec![
            target("blue", "198.19.1.2:8080", "healthy", wave(seconds, 700_000)),
            target("blue", "198.19.1.3:8080", "healthy", wave(seconds, 545_000)),
            target("green", "[2001:db8:19::2]:8080", "unhealthy", Traffic::default()),
            target("dns", "198.19.4.2:53", "unhealthy.draining", steady(seconds, 300)),
        ],
        stats: Stats {
            dropped: 90 * seconds + 7,
            handed_over: 2_500 * seconds,
            reasons: vec![
                reason("no_listener", 90 * seconds, "No listener on this address, protocol and port."),
                reason("martian_source", 7, "Source address that no packet may have (RFC 1812 5.3.7)."),
                reason("tcp_fragment", 0, "TCP segment in pieces."),
            ],
            ..Stats::default()
        },
    }
}

/// Packets that come in waves of eight seconds.
fn wave(seconds: u64, most: u64) -> Traffic {
    let packets = (0..seconds).map(|second| most * [8, 7, 5, 3, 1, 3, 5, 7][second as usize % 8] / 8).sum();
    traffic(packets, packets / 10)
}

fn steady(seconds: u64, packets: u64) -> Traffic {
    traffic(seconds * packets, seconds * packets / 2)
}

fn traffic(packets: u64, new_flows: u64) -> Traffic {
    Traffic {
        packets_in: packets / 2,
        packets_out: packets - packets / 2,
        bytes_in: 40 * packets,
        bytes_out: 600 * packets,
        new_flows,
        active_flows: 4_321,
        ..Traffic::default()
    }
}

fn listener(name: &str, groups: &[(&str, u16, u32)], traffic: Traffic) -> ListenerRow {
    let forward = |&(name, weight, healthy_targets): &(&str, u16, u32)| ForwardRow {
        target_group: name.into(),
        weight,
        healthy_targets,
        registered_targets: 2,
        is_failing_open: healthy_targets == 0,
    };
    ListenerRow {
        name: name.into(),
        address: "198.18.100.1".parse().unwrap(),
        forward: groups.iter().map(forward).collect(),
        is_sticky: false,
        mode: "full NAT".into(),
        has_syn_cookies: false,
        adopts_strays: false,
        traffic,
    }
}

fn target(group: &str, target: &str, state: &str, traffic: Traffic) -> TargetRow {
    TargetRow {
        target_group: group.into(),
        target: target.parse().unwrap(),
        zone: (group == "blue").then(|| "a".into()),
        state: state.into(),
        reason: None,
        description: (state != "healthy").then(|| "Request timed out".into()),
        changed: None,
        changed_seconds_ago: None,
        checks_passed: 360,
        checks_failed: 2,
        weight: Some(1),
        is_eligible: true,
        share_percent: 50.0,
        is_reachable: true,
        bypass: None,
        traffic,
    }
}

fn reason(name: &str, frames: u64, help: &str) -> ReasonRow {
    ReasonRow { reason: name.into(), verdict: "drop".into(), help: help.into(), frames }
}

fn worker(number: u32, seconds: u64) -> WorkerRow {
    let received = wave(seconds, 600_000 + 50_000 * u64::from(number)).packets_in;
    let socket = SocketRow {
        interface: "eth0".into(),
        queue: number,
        mode: "zero-copy, native".into(),
        missed: 3,
        rings: Default::default(),
    };
    WorkerRow {
        worker: number,
        cpu: number + 2,
        idle_percent: 50.0,
        busy_seconds: seconds as f64 * f64::from(number + 1) * 0.3,
        idle_seconds: seconds as f64 * (1.0 - f64::from(number + 1) * 0.3),
        turns: 9,
        frames: WorkerFrames {
            received,
            handed_over: 1_250 * seconds,
            dropped: 45 * seconds,
            ..Default::default()
        },
        flows: 6_000,
        half_open: 30,
        sockets: vec![socket],
    }
}

/// A screen that has looked on for twenty seconds.
fn top() -> Top {
    let mut top = Top::default();
    (1..=20).for_each(|seconds| top.take(sample(seconds)));
    top
}

fn drawn(top: &Top, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| frame.render_widget(Screen(top), frame.area())).unwrap();
    text::of_buffer(terminal.backend().buffer())
}

fn assert_golden(name: &str, top: &Top) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/top/golden").join(name);
    let drawn = drawn(top, 80, 24);
    if std::env::var_os("GOLDEN").is_some_and(|what| what == "write") {
        std::fs::write(&path, &drawn).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == drawn, "{name} was\n{golden}\nand is\n{drawn}");
}

#[test]
fn each_view_fits_80_columns_and_24_lines() {
    let mut top = top();
    for (view, name) in
        View::ALL.into_iter().zip(["listeners.txt", "targets.txt", "drops.txt", "workers.txt"])
    {
        assert_eq!(top.view, view);
        assert_golden(name, &top);
        top.press(Key::NextView);
    }
}

#[test]
fn a_listener_is_entered_and_left() {
    let mut top = top();
    top.press(Key::Down);
    top.press(Key::Enter);
    assert_golden("entered.txt", &top);
    top.press(Key::Enter);
    assert_eq!(top.view, View::Targets);
    top.press(Key::Back);
    assert_eq!((top.view, &top.scope), (View::Listeners, &None));
    assert_eq!(top.selected(&top.rows()), 1, "the listener stays selected");
}

#[test]
fn help_lies_over_the_screen_until_a_key() {
    let mut top = top();
    top.press(Key::Help);
    assert_golden("help.txt", &top);
    top.press(Key::NextView);
    assert_eq!((top.is_helping, top.view), (false, View::Listeners));
}

#[test]
fn an_absent_daemon_is_told_and_what_was_known_stays_until_it_is_back() {
    let mut top = top();
    top.lose("cannot reach lbd on /run/lbd/lbd.sock: Connection refused".into());
    assert_golden("away.txt", &top);
    top.take(sample(30));
    assert!(!drawn(&top, 80, 24).contains("away"));
    let mut never = Top::default();
    assert!(drawn(&never, 80, 24).contains("asking lbd"));
    never.lose("it is not there".into());
    assert!(drawn(&never, 80, 24).contains("lbd is away, asking again: it is not there"));
}

#[test]
fn rates_begin_with_the_second_sample_and_anew_with_a_new_process() {
    let mut top = Top::default();
    let rate = |top: &Top| top.rows()[0].cells[2].text.clone();
    top.take(sample(8));
    assert_eq!(rate(&top), "-");
    top.take(sample(9));
    assert_eq!(rate(&top), "45.0k");
    let mut restarted = sample(1);
    restarted.status.pid = 4_243;
    restarted.at_seconds = 10.0;
    top.take(restarted);
    assert_eq!(rate(&top), "-");
    assert!(top.rows()[0].graph.is_empty());
}

#[test]
fn rows_are_sorted_by_the_next_column_and_reversed() {
    let mut top = top();
    let names = |top: &Top| -> Vec<String> { top.rows().into_iter().map(|row| row.key).collect() };
    let by_name = ["edge/TCP:443", "edge/TCP:80", "edge/UDP:53"];
    assert_eq!(names(&top), by_name);
    top.press(Key::Last);
    top.press(Key::Reverse);
    assert_eq!(names(&top), by_name.iter().rev().copied().collect::<Vec<_>>());
    assert_eq!(top.selected(&top.rows()), 0, "the selected row moves with its place");
    top.press(Key::Sort);
    top.press(Key::Sort); // By packets.
    assert_eq!(names(&top), ["edge/TCP:80", "edge/TCP:443", "edge/UDP:53"]);
    (0..4).for_each(|_| top.press(Key::Sort)); // Once round.
    assert_eq!(names(&top), by_name);
}

#[test]
fn a_pause_holds_the_screen() {
    let mut top = top();
    let before = drawn(&top, 80, 24);
    top.press(Key::Pause);
    top.take(sample(60));
    assert_eq!(
        drawn(&top, 80, 24).replace("paused", "").split_whitespace().collect::<Vec<_>>(),
        before.split_whitespace().collect::<Vec<_>>()
    );
    top.press(Key::Pause);
    top.take(sample(61));
    assert_ne!(drawn(&top, 80, 24), before);
}

#[test]
fn any_size_and_any_keys_are_fine() {
    let keys = [
        Key::Last,
        Key::Enter,
        Key::PageDown,
        Key::NextView,
        Key::Down,
        Key::Sort,
        Key::Reverse,
        Key::Up,
        Key::NextView,
        Key::First,
        Key::NextView,
        Key::PageUp,
        Key::Help,
    ];
    for mut top in [Top::default(), top()] {
        for key in keys {
            for (width, height) in [(0, 0), (1, 1), (5, 2), (20, 5), (39, 11), (80, 12), (200, 60), (300, 3)]
            {
                drawn(&top, width, height);
            }
            top.press(key);
        }
    }
}

#[test]
fn more_rows_than_lines_are_scrolled_to_the_selected() {
    let mut top = Top::default();
    let mut many = sample(1);
    many.targets = (0..100)
        .map(|n| target("blue", &format!("198.19.1.{n}:80"), "healthy", Traffic::default()))
        .collect();
    top.take(many);
    top.press(Key::NextView);
    assert!(drawn(&top, 80, 24).contains("198.19.1.0:80"));
    top.press(Key::Last);
    let screen = drawn(&top, 80, 24);
    assert!(screen.contains("198.19.1.99:80") && !screen.contains("198.19.1.0:80"), "{screen}");
}

#[test]
fn numbers_are_short() {
    let numbers =
        [0.0, 0.04, 0.5, 9.96, 10.4, 999.4, 999.6, 1_234.0, 45_600.0, 123_456.0, 9_996_000.0, 1.2e9, 5e15];
    let expected =
        ["0", "0", "0.5", "10.0", "10", "999", "1.00k", "1.23k", "45.6k", "123k", "10.0M", "1.20G", "5P"];
    assert_eq!(numbers.map(text::short), expected);
}

#[test]
fn whole_numbers_are_told_in_whole() {
    assert_eq!([0, 3, 999, 1_234].map(text::short_count), ["0", "3", "999", "1.23k"]);
}

#[test]
fn what_is_too_long_loses_its_middle_and_keeps_its_port() {
    let address = "[2001:db8:19:1::2]:8080";
    assert_eq!(text::shortened(address, 23), address);
    assert_eq!(text::shortened(address, 16), "[2001:d…:2]:8080");
    assert_eq!(text::shortened(address, 7), "[…:8080");
    assert_eq!([0, 1].map(|width| text::shortened(address, width).into_owned()), ["", "…"]);
    let mut top = Top::default();
    let mut long = sample(1);
    long.targets = vec![target("blue", "[2001:db8:19:1:5:6:7:2]:8080", "healthy", Traffic::default())];
    top.take(long);
    top.press(Key::NextView);
    for (width, height) in [(60, 24), (80, 24), (200, 24)] {
        let screen = drawn(&top, width, height);
        assert!(screen.contains(":8080"), "{screen}");
    }
    assert!(drawn(&top, 80, 24).contains("[2001:db8:19:1:5:6:7:2]:8080"));
}

#[test]
fn rates_of_an_absent_daemon_are_not_known() {
    let mut top = top();
    top.lose("it is not there".into());
    assert!(top.rows().iter().all(|row| row.cells[2].text == "-"));
}

#[test]
fn graphs_have_eight_heights_and_keep_the_newest() {
    assert_eq!(text::bars(&[9.0, 0.0, 1.0, 4.0, 8.0], 4), " \u{2581}\u{2584}\u{2588}");
    assert_eq!(text::bars(&[0.0, 0.0], 4), "  ");
    assert_eq!(text::bars(&[], 4), "");
}
