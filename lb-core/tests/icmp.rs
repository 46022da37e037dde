//! ICMP errors: translated for the side that sent the packet they are about, and made where a packet cannot go on.

mod support;

use std::net::{IpAddr, SocketAddr};

use lb_core::{datapath::Datapath, verdict::Reason};
use support::*;

const CLIENT_AT: SocketAddr = SocketAddr::new(IpAddr::V4(CLIENT), 40_000);
const WEB: SocketAddr = SocketAddr::new(IpAddr::V4(VIP), 80);
const DNS: SocketAddr = SocketAddr::new(IpAddr::V4(VIP), 53);
const UNREACHABLE_FRAGMENT: (u8, u8) = (3, 4);

/// Opens a flow by this packet; the target's number, the packet that the target got, and its answer as the client got it.
fn open(path: &mut Datapath<'_>, packet: &Crafted) -> (u8, Vec<u8>, Vec<u8>) {
    let (_, to_target) = send(path, OUTSIDE, &packet.bytes(), 0);
    let to_target = to_target.unwrap();
    let n = number_of(read(&to_target).destination);
    let reply = Crafted {
        source: (target(n), 8080).into(),
        destination: packet.source,
        macs: (target_mac(n), INSIDE_MAC),
        flags: SYN | ACK,
        payload: vec![7; 900],
        ..packet.clone()
    };
    let (_, to_client) = send(path, INSIDE, &reply.bytes(), 0);
    (n, to_target, to_client.unwrap())
}

#[test]
fn an_error_about_a_packet_to_the_client_reaches_the_target_as_its_own() {
    for packet in [tcp(CLIENT_AT, WEB, SYN), udp(CLIENT_AT, DNS)] {
        let mut path = leaked_datapath(64, settings(), &Scene::default());
        let (n, _, to_client) = open(&mut path, &packet);
        let whole = to_client.len() - 14;
        for quoted in [28, 40, 41, whole] {
            let error = icmp_error(
                UNREACHABLE_FRAGMENT,
                (ROUTER, VIP),
                (CLIENT_MAC, OUTSIDE_MAC),
                &to_client,
                quoted,
            );
            let (verdict, out) = send(&mut path, OUTSIDE, &error, 1);
            assert_eq!((verdict.reason, verdict.port), (Reason::IcmpError, INSIDE.0));
            let out = out.unwrap();
            assert_eq!((&out[..6], &out[6..12], out[22]), (&target_mac(n).0[..], &INSIDE_MAC.0[..], 63));
            let SeenError { source, destination, quote, .. } = read_error(&out);
            assert_eq!((source, destination), (ROUTER.into(), target(n).into()));
            assert_eq!(quote[26..34], [target(n).octets(), CLIENT.octets()].concat());
            assert_eq!(quote[34..38], [8080u16.to_be_bytes(), 40_000u16.to_be_bytes()].concat());
            assert_eq!(out[38..42], error[38..42], "the MTU stays");
            if quoted == whole {
                read(&quote); // The quoted TCP or UDP checksum is right again.
            }
        }
        assert_books_balance(path.counters());
    }
}

#[test]
fn an_error_about_a_packet_to_the_target_reaches_the_client_as_its_own() {
    for packet in [tcp(CLIENT_AT, WEB, SYN), udp(CLIENT_AT, DNS)] {
        let mut path = leaked_datapath(64, settings(), &Scene::default());
        let (n, to_target, _) = open(&mut path, &packet);
        // The target's own complaint comes from the VIP; a router's keeps the router's address.
        for (source, seen) in [(target(n), VIP), (ROUTER, ROUTER)] {
            let error = icmp_error((3, 3), (source, CLIENT), (target_mac(n), INSIDE_MAC), &to_target, 28);
            let (verdict, out) = send(&mut path, INSIDE, &error, 1);
            assert_eq!((verdict.reason, verdict.port), (Reason::IcmpError, OUTSIDE.0));
            let SeenError { source, destination, quote, .. } = read_error(&out.unwrap());
            assert_eq!((source, destination), (seen.into(), CLIENT.into()));
            assert_eq!(quote[26..34], [CLIENT.octets(), VIP.octets()].concat());
            assert_eq!(quote[36..38], packet.destination.port().to_be_bytes());
        }
    }
}

#[test]
fn errors_that_are_damaged_or_about_nobodys_packet_are_dropped() {
    let mut path = leaked_datapath(64, settings(), &Scene::default());
    let (_, _, to_client) = open(&mut path, &tcp(CLIENT_AT, WEB, SYN));
    let error = |kind| icmp_error(kind, (ROUTER, VIP), (CLIENT_MAC, OUTSIDE_MAC), &to_client, 28);
    let changed = |at: usize, fix: &dyn Fn(&mut Vec<u8>)| {
        let mut about = to_client.clone();
        about[14 + at] ^= 1;
        fix(&mut about);
        icmp_error((3, 4), (ROUTER, VIP), (CLIENT_MAC, OUTSIDE_MAC), &about, 28)
    };
    let mut wrong_sum = error((3, 4));
    wrong_sum[36] ^= 1;
    let mut last_hop = error((3, 4));
    last_hop[22] = 1;
    fix_ip_checksum(&mut last_hop);
    let short = icmp_error((3, 4), (ROUTER, VIP), (CLIENT_MAC, OUTSIDE_MAC), &to_client, 23);
    for (frame, reason) in [
        (wrong_sum, Reason::IcmpChecksum),
        (error((8, 0)), Reason::IcmpType),
        (error((4, 0)), Reason::IcmpType),
        (short, Reason::IcmpTruncated),
        (changed(10, &|_| {}), Reason::IcmpQuote),
        (changed(7, &|about| fix_ip_checksum(about)), Reason::IcmpQuote),
        (changed(21, &|_| {}), Reason::IcmpNoFlow),
        (last_hop, Reason::TtlExpired),
    ] {
        let (verdict, out) = send(&mut path, OUTSIDE, &frame, 1);
        assert_eq!((verdict.reason, out), (reason, None));
    }
    assert_books_balance(path.counters());
}

