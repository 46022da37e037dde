//! Generated frames that are near the edges of what is ours, and the maps that say what that is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_core::{
    steer::{AddressEntry, AddressKey, EndpointKey, Steering, endpoint_role, role},
    tables::{Endpoint, Protocol},
};

use crate::random::Random;

/// Maps with every kind of entry, in both families.
pub fn steering() -> Steering {
    let mut steering = Steering::default();
    for (number, roles) in ROLES.into_iter().enumerate() {
        let is_source = roles & role::SOURCE != 0;
        let (first_port, last_port) = if is_source { SOURCE_PORTS } else { (0, 0) };
        for address in known(number) {
            let entry = AddressEntry { roles, first_port, last_port };
            steering.addresses.insert(AddressKey::from(address), entry);
            let mut add = |port, protocol, roles| {
                steering.endpoints.insert(EndpointKey::from(&Endpoint { address, port, protocol }), roles);
            };
            if roles & role::VIP != 0 {
                add(LISTENER_PORTS[0], Protocol::Tcp, endpoint_role::LISTENER);
                add(LISTENER_PORTS[1], Protocol::Udp, endpoint_role::LISTENER);
            }
            if roles & role::TARGET_TCP != 0 {
                add(TARGET_PORTS[0], Protocol::Tcp, endpoint_role::TARGET);
            }
            if roles & role::TARGET_UDP != 0 {
                add(TARGET_PORTS[1], Protocol::Udp, endpoint_role::TARGET | endpoint_role::LISTENER);
            }
        }
    }
    steering
}

/// A frame with a packet of either family, mostly.
pub fn frame(random: &mut Random) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..12).map(|_| random.next() as u8).collect();
    if random.one_in(8) {
        frame.extend(random.pick(&[[0x81, 0x00, 0x00, 0x07], [0x88, 0xa8, 0x00, 0x07]]));
    }
    let is_v6 = random.one_in(2);
    frame.extend(match is_v6 {
        _ if random.one_in(16) => random.pick(&[[0x08, 0x06], [0x88, 0xcc], [0x00, 0x08], [0xdd, 0x86]]),
        _ if random.one_in(32) => random.pick(&[[0x08, 0x00], [0x86, 0xdd]]),
        false => [0x08, 0x00],
        true => [0x86, 0xdd],
    });
    let packet = if is_v6 { ipv6_packet } else { ipv4_packet };
    if random.one_in(3) {
        let quote = packet(random, None);
        frame.extend(packet(random, Some(&quote)));
    } else {
        frame.extend(packet(random, None));
    }
    if random.one_in(6) {
        frame.truncate(14.max(random.below(frame.len() + 1)));
    }
    frame.truncate(FRAME_BYTES);
    frame
}

/// An IPv4 packet, mostly well made; an ICMP message, mostly an error, when there is a packet to `quote`.
fn ipv4_packet(random: &mut Random, quote: Option<&[u8]>) -> Vec<u8> {
    let header_words = if random.one_in(4) { random.below(16) as u8 } else { 5 };
    let version = if random.one_in(16) { random.below(16) as u8 } else { 4 };
    let fragment = match random.below(if quote.is_some() { 64 } else { 8 }) {
        0 => 0x2000_u16,
        1 => random.below(0x1fff) as u16 + 1,
        2 => 0x8000,
        3 => random.next() as u16,
        _ => 0x4000,
    };
    let (protocol, payload) = match quote {
        Some(quote) => (1, icmp_message(random, &[3, 3, 3, 11, 12, 0, 8, 4, 5], quote)),
        None => upper_layer(random, &[1, 2, 4, 47, 50, 58, 132, 255, 0]),
    };
    let options = usize::from(header_words).saturating_sub(5) * 4;
    let total = (20 + options + payload.len()) as u16;
    let mut packet = vec![version << 4 | header_words, random.next() as u8];
    packet.extend(total.to_be_bytes());
    packet.extend([random.next() as u8, 0]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, random.next() as u8, random.next() as u8]);
    packet.extend(ipv4_address(random));
    packet.extend(ipv4_address(random));
    packet.extend((0..options).map(|_| random.next() as u8));
    // With a header length under five words, ports are where the header's end would be, too.
    packet.extend(payload);
    damaged(random, packet)
}

