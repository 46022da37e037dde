//! The IPv6 header and its extension headers: RFC 8200, RFC 5095, RFC 6946, RFC 7112.

use std::net::{IpAddr, SocketAddr};

use lb_core::{
    limits,
    verdict::{Reason, Verdict},
};

use super::{dropped, support::*};

/// Modes whose clients have IPv6.
fn ipv6_modes() -> [Mode; 3] {
    let [_, _, preserving, translating, _, to_ipv4] = modes();
    [preserving, translating, to_ipv4]
}

fn mode() -> Mode {
    ipv6_modes()[0].clone()
}

fn reason_of(frame: &[u8]) -> Reason {
    dropped(&mut mode().path(), &mode().syn(), frame)
}

#[test]
fn rfc_8200_3_each_fault_of_the_header_has_its_counter() {
    let faulty = |fault: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = mode().syn().bytes();
        fault(&mut frame);
        frame
    };
    for (reason, frame) in [
        (Reason::Ipv6Truncated, faulty(&|frame| frame.truncate(14 + 39))),
        (Reason::Ipv6Version, faulty(&|frame| frame[14] = 0x40)),
        (Reason::Ipv6PayloadLength, faulty(&|frame| frame[19] = 21)),
        (Reason::Ipv6PayloadLength, faulty(&|frame| frame.truncate(14 + 59))),
        (Reason::L4Truncated, faulty(&|frame| frame[19] = 19)),
        (Reason::TtlExpired, faulty(&|frame| frame[21] = 0)),
        (Reason::UnsupportedProtocol, faulty(&|frame| frame[20] = 47)),
        (Reason::NotIp, faulty(&|frame| frame[13] = 0xde)),
    ] {
        assert_eq!(reason_of(&frame), reason);
    }
}

/// The golden frame: only addresses, ports and the hop limit change; headers that nobody here has to understand stay.
#[test]
fn rfc_8200_4_extension_headers_are_walked_over_and_stay() {
    let chains: [&[(u8, Vec<u8>)]; 6] = [
        &[],
        &[hop_by_hop()],
        &[hop_by_hop(), destination_options(16), routing(2, 0), destination_options(8)],
        &[routing(4, 0)],
        &[fragment_header(0, 0, 7)],
        &[destination_options(2_048 - 1_024)],
    ];
    for mode in &ipv6_modes()[..2] {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        for chain in chains {
            let request = Crafted { extensions: chain.to_vec(), ..flow.request(ACK).payload(b"data") };
            let (_, out) = through(&mut path, &request, 0);
            assert_eq!(out.unwrap(), flow.at_target(&request).bytes(), "{}: {chain:?}", mode.name);
            let reply = Crafted { extensions: chain.to_vec(), ..flow.reply(ACK).payload(b"data") };
            let (_, out) = through(&mut path, &reply, 0);
            assert_eq!(out.unwrap(), flow.at_client(&reply).bytes(), "{}: {chain:?}", mode.name);
        }
    }
}

#[test]
fn rfc_8200_4_1_hop_by_hop_options_stand_first_or_nowhere() {
    let packet = mode().syn().extension(destination_options(8)).extension(hop_by_hop());
    assert_eq!(reason_of(&packet.bytes()), Reason::Ipv6Extension);
}

#[test]
fn rfc_8200_4_the_chain_is_walked_with_a_bound() {
    let chain = |count| Crafted { extensions: vec![destination_options(8); count], ..mode().syn() };
    let mut path = mode().path();
    assert!(send(&mut path, OUTSIDE, &chain(limits::EXTENSION_HEADERS - 1).bytes(), 0).1.is_some());
    assert_eq!(reason_of(&chain(limits::EXTENSION_HEADERS).bytes()), Reason::Ipv6Extension);
    assert_eq!(reason_of(&chain(150).bytes()), Reason::Ipv6Extension);
}

