//! ICMP errors of the load balancer's own (RFC 792, RFC 1812 section 4.3.2): the frame becomes the answer that quotes it.

use crate::{
    frame::Frame,
    limits,
    tables::Mac,
    wire::{checksum, ethernet, icmp, ipv4},
};

/// What to tell the sender of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// Its time to live is over.
    TimeExceeded,
    /// It is longer than the link that it would leave by can carry, in bytes.
    FragmentationNeeded {
        /// Largest IP packet on that link.
        mtu: u16,
    },
}

/// Turns an IPv4 packet of `total_length` bytes into the error about it, from `source`, towards where it came from. False, and
/// the frame unchanged, when its buffer has no room for that.
#[must_use]
pub fn apply(
    frame: &mut Frame<'_>,
    total_length: u16,
    complaint: Complaint,
    source: [u8; 4],
    from: Mac,
) -> bool {
    let quoted = usize::from(total_length).min(limits::ICMP_ERROR_BYTES - ipv4::HEADER - icmp::HEADER);
    let length = ipv4::HEADER + icmp::HEADER + quoted;
    if !frame.set_len(ethernet::HEADER + length) {
        return false;
    }
    let bytes = frame.bytes_mut();
    bytes.copy_within(ethernet::HEADER..ethernet::HEADER + quoted, QUOTE);
    bytes.copy_within(ethernet::SOURCE, ethernet::DESTINATION.start);
    bytes[ethernet::SOURCE].copy_from_slice(&from.0);

    let mut destination = [0; 4];
    destination.copy_from_slice(&bytes[QUOTE + ipv4::SOURCE.start..QUOTE + ipv4::SOURCE.end]);
    let header = &mut bytes[ethernet::HEADER..MESSAGE];
    header.fill(0);
    header[ipv4::VERSION_IHL] = 0x45;
    header[ipv4::TOTAL_LENGTH].copy_from_slice(&(length as u16).to_be_bytes());
    header[ipv4::TTL] = limits::REPLY_TTL;
    header[ipv4::PROTOCOL] = icmp::PROTOCOL;
    header[ipv4::SOURCE].copy_from_slice(&source);
    header[ipv4::DESTINATION].copy_from_slice(&destination);
    let sum = checksum::checksum(header, 0);
    header[ipv4::CHECKSUM].copy_from_slice(&sum.to_be_bytes());

    let message = &mut bytes[MESSAGE..];
    message[..icmp::HEADER].fill(0);
    match complaint {
        Complaint::TimeExceeded => message[icmp::TYPE] = icmp::TIME_EXCEEDED,
        Complaint::FragmentationNeeded { mtu } => {
            message[icmp::TYPE] = icmp::UNREACHABLE;
            message[icmp::CODE] = icmp::FRAGMENTATION_NEEDED;
            message[icmp::NEXT_HOP_MTU].copy_from_slice(&mtu.to_be_bytes());
        }
    }
    let sum = checksum::checksum(message, 0);
    message[icmp::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
    true
}

const MESSAGE: usize = ethernet::HEADER + ipv4::HEADER;
const QUOTE: usize = MESSAGE + icmp::HEADER;
