//! Packets cut into pieces, and put together again.

use super::packet::{fix_ip_checksum, read_ip};

/// Cuts an IP packet before each of these offsets of its payload, multiples of 8. IPv6 pieces get a fragment header behind all
/// other headers.
pub fn cut(frame: &[u8], offsets: &[usize], number: u32) -> Vec<Vec<u8>> {
    let end = read_ip(frame).payload.len();
    let starts = [&[0], offsets].concat();
    let ends = [offsets, &[end]].concat();
    starts.iter().zip(&ends).map(|(&start, &until)| piece(frame, start..until, number)).collect()
}

/// One piece of an IP packet, as a frame.
pub fn piece(frame: &[u8], range: std::ops::Range<usize>, number: u32) -> Vec<u8> {
    let ip = read_ip(frame);
    let more = u16::from(range.end < ip.payload.len());
    let mut out = [&frame[..14], &ip.header].concat();
    if ip.source.is_ipv4() {
        let flags = (range.start / 8) as u16 | more << 13;
        out[16..18].copy_from_slice(&((ip.header.len() + range.len()) as u16).to_be_bytes());
        out[18..20].copy_from_slice(&(number as u16).to_be_bytes());
        out[20..22].copy_from_slice(&flags.to_be_bytes());
        fix_ip_checksum(&mut out);
    } else {
        let length = ip.header.len() - 40 + 8 + range.len();
        out[18..20].copy_from_slice(&(length as u16).to_be_bytes());
        let last = last_next_header(&out);
        let next = std::mem::replace(&mut out[last], 44);
        out.extend([next, 0]);
        out.extend((range.start as u16 | more).to_be_bytes());
        out.extend(number.to_be_bytes());
    }
    out.extend(&ip.payload[range]);
    out
}

/// Puts the pieces of one packet, in any order, together to a frame. They must fit together, and agree on all that pieces have in
/// common.
pub fn join(pieces: &[Vec<u8>]) -> Vec<u8> {
    let mut parts: Vec<(usize, bool, Vec<u8>)> = Vec::new();
    let first = read_ip(&pieces[0]);
    for frame in pieces {
        let ip = read_ip(frame);
        assert_eq!(
            (ip.source, ip.destination, ip.protocol, ip.macs),
            (first.source, first.destination, first.protocol, first.macs)
        );
        assert_eq!(place(&ip.header).2, place(&first.header).2, "one number for all pieces");
        let (offset, more, _) = place(&ip.header);
        parts.push((offset, more, ip.payload));
    }
    parts.sort();
    let mut payload = Vec::new();
    for (at, (offset, more, bytes)) in parts.iter().enumerate() {
        assert_eq!(*offset, payload.len(), "pieces fit together");
        assert_eq!(*more, at + 1 < parts.len(), "only the last says that it is");
        payload.extend(bytes);
    }
    whole(&pieces[0][..14], &first.header, first.protocol, &payload)
}

/// The number that all pieces of a packet have, of one of them or of a whole IPv4 packet.
pub fn number(frame: &[u8]) -> u32 {
    place(&read_ip(frame).header).2
}

/// Offset in bytes, whether more follows, and the number of a piece.
fn place(header: &[u8]) -> (usize, bool, u32) {
    let half = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    if header[0] >> 4 == 4 {
        return (usize::from(half(6) & 0x1fff) * 8, half(6) & 0x2000 != 0, u32::from(half(4)));
    }
    let at = header.len() - 8; // The fragment header is the last.
    let number = u32::from(half(at + 4)) << 16 | u32::from(half(at + 6));
    (usize::from(half(at + 2) & 0xfff8), half(at + 2) & 1 != 0, number)
}

fn whole(link: &[u8], header: &[u8], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = [link, header].concat();
    if header[0] >> 4 == 4 {
        frame[16..18].copy_from_slice(&((header.len() + payload.len()) as u16).to_be_bytes());
        frame[20..22].fill(0);
        fix_ip_checksum(&mut frame);
    } else {
        frame.truncate(frame.len() - 8);
        let length = frame.len() - 54 + payload.len();
        frame[18..20].copy_from_slice(&(length as u16).to_be_bytes());
        let last = last_next_header(&frame);
        frame[last] = protocol;
    }
    frame.extend(payload);
    frame
}

/// Where the field stands that names what follows all headers of an IPv6 frame that ends with them.
fn last_next_header(frame: &[u8]) -> usize {
    let (mut field, mut at) = (20, 54);
    while at < frame.len() {
        (field, at) = (at, at + (usize::from(frame[at + 1]) + 1) * 8);
    }
    field
}
