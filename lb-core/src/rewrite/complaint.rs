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
    message[..icmp::HEADER].fill(0);
    let pseudo = match source {
        IpAddr::V4(_) => {
            describe_v4(message, complaint);
            0
        }
        IpAddr::V6(_) => {
            describe_v6(message, complaint);
            header.pseudo_header()
        }
    };
    let sum = checksum::checksum(message, pseudo);
    message[icmp::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
    true
}

fn describe_v4(message: &mut [u8], complaint: Complaint) {
    match complaint {
        Complaint::TimeExceeded => message[icmp::TYPE] = icmp::TIME_EXCEEDED,
        Complaint::TooBig { mtu } => {
            message[icmp::TYPE] = icmp::UNREACHABLE;
            message[icmp::CODE] = icmp::FRAGMENTATION_NEEDED;
            let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
            message[icmp::NEXT_HOP_MTU].copy_from_slice(&mtu.to_be_bytes());
        }
    }
}

fn describe_v6(message: &mut [u8], complaint: Complaint) {
    match complaint {
        Complaint::TimeExceeded => message[icmp::TYPE] = icmpv6::TIME_EXCEEDED,
        Complaint::TooBig { mtu } => {
            message[icmp::TYPE] = icmpv6::PACKET_TOO_BIG;
            message[icmpv6::MTU].copy_from_slice(&mtu.to_be_bytes());
        }
    }
}
