//! What a line of a trace says.

use std::net::SocketAddr;

use super::*;
use crate::api::{FlowRow, TcpHead, WhyVerdict};
use lb_core::verdict::Reason;

fn head([from, to]: [&str; 2], macs: [u8; 2], flags: &str) -> PacketHead {
    let end = |text: &str| text.parse::<SocketAddr>().unwrap();
    let mac = |last: u8| Some(format!("02:00:00:00:00:{last:02x}"));
    PacketHead {
        bytes: 74,
        source_mac: mac(macs[0]),
        destination_mac: mac(macs[1]),
        protocol: "TCP".into(),
        source: Some(end(from).ip()),
        source_port: Some(end(from).port()),
        destination: Some(end(to).ip()),
        destination_port: Some(end(to).port()),
        ttl: Some(64),
        is_piece: false,
        tcp: Some(TcpHead { flags: flags.into(), sequence: 100, window: 512, ..TcpHead::default() }),
    }
}

fn frame_of(reason: Reason) -> TracedFrame {
    TracedFrame {
        at: "2026-11-23T10:43:09.123456789Z".into(),
        worker: 1,
        origin: TraceOrigin::Queue,
        interface: "eth0".into(),
        queue: Some(3),
        before: Some(head([CLIENT, VIP], [0xc, 1], "SYN")),
        sender: Some(WhySender::Client),
        listener: Some("edge/TCP:80".into()),
        flow: None,
        selection: None,
        after: None,
        out: None,
        to_worker: None,
        verdict: WhyVerdict::from(reason),
    }
}

fn told(row: TracedFrame) -> String {
    trace(&TraceLine::Frame(Box::new(row)))
}

#[test]
fn the_first_packet_of_a_flow_goes_through_all_stages() {
    let selection = TraceSelection {
        target_group: "web".into(),
        slot: Some(12_345),
        slots: 65_537,
        owner: TARGET.parse().ok(),
        target: TARGET.parse().ok(),
    };
    let row = TracedFrame {
        selection: Some(selection),
        after: Some(head([CLIENT, TARGET], [2, 0xa], "SYN")),
        out: Some("eth1".into()),
        ..frame_of(Reason::FlowNew)
    };
    assert_eq!(
        told(row),
        "10:43:09.123456 worker 1 | in eth0 queue 3: 74 bytes, TCP 198.18.0.2:40000 > 198.18.100.1:80 SYN | \
         steered: to a listener | listener edge/TCP:80 | select web: slot 12,345 of 65,537, 198.19.1.2:8080 | \
         rewrite destination 198.18.100.1:80 -> 198.19.1.2:8080, \
         MACs 02:00:00:00:00:0c > 02:00:00:00:00:01 -> 02:00:00:00:00:02 > 02:00:00:00:00:0a | \
         next hop 02:00:00:00:00:0a | out eth1: new_flow"
    );
}

#[test]
fn a_packet_of_a_flow_is_a_hit_and_shifts_are_told() {
    let end = |text: &str| text.parse().unwrap();
    let row = FlowRow {
        protocol: "TCP".into(),
        client: end(CLIENT),
        listener: end(VIP),
        source: end(CLIENT),
        target: end(TARGET),
        state: "established".into(),
        idle_ms: 0,
        timeout_ms: 350_000,
        worker: 1,
    };
    let mut after = head([VIP, CLIENT], [1, 0xc], "ACK");
    after.tcp.as_mut().unwrap().sequence = 50;
    after.bytes = 70;
    let row = TracedFrame {
        before: Some(head([TARGET, CLIENT], [0xa, 2], "ACK")),
        sender: Some(WhySender::Target),
        flow: Some(WhyFlow { row, is_reply: true, is_over: false, cut: None }),
        after: Some(after),
        out: Some("eth0".into()),
        ..frame_of(Reason::FlowHit)
    };
    let told = told(row);
    for stage in [
        " | steered: of a target | ",
        " | flow established to the client | ",
        " | rewrite source 198.19.1.2:8080 -> 198.18.100.1:80, sequence 100 -> 50, bytes 74 -> 70, MACs ",
        " | out eth0: flow",
    ] {
        assert!(told.contains(stage), "{stage}: {told}");
    }
}

#[test]
fn what_does_not_leave_says_why() {
    let drop = told(TracedFrame { listener: None, ..frame_of(Reason::NoListener) });
    assert!(drop.ends_with("| steered: to a listener | drop: no_listener"), "{drop}");
    let given = told(TracedFrame { to_worker: Some(0), ..frame_of(Reason::HandedOver) });
    assert!(given.ends_with("| to worker 0: handed_over"), "{given}");
    let full =
        TracedFrame { after: Some(head([CLIENT, TARGET], [2, 0xa], "SYN")), ..frame_of(Reason::TxRingFull) };
    assert!(told(full).ends_with("| drop: tx_ring_full"));
    let answer = TracedFrame {
        after: Some(head([VIP, CLIENT], [1, 0xc], "RST,ACK")),
        out: Some("eth0".into()),
        ..frame_of(Reason::ResetNoTarget)
    };
    let answer = told(answer);
    assert!(
        answer.contains("| answer: 74 bytes, TCP 198.18.100.1:80 > 198.18.0.2:40000 RST,ACK |"),
        "{answer}"
    );
}

#[test]
fn what_is_not_told_is_counted() {
    assert_eq!(
        trace(&TraceLine::Missed { over_rate: 1_200, unread: 3 }),
        "... frames not told: 1,200 over the rate of a trace, 3 read too slowly"
    );
    let end = TraceLine::End { because: TraceEnd::Count, frames: 1_000, missed: 0 };
    assert_eq!(trace(&end), "1,000 frames: as many as were asked for");
    assert_eq!(trace(&TraceLine::Heartbeat), "");
}

const CLIENT: &str = "198.18.0.2:40000";
const VIP: &str = "198.18.100.1:80";
const TARGET: &str = "198.19.1.2:8080";
