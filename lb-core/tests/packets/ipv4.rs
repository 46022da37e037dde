//! The IPv4 header: RFC 791, RFC 1812, RFC 7126.

use lb_core::verdict::Reason;

use super::{dropped, support::*};

fn mode() -> Mode {
    let [v4, ..] = modes();
    v4
}

/// A good SYN with a fault, its header checksum right again.
fn faulty(fault: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = mode().syn().bytes();
    fault(&mut frame);
    if frame.len() >= 34 {
        fix_ip_checksum(&mut frame);
    }
    frame
}

fn reason_of(frame: &[u8]) -> Reason {
    dropped(&mut mode().path(), &mode().syn(), frame)
}

#[test]
fn rfc_1812_5_2_2_each_fault_of_the_header_has_its_counter() {
    for (reason, frame) in [
        (Reason::Ipv4Truncated, faulty(|frame| frame.truncate(14 + 19))),
        (Reason::Ipv4Checksum, {
            let mut frame = mode().syn().bytes();
            frame[24] ^= 1;
            frame
        }),
        (Reason::Ipv4Version, faulty(|frame| frame[14] = 0x55)),
        (Reason::Ipv4Version, faulty(|frame| frame[14] = 0x65)),
        (Reason::Ipv4HeaderLength, faulty(|frame| frame[14] = 0x44)),
        (Reason::Ipv4HeaderLength, faulty(|frame| frame[14] = 0x40)),
        (Reason::Ipv4TotalLength, faulty(|frame| frame[16..18].copy_from_slice(&[0, 19]))),
        (Reason::Ipv4TotalLength, faulty(|frame| frame[16..18].copy_from_slice(&[0, 41]))),
    ] {
        assert_eq!(reason_of(&frame), reason);
    }
}

/// Of two faults, the one that RFC 1812 looks for first is counted.
#[test]
fn rfc_1812_5_2_2_the_checks_are_made_in_their_order() {
    let wrong_sum = |fault: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = faulty(fault);
        frame[24] ^= 1;
        frame
    };
    for (first, frame) in [
        (Reason::Ipv4Truncated, wrong_sum(&|frame| frame.truncate(33))),
        (Reason::Ipv4Checksum, wrong_sum(&|frame| frame[14] = 0x65)),
        (Reason::Ipv4Checksum, wrong_sum(&|frame| frame[16..18].copy_from_slice(&[0, 19]))),
        (Reason::Ipv4Version, faulty(|frame| frame[14] = 0x64)),
        (Reason::Ipv4HeaderLength, {
            let mut frame = faulty(|frame| frame[16..18].copy_from_slice(&[0, 15]));
            frame[14] = 0x44;
            frame
        }),
        (Reason::Ipv4TotalLength, faulty(|frame| (frame[17], frame[22]) = (19, 0))),
    ] {
        assert_eq!(reason_of(&frame), first);
    }
}

#[test]
fn rfc_791_a_frame_longer_than_its_packet_is_padding() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        let request = flow.request(ACK);
        let padded = [request.bytes(), vec![0xee; 6]].concat();
        let (_, out) = send(&mut path, OUTSIDE, &padded, 0);
        assert_eq!(read(&out.unwrap()).payload, request.payload, "{}", mode.name);
    }
}

#[test]
fn rfc_1812_5_3_1_ttl_is_decremented_once() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        for ttl in [2, 64, 255] {
            let request = Crafted { ttl, ..flow.request(ACK) };
            assert_eq!(flow.to_target(&mut path, &request, 0).ttl, ttl - 1, "{}", mode.name);
            let reply = Crafted { ttl, ..flow.reply(ACK) };
            assert_eq!(flow.to_client(&mut path, &reply, 0).ttl, ttl - 1, "{}", mode.name);
        }
    }
}

#[test]
fn rfc_1812_5_3_1_ttl_zero_is_never_forwarded() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        for packet in [flow.request(ACK), flow.reply(ACK)] {
            let packet = Crafted { ttl: 0, ..packet };
            assert_eq!(dropped(&mut path, &packet, &packet.bytes()), Reason::TtlExpired, "{}", mode.name);
        }
    }
}

#[test]
fn rfc_1812_5_3_4_link_multicast_carrying_unicast_or_as_a_source_is_neither_forwarded_nor_answered() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        for mac in [[0xff; 6], [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]] {
            // A new flow, a packet of a flow, a stray that would be reset, and one that would be told that its time is over.
            for packet in [
                mode.datagram(),
                flow.request(ACK),
                tcp((mode.client.ip(), 50_000), mode.web(), ACK),
                Crafted { ttl: 1, ..flow.request(ACK) },
            ] {
                for place in [0..6, 6..12] {
                    let mut frame = packet.bytes();
                    frame[place].copy_from_slice(&mac);
                    assert_eq!(dropped(&mut path, &packet, &frame), Reason::LinkMulticast, "{}", mode.name);
                }
            }
        }
    }
}

#[test]
fn a_frame_for_another_station_is_dropped() {
    for mode in modes() {
        let packet = mode.syn().macs(CLIENT_MAC, target_mac(9));
        assert_eq!(dropped(&mut mode.path(), &packet, &packet.bytes()), Reason::OtherMac);
    }
}

#[test]
fn rfc_7126_4_3_and_4_4_source_routes_are_dropped_wherever_they_stand() {
    for kind in [131, 137] {
        for options in [
            vec![kind, 7, 4, 1, 2, 3, 4, 0],
            vec![1, kind, 7, 4, 1, 2, 3, 4],
            vec![7, 4, 4, 0, kind, 3, 4, 0],
        ] {
            let packet = Crafted { options, ..mode().syn() };
            assert_eq!(reason_of(&packet.bytes()), Reason::SourceRoute);
        }
    }
}

#[test]
fn rfc_791_3_1_an_option_whose_length_is_not_possible_is_dropped() {
    for options in [
        vec![7, 0x40, 4, 0], // Past the header.
        vec![7, 0, 4, 0],    // Too short for itself.
        vec![99, 1, 0, 0],
        vec![1, 1, 1, 7], // None at all.
        vec![148, 4, 0, 0, 68, 5, 0, 0],
    ] {
        let packet = Crafted { options, ..mode().syn() };
        assert_eq!(reason_of(&packet.bytes()), Reason::Ipv4Options, "{:?}", packet.options);
    }
}

/// One rule for all other options: they pass as they are.
#[test]
fn rfc_7126_other_options_pass_unchanged() {
    for mode in modes().into_iter().filter(|mode| mode.is_ipv4() && mode.scene.target_family == Family::V4) {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        for options in [
            vec![7, 7, 4, 0, 0, 0, 0, 0],  // Record route.
            vec![68, 8, 5, 0, 0, 0, 0, 1], // Timestamp.
            vec![148, 4, 0, 0],            // Router alert.
            vec![1; 40],                   // As many as there can be.
            vec![0, 131, 7, 4],            // Behind the end.
            vec![99, 4, 0, 0],             // Of no known kind.
        ] {
            let request = Crafted { options: options.clone(), ..flow.request(ACK) };
            let (_, out) = through(&mut path, &request, 0);
            assert_eq!(out.unwrap(), flow.at_target(&request).bytes(), "{}: {options:?}", mode.name);
        }
    }
}
