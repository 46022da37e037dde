//! PROXY headers in front of what clients send: of the first bytes of a TCP stream, or of a datagram. Before anything else is
//! rewritten; checksums change by deltas, so that a wrong one stays wrong.
//!
//! ```text
//!   Ethernet | IP | TCP or UDP |          payload
//!   Ethernet | IP | TCP or UDP | header | payload      the first three move into the headroom
//! ```

use super::{
    nat::{update, update_udp},
    sack,
    shift::{add, replace},
};
use crate::{
    flow::Direction,
    frame::Frame,
    parse::Packet,
    preamble::{Numbers, Old, Preamble, Told},
    wire::{
        checksum::{self, Delta},
        ethernet, ipv4, ipv6,
        l4::{
            tcp::{self, ACK, FIN, PSH, URG},
            udp,
        },
    },
};

/// Puts a PROXY header in front of a whole packet's payload: what the packet is now. `None`, and the frame as it was, without the
/// headroom for that, or when the packet would be longer than one can be. A header has an even length.
pub fn insert(frame: &mut Frame<'_>, packet: &Packet, header: &[u8]) -> Option<Packet> {
    let longer = Packet { total_length: packet.total_length.checked_add(header.len() as u16)?, ..*packet };
    let payload = payload_at(frame.bytes(), packet)?;
    let has_payload = payload < packet.end();
    if !frame.set_len(packet.end()) || !frame.extend_front(header.len()) {
        return None;
    }
    let bytes = frame.bytes_mut();
    bytes.copy_within(header.len()..header.len() + payload, 0);
    bytes[payload..payload + header.len()].copy_from_slice(header);
    let l4 = usize::from(packet.l4);
    let lengths = set_total_length(bytes, packet, &longer);
    let delta = lengths.and(Delta(checksum::fold(checksum::sum(header, 0))));
    let segment = &mut bytes[l4..];
    if packet.is_udp() {
        let old = [segment[udp::LENGTH.start], segment[udp::LENGTH.start + 1]];
        let new = u16::from_be_bytes(old).saturating_add(header.len() as u16).to_be_bytes();
        segment[udp::LENGTH].copy_from_slice(&new);
        update_udp(&mut segment[udp::CHECKSUM..], delta.and(Delta::replacing(&old, &new)));
    } else {
        update(&mut segment[tcp::CHECKSUM..], delta);
        move_ahead(segment, header.len() as u32);
        if !has_payload {
            set_flags(segment, |flags| flags | PSH);
        }
    }
    Some(longer)
}

/// Puts a PROXY header in the place of a TCP segment's payload. As [`insert`].
pub fn replace_payload(frame: &mut Frame<'_>, packet: &Packet, header: &[u8]) -> Option<Packet> {
    if frame.start() < header.len() {
        return None;
    }
    let empty = truncate(frame, packet);
    set_flags(&mut frame.bytes_mut()[usize::from(packet.l4)..], |flags| flags & ACK);
    insert(frame, &empty, header)
}

/// Takes the payload off a whole TCP segment: what the packet is now.
pub fn truncate(frame: &mut Frame<'_>, packet: &Packet) -> Packet {
    let Some(payload) = payload_at(frame.bytes(), packet) else { return *packet };
    let shorter = Packet { total_length: (payload - ethernet::HEADER) as u16, ..*packet };
    let bytes = frame.bytes_mut();
    let removed = Delta(checksum::fold(checksum::sum(&bytes[payload..packet.end()], 0))).inverse();
    let lengths = set_total_length(bytes, packet, &shorter);
    update(&mut bytes[usize::from(packet.l4) + tcp::CHECKSUM..], lengths.and(removed));
    let is_shorter = frame.set_len(payload);
    debug_assert!(is_shorter, "a payload ends inside of its frame");
    shorter
}

/// Takes off a whole TCP segment, whose checksum is right, what it has from before its sender's first byte: what the packet is now.
/// What is urgent in it is so no longer: that would point at the header.
pub fn cut_old(frame: &mut Frame<'_>, packet: &Packet, old: Old) -> Packet {
    let l4 = usize::from(packet.l4);
    let shorter = match old {
        Old::Nothing => *packet,
        Old::Bytes(count) => cut_front(frame, packet, count),
        Old::Everything => {
            let empty = truncate(frame, packet);
            set_flags(&mut frame.bytes_mut()[l4..], |flags| flags & !(FIN | PSH));
            empty
        }
    };
    let is_bare = payload_at(frame.bytes(), &shorter) == Some(shorter.end());
    if frame.bytes()[l4 + tcp::FLAGS] & URG != 0 && (is_bare || old != Old::Nothing) {
        set_flags(&mut frame.bytes_mut()[l4..], |flags| flags & !URG);
    }
    shorter
}

