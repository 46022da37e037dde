//! Source addresses that no packet may have: RFC 1812, RFC 2827, RFC 4291, RFC 6890.

use std::net::IpAddr;

use lb_core::{limits, time::Instant, verdict::Reason};

use super::{assert_books_balance, dropped, support::*};

fn own(mode: &Mode) -> Vec<IpAddr> {
    own_addresses(if mode.is_ipv4() { Family::V4 } else { Family::V6 })
}

/// Asserts that clients with these addresses are served, or not.
fn assert_served(rows: &[(&str, bool)]) {
    let [v4, _, v6, ..] = modes();
    for &(source, is_served) in rows {
        let source: IpAddr = source.parse().unwrap();
        let mode = if source.is_ipv4() { &v4 } else { &v6 };
        for packet in [mode.syn(), mode.datagram()] {
            let packet = Crafted { source: (source, 40_000).into(), ..packet };
            let mut path = mode.path();
            match is_served {
                true => assert_eq!(through(&mut path, &packet, 0).0.reason, Reason::FlowNew, "{source}"),
                false => {
                    assert_eq!(
                        dropped(&mut path, &packet, &packet.bytes()),
                        Reason::MartianSource,
                        "{source}"
                    );
                }
            }
        }
    }
}

#[test]
fn rfc_1812_5_3_7_and_rfc_4291_2_5_martian_sources_are_dropped() {
    assert_served(&[
        ("224.0.0.1", false),
        ("239.1.1.1", false),
        ("223.255.255.1", true),
        ("::", false),
        ("ff02::1", false),
        ("ff0e::1", false),
        ("fe80::1", false),
        ("febf::1", false),
        ("fec0::1", true),
    ]);
}

/// The first and the last of each block, with those beside it. Documentation prefixes are served on purpose.
#[test]
fn rfc_6890_2_2_2_of_the_special_ipv4_blocks_only_those_with_senders_are_served() {
    assert_served(&[
        ("0.0.0.0", false),
        ("0.255.255.255", false),
        ("1.0.0.0", true),
        ("10.0.0.1", true),
        ("100.64.0.1", true),
        ("126.255.255.255", true),
        ("127.0.0.0", false),
        ("127.255.255.255", false),
        ("128.0.0.0", true),
        ("169.253.255.255", true),
        ("169.254.0.0", false),
        ("169.254.255.255", false),
        ("169.255.0.0", true),
        ("172.16.0.1", true),
        ("191.255.255.255", true),
        ("192.0.0.0", true),    // 192.0.0.0/29: IPv4 service continuity (RFC 7335).
        ("192.0.0.8", true),    // The dummy address (RFC 7600).
        ("192.0.0.9", true),    // Port Control Protocol, anycast (RFC 7723).
        ("192.0.0.10", true),   // TURN, anycast (RFC 8155).
        ("192.0.0.11", false),  // The rest of 192.0.0.0/24.
        ("192.0.0.170", false), // NAT64 and DNS64 discovery (RFC 8880).
        ("192.0.0.255", false),
        ("192.0.1.0", true),
        ("192.0.2.1", true),
        ("192.88.99.1", true),
        ("192.168.0.1", true),
        ("198.51.100.1", true),
        ("203.0.113.1", true),
        ("240.0.0.0", false),
        ("255.255.255.255", false),
    ]);
}

#[test]
fn rfc_6890_2_2_3_of_the_special_ipv6_blocks_only_those_with_senders_are_served() {
    assert_served(&[
        ("::1", false),
        ("::198.18.0.2", false), // IPv4-compatible, deprecated (RFC 4291 section 2.5.5.1).
        ("::ffff:198.18.0.2", false),
        ("::1:0:0:0", true),
        ("64:ff9b::c612:2", true),
        ("64:ff9b:1::1", true),
        ("100::1", true),
        ("2000:ffff::1", true),
        ("2001::1", true),   // Teredo (RFC 4380).
        ("2001:1::", false), // 2001::/23 but for what is assigned there.
        ("2001:1::1", true), // Anycast: Port Control Protocol, TURN, DNS-SD (RFC 7723, RFC 8155, RFC 9665).
        ("2001:1::3", true),
        ("2001:1::4", false),
        ("2001:1:0:1::1", false),
        ("2001:2::1", true), // Benchmarks (RFC 5180).
        ("2001:2:1::1", false),
        ("2001:3::1", true),      // AMT (RFC 7450).
        ("2001:4:112::53", true), // AS112 (RFC 7535).
        ("2001:4:113::53", false),
        ("2001:10::1", false), // ORCHID, returned (RFC 4843).
        ("2001:1f:ffff::1", false),
        ("2001:20::1", true),      // ORCHIDv2 (RFC 7343).
        ("2001:3f:ffff::1", true), // Drones' identities (RFC 9374).
        ("2001:40::1", false),
        ("2001:1ff:ffff::1", false),
        ("2001:200::1", true),
        ("2001:db8::77", true),
        ("2002::1", true),
        ("3fff::1", true),
        ("fc00::1", true),
    ]);
}

