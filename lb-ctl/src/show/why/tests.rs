//! Tests of the sentences of `lbctl why`.

use super::*;
use crate::api::{FlowRow, Traffic, WhyAddress, WhyListener, WhyNextHop, WhyVerdict, WhyWeight};

/// A new flow of a client's to one of two target groups.
fn new_flow() -> Why {
    let target = "198.19.1.2:8080".parse().unwrap();
    Why {
        protocol: "TCP".into(),
        from: "198.18.0.2:40000".parse().unwrap(),
        to: "198.18.100.1:80".parse().unwrap(),
        sender: WhySender::Client,
        verdict: Reason::FlowNew.into(),
        stray: Some(Reason::ResetNoFlow.into()),
        address: WhyAddress {
            address: "198.18.100.1".parse().unwrap(),
            load_balancer: Some("edge".into()),
            zone: Some("a".into()),
            pool: Some("subnet-a".into()),
            is_host: false,
        },
        listener: Some(WhyListener {
            name: "edge/TCP:80".into(),
            rule: None,
            forward: [("blue", 9), ("green", 1)]
                .map(|(name, weight)| WhyWeight { target_group: name.into(), weight })
                .into(),
            is_sticky: false,
            has_syn_cookies: false,
            idle_timeout_seconds: 350,
        }),
        other_listeners: vec![],
        flow: None,
        selection: Some(WhySelection {
            target_group: "blue".into(),
            group_by: Some("flow".into()),
            target_by: "client_address".into(),
            zone: Some("a".into()),
            eligible_targets: 1,
            is_failing_open: false,
            slot: Some(12_345),
            slots: 65_537,
            owner: Some(target),
            taken_by: None,
            target: Some(target),
            targets: vec![],
        }),
        target: Some(row("healthy", true)),
        next_hop: Some(WhyNextHop { mac: "02:00:00:00:00:01".into(), interface: "eth1".into() }),
        source: Some(WhySource {
            address: Some("198.18.0.2:40000".parse().unwrap()),
            cause: None,
            addresses: vec![],
            ports: None,
        }),
        bypass: None,
        worker: Some(1),
        generation: 7,
        silent_workers: vec![],
    }
}

fn row(state: &str, is_eligible: bool) -> TargetRow {
    TargetRow {
        target_group: "blue".into(),
        target: "198.19.1.2:8080".parse().unwrap(),
        zone: Some("a".into()),
        state: state.into(),
        reason: None,
        description: None,
        changed: None,
        changed_seconds_ago: None,
        checks_passed: 1,
        checks_failed: 0,
        weight: Some(1),
        is_eligible,
        share_percent: 100.0,
        is_reachable: true,
        bypass: None,
        traffic: Traffic::default(),
    }
}

fn flow(state: &str) -> WhyFlow {
    WhyFlow {
        row: FlowRow {
            protocol: "TCP".into(),
            client: "198.18.0.2:40000".parse().unwrap(),
            listener: "198.18.100.1:80".parse().unwrap(),
            source: "198.18.0.2:40000".parse().unwrap(),
            target: "198.19.1.3:8080".parse().unwrap(),
            state: state.into(),
            idle_ms: 1_500,
            timeout_ms: 350_000,
            worker: 0,
        },
        is_reply: false,
        is_over: false,
        cut: None,
    }
}

#[test]
fn a_new_flow_is_followed_to_its_target() {
    assert_eq!(
        why(&new_flow()),
        "TCP 198.18.0.2:40000 -> 198.18.100.1:80: a new flow, it goes to 198.19.1.2:8080.\n\n\
         198.18.100.1 is an address of the load balancer edge, in zone a, from the address pool subnet-a.\n\
         The listener edge/TCP:80 forwards to blue (weight 9) and green (weight 1).\n\
         There is no such flow; one would be worker 1's.\n\
         The hash of the flow selects the target group blue.\n\
         The hash of the client's address is slot 12,345 of 65,537 in the Maglev table of blue (1 eligible target for \
         zone a): it belongs to 198.19.1.2:8080.\n\
         198.19.1.2:8080 of blue (zone a) is healthy.\n\
         The next hop to 198.19.1.2 is 02:00:00:00:00:01 by eth1.\n\
         The target sees the client itself: 198.18.0.2:40000.\n\
         A TCP packet other than a SYN is answered by a reset: it has no flow."
    );
}