/// An IPv6 packet, as [`ipv4_packet`], behind some extension headers.
fn ipv6_packet(random: &mut Random, quote: Option<&[u8]>) -> Vec<u8> {
    let version = if random.one_in(16) { random.below(16) as u8 } else { 6 };
    let (mut next, mut rest) = match quote {
        Some(quote) => (58, icmp_message(random, &[1, 2, 2, 3, 4, 0, 5, 128, 133, 135, 136], quote)),
        None => upper_layer(random, &[58, 1, 59, 51, 50, 132, 4, 41, 255]),
    };
    let headers = match random.below(8) {
        0..4 => 0,
        4 => 7 + random.below(4),
        _ => 1 + random.below(3),
    };
    for _ in 0..headers {
        let kind = random.pick(&[0, 43, 44, 60]);
        rest = [extension_header(random, kind, next), rest].concat();
        next = kind;
    }
    let mut packet = vec![version << 4, random.next() as u8, 0, 0];
    packet.extend((rest.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(ipv6_address(random));
    packet.extend(ipv6_address(random));
    packet.extend(rest);
    damaged(random, packet)
}

fn extension_header(random: &mut Random, kind: u8, next: u8) -> Vec<u8> {
    let mut header = vec![next, 0, 0, 0, 0, 0, 0, random.next() as u8];
    if kind == 44 {
        header[1] = random.next() as u8; // Reserved: it says no length.
        let fragment = match random.below(6) {
            0 => 0x0001_u16,
            1 => random.next() as u16,
            2 => 0x0008,
            _ => random.pick(&[0x0000, 0x0002, 0x0006]),
        };
        header[2..4].copy_from_slice(&fragment.to_be_bytes());
    } else if random.one_in(4) {
        let most = random.pick(&[3, 3, 3, 255]);
        let units = 1 + random.below(most);
        header[1] = units as u8;
        header.resize(8 * (units + 1), 0x05);
    }
    header
}

/// A protocol, TCP or UDP rather than one of `others`, with ports and what follows them.
fn upper_layer(random: &mut Random, others: &[u8]) -> (u8, Vec<u8>) {
    let protocol = if random.one_in(6) { random.pick(others) } else { random.pick(&[6, 17]) };
    let mut payload = [port(random).to_be_bytes(), port(random).to_be_bytes()].concat();
    payload.extend((0..random.below(64)).map(|_| random.next() as u8));
    (protocol, payload)
}

fn icmp_message(random: &mut Random, types: &[u8], quote: &[u8]) -> Vec<u8> {
    [&[random.pick(types), random.below(16) as u8, 0, 0, 0, 0, 0, 0], quote].concat()
}

/// The packet, once in a while with one byte that is another.
fn damaged(random: &mut Random, mut packet: Vec<u8>) -> Vec<u8> {
    if random.one_in(8) {
        let at = random.below(packet.len());
        packet[at] = random.next() as u8;
    }
    packet
}

fn ipv4_address(random: &mut Random) -> [u8; 4] {
    let IpAddr::V4(address) = known(random.below(ROLES.len()))[0] else { unreachable!("the first is IPv4") };
    match random.below(10) {
        0 => random.pick(&[
            [224, 0, 0, 1],
            [239, 255, 255, 250],
            [240, 0, 0, 1],
            [255, 255, 255, 255],
            [223, 255, 255, 255],
        ]),
        1 => Ipv4Addr::from(random.next() as u32).octets(),
        2 => {
            let mut near = address.octets();
            near[3] ^= 1 << random.below(8);
            near
        }
        _ => address.octets(),
    }
}

fn ipv6_address(random: &mut Random) -> [u8; 16] {
    let IpAddr::V6(address) = known(random.below(ROLES.len()))[1] else { unreachable!("the second is IPv6") };
    let mut octets = address.octets();
    match random.below(12) {
        0 => {
            let edges = [[0xfe, 0x80], [0xfe, 0xbf], [0xfe, 0x7f], [0xfe, 0xc0], [0xff, 0x02], [0xfd, 0x00]];
            octets[..2].copy_from_slice(&random.pick(&edges));
        }
        1 => octets[random.below(16)] ^= 1 << random.below(8),
        // Has the key of the IPv4 address.
        2 => octets = Ipv4Addr::from(ipv4_address(random)).to_ipv6_mapped().octets(),
        _ => {}
    }
    octets
}

fn port(random: &mut Random) -> u16 {
    let (first, last) = SOURCE_PORTS;
    match random.below(8) {
        0 => random.next() as u16,
        1 => random.pick(&LISTENER_PORTS).swap_bytes(),
        2 => random.pick(&[first - 1, last + 1, first.swap_bytes()]),
        3 => random.pick(&[first, last, first + 1]),
        _ => random.pick(&[LISTENER_PORTS[0], LISTENER_PORTS[1], TARGET_PORTS[0], TARGET_PORTS[1]]),
    }
}

/// The address of a number, in both families.
fn known(number: usize) -> [IpAddr; 2] {
    let number = number as u8 + 1;
    [
        Ipv4Addr::new(198, 18, 100, number).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)).into(),
    ]
}

/// What the known addresses are, by number.
const ROLES: [u32; 12] = [
    role::VIP,
    role::VIP | role::HOST,
    role::HOST,
    role::TARGET_TCP | role::TARGET_UDP,
    role::TARGET_TCP,
    role::TARGET_UDP | role::HOST,
    // A load balancer's address that is another's target.
    role::VIP | role::TARGET_TCP,
    role::SOURCE,
    role::SOURCE | role::HOST,
    role::SOURCE | role::VIP,
    role::SOURCE | role::VIP | role::HOST,
    role::SOURCE | role::TARGET_TCP,
];
const LISTENER_PORTS: [u16; 2] = [80, 53];
const TARGET_PORTS: [u16; 2] = [8_080, 5_353];
const SOURCE_PORTS: (u16, u16) = (40_000, 40_009);
/// The kernel runs a program on no longer frame than fits a page with its own bookkeeping.
const FRAME_BYTES: usize = 3_000;
