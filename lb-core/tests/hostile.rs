//! Generated frames, near the edges of what is legal, through the whole packet path: nothing panics, every frame has one
//! fate, the flow table stays whole, and what leaves is well formed whenever what came in was.
//!
//! `HOSTILE_FRAMES=100000000 cargo test --release --test hostile` runs more than the suite does.

mod support;

use std::net::Ipv4Addr;

use lb_core::{
    datapath::{Arrival, Datapath},
    frame::Frame,
    tables::*,
    time::Instant,
    verdict::{Action, Reason, Verdict},
    wire::checksum::{fold, sum},
};
use support::*;

#[test]
fn generated_frames_meet_one_fate_each() {
    let frames: u64 =
        std::env::var("HOSTILE_FRAMES").ok().and_then(|text| text.parse().ok()).unwrap_or(400_000);
    let mut random = Random(0x1234_5678_9abc_def1);
    let hops = vec![(CLIENT.into(), NextHop { interface: OUTSIDE, mac: CLIENT_MAC })];
    let mut scene = Scene { second_port: Some(81), hops, ..Scene::default() };
    let mut path = leaked_datapath(64, settings(), &scene);
    let mut now_ms = 0;
    let mut sent = 0;
    let mut met = std::collections::BTreeSet::new();
    while sent < frames {
        now_ms += u64::from(random.below(40)) * if random.one_in(50) { 5_000 } else { 1 };
        if random.one_in(40) {
            change(&mut scene, &mut random);
            path.install(scene.tables());
        }
        let burst: Vec<(Vec<u8>, InterfaceId)> =
            (0..1 + random.below(64)).map(|_| frame(&mut random)).collect();
        sent += burst.len() as u64;
        met.extend(process(&mut path, burst, now_ms));
        path.expire(Instant::from_millis(now_ms));
        if random.one_in(20) {
            assert_whole(&path, now_ms);
        }
    }
    assert_books_balance(path.counters());
    let unreachable_here = [
        Reason::HandedOver, // One worker.
        Reason::ReplyRateLimited,
        Reason::TxRingFull, // The worker's, not the packet path's.
        Reason::HandoverFull,
        Reason::FrameOversize,
    ];
    let missed: Vec<Reason> = Reason::ALL
        .iter()
        .copied()
        .filter(|reason| {
            reason.action() != Action::Pass && !unreachable_here.contains(reason) && !met.contains(reason)
        })
        .collect();
    assert!(missed.is_empty(), "the generator never led to {missed:?}");
}

/// Puts a burst through; the reasons that its frames met.
fn process(path: &mut Datapath<'_>, burst: Vec<(Vec<u8>, InterfaceId)>, now_ms: u64) -> Vec<Reason> {
    let mut buffers: Vec<Vec<u8>> =
        burst.iter().map(|(bytes, _)| [&[0; 64], &bytes[..], &[0; 64]].concat()).collect();
    let mut frames: Vec<Frame<'_>> = buffers
        .iter_mut()
        .zip(&burst)
        .map(|(buffer, (bytes, ingress))| Frame::new(buffer, 64, 64 + bytes.len(), *ingress))
        .collect();
    let mut verdicts = [Verdict::drop(Reason::NoFlow); 64];
    path.process_burst(&mut frames, Arrival::Ring, Instant::from_millis(now_ms), &mut verdicts);
    for ((frame, verdict), (before, _)) in frames.iter().zip(&verdicts).zip(&burst) {
        path.counters().settle(verdict.reason);
        match verdict.reason.action() {
            Action::Transmit | Action::Reply => assert_well_formed(before, frame.bytes(), *verdict),
            _ => assert_eq!(frame.bytes(), before, "a frame that does not leave is not touched"),
        }
    }
    let count = frames.len();
    verdicts[..count].iter().map(|verdict| verdict.reason).collect()
}

/// What leaves has a right IP header, leaves by an interface that is there, and has a right TCP or UDP checksum if it had
/// one before: neither is a wrong one mended.
fn assert_well_formed(before: &[u8], after: &[u8], verdict: Verdict) {
    assert!(verdict.port < 2);
    let header_length = usize::from(after[14] & 15) * 4;
    assert_eq!(fold(sum(&after[14..14 + header_length], 0)), 0xffff, "IP checksum of {after:02x?}");
    assert!(after[22] > 0, "time to live");
    if verdict.reason.action() == Action::Reply {
        assert_eq!(l4_is_right(after), Some(true));
    } else if verdict.reason != Reason::IcmpError {
        assert_eq!(before.len(), after.len());
        assert_eq!(l4_is_right(after), l4_is_right(before), "{before:02x?} -> {after:02x?}");
        assert_eq!(after[22], before[22] - 1);
    }
}

/// Whether the TCP, UDP or ICMP checksum is right; `None` for UDP without one.
fn l4_is_right(frame: &[u8]) -> Option<bool> {
    let ip = &frame[14..14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]))];
    let segment = &ip[usize::from(ip[0] & 15) * 4..];
    let pseudo = match ip[9] {
        1 => 0,
        17 if segment[6..8] == [0, 0] => return None,
        protocol => sum(&ip[12..20], u32::from(protocol) + segment.len() as u32),
    };
    Some(fold(sum(segment, pseudo)) == 0xffff)
}

/// Every live flow is found once, and gauges agree with the table.
fn assert_whole(path: &Datapath<'_>, now_ms: u64) {
    let mut flows = 0;
    path.visit_flows(0, u32::MAX, Instant::from_millis(now_ms), |_| flows += 1);
    let counters = path.counters();
    assert!(flows <= counters.flows.value() && counters.flows.value() <= 64);
    assert!(counters.half_open.value() <= 64 / 8);
    let active: u64 = counters.targets.iter().map(|target| target.active_flows.value()).sum();
    assert!(active <= counters.flows.value(), "{active} of {}", counters.flows.value());
}