#[test]
fn every_turn_of_the_story_is_told() {
    let refused = |reason: Reason| Why { verdict: reason.into(), ..new_flow() };
    let with_flow =
        |flow| Why { flow: Some(flow), stray: None, verdict: Reason::FlowHit.into(), ..new_flow() };
    let with_source = |cause: &str, addresses: &[&str]| {
        let addresses: Vec<_> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let ports = Some((1_024, 65_535));
        Why {
            source: Some(WhySource { address: None, cause: Some(cause.into()), addresses, ports }),
            ..new_flow()
        }
    };
    let unreachable = TargetRow { is_reachable: false, ..row("unhealthy", true) };
    let selection = |change: fn(&mut WhySelection)| {
        let mut row = new_flow().selection.unwrap();
        change(&mut row);
        Why { selection: Some(row), ..new_flow() }
    };
    for (told, sentence) in [
        (with_flow(flow("established")), "packets of a flow, they go to 198.19.1.3:8080.\n"),
        (
            Why { verdict: Reason::ProxyHeader.into(), ..with_flow(flow("udp")) },
            "packets of a flow, they go to 198.19.1.3:8080, each with a PROXY header.\n",
        ),
        (
            with_flow(flow("established")),
            "established, with 198.19.1.3:8080, idle for 1.5 s of 350.0 s. It stays with",
        ),
        (
            Why { flow: Some(WhyFlow { is_over: true, ..flow("reset") }), ..new_flow() },
            "It is over: the next SYN begins a new one.",
        ),
        (
            with_flow(WhyFlow { cut: Some("unhealthy".into()), ..flow("established") }),
            "Its next packet has it cut: its target is unhealthy.",
        ),
        (
            with_flow(WhyFlow { is_reply: true, ..flow("established") }),
            "they go to the client 198.18.0.2:40000.",
        ),
        (refused(Reason::ResetNoTarget), "answered by a reset: no target can get the flow."),
        (refused(Reason::NextHopUnresolved), "dropped for now: the way to the target is not known."),
        (refused(Reason::NoSourcePort), "dropped: no source port is free"),
        (refused(Reason::OwnSource), "dropped: source address is one of ours"),
        (refused(Reason::FlowTableFull), "dropped: the flow table has no room"),
        (refused(Reason::Stateless), "they go to 198.19.1.2:8080; the flow table is full"),
        (refused(Reason::SynToTarget), "once the client has confirmed a SYN cookie"),
        (
            Why { target: Some(unreachable.clone()), ..new_flow() },
            "is unhealthy; it gets new flows all the same",
        ),
        (Why { target: Some(unreachable), ..new_flow() }, "No way to 198.19.1.2 is known"),
        (Why { target: Some(row("draining", false)), ..new_flow() }, "is draining; it gets no new flows."),
        (
            with_source("hairpin", &["198.18.100.1"]),
            "instead of the client, because the client is that target itself.",
        ),
        (
            with_source("same_node", &["198.18.100.1"]),
            "instead of the client, because the client is behind the same next hop as the target,",
        ),
        (
            with_source("not_preserved", &["198.18.100.1", "198.18.100.2"]),
            "sees 198.18.100.1 or 198.18.100.2, a port from 1024 to 65535,",
        ),
        (with_source("other_family", &[]), "there is no address to send from."),
        (selection(|row| row.is_failing_open = true), "Too few targets of blue are healthy: it fails open"),
        (
            selection(|row| (row.slot, row.owner, row.target) = (None, None, None)),
            "blue has no target for zone a",
        ),
        (
            selection(|row| {
                row.taken_by = Some("edge/TCP:81".into());
                row.target = "198.19.1.4:8080".parse().ok();
            }),
            "reaches that one by edge/TCP:81, so the next in the table is selected: 198.19.1.4:8080.",
        ),
        (Why { silent_workers: vec![3], ..new_flow() }, "\nWorker 3 did not answer in time"),
    ] {
        let text = why(&told);
        assert!(text.contains(sentence), "{sentence}\n{text}");
    }
}

