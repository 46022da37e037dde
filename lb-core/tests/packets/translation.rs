//! IPv6 clients of IPv4 targets and the reverse: RFC 7915, RFC 8021. Errors' quotes are in `icmp`.

use std::collections::HashSet;

use lb_core::{datapath::Datapath, verdict::Reason};

use super::{dropped, support::*};

/// An IPv4 packet of each mode: of the client that has IPv6 targets, and of the target that has IPv6 clients.
fn ipv4_senders() -> [(Datapath<'static>, OpenFlow, Crafted); 4] {
    [(v4_to_v6(), 6), (v4_to_v6(), 17), (v6_to_v4(), 6), (v6_to_v4(), 17)].map(|(mode, protocol)| {
        let mut path = mode.path();
        let first = if protocol == 6 { mode.syn() } else { mode.datagram() };
        let flow = OpenFlow::open(&mut path, &first, 0);
        let packet = if mode.is_ipv4() { flow.request(SYN) } else { flow.reply(SYN | ACK) };
        (path, flow, packet)
    })
}

/// The same of IPv6.
fn ipv6_senders() -> [(Datapath<'static>, OpenFlow, Crafted); 4] {
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
    for (mut path, _, packet) in ipv6_senders() {
        let numbers: HashSet<_> =
            (0..200).map(|_| number(&through(&mut path, &packet, 0).1.unwrap())).collect();
        assert_eq!(numbers.len(), 200, "of packets that are the same");
    }
}

/// Its sender has been told that somebody behind it cuts packets up: the packet may be, and has the number for that.
#[test]
fn rfc_7915_5_1_1_an_atomic_fragment_becomes_a_packet_that_may_be_fragmented() {
    for (mut path, flow, packet) in ipv6_senders() {
        for length in [10, 1_300] {
            let sent = packet.clone().payload(&vec![5; length]);
            let [first, second] = [0xdead_0009, 0xbeef_0009].map(|number| {
                let atomic = sent.clone().extension(fragment_header(0, 0, number));
                through(&mut path, &atomic, 0).1.unwrap()
            });
            assert_eq!(first, second, "the low half of the number");
            let identification = number(&first) as u16;
            let golden =
                Crafted { do_not_fragment: false, identification, ..at_other_side(&flow, &sent) }.bytes();
            assert_eq!(first, golden);
            if packet.protocol == 17 {
                let (_, piece) = send(&mut path, ingress_of(&sent), &cut(&sent.bytes(), &[8], 9)[0], 0);
                assert_eq!(number(&piece.unwrap()), identification.into());
            }
        }
    }
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
fn rfc_7915_5_1_a_packet_with_segments_left_is_not_translated_but_answered() {
    for (mut path, _, packet) in ipv6_senders() {
        let sent = packet.extension(routing(2, 1));
        let (verdict, out) = through(&mut path, &sent, 0);
        assert_eq!(verdict.reason, Reason::ParameterProblem);
        let seen = read_error(&out.unwrap());
        assert_eq!((seen.source, seen.destination), (sent.destination.ip(), sent.source.ip()));
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

/// Offset and the flag for more stay. All pieces have one number, of which, in IPv6, the sender's is the low half.
#[test]
fn rfc_7915_4_1_and_5_1_1_pieces_stay_pieces() {
    for (senders, sent_number) in [(ipv4_senders(), 0xbeef), (ipv6_senders(), 0xdead_beef)] {
        for (mut path, flow, packet) in senders.into_iter().filter(|row| row.2.protocol == 17) {
            let sent = packet.payload(&[8; 100]);
            let out: Vec<Vec<u8>> = cut(&sent.bytes(), &[40, 80], sent_number)
                .iter()
                .map(|piece| send(&mut path, ingress_of(&sent), piece, 0).1.unwrap())
                .collect();
            let whole = join(&out);
            assert_eq!(read(&whole).payload, sent.payload);
            let translated = number(&out[0]);
            assert!(sent.source.is_ipv6() || translated & 0xffff == sent_number);
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
        for unknown in [(1, 5, 0), (1, 6, 0), (2, 0, 0), (2, 0, 1_279), (4, 0, 2), (4, 0, 40), (4, 2, 0)] {
            let (reason, out) = translated(&mut path, &flow, &packet, &got, unknown);
            assert_eq!((reason, out), (Reason::IcmpUntranslatable, None), "{unknown:?}");
        }
    }
}

/// Puts an error about what the other side got through: its reason, and what leaves.
fn translated(
    path: &mut Datapath<'_>,
    flow: &OpenFlow,
    packet: &Crafted,
    got: &[u8],
    (kind, code, word): (u8, u8, u32),
) -> (Reason, Option<Vec<u8>>) {
    let (ingress, macs) = match packet.source == flow.client {
        true => (INSIDE, (target_mac(number_of(flow.target)), INSIDE_MAC)),
        false => (OUTSIDE, (CLIENT_MAC, OUTSIDE_MAC)),
    };
    let (from, to) = match packet.source == flow.client {
        true => (flow.target, flow.source),
        false => (flow.client, flow.vip),
    };
    let error = icmp_error((kind, code), (from.ip(), to.ip()), macs, got, got.len() - 14);
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

/// How far the packet had come, as whoever complains has seen it.
#[test]
fn rfc_7915_4_3_and_5_3_a_quote_has_the_time_to_live_that_was_quoted() {
    for (mut path, flow, packet) in ipv4_senders().into_iter().chain(ipv6_senders()) {
        let mut got = through(&mut path, &packet.clone().payload(&[1; 40]), 0).1.unwrap();
        let is_ipv4 = read_ip(&got).source.is_ipv4();
        let kind = if is_ipv4 { (11, 0, 0) } else { (3, 0, 0) };
        for ttl in [1, 2, 62, 255] {
            got[if is_ipv4 { 22 } else { 21 }] = ttl;
            if is_ipv4 {
                fix_ip_checksum(&mut got);
            }
            let out = translated(&mut path, &flow, &packet, &got, kind).1.unwrap();
            assert_eq!(read_ip(&read_error(&out).quote).ttl, ttl);
        }
    }
}

/// The error that leaves when a sender's packet of so many bytes of data is quoted up to so many bytes, in a field without which no
/// extension is: padded to 64-bit words, and to 128 bytes.
fn extended(
    (mut path, flow, packet): (Datapath<'static>, OpenFlow, Crafted),
    (kind, code, word): (u8, u8, u32),
    (data, quoted): (usize, usize),
) -> (Crafted, SeenError) {
    let sent = packet.payload(&(0..data).map(|at| at as u8).collect::<Vec<_>>());
    let mut got = through(&mut path, &sent, 0).1.unwrap();
    got.truncate(14 + quoted);
    let field = (got.len() - 14).next_multiple_of(8).max(128);
    got.resize(14 + field, 0);
    got.extend(EXTENSION);
    let told = if sent.source.is_ipv4() { (field / 8) << 24 } else { (field / 4) << 16 };
    let (_, out) = translated(&mut path, &flow, &sent, &got, (kind, code, word | told as u32));
    (sent, read_error(&out.unwrap()))
}

/// The quote in the other family's length, padded, its length in the other's words, and the extension as it was.
#[test]
fn rfc_7915_4_2_and_5_2_an_extension_goes_along_behind_a_field_of_the_length_that_is_told() {
    for (data, quoted) in [(4, 200), (1_000, 60), (1_000, 128), (1_000, 133), (1_000, 480), (1_000, 1_000)] {
        for (sender, code) in ipv4_senders().into_iter().chain(ipv6_senders()).zip([0, 1].into_iter().cycle())
        {
            let is_ipv4 = sender.2.source.is_ipv4();
            let kind = if is_ipv4 { (3, code, 0) } else { (11, code, 0) };
            let (sent, seen) = extended(sender, kind, (data, quoted));
            let (told, unit, header, gone) = match is_ipv4 {
                true => (seen.word >> 16, 4, 20, 40),
                false => (seen.word >> 24, 8, 40, 20),
            };
            let field = told as usize * unit;
            let (quote, extension) = seen.quote[14..].split_at(field);
            assert_eq!(extension, EXTENSION, "{data} {quoted}");
            assert!(field >= 128 && (!is_ipv4 || 28 + field + extension.len() <= 576));
            let segment = &sent.bytes()[14 + header..];
            let length = segment.len().min(quoted - gone).min(field - header);
            assert_eq!(quote[header..header + length], segment[..length]);
            assert!(quote[header + length..].iter().all(|byte| *byte == 0), "padding");
            let padding = (field - header).saturating_sub(length);
            assert!(field == 128 || quoted < 128 || padding < 8 + unit, "of both families, and no more");
        }
    }
}

/// "Packet too big" and the problems of headers have no place for a length in IPv6.
#[test]
fn rfc_4884_4_an_error_that_cannot_have_an_extension_has_none_nor_its_padding() {
    for (before, after) in
        [((3, 4, 1_400), (2, 0, 1_420)), ((3, 2, 0), (4, 1, 6)), ((12, 0, 8 << 24), (4, 0, 7))]
    {
        for sender in ipv6_senders() {
            let (sent, seen) = extended(sender, before, (4, 200));
            assert_eq!((seen.kind.0, seen.kind.1, seen.word), after);
            assert_eq!(seen.quote[54..], sent.bytes()[54..], "what was quoted, and no more");
        }
    }
}

/// A length that reaches behind the message, or is shorter than an extension allows, is none (RFC 4884 section 5.5).
#[test]
fn rfc_4884_a_length_that_is_not_possible_is_not_believed() {
    for (mut path, flow, packet) in ipv4_senders().into_iter().chain(ipv6_senders()) {
        let sent = packet.payload(&[6; 200]);
        let got = through(&mut path, &sent, 0).1.unwrap();
        let kind = if sent.source.is_ipv4() { (1, 4) } else { (3, 3) };
        for told in [1, 15, 200, 255] {
            let word = if sent.source.is_ipv4() { told << 24 } else { told << 16 };
            let seen =
                read_error(&translated(&mut path, &flow, &sent, &got, (kind.0, kind.1, word)).1.unwrap());
            assert_eq!(seen.word, 0);
            assert_eq!(read_ip(&seen.quote).payload, read_ip(&sent.bytes()).payload);
        }
    }
}

/// One object, an MPLS label (RFC 4950); its checksum is its own.
const EXTENSION: [u8; 12] = [0x20, 0, 0x86, 0x77, 0, 8, 1, 1, 0x12, 0x34, 0x51, 0x3f];