#[test]
fn rfc_8200_4_7_a_packet_that_says_that_nothing_follows_is_dropped() {
    let mut frame = mode().syn().bytes();
    frame[20] = 59;
    assert_eq!(reason_of(&frame), Reason::Ipv6NoNextHeader);
    let mut frame = mode().syn().extension(hop_by_hop()).bytes();
    frame[54] = 59;
    assert_eq!(reason_of(&frame), Reason::Ipv6NoNextHeader);
}

#[test]
fn rfc_8200_8_1_udp_without_a_checksum_is_dropped() {
    for mode in ipv6_modes() {
        let packet = mode.datagram();
        let mut frame = packet.bytes();
        frame[60..62].fill(0);
        assert_eq!(dropped(&mut mode.path(), &packet, &frame), Reason::UdpChecksumZero, "{}", mode.name);
    }
}

/// The golden frame: from the VIP, to whom the packet came from, with as much of it as fits 1,280 bytes.
#[test]
fn rfc_8200_4_4_and_rfc_5095_3_a_route_that_goes_on_is_answered_by_a_parameter_problem() {
    let ahead = [(None, 42), (Some(hop_by_hop()), 50), (Some(destination_options(24)), 66)];
    let behind = [None, Some(fragment_header(0, 1, 7)), Some(fragment_header(64, 0, 7))];
    let kinds = [(0, 1), (2, 1), (4, 3), (253, 255)].map(|(kind, left)| routing(kind, left));
    for mode in ipv6_modes() {
        let mut path = mode.path();
        let to_nobody = udp(mode.client, (mode.vip, 81)).payload(&[7; 1_400]);
        for packet in [mode.syn(), mode.datagram(), to_nobody] {
            for (((ahead, pointer), behind), route) in pairs(&pairs(&ahead, &behind), &kinds) {
                let extensions = [ahead, Some(route), behind].into_iter().flatten().collect();
                let sent = Crafted { extensions, ..packet.clone() };
                let (verdict, out) = through(&mut path, &sent, 0);
                assert_eq!(verdict, Verdict::to(Reason::ParameterProblem, OUTSIDE.0), "{}", mode.name);
                assert_eq!(out.unwrap(), parameter_problem(&sent, pointer), "{}", mode.name);
            }
        }
        assert_eq!(path.counters().flows.value(), 0);
        assert_books_balance(path.counters());
    }
}

/// Each of these with each of those.
fn pairs<A: Clone, B: Clone>(these: &[A], those: &[B]) -> Vec<(A, B)> {
    these.iter().flat_map(|this| those.iter().map(|that| (this.clone(), that.clone()))).collect()
}

fn parameter_problem(about: &Crafted, pointer: u32) -> Vec<u8> {
    let (from, to) = about.macs;
    let ends = (about.destination.ip(), about.source.ip());
    let about = about.bytes();
    let error = icmp_error((4, 0), ends, (to, from), &about, (about.len() - 14).min(1_280 - 48));
    let mut error = with_word(error, pointer);
    error[14] = 0x60; // Of traffic class 0.
    error
}

#[test]
fn rfc_8200_4_4_a_route_that_has_come_to_its_end_is_ignored() {
    for mode in ipv6_modes() {
        let used_up = mode.syn().extension(routing(2, 0));
        assert!(through(&mut mode.path(), &used_up, 0).1.is_some());
    }
}

#[test]
fn rfc_5095_4_2_a_routing_header_of_type_0_is_not_forwarded() {
    let packet = mode().syn().extension(routing(0, 0));
    assert_eq!(reason_of(&packet.bytes()), Reason::SourceRoute);
}

