//! ICMP errors about TCP and UDP packets (RFC 792, RFC 4443), and the packets that they quote.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{TCP, UDP, check_checksum, ipv6, parse_ipv4};
use crate::{
    flow_key::{End, FlowKey, Ipv4Key, Ipv6Key},
    limits,
    verdict::Reason,
    wire::{
        checksum, ethernet, icmp, icmpv6, ipv4,
        ipv6::{self as wire_ipv6, fragment, next},
    },
};

/// An ICMP error message about a packet of some flow. Offsets count from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Source of the message.
    pub source: IpAddr,
    /// Addresses, ports and protocol of the packet that it is about, as quoted.
    pub quoted: FlowKey,
    /// Where the ICMP header starts; the quoted IP header starts 8 bytes later.
    pub icmp: usize,
    /// Where the quoted TCP or UDP header starts.
    pub quoted_l4: usize,
    /// Where the message ends.
    pub end: usize,
    /// Time to live or hop limit of the message.
    pub ttl: u8,
}

/// Parses an Ethernet frame that carries an ICMP error about a TCP or UDP packet. The quote may be cut short after the
/// ports; its own TCP or UDP checksum is not looked at (RFC 5508 REQ-3).
pub fn parse_icmp_error(frame: &[u8]) -> Result<IcmpError, Reason> {
    let (ethernet, rest) =
        frame.split_first_chunk::<{ ethernet::HEADER }>().ok_or(Reason::EthernetTruncated)?;
    match ethernet[ethernet::ETHERTYPE] == ethernet::IPV4 {
        true => parse_icmpv4(ethernet, rest),
        false => parse_icmpv6(ethernet, rest),
    }
}

fn parse_icmpv4(ethernet: &[u8; ethernet::HEADER], rest: &[u8]) -> Result<IcmpError, Reason> {
    let it = parse_ipv4(ethernet, rest)?;
    if u16::from_be_bytes([it.header[6], it.header[7]]) & ipv4::FRAGMENT_MASK != 0 {
        return Err(Reason::Fragment);
    }
    let message = &rest[it.header_length..it.total_length];
    if message.len() < icmp::HEADER {
        return Err(Reason::IcmpTruncated);
    }
    if checksum::fold(checksum::sum(message, 0)) != 0xffff {
        return Err(Reason::IcmpChecksum);
    }
    if !icmp::is_error(message[icmp::TYPE]) {
        return Err(Reason::IcmpType);
    }
    let quote = &message[icmp::HEADER..];
    let quoted = quote.first_chunk::<{ ipv4::HEADER }>().ok_or(Reason::IcmpTruncated)?;
    let quoted_length = usize::from(quoted[ipv4::VERSION_IHL] & 0x0f) * 4;
    if quoted[ipv4::VERSION_IHL] >> 4 != 4 || quoted_length < ipv4::HEADER {
        return Err(Reason::IcmpQuote);
    }
    let ports = quote.get(quoted_length..quoted_length + 4).ok_or(Reason::IcmpTruncated)?;
    if check_checksum(&quote[..quoted_length]).is_err()
        || !matches!(quoted[ipv4::PROTOCOL], TCP | UDP)
        || u16::from_be_bytes([quoted[6], quoted[7]]) & ipv4::OFFSET_MASK != 0
        || it.header[ipv4::DESTINATION] != quoted[ipv4::SOURCE]
    {
        return Err(Reason::IcmpQuote);
    }
    let icmp = ethernet::HEADER + it.header_length;
    Ok(IcmpError {
        source: IpAddr::V4(Ipv4Addr::new(it.header[12], it.header[13], it.header[14], it.header[15])),
        quoted: FlowKey::V4(Ipv4Key {
            end: End {
                local: [quoted[16], quoted[17], quoted[18], quoted[19]],
                remote: [quoted[12], quoted[13], quoted[14], quoted[15]],
                local_port: [ports[2], ports[3]],
                remote_port: [ports[0], ports[1]],
            },
            protocol: quoted[ipv4::PROTOCOL],
            zero: [0; 3],
        }),
        icmp,
        quoted_l4: icmp + icmp::HEADER + quoted_length,
        end: ethernet::HEADER + it.total_length,
        ttl: it.header[ipv4::TTL],
    })
}