/// Whatever a packet from an address of ours would come to else: a flow, a reset, an error, nothing. From either side.
#[test]
fn rfc_1812_5_3_7_and_rfc_2827_a_packet_from_an_own_address_is_dropped_before_all_else() {
    for mode in modes() {
        let mut path = leaked_datapath(256, settings(), &Scene { adopts_strays: true, ..mode.scene.clone() });
        let mut reset = mode.path();
        for source in own(&mode) {
            let nobodys = tcp(mode.client, (mode.client.ip(), 81), SYN).macs(target_mac(1), INSIDE_MAC);
            let strays = [tcp(mode.client, mode.web(), ACK), tcp(mode.client, (mode.vip, 81), SYN), nobodys];
            for packet in [mode.syn(), mode.datagram()].into_iter().chain(strays) {
                for ttl in [1, 2, 64] {
                    let packet = Crafted { source: (source, 40_000).into(), ttl, ..packet.clone() };
                    let reason = dropped(&mut path, &packet, &packet.bytes());
                    assert_eq!(reason, Reason::OwnSource, "{} {packet:?}", mode.name);
                    assert_eq!(dropped(&mut reset, &packet, &packet.bytes()), Reason::OwnSource);
                }
            }
        }
    }
}

#[test]
fn rfc_1812_5_3_7_and_rfc_2827_a_piece_from_an_own_address_is_not_kept() {
    for mode in modes() {
        let mut path = mode.path();
        for source in own(&mode) {
            let datagram = Crafted { source: (source, 40_000).into(), ..mode.datagram() }.payload(&[1; 64]);
            for piece in cut(&datagram.bytes(), &[16, 32], 9).iter().rev() {
                assert_eq!(dropped(&mut path, &datagram, piece), Reason::OwnSource, "{} {source}", mode.name);
            }
        }
        path.expire(Instant::from_millis(limits::HELD_FRAGMENT_S * 1_000));
        assert_eq!(path.counters().reasons[Reason::FragmentLost as usize].value(), 0);
        assert_books_balance(path.counters());
    }
}

/// Neither packets nor pieces are handed over, whichever worker they come to.
#[test]
fn rfc_2827_what_comes_from_an_own_address_bothers_no_other_worker() {
    for mode in modes() {
        let mut fleet = Fleet::new(4, 256, &mode.scene);
        for (source, port) in own(&mode).into_iter().flat_map(|source| [(source, 40_000), (source, 40_001)]) {
            let from = |packet: Crafted| Crafted { source: (source, port).into(), ..packet };
            let pieces = cut(&from(mode.datagram()).payload(&[1; 64]).bytes(), &[16], port.into());
            for frame in pieces.into_iter().chain([from(mode.syn()).bytes(), from(mode.datagram()).bytes()]) {
                for queue in 0..4 {
                    let delivery = fleet.send(queue, OUTSIDE, &frame, 0);
                    assert_eq!(delivery.hand_overs, 0, "{}", mode.name);
                    assert_eq!(delivery.reasons(), [Reason::OwnSource], "{}", mode.name);
                }
            }
        }
        fleet.assert_books_balance();
    }
}

/// A flow that the address has already goes on: packets of flows are not asked.
#[test]
fn rfc_1812_5_3_7_an_address_that_becomes_the_hosts_opens_no_more_flows() {
    for mode in modes() {
        let mut path = mode.path();
        let flow = mode.connect(&mut path);
        let scene = Scene { generation: 2, host_addresses: vec![mode.client.ip()], ..mode.scene.clone() };
        path.install(scene.tables());
        flow.to_target(&mut path, &flow.request(ACK), 0);
        let next = Crafted { source: (mode.client.ip(), 40_001).into(), ..mode.syn() };
        assert_eq!(dropped(&mut path, &next, &next.bytes()), Reason::OwnSource, "{}", mode.name);
        path.install(Scene { generation: 3, ..mode.scene.clone() }.tables());
        assert_eq!(through(&mut path, &next, 0).0.reason, Reason::FlowNew, "{}", mode.name);
    }
}