/// Takes bytes off the front of a whole TCP segment's payload, which has so many: what the packet is now.
fn cut_front(frame: &mut Frame<'_>, packet: &Packet, count: usize) -> Packet {
    let Some(payload) = payload_at(frame.bytes(), packet) else { return *packet };
    let (end, l4) = (packet.end(), usize::from(packet.l4));
    let shorter = Packet { total_length: packet.total_length - count as u16, ..*packet };
    let bytes = frame.bytes_mut();
    bytes.copy_within(payload + count..end, payload);
    set_total_length(bytes, packet, &shorter);
    add(&mut bytes[l4..], tcp::SEQUENCE.start, count as u32);
    let segment = &mut bytes[l4..shorter.end()];
    // Bytes change places within words, so the sum is made anew.
    segment[tcp::CHECKSUM..tcp::CHECKSUM + 2].fill(0);
    let key = &packet.key;
    let pseudo = checksum::pseudo_header_of(key.source(), key.destination(), key.protocol(), segment.len());
    let sum = checksum::checksum(segment, pseudo).to_be_bytes();
    segment[tcp::CHECKSUM..tcp::CHECKSUM + 2].copy_from_slice(&sum);
    let is_shorter = frame.set_len(shorter.end());
    debug_assert!(is_shorter, "a segment that was cut is shorter");
    shorter
}

/// Moves a client's segment by so many bytes towards the beginning of its stream.
pub fn move_ahead(segment: &mut [u8], by: u32) {
    add(segment, tcp::SEQUENCE.start, by.wrapping_neg());
}

/// Renumbers a TCP segment that goes in `direction` without the header.
pub fn renumber(frame: &mut Frame<'_>, packet: &Packet, preamble: &Preamble, direction: Direction) {
    let segment = &mut frame.bytes_mut()[usize::from(packet.l4)..packet.end()];
    let Some(numbers) = Numbers::of(segment) else { return };
    match direction {
        Direction::Forward => {
            let number = preamble.number_at_target(numbers.sequence);
            replace(segment, tcp::SEQUENCE.start, &number.to_be_bytes());
        }
        Direction::Reverse => tell(segment, preamble, &preamble.told(numbers.acknowledgement)),
    }
}

/// Gives a target's segment the acknowledgement that the client is told, and a window and selective acknowledgements that agree with
/// it. The segment's header is whole.
pub fn tell(segment: &mut [u8], preamble: &Preamble, told: &Told) {
    let header_length = usize::from(segment[tcp::DATA_OFFSET] >> 4) * 4;
    let Some(header) = segment.get_mut(..header_length) else { return };
    if told.gap > 0 {
        add(header, tcp::ACKNOWLEDGEMENT.start, told.gap);
        let window = u16::from_be_bytes([header[tcp::WINDOW.start], header[tcp::WINDOW.start + 1]]);
        let window = preamble.window(window, header[tcp::FLAGS], told.gap);
        replace(header, tcp::WINDOW.start, &window.to_be_bytes());
    }
    sack::renumber(header, |block| preamble.block(block, told));
}

/// Where a packet's payload begins in the frame.
fn payload_at(frame: &[u8], packet: &Packet) -> Option<usize> {
    let segment = frame.get(usize::from(packet.l4)..packet.end())?;
    let header = match packet.is_udp() {
        true => udp::HEADER,
        false => usize::from(segment.get(tcp::DATA_OFFSET)? >> 4) * 4,
    };
    (header <= segment.len()).then_some(usize::from(packet.l4) + header)
}

/// Writes an IP packet's new length into its header; what that changes in the pseudo-header of TCP or UDP.
fn set_total_length(frame: &mut [u8], old: &Packet, new: &Packet) -> Delta {
    let header = &mut frame[ethernet::HEADER..];
    if old.key.is_ipv6() {
        let payload = new.total_length - ipv6::HEADER as u16;
        header[ipv6::PAYLOAD_LENGTH].copy_from_slice(&payload.to_be_bytes());
    } else {
        header[ipv4::TOTAL_LENGTH].copy_from_slice(&new.total_length.to_be_bytes());
        let delta = Delta::replacing(&old.total_length.to_be_bytes(), &new.total_length.to_be_bytes());
        update(&mut header[ipv4::CHECKSUM], delta);
    }
    let length = |packet: &Packet| (packet.end() - usize::from(packet.l4)) as u16;
    Delta::replacing(&length(old).to_be_bytes(), &length(new).to_be_bytes())
}

fn set_flags(segment: &mut [u8], flags: impl Fn(u8) -> u8) {
    replace(segment, tcp::FLAGS, &[flags(segment[tcp::FLAGS])]);
}
