//! ICMP errors about packets of flows between both families, made anew in the other family (RFC 7915 sections 4.2, 4.3, 5.2, 5.3).

use super::{IpHeader, icmp_extension::Parts, shift::Quoted, translate};
use crate::{
    flow::Outward,
    frame::Frame,
    limits,
    parse::IcmpError,
    tables::Protocol,
    verdict::Reason,
    wire::{checksum, ethernet, icmp, icmpv6, ipv4, ipv6, l4},
};

/// Turns an error into the one that the other family has for it, leaving with the addresses of `out`. On an error of ours the
/// frame is as it was.
pub fn apply(
    frame: &mut Frame<'_>,
    error: &IcmpError,
    sequence: &Quoted<'_>,
    out: &Outward,
) -> Result<(), Reason> {
    let to_ipv4 = out.source.is_ipv4();
    let about = error.quoted_l4 - error.icmp - icmp::HEADER + quoted_payload(frame.bytes(), error);
    let mut kind = kind(&frame.bytes()[error.icmp..error.icmp + icmp::HEADER], to_ipv4, about)?;
    let inner = quoted_header(frame.bytes(), error, out);
    let parts = Parts::of(frame.bytes(), error, inner.payload);
    let layout = parts.lay_out(&mut kind, to_ipv4, inner.len(), QUOTE_BYTES);
    let mut quote = [0; QUOTE_BYTES];
    let quote = &mut quote[..layout.len()];
    quote[..layout.l4].copy_from_slice(&frame.bytes()[parts.l4][..layout.l4]);
    translate_l4(&mut quote[..layout.l4], error, sequence, out);
    if !layout.extension.is_empty() {
        quote[layout.extension].copy_from_slice(&frame.bytes()[parts.extension]);
    }
    let ttl = error.ttl - 1; // The caller lets no message with less than 2 through.
    let header = IpHeader {
        source: out.source,
        destination: out.destination,
        protocol: if to_ipv4 { icmp::PROTOCOL } else { icmpv6::PROTOCOL },
        tos: traffic_class(&frame.bytes()[ethernet::HEADER..]),
        ttl,
        payload: icmp::HEADER + inner.len() + quote.len(),
    };
    let message_at = ethernet::HEADER + header.len();
    if !frame.set_len(message_at + header.payload) {
        return Err(Reason::FrameOversize);
    }
    let bytes = frame.bytes_mut();
    header.write(bytes);
    let message = &mut bytes[message_at..];
    message[..icmp::HEADER].copy_from_slice(&kind);
    // An IP header is written behind a link header: the ICMP header's last bytes stand in for one.
    let mut scratch = [0; ethernet::HEADER + ipv6::HEADER];
    inner.write(&mut scratch[..ethernet::HEADER + inner.len()]);
    let quote_at = icmp::HEADER + inner.len();
    message[icmp::HEADER..quote_at]
        .copy_from_slice(&scratch[ethernet::HEADER..ethernet::HEADER + inner.len()]);
    message[quote_at..].copy_from_slice(quote);
    let pseudo = if to_ipv4 { 0 } else { header.pseudo_header() };
    let sum = checksum::checksum(message, pseudo);
    message[icmp::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
    Ok(())
}

/// The IP header of the quoted packet, as its sender made it.
fn quoted_header(frame: &[u8], error: &IcmpError, out: &Outward) -> IpHeader {
    let quote = &frame[error.icmp + icmp::HEADER..];
    IpHeader {
        source: out.destination,
        destination: out.source,
        protocol: error.quoted.protocol(),
        tos: traffic_class(quote),
        ttl: quote[if error.quoted.is_ipv6() { ipv6::HOP_LIMIT } else { ipv4::TTL }],
        payload: quoted_payload(frame, error),
    }
}

/// Translates ports and checksum of a quoted transport header, which may be cut short behind the ports.
fn translate_l4(quote: &mut [u8], error: &IcmpError, sequence: &Quoted<'_>, out: &Outward) {
    quote[l4::SOURCE_PORT].copy_from_slice(&out.destination_port);
    quote[l4::DESTINATION_PORT].copy_from_slice(&out.source_port);
    let key = &error.quoted;
    let delta = translate::delta(key, &out.opposite()).and(sequence.restore(quote));
    let is_udp = key.protocol() == Protocol::Udp as u8;
    let at = if is_udp { l4::udp::CHECKSUM } else { l4::tcp::CHECKSUM };
    match quote.get_mut(at..at + 2) {
        Some(field) if is_udp => super::nat::update_udp(field, delta),
        Some(field) => super::nat::update(field, delta),
        None => {}
    }
}

/// Type of service or traffic class in the IP header that `packet` begins with: copied (RFC 7915 sections 4.1, 5.1).
fn traffic_class(packet: &[u8]) -> u8 {
    match packet {
        [first, second, ..] if first >> 4 == 6 => first << 4 | second >> 4,
        [_, second, ..] => *second,
        _ => 0,
    }
}

/// Length of the quoted packet's transport header and data, as its IP header says.
fn quoted_payload(frame: &[u8], error: &IcmpError) -> usize {
    let quote = error.icmp + icmp::HEADER;
    let headers = error.quoted_l4 - quote;
    let field = |at: usize| usize::from(u16::from_be_bytes([frame[quote + at], frame[quote + at + 1]]));
    let total = match error.quoted.is_ipv6() {
        true => ipv6::HEADER + field(ipv6::PAYLOAD_LENGTH.start),
        false => field(ipv4::TOTAL_LENGTH.start),
    };
    total.saturating_sub(headers).min(usize::from(u16::MAX) - ipv6::HEADER)
}

/// The first eight bytes of the error, about a packet of so many bytes, in the other family; their checksum zero.
fn kind(header: &[u8], to_ipv4: bool, about: usize) -> Result<[u8; icmp::HEADER], Reason> {
    match to_ipv4 {
        true => to_icmpv4(header),
        false => to_icmpv6(header, about),
    }
    .ok_or(Reason::IcmpUntranslatable)
}

/// RFC 7915 section 5.2.
fn to_icmpv4(header: &[u8]) -> Option<[u8; icmp::HEADER]> {
    let word = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let plain = |kind, code| Some([kind, code, 0, 0, 0, 0, 0, 0]);
    match (header[icmp::TYPE], header[icmp::CODE]) {
        (icmpv6::UNREACHABLE, 1) => plain(icmp::UNREACHABLE, HOST_PROHIBITED),
        (icmpv6::UNREACHABLE, 4) => plain(icmp::UNREACHABLE, PORT_UNREACHABLE),
        (icmpv6::UNREACHABLE, 0..=3) => plain(icmp::UNREACHABLE, HOST_UNREACHABLE),
        // One that tells of less is discarded (RFC 8201 section 4): every link of that family carries as much.
        (icmpv6::PACKET_TOO_BIG, _) if word >= ipv6::MINIMUM_MTU => {
            let mtu = u16::try_from(word - FAMILY_GAP).unwrap_or(u16::MAX).to_be_bytes();
            Some([icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED, 0, 0, 0, 0, mtu[0], mtu[1]])
        }
        (icmpv6::TIME_EXCEEDED, code) => plain(icmp::TIME_EXCEEDED, code),
        (icmpv6::PARAMETER_PROBLEM, 0) => {
            let pointer = match word {
                0 | 1 => word as u8,
                4 | 5 => 2,
                6 => 9,
                7 => 8,
                8..=23 => 12,
                24..=39 => 16,
                _ => return None,
            };
            Some([icmp::PARAMETER_PROBLEM, 0, 0, 0, pointer, 0, 0, 0])
        }
        (icmpv6::PARAMETER_PROBLEM, 1) => plain(icmp::UNREACHABLE, PROTOCOL_UNREACHABLE),
        _ => None,
    }
}

/// RFC 7915 section 4.2.
fn to_icmpv6(header: &[u8], about: usize) -> Option<[u8; icmp::HEADER]> {
    let plain = |kind, code| Some([kind, code, 0, 0, 0, 0, 0, 0]);
    match (header[icmp::TYPE], header[icmp::CODE]) {
        (icmp::UNREACHABLE, 0 | 1 | 5..=8 | 11 | 12) => plain(icmpv6::UNREACHABLE, 0),
        (icmp::UNREACHABLE, PROTOCOL_UNREACHABLE) => {
            Some([icmpv6::PARAMETER_PROBLEM, 1, 0, 0, 0, 0, 0, ipv6::NEXT_HEADER as u8])
        }
        (icmp::UNREACHABLE, PORT_UNREACHABLE) => plain(icmpv6::UNREACHABLE, 4),
        (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED) => {
            let mtu = match u16::from_be_bytes([header[6], header[7]]) {
                // From a router that does not say: the next plateau below the packet.
                0 => PLATEAUS.into_iter().find(|&mtu| usize::from(mtu) < about).unwrap_or(MINIMUM_IPV4_MTU),
                mtu => mtu,
            };
            let mtu = (u32::from(mtu) + FAMILY_GAP).max(ipv6::MINIMUM_MTU).to_be_bytes();
            Some([icmpv6::PACKET_TOO_BIG, 0, 0, 0, mtu[0], mtu[1], mtu[2], mtu[3]])
        }
        (icmp::UNREACHABLE, 9 | 10 | 13 | 15) => plain(icmpv6::UNREACHABLE, 1),
        (icmp::TIME_EXCEEDED, code) => plain(icmpv6::TIME_EXCEEDED, code),
        (icmp::PARAMETER_PROBLEM, 0 | 2) => {
            let pointer = match header[4] {
                at @ (0 | 1) => at,
                2 | 3 => 4,
                8 => 7,
                9 => 6,
                12..=15 => 8,
                16..=19 => 24,
                _ => return None,
            };
            Some([icmpv6::PARAMETER_PROBLEM, 0, 0, 0, 0, 0, 0, pointer])
        }
        _ => None,
    }
}

/// Common MTUs (RFC 1191 section 7).
const PLATEAUS: [u16; 10] = [65_535, 32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296];
/// What an IPv6 header is longer than one of IPv4.
const FAMILY_GAP: u32 = (ipv6::HEADER - ipv4::HEADER) as u32;
const MINIMUM_IPV4_MTU: u16 = ipv4::MINIMUM_MTU as u16;
const HOST_UNREACHABLE: u8 = 1;
const PROTOCOL_UNREACHABLE: u8 = 2;
const PORT_UNREACHABLE: u8 = 3;
const HOST_PROHIBITED: u8 = 10;
/// Of the quoted transport header and data; an IPv4 error is then no longer than RFC 1812 section 4.3.2.3 wants.
const QUOTE_BYTES: usize = limits::ICMP_ERROR_BYTES - 2 * ipv4::HEADER - icmp::HEADER;

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of the tables in RFC 7915: type, code and the word behind the checksum, in IPv6 and in IPv4.
    #[test]
    fn errors_of_ipv6_have_these_counterparts() {
        for (v6, v4) in [
            ((1, 0, 0), Some((3, 1, 0))),
            ((1, 1, 0), Some((3, 10, 0))),
            ((1, 2, 0), Some((3, 1, 0))),
            ((1, 3, 0), Some((3, 1, 0))),
            ((1, 4, 0), Some((3, 3, 0))),
            ((1, 5, 0), None),
            ((2, 0, 1_400), Some((3, 4, 1_380))),
            ((2, 0, 1_280), Some((3, 4, 1_260))),
            ((2, 0, 1_279), None),
            ((2, 0, 0), None),
            ((2, 0, u32::MAX), Some((3, 4, 65_535))),
            ((3, 0, 0), Some((11, 0, 0))),
            ((3, 1, 0), Some((11, 1, 0))),
            ((4, 0, 7), Some((12, 0, 8 << 24))),
            ((4, 0, 40), None),
            ((4, 1, 6), Some((3, 2, 0))),
            ((4, 2, 0), None),
        ] {
            assert_eq!(unpack(kind(&pack(v6), true, 1_500).ok()), v4, "{v6:?}");
        }
    }

    #[test]
    fn errors_of_ipv4_have_these_counterparts() {
        for (v4, v6) in [
            ((3, 0, 0), Some((1, 0, 0))),
            ((3, 1, 0), Some((1, 0, 0))),
            ((3, 2, 0), Some((4, 1, 6))),
            ((3, 3, 0), Some((1, 4, 0))),
            ((3, 4, 1_380), Some((2, 0, 1_400))),
            ((3, 4, 576), Some((2, 0, 1_280))),
            ((3, 4, 0), Some((2, 0, 1_512))),
            ((3, 10, 0), Some((1, 1, 0))),
            ((3, 13, 0), Some((1, 1, 0))),
            ((3, 14, 0), None),
            ((11, 1, 0), Some((3, 1, 0))),
            ((12, 0, 8 << 24), Some((4, 0, 7))),
            ((12, 0, 20 << 24), None),
            ((12, 1, 0), None),
            ((4, 0, 0), None),
        ] {
            assert_eq!(unpack(kind(&pack(v4), false, 1_500).ok()), v6, "{v4:?}");
        }
    }

    fn pack((kind, code, word): (u8, u8, u32)) -> [u8; 8] {
        let word = word.to_be_bytes();
        [kind, code, 0xab, 0xcd, word[0], word[1], word[2], word[3]]
    }

    fn unpack(header: Option<[u8; 8]>) -> Option<(u8, u8, u32)> {
        header.map(|header| {
            (header[0], header[1], u32::from_be_bytes([header[4], header[5], header[6], header[7]]))
        })
    }
}
