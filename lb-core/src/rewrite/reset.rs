//! The reset that a TCP segment of no flow gets (RFC 9293 section 3.10.7.1): the frame becomes its own answer.

use crate::{
    frame::Frame,
    limits,
    parse::Packet,
    tables::Mac,
    wire::{
        checksum, ethernet, ipv4,
        l4::{
            self,
            tcp::{self, ACK, FIN, RST, SYN},
        },
    },
};

/// Turns a segment into the reset that answers it, from the address that it was sent to. The segment is not itself a reset.
pub fn apply(frame: &mut Frame<'_>, packet: &Packet, from: Mac) {
    let (sequence, acknowledgement, flags) = answer(frame.bytes(), packet);
    let to = frame.bytes().get(ethernet::SOURCE).and_then(|mac| mac.try_into().ok()).unwrap_or([0; 6]);
    if !frame.set_len(LENGTH) {
        return; // A frame with a TCP header is never this short.
    }
    let bytes = frame.bytes_mut();
    bytes[ethernet::DESTINATION].copy_from_slice(&to);
    bytes[ethernet::SOURCE].copy_from_slice(&from.0);

    let key = &packet.key;
    let header = &mut bytes[ethernet::HEADER..L4];
    header.fill(0);
    header[ipv4::VERSION_IHL] = 0x45;
    header[ipv4::TOTAL_LENGTH].copy_from_slice(&((ipv4::HEADER + tcp::HEADER) as u16).to_be_bytes());
    header[ipv4::FRAGMENT].copy_from_slice(&DO_NOT_FRAGMENT);
    header[ipv4::TTL] = limits::REPLY_TTL;
    header[ipv4::PROTOCOL] = key.protocol;
    header[ipv4::SOURCE].copy_from_slice(&key.destination);
    header[ipv4::DESTINATION].copy_from_slice(&key.source);
    let sum = checksum::checksum(header, 0);
    header[ipv4::CHECKSUM].copy_from_slice(&sum.to_be_bytes());

    let segment = &mut bytes[L4..];
    segment.fill(0);
    segment[l4::SOURCE_PORT].copy_from_slice(&key.destination_port);
    segment[l4::DESTINATION_PORT].copy_from_slice(&key.source_port);
    segment[tcp::SEQUENCE].copy_from_slice(&sequence.to_be_bytes());
    segment[tcp::ACKNOWLEDGEMENT].copy_from_slice(&acknowledgement.to_be_bytes());
    segment[tcp::DATA_OFFSET] = 0x50;
    segment[tcp::FLAGS] = flags;
    let pseudo = checksum::pseudo_header(key.destination, key.source, key.protocol, tcp::HEADER as u16);
    let sum = checksum::checksum(segment, pseudo);
    segment[tcp::CHECKSUM..tcp::CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Sequence number, acknowledgement number and flags of the reset.
fn answer(frame: &[u8], packet: &Packet) -> (u32, u32, u8) {
    let Some(header) =
        frame.get(usize::from(packet.l4)..).and_then(|segment| segment.first_chunk::<{ tcp::HEADER }>())
    else {
        return (0, 0, RST);
    };
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if packet.has(ACK) {
        return (word(tcp::ACKNOWLEDGEMENT.start), 0, RST);
    }
    let header_length = usize::from(header[tcp::DATA_OFFSET] >> 4) * 4;
    let end = ethernet::HEADER + usize::from(packet.total_length);
    let data = end.saturating_sub(usize::from(packet.l4) + header_length) as u32;
    let flags = u32::from(packet.has(SYN)) + u32::from(packet.has(FIN));
    (0, word(tcp::SEQUENCE.start).wrapping_add(data).wrapping_add(flags), RST | ACK)
}

const DO_NOT_FRAGMENT: [u8; 2] = [0x40, 0];
const L4: usize = ethernet::HEADER + ipv4::HEADER;
const LENGTH: usize = L4 + tcp::HEADER;
