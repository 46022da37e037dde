//! Rewriting addresses and ports: RFC 768, RFC 1624, RFC 3022, RFC 4787, RFC 7857, RFC 2474, RFC 3168, RFC 6888.

use std::net::SocketAddr;

use lb_core::{
    datapath::Settings,
    limits,
    tables::{FlowPolicy, NextHop},
    time::Instant,
    verdict::{Action, Reason},
};

use super::{dropped, one_family_modes, support::*};

/// Modes in which every flow has a source of ours.
fn translating_modes() -> [Mode; 4] {
    let [v4, v6] = source_translating_modes();
    [v4, v6, v4_to_v6(), v6_to_v4()]
}

/// The golden frames: what leaves is, byte for byte, what the sender would have sent there, one hop on.
#[test]
fn rfc_3022_4_1_nothing_but_addresses_ports_and_time_to_live_changes() {
    for mode in one_family_modes() {
        for first in [mode.syn(), mode.datagram()] {
            let mut path = mode.path();
            let flow = OpenFlow::open(&mut path, &first, 0);
            for length in [0, 1, 2, 3, 1_400] {
                let payload: Vec<u8> = (0..length).map(|at| (at * 7) as u8).collect();
                let request = flow.request(ACK | PSH).payload(&payload);
                let (_, out) = through(&mut path, &request, 0);
                assert_eq!(out.unwrap(), flow.at_target(&request).bytes(), "{} {length}", mode.name);
                let reply = flow.reply(SYN | ACK).payload(&payload);
                let (_, out) = through(&mut path, &reply, 0);
                assert_eq!(out.unwrap(), flow.at_client(&reply).bytes(), "{} {length}", mode.name);
            }
        }
    }
}

#[test]
fn rfc_3022_4_1_a_wrong_checksum_is_never_right_on_the_way_out() {
    for mode in modes() {
        for first in [mode.syn(), mode.datagram()] {
            let mut path = mode.path();
            let flow = OpenFlow::open(&mut path, &first, 0);
            for packet in [flow.request(SYN), flow.reply(SYN | ACK)] {
                for bit in 0..16 {
                    let mut frame = packet.clone().payload(b"data").bytes();
                    let last = frame.len() - 1 - bit / 8;
                    frame[last] ^= 1 << (bit % 8);
                    let (_, out) = send(&mut path, ingress_of(&packet), &frame, 0);
                    assert_eq!(is_checksum_right(&out.unwrap()), Some(false), "{} bit {bit}", mode.name);
                }
            }
        }
    }
}

#[test]
fn rfc_768_no_checksum_stays_none_over_ipv4() {
    for mode in one_family_modes().filter(Mode::is_ipv4) {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
        for packet in [flow.request(0), flow.reply(0)] {
            let mut frame = packet.bytes();
            frame[40..42].fill(0);
            let (_, out) = send(&mut path, ingress_of(&packet), &frame, 0);
            assert_eq!(out.unwrap()[40..42], [0, 0], "{}", mode.name);
        }
    }
}

/// A payload word that makes the outgoing checksum's sum come out as all ones.
#[test]
fn rfc_768_a_computed_checksum_of_zero_is_sent_as_all_ones() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
        for is_request in [true, false] {
            let make = |word: u16| {
                let packet = if is_request { flow.request(0) } else { flow.reply(0) };
                packet.payload(&word.to_be_bytes())
            };
            let checksum_out = |path: &mut _, word| {
                let out = through(path, &make(word), 0).1.unwrap();
                let at = if out[12] == 0x08 { 40 } else { 60 };
                u16::from_be_bytes([out[at], out[at + 1]])
            };
            // A word more in the data is a word less in the checksum.
            let word = checksum_out(&mut path, 0);
            assert_eq!(checksum_out(&mut path, word), 0xffff, "{}", mode.name);
            assert!(is_checksum_right(&through(&mut path, &make(word), 0).1.unwrap()).unwrap());
        }
    }
}

/// The sums that RFC 1624 is about: one's complement has two zeros.
#[test]
fn rfc_1624_checksums_near_zero_come_out_right() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        let base = flow.request(ACK).payload(&[0, 0]).bytes();
        let at = if mode.is_ipv4() { 50 } else { 70 };
        let sum = u16::from_be_bytes([base[at], base[at + 1]]);
        for word in [sum.wrapping_sub(1), sum, sum.wrapping_add(1)] {
            // `read` verifies what leaves.
            flow.to_target(&mut path, &flow.request(ACK).payload(&word.to_be_bytes()), 0);
            flow.to_client(&mut path, &flow.reply(ACK).payload(&word.to_be_bytes()), 0);
        }
    }
}

