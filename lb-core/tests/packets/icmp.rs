//! ICMP and ICMPv6 errors about packets of flows: RFC 792, RFC 4787, RFC 5382, RFC 5508, RFC 6633, RFC 6918, RFC 7915, RFC 8201.

use std::net::IpAddr;

use lb_core::{
    datapath::Datapath,
    steer::{Steer, Steering},
    verdict::Reason,
};

use super::{
    assert_books_balance,
    complained::{Complained, complained},
    support::*,
};

/// Bytes of a transport header that quotes have: the ports alone, the 8 of RFC 792, up to and behind the checksums, and more.
const CUTS: [usize; 8] = [4, 5, 6, 8, 16, 18, 21, 300];

/// REQ-4 and REQ-5, of one family: the sender reads its own packet in the quote, one hop on, however short the quote is. `read_error`
/// verifies the outer, the ICMP and the quoted IP checksum; the quoted transport checksum is part of the golden bytes.
#[test]
fn rfc_5508_req_4_and_5_an_error_reaches_the_sender_of_the_packet_about_its_own_packet() {
    for mode in modes().into_iter().filter(|mode| mode.is_ipv4() == (mode.scene.target_family == Family::V4))
    {
        for (mut path, it) in complained(&mode) {
            for cut in CUTS {
                let quoted = it.ip_header() + cut;
                let (reason, out) = it.send(&mut path, &it.error(it.router(), quoted));
                assert_eq!(reason, Reason::IcmpError, "{} {cut}", mode.name);
                let seen = read_error(&out.unwrap());
                assert_eq!((seen.source, seen.destination), (it.router(), it.sent.source.ip()));
                assert_eq!((seen.word, seen.ttl), (1_400, 63), "the MTU stays");
                let (sender_mac, own_mac) = it.sent.macs;
                assert_eq!(seen.macs, (own_mac, sender_mac));
                let own = Crafted { ttl: it.sent.ttl - 1, ..it.sent.clone() }.bytes();
                assert_eq!(seen.quote[14..], own[14..14 + quoted], "{} {cut}", mode.name);
            }
        }
    }
}

/// Whoever made it, it was not us: neither side is told, in any mode.
#[test]
fn rfc_1812_5_3_7_and_rfc_2827_an_error_from_an_own_address_is_dropped() {
    for mode in modes() {
        for (mut path, it) in complained(&mode) {
            let family = if it.receiver().is_ipv4() { Family::V4 } else { Family::V6 };
            for own in own_addresses(family) {
                let outcome = it.send(&mut path, &it.error(own, it.ip_header() + 8));
                assert_eq!(outcome, (Reason::OwnSource, None), "{} {own}", mode.name);
            }
            let error = it.error(it.router(), it.ip_header() + 8);
            assert_eq!(it.send(&mut path, &error).0, Reason::IcmpError, "{}", mode.name);
        }
    }
}

/// The same between families: an error of the other family, whose quote is the sender's packet with an IP header made anew.
#[test]
fn rfc_7915_4_3_and_5_3_an_error_reaches_a_sender_of_the_other_family() {
    for mode in [v4_to_v6(), v6_to_v4()] {
        for (mut path, it) in complained(&mode) {
            for cut in CUTS {
                let (reason, out) = it.send(&mut path, &it.error(it.router(), it.ip_header() + cut));
                assert_eq!(reason, Reason::IcmpError, "{} {cut}", mode.name);
                let seen = read_error(&out.unwrap());
                assert_eq!((seen.source, seen.destination), (it.apparent_receiver(), it.sent.source.ip()));
                assert_eq!(seen.ttl, 63);
                let own = it.sent.bytes();
                let header = if it.sent.source.is_ipv4() { 34 } else { 54 };
                assert_eq!(seen.quote[header..], own[header..header + cut], "{} {cut}", mode.name);
                let (length, addresses) = if header == 34 { (16..18, 26..34) } else { (18..20, 22..54) };
                assert_eq!(seen.quote[length.clone()], own[length]);
                assert_eq!(seen.quote[addresses.clone()], own[addresses]);
            }
        }
    }
}

