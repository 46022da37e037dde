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

/// Ethernet, IPv4 and TCP headers without options. A shorter packet is padded to more than this on any wire; only virtual
/// devices deliver such as they are, which the rest of `parse` takes.
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

/// EtherType, version and header length; and from one station to one.
#[inline(always)]
fn is_ipv4_without_options(headers: &[u8; HEADERS]) -> bool {
    let kind = u32::from_be_bytes([headers[12], headers[13], headers[14], 0]);
    (kind == 0x0800_4500) & ((headers[0] | headers[6]) & 1 == 0)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{flow_key::Ipv6Key, parse::parse_unusual, verdict::Reason, wire::checksum::checksum};
    use proptest::{prelude::*, sample::select};

    /// What the rest of `parse` says, and whether this way takes it: exactly the right packets of its kind, for the same.
    fn assert_both_agree(frame: &[u8]) -> Result<Packet, Reason> {
        let mut general = occupied();
        let result = parse_unusual(frame, &mut general);
        let mut taken = occupied();
        let is_taken = parse(frame, &mut taken).is_some();
        let is_of_its_kind = frame.len() >= HEADERS && frame[12..15] == [0x08, 0x00, 0x45];
        assert_eq!(is_taken, is_of_its_kind && result.is_ok(), "{result:?} of {frame:02x?}");
        assert_eq!(taken, if is_taken { general } else { occupied() }, "{frame:02x?}");
        result.map(|()| general)
    }

    /// A place that another packet has been in, with nothing in common with any here.
    fn occupied() -> Packet {
        let key = FlowKey::V6(Ipv6Key { protocol: 99, ..Ipv6Key::default() });
        Packet { key, l4: 99, total_length: 9, tcp_flags: 0xff, ttl: 0, piece: Piece::Later }
    }

    /// A frame that is right, but for its transport checksum.
    fn frame((is_udp, flags): (bool, u8), options: usize, payload: usize, padding: usize) -> Vec<u8> {
        let segment = if is_udp { 8 } else { 20 + options * 4 } + payload;
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45, 0];
        frame.extend(((20 + segment) as u16).to_be_bytes());
        frame.extend([0x12, 0x34, 0x40, 0, 64, if is_udp { UDP } else { TCP }, 0, 0]);
        frame.extend([198, 18, 0, 2, 198, 18, 100, 1, 0x9c, 0x40, 0, 80]);
        frame.resize(SEGMENT + segment + padding, 0x5a);
        match is_udp {
            true => frame[38..40].copy_from_slice(&(segment as u16).to_be_bytes()),
            false => frame[46..48].copy_from_slice(&[(5 + options as u8) << 4, flags]),
        }
        sign(&mut frame);
        frame
    }

    /// Makes the IPv4 header's checksum right, whatever the header's first byte says, if it is there.
    fn sign(frame: &mut [u8]) {
        let Some(header) = frame.get_mut(ethernet::HEADER..SEGMENT) else { return };
        header[10..12].fill(0);
        let sum = checksum(header, 0);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }

    fn frames() -> impl Strategy<Value = Vec<u8>> {
        let flags = select(vec![SYN, SYN | ACK, ACK, FIN | ACK, RST, RST | ACK]);
        (any::<bool>(), flags, 0..11usize, 0..64usize, 0..40usize).prop_map(
            |(is_udp, flags, options, payload, padding)| frame((is_udp, flags), options, payload, padding),
        )
    }

    /// Another value somewhere: most of them where somebody looks.
    fn changes() -> impl Strategy<Value = (usize, Vec<u8>)> {
        let half = |field: u16| field.to_be_bytes().to_vec();
        let lengths = prop_oneof![0..80u16, Just(0xffff)];
        prop_oneof![
            (0..HEADERS + 10, any::<u8>()).prop_map(|(at, byte)| (at, vec![byte])),
            (select(vec![0, 6]), select(vec![0u8, 1, 3, 0xff])).prop_map(|(at, byte)| (at, vec![byte])),
            select(vec![0x0806u16, 0x0801, 0x86dd, 0x8100, 0x0900]).prop_map(move |kind| (12, half(kind))),
            select(vec![0x44u8, 0x46, 0x4f, 0x40, 0x55, 0x65]).prop_map(|byte| (14, vec![byte])),
            (select(vec![16, 38]), lengths).prop_map(move |(at, length)| (at, half(length))),
            select(vec![0x2000u16, 1, 0x1fff, 0x8000, 0xc000, 0x6000])
                .prop_map(move |field| (20, half(field))),
            select(vec![0u8, 1, 2, 255]).prop_map(|ttl| (22, vec![ttl])),
            select(vec![0u8, 1, 6, 17, 58, 132]).prop_map(|protocol| (23, vec![protocol])),
            select(vec![[0, 1], [127, 0], [169, 254], [169, 253], [223, 1], [224, 0], [255, 255]])
                .prop_map(|address| (26, address.to_vec())),
            select(vec![34, 36]).prop_map(|at| (at, vec![0, 0])),
            (0..16u8, any::<u8>()).prop_map(|(words, flags)| (46, vec![words << 4, flags])),
        ]
    }

    proptest! {
        #[test]
        fn usual_packets_are_taken(frame in frames()) {
            let packet = assert_both_agree(&frame).unwrap();
            prop_assert_eq!(parse(&frame, &mut occupied()).is_some(), frame.len() >= HEADERS);
            prop_assert_eq!(packet.key.source_port(), [0x9c, 0x40]);
        }

        #[test]
        fn changed_packets_are_the_same_to_both(
            mut frame in frames(),
            changes in prop::collection::vec(changes(), 0..3),
            is_signed in prop::bool::weighted(0.9),
        ) {
            for (at, bytes) in changes {
                if let Some(field) = frame.get_mut(at..at + bytes.len()) {
                    field.copy_from_slice(&bytes);
                }
            }
            if is_signed {
                sign(&mut frame);
            }
            let _ = assert_both_agree(&frame);
        }

        #[test]
        fn every_byte_is_the_same_to_both(frame in frames(), byte: u8) {
            for at in 0..frame.len() {
                let mut frame = frame.clone();
                frame[at] = byte;
                let _ = assert_both_agree(&frame);
                sign(&mut frame);
                let _ = assert_both_agree(&frame);
            }
        }

        #[test]
        fn packets_cut_at_any_length_are_the_same_to_both(frame in frames()) {
            for length in 0..frame.len() {
                let _ = assert_both_agree(&frame[..length]);
                let Some(total_length) = length.checked_sub(ethernet::HEADER + 4) else { continue };
                let mut shorter = frame[..length].to_vec();
                shorter[16..18].copy_from_slice(&(total_length as u16 + 4).to_be_bytes());
                sign(&mut shorter);
                let _ = assert_both_agree(&shorter);
            }
        }
    }

    /// Zero has two representations in one's complement.
    #[test]
    fn both_zeros_of_a_header_checksum_are_the_same_to_both() {
        let mut frame = frame((false, ACK), 0, 20, 0);
        let rest = u16::from_be_bytes([frame[18], frame[19]]);
        let sum = u16::from_be_bytes([frame[24], frame[25]]);
        // An identification that makes the checksum 0.
        frame[18..20]
            .copy_from_slice(&(u32::from(rest) + u32::from(sum)).rem_euclid(0xffff).to_be_bytes()[2..]);
        for zero in [[0, 0], [0xff, 0xff]] {
            frame[24..26].copy_from_slice(&zero);
            assert!(assert_both_agree(&frame).is_ok());
        }
    }
}
