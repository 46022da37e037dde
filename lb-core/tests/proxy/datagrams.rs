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
        through(&mut path, &mode.datagram(), 0);
        for (length, pieces) in [(3, 1), (1_440, 2)] {
            let mut frame = mode.datagram().payload(&vec![7; length]).bytes();
            frame[40..42].fill(0);
            let left = leaving_frame(&mut path, &frame);
            assert_eq!(left.len(), pieces, "{}", mode.name);
            let out = if pieces == 1 { left[0].clone() } else { join(&left) };
            let is_ipv4_out = read(&out).source.is_ipv4();
            assert_eq!(is_checksum_right(&out), (!is_ipv4_out).then_some(true), "{}", mode.name);
        }
    }
}

/// What leaves of a flow's datagram, whole or in pieces.
fn leaving(path: &mut Datapath<'_>, datagram: &Crafted) -> Vec<Vec<u8>> {
    leaving_frame(path, &datagram.bytes())
}

fn leaving_frame(path: &mut Datapath<'_>, frame: &[u8]) -> Vec<Vec<u8>> {
    let (verdict, first) = process(path, OUTSIDE, frame, 0);
    assert_eq!(verdict.reason, Reason::ProxyHeader);
    let rest = take_extras(path);
    assert!(rest.iter().all(|(verdict, _)| verdict.reason == Reason::CutUp));
    first.into_iter().chain(rest.into_iter().map(|(_, frame)| frame)).collect()
}

/// What the target gets of a datagram: the frames of its pieces, and all of it.
fn at_target(path: &mut Datapath<'_>, datagram: &Crafted) -> (Vec<Vec<u8>>, Seen) {
    let left = leaving(path, datagram);
    let whole = if let [whole] = &left[..] { whole.clone() } else { join(&left) };
    assert_ne!(is_checksum_right(&whole), Some(false));
    (left, read(&whole))
}

/// Its sender could only cut it up by itself, and pieces have no header.
#[test]
fn a_datagram_that_is_too_long_with_its_header_is_cut_up_also_where_its_sender_forbids_that() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
        let headers = if flow.client.is_ipv4() { 28 } else { 48 };
        let room = (1_500 + family_gap(&flow)) as usize - header(&mode).len() - headers;
        for (payload, pieces) in [(room, 1), (room + 1, 2), (1_500 - headers, 2)] {
            let datagram = flow.request(0).payload(&vec![7; payload]);
            let (left, seen) = at_target(&mut path, &datagram);
            assert_eq!(left.len(), pieces, "{payload} bytes, {}", mode.name);
            assert_eq!((seen.source, seen.destination), (flow.source, flow.target));
            assert_eq!(seen.payload, [header(&mode), datagram.payload].concat(), "{}", mode.name);
            let longest = if flow.target.is_ipv4() { 1_514 } else { 1_294 };
            assert!(pieces == 1 || left.iter().all(|piece| piece.len() <= longest), "{}", mode.name);
        }
        assert_books_balance(path.counters());
    }
}

/// Senders number no packets that nobody may cut up (RFC 6864 section 4.1).
#[test]
fn pieces_that_their_sender_has_forbidden_have_numbers_of_our_own() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
        let mut numbers = HashSet::new();
        for _ in 0..100 {
            let mut frame = flow.request(0).payload(&[7; 1_440]).bytes();
            if flow.client.is_ipv4() {
                frame[18..20].fill(0);
                fix_ip_checksum(&mut frame);
            }
            let left = leaving_frame(&mut path, &frame);
            assert_eq!(left.len(), 2);
            assert!(numbers.insert(number(&left[0])), "{}", mode.name);
        }
    }
}

/// They stay in each piece in front of the fragment header; one that is there already (RFC 6946) serves.
#[test]
fn extension_headers_stay_where_a_datagram_is_cut_up() {
    for mode in proxy_modes(OnFirstAckWithPayload).into_iter().filter(|mode| !mode.is_ipv4()) {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
        let datagram = flow.request(0).payload(&[7; 1_400]);
        let options = [0, 0, 1, 4, 0, 0, 0, 0];
        let fragment = [0, 0, 0, 0, 1, 2, 3, 4];
        for kinds in [&[(60, options)][..], &[(44, fragment)], &[(60, options), (44, fragment)]] {
            let left = leaving_frame(&mut path, &with_extensions(&datagram.bytes(), kinds));
            assert_eq!(left.len(), 2, "{kinds:?} {}", mode.name);
            let whole = join(&left);
            assert_eq!(is_checksum_right(&whole), Some(true));
            assert_eq!(read(&whole).payload, [&header(&mode)[..], &datagram.payload].concat());
            let has_options = read(&whole).source.is_ipv6() && kinds[0].0 == 60;
            assert_eq!(left.iter().all(|piece| piece[20] == 60), has_options, "{}", mode.name);
        }
    }
}

/// An IPv6 frame with these headers, each of 8 bytes, in front of the transport header.
fn with_extensions(frame: &[u8], headers: &[(u8, [u8; 8])]) -> Vec<u8> {
    let (mut out, mut field) = (frame[..54].to_vec(), 20);
    for (kind, header) in headers {
        let next = std::mem::replace(&mut out[field], *kind);
        field = out.len();
        out.extend(header);
        out[field] = next;
    }
    out.extend(&frame[54..]);
    let length = (out.len() - 54) as u16;
    out[18..20].copy_from_slice(&length.to_be_bytes());
    out
}

/// RFC 7915 section 5.1: a sender of IPv6 packets need not make room for the header below 1,280 bytes.
#[test]
fn what_a_sender_of_ipv6_need_not_make_shorter_may_be_cut_up_behind_a_header() {
    let [.., mode] = proxy_modes(OnFirstAckWithPayload);
    for (mtu, pieces) in [(1_280, 2), (1_500, 1)] {
        let scene = Scene { mtus: [1_500, mtu], ..mode.scene.clone() };
        let mut path = leaked_datapath(64, settings(), &scene);
        through(&mut path, &mode.datagram(), 0);
        let mut numbers = HashSet::new();
        for total_length in [1_177, 1_208, 1_248, 1_280] {
            let datagram = mode.datagram().payload(&vec![7; total_length - 48]);
            let (left, seen) = at_target(&mut path, &datagram);
            assert_eq!(left.len(), pieces, "{total_length} bytes by a link of {mtu}");
            assert!(
                left.iter().all(|frame| frame[20] & 0x40 == 0),
                "whoever finds it too long may cut it up"
            );
            assert!(numbers.insert(number(&left[0])));
            assert_eq!(seen.payload, [header(&mode), datagram.payload].concat());
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