/// Of every header field in turn: what comes out verifies.
#[test]
fn rfc_1624_header_checksums_stay_right_for_every_identification() {
    for mode in one_family_modes().filter(Mode::is_ipv4) {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        for identification in (0..=u16::MAX).step_by(13).chain([0xffff]) {
            for do_not_fragment in [true, false] {
                let request = Crafted { identification, do_not_fragment, ..flow.request(ACK) };
                flow.to_target(&mut path, &request, 0);
            }
        }
    }
}

#[test]
fn rfc_2474_and_rfc_3168_code_point_and_congestion_bits_stay() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        for tos in [0x00, 0x01, 0x02, 0x03, 0xb8, 0xbb, 0xff] {
            let request = Crafted { tos, ..flow.request(ACK) };
            assert_eq!(flow.to_target(&mut path, &request, 0).tos, tos, "{}", mode.name);
            let reply = Crafted { tos, ..flow.reply(ACK) };
            assert_eq!(flow.to_client(&mut path, &reply, 0).tos, tos, "{}", mode.name);
        }
    }
}

#[test]
fn rfc_4787_req_1_a_clients_port_keeps_its_mapping_while_the_flow_lives() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
        for second in (0..1_000).step_by(100) {
            flow.to_target(&mut path, &flow.request(0), second * 1_000);
        }
    }
}

#[test]
fn rfc_4787_req_5_datagrams_of_the_client_refresh_a_flow_and_120_s_of_silence_end_it() {
    for mode in modes() {
        for (silence_ms, lives) in [(120_000, true), (120_001, false)] {
            let mut path = mode.path();
            let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
            flow.to_target(&mut path, &flow.request(0), 100_000);
            let (verdict, _) = through(&mut path, &flow.reply(0), 100_000 + silence_ms);
            assert_eq!(verdict.reason == Reason::FlowHit, lives, "{}", mode.name);
        }
    }
}

/// The timeout is the listener's, short or long.
#[test]
fn rfc_4787_req_5_a_udp_flow_lives_for_its_listeners_idle_timeout() {
    for mode in modes() {
        for udp_idle_s in [10, 30, 6_000] {
            let scene = Scene { udp_idle_s, ..mode.scene.clone() };
            let idle_ms = u64::from(udp_idle_s) * 1_000;
            let mut path = leaked_datapath(256, settings(), &scene);
            let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
            for round in 1..=4 {
                let (verdict, out) = through(&mut path, &flow.request(0), idle_ms * round);
                assert_eq!(verdict.reason, Reason::FlowHit, "{} {udp_idle_s} s", mode.name);
                assert_eq!(read(&out.unwrap()).destination, flow.target);
            }
            flow.to_client(&mut path, &flow.reply(0), idle_ms * 5);
            let late = flow.reply(0);
            assert_eq!(through(&mut path, &late, idle_ms * 6 + 1).0.reason, Reason::NoFlow, "{}", mode.name);
            path.expire(Instant::from_millis(0));
            path.expire(Instant::from_millis(idle_ms * 6 + 1));
            assert_eq!(path.counters().expired.value(), 1, "{}", mode.name);
            assert_books_balance(path.counters());
        }
    }
}

/// Beyond what it asks for: datagrams of the target refresh a flow, too, as on NLB.
#[test]
fn rfc_4787_req_6_datagrams_of_the_target_refresh_a_flow() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
        for at_ms in [120_000, 240_000, 360_000] {
            flow.to_client(&mut path, &flow.reply(0), at_ms);
        }
        assert_eq!(through(&mut path, &flow.request(0), 480_000).0.reason, Reason::FlowHit, "{}", mode.name);
    }
}

#[test]
fn rfc_4787_req_8_a_targets_packet_without_a_flow_never_leaves_as_the_vips() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        let stranger = (mode.client.ip(), 50_000).into();
        let of_nobody = OpenFlow {
            source: if flow.source == flow.client { stranger } else { (flow.source.ip(), 50_001).into() },
            ..flow.clone()
        };
        for flags in [SYN, SYN | ACK, ACK, FIN | ACK] {
            let (verdict, out) = through(&mut path, &of_nobody.reply(flags), 0);
            assert_eq!(verdict.reason, Reason::ResetNoFlow, "{}", mode.name);
            assert_eq!(read(&out.unwrap()).destination, flow.target, "back to the target");
        }
        for packet in [of_nobody.reply(RST), OpenFlow { protocol: 17, ..of_nobody.clone() }.reply(0)] {
            assert_eq!(dropped(&mut path, &packet, &packet.bytes()), Reason::NoFlow, "{}", mode.name);
        }
        // From another port than the flow's, or another target.
        let elsewhere = Crafted { source: (flow.target.ip(), 9_999).into(), ..flow.reply(ACK) };
        assert_eq!(dropped(&mut path, &elsewhere, &elsewhere.bytes()), Reason::NoListener);
        let other = number_of(flow.target) % 3 + 1;
        let other = Crafted { source: mode.scene.target(other), ..flow.reply(ACK) };
        assert_ne!(through(&mut path, &other, 0).0.reason.action(), Action::Transmit, "{}", mode.name);
    }
}

