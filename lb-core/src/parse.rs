//! Bytes to a flow key: the checks that every packet must pass before anything is decided about it, in the order of
//! RFC 1812 section 5.2.2. Called by `datapath` for every frame.

use crate::{
    flow::FlowKey,
    verdict::Reason,
    wire::{
        checksum,
        ethernet::{self, is_multicast},
        icmp, ipv4, l4,
    },
};

/// What `datapath` needs to know of a TCP or UDP packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Addresses, ports and protocol.
    pub key: FlowKey,
    /// Where the TCP or UDP header starts in the frame.
    pub l4: u16,
    /// Length of the IP packet in bytes; the frame may be longer by padding.
    pub total_length: u16,
    /// TCP flags; 0 for UDP.
    pub tcp_flags: u8,
    /// Time to live; not 0.
    pub ttl: u8,
}

/// An ICMP error message about a packet of some flow. Offsets count from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Source of the message.
    pub source: [u8; 4],
    /// Addresses, ports and protocol of the packet that it is about, as quoted.
    pub quoted: FlowKey,
    /// Where the ICMP header starts.
    pub icmp: usize,
    /// Where the quoted TCP or UDP header starts.
    pub quoted_l4: usize,
    /// Where the message ends.
    pub end: usize,
}

impl Packet {
    /// Whether all of `flags` are set.
    #[inline]
    pub const fn has(&self, flags: u8) -> bool {
        self.tcp_flags & flags == flags
    }

    /// Whether this is the first packet of a TCP connection.
    #[inline]
    pub const fn is_syn(&self) -> bool {
        self.tcp_flags & (l4::tcp::SYN | l4::tcp::ACK) == l4::tcp::SYN
    }

    /// Whether the packet is UDP.
    #[inline]
    pub const fn is_udp(&self) -> bool {
        self.key.protocol == UDP
    }
}

/// Parses an Ethernet frame that carries an IPv4 TCP or UDP packet. An ICMP message is [`Reason::IcmpNoFlow`] until
/// [`parse_icmp_error`] finds it to be about a flow.
#[inline]
pub fn parse(frame: &[u8]) -> Result<Packet, Reason> {
    let Ipv4 { header, packet, header_length, total_length } = parse_ipv4(frame)?;
    let protocol = header[ipv4::PROTOCOL];
    let segment = &packet[header_length..total_length];
    let tcp_flags = match protocol {
        TCP => check_tcp(segment)?,
        UDP => check_udp(segment)?,
        icmp::PROTOCOL => return Err(Reason::IcmpNoFlow),
        _ => return Err(Reason::UnsupportedProtocol),
    };
    let key = FlowKey {
        source: [header[12], header[13], header[14], header[15]],
        destination: [header[16], header[17], header[18], header[19]],
        source_port: [segment[0], segment[1]],
        destination_port: [segment[2], segment[3]],
        protocol,
        zero: [0; 3],
    };
    if key.source_port == [0, 0] || key.destination_port == [0, 0] {
        return Err(Reason::PortZero);
    }
    Ok(Packet {
        key,
        l4: (ethernet::HEADER + header_length) as u16,
        total_length: total_length as u16,
        tcp_flags,
        ttl: header[ipv4::TTL],
    })
}

/// Parses an Ethernet frame that carries an ICMP error about a TCP or UDP packet. The quote may be cut short after the
/// ports; its own TCP or UDP checksum is not looked at (RFC 5508 REQ-3).
pub fn parse_icmp_error(frame: &[u8]) -> Result<IcmpError, Reason> {
    let Ipv4 { header, packet, header_length, total_length } = parse_ipv4(frame)?;
    let message = &packet[header_length..total_length];
    let (Some(&kind), Some(quote)) = (message.first(), message.get(icmp::HEADER..)) else {
        return Err(Reason::IcmpTruncated);
    };
    if checksum::fold(checksum::sum(message, 0)) != 0xffff {
        return Err(Reason::IcmpChecksum);
    }
    if !icmp::is_error(kind) {
        return Err(Reason::IcmpType);
    }
    let quoted = quote.first_chunk::<{ ipv4::HEADER }>().ok_or(Reason::IcmpTruncated)?;
    let quoted_length = usize::from(quoted[ipv4::VERSION_IHL] & 0x0f) * 4;
    if quoted[ipv4::VERSION_IHL] >> 4 != 4 || quoted_length < ipv4::HEADER {
        return Err(Reason::IcmpQuote);
    }
    let ports = quote.get(quoted_length..quoted_length + 4).ok_or(Reason::IcmpTruncated)?;
    if check_checksum(&quote[..quoted_length]).is_err()
        || !matches!(quoted[ipv4::PROTOCOL], TCP | UDP)
        || u16::from_be_bytes([quoted[6], quoted[7]]) & ipv4::OFFSET_MASK != 0
        || header[ipv4::DESTINATION] != quoted[ipv4::SOURCE]
    {
        return Err(Reason::IcmpQuote);
    }
    let icmp = ethernet::HEADER + header_length;
    Ok(IcmpError {
        source: [header[12], header[13], header[14], header[15]],
        quoted: FlowKey {
            source: [quoted[12], quoted[13], quoted[14], quoted[15]],
            destination: [quoted[16], quoted[17], quoted[18], quoted[19]],
            source_port: [ports[0], ports[1]],
            destination_port: [ports[2], ports[3]],
            protocol: quoted[ipv4::PROTOCOL],
            zero: [0; 3],
        },
        icmp,
        quoted_l4: icmp + icmp::HEADER + quoted_length,
        end: ethernet::HEADER + total_length,
    })
}

