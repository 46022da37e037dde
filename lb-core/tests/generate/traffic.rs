//! What clients, targets, routers and nobodies send. Whoever gets a frame may answer it, so that handshakes complete, cookies are
//! confirmed and flows have replies, whatever the tables say.

use std::{collections::VecDeque, net::IpAddr, ops::Range};

use lb_core::{
    parse::{Packet as Parsed, Piece, parse, parse_fragment},
    tables::{InterfaceId, Mac},
    verdict::{Action, Reason},
};

use super::{
    damage::{damage, spoil},
    fleet::{Arriving, Event},
    odd::{make_odd, selective_acknowledgement, syn_options},
    packet::{ACK, Body, FIN, Header, PSH, Packet, RST, SYN, Tcp, Udp, icmp},
    random::Random,
    world::{
        CLIENT_MAC, CLIENTS, Family, INSIDE, MODES, Mode, OUTSIDE, OWN_MACS, TARGETS, VIP_SOURCES, client,
        own_addresses, target, target_address, target_mac, vip,
    },
};

/// How wild it is, each as one in so many.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// Frames that are damaged anywhere.
    pub damaged: usize,
    /// Frames whose transport checksum is wrong.
    pub spoiled: usize,
    /// Packets with something that few have: options, extension headers, odd addresses, a time to live that ends here.
    pub odd: usize,
    /// Datagrams in pieces that arrive otherwise than whole and in order.
    pub disorderly: usize,
    /// Frames of nothing but noise.
    pub noise: usize,
}

/// Everybody around the load balancer, who remember what was sent of late.
pub struct Traffic {
    manners: Manners,
    sent: VecDeque<Arriving>,
    /// What left the load balancer.
    got: VecDeque<Arriving>,
}

impl Traffic {
    pub fn new(manners: Manners) -> Traffic {
        Traffic { manners, sent: VecDeque::new(), got: VecDeque::new() }
    }

    /// What somebody sends next: one frame, or the pieces of one.
    pub fn next(&mut self, random: &mut Random<'_>) -> Vec<Arriving> {
        if random.one_in(self.manners.noise) {
            return vec![noise(random)];
        }
        let mut frames = match random.below(16) {
            0..=7 => self.answer(random),
            8 => self.complain(random),
            9 => self.repeat(random),
            10 => Some(self.send(stray(random), INSIDE, random)),
            _ => None,
        }
        .unwrap_or_else(|| {
            let (packet, ingress) = opening(random);
            self.send(packet, ingress, random)
        });
        for Arriving { bytes, .. } in &mut frames {
            if random.one_in(self.manners.damaged) {
                damage(bytes, random);
            } else if random.one_in(self.manners.spoiled) {
                spoil(bytes, random);
            }
        }
        for frame in &frames {
            remember(&mut self.sent, frame.clone());
        }
        frames
    }

    /// Everybody gets what left.
    pub fn deliver(&mut self, events: &[Event]) {
        for event in events {
            if matches!(event.verdict.reason.action(), Action::Transmit | Action::Reply)
                && event.verdict.reason != Reason::IcmpError
            {
                let ingress = InterfaceId(event.verdict.port);
                remember(&mut self.got, Arriving { bytes: event.after.clone(), ingress });
            }
        }
    }

    /// Whoever got a frame answers it.
    fn answer(&mut self, random: &mut Random<'_>) -> Option<Vec<Arriving>> {
        let Arriving { bytes, ingress } = self.got.get(random.below(self.got.len()))?;
        let got = parse(bytes).or_else(|_| Ok(parse_fragment(bytes)?.packet)).map_err(|_: Reason| ()).ok()?;
        if got.piece == Piece::Later {
            return None;
        }
        let body = match got.is_udp() {
            true => Body::Udp(Udp { payload: payload(random), ..Udp::default() }),
            false => Body::Tcp(answering_segment(bytes, &got, random)?),
        };
        let ports = (port(got.key.destination_port()), port(got.key.source_port()));
        let header = answering_header(bytes, (got.key.destination(), got.key.source()));
        let (packet, ingress) = (Packet { header, ports, body }, *ingress);
        Some(self.send(packet, ingress, random))
    }