/// Nor when the table is full, or was: only answers to a datagram that went without a flow pass, for as long as the flow would live.
#[test]
fn rfc_4787_req_8_a_full_table_lets_no_datagram_of_a_target_pass_but_answers() {
    for mode in preserving_modes() {
        let hops = vec![(mode.client.ip(), NextHop { interface: OUTSIDE, mac: CLIENT_MAC })];
        let mut path = leaked_datapath(64, settings(), &Scene { hops, ..mode.scene.clone() });
        for port in 1..=64 {
            OpenFlow::open(&mut path, &udp((mode.client.ip(), port), mode.dns()), 0);
        }
        let asked = OpenFlow::open(&mut mode.path(), &mode.datagram(), 0);
        assert_eq!(
            through(&mut path, &asked.request(0), 60_000).0.reason,
            Reason::Stateless,
            "{}",
            mode.name
        );
        asked.to_client(&mut path, &asked.reply(0), 60_000);
        for port in 50_000..50_100 {
            let stranger: SocketAddr = (mode.client.ip(), port).into();
            let unasked = OpenFlow { client: stranger, source: stranger, ..asked.clone() }.reply(0);
            for at_ms in [60_000, 130_000] {
                assert_eq!(through(&mut path, &unasked, at_ms).0.reason, Reason::NoFlow, "{}", mode.name);
            }
        }
        // There is room again.
        (115_000..=130_000).step_by(1_000).for_each(|at_ms| path.expire(Instant::from_millis(at_ms)));
        assert_eq!(
            through(&mut path, &asked.reply(0), 130_000).0.reason,
            Reason::FlowAdopted,
            "{}",
            mode.name
        );
        asked.to_target(&mut path, &asked.request(0), 130_000);
        let late = u64::from(limits::UDP_IDLE_S) * 1_000 + 130_001;
        assert_eq!(through(&mut path, &asked.reply(0), late).0.reason, Reason::NoFlow, "{}", mode.name);
    }
}

/// The pick rule is the same for an empty table and for a full one.
#[test]
fn rfc_4787_req_11_the_target_does_not_depend_on_load() {
    for mode in preserving_modes() {
        let mut empty = mode.path();
        let mut full = leaked_datapath(64, settings(), &mode.scene);
        for port in 1..=64 {
            through(&mut full, &udp((mode.client.ip(), port), mode.dns()), 0);
        }
        for port in 10_000..10_200 {
            let client = SocketAddr::new(mode.client.ip(), port);
            let syn = tcp(client, mode.web(), SYN);
            let flow = OpenFlow::open(&mut empty, &syn, 0);
            assert_eq!(through(&mut full, &syn, 0).0.reason, Reason::Stateless);
            flow.to_target(&mut full, &syn, 0);
        }
    }
}

