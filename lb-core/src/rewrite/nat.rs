//! Network address translation: the destination of packets to the target, the source of packets to the client.
//! Checksums change by RFC 1624 deltas, so one that was wrong stays wrong.

use crate::{
    flow::{Direction, Flow},
    parse::Packet,
    tables::Mac,
    wire::{
        checksum::{Delta, TTL_DECREMENT},
        ethernet, ipv4, l4,
    },
};

/// Rewrites a packet of `flow` in place: link addresses, time to live, address, port and both checksums.
#[inline]
pub fn apply(frame: &mut [u8], packet: &Packet, flow: &Flow, direction: Direction, from: Mac, to: Mac) {
    let (ip_delta, l4_delta) = flow.deltas(direction);
    let (address_at, address, port_at, port) = match direction {
        Direction::Forward => (ipv4::DESTINATION, flow.target, l4::DESTINATION_PORT, flow.target_port),
        Direction::Reverse => (ipv4::SOURCE, flow.vip, l4::SOURCE_PORT, flow.vip_port),
    };
    let Some((head, segment)) = frame.split_at_mut_checked(usize::from(packet.l4)) else { return };
    let Some((ethernet, header)) = head.split_first_chunk_mut::<{ ethernet::HEADER }>() else { return };
    ethernet[ethernet::DESTINATION].copy_from_slice(&to.0);
    ethernet[ethernet::SOURCE].copy_from_slice(&from.0);

    let Some(header) = header.first_chunk_mut::<{ ipv4::HEADER }>() else { return };
    header[ipv4::TTL] -= 1; // `parse` lets no packet with less than 2 through.
    header[address_at].copy_from_slice(&address);
    update(&mut header[ipv4::CHECKSUM], ip_delta.and(TTL_DECREMENT));

    if packet.is_udp() {
        let Some(header) = segment.first_chunk_mut::<{ l4::udp::HEADER }>() else { return };
        header[port_at].copy_from_slice(&port);
        update_udp(&mut header[l4::udp::CHECKSUM..], l4_delta);
    } else {
        let Some(header) = segment.first_chunk_mut::<{ l4::tcp::HEADER }>() else { return };
        header[port_at].copy_from_slice(&port);
        update(&mut header[l4::tcp::CHECKSUM..l4::tcp::CHECKSUM + 2], l4_delta);
    }
}

#[inline]
fn update(field: &mut [u8], delta: Delta) {
    let checksum = u16::from_be_bytes([field[0], field[1]]);
    field[..2].copy_from_slice(&delta.update(checksum).to_be_bytes());
}

/// RFC 768: 0 says that there is no checksum and stays; a computed 0 is sent as all ones.
#[inline]
fn update_udp(field: &mut [u8], delta: Delta) {
    if field[..2] != [0, 0] {
        update(field, delta);
        if field[..2] == [0, 0] {
            field[..2].fill(0xff);
        }
    }
}
