//! ICMP errors about packets of a flow, translated as the packets themselves were (RFC 5508 section 4.2): the outer address,
//! the quoted address and port, and four checksums, each by its delta. A quoted checksum that is cut off is left alone.

use crate::{
    flow::{Direction, Flow},
    parse::IcmpError,
    tables::Mac,
    wire::{
        checksum::{Delta, TTL_DECREMENT},
        ethernet, icmp, ipv4, l4,
    },
};

/// Rewrites an error that travels in `direction`: [`Direction::Forward`] is about a packet to the client, and for the target.
/// `parse_icmp_error` has found all offsets to be inside of the frame.
pub fn apply(frame: &mut [u8], error: &IcmpError, flow: &Flow, direction: Direction, from: Mac, to: Mac) {
    frame[ethernet::DESTINATION].copy_from_slice(&to.0);
    frame[ethernet::SOURCE].copy_from_slice(&from.0);

    let (ip_delta, l4_delta) = flow.deltas(direction);
    let quote = error.icmp + icmp::HEADER;
    let (address_at, address, port_at, port) = match direction {
        Direction::Forward => (ipv4::SOURCE, flow.target, l4::SOURCE_PORT, flow.target_port),
        Direction::Reverse => (ipv4::DESTINATION, flow.vip, l4::DESTINATION_PORT, flow.vip_port),
    };
    let message = &mut frame[..error.end];
    let mut inside = write(message, quote + address_at.start, &address);
    inside = inside.and(update(message, quote + ipv4::CHECKSUM.start, ip_delta));
    inside = inside.and(write(message, error.quoted_l4 + port_at.start, &port));
    let checksum_at = match error.quoted.protocol {
        UDP => error.quoted_l4 + l4::udp::CHECKSUM,
        _ => error.quoted_l4 + l4::tcp::CHECKSUM,
    };
    let has_checksum = message
        .get(checksum_at..checksum_at + 2)
        .is_some_and(|sum| error.quoted.protocol != UDP || sum != [0, 0]);
    if has_checksum {
        inside = inside.and(update(message, checksum_at, l4_delta));
    }
    update(message, error.icmp + icmp::CHECKSUM.start, inside);

    let outer = match direction {
        Direction::Forward => write(message, ethernet::HEADER + ipv4::DESTINATION.start, &flow.target),
        Direction::Reverse if error.source == flow.target => {
            write(message, ethernet::HEADER + ipv4::SOURCE.start, &flow.vip)
        }
        Direction::Reverse => Delta::default(), // A router's own address; it is not ours to hide.
    };
    message[ethernet::HEADER + ipv4::TTL] -= 1; // The caller lets no message with less than 2 through.
    update(message, ethernet::HEADER + ipv4::CHECKSUM.start, outer.and(TTL_DECREMENT));
}

/// Overwrites bytes; what that changes in a checksum over them.
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

const UDP: u8 = 17;
