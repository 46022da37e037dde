//! Network address translation of IPv4 packets: addresses, ports, time to live, and both checksums by RFC 1624 deltas, so that
//! one that was wrong stays wrong.

use super::identification::Ports;
use crate::{
    flow::{Deltas, Direction, Flow, Hop},
    flow_key::{End, FlowKey},
    parse::{Packet, Piece, plain},
    tables::Mac,
    wire::{
        checksum::{Delta, TTL_DECREMENT},
        ethernet, ipv4, l4,
    },
};

/// Rewrites a packet of a plain `flow` in place, as it leaves by the end opposite to the one that it came in at.
#[inline]
pub fn apply(frame: &mut [u8], packet: &Packet, flow: &Flow, direction: Direction, from: Mac, to: Mac) {
    let FlowKey::V4(key) = &packet.key else { return };
    let out = flow.end(direction.opposite());
    let Deltas { ip: ip_delta, l4: l4_delta } = Deltas::between(&key.end, out);
    let Some((head, segment)) = frame.split_at_mut_checked(usize::from(packet.l4)) else { return };
    let Some((ethernet, header)) = head.split_first_chunk_mut::<{ ethernet::HEADER }>() else { return };
    ethernet[ethernet::DESTINATION].copy_from_slice(&to.0);
    ethernet[ethernet::SOURCE].copy_from_slice(&from.0);

    let Some(header) = header.first_chunk_mut::<{ ipv4::HEADER }>() else { return };
    header[ipv4::TTL] -= 1; // The caller lets no packet with less than 2 through.
    header[ipv4::SOURCE].copy_from_slice(&out.local);
    header[ipv4::DESTINATION].copy_from_slice(&out.remote);
    update(&mut header[ipv4::CHECKSUM], ip_delta.and(TTL_DECREMENT));
    if is_renumbered(header, packet.piece, flow, direction) {
        renumber(header, out);
    }
    if packet.piece == Piece::Later {
        return;
    }
    if packet.is_udp() {
        let Some(header) = segment.first_chunk_mut::<{ l4::udp::HEADER }>() else { return };
        header[l4::SOURCE_PORT].copy_from_slice(&out.local_port);
        header[l4::DESTINATION_PORT].copy_from_slice(&out.remote_port);
        update_udp(&mut header[l4::udp::CHECKSUM..], l4_delta);
    } else {
        let Some(header) = segment.first_chunk_mut::<{ l4::tcp::HEADER }>() else { return };
        header[l4::SOURCE_PORT].copy_from_slice(&out.local_port);
        header[l4::DESTINATION_PORT].copy_from_slice(&out.remote_port);
        update(&mut header[l4::tcp::CHECKSUM..l4::tcp::CHECKSUM + 2], l4_delta);
    }
}

/// Rewrites the headers of a whole packet without IP options in place, as [`apply`] does, but for the identification: it comes
/// from `sender`, an Ethernet header but for its destination, goes to `to`, and leaves by `out`.
#[inline(always)]
pub(crate) fn apply_plain(
    headers: &mut [u8; plain::HEADERS],
    (sender, to): ([u8; 8], Hop),
    out: &End,
    deltas: Deltas,
    is_udp: bool,
) {
    headers[..8].copy_from_slice(&to.bytes());
    headers[6..ethernet::HEADER].copy_from_slice(&sender);
    headers[ethernet::HEADER + ipv4::TTL] -= 1; // The caller lets no packet with less than 2 through.
    update(&mut headers[24..26], deltas.ip.and(TTL_DECREMENT));
    headers[26..30].copy_from_slice(&out.local);
    headers[30..34].copy_from_slice(&out.remote);
    headers[34..36].copy_from_slice(&out.local_port);
    headers[36..38].copy_from_slice(&out.remote_port);
    if is_udp {
        update_udp(&mut headers[40..42], deltas.l4);
    } else {
        update(&mut headers[50..52], deltas.l4);
    }
}

/// Whether a packet gets another identification, because others of its source number theirs, too (RFC 6864 section 5.3): of clients
/// that share a source address, one that may be cut up, or is; of targets behind a VIP, a piece.
#[inline]
pub(super) fn is_renumbered(
    header: &[u8; ipv4::HEADER],
    piece: Piece,
    flow: &Flow,
    direction: Direction,
) -> bool {
    match direction {
        Direction::Forward if flow.is_source_translated() => {
            let flags = u16::from_be_bytes([header[6], header[7]]);
            flags & (ipv4::DO_NOT_FRAGMENT | ipv4::FRAGMENT_MASK) != ipv4::DO_NOT_FRAGMENT
        }
        Direction::Forward => false,
        Direction::Reverse => piece != Piece::Whole,
    }
}