/// The receiver's own complaint comes from whom the sender knows it by.
#[test]
fn rfc_5508_req_5_an_error_of_the_receiver_itself_does_not_show_its_address() {
    for mode in modes() {
        for (mut path, it) in complained(&mode) {
            let (reason, out) = it.send(&mut path, &it.error(it.receiver(), it.ip_header() + 8));
            assert_eq!(reason, Reason::IcmpError, "{}", mode.name);
            let seen = read_error(&out.unwrap());
            assert_eq!((seen.source, seen.destination), (it.apparent_receiver(), it.sent.source.ip()));
        }
    }
}

#[test]
fn rfc_5508_req_3_an_error_with_a_wrong_checksum_is_dropped() {
    for mode in modes() {
        for (mut path, it) in complained(&mode) {
            let mut error = it.error(it.router(), it.ip_header() + 8);
            *error.last_mut().unwrap() ^= 1;
            assert_eq!(it.send(&mut path, &error), (Reason::IcmpChecksum, None), "{}", mode.name);
            if it.receiver().is_ipv4() {
                let mut error = it.error(it.router(), it.ip_header() + 8);
                error[42 + 10] ^= 1; // The quoted header's checksum.
                fix_icmp_checksum(&mut error);
                assert_eq!(it.send(&mut path, &error), (Reason::IcmpQuote, None), "{}", mode.name);
            }
        }
    }
}

/// It may be cut in half, and whether it was right is the sender's affair: it stays as wrong as it was.
#[test]
fn rfc_5508_req_3_the_quoted_transport_checksum_is_not_verified() {
    for mode in modes() {
        for (mut path, it) in complained(&mode) {
            let mut error = it.error(it.router(), it.got.len() - 14);
            *error.last_mut().unwrap() ^= 0x55;
            fix_icmp_checksum(&mut error);
            for error in
                [error, it.error(it.router(), it.ip_header() + 7), it.error(it.router(), it.ip_header() + 17)]
            {
                let (reason, out) = it.send(&mut path, &error);
                assert_eq!(reason, Reason::IcmpError, "{}", mode.name);
                read_error(&out.unwrap());
            }
        }
    }
}

/// A sum of zero has two forms, and the one on the wire is the sender's.
#[test]
fn rfc_768_a_quoted_udp_checksum_of_all_ones_is_given_back() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
        for is_request in [true, false] {
            let packet = |word: u16| {
                if is_request { flow.request(0) } else { flow.reply(0) }.payload(&word.to_be_bytes())
            };
            let at = if packet(0).source.is_ipv4() { 40 } else { 60 };
            let sum = packet(0).bytes()[at..at + 2].try_into().unwrap();
            let sent = packet(u16::from_be_bytes(sum));
            assert_eq!(sent.bytes()[at..at + 2], [0xff, 0xff]);
            let got = through(&mut path, &sent, 0).1.unwrap();
            let it = Complained { flow: flow.clone(), sent, got, is_request };
            let (_, out) = it.send(&mut path, &it.error(it.router(), it.ip_header() + 10));
            assert_eq!(read_error(&out.unwrap()).quote[at..at + 2], [0xff, 0xff], "{}", mode.name);
        }
    }
}

#[test]
fn rfc_5508_req_4_an_error_about_a_packet_of_no_flow_is_dropped_in_silence() {
    for mode in modes() {
        for (mut path, it) in complained(&mode) {
            let l4 = it.got.len() - read_ip(&it.got).payload.len();
            for port_at in [l4 + 1, l4 + 3] {
                let mut of_nobody =
                    Complained { got: it.got.clone(), flow: it.flow.clone(), sent: it.sent.clone(), ..it };
                of_nobody.got[port_at] ^= 1;
                let error = of_nobody.error(it.router(), it.ip_header() + 8);
                let (reason, out) = it.send(&mut path, &error);
                assert_eq!((reason, out), (Reason::IcmpNoFlow, None), "{}", mode.name);
            }
        }
    }
}

