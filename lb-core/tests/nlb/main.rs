//! What a Network Load Balancer does with packets and flows, event by event (AWS "User Guide for Network Load Balancers", target
//! groups and troubleshooting), in every mode: either family, both, and with or without the client's address.

#[path = "../support/mod.rs"]
mod support;

mod a_group;
mod a_target_that_drains;
mod a_target_that_is_cut;
mod handshakes;
mod idle_timeout;
mod packets_of_no_flow;
mod pieces;
mod ports_used_again;
mod resets;
mod source_address;

use std::net::{IpAddr, SocketAddr};

use lb_core::{
    counters::TrafficCounters,
    datapath::Datapath,
    limits,
    tables::{CutCause, FlowPolicy, NextHop},
    time::Instant,
    verdict::{Action, Reason, Verdict},
};
use support::*;

/// Puts a packet through and expects it dropped without an answer.
fn assert_silence(path: &mut Datapath<'_>, packet: &Crafted, reason: Reason) {
    let (verdict, out) = through(path, packet, 0);
    assert_eq!((verdict.reason, verdict.reason.action(), out), (reason, Action::Drop, None));
    assert!(take_extras(path).is_empty());
}

/// Puts a segment through and expects the reset that answers it, from whom it was for.
fn assert_reset(path: &mut Datapath<'_>, packet: &Crafted, reason: Reason, now_ms: u64) {
    let (verdict, out) = through(path, packet, now_ms);
    assert_eq!(verdict.reason, reason);
    let seen = read(&out.unwrap());
    assert_eq!((seen.source, seen.destination), (packet.destination, packet.source));
    let (from, to) = packet.macs;
    assert_eq!((seen.macs, seen.ttl, seen.payload.len()), ((to, from), limits::REPLY_TTL, 0));
    let length = packet.payload.len() as u32
        + [SYN, FIN].map(|flag| u32::from(packet.flags & flag != 0)).iter().sum::<u32>();
    let expected = match packet.flags & ACK != 0 {
        true => (RST, packet.acknowledgement, 0),
        false => (RST | ACK, 0, packet.sequence.wrapping_add(length)),
    };
    assert_eq!((seen.flags, seen.sequence, seen.acknowledgement), expected, "RFC 9293 section 3.10.7.1");
}

/// The scene with its target `n` unfit for new flows, and its flows treated so.
fn with_policy(scene: &Scene, n: u8, policy: FlowPolicy) -> Scene {
    let mut scene = Scene { generation: scene.generation + 1, ..scene.clone() };
    for row in scene.targets.iter_mut().filter(|row| row.0 == n) {
        *row = (n, false, policy);
    }
    scene
}
