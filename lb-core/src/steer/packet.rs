//! What steering reads of a packet: the same few facts for either family, as the XDP program reads them. Called by `steer`.
//!
//! Nothing is checked that is not needed to decide: a worker drops and counts what is malformed.

use super::AddressKey;
use crate::{
    limits,
    wire::{
        icmp, icmpv6, ipv4,
        ipv6::{
            self,
            fragment::{MORE, OFFSET_MASK},
            next,
        },
    },
};

/// IP's two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// What decides about a packet.
pub(super) struct Packet<'f> {
    family: Family,
    pub(super) source: AddressKey,
    pub(super) destination: AddressKey,
    /// Of the payload, or of the extension header that could not be read.
    pub(super) protocol: u8,
    pub(super) is_fragment: bool,
    is_later_fragment: bool,
    /// To many, to a link-local address, or a neighbour's ICMP.
    pub(super) is_link_scope: bool,
    /// What follows the headers; empty after an impossible header.
    payload: &'f [u8],
}

/// Ports in network order.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    pub(super) source: [u8; 2],
    pub(super) destination: [u8; 2],
}

impl Family {
    /// By an EtherType in network order.
    pub(super) fn of_ethertype(ethertype: [u8; 2]) -> Option<Family> {
        match ethertype {
            [0x08, 0x00] => Some(Family::V4),
            [0x86, 0xdd] => Some(Family::V6),
            _ => None,
        }
    }

    fn version(self) -> u8 {
        match self {
            Family::V4 => 4,
            Family::V6 => 6,
        }
    }
}

impl<'f> Packet<'f> {
    /// Reads the headers; `None` when the fixed one is cut short.
    pub(super) fn read(family: Family, bytes: &'f [u8]) -> Option<Packet<'f>> {
        match family {
            Family::V4 => Packet::read_ipv4(bytes),
            Family::V6 => Packet::read_ipv6(bytes),
        }
    }

    /// RFC 791 section 3.1.
    fn read_ipv4(bytes: &'f [u8]) -> Option<Packet<'f>> {
        let header = bytes.first_chunk::<{ ipv4::HEADER }>()?;
        let header_length = usize::from(header[0] & 0x0f) * 4;
        let fragment = u16::from_be_bytes([header[6], header[7]]);
        Some(Packet {
            family: Family::V4,
            source: mapped([header[12], header[13], header[14], header[15]]),
            destination: mapped([header[16], header[17], header[18], header[19]]),
            protocol: header[ipv4::PROTOCOL],
            is_fragment: fragment & ipv4::FRAGMENT_MASK != 0,
            is_later_fragment: fragment & ipv4::OFFSET_MASK != 0,
            is_link_scope: header[16] >= 224,
            payload: bytes.get(header_length..).filter(|_| header_length >= ipv4::HEADER).unwrap_or_default(),
        })
    }

    /// RFC 8200 sections 3 and 4. A fragment header that makes no fragment is a header like others (RFC 6946).
    fn read_ipv6(bytes: &'f [u8]) -> Option<Packet<'f>> {
        let (header, mut rest) = bytes.split_first_chunk::<{ ipv6::HEADER }>()?;
        let mut protocol = header[ipv6::NEXT_HEADER];
        let mut fragment = 0;
        for _ in 0..limits::EXTENSION_HEADERS {
            let Some(extension) = rest.first_chunk::<8>() else { break };
            if !is_extension(protocol) || fragment & OFFSET_MASK != 0 {
                break;
            }
            let mut length = (usize::from(extension[1]) + 1) * 8;
            if protocol == next::FRAGMENT {
                length = ipv6::fragment::HEADER;
                fragment |= u16::from_be_bytes([extension[2], extension[3]]) & (OFFSET_MASK | MORE);
            }
            protocol = extension[0];
            rest = rest.get(length..).unwrap_or_default();
        }
        let source = AddressKey(*header[8..].first_chunk()?);
        let destination = AddressKey(*header[24..].first_chunk()?);
        let is_multicast = destination.0[0] == 0xff;
        Some(Packet {
            family: Family::V6,
            is_link_scope: is_multicast
                || is_link_local(&destination)
                || (protocol == icmpv6::PROTOCOL && is_link_local(&source)),
            source,
            destination,
            protocol,
            is_fragment: fragment != 0,
            is_later_fragment: fragment & OFFSET_MASK != 0,
            payload: rest,
        })
    }

    /// Whether it carries its family's ICMP.
    pub(super) fn is_icmp(&self) -> bool {
        self.protocol
            == match self.family {
                Family::V4 => icmp::PROTOCOL,
                Family::V6 => icmpv6::PROTOCOL,
            }
    }

    /// The ports, as they stand behind the headers. `None` when they are cut off or in another fragment.
    pub(super) fn ports(&self) -> Option<Ports> {
        let ports = self.payload.first_chunk::<4>().filter(|_| !self.is_later_fragment)?;
        Some(Ports { source: [ports[0], ports[1]], destination: [ports[2], ports[3]] })
    }

    /// The packet that an ICMP error quotes: `None` unless the error is whole, of a kind that is about somebody's packet,
    /// and the quote's header is of the same family.
    pub(super) fn icmp_quote(&self) -> Option<Packet<'f>> {
        let kind = *self.payload.first()?;
        let is_error = match self.family {
            Family::V4 => icmp::is_error(kind),
            Family::V6 => icmpv6::is_error(kind),
        };
        let quote = self.payload.get(icmp::HEADER..)?;
        if self.is_fragment || !is_error || quote.first()? >> 4 != self.family.version() {
            return None;
        }
        Packet::read(self.family, quote)
    }
}

/// The key of an IPv4 address: ::ffff:a.b.c.d.
fn mapped([a, b, c, d]: [u8; 4]) -> AddressKey {
    AddressKey([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
}

/// Whether an address is in fe80::/10.
fn is_link_local(v6: &AddressKey) -> bool {
    v6.0[0] == 0xfe && v6.0[1] & 0xc0 == 0x80
}

/// Whether a protocol number names an extension header that is walked. The authentication header (51) is not: it ends the walk.
fn is_extension(protocol: u8) -> bool {
    matches!(protocol, next::HOP_BY_HOP | next::ROUTING | next::FRAGMENT | next::DESTINATION)
}