/// How far a flow has come when its last packet is complained about.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Datagrams,
    HalfOpen,
    Established,
}

impl Stage {
    /// A flow with its last packet at 0, and how long it lives from then on, in milliseconds.
    fn reach(self, mode: &Mode, is_request: bool) -> (Datapath<'static>, Complained, u64) {
        let mut path = mode.path();
        let (flow, flags, idle_ms) = match self {
            Stage::Datagrams => (OpenFlow::open(&mut path, &mode.datagram(), 0), [0, 0], 120_000),
            Stage::HalfOpen => (OpenFlow::open(&mut path, &mode.syn(), 0), [SYN, SYN | ACK], 30_000),
            Stage::Established => (mode.connect(&mut path), [ACK, ACK], 350_000),
        };
        let sent = if is_request { flow.request(flags[0]) } else { flow.reply(flags[1]) };
        let got = through(&mut path, &sent, 0).1.unwrap();
        (path, Complained { flow, sent, got, is_request }, idle_ms)
    }
}

/// Of no kind, about a packet of neither side, of neither protocol, in no state: each goes to the packet's sender, and the flow lives as
/// long as it would without them, not a millisecond less or more.
#[test]
fn rfc_4787_req_12_and_rfc_5382_req_10_and_rfc_5508_req_6_no_error_ends_or_refreshes_a_flow() {
    for mode in modes() {
        for stage in [Stage::Datagrams, Stage::HalfOpen, Stage::Established] {
            for is_request in [true, false] {
                for is_over in [false, true] {
                    let (mut path, it, idle_ms) = stage.reach(&mode, is_request);
                    for error in it.errors_of_all_kinds() {
                        for at_ms in [1, idle_ms] {
                            let (reason, out) = it.send_at(&mut path, &error, at_ms);
                            assert_eq!(reason, Reason::IcmpError, "{} {stage:?} {is_request}", mode.name);
                            assert_eq!(read_error(&out.unwrap()).destination, it.sent.source.ip());
                        }
                    }
                    let (reply, past) = match stage {
                        Stage::Datagrams => (it.flow.reply(0), Reason::NoFlow),
                        Stage::HalfOpen => (it.flow.reply(SYN | ACK), Reason::ResetNoFlow),
                        Stage::Established => (it.flow.reply(ACK), Reason::ResetNoFlow),
                    };
                    let expected = if is_over { past } else { Reason::FlowHit };
                    let (verdict, _) = through(&mut path, &reply, idle_ms + u64::from(is_over));
                    assert_eq!(verdict.reason, expected, "{} {stage:?} {is_request}", mode.name);
                    assert_books_balance(path.counters());
                }
            }
        }
    }
}

#[test]
fn rfc_5508_a_quote_that_is_no_packet_from_here_is_dropped() {
    for mode in modes() {
        for (mut path, it) in complained(&mode) {
            let header = it.ip_header();
            // Without ports, to somebody who did not send what is quoted, a later piece, another protocol.
            let short = it.error(it.router(), header + 3);
            assert_eq!(it.send(&mut path, &short), (Reason::IcmpTruncated, None), "{}", mode.name);
            let elsewhere = if it.receiver().is_ipv4() { IpAddr::V4(CLIENT) } else { IpAddr::V6(CLIENT6) };
            let elsewhere = if elsewhere == it.apparent_sender() { target_address(&it) } else { elsewhere };
            let astray = icmp_error((3, 3), (it.router(), elsewhere), it.macs(), &it.got, header + 8);
            assert_eq!(it.send(&mut path, &astray).1, None, "{}", mode.name);
            let later = piece(&it.got, 8..64, 1);
            let mut about_later =
                Complained { got: later, flow: it.flow.clone(), sent: it.sent.clone(), ..it };
            let error = about_later.error(it.router(), about_later.got.len() - 14);
            assert_eq!(it.send(&mut path, &error), (Reason::IcmpQuote, None), "{}", mode.name);
            about_later.got = it.got.clone();
            let kind = if it.receiver().is_ipv4() { 23 } else { 20 };
            about_later.got[kind] = 47;
            if it.receiver().is_ipv4() {
                fix_ip_checksum(&mut about_later.got);
            }
            let error = about_later.error(it.router(), header + 8);
            assert_eq!(it.send(&mut path, &error), (Reason::IcmpQuote, None), "{}", mode.name);
        }
    }
}

