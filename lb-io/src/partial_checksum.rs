//! Checksums that a local sender left to the hardware. A veth has none, so its frames arrive with only the sum of the
//! pseudo-header in the checksum field; it is completed here, at receive, before anyone rewrites the frame.
//!
//! Used for veth devices alone: a frame off a real wire is complete. A right checksum is never changed: where it happens
//! to equal the sum of the pseudo-header, completing it gives the same value again.

/// Completes the TCP or UDP checksum of an Ethernet frame with an unfragmented IPv4 packet, when it is partial.
pub(crate) fn complete(frame: &mut [u8]) {
    let Some(Segment { bytes, field, pseudo_header }) = Segment::find(frame) else { return };
    let Some(checksum) = bytes.get(field..field + 2) else { return };
    if u64::from(u16::from_be_bytes([checksum[0], checksum[1]])) != u64::from(fold(pseudo_header)) {
        return;
    }
    // The field still holds the pseudo-header's sum, so the sum over the segment covers both.
    let sum = !fold(sum(bytes));
    let sum = if sum == 0 && field == UDP_CHECKSUM { 0xffff } else { sum };
    bytes[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

/// A TCP or UDP segment in a frame.
struct Segment<'f> {
    bytes: &'f mut [u8],
    /// Where its checksum is.
    field: usize,
    /// Sum of the pseudo-header (RFC 9293 3.1, RFC 768), not folded.
    pseudo_header: u64,
}

impl<'f> Segment<'f> {
    fn find(frame: &'f mut [u8]) -> Option<Segment<'f>> {
        if frame.get(12..14)? != [0x08, 0x00] {
            return None;
        }
        let packet = frame.get_mut(ETHERNET_BYTES..)?;
        let header = packet.first_chunk::<IPV4_BYTES>()?;
        let header_bytes = usize::from(header[0] & 0x0f) * 4;
        let total_bytes = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let is_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
        let field = match header[9] {
            TCP => TCP_CHECKSUM,
            UDP => UDP_CHECKSUM,
            _ => return None,
        };
        if is_fragment || header_bytes < IPV4_BYTES || total_bytes < header_bytes {
            return None;
        }
        let segment_bytes = total_bytes - header_bytes;
        let pseudo_header = sum(&header[12..20]) + u64::from(header[9]) + segment_bytes as u64;
        let bytes = packet.get_mut(header_bytes..total_bytes)?;
        Some(Segment { bytes, field, pseudo_header })
    }
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
const TCP: u8 = 6;
const UDP: u8 = 17;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    /// An Ethernet frame with a segment of `payload` and a checksum field of 0.
    fn frame(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let l4_header = if protocol == TCP { 20 } else { 8 };
        let total = (IPV4_BYTES + l4_header + payload.len()) as u16;
        let mut frame = vec![0; ETHERNET_BYTES];
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame.extend([0x45, 0]);
        frame.extend(total.to_be_bytes());
        frame.extend([0, 1, 0x40, 0, 64, protocol, 0, 0, 198, 18, 0, 2, 198, 18, 100, 1]);
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

    fn checksum_at(protocol: u8) -> usize {
        ETHERNET_BYTES + IPV4_BYTES + if protocol == TCP { TCP_CHECKSUM } else { UDP_CHECKSUM }
    }

    /// The checksum as an RFC 1071 receiver verifies it.
    fn verifies(frame: &[u8]) -> bool {
        let packet = &frame[ETHERNET_BYTES..];
        let pseudo = sum(&packet[12..20]) + u64::from(packet[9]) + (packet.len() - IPV4_BYTES) as u64;
        fold(pseudo + sum(&packet[IPV4_BYTES..])) == 0xffff
    }

    fn with_field(mut frame: Vec<u8>, protocol: u8, value: u16) -> Vec<u8> {
        let at = checksum_at(protocol);
        frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
        frame
    }

    fn pseudo_header(frame: &[u8]) -> u16 {
        fold(Segment::find(&mut frame.to_vec()).unwrap().pseudo_header)
    }

    #[test]
    fn a_partial_checksum_is_completed() {
        for protocol in [TCP, UDP] {
            for payload in [&b""[..], b"x", b"hello", &[0xff; 1400]] {
                let bare = frame(protocol, payload);
                let mut partial = with_field(bare.clone(), protocol, pseudo_header(&bare));
                assert!(!verifies(&partial));
                complete(&mut partial);
                assert!(verifies(&partial), "protocol {protocol}, {} bytes", payload.len());
            }
        }
    }

    #[test]
    fn other_checksums_are_left_alone() {
        for protocol in [TCP, UDP] {
            let bare = frame(protocol, b"hello");
            for value in [0, 1, 0xffff, pseudo_header(&bare).wrapping_add(1), !pseudo_header(&bare)] {
                let before = with_field(bare.clone(), protocol, value);
                let mut after = before.clone();
                complete(&mut after);
                assert_eq!(after, before, "protocol {protocol}, field {value:#06x}");
            }
        }
    }

    #[test]
    fn a_right_checksum_that_looks_partial_stays_right() {
        // Two bytes of payload can bring the right checksum to any value, that of the pseudo-header's sum among them.
        let found = (0..=u16::MAX).find_map(|payload| {
            let bare = frame(TCP, &payload.to_be_bytes());
            let looks_partial = with_field(bare.clone(), TCP, pseudo_header(&bare));
            verifies(&looks_partial).then_some(looks_partial)
        });
        let before = found.expect("there is such a payload");
        let mut after = before.clone();
        complete(&mut after);
        assert_eq!(after, before);
    }

    #[test]
    fn a_computed_udp_checksum_of_zero_is_sent_as_ffff() {
        let found = (0..=u16::MAX).find_map(|payload| {
            let bare = frame(UDP, &payload.to_be_bytes());
            let mut partial = with_field(bare.clone(), UDP, pseudo_header(&bare));
            complete(&mut partial);
            let at = checksum_at(UDP);
            (partial[at..at + 2] == [0xff, 0xff]).then_some(partial)
        });
        assert!(verifies(&found.expect("there is such a payload")));
    }

    #[test]
    fn frames_cut_anywhere_and_fragments_are_left_alone() {
        let bare = frame(TCP, b"hello");
        let partial = with_field(bare.clone(), TCP, pseudo_header(&bare));
        for len in 0..partial.len() {
            let mut cut = partial[..len].to_vec();
            complete(&mut cut);
            assert_eq!(cut, partial[..len], "cut at {len}");
        }
        let mut fragment = partial.clone();
        fragment[ETHERNET_BYTES + 6] = 0x20;
        let before = fragment.clone();
        complete(&mut fragment);
        assert_eq!(fragment, before);
    }
}
