//! ICMP errors of the load balancer's own (RFC 792, RFC 1812 section 4.3.2, RFC 4443 section 3): the frame becomes the answer
//! that quotes it.

use std::net::IpAddr;

use super::IpHeader;
use crate::{
    frame::Frame,
    limits,
    parse::Packet,
    tables::Mac,
    wire::{checksum, ethernet, icmp, icmpv6, ipv4, ipv6},
};

/// What to tell the sender of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// Its time to live is over.
    TimeExceeded,
    /// It is longer than can leave.
    TooBig {
        /// Longest packet, in bytes and of the sender's family, that can.
        mtu: u32,
    },
    /// A field of it is not understood.
    ParameterProblem {
        /// Where the field stands, in bytes from the start of the IP header.
        pointer: u32,
    },
}

/// Turns a packet into the error about it, from `source`, of its family, towards where it came from. False, and the frame
/// unchanged, when its buffer has no room for that.
#[must_use]
pub fn apply(
    frame: &mut Frame<'_>,
    packet: &Packet,
    complaint: Complaint,
    source: IpAddr,
    from: Mac,
) -> bool {
    let most = match source {
        IpAddr::V4(_) => limits::ICMP_ERROR_BYTES - ipv4::HEADER - icmp::HEADER,
        IpAddr::V6(_) => ipv6::MINIMUM_MTU as usize - ipv6::HEADER - icmp::HEADER,
    };
    let quoted = usize::from(packet.total_length).min(most);
    let header = IpHeader {
        source,
        destination: packet.key.source(),
        protocol: if source.is_ipv4() { icmp::PROTOCOL } else { icmpv6::PROTOCOL },
        tos: 0,
        ttl: limits::REPLY_TTL,
        payload: icmp::HEADER + quoted,
    };
    let at = ethernet::HEADER + header.len();
    if !frame.set_len(at + header.payload) {
        return false;
    }
    let bytes = frame.bytes_mut();
    bytes.copy_within(ethernet::HEADER..ethernet::HEADER + quoted, at + icmp::HEADER);
    bytes.copy_within(ethernet::SOURCE, ethernet::DESTINATION.start);
    bytes[ethernet::SOURCE].copy_from_slice(&from.0);
    header.write(bytes);

    let message = &mut bytes[at..];
    let ((kind, code, word), pseudo) = match source {
        IpAddr::V4(_) => (describe_v4(complaint), 0),
        IpAddr::V6(_) => (describe_v6(complaint), header.pseudo_header()),
    };
    message[..icmp::CHECKSUM.end].copy_from_slice(&[kind, code, 0, 0]);
    message[icmp::SECOND_WORD].copy_from_slice(&word.to_be_bytes());
    let sum = checksum::checksum(message, pseudo);
    message[icmp::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
    true
}

/// Type, code and second word of an ICMP message (RFC 792, RFC 1191 section 4).
fn describe_v4(complaint: Complaint) -> (u8, u8, u32) {
    match complaint {
        Complaint::TimeExceeded => (icmp::TIME_EXCEEDED, 0, 0),
        Complaint::TooBig { mtu } => {
            (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, mtu.min(u32::from(u16::MAX)))
        }
        Complaint::ParameterProblem { pointer } => (icmp::PARAMETER_PROBLEM, 0, pointer << 24),
    }
}

/// The same of an ICMPv6 message (RFC 4443 section 3).
fn describe_v6(complaint: Complaint) -> (u8, u8, u32) {
    match complaint {
        Complaint::TimeExceeded => (icmpv6::TIME_EXCEEDED, 0, 0),
        Complaint::TooBig { mtu } => (icmpv6::PACKET_TOO_BIG, 0, mtu),
        Complaint::ParameterProblem { pointer } => (icmpv6::PARAMETER_PROBLEM, 0, pointer),
    }
}
