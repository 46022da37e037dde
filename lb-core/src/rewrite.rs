//! The only writers of bytes. `nat` is the fast one, for IPv4 flows; the others serve everything else.

pub mod complaint;
pub mod cut;
pub mod icmp;
mod icmp_extension;
pub mod icmp_translate;
pub mod identification;
pub mod nat;
pub mod preamble;
pub mod reset;
mod sack;
pub mod segment;
pub mod shift;
pub mod translate;

use std::net::IpAddr;

use crate::{
    tables::Mac,
    wire::{checksum, ethernet, ipv4, ipv6, octets},
};

/// Writes the link addresses of a frame.
#[inline]
pub(crate) fn link(frame: &mut [u8], from: Mac, to: Mac) {
    if let Some(ethernet) = frame.first_chunk_mut::<{ ethernet::HEADER }>() {
        ethernet[ethernet::DESTINATION].copy_from_slice(&to.0);
        ethernet[ethernet::SOURCE].copy_from_slice(&from.0);
    }
}

/// An IP header to be written before `payload` bytes of a protocol.
#[derive(Clone, Copy, Debug)]
struct IpHeader {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    /// Type of service or traffic class.
    tos: u8,
    ttl: u8,
    payload: usize,
}

impl IpHeader {
    /// Its length in bytes.
    fn len(&self) -> usize {
        if self.source.is_ipv4() { ipv4::HEADER } else { ipv6::HEADER }
    }

    /// Writes the EtherType and the header at the start of a frame; IPv4 ones forbid fragmentation.
    fn write(&self, frame: &mut [u8]) {
        let (link, rest) = frame.split_at_mut(ethernet::HEADER);
        let header = &mut rest[..self.len()];
        header.fill(0);
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                link[ethernet::ETHERTYPE].copy_from_slice(&ethernet::IPV4);
                header[ipv4::VERSION_IHL] = 0x45;
                header[ipv4::TOS] = self.tos;
                let length = (ipv4::HEADER + self.payload) as u16;
                header[ipv4::TOTAL_LENGTH].copy_from_slice(&length.to_be_bytes());
                header[ipv4::FRAGMENT].copy_from_slice(&ipv4::DO_NOT_FRAGMENT.to_be_bytes());
                header[ipv4::TTL] = self.ttl;
                header[ipv4::PROTOCOL] = self.protocol;
                header[ipv4::SOURCE].copy_from_slice(&source.octets());
                header[ipv4::DESTINATION].copy_from_slice(&destination.octets());
                let sum = checksum::checksum(header, 0);
                header[ipv4::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
            }
            (source, destination) => {
                link[ethernet::ETHERTYPE].copy_from_slice(&ethernet::IPV6);
                (header[0], header[1]) = (0x60 | self.tos >> 4, self.tos << 4);
                header[ipv6::PAYLOAD_LENGTH].copy_from_slice(&(self.payload as u16).to_be_bytes());
                header[ipv6::NEXT_HEADER] = self.protocol;
                header[ipv6::HOP_LIMIT] = self.ttl;
                header[ipv6::SOURCE].copy_from_slice(&octets(source));
                header[ipv6::DESTINATION].copy_from_slice(&octets(destination));
            }
        }
    }

    /// Sum of the pseudo-header.
    fn pseudo_header(&self) -> u32 {
        checksum::pseudo_header_of(self.source, self.destination, self.protocol, self.payload)
    }
}
