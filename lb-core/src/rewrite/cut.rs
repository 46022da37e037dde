//! Cuts a piece out of an IPv4 packet (RFC 791 section 3.2).

use std::ops::Range;

use super::nat::update;
use crate::{
    frame::Frame,
    wire::{checksum::Delta, ethernet, ipv4},
};

/// Reduces a packet, whose data begins at `data` in the frame, to the piece with this range of its data. Every piece has all of the
/// packet's options. The range begins at a multiple of 8, and is inside of the data.
pub fn apply(frame: &mut Frame<'_>, data: usize, range: Range<usize>, is_last: bool) {
    let bytes = frame.bytes_mut();
    bytes.copy_within(data + range.start..data + range.end, data);
    let header = &mut bytes[ethernet::HEADER..data];
    let field = u16::from_be_bytes([header[6], header[7]]);
    let more = if is_last { field & ipv4::MORE_FRAGMENTS } else { ipv4::MORE_FRAGMENTS };
    let offset = (field & ipv4::OFFSET_MASK) + (range.start / 8) as u16;
    let length = (data - ethernet::HEADER + range.len()) as u16;
    let old = [header[2], header[3], header[6], header[7]];
    header[ipv4::TOTAL_LENGTH].copy_from_slice(&length.to_be_bytes());
    header[ipv4::FRAGMENT].copy_from_slice(&(more | offset).to_be_bytes());
    let new = [header[2], header[3], header[6], header[7]];
    update(&mut header[ipv4::CHECKSUM], Delta::replacing(&old, &new));
    let shortened = frame.set_len(data + range.len());
    debug_assert!(shortened, "a piece is no longer than its packet");
}
