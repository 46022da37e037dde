//! Resets: the answer that a TCP segment of no flow gets (RFC 9293 section 3.10.7.1), and the one that goes on in its place
//! to the other side of a flow that was cut.

use super::segment::Segment;
use crate::{
    frame::Frame,
    parse::Packet,
    tables::Mac,
    wire::{
        ethernet,
        l4::tcp::{self, ACK, FIN, RST, SYN},
    },
};

/// Turns a segment into the reset that answers it, from the address that it was sent to. The segment is not itself a reset.
pub fn answer(frame: &mut Frame<'_>, packet: &Packet, from: Mac) {
    let (sequence, acknowledgement, flags) = numbers(frame.bytes(), packet);
    let to = frame.bytes().get(ethernet::SOURCE).and_then(|mac| mac.try_into().ok()).unwrap_or([0; 6]);
    let key = &packet.key;
    let segment = Segment {
        source: (key.destination(), key.destination_port()),
        destination: (key.source(), key.source_port()),
        sequence,
        acknowledgement,
        flags,
        window: 0,
        options: &[],
    };
    let is_written = segment.write(frame, from, Mac(to));
    debug_assert!(is_written, "a frame with a TCP header is never shorter than a reset");
}

/// Turns a segment into a reset that takes its place, with its addresses and numbers, as it is about to leave.
pub fn replace(frame: &mut Frame<'_>, packet: &Packet, from: Mac, to: Mac) {
    let Some(header) = tcp_header(frame.bytes(), packet) else { return };
    let key = &packet.key;
    let segment = Segment {
        source: (key.source(), key.source_port()),
        destination: (key.destination(), key.destination_port()),
        sequence: word(header, tcp::SEQUENCE.start),
        acknowledgement: if packet.has(ACK) { word(header, tcp::ACKNOWLEDGEMENT.start) } else { 0 },
        flags: RST | packet.tcp_flags & ACK,
        window: 0,
        options: &[],
    };
    let is_written = segment.write(frame, from, to);
    debug_assert!(is_written, "a frame with a TCP header is never shorter than a reset");
}

/// Sequence number, acknowledgement number and flags of the answer.
fn numbers(frame: &[u8], packet: &Packet) -> (u32, u32, u8) {
    let Some(header) = tcp_header(frame, packet) else { return (0, 0, RST) };
    if packet.has(ACK) {
        return (word(header, tcp::ACKNOWLEDGEMENT.start), 0, RST);
    }
    let header_length = usize::from(header[tcp::DATA_OFFSET] >> 4) * 4;
    let data = packet.end().saturating_sub(usize::from(packet.l4) + header_length) as u32;
    let flags = u32::from(packet.has(SYN)) + u32::from(packet.has(FIN));
    (0, word(header, tcp::SEQUENCE.start).wrapping_add(data).wrapping_add(flags), RST | ACK)
}

fn tcp_header<'f>(frame: &'f [u8], packet: &Packet) -> Option<&'f [u8; tcp::HEADER]> {
    frame.get(usize::from(packet.l4)..)?.first_chunk()
}

fn word(header: &[u8; tcp::HEADER], at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}
