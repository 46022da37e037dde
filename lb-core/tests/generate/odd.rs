//! What few packets have: options of IP and TCP, extension headers, lengths and addresses at the edges of what is legal.

use std::net::IpAddr;

use super::{
    packet::{Body, Packet},
    random::Random,
    world::{CLIENTS, Family, client, own_addresses, target_address, vip},
};

/// Something legal, or nearly, that most packets have not.
pub fn make_odd(packet: &mut Packet, random: &mut Random<'_>) {
    let header = &mut packet.header;
    match random.below(10) {
        0 => header.ttl = random.below(3) as u8,
        1 => header.tos = random.number() as u8,
        2 => header.may_fragment = true,
        9 if random.one_in(8) => make_huge(packet),
        3 | 4 if header.source.is_ipv4() => header.options = ip_options(random),
        3..=5 => header.extensions = (0..1 + random.below(3)).map(|_| extension(random)).collect(),
        6 => header.source = odd_address(header.source.is_ipv4(), random),
        7 => packet.ports.0 = random.pick(&[0, 1, 80, 8_080, 20_000, 0xffff]),
        _ => match &mut packet.body {
            Body::Tcp(tcp) => (tcp.options, tcp.flags) = (junk_options(random), random.number() as u8),
            Body::Udp(udp) => (udp.surplus, udp.lacks_checksum) = (random.below(12), random.one_in(2)),
        },
    }
}

/// As long as the length field of IPv6 can say. One of IPv4 says nonsense.
fn make_huge(packet: &mut Packet) {
    match &mut packet.body {
        Body::Tcp(tcp) => tcp.payload = vec![0; usize::from(u16::MAX) - 20 - tcp.options.len()],
        Body::Udp(udp) => udp.payload = vec![0; usize::from(u16::MAX) - 8],
    }
}

pub fn syn_options(random: &mut Random<'_>) -> Vec<u8> {
    let scale = random.below(16) as u8;
    match random.below(6) {
        0 => Vec::new(),
        1 => vec![2, 4, 5, 180],
        2 => vec![2, 4, 5, 160, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, scale],
        3 => vec![2, 4, 5, 180, 1, 3, 3, scale, 1, 1, 4, 2],
        4 => vec![3, 3, scale, 1],
        _ => junk_options(random),
    }
}

/// The receiver has something beyond a hole; padding puts the edges at even or odd places.
pub fn selective_acknowledgement(sequence: u32, random: &mut Random<'_>) -> Vec<u8> {
    let blocks = 1 + random.below(3);
    let mut options = vec![1; random.below(3)];
    options.extend([5, 2 + 8 * blocks as u8]);
    for block in 0..2 * blocks as u32 {
        options.extend(sequence.wrapping_add(block * 1_000).to_be_bytes());
    }
    options.resize(options.len().next_multiple_of(4), 1);
    options
}

fn junk_options(random: &mut Random<'_>) -> Vec<u8> {
    let mut options = vec![random.below(12) as u8, random.below(44) as u8];
    options.resize(4 * (1 + random.below(10)), random.below(6) as u8);
    options
}

fn ip_options(random: &mut Random<'_>) -> Vec<u8> {
    let mut options = vec![random.pick(&[1, 0, 7, 68, 131, 137, 148]), random.below(12) as u8];
    options.resize(4 * (1 + random.below(10)), random.pick(&[0, 1]));
    options
}

/// An extension header: options mostly, or a route, or that of a piece which is all of its packet.
fn extension(random: &mut Random<'_>) -> (u8, Vec<u8>) {
    match random.below(8) {
        0 => (0, vec![0, 1, 4, 0, 0, 0, 0]),
        1 => (43, vec![0, random.below(4) as u8, random.below(2) as u8, 0, 0, 0, 0]),
        2 => (44, vec![0, 0, random.below(2) as u8, 0, 0, 0, 7]),
        3 => (51, vec![4, 0, 0, 0, 0, 0, 1]),
        4 => (59, vec![0; 7]),
        _ => {
            let words = random.below(3);
            let mut body = vec![words as u8, 1, (4 + 8 * words) as u8];
            body.resize(7 + 8 * words, 0);
            (60, body)
        }
    }
}

fn odd_address(is_ipv4: bool, random: &mut Random<'_>) -> IpAddr {
    let family = if is_ipv4 { Family::V4 } else { Family::V6 };
    match random.below(6) {
        0 => vip(family),
        5 => random.pick(&own_addresses(family)),
        1 => target_address(family, 0),
        2 if is_ipv4 => {
            random.pick(&[[127, 0, 0, 1], [224, 0, 0, 1], [0, 0, 0, 0], [198, 18, 200, 1]]).into()
        }
        2 => {
            random.pick(&[[0; 8], [0xff02, 0, 0, 0, 0, 0, 0, 1], [0x2001, 0xdb8, 200, 0, 0, 0, 0, 1]]).into()
        }
        3 if is_ipv4 => random.number().to_be_bytes().into(),
        _ => client(family, CLIENTS - 1),
    }
}
