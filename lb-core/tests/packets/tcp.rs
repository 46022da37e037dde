//! TCP across the load balancer: RFC 5382, RFC 5961, RFC 7857, RFC 9293.

use lb_core::{tables::FlowPolicy, verdict::Reason};

use super::{assert_books_balance, dropped, support::*};

/// One segment: from the client or from the target, its flags.
#[derive(Clone, Copy, Debug)]
enum Segment {
    Client(u8),
    Target(u8),
}

use Segment::{Client, Target};

/// Puts segments through a new flow; each comes out at the other side.
fn play(mode: &Mode, segments: &[Segment]) {
    let mut path = mode.path();
    let flow = OpenFlow::open(&mut path, &mode.syn().payload(b"early"), 0);
    for segment in segments {
        match *segment {
            Client(flags) => {
                let seen = flow.to_target(&mut path, &flow.request(flags).payload(b"data"), 1);
                assert_eq!(
                    (seen.flags, &seen.payload[..]),
                    (flags, &b"data"[..]),
                    "{} {segment:?}",
                    mode.name
                );
            }
            Target(flags) => {
                let seen = flow.to_client(&mut path, &flow.reply(flags).payload(b"data"), 1);
                assert_eq!(
                    (seen.flags, &seen.payload[..]),
                    (flags, &b"data"[..]),
                    "{} {segment:?}",
                    mode.name
                );
            }
        }
    }
}

#[test]
fn rfc_5382_req_2_every_legal_sequence_of_segments_passes() {
    for mode in modes() {
        // Data in the SYN, and repeated SYNs.
        play(&mode, &[Client(SYN), Client(SYN), Target(SYN | ACK), Target(SYN | ACK), Client(ACK)]);
        // Simultaneous open.
        play(&mode, &[Target(SYN), Client(SYN | ACK), Target(SYN | ACK), Client(ACK), Target(ACK)]);
        // Half close by the client, and by the target.
        let half =
            [Client(ACK), Client(FIN | ACK), Target(ACK), Target(ACK | PSH), Target(FIN | ACK), Client(ACK)];
        play(&mode, &[&[Target(SYN | ACK)], &half[..]].concat());
        let half =
            [Client(ACK), Target(FIN | ACK), Client(ACK), Client(ACK | PSH), Client(FIN | ACK), Target(ACK)];
        play(&mode, &[&[Target(SYN | ACK)], &half[..]].concat());
        // Simultaneous close, and repeated FINs.
        let both =
            [Client(ACK), Client(FIN | ACK), Target(FIN | ACK), Client(ACK), Target(ACK), Client(FIN | ACK)];
        play(&mode, &[&[Target(SYN | ACK)], &both[..]].concat());
        // Segments that carry ECN's and urgent flags.
        play(&mode, &[Target(SYN | ACK | 0x40), Client(ACK | 0x80), Client(ACK | 0x20), Target(ACK | 0xc0)]);
    }
}

#[test]
fn rfc_5382_req_2_a_connection_may_be_silent_for_its_idle_timeout_in_every_state() {
    for mode in modes() {
        for before in [&[][..], &[Client(FIN | ACK)], &[Target(FIN | ACK)]] {
            let mut path = mode.path();
            let flow = mode.connect(&mut path);
            for segment in before {
                match *segment {
                    Client(flags) => flow.to_target(&mut path, &flow.request(flags), 0),
                    Target(flags) => flow.to_client(&mut path, &flow.reply(flags), 0),
                };
            }
            flow.to_target(&mut path, &flow.request(ACK), 350_000);
            flow.to_client(&mut path, &flow.reply(ACK), 700_000);
            assert_eq!(through(&mut path, &flow.request(ACK), 1_050_001).0.reason, Reason::ResetNoFlow);
        }
    }
}

/// A forged reset reaches its victim, who knows what to do with it, but moves nothing here: 4 minutes long the port pair stays
/// with its target.
#[test]
fn rfc_7857_a_reset_is_translated_and_its_flow_kept_for_four_minutes() {
    for mode in modes() {
        for forged in [Client(RST), Target(RST | ACK)] {
            let mut path = mode.path();
            let flow = mode.connect(&mut path);
            match forged {
                Client(flags) => assert_eq!(flow.to_target(&mut path, &flow.request(flags), 0).flags, RST),
                Target(flags) => {
                    assert_eq!(flow.to_client(&mut path, &flow.reply(flags), 0).flags, RST | ACK)
                }
            }
            flow.to_target(&mut path, &flow.request(ACK), 240_000);
            flow.to_client(&mut path, &flow.reply(ACK), 240_000 + 349_000);
            flow.to_target(&mut path, &flow.request(RST), 600_000);
            assert_eq!(through(&mut path, &flow.request(ACK), 840_001).0.reason, Reason::ResetNoFlow);
        }
    }
}

