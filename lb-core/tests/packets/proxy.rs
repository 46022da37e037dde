//! PROXY headers of version 2, read by their specification and not by our own code: "The PROXY protocol", sections 2.2 and 2.2.3.
//! How they fare on a network with losses is in `tests/proxy`.

use std::net::{IpAddr, SocketAddr};

use lb_core::tables::HeaderPlacement;

use super::{assert_books_balance, support::*};

/// Checks that bytes begin with a header that says who called whom; how many of them are the header's.
fn header_of(bytes: &[u8], flow: &OpenFlow) -> usize {
    assert_eq!(bytes[..12], *b"\r\n\r\n\0\r\nQUIT\n");
    let (family, addresses) = if flow.client.is_ipv4() { (0x10, 12) } else { (0x20, 36) };
    let transport = if flow.protocol == 6 { 1 } else { 2 };
    assert_eq!(bytes[12..14], [0x21, family | transport], "version 2, a client's, its family and protocol");
    let length = 16 + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    let ends: Vec<u8> = [address(flow.client), address(flow.vip)].concat();
    let ports = [flow.client.port().to_be_bytes(), flow.vip.port().to_be_bytes()].concat();
    assert_eq!(bytes[16..16 + addresses], [ends, ports].concat(), "the client, and the VIP that it called");
    let sum_at = 16 + addresses + 3;
    assert_eq!(bytes[sum_at - 3..sum_at], [3, 0, 4], "a CRC32C of 4 bytes");
    let mut summed = bytes[..length].to_vec();
    summed[sum_at..sum_at + 4].fill(0);
    assert_eq!(bytes[sum_at..sum_at + 4], crc32c(&summed).to_be_bytes());
    length
}

fn address(end: SocketAddr) -> Vec<u8> {
    match end.ip() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// CRC32C bit by bit (RFC 3720 appendix B.4).
fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |sum: u32, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg());
    !bytes.iter().fold(!0, |sum, &byte| (0..8).fold(sum ^ u32::from(byte), bit))
}

/// The first numbers of both sides.
const CLIENTS: u32 = 0x1000_0000;
const TARGETS: u32 = 0x2000_0000;

/// Once, before the client's first byte, and never again; to the target the connection begins earlier by the header's length, and every
/// later segment of either side, to the last, has the number that this makes right.
#[test]
fn proxy_v2_2_2_a_stream_begins_with_one_header_and_numbers_fit_to_its_end() {
    for mode in modes() {
        let proxy_header = Some(HeaderPlacement::OnFirstAckWithPayload);
        let mut path = leaked_datapath(64, settings(), &Scene { proxy_header, ..mode.scene.clone() });
        let flow = OpenFlow::open(&mut path, &mode.syn(), 0);
        let from_client = |flags, byte: u32, payload: &[u8]| {
            let (sequence, acknowledgement) = (CLIENTS + byte, TARGETS + 1);
            Crafted { sequence, acknowledgement, ..flow.request(flags) }.payload(payload)
        };
        let from_target = |flags, number: u32, acknowledgement| Crafted {
            sequence: number,
            acknowledgement,
            ..flow.reply(flags)
        };
        let begun = flow.to_target(&mut path, &mode.syn(), 0).sequence;
        let header = CLIENTS - begun;
        let told = flow.to_client(&mut path, &from_target(SYN | ACK, TARGETS, begun + 1), 0);
        assert_eq!(told.acknowledgement, CLIENTS + 1, "{}", mode.name);
        let seen = flow.to_target(&mut path, &from_client(ACK, 1, b""), 0);
        assert_eq!((seen.sequence, seen.payload), (begun + 1, vec![]), "{}", mode.name);

        let seen = flow.to_target(&mut path, &from_client(ACK | PSH, 1, b"hello"), 0);
        assert_eq!((seen.sequence, header_of(&seen.payload, &flow)), (begun + 1, header as usize));
        assert_eq!(seen.payload[header as usize..], *b"hello", "{}", mode.name);
        let told = flow.to_client(&mut path, &from_target(ACK, TARGETS + 1, CLIENTS + 6), 0);
        assert_eq!(told.acknowledgement, CLIENTS + 6, "{}", mode.name);

        for (flags, byte, payload) in [(ACK | PSH, 6, &b"world"[..]), (FIN | ACK, 11, b""), (ACK, 12, b"")] {
            let seen = flow.to_target(&mut path, &from_client(flags, byte, payload), 0);
            assert_eq!((seen.sequence, &seen.payload[..]), (begun + header + byte, payload), "{}", mode.name);
            let reply = from_target(flags, TARGETS + 1, CLIENTS + byte + payload.len() as u32);
            let told = flow.to_client(&mut path, &reply, 0);
            assert_eq!((told.sequence, told.acknowledgement), (reply.sequence, reply.acknowledgement));
        }
        assert_books_balance(path.counters());
    }
}

#[test]
fn proxy_v2_2_2_every_datagram_begins_with_a_header() {
    for mode in modes() {
        let proxy_header = Some(HeaderPlacement::OnFirstAckWithPayload);
        let mut path = leaked_datapath(64, settings(), &Scene { proxy_header, ..mode.scene.clone() });
        let flow = OpenFlow::open(&mut path, &mode.datagram(), 0);
        for payload in [&b"odd"[..], b"even", b""] {
            let seen = flow.to_target(&mut path, &flow.request(0).payload(payload), 0);
            let length = header_of(&seen.payload, &flow);
            assert_eq!(seen.payload[length..], *payload, "{}", mode.name);
            assert_eq!(flow.to_client(&mut path, &flow.reply(0).payload(payload), 0).payload, payload);
        }
        assert_books_balance(path.counters());
    }
}
