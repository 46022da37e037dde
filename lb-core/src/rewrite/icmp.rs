//! ICMP errors about packets of a flow, translated as the packets themselves were (RFC 5508 section 4.2) where both ends have
//! one family: outer and quoted addresses, quoted ports, and all checksums, each by its delta. A quoted checksum that is cut
//! off is left alone. Errors between families are made anew by `icmp_translate`.

use std::net::IpAddr;

use super::{identification::Ports, nat, shift::Quoted};
use crate::{
    flow::{Direction, Flow, Outward},
    parse::{IcmpError, Piece},
    wire::{
        checksum::{Delta, TTL_DECREMENT},
        ethernet, icmp, icmpv6, ipv4, ipv6, l4, octets,
    },
};

/// Rewrites an error that leaves with the addresses of `out`; what it quotes is a packet the other way.
/// `parse_icmp_error` has found all offsets to be inside of the frame.
pub fn apply(frame: &mut [u8], error: &IcmpError, quoted: &Quoted<'_>, out: &Outward) {
    let quote = error.icmp + icmp::HEADER;
    let is_ipv4 = out.source.is_ipv4();
    let message = &mut frame[..error.end];
    let (source_at, destination_at) = address_offsets(is_ipv4);

    // The quoted addresses change its IP checksum, if it has one, and its TCP or UDP checksum, if that is there.
    let addresses = write_address(message, quote + source_at, out.destination).and(write_address(
        message,
        quote + destination_at,
        out.source,
    ));
    let mut inside = addresses;
    if is_ipv4 {
        inside = inside.and(update(message, quote + ipv4::CHECKSUM.start, addresses));
    }
    let ports = write(message, error.quoted_l4 + l4::SOURCE_PORT.start, &out.destination_port).and(write(
        message,
        error.quoted_l4 + l4::DESTINATION_PORT.start,
        &out.source_port,
    ));
    let sequence = quoted.restore(&mut message[error.quoted_l4..]);
    let transport = addresses.and(ports).and(sequence);
    inside = inside.and(ports).and(sequence).and(update_transport(message, error, transport));

    let outer = write_address(message, ethernet::HEADER + destination_at, out.destination);
    // A router's own address; it is not ours to hide.
    let is_from_peer = error.source == error.quoted.destination();
    let outer = match is_from_peer {
        true => outer.and(write_address(message, ethernet::HEADER + source_at, out.source)),
        false => outer,
    };
    if is_ipv4 {
        message[ethernet::HEADER + ipv4::TTL] -= 1; // The caller lets no message with less than 2 through.
        update(message, ethernet::HEADER + ipv4::CHECKSUM.start, outer.and(TTL_DECREMENT));
        update(message, error.icmp + icmp::CHECKSUM.start, inside);
    } else {
        message[ethernet::HEADER + ipv6::HOP_LIMIT] -= 1;
        update(message, error.icmp + icmp::CHECKSUM.start, inside.and(outer)); // Its pseudo-header has the outer addresses.
    }
}

/// Gives a quoted packet of a flow with IPv4 ends, which left in `direction`, the identification that its sender knows it by (RFC 5508
/// section 4.2). The ICMP checksum stays as it is: what changes in the quoted header, its own checksum makes up for.
pub fn restore_identification(frame: &mut [u8], error: &IcmpError, flow: &Flow, direction: Direction) {
    let quote = error.icmp + icmp::HEADER;
    let Some(header) = frame[quote..error.end].first_chunk_mut::<{ ipv4::HEADER }>() else { return };
    let has_more = u16::from_be_bytes([header[6], header[7]]) & ipv4::MORE_FRAGMENTS != 0;
    let piece = if has_more { Piece::First } else { Piece::Whole };
    if nat::is_renumbered(header, piece, flow, direction) {
        let number = [header[4], header[5]];
        let ports = Ports(error.quoted.source_port(), error.quoted.destination_port());
        let delta = write(header, ipv4::IDENTIFICATION.start, &ports.original_ipv4(number));
        nat::update(&mut header[ipv4::CHECKSUM], delta);
    }
}

/// Takes bytes that the load balancer adds to its sender's packets off the MTU that an error tells it.
pub fn lower_mtu(frame: &mut [u8], error: &IcmpError, by: u32) {
    let message = &mut frame[..error.end];
    let at = error.icmp + icmpv6::MTU.start;
    let old = u32::from_be_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]]);
    let (mtu, least) = match (error.source.is_ipv4(), message[error.icmp], message[error.icmp + icmp::CODE]) {
        // The word's high half is not used; an MTU of 0 says nothing (RFC 1191 section 4).
        (true, icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED) => (old & 0xffff, ipv4::MINIMUM_MTU),
        (false, icmpv6::PACKET_TOO_BIG, _) => (old, ipv6::MINIMUM_MTU),
        _ => return,
    };
    if mtu != 0 {
        let new = old - mtu + mtu.saturating_sub(by).max(least.min(mtu));
        let delta = write(message, at, &new.to_be_bytes());
        update(message, error.icmp + icmp::CHECKSUM.start, delta);
    }
}

fn address_offsets(is_ipv4: bool) -> (usize, usize) {
    match is_ipv4 {
        true => (ipv4::SOURCE.start, ipv4::DESTINATION.start),
        false => (ipv6::SOURCE.start, ipv6::DESTINATION.start),
    }
}

fn update_transport(message: &mut [u8], error: &IcmpError, delta: Delta) -> Delta {
    let is_udp = error.quoted.protocol() == crate::tables::Protocol::Udp as u8;
    let at = error.quoted_l4 + if is_udp { l4::udp::CHECKSUM } else { l4::tcp::CHECKSUM };
    let Some(&[high, low]) = message.get(at..at + 2) else { return Delta::default() };
    match delta.update(u16::from_be_bytes([high, low])) {
        _ if is_udp && [high, low] == [0, 0] => Delta::default(), // There is none.
        0 if is_udp => write(message, at, &[0xff, 0xff]),
        sum => write(message, at, &sum.to_be_bytes()),
    }
}

fn write_address(message: &mut [u8], at: usize, address: IpAddr) -> Delta {
    match address {
        IpAddr::V4(v4) => write(message, at, &v4.octets()),
        v6 => write(message, at, &octets(v6)),
    }
}

/// Overwrites bytes; what that changes in a checksum over them. Both headers begin at an even distance from the message's start.
fn write(message: &mut [u8], at: usize, new: &[u8]) -> Delta {
    let old = &mut message[at..at + new.len()];
    let delta = Delta::replacing(old, new);
    old.copy_from_slice(new);
    delta
}

/// Updates a checksum field; what that changes in a checksum over the field.
fn update(message: &mut [u8], at: usize, delta: Delta) -> Delta {
    let new = delta.update(u16::from_be_bytes([message[at], message[at + 1]]));
    write(message, at, &new.to_be_bytes())
}
