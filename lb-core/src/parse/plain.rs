//! The common case of `parse`: a whole TCP or UDP packet over IPv4 without options, in a frame of the usual least length. Every
//! offset is known, so there is hardly a branch. What it does not take, it leaves to the rest of `parse`, which knows why.

use super::{Packet, Piece, TCP, UDP};
use crate::{
    flow_key::{FlowKey, Ipv4Key},
    wire::{
        checksum, ethernet, ipv4,
        l4::{
            tcp::{ACK, FIN, RST, SYN},
            udp,
        },
    },
};

/// Ethernet, IPv4 and TCP headers without options. A shorter packet is padded to more than this on any Ethernet.
pub(crate) const HEADERS: usize = 54;

/// Parses a frame into `parsed`; `None`, with nothing written, when the packet is not of the common kind, or not right.
#[inline(always)]
pub(super) fn parse(frame: &[u8], parsed: &mut Packet) -> Option<()> {
    let headers = frame.first_chunk::<HEADERS>()?;
    let total_length = usize::from(word(headers, ethernet::HEADER + ipv4::TOTAL_LENGTH.start));
    let protocol = headers[ethernet::HEADER + ipv4::PROTOCOL];
    let is_right = is_ipv4_without_options(headers)
        & has_right_checksum(headers)
        & (total_length <= frame.len() - ethernet::HEADER)
        & (word(headers, ethernet::HEADER + ipv4::FRAGMENT.start) & ipv4::FRAGMENT_MASK == 0)
        & (headers[ethernet::HEADER + ipv4::TTL] != 0)
        & !ipv4::is_martian_source([headers[26], headers[27], headers[28], headers[29]])
        & (word(headers, 34) != 0)
        & (word(headers, 36) != 0);
    let tcp_flags = match protocol {
        TCP if is_tcp(headers, total_length) => headers[47],
        UDP if is_udp(headers, total_length) => 0,
        _ => return None,
    };
    if !is_right {
        return None;
    }
    let addresses: [u8; 8] = headers[26..34].try_into().ok()?;
    let ports: [u8; 4] = headers[34..38].try_into().ok()?;
    parsed.key = FlowKey::V4(Ipv4Key::from_wire(addresses, ports, protocol));
    parsed.l4 = SEGMENT as u16;
    parsed.total_length = total_length as u16;
    parsed.tcp_flags = tcp_flags;
    parsed.ttl = headers[ethernet::HEADER + ipv4::TTL];
    parsed.piece = Piece::Whole;
    Some(())
}

/// EtherType, version and header length; and to one station.
#[inline(always)]
fn is_ipv4_without_options(headers: &[u8; HEADERS]) -> bool {
    let kind = u32::from_be_bytes([headers[12], headers[13], headers[14], 0]);
    (kind == 0x0800_4500) & (headers[0] & 1 == 0)
}

#[inline(always)]
fn has_right_checksum(headers: &[u8; HEADERS]) -> bool {
    let (high, low): (u64, u64) = (quad(headers, 14), quad(headers, 22));
    let last = u32::from_ne_bytes([headers[30], headers[31], headers[32], headers[33]]);
    // Halves of 64-bit words add up to the same 16 bits, in any byte order.
    let halves = |quad: u64| (quad >> 32) + (quad & 0xffff_ffff);
    checksum::fold64(halves(high) + halves(low) + u64::from(last)) == 0xffff
}

#[inline(always)]
fn is_tcp(headers: &[u8; HEADERS], total_length: usize) -> bool {
    let header_length = usize::from(headers[46] >> 4) * 4;
    (header_length >= 20)
        & (ipv4::HEADER + header_length <= total_length)
        & (LEGAL_FLAGS >> (headers[47] & 0x1f) & 1 != 0)
}

#[inline(always)]
fn is_udp(headers: &[u8; HEADERS], total_length: usize) -> bool {
    let length = usize::from(word(headers, 38));
    (length >= udp::HEADER) & (ipv4::HEADER + length <= total_length)
}

#[inline(always)]
fn word(headers: &[u8; HEADERS], at: usize) -> u16 {
    u16::from_be_bytes([headers[at], headers[at + 1]])
}

#[inline(always)]
fn quad(headers: &[u8; HEADERS], at: usize) -> u64 {
    u64::from_ne_bytes(std::array::from_fn(|byte| headers[at + byte]))
}

/// One bit for each set of FIN, SYN, RST, PSH and ACK that a segment may have.
const LEGAL_FLAGS: u32 = {
    let (mut legal, mut flags) = (0, 0u8);
    while flags < 0x20 {
        let (fin, syn, rst) = (flags & FIN != 0, flags & SYN != 0, flags & RST != 0);
        if !(syn && (fin || rst)) && flags & (FIN | SYN | RST | ACK) != 0 {
            legal |= 1 << flags;
        }
        flags += 1;
    }
    legal
};

/// Where the TCP or UDP header starts.
pub(crate) const SEGMENT: usize = ethernet::HEADER + ipv4::HEADER;
