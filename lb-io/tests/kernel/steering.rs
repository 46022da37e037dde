//! The XDP program against its twin `lb_core::steer`, frame by frame.

use std::net::{IpAddr, Ipv4Addr};

use lb_core::{
    steer::{AddressKey, EndpointKey, Steer, Steering, endpoint_role, role},
    tables::{Endpoint, Protocol},
};
use lb_io::program::{Program, SteeringMaps, XdpAction};

use crate::{namespace, random::Random};

#[test]
fn the_program_decides_as_its_twin() {
    namespace::run("the_program_decides_as_its_twin", || {
        let steering = steering();
        let mut maps = SteeringMaps::create().unwrap();
        maps.apply(&steering).unwrap();
        let program = Program::load(&maps).unwrap();
        let mut random = Random::new(1);
        let (mut ours, mut passed) = (0, 0);
        for number in 0..FRAMES {
            let frame = frame(&mut random);
            let expected = match steering.steer(&frame) {
                // The program has no socket here.
                Steer::Redirect => XdpAction::Drop,
                Steer::Pass(_) => XdpAction::Pass,
            };
            match expected {
                XdpAction::Pass => passed += 1,
                _ => ours += 1,
            }
            let found = program.test_run(&frame).unwrap();
            assert_eq!(found, expected, "frame {number}: {frame:02x?}");
        }
        assert!(ours > FRAMES / 10 && passed > FRAMES / 10, "one-sided frames: {ours} ours, {passed} passed");
    });
}

#[test]
fn frames_cut_at_every_length_are_decided_alike() {
    namespace::run("frames_cut_at_every_length_are_decided_alike", || {
        let steering = steering();
        let mut maps = SteeringMaps::create().unwrap();
        maps.apply(&steering).unwrap();
        let program = Program::load(&maps).unwrap();
        let mut random = Random::new(2);
        for _ in 0..500 {
            let whole = frame(&mut random);
            // The kernel runs no program on less than an Ethernet header.
            for len in 14..=whole.len() {
                let found = program.test_run(&whole[..len]).unwrap() == XdpAction::Pass;
                let expected = matches!(steering.steer(&whole[..len]), Steer::Pass(_));
                assert_eq!(found, expected, "cut at {len}: {whole:02x?}");
            }
        }
    });
}

#[test]
fn changed_maps_hold_exactly_what_was_asked_for() {
    namespace::run("changed_maps_hold_exactly_what_was_asked_for", || {
        let mut maps = SteeringMaps::create().unwrap();
        let program = Program::load(&maps).unwrap();
        let mut random = Random::new(3);
        let frames: Vec<Vec<u8>> = (0..2_000).map(|_| frame(&mut random)).collect();
        let whole = steering();
        for round in 0..20 {
            let mut part = whole.clone();
            part.addresses.retain(|_, _| !random.one_in(3));
            part.endpoints.retain(|_, _| !random.one_in(3));
            if round == 10 {
                part = Steering::default();
            }
            maps.apply(&part).unwrap();
            for frame in &frames {
                let found = program.test_run(frame).unwrap() == XdpAction::Pass;
                assert_eq!(found, matches!(part.steer(frame), Steer::Pass(_)), "round {round}: {frame:02x?}");
            }
        }
    });
}

/// Maps with every kind of entry.
fn steering() -> Steering {
    let mut steering = Steering::default();
    let address_roles = [
        (VIPS[0], role::VIP),
        (VIPS[1], role::VIP | role::HOST),
        (HOST, role::HOST),
        (TARGETS[0], role::TARGET_TCP | role::TARGET_UDP),
        (TARGETS[1], role::TARGET_TCP),
        (TARGETS[2], role::TARGET_UDP | role::HOST),
        (HAIRPIN, role::VIP | role::TARGET_TCP),
    ];
    for (address, roles) in address_roles {
        steering.addresses.insert(AddressKey::from(IpAddr::from(address)), roles);
    }
    let mut add = |address: [u8; 4], port, protocol, roles| {
        let endpoint = Endpoint { address: IpAddr::from(address), port, protocol };
        steering.endpoints.insert(EndpointKey::from(&endpoint), roles);
    };
    for vip in VIPS {
        add(vip, LISTENER_PORTS[0], Protocol::Tcp, endpoint_role::LISTENER);
        add(vip, LISTENER_PORTS[1], Protocol::Udp, endpoint_role::LISTENER);
    }
    for target in TARGETS {
        add(target, TARGET_PORTS[0], Protocol::Tcp, endpoint_role::TARGET);
        add(target, TARGET_PORTS[1], Protocol::Udp, endpoint_role::TARGET | endpoint_role::LISTENER);
    }
    add(HAIRPIN, TARGET_PORTS[0], Protocol::Tcp, endpoint_role::TARGET | endpoint_role::LISTENER);
    steering
}

