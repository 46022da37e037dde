//! Checksums that a local sender left to the hardware. A veth has none, so its frames arrive with only the sum of the
//! pseudo-header in the checksum field; it is completed here, at receive, before anyone rewrites the frame.
//!
//! Used for veth devices alone: a frame off a real wire is complete. A right checksum is never changed: where it happens
//! to equal the sum of the pseudo-header, completing it gives the same value again.

use std::ops::Range;

use lb_core::limits;

/// Completes the TCP or UDP checksum of an Ethernet frame with an unfragmented packet, when it is partial. Fragments are left
/// alone: the stack that makes them completes the checksum first.
pub(crate) fn complete(frame: &mut [u8]) {
    let Some(Segment { bytes, field, pseudo_header }) = Segment::find(frame) else { return };
    let Some(checksum) = bytes.get(field..field + 2) else { return };
    if u64::from(u16::from_be_bytes([checksum[0], checksum[1]])) != u64::from(fold(pseudo_header)) {
        return;
    }
    // The field still holds the pseudo-header's sum, so the sum over the segment covers both.
    let sum = !fold(sum(bytes));
    // In UDP, 0 says that there is no checksum (RFC 768; RFC 8200 section 8.1 forbids that for IPv6).
    let sum = if sum == 0 && field == UDP_CHECKSUM { 0xffff } else { sum };
    bytes[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

/// A TCP or UDP segment in a frame.
struct Segment<'f> {
    bytes: &'f mut [u8],
    /// Where its checksum is.
    field: usize,
    /// Sum of the pseudo-header (RFC 9293 section 3.1, RFC 768, RFC 8200 section 8.1), not folded.
    pseudo_header: u64,
}

impl<'f> Segment<'f> {
    fn find(frame: &'f mut [u8]) -> Option<Segment<'f>> {
        let (ethernet, packet) = frame.split_first_chunk_mut::<ETHERNET_BYTES>()?;
        let Place { protocol, range, addresses } = match ethernet[12..14] {
            [0x08, 0x00] => find_in_ipv4(packet)?,
            [0x86, 0xdd] => find_in_ipv6(packet)?,
            _ => return None,
        };
        let field = match protocol {
            TCP => TCP_CHECKSUM,
            UDP => UDP_CHECKSUM,
            _ => return None,
        };
        let pseudo_header = addresses + u64::from(protocol) + range.len() as u64;
        Some(Segment { bytes: packet.get_mut(range)?, field, pseudo_header })
    }
}

/// Where a packet's segment is.
struct Place {
    protocol: u8,
    /// Bytes of the packet.
    range: Range<usize>,
    /// Sum of source and destination address.
    addresses: u64,
}

fn find_in_ipv4(packet: &[u8]) -> Option<Place> {
    let header = packet.first_chunk::<IPV4_BYTES>()?;
    let header_bytes = usize::from(header[0] & 0x0f) * 4;
    let total_bytes = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let is_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    if is_fragment || header_bytes < IPV4_BYTES || total_bytes < header_bytes {
        return None;
    }
    Some(Place { protocol: header[9], range: header_bytes..total_bytes, addresses: sum(&header[12..20]) })
}

/// Looks past options alone: behind a routing header the pseudo-header has another destination (RFC 8200 section 8.1).
fn find_in_ipv6(packet: &[u8]) -> Option<Place> {
    let header = packet.first_chunk::<IPV6_BYTES>()?;
    let end = IPV6_BYTES + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let mut protocol = header[6];
    let mut start = IPV6_BYTES;
    for _ in 0..limits::EXTENSION_HEADERS {
        if !matches!(protocol, HOP_BY_HOP | DESTINATION_OPTIONS) {
            break;
        }
        let extension = packet.get(start..end)?.first_chunk::<2>()?;
        protocol = extension[0];
        start += (usize::from(extension[1]) + 1) * 8;
    }
    (start <= end).then(|| Place { protocol, range: start..end, addresses: sum(&header[8..40]) })
}

/// Sum of the 16-bit words of `bytes`, the last padded with zero.
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(2);
    let last = words.remainder().first().map_or(0, |&byte| u64::from(byte) << 8);
    words.map(|word| u64::from(u16::from_be_bytes([word[0], word[1]]))).sum::<u64>() + last
}

/// Folds the carries of a sum back into 16 bits.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const IPV6_BYTES: usize = 40;
const HOP_BY_HOP: u8 = 0;
const DESTINATION_OPTIONS: u8 = 60;
const TCP: u8 = 6;
const UDP: u8 = 17;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    /// An Ethernet frame with a segment of `payload` and a checksum field of 0.
    fn frame(shape: Shape, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let l4_header = if protocol == TCP { 20 } else { 8 };
        let length = (shape.header_bytes() - shape.fixed_bytes() + l4_header + payload.len()) as u16;
        let mut frame = vec![0; 12];
        match shape {
            Shape::V4 => {
                frame.extend([0x08, 0x00, 0x45, 0]);
                frame.extend((length + 20).to_be_bytes());
                frame.extend([0, 1, 0x40, 0, 64, protocol, 0, 0, 198, 18, 0, 2, 198, 18, 100, 1]);
            }
            Shape::V6 | Shape::V6Options => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend(length.to_be_bytes());
                frame.extend([if shape == Shape::V6 { protocol } else { HOP_BY_HOP }, 64]);
                frame.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
                frame.extend([0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            }
        }
        if shape == Shape::V6Options {
            frame.extend([DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0]);
            frame.extend([protocol, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        let mut segment = vec![0; l4_header];
        segment[..4].copy_from_slice(&[0x9c, 0x40, 0x00, 0x50]);
        if protocol == TCP {
            segment[12] = 0x50;
        } else {
            segment[4..6].copy_from_slice(&((8 + payload.len()) as u16).to_be_bytes());
        }
        frame.extend(segment);
        frame.extend(payload);
        frame
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Shape {
        V4,
        V6,
        /// With a header of hop-by-hop options and one of destination options.
        V6Options,
    }

    impl Shape {
        fn fixed_bytes(self) -> usize {
            if self == Shape::V4 { 20 } else { 40 }
        }

        fn header_bytes(self) -> usize {
            if self == Shape::V6Options { 64 } else { self.fixed_bytes() }
        }

        fn checksum_at(self, protocol: u8) -> usize {
            14 + self.header_bytes() + if protocol == TCP { TCP_CHECKSUM } else { UDP_CHECKSUM }
        }

        /// Whether the checksum is right, as an RFC 1071 receiver verifies it.
        fn verifies(self, frame: &[u8], protocol: u8) -> bool {
            let (headers, segment) = frame[14..].split_at(self.header_bytes());
            let addresses = if self == Shape::V4 { &headers[12..20] } else { &headers[8..40] };
            fold(sum(addresses) + u64::from(protocol) + segment.len() as u64 + sum(segment)) == 0xffff
        }

        fn with_field(self, mut frame: Vec<u8>, protocol: u8, value: u16) -> Vec<u8> {
            let at = self.checksum_at(protocol);
            frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
            frame
        }
    }

    fn kinds() -> impl Iterator<Item = (Shape, u8)> {
        [Shape::V4, Shape::V6, Shape::V6Options].into_iter().flat_map(|shape| [(shape, TCP), (shape, UDP)])
    }

    fn pseudo_header(frame: &[u8]) -> u16 {
        fold(Segment::find(&mut frame.to_vec()).unwrap().pseudo_header)
    }

    /// The frame as a local sender leaves it to a device that completes checksums.
    fn partial(shape: Shape, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let bare = frame(shape, protocol, payload);
        let field = pseudo_header(&bare);
        shape.with_field(bare, protocol, field)
    }

    #[test]
    fn a_partial_checksum_is_completed() {
        for (shape, protocol) in kinds() {
            for payload in [&b""[..], b"x", b"hello", &[0xff; 1400]] {
                let mut frame = partial(shape, protocol, payload);
                assert!(!shape.verifies(&frame, protocol));
                frame.extend([0x99; 3]); // Padding.
                complete(&mut frame);
                frame.truncate(frame.len() - 3);
                assert!(shape.verifies(&frame, protocol), "{shape:?} {protocol}, {} bytes", payload.len());
            }
        }
    }

    #[test]
    fn other_checksums_are_left_alone() {
        for (shape, protocol) in kinds() {
            let bare = frame(shape, protocol, b"hello");
            for value in [0, 1, 0xffff, pseudo_header(&bare).wrapping_add(1), !pseudo_header(&bare)] {
                let before = shape.with_field(bare.clone(), protocol, value);
                let mut after = before.clone();
                complete(&mut after);
                assert_eq!(after, before, "{shape:?} {protocol}, field {value:#06x}");
            }
        }
    }

    #[test]
    fn a_right_checksum_that_looks_partial_stays_right() {
        // Two bytes of payload can bring the right checksum to any value, that of the pseudo-header's sum among them.
        for shape in [Shape::V4, Shape::V6] {
            let found = (0..=u16::MAX)
                .map(|payload| partial(shape, TCP, &payload.to_be_bytes()))
                .find(|frame| shape.verifies(frame, TCP));
            let before = found.expect("there is such a payload");
            let mut after = before.clone();
            complete(&mut after);
            assert_eq!(after, before);
        }
    }

    #[test]
    fn a_computed_udp_checksum_of_zero_is_sent_as_ffff() {
        for shape in [Shape::V4, Shape::V6] {
            let found = (0..=u16::MAX).find_map(|payload| {
                let mut frame = partial(shape, UDP, &payload.to_be_bytes());
                complete(&mut frame);
                let at = shape.checksum_at(UDP);
                (frame[at..at + 2] == [0xff, 0xff]).then_some(frame)
            });
            assert!(shape.verifies(&found.expect("there is such a payload"), UDP));
        }
    }

    #[test]
    fn frames_cut_anywhere_are_left_alone() {
        for (shape, protocol) in kinds() {
            let whole = partial(shape, protocol, b"hello");
            for len in 0..whole.len() {
                let mut cut = whole[..len].to_vec();
                complete(&mut cut);
                assert_eq!(cut, whole[..len], "{shape:?} {protocol}, cut at {len}");
            }
        }
    }

    #[test]
    fn fragments_and_routed_packets_are_left_alone() {
        let mut v4 = partial(Shape::V4, UDP, b"hello");
        v4[20] = 0x20;
        let behind = |kind| {
            let mut frame = partial(Shape::V6Options, UDP, b"hello");
            frame[20] = kind;
            frame
        };
        for before in [v4, behind(44), behind(43), behind(51)] {
            let mut after = before.clone();
            complete(&mut after);
            assert_eq!(after, before);
        }
    }

    #[test]
    fn a_chain_of_headers_ends_somewhere() {
        let mut frame = partial(Shape::V6, UDP, b"hello");
        frame[20] = DESTINATION_OPTIONS;
        frame.truncate(54);
        frame.extend([DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0].repeat(20));
        frame[18..20].copy_from_slice(&160_u16.to_be_bytes());
        let before = frame.clone();
        complete(&mut frame);
        assert_eq!(frame, before);
    }
}