fn parse_icmpv6(ethernet: &[u8; ethernet::HEADER], rest: &[u8]) -> Result<IcmpError, Reason> {
    let it = ipv6::parse_headers(ethernet, rest)?;
    if it.fragment.is_some() {
        return Err(Reason::Fragment);
    }
    let message = &it.packet[it.upper..];
    if it.protocol != icmpv6::PROTOCOL || message.len() < icmp::HEADER {
        return Err(Reason::IcmpTruncated);
    }
    let (mut source, mut destination) = ([0; 16], [0; 16]);
    source.copy_from_slice(&it.header[wire_ipv6::SOURCE]);
    destination.copy_from_slice(&it.header[wire_ipv6::DESTINATION]);
    let pseudo = checksum::pseudo_header_v6(&source, &destination, icmpv6::PROTOCOL, message.len() as u32);
    if checksum::fold(checksum::sum(message, pseudo)) != 0xffff {
        return Err(Reason::IcmpChecksum);
    }
    if !icmpv6::is_error(message[icmp::TYPE]) {
        return Err(Reason::IcmpType);
    }
    let (quoted, quoted_l4) = quoted_ipv6(&message[icmp::HEADER..])?;
    if quoted.remote != destination {
        return Err(Reason::IcmpQuote);
    }
    let icmp = ethernet::HEADER + it.upper;
    Ok(IcmpError {
        source: IpAddr::V6(Ipv6Addr::from(source)),
        quoted: FlowKey::V6(quoted),
        icmp,
        quoted_l4: icmp + icmp::HEADER + quoted_l4,
        end: ethernet::HEADER + it.packet.len(),
        ttl: it.header[wire_ipv6::HOP_LIMIT],
    })
}

/// The key of a quoted packet, which may be cut short behind its ports, and where its transport header is.
fn quoted_ipv6(quote: &[u8]) -> Result<(Ipv6Key, usize), Reason> {
    let header = quote.first_chunk::<{ wire_ipv6::HEADER }>().ok_or(Reason::IcmpTruncated)?;
    if header[0] >> 4 != 6 {
        return Err(Reason::IcmpQuote);
    }
    let mut protocol = header[wire_ipv6::NEXT_HEADER];
    let mut at = wire_ipv6::HEADER;
    for _ in 0..limits::EXTENSION_HEADERS {
        match protocol {
            TCP | UDP => break,
            next::HOP_BY_HOP | next::DESTINATION | next::ROUTING | next::FRAGMENT => {}
            _ => return Err(Reason::IcmpQuote),
        }
        let extension = quote.get(at..at + 4).ok_or(Reason::IcmpTruncated)?;
        if protocol == next::FRAGMENT
            && u16::from_be_bytes([extension[2], extension[3]]) & fragment::OFFSET_MASK != 0
        {
            return Err(Reason::IcmpQuote);
        }
        at += if protocol == next::FRAGMENT { fragment::HEADER } else { (usize::from(extension[1]) + 1) * 8 };
        protocol = extension[0];
    }
    if !matches!(protocol, TCP | UDP) {
        return Err(Reason::IcmpQuote);
    }
    let ports = quote.get(at..at + 4).ok_or(Reason::IcmpTruncated)?;
    let (mut local, mut remote) = ([0; 16], [0; 16]);
    local.copy_from_slice(&header[wire_ipv6::DESTINATION]);
    remote.copy_from_slice(&header[wire_ipv6::SOURCE]);
    let key = Ipv6Key {
        local,
        remote,
        local_port: [ports[2], ports[3]],
        remote_port: [ports[0], ports[1]],
        protocol,
        zero: [0; 3],
    };
    Ok((key, at))
}
