//! What goes wrong with frames on their way, or is sent on purpose.

use super::{packet::sign_ipv4, random::Random};

/// Makes a frame wrong somewhere. The IPv4 header's checksum is mostly made right again, else little else would be looked at.
pub fn damage(bytes: &mut Vec<u8>, random: &mut Random<'_>) {
    if bytes.is_empty() {
        return;
    }
    match random.below(12) {
        0 => bytes.truncate(random.below(bytes.len() + 1)),
        1..=3 => {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        4 => bytes.extend(vec![random.number() as u8; random.below(80)]),
        5 => set(bytes, 0, &[random.pick(&[1, 3, 0xff])]),
        6 => set(bytes, 12, &random.pick(&[[0x08, 0x00], [0x86, 0xdd], [0x81, 0x00], [0, 46]])),
        7 => set(bytes, 14, &[random.number() as u8]),
        8 => set_length(bytes, random),
        9 => set_fragment(bytes, random),
        10 => set_protocol(bytes, random),
        _ => set_transport(bytes, random),
    }
    if bytes.len() >= 34 && bytes[12..14] == [8, 0] && !random.one_in(4) {
        sign_ipv4(bytes);
    }
}

/// Makes the transport checksum of most frames wrong, and nothing else.
pub fn spoil(bytes: &mut [u8], random: &mut Random<'_>) {
    let Some(last) = bytes.last_mut() else { return };
    *last ^= 1 << random.below(8);
}

fn set(bytes: &mut [u8], at: usize, new: &[u8]) {
    if let Some(field) = bytes.get_mut(at..at + new.len()) {
        field.copy_from_slice(new);
    }
}

fn is_ipv6(bytes: &[u8]) -> bool {
    bytes.get(12..14) == Some(&[0x86, 0xdd])
}

/// A length field that is a little or very wrong: of IPv4, IPv6, UDP, or a TCP header.
fn set_length(bytes: &mut [u8], random: &mut Random<'_>) {
    let ip_at = if is_ipv6(bytes) { 18 } else { 16 };
    let l4_at = if is_ipv6(bytes) { 54 } else { 34 };
    let at = random.pick(&[ip_at, ip_at, l4_at + 4, l4_at + 12]);
    let Some(field) = bytes.get(at..at + 2) else { return };
    let old = u16::from_be_bytes([field[0], field[1]]);
    let new = match random.below(4) {
        0 => old.wrapping_sub(1 + random.below(30) as u16),
        1 => old.wrapping_add(1 + random.below(30) as u16),
        2 => random.pick(&[0, 1, 7, 8, 19, 20, 0xffff]),
        _ => random.number() as u16,
    };
    set(bytes, at, &new.to_be_bytes());
}

/// Makes the packet a piece, or another one: of IPv4 only, since IPv6 takes a header more.
fn set_fragment(bytes: &mut [u8], random: &mut Random<'_>) {
    let field = random.pick(&[0x2000, 0x0001, 0x2001, 0x1fff, 0x3fff, 0x8000, 0x6000]);
    if !is_ipv6(bytes) {
        set(bytes, 20, &u16::to_be_bytes(field));
    }
}

fn set_protocol(bytes: &mut [u8], random: &mut Random<'_>) {
    let kind = random.pick(&[0, 1, 6, 17, 43, 44, 50, 51, 58, 59, 60, 132]);
    set(bytes, if is_ipv6(bytes) { 20 } else { 23 }, &[kind]);
}

/// Something in the first bytes behind the IP header, extension headers included.
fn set_transport(bytes: &mut [u8], random: &mut Random<'_>) {
    let at = (if is_ipv6(bytes) { 54 } else { 34 }) + random.below(24);
    set(bytes, at, &[random.number() as u8]);
}