fn change(scene: &mut Scene, random: &mut Random) {
    scene.generation += 1;
    scene.is_resolved = !random.one_in(8);
    scene.targets.clear();
    for n in 1..=3 {
        match random.below(10) {
            0 | 1 => {}
            2 | 3 => scene.targets.push((n, false, FlowPolicy::Cut)),
            4 | 5 => scene.targets.push((n, false, FlowPolicy::Keep)),
            _ => scene.targets.push((n, true, FlowPolicy::Keep)),
        }
    }
    if random.one_in(10) {
        scene.targets.clear();
    }
}

/// A frame from either side, mostly well made, and the interface that it comes in by.
fn frame(random: &mut Random) -> (Vec<u8>, InterfaceId) {
    let client = (CLIENT, 40_000 + random.below(200) as u16);
    let client = if random.one_in(20) { (strange_address(random), client.1) } else { client };
    let server_port = random.pick(&[80, 80, 81, 53, 53, 443, 0]);
    let n = 1 + random.below(3) as u8;
    let flags = random.pick(&[
        SYN,
        SYN,
        ACK,
        ACK,
        SYN | ACK,
        FIN | ACK,
        RST,
        RST | ACK,
        PSH | ACK,
        0,
        SYN | FIN,
        0xff,
    ]);
    let (packet, ingress) = if random.one_in(2) {
        (tcp(client, (VIP, server_port), flags), OUTSIDE)
    } else {
        (
            tcp((target(n), random.pick(&[8080, 8080, 8080, 22])), client, flags)
                .macs(target_mac(n), INSIDE_MAC),
            INSIDE,
        )
    };
    let is_udp = server_port == 53 || (ingress == INSIDE && random.one_in(3));
    let packet = Crafted {
        protocol: if is_udp { 17 } else { 6 },
        ttl: if random.one_in(20) { random.below(3) as u8 } else { 64 },
        sequence: random.next() as u32,
        payload: vec![random.next() as u8; payload_length(random)],
        options: if random.one_in(20) { options(random) } else { Vec::new() },
        ..packet
    };
    let mut bytes = packet.bytes();
    if random.one_in(6) {
        bytes = about(&bytes, ingress, random);
    }
    damage(&mut bytes, random);
    (bytes, ingress)
}

/// An ICMP message that quotes, as its receiver would have seen it, an answer to the packet.
fn about(packet: &[u8], ingress: InterfaceId, random: &mut Random) -> Vec<u8> {
    let mut quoted = packet.to_vec();
    quoted[26..30].copy_from_slice(&packet[30..34]);
    quoted[30..34].copy_from_slice(&packet[26..30]);
    let l4 = 14 + usize::from(packet[14] & 15) * 4;
    quoted[l4..l4 + 2].copy_from_slice(&packet[l4 + 2..l4 + 4]);
    quoted[l4 + 2..l4 + 4].copy_from_slice(&packet[l4..l4 + 2]);
    fix_ip_checksum(&mut quoted);
    if random.one_in(6) {
        quoted[14 + random.below(20) as usize] ^= 1 << random.below(8);
    }
    let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
    let macs = if ingress == OUTSIDE { (CLIENT_MAC, OUTSIDE_MAC) } else { (target_mac(1), INSIDE_MAC) };
    let length = 20 + random.below(quoted.len() as u32 - 14 - 20 + 1) as usize;
    let kind = random.pick(&[(3, 4), (3, 3), (11, 0), (12, 0), (8, 0), (4, 0)]);
    icmp_error(kind, (address(26), address(30)), macs, &quoted, length)
}

/// Makes one in four frames wrong somewhere.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    match random.below(40) {
        0 => bytes.truncate(random.below(bytes.len() as u32 + 1) as usize),
        1..=4 => {
            let at = random.below(bytes.len() as u32) as usize;
            bytes[at] ^= 1 << random.below(8);
        }
        5 => bytes[20] ^= random.pick(&[0x20, 0x40]),
        6 => bytes[14] = random.next() as u8,
        7 => bytes[16..18].copy_from_slice(&(random.below(2_000) as u16).to_be_bytes()),
        8 => bytes[23] = random.next() as u8,
        9 => bytes.extend(std::iter::repeat_n(0, random.below(20) as usize)),
        10 => bytes[0] |= 1,
        _ => return,
    }
    if bytes.len() >= 34 && !random.one_in(3) {
        fix_ip_checksum(bytes);
    }
}

fn payload_length(random: &mut Random) -> usize {
    match random.below(20) {
        0 => 1_461 + random.below(40) as usize,
        1 => 1_460,
        _ => random.below(100) as usize,
    }
}

fn options(random: &mut Random) -> Vec<u8> {
    let kind = random.pick(&[1, 0, 7, 68, 131, 137, 148]);
    let mut options = vec![kind, random.below(12) as u8];
    options.resize(4 * (1 + random.below(10) as usize), random.pick(&[0, 1]));
    options
}

fn strange_address(random: &mut Random) -> Ipv4Addr {
    match random.below(5) {
        0 => VIP,
        1 => Ipv4Addr::new(127, 0, 0, 1),
        2 => Ipv4Addr::new(224, 0, 0, 1),
        3 => target(1),
        _ => Ipv4Addr::from(random.next() as u32),
    }
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, end: u32) -> u32 {
        (self.next() % u64::from(end.max(1))) as u32
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u32) as usize]
    }
}