/// With full NAT, too: a flow that there is room for goes where it would go alone, up to the last one; one that there is no room for
/// goes nowhere.
#[test]
fn rfc_4787_req_11_with_sources_of_ours_a_flow_goes_to_its_target_or_nowhere() {
    for mode in translating_modes() {
        let few_ports = Scene { sources: sources(5_000..=5_049), ..mode.scene.clone() };
        let mut alone = leaked_datapath(8_192, settings(), &mode.scene);
        let mut full = leaked_datapath(256, settings(), &mode.scene);
        let mut without_ports = leaked_datapath(8_192, settings(), &few_ports);
        let mut refused = 0;
        for port in 1..=300 {
            let datagram = udp((mode.client.ip(), port), mode.dns());
            let target = OpenFlow::open(&mut alone, &datagram, 0).target;
            if port <= 256 {
                assert_eq!(OpenFlow::open(&mut full, &datagram, 0).target, target, "{} {port}", mode.name);
            } else {
                assert_eq!(dropped(&mut full, &datagram, &datagram.bytes()), Reason::FlowTableFull);
            }
            match through(&mut without_ports, &datagram, 0) {
                (_, Some(out)) => assert_eq!(read(&out).destination, target, "{} {port}", mode.name),
                (verdict, None) => {
                    assert_eq!(verdict.reason, Reason::NoSourcePort);
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, 300 - 3 * 50, "{}", mode.name);
    }
}

/// A client that comes back at once gets another port, until the old one has rested.
#[test]
fn rfc_6888_req_8_a_freed_port_rests_before_it_is_used_again() {
    for mode in source_translating_modes() {
        let scene = Scene { sources: sources(2_000..=2_000), ..mode.scene.clone().with_targets(1) };
        let mut path = leaked_datapath(256, settings(), &scene);
        let other = |port: u16| udp((mode.client.ip(), port), mode.dns());
        OpenFlow::open(&mut path, &other(1), 0);
        let ended_ms = u64::from(limits::UDP_IDLE_S) * 1_000 + 1;
        assert_eq!(through(&mut path, &other(2), ended_ms).0.reason, Reason::NoSourcePort);
        let rested_ms = ended_ms + u64::from(limits::REST_S) * 1_000;
        assert_eq!(through(&mut path, &other(2), rested_ms).0.reason, Reason::NoSourcePort);
        assert_eq!(through(&mut path, &other(2), rested_ms + 11).0.reason, Reason::FlowNew);
    }
}

/// Where no state is kept, nothing is promised: without room there is no flow whose source is translated.
#[test]
fn rfc_6888_a_full_table_refuses_flows_with_a_source_of_ours() {
    for mode in source_translating_modes() {
        let mut path = leaked_datapath(64, settings(), &mode.scene);
        for port in 1..=64 {
            OpenFlow::open(&mut path, &udp((mode.client.ip(), port), mode.dns()), 0);
        }
        let one_more = udp((mode.client.ip(), 65), mode.dns());
        assert_eq!(dropped(&mut path, &one_more, &one_more.bytes()), Reason::FlowTableFull);
    }
}

/// It is dropped and counted. The error that REQ-8 allows (ICMP 3/13) is not sent: it would tell a flood that it works.
#[test]
fn rfc_5508_req_8_a_flow_that_there_is_no_room_for_is_dropped_without_an_error() {
    for mode in translating_modes() {
        let one_port = Scene { sources: sources(2_000..=2_000), ..mode.scene.clone().with_targets(1) };
        let one_per_client = Settings { ports_per_client: Some(1), ..settings() };
        for (mut path, opened, reason) in [
            (leaked_datapath(64, settings(), &mode.scene), 64, Reason::FlowTableFull),
            (leaked_datapath(64, settings(), &one_port), 1, Reason::NoSourcePort),
            (leaked_datapath(64, one_per_client, &mode.scene), 1, Reason::ClientPorts),
        ] {
            for port in 1..=opened {
                OpenFlow::open(&mut path, &udp((mode.client.ip(), port), mode.dns()), 0);
            }
            let one_more = udp((mode.client.ip(), opened + 1), mode.dns());
            assert_eq!(dropped(&mut path, &one_more, &one_more.bytes()), reason, "{}", mode.name);
            assert_eq!(path.counters().made.value(), 0, "{}", mode.name);
        }
    }
}

/// Unless a listener has the attribute, its targets see every SYN, and nobody else answers one.
#[test]
fn rfc_4987_syn_cookies_are_off_unless_the_listener_has_them() {
    for mode in modes() {
        for (has_syn_cookies, reason) in [(false, Reason::FlowNew), (true, Reason::SynCookie)] {
            let scene = Scene { has_syn_cookies, ..mode.scene.clone() };
            let mut path = leaked_datapath(64, settings(), &scene);
            let (verdict, out) = through(&mut path, &mode.syn(), 0);
            assert_eq!(verdict.reason, reason, "{}", mode.name);
            let seen = read(&out.unwrap());
            assert_eq!(seen.destination == mode.client, has_syn_cookies);
            assert_eq!(seen.flags, if has_syn_cookies { SYN | ACK } else { SYN });
            assert_eq!(path.counters().flows.value(), u64::from(!has_syn_cookies));
        }
        assert!(!Scene::default().has_syn_cookies);
    }
}

#[test]
fn rfc_4987_half_open_state_is_bounded_and_the_first_to_go() {
    for mode in modes() {
        let mut path = leaked_datapath(64, settings(), &mode.scene);
        let established = mode.connect(&mut path);
        for port in 1..=1_000 {
            through(&mut path, &tcp((mode.client.ip(), port), mode.web(), SYN), 1);
        }
        let most = u64::from(64 / limits::HALF_OPEN_SHARE);
        assert_eq!(path.counters().half_open.value(), most, "{}", mode.name);
        assert_eq!(path.counters().flows.value(), most + 1, "{}", mode.name);
        established.to_target(&mut path, &established.request(ACK), 2);
    }
}

/// Without routing by connection id, a client that changes its address or port is another flow.
#[test]
fn rfc_9000_5_2_and_9_a_client_that_moves_is_a_new_flow() {
    for mode in modes() {
        let scene = Scene { targets: vec![(1, true, FlowPolicy::Keep)], ..mode.scene.clone() };
        let mut path = leaked_datapath(64, settings(), &scene);
        OpenFlow::open(&mut path, &mode.datagram(), 0);
        let moved = udp((mode.client.ip(), 40_001), mode.dns());
        assert_eq!(through(&mut path, &moved, 0).0.reason, Reason::FlowNew);
        assert_eq!(path.counters().flows.value(), 2);
    }
}
