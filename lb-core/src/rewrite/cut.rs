//! Makes pieces of packets: in IPv4 as a router does (RFC 791 section 3.2), in IPv6 as a translator does, by a fragment header that
//! is there already, or as the packet's sender, which puts one in (RFC 7915 section 4, RFC 8200 section 4.5).

use super::identification::Ports;
use crate::{
    frame::Frame,
    wire::{
        checksum, ethernet, ipv4,
        ipv6::{self, fragment, next},
    },
};

/// Puts a fragment header between the headers of an IPv6 packet that has none and its transport header, which begins at `l4` in the
/// frame. False, and the frame as it was, without the headroom.
#[must_use]
pub fn insert_fragment_header(frame: &mut Frame<'_>, l4: usize) -> bool {
    if !frame.extend_front(fragment::HEADER) {
        return false;
    }
    let bytes = frame.bytes_mut();
    bytes.copy_within(fragment::HEADER..fragment::HEADER + l4, 0);
    let (headers, header) = bytes[ethernet::HEADER..].split_at_mut(l4 - ethernet::HEADER);
    let at = last_next_header(headers);
    let header = &mut header[..fragment::HEADER];
    header.fill(0);
    header[fragment::NEXT_HEADER] = std::mem::replace(&mut headers[at], next::FRAGMENT);
    true
}

/// Where the kind of what follows an IPv6 header and its extension headers stands.
fn last_next_header(headers: &[u8]) -> usize {
    let (mut at, mut extension) = (ipv6::NEXT_HEADER, ipv6::HEADER);
    while let Some(&[_, words, ..]) = headers.get(extension..) {
        (at, extension) = (extension, extension + (usize::from(words) + 1) * 8);
    }
    at
}

/// Numbers a packet with these ports, of which pieces are to be made, and whose data begins at `data` in the frame.
pub fn number(frame: &mut [u8], data: usize, number: [u8; 2], ports: Ports) {
    if frame[ethernet::ETHERTYPE] == ethernet::IPV6 {
        let fragment = &mut frame[data - fragment::HEADER..data];
        fragment[fragment::IDENTIFICATION].copy_from_slice(&ports.widen(number));
    } else {
        frame[ethernet::HEADER..][ipv4::IDENTIFICATION].copy_from_slice(&number);
    }
}

/// Makes a frame the piece that it holds of a packet: the packet's headers, as they were up to `data`, and a part of its data,
/// which was so many bytes behind their beginning, a multiple of 8. The last header of an IPv6 packet is its fragment header.
pub fn apply(frame: &mut [u8], data: usize, offset: usize, is_last: bool) {
    let is_ipv6 = frame[ethernet::ETHERTYPE] == ethernet::IPV6;
    let length = frame.len() - ethernet::HEADER;
    let header = &mut frame[ethernet::HEADER..data];
    match is_ipv6 {
        true => cut_ipv6(header, length, offset, is_last),
        false => cut_ipv4(header, length, offset, is_last),
    }
}

fn cut_ipv4(header: &mut [u8], length: usize, offset: usize, is_last: bool) {
    let field = u16::from_be_bytes([header[6], header[7]]);
    let more = if is_last { field & ipv4::MORE_FRAGMENTS } else { ipv4::MORE_FRAGMENTS };
    let offset = (field & ipv4::OFFSET_MASK) + (offset / 8) as u16;
    if offset != 0 {
        ipv4::blank_options_of_first_piece(&mut header[ipv4::HEADER..]);
    }
    header[ipv4::TOTAL_LENGTH].copy_from_slice(&(length as u16).to_be_bytes());
    header[ipv4::FRAGMENT].copy_from_slice(&(more | offset).to_be_bytes());
    header[ipv4::CHECKSUM].fill(0);
    let sum = checksum::checksum(header, 0);
    header[ipv4::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
}

fn cut_ipv6(header: &mut [u8], length: usize, offset: usize, is_last: bool) {
    header[ipv6::PAYLOAD_LENGTH].copy_from_slice(&((length - ipv6::HEADER) as u16).to_be_bytes());
    let at = header.len() - fragment::HEADER;
    let fragment = &mut header[at..];
    let field = u16::from_be_bytes([fragment[2], fragment[3]]);
    let more = if is_last { field & fragment::MORE } else { fragment::MORE };
    let field = ((field & fragment::OFFSET_MASK) + offset as u16) | more;
    fragment[fragment::OFFSET].copy_from_slice(&field.to_be_bytes());
}