#[test]
fn where_no_target_can_get_the_flow_each_is_told_with_what_keeps_it() {
    let rows = vec![
        TargetRow { reason: Some("Target.Timeout".into()), ..row("unhealthy", false) },
        row("initial", false),
        TargetRow { weight: Some(0), ..row("healthy", false) },
        TargetRow { weight: None, zone: None, ..row("draining", false) },
        TargetRow { is_reachable: false, ..row("healthy", false) },
    ];
    let none = |targets: Vec<TargetRow>| {
        let selection = new_flow().selection.map(|row| {
            let (eligible_targets, slot, owner, target) = (0, None, None, None);
            WhySelection { eligible_targets, slot, owner, target, targets, ..row }
        });
        let (target, next_hop, source) = (None, None, None);
        let verdict = Reason::ResetNoTarget.into();
        why(&Why { selection, target, next_hop, source, verdict, stray: None, ..new_flow() })
    };
    let text = none(rows);
    let list = "blue has no target for zone a that could get flows:\n\
                - 198.19.1.2:8080 (zone a) is unhealthy (Target.Timeout), its next hop is known\n\
                - 198.19.1.2:8080 (zone a) is initial, its next hop is known\n\
                - 198.19.1.2:8080 (zone a) is healthy, has the weight 0, its next hop is known\n\
                - 198.19.1.2:8080 is draining, its next hop is known\n\
                - 198.19.1.2:8080 (zone a) is healthy, its next hop is not known";
    assert!(text.ends_with(list), "{text}");
    let many = none(vec![row("unhealthy", false); TARGETS_SHOWN + 2]);
    assert!(many.ends_with("- and 2 more: `lbctl targets` lists them"), "{many}");
    let empty = none(vec![]);
    assert!(empty.ends_with("blue has no target for zone a that could get flows: it is empty."), "{empty}");
}

#[test]
fn a_listener_that_gives_no_group_a_weight_is_told() {
    let mut unweighted = Why { selection: None, target: None, ..new_flow() };
    let listener = unweighted.listener.as_mut().unwrap();
    listener.forward.truncate(1);
    listener.forward[0].weight = 0;
    let text = why(&unweighted);
    let sentence =
        "forwards to blue (weight 0). It gives no target group a weight, so nobody gets new flows.";
    assert!(text.contains(sentence), "{text}");
}

#[test]
fn what_is_gone_begins_nothing_and_delays_nothing() {
    let over = WhyFlow { is_over: true, ..flow("closed") };
    let no_listener = Why {
        flow: Some(over),
        listener: None,
        selection: None,
        target: None,
        source: None,
        stray: None,
        verdict: Reason::NoListener.into(),
        ..new_flow()
    };
    let text = why(&no_listener);
    assert!(text.ends_with(" It is over."), "{text}");
    assert!(text.contains("No listener is for TCP port 80"), "{text}");
    for (state, sentence) in [
        ("draining", "Its flows go on until its deregistration delay ends, and maybe after it."),
        ("unused", "Its deregistration delay is over; its flows go on."),
    ] {
        let target = TargetRow { weight: None, ..row(state, false) };
        let verdict = Reason::FlowHit.into();
        let text = why(&Why { flow: Some(flow("established")), target: Some(target), verdict, ..new_flow() });
        assert!(text.contains(sentence), "{text}");
    }
}

#[test]
fn a_source_that_no_packet_may_have_opens_nothing() {
    let text = why(&Why {
        verdict: Reason::MartianSource.into(),
        selection: None,
        target: None,
        source: None,
        stray: None,
        ..new_flow()
    });
    assert!(text.contains("dropped: source address that no packet may have"), "{text}");
    assert!(!text.contains("one would be worker"), "{text}");
}

#[test]
fn where_nothing_listens_it_is_told_what_does() {
    let nobody = Why {
        sender: WhySender::Nobody,
        verdict: Reason::NoListener.into(),
        listener: None,
        selection: None,
        target: None,
        source: None,
        stray: None,
        worker: None,
        other_listeners: vec!["edge/TCP:80".into(), "edge/UDP:53".into()],
        to: "198.18.100.1:81".parse().unwrap(),
        ..new_flow()
    };
    let text = why(&nobody);
    assert!(text.contains(
        "No listener is for TCP port 81; the listeners of that address are edge/TCP:80 and edge/UDP:53."
    ));
    let address = WhyAddress { load_balancer: None, is_host: true, ..nobody.address.clone() };
    let host = Why { address, verdict: WhyVerdict::from(Reason::PassHost), ..nobody };
    assert!(why(&host).contains("left to the kernel: the address is the host's own."), "{}", why(&host));
}