#[test]
fn errors_neither_end_nor_prolong_a_flow() {
    let mut path = leaked_datapath(64, settings(), &Scene::default());
    let (_, _, to_client) = open(&mut path, &udp(CLIENT_AT, DNS));
    let error = icmp_error((3, 3), (CLIENT, VIP), (CLIENT_MAC, OUTSIDE_MAC), &to_client, 28);
    assert_eq!(send(&mut path, OUTSIDE, &error, 100_000).0.reason, Reason::IcmpError);
    assert_eq!(send(&mut path, OUTSIDE, &udp(CLIENT_AT, DNS).bytes(), 119_000).0.reason, Reason::FlowHit);
    assert_eq!(send(&mut path, OUTSIDE, &error, 200_000).0.reason, Reason::IcmpError);
    assert_eq!(send(&mut path, OUTSIDE, &error, 239_001).0.reason, Reason::IcmpNoFlow);
}

#[test]
fn a_packet_too_long_for_the_way_out_is_answered_with_the_mtu() {
    let mut path = leaked_datapath(64, settings(), &Scene::default());
    let long = tcp(CLIENT_AT, WEB, SYN).payload(&[1; 1_461]).bytes();
    let (verdict, out) = send(&mut path, OUTSIDE, &long, 0);
    assert_eq!((verdict.reason, verdict.port), (Reason::TooBig, OUTSIDE.0));
    let out = out.unwrap();
    let SeenError { source, destination, kind, word, quote, .. } = read_error(&out);
    assert_eq!((source, destination), (VIP.into(), CLIENT.into()));
    assert_eq!((kind, word), ((3, 4), 1_500));
    assert_eq!((&out[..6], &out[6..12], out.len()), (&CLIENT_MAC.0[..], &OUTSIDE_MAC.0[..], 14 + 576));
    assert_eq!(quote[14..], long[14..14 + 548]);
    assert_eq!(path.counters().flows.value(), 0);

    let mut may_be_fragmented = long.clone();
    may_be_fragmented[20] = 0;
    fix_ip_checksum(&mut may_be_fragmented);
    assert_eq!(send(&mut path, OUTSIDE, &may_be_fragmented, 0).0.reason, Reason::FlowNew);
}

#[test]
fn a_packet_on_its_last_hop_is_answered_by_time_exceeded() {
    let mut path = leaked_datapath(64, settings(), &Scene::default());
    let last = Crafted { ttl: 1, ..tcp(CLIENT_AT, WEB, SYN) }.bytes();
    let (verdict, out) = send(&mut path, OUTSIDE, &last, 0);
    assert_eq!((verdict.reason, verdict.port), (Reason::TimeExceeded, OUTSIDE.0));
    let out = out.unwrap();
    let SeenError { source, destination, kind, quote, .. } = read_error(&out);
    assert_eq!((source, destination, kind), (VIP.into(), CLIENT.into(), (11, 0)));
    assert_eq!(quote[14..], last[14..]);
    assert_eq!(path.counters().flows.value(), 0);
    let elsewhere = Crafted { ttl: 1, ..tcp(CLIENT_AT, (VIP, 81), SYN) }.bytes();
    assert_eq!(send(&mut path, OUTSIDE, &elsewhere, 0).0.reason, Reason::TtlExpired);
}

#[test]
fn an_error_about_another_workers_flow_is_handed_over() {
    let worker = |worker| lb_core::datapath::Settings { worker, workers: 2, ..settings() };
    let mut paths = [0, 1].map(|n| leaked_datapath(64, worker(n), &Scene::default()));
    let syn = tcp(CLIENT_AT, WEB, SYN);
    let home = usize::from(send(&mut paths[0], OUTSIDE, &syn.bytes(), 0).0.reason == Reason::HandedOver);
    let (n, to_target, to_client) = open(&mut paths[home], &syn);
    let to_vip = icmp_error((3, 4), (ROUTER, VIP), (CLIENT_MAC, OUTSIDE_MAC), &to_client, 28);
    let to_the_client = icmp_error((3, 4), (target(n), CLIENT), (target_mac(n), INSIDE_MAC), &to_target, 28);
    for (ingress, error) in [(OUTSIDE, to_vip), (INSIDE, to_the_client)] {
        let (verdict, _) = send(&mut paths[1 - home], ingress, &error, 1);
        assert_eq!((verdict.reason, usize::from(verdict.port)), (Reason::HandedOver, home));
        assert_eq!(send(&mut paths[home], ingress, &error, 1).0.reason, Reason::IcmpError);
    }
}