/// A frame that is near the edges of what is ours.
fn frame(random: &mut Random) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..12).map(|_| random.next() as u8).collect();
    if random.one_in(8) {
        frame.extend(random.pick(&[[0x81, 0x00, 0x00, 0x07], [0x88, 0xa8, 0x00, 0x07]]));
    }
    let ethertype = if random.one_in(8) {
        random.pick(&[[0x08, 0x06], [0x86, 0xdd], [0x88, 0xcc], [0x00, 0x08], [0x08, 0x01], [0x00, 0x2e]])
    } else {
        [0x08, 0x00]
    };
    frame.extend(ethertype);
    if random.one_in(3) {
        icmp_packet(random, &mut frame);
    } else {
        packet(random, &mut frame);
    }
    if random.one_in(6) {
        frame.truncate(14.max(random.below(frame.len() + 1)));
    }
    frame
}

/// An ICMP message, mostly an error that quotes a packet.
fn icmp_packet(random: &mut Random, frame: &mut Vec<u8>) {
    let start = frame.len();
    packet(random, frame);
    let header_bytes = usize::from(frame[start] & 0x0f) * 4;
    frame.truncate(start + header_bytes.clamp(20, frame.len() - start));
    frame[start + 9] = 1;
    if !random.one_in(8) {
        frame[start + 6..start + 8].copy_from_slice(&[0x40, 0]);
    }
    frame.push(random.pick(&[3, 3, 3, 11, 12, 0, 8, 4, 5]));
    frame.extend([random.below(16) as u8, 0, 0, 0, 0, 0, 0]);
    packet(random, frame);
}

/// An IPv4 packet, mostly well made, with addresses and ports that the maps know more often than not.
fn packet(random: &mut Random, frame: &mut Vec<u8>) {
    let header_words = if random.one_in(4) { random.below(16) as u8 } else { 5 };
    let version = if random.one_in(16) { random.below(16) as u8 } else { 4 };
    let fragment = match random.below(8) {
        0 => 0x2000_u16,
        1 => random.below(0x1fff) as u16 + 1,
        2 => 0x8000,
        3 => random.next() as u16,
        _ => 0x4000,
    };
    let protocol = if random.one_in(6) {
        random.pick(&[1, 2, 4, 47, 50, 58, 132, 255, 0])
    } else {
        random.pick(&[6, 17])
    };
    let payload = random.below(64);
    let options = usize::from(header_words).saturating_sub(5) * 4;
    let total = (20 + options + 4 + payload) as u16;
    let start = frame.len();
    frame.push(version << 4 | header_words);
    frame.push(random.next() as u8);
    frame.extend(total.to_be_bytes());
    frame.extend([random.next() as u8, 0]);
    frame.extend(fragment.to_be_bytes());
    frame.extend([64, protocol, random.next() as u8, random.next() as u8]);
    let source = ip_address(random);
    let destination = ip_address(random);
    frame.extend(source);
    frame.extend(destination);
    frame.extend((0..options).map(|_| random.next() as u8));
    // With a header length under five words, ports are where the header's end would be, too.
    for _ in 0..2 {
        frame.extend(port(random).to_be_bytes());
    }
    frame.extend((0..payload).map(|_| random.next() as u8));
    if random.one_in(8) {
        let at = start + random.below(frame.len() - start);
        frame[at] = random.next() as u8;
    }
}

fn ip_address(random: &mut Random) -> [u8; 4] {
    let known = [VIPS[0], VIPS[1], HOST, TARGETS[0], TARGETS[1], TARGETS[2], HAIRPIN];
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
            let mut near = random.pick(&known);
            near[3] ^= 1 << random.below(8);
            near
        }
        _ => random.pick(&known),
    }
}

fn port(random: &mut Random) -> u16 {
    let known = [LISTENER_PORTS[0], LISTENER_PORTS[1], TARGET_PORTS[0], TARGET_PORTS[1]];
    match random.below(6) {
        0 => random.next() as u16,
        1 => random.pick(&known).swap_bytes(),
        _ => random.pick(&known),
    }
}

const FRAMES: usize = 200_000;
const VIPS: [[u8; 4]; 2] = [[198, 18, 100, 1], [198, 18, 100, 2]];
const HOST: [u8; 4] = [198, 18, 0, 1];
const TARGETS: [[u8; 4]; 3] = [[198, 19, 1, 2], [198, 19, 2, 2], [198, 19, 3, 2]];
/// A load balancer's address that is another's target.
const HAIRPIN: [u8; 4] = [198, 18, 100, 3];
const LISTENER_PORTS: [u16; 2] = [80, 53];
const TARGET_PORTS: [u16; 2] = [8_080, 5_353];
