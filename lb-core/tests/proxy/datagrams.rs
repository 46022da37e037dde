//! Datagrams to targets that are owed PROXY headers: each has one.

use lb_core::{
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

/// The sender is told what leaves room for the header.
#[test]
fn a_datagram_that_is_too_long_with_its_header_is_refused() {
    for mode in proxy_modes(OnFirstAckWithPayload) {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
        let families = (flow.client.is_ipv4(), flow.target.is_ipv4());
        let grown = [(false, true), (true, true), (true, false)].iter().position(|pair| *pair == families);
        let room = match grown {
            Some(0) => 1_500 + 20,
            Some(2) => 1_500 - 20,
            _ => 1_500,
        } - header(&mode).len();
        let headers = if flow.client.is_ipv4() { 28 } else { 48 };
        flow.to_target(&mut path, &flow.request(0).payload(&vec![7; room - headers]), 0);
        let longer = flow.request(0).payload(&vec![7; room - headers + 1]);
        let (verdict, out) = through(&mut path, &longer, 0);
        assert_eq!(verdict.reason, Reason::TooBig, "{}", mode.name);
        assert_eq!(
            read_error(&out.unwrap()).word as usize,
            room.max(if flow.client.is_ipv4() { 0 } else { 1_280 })
        );
        if flow.client.is_ipv4() {
            let longer = Crafted { do_not_fragment: false, ..longer };
            assert_eq!(through(&mut path, &longer, 0).0.reason, Reason::MtuExceeded);
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