/// Gives a packet another identification; the pieces of a datagram keep one in common.
#[inline]
fn renumber(header: &mut [u8; ipv4::HEADER], out: &End) {
    let old = [header[4], header[5]];
    let new = Ports(out.local_port, out.remote_port).renumber_ipv4(old);
    header[ipv4::IDENTIFICATION].copy_from_slice(&new);
    update(&mut header[ipv4::CHECKSUM], Delta::replacing(&old, &new));
}

#[inline]
pub(super) fn update(field: &mut [u8], delta: Delta) {
    let checksum = u16::from_be_bytes([field[0], field[1]]);
    field[..2].copy_from_slice(&delta.update(checksum).to_be_bytes());
}

/// RFC 768: 0 says that there is no checksum and stays; a computed 0 is sent as all ones.
#[inline]
pub(super) fn update_udp(field: &mut [u8], delta: Delta) {
    if field[..2] != [0, 0] {
        update(field, delta);
        if field[..2] == [0, 0] {
            field[..2].fill(0xff);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        flow::{NewFlow, State},
        tables::InterfaceId,
    };
    use proptest::prelude::*;
    use std::net::IpAddr;

    /// Addresses and ports of any kind, often such that sums come to zero.
    fn ends() -> impl Strategy<Value = [(IpAddr, [u8; 2]); 4]> {
        let half = prop_oneof![any::<[u8; 2]>(), Just([0, 0]), Just([0xff, 0xff])];
        let end =
            (half.clone(), half.clone(), half).prop_map(|([a, b], [c, d], port)| ([a, b, c, d].into(), port));
        prop::array::uniform4(end)
    }

    fn checksums() -> impl Strategy<Value = [u8; 2]> {
        prop_oneof![any::<[u8; 2]>(), Just([0, 0]), Just([0, 1]), Just([0xff, 0xfe]), Just([0xff, 0xff])]
    }

    /// What [`apply`] makes of a packet, and what [`apply_plain`] makes of it, with deltas kept and computed.
    fn both(bytes: &[u8; plain::HEADERS], flow: &Flow, direction: Direction) -> [[u8; plain::HEADERS]; 3] {
        let key = flow.ipv4_key(direction).unwrap();
        let (from, to) = (Mac([1, 2, 3, 4, 5, 6]), Mac([7, 8, 9, 10, 11, 12]));
        let packet =
            Packet { key: FlowKey::V4(key), l4: plain::SEGMENT as u16, total_length: 40, ..Packet::EMPTY };
        let mut general = *bytes;
        apply(&mut general, &packet, flow, direction, from, to);
        let out = flow.end(direction.opposite());
        let plain = |deltas| {
            let mut headers = *bytes;
            let macs = ([1, 2, 3, 4, 5, 6, 8, 0], Hop::new(to.0, InterfaceId(9)));
            apply_plain(&mut headers, macs, out, deltas, packet.is_udp());
            headers
        };
        [general, plain(flow.deltas(direction)), plain(Deltas::between(&key.end, out))]
    }

    proptest! {
        /// But for TCP checksums of zero, which the sum of nothing may turn from one of its two forms into the other.
        #[test]
        fn the_plain_way_writes_the_same_bytes(
            [client, vip, source, target] in ends(),
            (is_udp, is_forward, keeps_client) in any::<(bool, bool, bool)>(),
            header in any::<[u8; plain::HEADERS]>(),
            (ip_checksum, l4_checksum, ttl) in (checksums(), checksums(), 2u8..),
        ) {
            let direction = if is_forward { Direction::Forward } else { Direction::Reverse };
            let forward = FlowKey::new(client, vip, if is_udp { 17 } else { 6 }).unwrap();
            let source = if keeps_client { client } else { source };
            let NewFlow { mut flow, .. } = NewFlow::new(&forward, source, target, State::Established);
            flow.keep_deltas();
            let end = *flow.end(direction);
            let mut bytes = header;
            bytes[12..14].copy_from_slice(&ethernet::IPV4);
            bytes[20..22].copy_from_slice(&ipv4::DO_NOT_FRAGMENT.to_be_bytes());
            bytes[22] = ttl;
            bytes[24..26].copy_from_slice(&ip_checksum);
            bytes[26..38].copy_from_slice(bytemuck::bytes_of(&end));
            let at = if is_udp { 40 } else { 50 };
            bytes[at..at + 2].copy_from_slice(&l4_checksum);

            let written = both(&bytes, &flow, direction).map(|mut written| {
                if !is_udp && written[50..52] == [0xff, 0xff] {
                    written[50..52].fill(0);
                }
                written
            });
            prop_assert_eq!(written[0], written[1]);
            prop_assert_eq!(written[0], written[2]);
        }
    }
}
