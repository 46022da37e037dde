//! The identification of IPv4 packets: RFC 6864, RFC 7857.

use std::{collections::HashSet, net::SocketAddr};

use super::{one_family_modes, support::*};

/// Of TCP and UDP, from clients of either family: no two that share source, target and protocol have one number, though they had.
#[test]
fn rfc_7857_and_rfc_6864_5_3_clients_of_one_source_do_not_meet_in_their_identifications() {
    let [v4, _] = source_translating_modes();
    for mode in [v4, v6_to_v4()] {
        let mut path = leaked_datapath(512, settings(), &mode.scene.clone().with_targets(1));
        let [mut of_tcp, mut of_udp] = [HashSet::new(), HashSet::new()];
        for at in 0..60 {
            let (last, port) = (10 + at % 4, 10_000 + u16::from(at));
            let client: SocketAddr = match mode.is_ipv4() {
                true => ([198, 18, 0, last], port).into(),
                false => ([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)], port).into(),
            };
            let connection = OpenFlow::connect(&mut path, client, mode.web(), 0);
            let alike = |packet| Crafted { identification: 7, do_not_fragment: false, ..packet };
            let segment = connection.to_target(&mut path, &alike(connection.request(ACK)), 0);
            let (_, datagram) = through(&mut path, &alike(udp(client, mode.dns())), 0);
            let datagram = read(&datagram.unwrap());
            assert_eq!(datagram.source.ip(), segment.source.ip());
            assert!(of_tcp.insert(segment.header[4..6].to_vec()), "{} TCP {at}", mode.name);
            assert!(of_udp.insert(datagram.header[4..6].to_vec()), "{} UDP {at}", mode.name);
        }
    }
}

/// Nor do datagrams that come in pieces; the pieces of one keep a number in common.
#[test]
fn rfc_7857_and_rfc_6864_5_3_pieces_of_clients_of_one_source_do_not_meet_either() {
    let [v4, _] = source_translating_modes();
    for mode in [v4, v6_to_v4()] {
        let mut path = leaked_datapath(256, settings(), &mode.scene.clone().with_targets(1));
        let mut seen = HashSet::new();
        for port in 10_000..10_060 {
            let datagram = udp((mode.client.ip(), port), mode.dns()).payload(&[7; 100]);
            let pieces = cut(&datagram.bytes(), &[40, 80], u32::from(port) << 16 | 7);
            let numbers: HashSet<[u8; 2]> = pieces
                .iter()
                .map(|piece| send(&mut path, OUTSIDE, piece, 0).1.unwrap())
                .map(|out| [out[18], out[19]])
                .collect();
            assert_eq!(numbers.len(), 1, "{}: of one datagram", mode.name);
            assert!(seen.is_disjoint(&numbers), "{}: port {port}", mode.name);
            seen.extend(numbers);
        }
    }
}

/// An atomic packet's identification means nothing, and stays.
#[test]
fn rfc_6864_4_1_atomic_packets_keep_their_identification() {
    for mode in one_family_modes().filter(Mode::is_ipv4) {
        for first in [mode.syn(), mode.datagram()] {
            let mut path = mode.path();
            let flow = OpenFlow::open(&mut path, &first, 0);
            let request = Crafted { identification: 0xabcd, ..flow.request(SYN) };
            assert_eq!(flow.to_target(&mut path, &request, 0).header[4..6], [0xab, 0xcd], "{}", mode.name);
            let reply = Crafted { identification: 0xabcd, ..flow.reply(SYN | ACK) };
            assert_eq!(flow.to_client(&mut path, &reply, 0).header[4..6], [0xab, 0xcd], "{}", mode.name);
        }
    }
}