fn target_address(it: &Complained) -> IpAddr {
    if it.receiver().is_ipv4() { target(77).into() } else { target6(77).into() }
}

/// RFC 6633: source quench; RFC 6918: the old queries. Pings are the kernel's, and get here by no steering.
#[test]
fn rfc_6633_and_rfc_6918_messages_that_are_no_errors_are_ignored() {
    for mode in modes() {
        for (mut path, it) in complained(&mode) {
            let others: &[u8] = match it.receiver().is_ipv4() {
                true => &[0, 4, 5, 6, 8, 9, 10, 13, 14, 15, 16, 17, 18, 30, 37, 40, 255],
                false => &[0, 5, 100, 127, 128, 129, 130, 133, 134, 135, 136, 137, 255],
            };
            for &kind in others {
                let message = it.error_of((kind, 0), it.router(), it.ip_header() + 8);
                assert_eq!(it.send(&mut path, &message), (Reason::IcmpType, None), "{} {kind}", mode.name);
            }
        }
    }
}

/// Queries are not translated: an echo is the kernel's, by which the load balancer's own addresses can be pinged, whoever asks or
/// answers. One that got here all the same would go nowhere.
#[test]
fn rfc_5508_req_1_and_2_echo_is_not_translated_but_left_to_the_kernel() {
    for mode in modes() {
        let tables = mode.scene.tables();
        let steering = Steering::new(&tables, &[]);
        for (mut path, it) in complained(&mode) {
            let about = &it.got;
            let (receiver, sender) = (it.receiver(), it.apparent_sender());
            for kind in if receiver.is_ipv4() { [8, 0] } else { [128, 129] } {
                let echo = icmp_error((kind, 0), (receiver, sender), it.macs(), about, it.ip_header() + 8);
                let expected = match sender {
                    _ if sender == mode.vip => Reason::PassIcmp,
                    _ if tables.is_source(sender) => Reason::PassHost,
                    _ => Reason::PassNotOurs,
                };
                assert_eq!(steering.steer(&echo), Steer::Pass(expected), "{} {kind}", mode.name);
                assert_eq!(it.send(&mut path, &echo), (Reason::IcmpType, None), "{} {kind}", mode.name);
            }
        }
    }
}

#[test]
fn rfc_792_a_message_in_pieces_is_dropped() {
    for mode in modes() {
        for (mut path, it) in complained(&mode) {
            for part in cut(&it.error(it.router(), it.ip_header() + 300), &[160], 3) {
                assert_eq!(it.send(&mut path, &part), (Reason::Fragment, None), "{}", mode.name);
            }
        }
    }
}

#[test]
fn rfc_8201_4_an_mtu_that_ipv6_does_not_have_is_passed_on_and_changes_nothing_here() {
    let [_, _, preserving, translating, ..] = modes();
    for mode in [preserving, translating] {
        for (mut path, it) in complained(&mode) {
            let error = with_word(it.error(it.router(), it.ip_header() + 8), 600);
            assert_eq!(read_error(&it.send(&mut path, &error).1.unwrap()).word, 600);
            assert_eq!(through(&mut path, &it.sent, 2).0.reason, Reason::FlowHit, "as long as before");
        }
    }
}

#[test]
fn rfc_1122_3_2_2_no_error_is_made_about_an_error() {
    for mode in modes() {
        for (mut path, it) in complained(&mode) {
            let mut error = it.error(it.router(), it.ip_header() + 8);
            if it.receiver().is_ipv4() {
                error[22] = 1;
                fix_ip_checksum(&mut error);
            } else {
                error[21] = 1;
            }
            assert_eq!(it.send(&mut path, &error), (Reason::TtlExpired, None), "{}", mode.name);
        }
    }
}
