//! The same packets with IPv4 options, or an IPv6 extension header, that say nothing. Those have no short way: all of them want a
//! transport header right behind an IP header of the least length. So what becomes of both tells whether the short ways do what
//! the long ones do.

use lb_core::{
    limits,
    wire::{checksum, ethernet, ipv4, ipv6},
};

use super::fleet::Event;

/// Asserts that what became of frames by the short ways is what became of them by the long ones.
pub fn assert_same_events(short: &[Event], long: &[Event]) {
    assert_eq!(short.len(), long.len());
    for (short, long) in short.iter().zip(long) {
        assert_eq!(short.verdict, long.verdict, "\n{short:02x?}\n{long:02x?}");
        assert_eq!(shorten(&short.after), shorten(&long.after), "\n{short:02x?}\n{long:02x?}");
    }
}

/// A whole packet of TCP or UDP right behind its IP header, with that which says nothing between; `None` for any other frame.
pub fn lengthen(frame: &[u8]) -> Option<Vec<u8>> {
    match frame.get(ethernet::ETHERTYPE)?.try_into().ok()? {
        ethernet::IPV4 => lengthen_ipv4(frame),
        ethernet::IPV6 => lengthen_ipv6(frame),
        _ => None,
    }
}

fn lengthen_ipv4(frame: &[u8]) -> Option<Vec<u8>> {
    let header = frame.get(IP..IP + ipv4::HEADER)?;
    let is_whole = u16::from_be_bytes([header[6], header[7]]) & ipv4::FRAGMENT_MASK == 0;
    let total_length = u16::from_be_bytes([header[2], header[3]]).checked_add(OPTIONS.len() as u16)?;
    let is_right =
        header[ipv4::VERSION_IHL] == 0x45 && checksum::fold(checksum::sum(header, 0)) == 0xffff && is_whole;
    if !is_right || !matches!(header[ipv4::PROTOCOL], 6 | 17) {
        return None;
    }
    let mut longer = frame.to_vec();
    longer.splice(IP + ipv4::HEADER..IP + ipv4::HEADER, OPTIONS);
    longer[IP] = 0x46;
    longer[IP + 2..IP + 4].copy_from_slice(&total_length.to_be_bytes());
    sign(&mut longer[IP..IP + ipv4::HEADER + OPTIONS.len()]);
    Some(longer)
}

fn lengthen_ipv6(frame: &[u8]) -> Option<Vec<u8>> {
    let header = frame.get(IP..IP + ipv6::HEADER)?;
    let length = u16::from_be_bytes([header[4], header[5]]).checked_add(EXTENSION.len() as u16 + 1)?;
    let next = header[ipv6::NEXT_HEADER];
    let is_possible = usize::from(length) + ipv6::HEADER <= usize::from(u16::MAX);
    if header[0] >> 4 != 6 || !matches!(next, 6 | 17) || !is_possible {
        return None;
    }
    let mut longer = frame.to_vec();
    let extension = [next].into_iter().chain(EXTENSION);
    longer.splice(IP + ipv6::HEADER..IP + ipv6::HEADER, extension);
    longer[IP + ipv6::NEXT_HEADER] = ipv6::next::DESTINATION;
    longer[IP + 4..IP + 6].copy_from_slice(&length.to_be_bytes());
    Some(longer)
}

/// What a frame that leaves is without these: in its own header, or in that of the packet that it quotes.
pub fn shorten(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    match frame.get(ethernet::ETHERTYPE).and_then(|kind| kind.try_into().ok()) {
        Some(ethernet::IPV4) => {
            take_options(&mut frame, IP);
            let has_quote = frame.len() >= IP + 2 * ipv4::HEADER + ICMP && frame[IP] == 0x45;
            if has_quote && frame[IP + ipv4::PROTOCOL] == 1 && matches!(frame[IP + ipv4::HEADER], 3 | 11) {
                take_options(&mut frame, IP + ipv4::HEADER + ICMP);
                frame.truncate(IP + limits::ICMP_ERROR_BYTES - OPTIONS.len());
                blank(&mut frame, IP + 2..IP + 4);
                blank(&mut frame, IP + ipv4::CHECKSUM.start..IP + ipv4::CHECKSUM.end);
                blank(&mut frame, IP + ipv4::HEADER + 2..IP + ipv4::HEADER + ICMP);
            }
        }
        Some(ethernet::IPV6) => {
            take_extension(&mut frame, IP);
            let has_quote = frame.len() >= IP + 2 * ipv6::HEADER + ICMP;
            if has_quote && frame[IP + ipv6::NEXT_HEADER] == 58 && frame[IP + ipv6::HEADER] < 128 {
                take_extension(&mut frame, IP + ipv6::HEADER + ICMP);
                frame.truncate(IP + ipv6::MINIMUM_MTU as usize - EXTENSION.len() - 1);
                blank(&mut frame, IP + 4..IP + 6);
                blank(&mut frame, IP + ipv6::HEADER + 2..IP + ipv6::HEADER + ICMP);
            }
        }
        _ => {}
    }
    frame
}

/// Takes out what depends on how long the quoted packet was: lengths, checksums, and, where it is translated, the MTU.
fn blank(frame: &mut [u8], field: std::ops::Range<usize>) {
    frame[field].fill(0);
}

/// Takes the options out of the packet whose IPv4 header begins at `at`, if it has them.
fn take_options(frame: &mut Vec<u8>, at: usize) {
    let end = at + ipv4::HEADER;
    if frame.get(at) != Some(&0x46) || frame.get(end..end + OPTIONS.len()) != Some(&OPTIONS) {
        return;
    }
    frame.drain(end..end + OPTIONS.len());
    frame[at] = 0x45;
    subtract(frame, at + 2, OPTIONS.len());
    sign(&mut frame[at..end]);
}

/// Takes the extension header out of the packet whose IPv6 header begins at `at`, if it has it.
fn take_extension(frame: &mut Vec<u8>, at: usize) {
    let end = at + ipv6::HEADER;
    let is_there = frame.get(at + ipv6::NEXT_HEADER) == Some(&ipv6::next::DESTINATION);
    if !is_there || frame.get(end + 1..end + 1 + EXTENSION.len()) != Some(&EXTENSION) {
        return;
    }
    frame[at + ipv6::NEXT_HEADER] = frame[end];
    frame.drain(end..end + 1 + EXTENSION.len());
    subtract(frame, at + 4, EXTENSION.len() + 1);
}

fn subtract(frame: &mut [u8], at: usize, bytes: usize) {
    let length = u16::from_be_bytes([frame[at], frame[at + 1]]).wrapping_sub(bytes as u16);
    frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
}

/// Makes an IPv4 header's checksum right.
fn sign(header: &mut [u8]) {
    header[ipv4::CHECKSUM].fill(0);
    let sum = checksum::checksum(header, 0);
    header[ipv4::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
}

/// No operation, four times (RFC 791 section 3.1).
const OPTIONS: [u8; 4] = [1; 4];
/// Destination options behind the next header's kind: padding (RFC 8200 section 4.2).
const EXTENSION: [u8; 7] = [0, 1, 4, 0, 0, 0, 0];
/// The most that either makes a packet longer.
pub const MOST_LONGER: u64 = 8;
const IP: usize = ethernet::HEADER;
const ICMP: usize = 8;
