//! Network address translation of IPv4 packets: addresses, ports, time to live, and both checksums by RFC 1624 deltas, so that
//! one that was wrong stays wrong.

use crate::{
    flow::{Direction, Flow, Hop},
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
    let (ip_delta, l4_delta) = deltas(&key.end, out);
    let Some((head, segment)) = frame.split_at_mut_checked(usize::from(packet.l4)) else { return };
    let Some((ethernet, header)) = head.split_first_chunk_mut::<{ ethernet::HEADER }>() else { return };
    ethernet[ethernet::DESTINATION].copy_from_slice(&to.0);
    ethernet[ethernet::SOURCE].copy_from_slice(&from.0);

    let Some(header) = header.first_chunk_mut::<{ ipv4::HEADER }>() else { return };
    header[ipv4::TTL] -= 1; // The caller lets no packet with less than 2 through.
    header[ipv4::SOURCE].copy_from_slice(&out.local);
    header[ipv4::DESTINATION].copy_from_slice(&out.remote);
    update(&mut header[ipv4::CHECKSUM], ip_delta.and(TTL_DECREMENT));
    if flow.is_source_translated() && direction == Direction::Forward {
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

/// Rewrites the headers of a whole packet without IP options in place, as [`apply`] does, but for the identification. `from` is
/// an Ethernet header but for its destination.
#[inline(always)]
pub(crate) fn apply_plain(headers: &mut [u8; plain::HEADERS], it: Plain<'_>, to: Hop, from: [u8; 8]) {
    let Plain { old, new, is_udp } = it;
    let (ip_delta, l4_delta) = deltas(old, new);
    headers[..8].copy_from_slice(&to.bytes());
    headers[6..ethernet::HEADER].copy_from_slice(&from);
    headers[ethernet::HEADER + ipv4::TTL] -= 1; // The caller lets no packet with less than 2 through.
    update(&mut headers[24..26], ip_delta.and(TTL_DECREMENT));
    headers[26..30].copy_from_slice(&new.local);
    headers[30..34].copy_from_slice(&new.remote);
    headers[34..36].copy_from_slice(&new.local_port);
    headers[36..38].copy_from_slice(&new.remote_port);
    if is_udp {
        update_udp(&mut headers[40..42], l4_delta);
    } else {
        update(&mut headers[50..52], l4_delta);
    }
}

/// What [`apply_plain`] takes of a packet and its flow.
pub(crate) struct Plain<'f> {
    /// The end that it came in at.
    pub(crate) old: &'f End,
    /// The end that it leaves by.
    pub(crate) new: &'f End,
    /// Whether it is UDP.
    pub(crate) is_udp: bool,
}

/// Changes of the IP and of the TCP or UDP checksum between two ends. The order of the words does not matter to a sum.
#[inline]
fn deltas(old: &End, new: &End) -> (Delta, Delta) {
    let (old, new): ([u32; 3], [u32; 3]) = (bytemuck::cast(*old), bytemuck::cast(*new));
    let ip = Delta::replacing_words([old[0], old[1]], [new[0], new[1]]);
    (ip, ip.and(Delta::replacing_words([old[2]], [new[2]])))
}

/// Gives a packet that may be fragmented, or is, another identification: those of clients that share a source address must
/// not meet (RFC 6864 section 5.3). The pieces of a datagram keep one.
#[inline]
fn renumber(header: &mut [u8; ipv4::HEADER], out: &End) {
    let flags = u16::from_be_bytes([header[6], header[7]]);
    if flags & (ipv4::DO_NOT_FRAGMENT | ipv4::FRAGMENT_MASK) == ipv4::DO_NOT_FRAGMENT {
        return;
    }
    let old = [header[4], header[5]];
    let salt = u16::from_be_bytes(out.local_port).wrapping_mul(SALT);
    let new = u16::from_be_bytes(old).wrapping_add(salt).to_be_bytes();
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

/// Odd, so that different ports give different identifications.
const SALT: u16 = 0x9e35;
