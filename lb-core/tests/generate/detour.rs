//! The same packet with four IPv4 options that say nothing. A header of six words has no short way: `parse::plain` wants one of
//! five, and the short ways of `datapath` want its transport header where that one ends. So what becomes of the two tells
//! whether the short ways do what the long ones do.

use lb_core::{
    limits,
    wire::{checksum, ethernet, ipv4},
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

/// A whole IPv4 packet of TCP or UDP without options, with them; `None` for any other frame.
pub fn lengthen(frame: &[u8]) -> Option<Vec<u8>> {
    let header = frame.get(IP..L4)?;
    let is_whole = u16::from_be_bytes([header[6], header[7]]) & ipv4::FRAGMENT_MASK == 0;
    let total_length = u16::from_be_bytes([header[2], header[3]]).checked_add(OPTIONS.len() as u16)?;
    if frame[ethernet::ETHERTYPE] != ethernet::IPV4
        || header[ipv4::VERSION_IHL] != 0x45
        || !is_whole
        || !matches!(header[ipv4::PROTOCOL], 6 | 17)
        || checksum::fold(checksum::sum(header, 0)) != 0xffff
    {
        return None;
    }
    let mut longer = [&frame[..L4], &OPTIONS, &frame[L4..]].concat();
    longer[IP] = 0x46;
    longer[IP + 2..IP + 4].copy_from_slice(&total_length.to_be_bytes());
    sign(&mut longer[IP..L4 + OPTIONS.len()]);
    Some(longer)
}

/// What a frame that leaves is without these options: its own, or those of the packet that it quotes.
pub fn shorten(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if frame.get(ethernet::ETHERTYPE) != Some(&ethernet::IPV4) {
        return frame;
    }
    take_options(&mut frame, IP);
    let has_quote = frame.len() >= L4 + ICMP + ipv4::HEADER && frame[IP] == 0x45;
    if has_quote && frame[IP + ipv4::PROTOCOL] == 1 && matches!(frame[L4], 3 | 11) {
        shorten_error(&mut frame);
    }
    frame
}

/// An ICMP error: its length and checksum say how long the packet that it quotes was, and so does its MTU, where the options are
/// lost on the way out. As much is left of the quote as there is of both.
fn shorten_error(frame: &mut Vec<u8>) {
    take_options(frame, L4 + ICMP);
    frame.truncate(IP + limits::ICMP_ERROR_BYTES - OPTIONS.len());
    let length = (frame.len() - IP) as u16;
    frame[IP + 2..IP + 4].copy_from_slice(&length.to_be_bytes());
    frame[L4 + 2..L4 + ICMP].fill(0);
    sign(&mut frame[IP..L4]);
}

/// Takes the options out of the packet whose IP header begins at `at`, if it has them.
fn take_options(frame: &mut Vec<u8>, at: usize) {
    let end = at + ipv4::HEADER;
    if frame.get(at) != Some(&0x46) || frame.get(end..end + OPTIONS.len()) != Some(&OPTIONS) {
        return;
    }
    frame.drain(end..end + OPTIONS.len());
    frame[at] = 0x45;
    let length = u16::from_be_bytes([frame[at + 2], frame[at + 3]]).wrapping_sub(OPTIONS.len() as u16);
    frame[at + 2..at + 4].copy_from_slice(&length.to_be_bytes());
    sign(&mut frame[at..end]);
}

/// Makes a header's checksum right.
fn sign(header: &mut [u8]) {
    header[ipv4::CHECKSUM].fill(0);
    let sum = checksum::checksum(header, 0);
    header[ipv4::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
}

/// No operation, four times (RFC 791 section 3.1).
pub const OPTIONS: [u8; 4] = [1; 4];
const IP: usize = ethernet::HEADER;
const L4: usize = ethernet::HEADER + ipv4::HEADER;
const ICMP: usize = 8;
