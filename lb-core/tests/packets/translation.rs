//! IPv6 clients of IPv4 targets and the reverse: RFC 7915, RFC 8021. Errors' quotes are in `icmp`.

use lb_core::verdict::Reason;

use super::{dropped, support::*};

/// An IPv4 packet of each mode: of the client that has IPv6 targets, and of the target that has IPv6 clients.
fn ipv4_senders() -> [(lb_core::datapath::Datapath<'static>, OpenFlow, Crafted); 4] {
    [(v4_to_v6(), 6), (v4_to_v6(), 17), (v6_to_v4(), 6), (v6_to_v4(), 17)].map(|(mode, protocol)| {
        let mut path = mode.path();
        let first = if protocol == 6 { mode.syn() } else { mode.datagram() };
        let flow = OpenFlow::open(&mut path, &first, 0);
        let packet = if mode.is_ipv4() { flow.request(SYN) } else { flow.reply(SYN | ACK) };
        (path, flow, packet)
    })
}

/// The same of IPv6.
fn ipv6_senders() -> [(lb_core::datapath::Datapath<'static>, OpenFlow, Crafted); 4] {
    ipv4_senders().map(|(path, flow, packet)| {
        let packet = if packet.source == flow.client { flow.reply(SYN | ACK) } else { flow.request(SYN) };
        (path, flow, packet)
    })
}

fn at_other_side(flow: &OpenFlow, packet: &Crafted) -> Crafted {
    if packet.source == flow.client { flow.at_target(packet) } else { flow.at_client(packet) }
}

/// The golden frame: traffic class copied, no flow label, one hop less, and the transport checksum of the new pseudo-header.
#[test]
fn rfc_7915_4_1_an_ipv4_packet_becomes_this_ipv6_packet() {
    for (mut path, flow, packet) in ipv4_senders() {
        for do_not_fragment in [true, false] {
            for length in [0, 1, 501] {
                let sent = Crafted { tos: 0xb9, do_not_fragment, ..packet.clone() }.payload(&vec![5; length]);
                let (_, out) = through(&mut path, &sent, 0);
                let mut golden = at_other_side(&flow, &sent).bytes();
                (golden[15], golden[16], golden[17]) = (golden[15] & 0xf0, 0, 0); // No flow label.
                assert_eq!(out.unwrap(), golden);
            }
        }
    }
}

/// No fragment header is made for a packet that is whole.
#[test]
fn rfc_8021_atomic_fragments_are_never_made() {
    for (mut path, _, packet) in ipv4_senders() {
        let sent = Crafted { do_not_fragment: false, identification: 99, ..packet };
        let (_, out) = through(&mut path, &sent, 0);
        assert_eq!(out.unwrap()[20], sent.protocol);
    }
}

/// The golden frame. DF is set when the packet is longer than 1,260 bytes; a shorter one gets a number instead.
#[test]
fn rfc_7915_5_1_an_ipv6_packet_becomes_this_ipv4_packet() {
    for (mut path, flow, packet) in ipv6_senders() {
        let headers = if packet.protocol == 6 { 40 } else { 28 };
        for (total_length, do_not_fragment) in
            [(headers, false), (1_259, false), (1_260, false), (1_261, true), (1_480, true)]
        {
            let sent = Crafted { tos: 0xb9, ..packet.clone() }.payload(&vec![5; total_length - headers]);
            let (_, out) = through(&mut path, &sent, 0);
            let out = out.unwrap();
            let identification = u16::from_be_bytes([out[18], out[19]]);
            let golden = Crafted { do_not_fragment, identification, ..at_other_side(&flow, &sent) }.bytes();
            assert_eq!(out, golden, "{total_length}");
            assert_eq!(do_not_fragment, identification == 0);
        }
    }
}

#[test]
fn rfc_7915_5_1_packets_that_may_be_fragmented_have_different_numbers() {
    let mut numbers = std::collections::HashSet::new();
    let (mut path, _, packet) =
        ipv6_senders()[0..1].iter().next().map(|_| ipv6_senders()).unwrap().into_iter().next().unwrap();
    for at in 0..200u8 {
        let (_, out) = through(&mut path, &packet.clone().payload(&[at, 1]), 0);
        numbers.insert(out.unwrap()[18..20].to_vec());
    }
    assert_eq!(numbers.len(), 200);
}

#[test]
fn rfc_7915_4_1_options_go() {
    for (mut path, flow, packet) in ipv4_senders() {
        for options in
            [vec![148, 4, 0, 0], vec![7, 7, 4, 0, 0, 0, 0, 0], vec![1; 20], vec![1; 24], vec![1; 40]]
        {
            let sent = Crafted { options, ..packet.clone() }.payload(b"data");
            let (_, out) = through(&mut path, &sent, 0);
            let mut golden = at_other_side(&flow, &sent).bytes();
            (golden[15], golden[16], golden[17]) = (0, 0, 0);
            assert_eq!(out.unwrap(), golden);
        }
    }
}

#[test]
fn rfc_7915_4_1_an_unexpired_source_route_is_dropped() {
    for (mut path, _, packet) in ipv4_senders() {
        let sent = Crafted { options: vec![131, 7, 4, 1, 2, 3, 4, 0], ..packet };
        assert_eq!(dropped(&mut path, &sent, &sent.bytes()), Reason::SourceRoute);
    }
}

#[test]
fn rfc_7915_5_1_extension_headers_go() {
    for (mut path, flow, packet) in ipv6_senders() {
        for extensions in [
            vec![hop_by_hop()],
            vec![destination_options(80), routing(2, 0)],
            vec![hop_by_hop(), fragment_header(0, 0, 9), destination_options(8)],
        ] {
            let sent = Crafted { extensions, ..packet.clone() }.payload(b"data");
            let (_, out) = through(&mut path, &sent, 0);
            let out = out.unwrap();
            let identification = u16::from_be_bytes([out[18], out[19]]);
            let golden =
                Crafted { do_not_fragment: false, identification, ..at_other_side(&flow, &sent) }.bytes();
            assert_eq!(out, golden);
        }
    }
}

#[test]
fn rfc_7915_5_1_a_route_with_segments_left_is_dropped() {
    for (mut path, _, packet) in ipv6_senders() {
        let sent = packet.extension(routing(2, 1));
        assert_eq!(dropped(&mut path, &sent, &sent.bytes()), Reason::SourceRoute);
    }
}

/// IPv6 wants a checksum where IPv4 need not have one.
#[test]
fn rfc_7915_4_5_udp_without_a_checksum_gets_one() {
    for (mut path, _, packet) in ipv4_senders().into_iter().filter(|row| row.2.protocol == 17) {
        for length in [0, 1, 2, 700] {
            let sent = packet.clone().payload(&vec![3; length]);
            let mut frame = sent.bytes();
            frame[40..42].fill(0);
            let (_, out) = send(&mut path, ingress_of(&sent), &frame, 0);
            let out = out.unwrap();
            assert_ne!(out[60..62], [0, 0]);
            assert_eq!(read(&out).payload, sent.payload);
        }
    }
}

/// The data ends where UDP says, not where IP does.
#[test]
fn rfc_768_what_follows_a_datagram_in_its_packet_is_not_summed_up() {
    for (mut path, _, packet) in ipv4_senders().into_iter().filter(|row| row.2.protocol == 17) {
        let sent = packet.payload(b"data");
        let mut frame = [sent.bytes(), vec![0xee; 6]].concat();
        frame[16..18].copy_from_slice(&38u16.to_be_bytes());
        frame[40..42].fill(0);
        fix_ip_checksum(&mut frame);
        let (_, out) = send(&mut path, ingress_of(&sent), &frame, 0);
        let mut out = out.unwrap();
        out.truncate(out.len() - 6);
        out[19] -= 6;
        assert_eq!(read(&out).payload, b"data");
    }
}

/// A sum over pieces that have not come cannot be made: none of them is carried.
#[test]
fn rfc_7915_4_5_pieces_of_udp_without_a_checksum_are_dropped() {
    for (mut path, _, packet) in ipv4_senders().into_iter().filter(|row| row.2.protocol == 17) {
        let sent = packet.payload(&[1; 64]);
        let mut frame = sent.bytes();
        frame[40..42].fill(0);
        let pieces = cut(&frame, &[24, 48], 3);
        let ingress = ingress_of(&sent);
        assert_eq!(process(&mut path, ingress, &pieces[1], 0).0.reason, Reason::FragmentHeld);
        assert_eq!(
            process(&mut path, ingress, &pieces[0], 0),
            (lb_core::verdict::Verdict::drop(Reason::UdpChecksumZero), None)
        );
        assert!(take_extras(&mut path).is_empty());
        assert_eq!(process(&mut path, ingress, &pieces[2], 0).1, None);
    }
}

/// Offset and the flag for more stay; the number is the low half of the long one. Where clients share a source, its port goes into the
/// number (RFC 6864 section 5.3).
#[test]
fn rfc_7915_4_1_and_5_1_1_pieces_stay_pieces_with_their_numbers() {
    for (senders, number, translated) in
        [(ipv4_senders(), 0xbeef, 0xbeef_u32), (ipv6_senders(), 0xdead_beef, 0xbeef)]
    {
        for (mut path, flow, packet) in senders.into_iter().filter(|row| row.2.protocol == 17) {
            let sent = packet.payload(&[8; 100]);
            let out: Vec<Vec<u8>> = cut(&sent.bytes(), &[40, 80], number)
                .iter()
                .map(|piece| send(&mut path, ingress_of(&sent), piece, 0).1.unwrap())
                .collect();
            let whole = join(&out);
            assert_eq!(read(&whole).payload, sent.payload);
            let translated = match sent.source == flow.client && flow.target.is_ipv4() {
                true => u32::from((translated as u16).wrapping_add(flow.source.port().wrapping_mul(0x9e35))),
                false => translated,
            };
            for (frame, expected) in out.iter().zip(cut(&whole, &[40, 80], translated)) {
                assert_eq!(*frame, expected);
            }
            assert_eq!(read(&whole).source, at_other_side(&flow, &sent).source);
        }
    }
}

/// Rows of sections 4.2 and 5.2: type, code and second word of the error that comes in, and of the one that leaves.
#[test]
fn rfc_7915_4_2_errors_of_ipv4_become_these_of_ipv6() {
    let rows = [
        ((3, 0, 0), (1, 0, 0)),
        ((3, 1, 0), (1, 0, 0)),
        ((3, 2, 0), (4, 1, 6)),
        ((3, 3, 0), (1, 4, 0)),
        ((3, 4, 1_400), (2, 0, 1_420)),
        ((3, 4, 1_260), (2, 0, 1_280)),
        ((3, 4, 68), (2, 0, 1_280)),
        ((3, 5, 0), (1, 0, 0)),
        ((3, 6, 0), (1, 0, 0)),
        ((3, 7, 0), (1, 0, 0)),
        ((3, 8, 0), (1, 0, 0)),
        ((3, 9, 0), (1, 1, 0)),
        ((3, 10, 0), (1, 1, 0)),
        ((3, 11, 0), (1, 0, 0)),
        ((3, 12, 0), (1, 0, 0)),
        ((3, 13, 0), (1, 1, 0)),
        ((3, 15, 0), (1, 1, 0)),
        ((11, 0, 0), (3, 0, 0)),
        ((11, 1, 0), (3, 1, 0)),
        ((12, 0, 0 << 24), (4, 0, 0)),
        ((12, 0, 1 << 24), (4, 0, 1)),
        ((12, 0, 2 << 24), (4, 0, 4)),
        ((12, 0, 8 << 24), (4, 0, 7)),
        ((12, 0, 9 << 24), (4, 0, 6)),
        ((12, 2, 12 << 24), (4, 0, 8)),
        ((12, 0, 19 << 24), (4, 0, 24)),
    ];
    for (mut path, flow, packet) in ipv6_senders() {
        let got = through(&mut path, &packet.clone().payload(&[1; 40]), 0).1.unwrap();
        for (before, after) in rows {
            let seen = read_error(&translated(&mut path, &flow, &packet, &got, before).1.unwrap());
            assert_eq!((seen.kind.0, seen.kind.1, seen.word), after, "{before:?}");
        }
        for unknown in [(3, 14, 0), (3, 16, 0), (12, 0, 4 << 24), (12, 0, 20 << 24), (12, 1, 0)] {
            let (reason, out) = translated(&mut path, &flow, &packet, &got, unknown);
            assert_eq!((reason, out), (Reason::IcmpUntranslatable, None), "{unknown:?}");
        }
    }
}

#[test]
fn rfc_7915_5_2_errors_of_ipv6_become_these_of_ipv4() {
    let rows = [
        ((1, 0, 0), (3, 1, 0)),
        ((1, 1, 0), (3, 10, 0)),
        ((1, 2, 0), (3, 1, 0)),
        ((1, 3, 0), (3, 1, 0)),
        ((1, 4, 0), (3, 3, 0)),
        ((2, 0, 1_500), (3, 4, 1_480)),
        ((2, 0, 1_280), (3, 4, 1_260)),
        ((3, 0, 0), (11, 0, 0)),
        ((3, 1, 0), (11, 1, 0)),
        ((4, 0, 0), (12, 0, 0)),
        ((4, 0, 1), (12, 0, 1 << 24)),
        ((4, 0, 4), (12, 0, 2 << 24)),
        ((4, 0, 5), (12, 0, 2 << 24)),
        ((4, 0, 6), (12, 0, 9 << 24)),
        ((4, 0, 7), (12, 0, 8 << 24)),
        ((4, 0, 8), (12, 0, 12 << 24)),
        ((4, 0, 39), (12, 0, 16 << 24)),
        ((4, 1, 0), (3, 2, 0)),
    ];
    for (mut path, flow, packet) in ipv4_senders() {
        let got = through(&mut path, &packet.clone().payload(&[1; 40]), 0).1.unwrap();
        for (before, after) in rows {
            let seen = read_error(&translated(&mut path, &flow, &packet, &got, before).1.unwrap());
            assert_eq!((seen.kind.0, seen.kind.1, seen.word), after, "{before:?}");
        }
        for unknown in [(1, 5, 0), (1, 6, 0), (4, 0, 2), (4, 0, 40), (4, 2, 0)] {
            let (reason, out) = translated(&mut path, &flow, &packet, &got, unknown);
            assert_eq!((reason, out), (Reason::IcmpUntranslatable, None), "{unknown:?}");
        }
    }
}

/// Puts an error about what the other side got through: its reason, and what leaves.
fn translated(
    path: &mut lb_core::datapath::Datapath<'_>,
    flow: &OpenFlow,
    packet: &Crafted,
    got: &[u8],
    (kind, code, word): (u8, u8, u32),
) -> (Reason, Option<Vec<u8>>) {
    let seen = read_ip(got);
    let (ingress, macs) = match packet.source == flow.client {
        true => (INSIDE, (target_mac(number_of(flow.target)), INSIDE_MAC)),
        false => (OUTSIDE, (CLIENT_MAC, OUTSIDE_MAC)),
    };
    let error = icmp_error((kind, code), (seen.destination, seen.source), macs, got, got.len() - 14);
    let (verdict, out) = send(path, ingress, &with_word(error, word), 0);
    (verdict.reason, out)
}

/// The header around an error is translated as any other.
#[test]
fn rfc_7915_4_1_and_5_1_the_code_point_of_an_error_is_copied() {
    for (mut path, flow, packet) in ipv4_senders().into_iter().chain(ipv6_senders()) {
        let got = through(&mut path, &packet.clone().payload(&[1; 40]), 0).1.unwrap();
        let kind = if read_ip(&got).source.is_ipv4() { (3, 3, 0) } else { (1, 4, 0) };
        let out = translated(&mut path, &flow, &packet, &got, kind).1.unwrap();
        assert_eq!(read_ip(&out).tos, 0xc0);
    }
}
