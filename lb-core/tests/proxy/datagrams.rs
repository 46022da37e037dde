//! Datagrams to targets that are owed PROXY headers: each has one.

use std::collections::HashSet;

use lb_core::{
    datapath::Datapath,
    tables::{HeaderPlacement::OnFirstAckWithPayload, Protocol},
    verdict::Reason,
    wire::proxy::Header,
};

use super::{script::*, support::*};

/// A flow's header.
fn header(mode: &Mode) -> Vec<u8> {
    let end = |address: std::net::SocketAddr| (address.ip(), address.port());
    Header::proxied(Protocol::Udp, end(mode.client), end(mode.dns())).bytes().to_vec()
}

/// Bytes that a client's packet is longer than it will be at the target.
fn family_gap(flow: &OpenFlow) -> i32 {
    20 * (i32::from(flow.target.is_ipv4()) - i32::from(flow.client.is_ipv4()))
}

/// What a client of IPv6 is told at least.
fn least_mtu(flow: &OpenFlow) -> i32 {
    if flow.client.is_ipv4() { 0 } else { 1_280 }
}

#[test]
fn every_datagram_has_a_header_in_front_and_answers_have_none() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
        for payload in [&b"odd"[..], b"even", b""] {
            let seen = flow.to_target(&mut path, &flow.request(0).payload(payload), 1);
            assert_eq!(seen.payload, [&header(&mode), payload].concat(), "{}", mode.name);
            let seen = flow.to_client(&mut path, &flow.reply(0).payload(payload), 2);
            assert_eq!(seen.payload, payload);
        }
    }
}

#[test]
fn a_datagram_without_a_checksum_stays_without_in_its_family() {
    for mode in proxy_modes(OnFirstAckWithPayload).into_iter().filter(Mode::is_ipv4) {
        let mut path = mode.path();
        let mut frame = mode.datagram().bytes();
        frame[40..42].fill(0);
        let (verdict, out) = send(&mut path, OUTSIDE, &frame, 0);
        let out = out.unwrap_or_else(|| panic!("{:?}", verdict.reason));
        let is_ipv4_out = read(&out).source.is_ipv4();
        assert_eq!(is_checksum_right(&out), (!is_ipv4_out).then_some(true), "{}", mode.name);
    }
}

/// What leaves of a datagram that goes, whole or in pieces.
fn leaving(path: &mut Datapath<'_>, datagram: &Crafted) -> Vec<Vec<u8>> {
    let (verdict, first) = through(path, datagram, 0);
    assert_eq!(verdict.reason, Reason::ProxyHeader);
    let rest = take_extras(path);
    assert!(rest.iter().all(|(verdict, _)| verdict.reason == Reason::CutUp));
    first.into_iter().chain(rest.into_iter().map(|(_, frame)| frame)).collect()
}

/// The sender is told what leaves room for the header, if it has forbidden to cut its datagrams up.
#[test]
fn a_datagram_that_is_too_long_with_its_header_is_refused_or_cut_up() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
        let room = (1_500 + family_gap(&flow)) as usize - header(&mode).len();
        let headers = if flow.client.is_ipv4() { 28 } else { 48 };
        flow.to_target(&mut path, &flow.request(0).payload(&vec![7; room - headers]), 0);
        let longer = flow.request(0).payload(&vec![7; room - headers + 1]);
        let (verdict, out) = through(&mut path, &longer, 0);
        assert_eq!(verdict.reason, Reason::TooBig, "{}", mode.name);
        let told = read_error(&out.unwrap()).word as i32;
        assert_eq!(told, (room as i32).max(least_mtu(&flow)));
        if flow.client.is_ipv4() {
            let longer = Crafted { do_not_fragment: false, ..longer };
            let pieces = leaving(&mut path, &longer);
            assert_eq!(pieces.len(), 2, "{}", mode.name);
            let seen = read(&join(&pieces));
            assert_eq!((seen.source, seen.destination), (flow.source, flow.target));
            assert_eq!(seen.payload, [header(&mode), longer.payload].concat(), "{}", mode.name);
        }
        assert_books_balance(path.counters());
    }
}

/// RFC 7915 section 5.1: a sender of IPv6 packets need not make room for the header below 1,280 bytes.
#[test]
fn what_a_sender_of_ipv6_need_not_make_shorter_may_be_cut_up_behind_a_header() {
    let [.., mode] = proxy_modes(OnFirstAckWithPayload);
    for (mtu, pieces) in [(1_280, 2), (1_500, 1)] {
        let scene = Scene { mtus: [1_500, mtu], ..mode.scene.clone() };
        let mut path = leaked_datapath(64, settings(), &scene);
        let mut numbers = HashSet::new();
        for total_length in [1_177, 1_208, 1_248, 1_280] {
            let datagram = mode.datagram().payload(&vec![7; total_length - 48]);
            let left = leaving(&mut path, &datagram);
            assert_eq!(left.len(), pieces, "{total_length} bytes by a link of {mtu}");
            assert!(
                left.iter().all(|frame| frame[20] & 0x40 == 0),
                "whoever finds it too long may cut it up"
            );
            assert!(numbers.insert(number(&left[0])));
            let whole = if let [whole] = &left[..] { whole.clone() } else { join(&left) };
            assert_eq!(read(&whole).payload, [header(&mode), datagram.payload].concat());
        }
    }
}

#[test]
fn datagrams_in_pieces_have_no_header_and_do_not_go() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut path = mode.path();
        let whole = Crafted { do_not_fragment: false, ..mode.datagram().payload(&[7; 64]) };
        let [first, later] = &cut(&whole.bytes(), &[40], 1)[..] else { panic!("two pieces") };
        assert_eq!(send(&mut path, OUTSIDE, later, 0).0.reason, Reason::FragmentHeld, "{}", mode.name);
        assert_eq!(send(&mut path, OUTSIDE, first, 0).0.reason, Reason::ProxyFragment);
        assert_eq!(path.counters().reasons[Reason::FragmentLost as usize].value(), 1);
        assert_books_balance(path.counters());
    }
}

/// What a router has room for is the header's, too.
#[test]
fn what_a_router_tells_of_its_link_leaves_room_for_the_header() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
        let about = flow.at_target(&flow.request(0).payload(&[7; 200])).bytes();
        let kind = if flow.target.is_ipv4() { (3, 4) } else { (2, 0) };
        let macs = (target_mac(number_of(flow.target)), INSIDE_MAC);
        let error = icmp_error(kind, (flow.target.ip(), flow.source.ip()), macs, &about, about.len() - 14);
        let (verdict, out) = send(&mut path, INSIDE, &error, 0);
        assert_eq!(verdict.reason, Reason::IcmpError, "{}", mode.name);
        let told = read_error(&out.unwrap());
        let room = (1_400 + family_gap(&flow) - header(&mode).len() as i32).max(least_mtu(&flow));
        assert_eq!(told.word as i32, room, "{}", mode.name);
    }
}