/// The timeout is the listener's, short or long.
#[test]
fn rfc_5382_req_5_a_connection_lives_for_its_listeners_idle_timeout() {
    for mode in modes() {
        for tcp_idle_s in [60, 400, 6_000] {
            let scene = Scene { tcp_idle_s, ..mode.scene.clone() };
            let idle_ms = u64::from(tcp_idle_s) * 1_000;
            for late in [Client(ACK), Target(ACK)] {
                let mut path = leaked_datapath(256, settings(), &scene);
                let flow = mode.connect(&mut path);
                flow.to_target(&mut path, &flow.request(ACK), idle_ms);
                flow.to_client(&mut path, &flow.reply(ACK), idle_ms * 2);
                let late = match late {
                    Client(flags) => flow.request(flags),
                    Target(flags) => flow.reply(flags),
                };
                let (verdict, _) = through(&mut path, &late, idle_ms * 3 + 1);
                assert_eq!(verdict.reason, Reason::ResetNoFlow, "{} {tcp_idle_s} s", mode.name);
                assert_books_balance(path.counters());
            }
        }
    }
}

/// Whatever the sequence number, and though no new flow would get this target any more. It answers by a challenge ACK, which reaches
/// the client, and the connection goes on.
#[test]
fn rfc_5961_a_reset_or_a_syn_on_an_established_flow_goes_to_the_same_target() {
    for mode in modes() {
        for flags in [RST, RST | ACK, SYN, SYN | ACK] {
            for sequence in [0, 0x1000_0000, 0x1000_0001, u32::MAX] {
                let mut path = mode.path();
                let flow = mode.connect(&mut path);
                let mut scene = Scene { generation: 2, ..mode.scene.clone() };
                scene.targets.retain(|row| row.0 != number_of(flow.target));
                scene.targets.push((number_of(flow.target), false, FlowPolicy::Keep));
                path.install(scene.tables());
                let odd = Crafted { sequence, ..flow.request(flags) };
                let seen = flow.to_target(&mut path, &odd, 1);
                assert_eq!((seen.flags, seen.sequence), (flags, sequence), "{}", mode.name);
                assert_eq!(flow.to_client(&mut path, &flow.reply(ACK), 1).flags, ACK);
                flow.to_target(&mut path, &flow.request(ACK), 300_000);
                assert_eq!(path.counters().flows.value(), 1, "{}", mode.name);
            }
        }
    }
}

#[test]
fn rfc_9293_3_7_1_options_pass_untouched_however_odd() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.syn(), 0);
        for tcp_options in [
            vec![2, 4, 0x05, 0xb4, 4, 2, 1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7],
            vec![2, 3, 5, 0], // A segment size of one byte,
            vec![2, 0, 5, 0], // of no length,
            vec![2, 2, 1, 1], // and of none at all.
            vec![1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2, 0],
            vec![0xff; 40],
        ] {
            let mut tcp_options = tcp_options;
            tcp_options.resize(tcp_options.len().next_multiple_of(4), 0);
            for flags in [SYN, ACK] {
                let request = Crafted { tcp_options: tcp_options.clone(), ..flow.request(flags) };
                assert_eq!(flow.to_target(&mut path, &request, 0).tcp_options, tcp_options, "{}", mode.name);
            }
            let reply = Crafted { tcp_options: tcp_options.clone(), ..flow.reply(SYN | ACK) };
            assert_eq!(flow.to_client(&mut path, &reply, 0).tcp_options, tcp_options, "{}", mode.name);
        }
    }
}

#[test]
fn rfc_9293_3_1_segments_that_are_not_legal_are_dropped() {
    for mode in modes() {
        let l4 = if mode.is_ipv4() { 34 } else { 54 };
        for (reason, at, value) in [
            (Reason::TcpHeaderLength, 12, 0x40),
            (Reason::TcpHeaderLength, 12, 0x60),
            (Reason::PortZero, 1, 0),
        ] {
            let mut frame = mode.syn().bytes();
            frame[l4 + at] = value;
            if at == 1 {
                frame[l4] = 0;
            }
            assert_eq!(dropped(&mut mode.path(), &mode.syn(), &frame), reason, "{}", mode.name);
        }
        for flags in [0, PSH, SYN | FIN, SYN | RST, SYN | FIN | RST | ACK | PSH | 0x20] {
            let packet = tcp(mode.client, mode.web(), flags);
            assert_eq!(
                dropped(&mut mode.path(), &packet, &packet.bytes()),
                Reason::TcpFlags,
                "{}",
                mode.name
            );
        }
    }
}

#[test]
fn rfc_768_datagrams_with_an_impossible_length_are_dropped() {
    for mode in modes() {
        let at = if mode.is_ipv4() { 38 } else { 58 };
        for length in [0, 7, 13] {
            let mut frame = mode.datagram().bytes();
            frame[at..at + 2].copy_from_slice(&[0, length]);
            assert_eq!(dropped(&mut mode.path(), &mode.datagram(), &frame), Reason::UdpLength);
        }
    }
}