    /// A router, or whoever got a frame, says that it could not go on.
    fn complain(&mut self, random: &mut Random<'_>) -> Option<Vec<Arriving>> {
        let Arriving { bytes, ingress } = self.got.get(random.below(self.got.len()))?;
        let got = parse(bytes).or_else(|_| Ok(parse_fragment(bytes)?.packet)).map_err(|_: Reason| ()).ok()?;
        let family = if got.key.is_ipv6() { Family::V6 } else { Family::V4 };
        let from = match random.below(8) {
            0..4 => got.key.destination(),
            4..7 => client(family, 200),
            _ => random.pick(&own_addresses(family)),
        };
        let mut quote = bytes[14..got.end()].to_vec();
        match random.below(4) {
            0 => quote.truncate(random.below(quote.len() + 1)),
            1 => quote.truncate(28),
            _ => {}
        }
        if random.one_in(self.manners.odd) {
            let at = random.below(quote.len());
            if let Some(byte) = quote.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        let kind = match family {
            Family::V4 => {
                random.pick(&[(3, 4), (3, 3), (3, 1), (3, 2), (11, 0), (12, 0), (8, 0), (4, 0), (3, 14)])
            }
            Family::V6 => random.pick(&[(2, 0), (1, 4), (1, 0), (3, 0), (4, 0), (4, 1), (1, 5), (128, 0)]),
        };
        let word = random.pick(&[0, 1_400, 1_280, 576 << 8, 8, 8 << 24, u32::MAX]);
        let header = answering_header(bytes, (from, got.key.source()));
        Some(vec![Arriving { bytes: icmp(&header, kind, word, &quote), ingress: *ingress }])
    }

    /// Somebody sends a frame again.
    fn repeat(&mut self, random: &mut Random<'_>) -> Option<Vec<Arriving>> {
        Some(vec![self.sent.get(random.below(self.sent.len()))?.clone()])
    }

    /// The frame of a packet, or, of some datagrams, of its pieces.
    fn send(&self, mut packet: Packet, ingress: InterfaceId, random: &mut Random<'_>) -> Vec<Arriving> {
        if random.one_in(self.manners.odd) {
            make_odd(&mut packet, random);
        }
        let is_cut = match packet.body {
            Body::Udp(_) => random.one_in(4),
            Body::Tcp(_) => random.one_in(self.manners.odd * 4),
        };
        let frames = match is_cut {
            true => {
                packet.header.number = random.number();
                if let Body::Udp(udp) = &mut packet.body {
                    udp.payload.resize(random.pick(&[40, 200, 1_480, 3_000]), 0x42);
                }
                packet.pieces(&self.cut(packet.segment().len(), random))
            }
            false => vec![packet.frame()],
        };
        frames.into_iter().map(|bytes| Arriving { bytes, ingress }).collect()
    }

    /// Where the pieces of a datagram begin and end.
    fn cut(&self, length: usize, random: &mut Random<'_>) -> Vec<Range<usize>> {
        let size = random.pick(&[8, 16, 24, 512, 1_024, 1_448]).max(length.div_ceil(8).next_multiple_of(8));
        let mut pieces: Vec<Range<usize>> =
            (0..length).step_by(size).map(|start| start..(start + size).min(length)).collect();
        if random.one_in(self.manners.disorderly) {
            match random.below(5) {
                0 => pieces.reverse(),
                1 => drop(pieces.remove(0)),
                2 => pieces.rotate_left(1),
                3 => pieces.push(8..length.clamp(8, 24)), // Overlaps others; may be empty.
                _ => pieces.push(0..8),
            }
        }
        pieces
    }
}

/// A client begins a flow, or says something of a flow that nobody knows.
fn opening(random: &mut Random<'_>) -> (Packet, InterfaceId) {
    let at = random.below(MODES.len());
    let family = MODES[at].vip;
    let hairpin = random.one_in(24).then(|| random.below(usize::from(TARGETS)) as u8);
    let (source, mac, ingress) = match hairpin {
        Some(n) => (target_address(family, n), target_mac(n), INSIDE),
        None => (client(family, random.below(usize::from(CLIENTS)) as u8), CLIENT_MAC, OUTSIDE),
    };
    let destination_port = if random.one_in(40) { random.pick(&[0, 22, 8_080]) } else { Mode::port(at) };
    let ports = (40_000 + random.below(48) as u16, destination_port);
    let flags = random.pick(&[SYN, SYN, SYN, SYN, SYN, SYN, ACK, ACK, SYN | ACK, FIN | ACK, RST, PSH | ACK]);
    let header = plain_header((mac, OWN_MACS[usize::from(ingress.0)]), (source, vip(family)));
    (Packet { header, ports, body: body(flags, random) }, ingress)
}

/// A target says something that nobody asked for.
fn stray(random: &mut Random<'_>) -> Packet {
    let n = random.below(usize::from(TARGETS)) as u8;
    let (source, source_port) = target(random.below(4), n);
    let family = if source.is_ipv4() { Family::V4 } else { Family::V6 };
    let (destination, destination_port) = match random.below(3) {
        0 => (vip(family), VIP_SOURCES.start() + random.below(VIP_SOURCES.len()) as u16),
        _ => (client(family, random.below(usize::from(CLIENTS)) as u8), 40_000 + random.below(48) as u16),
    };
    let source_port = if random.one_in(8) { 22 } else { source_port };
    let flags = random.pick(&[SYN | ACK, SYN | ACK, ACK, PSH | ACK, FIN | ACK, RST | ACK, RST, SYN]);
    let header = plain_header((target_mac(n), OWN_MACS[1]), (source, destination));
    Packet { header, ports: (source_port, destination_port), body: body(flags, random) }
}

fn body(flags: u8, random: &mut Random<'_>) -> Body {
    if random.one_in(3) {
        let lacks_checksum = random.one_in(6);
        return Body::Udp(Udp { payload: payload(random), lacks_checksum, surplus: 0 });
    }
    let payload = if flags & (SYN | RST) == 0 { payload(random) } else { Vec::new() };
    let options = if flags & SYN != 0 { syn_options(random) } else { Vec::new() };
    Body::Tcp(Tcp {
        flags,
        sequence: random.number(),
        acknowledgement: if flags & ACK != 0 { random.number() } else { 0 },
        window: random.number() as u16,
        options,
        payload,
    })
}

/// What the receiver of a TCP segment says to it; nothing to a reset.
fn answering_segment(bytes: &[u8], got: &Parsed, random: &mut Random<'_>) -> Option<Tcp> {
    let segment = &bytes[usize::from(got.l4)..got.end()];
    let word =
        |at: usize| u32::from_be_bytes([segment[at], segment[at + 1], segment[at + 2], segment[at + 3]]);
    let data = segment.len() - usize::from(segment[12] >> 4) * 4;
    let flags = match () {
        () if got.has(RST) => return None,
        () if got.is_syn() => {
            random.pick(&[SYN | ACK, SYN | ACK, SYN | ACK, SYN | ACK, SYN | ACK, RST | ACK])
        }
        () if got.has(SYN) => random.pick(&[ACK, ACK, ACK, ACK, PSH | ACK, RST, FIN | ACK]),
        () if got.has(FIN) => random.pick(&[FIN | ACK, ACK]),
        () => random.pick(&[ACK, ACK, PSH | ACK, PSH | ACK, PSH | ACK, PSH | ACK, FIN | ACK, FIN | ACK, RST]),
    };
    let counted = data as u32 + u32::from(got.has(SYN)) + u32::from(got.has(FIN));
    Some(Tcp {
        flags,
        sequence: if got.has(ACK) { word(8) } else { random.number() },
        acknowledgement: if flags & ACK != 0 { word(4).wrapping_add(counted) } else { 0 },
        window: random.number() as u16,
        options: match flags & SYN {
            0 if random.one_in(4) => selective_acknowledgement(word(4), random),
            0 => Vec::new(),
            _ => syn_options(random),
        },
        payload: if flags & PSH != 0 { payload(random) } else { Vec::new() },
    })
}

/// Link and IP header of an answer to a frame, between these addresses.
fn answering_header(bytes: &[u8], addresses: (IpAddr, IpAddr)) -> Header {
    let mac = |at: usize| Mac(std::array::from_fn(|i| bytes[at + i]));
    plain_header((mac(0), mac(6)), addresses)
}

fn plain_header(macs: (Mac, Mac), (source, destination): (IpAddr, IpAddr)) -> Header {
    Header {
        macs,
        source,
        destination,
        ttl: 64,
        tos: 0,
        number: 0x1234,
        may_fragment: false,
        options: Vec::new(),
        extensions: Vec::new(),
    }
}

fn payload(random: &mut Random<'_>) -> Vec<u8> {
    let length = match random.below(20) {
        0 => 1_380 + random.below(140),
        1 => 1_440,
        2 => 0,
        _ => random.below(100),
    };
    vec![random.below(256) as u8; length]
}

/// Anything but a packet of somebody's.
fn noise(random: &mut Random<'_>) -> Arriving {
    let ingress = random.pick(&[OUTSIDE, INSIDE]);
    let length = random.below(120);
    let mut bytes = random.bytes(length);
    if let Some(link) = bytes.get_mut(..14) {
        link[..6].copy_from_slice(&OWN_MACS[usize::from(ingress.0)].0);
        link[12..].copy_from_slice(&random.pick(&[[0x08, 0x00], [0x86, 0xdd], [0x08, 0x06]]));
    }
    Arriving { bytes, ingress }
}

fn remember(frames: &mut VecDeque<Arriving>, frame: Arriving) {
    if frames.len() == REMEMBERED {
        frames.pop_front();
    }
    frames.push_back(frame);
}

fn port(bytes: [u8; 2]) -> u16 {
    u16::from_be_bytes(bytes)
}

const REMEMBERED: usize = 96;