#[test]
fn rfc_4443_2_4_e_a_route_that_goes_on_is_not_always_answered() {
    for mode in ipv6_modes() {
        let routed = |packet: Crafted| packet.extension(routing(2, 1));
        let from = |source: IpAddr| routed(tcp(SocketAddr::new(source, 40_000), mode.web(), SYN));
        let mut rows: Vec<_> =
            own_addresses(Family::V6).into_iter().map(|own| (from(own), Reason::OwnSource)).collect();
        for martian in ["::", "ff02::1", "::1"] {
            rows.push((from(martian.parse().unwrap()), Reason::MartianSource));
        }
        rows.push((Crafted { protocol: 58, ..routed(mode.datagram()) }, Reason::SourceRoute));
        rows.push((Crafted { macs: (CLIENT_MAC, CLIENT_MAC), ..routed(mode.syn()) }, Reason::SourceRoute));
        let of_pieces = mode.datagram().extension(fragment_header(0, 1, 7));
        rows.push((routed(of_pieces), Reason::SourceRoute));
        let elsewhere = SocketAddr::new(ROUTER6.into(), 80);
        rows.push((routed(tcp(mode.client, elsewhere, ACK)), Reason::SourceRoute));
        for (packet, reason) in rows {
            assert_eq!(dropped(&mut mode.path(), &packet, &packet.bytes()), reason, "{packet:?}");
        }
    }
}

/// A header that says that it is longer than the packet, wherever it stands.
#[test]
fn rfc_7112_a_chain_that_leaves_the_packet_is_dropped() {
    for extension in [hop_by_hop(), destination_options(8), routing(2, 0)] {
        let mut frame = mode().syn().extension(extension).bytes();
        frame[55] = 40;
        assert_eq!(reason_of(&frame), Reason::Ipv6Extension);
    }
    for length in 0..8u8 {
        let mut frame = mode().syn().extension(hop_by_hop()).bytes();
        frame[19] = length;
        frame.truncate(54 + usize::from(length));
        assert_eq!(reason_of(&frame), Reason::Ipv6Extension, "{length} bytes of a header of 8");
    }
}

#[test]
fn rfc_7112_a_first_piece_holds_the_whole_chain() {
    let datagram = mode().datagram().payload(&[7; 64]).extension(destination_options(24)).bytes();
    // Behind the fragment header come destination options, which a first piece of 16 bytes does not hold.
    let mut first = datagram[..54].to_vec();
    first[20] = 44;
    first[19] = 8 + 16;
    first.extend([60, 0, 0, 1, 0, 0, 0, 9]);
    first.extend(&datagram[54..54 + 16]);
    assert_eq!(reason_of(&first), Reason::Ipv6Extension);
    // Nor may the transport header be cut.
    let mut first = mode().datagram().extension(fragment_header(0, 1, 9)).bytes();
    first[19] = 8 + 4;
    first.truncate(54 + 12);
    assert_eq!(reason_of(&first), Reason::FragmentLength);
}

/// A packet that is all of its pieces needs no other: it opens a flow, and pieces of the same number change nothing.
#[test]
fn rfc_6946_an_atomic_fragment_stands_alone() {
    for mode in ipv6_modes() {
        let mut path = mode.path();
        let atomic = mode.datagram().extension(fragment_header(0, 0, 5));
        let later = piece(&mode.datagram().payload(&[1; 64]).bytes(), 16..72, 5);
        assert_eq!(send(&mut path, OUTSIDE, &later, 0).0.reason, Reason::FragmentHeld);
        let (verdict, out) = through(&mut path, &atomic, 0);
        assert_eq!(verdict.reason, Reason::FlowNew, "{}", mode.name);
        assert_eq!(read(&out.unwrap()).payload, atomic.payload);
        assert!(take_extras(&mut path).is_empty(), "the piece that is held is of another datagram");
        for tcp in [SYN, ACK] {
            let atomic = tcp_packet(&mode, tcp).extension(fragment_header(0, 0, 6));
            assert!(through(&mut path, &atomic, 0).1.is_some(), "TCP, too");
        }
    }
}

fn tcp_packet(mode: &Mode, flags: u8) -> Crafted {
    tcp(mode.client, mode.web(), flags)
}

#[test]
fn rfc_8200_3_traffic_class_and_flow_label_stay() {
    for mode in &ipv6_modes()[..2] {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        let request = Crafted { tos: 0xb9, ..flow.request(ACK) };
        let (_, out) = through(&mut path, &request, 0);
        assert_eq!(out.unwrap()[14..18], request.bytes()[14..18]);
    }
}