/// A whole IPv4 packet that may be forwarded, as far as its header tells.
struct Ipv4<'f> {
    header: &'f [u8; ipv4::HEADER],
    /// From the header on; may be longer than the packet by padding.
    packet: &'f [u8],
    header_length: usize,
    total_length: usize,
}

#[inline]
fn parse_ipv4(frame: &[u8]) -> Result<Ipv4<'_>, Reason> {
    let Some((ethernet, packet)) = frame.split_first_chunk::<{ ethernet::HEADER }>() else {
        return Err(Reason::EthernetTruncated);
    };
    if ethernet[ethernet::ETHERTYPE] != ethernet::IPV4 {
        return Err(Reason::NotIpv4);
    }
    let Some(header) = packet.first_chunk::<{ ipv4::HEADER }>() else {
        return Err(Reason::Ipv4Truncated);
    };
    if ethernet[0] & 1 != 0 {
        return Err(link_multicast(ethernet));
    }
    let header_length = usize::from(header[ipv4::VERSION_IHL] & 0x0f) * 4;
    let total_length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[ipv4::VERSION_IHL] == PLAIN_HEADER {
        check_checksum(header)?;
    } else {
        check_unusual_header(packet, header_length)?;
    }
    if total_length < header_length || total_length > packet.len() {
        return Err(Reason::Ipv4TotalLength);
    }
    if header_length > ipv4::HEADER && ipv4::has_source_route(&packet[ipv4::HEADER..header_length]) {
        return Err(Reason::SourceRoute);
    }
    if ipv4::is_martian_source([header[12], header[13], header[14], header[15]]) {
        return Err(Reason::MartianSource);
    }
    if u16::from_be_bytes([header[6], header[7]]) & ipv4::FRAGMENT_MASK != 0 {
        return Err(Reason::Fragment);
    }
    if header[ipv4::TTL] == 0 {
        return Err(Reason::TtlExpired);
    }
    Ok(Ipv4 { header, packet, header_length, total_length })
}

#[cold]
fn link_multicast(ethernet: &[u8; ethernet::HEADER]) -> Reason {
    debug_assert!(ethernet.first_chunk().is_some_and(is_multicast));
    Reason::LinkMulticast
}

#[inline]
fn check_checksum(header: &[u8]) -> Result<(), Reason> {
    if checksum::fold(checksum::sum(header, 0)) == 0xffff { Ok(()) } else { Err(Reason::Ipv4Checksum) }
}

/// A header whose first byte is not "version 4, five words". The checksum can be verified only over a possible length.
#[cold]
fn check_unusual_header(packet: &[u8], header_length: usize) -> Result<(), Reason> {
    let header = packet.get(..header_length).filter(|header| header.len() >= ipv4::HEADER);
    if let Some(header) = header {
        check_checksum(header)?;
    }
    if packet[ipv4::VERSION_IHL] >> 4 != 4 {
        return Err(Reason::Ipv4Version);
    }
    header.map(|_| ()).ok_or(Reason::Ipv4HeaderLength)
}

/// The flags of a TCP segment whose header is whole and legal.
#[inline]
fn check_tcp(segment: &[u8]) -> Result<u8, Reason> {
    let Some(header) = segment.first_chunk::<{ l4::tcp::HEADER }>() else {
        return Err(Reason::L4Truncated);
    };
    let header_length = usize::from(header[l4::tcp::DATA_OFFSET] >> 4) * 4;
    if header_length < l4::tcp::HEADER || header_length > segment.len() {
        return Err(Reason::TcpHeaderLength);
    }
    let flags = header[l4::tcp::FLAGS];
    let (fin, syn, rst) = (flags & l4::tcp::FIN != 0, flags & l4::tcp::SYN != 0, flags & l4::tcp::RST != 0);
    if (syn && (fin || rst)) || flags & (l4::tcp::FIN | l4::tcp::SYN | l4::tcp::RST | l4::tcp::ACK) == 0 {
        return Err(Reason::TcpFlags);
    }
    Ok(flags)
}

/// 0, for a UDP datagram whose length is legal.
#[inline]
fn check_udp(segment: &[u8]) -> Result<u8, Reason> {
    let Some(header) = segment.first_chunk::<{ l4::udp::HEADER }>() else {
        return Err(Reason::L4Truncated);
    };
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if length < l4::udp::HEADER || length > segment.len() {
        return Err(Reason::UdpLength);
    }
    Ok(0)
}

/// Version 4, header of five words.
const PLAIN_HEADER: u8 = 0x45;
const TCP: u8 = 6;
const UDP: u8 = 17;
