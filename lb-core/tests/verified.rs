//! Every packet that is sent on is taken apart again by another implementation: its checksums are right where they were right
//! and wrong where they were wrong, its lengths are those of its bytes, its data is what it was. For all kinds of listeners, both
//! ways; a report says how many of each there were.
//!
//! `VERIFIED_FRAMES=10000000 cargo test --release --test verified -- --nocapture` looks at more than the suite does.

mod generate;

use std::{collections::BTreeMap, fmt};

use generate::{
    fleet::{Arriving, Event, Fleet},
    inspect::{Checksum, Seen, assert_sent_on, reassemble, see, see_quoted},
    packet::{Body, Header, Packet, Udp},
    random::Random,
    traffic::{Manners, Traffic},
    world::{
        CLIENT_MAC, Family, INSIDE, MODES, Mode, OUTSIDE, OWN_MACS, Supply, World, client, target_mac, vip,
    },
};
use lb_core::{
    flow_table::FlowArena,
    limits,
    tables::{InterfaceId, Mac},
    verdict::{Action, Reason},
};

#[test]
fn checksums_are_right_behind_us_exactly_where_they_were_right_before() {
    let frames: u64 =
        std::env::var("VERIFIED_FRAMES").ok().and_then(|text| text.parse().ok()).unwrap_or(FRAMES);
    let mut seen = BTreeMap::new();
    let mut round = 0;
    while seen.values().sum::<u64>() < frames {
        verify(round, frames.min(FRAMES_OF_A_ROUND), &mut seen);
        round += 1;
    }
    for (class, count) in &seen {
        println!("{count:>10}  {class}");
    }
    let missing: Vec<String> =
        Class::all().filter(|class| !seen.contains_key(class)).map(|class| class.to_string()).collect();
    assert!(missing.is_empty(), "the generator never led to {missing:#?}");
}

/// Each mode's datagrams in pieces, whichever way and in whichever order, make the datagram that a whole one would be.
#[test]
fn datagrams_in_pieces_are_whole_again_behind_us() {
    let mut random = Random::seeded(0x5eed_0f91_ece5);
    let mut arenas: Vec<FlowArena> = (0..3).map(|_| FlowArena::new(FLOWS)).collect();
    let mut fleet = Fleet::new(&mut arenas, &World::default().tables());
    for number in 0..DATAGRAMS {
        for at in (0..MODES.len()).filter(|&at| can_forward(at)) {
            let sent = datagram(at, number * MODES.len() as u32, &mut random);
            let got = send(&mut fleet, OUTSIDE, &sent, pieces(&sent, &mut random), &mut random);
            let answer = answering(&got, sent.header.number);
            let answered = send(&mut fleet, INSIDE, &answer, pieces(&answer, &mut random), &mut random);
            assert_eq!(answered.source, sent.header.destination, "{}", MODES[at].name);
            assert_eq!(answered.destination, sent.header.source, "{}", MODES[at].name);
            assert_eq!(answered.ports, Some((sent.ports.1, sent.ports.0)), "{}", MODES[at].name);
        }
    }
    fleet.audit();
}

/// IPv4 datagrams that are too long for the way out, whole ones and pieces, are cut up into ones that fit and say the same.
#[test]
fn datagrams_that_are_cut_up_are_whole_again_behind_us() {
    let mut random = Random::seeded(0x5eed_0f5c_1550);
    let mut arenas: Vec<FlowArena> = (0..3).map(|_| FlowArena::new(FLOWS)).collect();
    let mut fleet = Fleet::new(&mut arenas, &World::with_mtu(SMALL_MTU).tables());
    let is_ipv4 = |at: &usize| MODES[*at].vip == Family::V4 && can_forward(*at);
    for number in 0..DATAGRAMS {
        for at in (0..MODES.len()).filter(is_ipv4) {
            let sent = datagram(at, number * MODES.len() as u32, &mut random);
            let frames = match random.one_in(2) && sent.segment().len() > 8 {
                true => pieces(&sent, &mut random),
                false => vec![sent.frame()],
            };
            let got = send(&mut fleet, OUTSIDE, &sent, frames, &mut random);
            if MODES[at].targets == Family::V4 {
                let answer = answering(&got, sent.header.number);
                send(&mut fleet, INSIDE, &answer, vec![answer.frame()], &mut random);
            }
        }
    }
    fleet.audit();
}

/// Lets so many packets be sent on by new workers, and looks at each.
fn verify(seed: u64, frames: u64, seen: &mut BTreeMap<Class, u64>) {
    let mut random = Random::seeded(0x0dd_ba11 ^ seed << 32);
    let mut arenas: Vec<FlowArena> = (0..1 + seed as usize % 3).map(|_| FlowArena::new(FLOWS)).collect();
    let mut fleet = Fleet::new(&mut arenas, &World::default().tables());
    let mut traffic = Traffic::new(MANNERS);
    let (mut now_ms, mut count) = (0, 0);
    while count < frames {
        now_ms += 1 + random.below(400) as u64;
        let burst = (0..48).flat_map(|_| traffic.next(&mut random)).collect();
        let events = fleet.process(burst, now_ms, &mut random);
        for class in events.iter().filter_map(judge) {
            *seen.entry(class).or_default() += 1;
            count += 1;
        }
        traffic.deliver(&events);
    }
    fleet.audit();
}

/// Verifies a packet that was sent on.
fn judge(event: &Event) -> Option<Class> {
    let is_sent_on =
        event.verdict.reason.action() == Action::Transmit && event.verdict.reason != Reason::SynToTarget;
    let before = event.before.as_ref().filter(|_| is_sent_on)?;
    let after = assert_sent_on(before, &event.after);
    Class::of(&see(before).expect("looked at before"), &after)
}

/// What kind of packet it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    /// Place in `MODES`.
    mode: usize,
    way: Way,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    ToTarget,
    ToClient,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    TcpRight,
    TcpWrong,
    UdpRight,
    UdpWrong,
    /// Without a checksum.
    UdpPlain,
    FirstPiece,
    IcmpError,
}

impl Class {
    /// Every kind that the traffic is to have had.
    fn all() -> impl Iterator<Item = Class> {
        let modes = (0..MODES.len()).filter(|&mode| can_forward(mode));
        modes.flat_map(|mode| {
            use Kind::*;
            let plain = (MODES[mode].vip == Family::V4).then_some(UdpPlain);
            let kinds = [TcpRight, TcpWrong, UdpRight, UdpWrong, FirstPiece, IcmpError];
            let to_target =
                kinds.into_iter().chain(plain).map(move |kind| Class { mode, way: Way::ToTarget, kind });
            to_target.chain(kinds.into_iter().map(move |kind| Class { mode, way: Way::ToClient, kind }))
        })
    }

    /// `None` for a packet that does not say whose it is: a later piece, or an error whose quote is cut short.
    fn of(before: &Seen, after: &Seen) -> Option<Class> {
        let kind = match before {
            _ if before.is_icmp() => {
                let class = Class::of(&see_quoted(after)?.ok()?, &see_quoted(before)?.ok()?)?;
                let way = if class.way == Way::ToTarget { Way::ToClient } else { Way::ToTarget };
                return Some(Class { way, kind: Kind::IcmpError, ..class });
            }
            _ if before.piece.is_some() => Kind::FirstPiece,
            _ => match (before.protocol.0, before.checksum) {
                (6, Checksum::Right) => Kind::TcpRight,
                (6, _) => Kind::TcpWrong,
                (_, Checksum::Right) => Kind::UdpRight,
                (_, Checksum::Absent) => Kind::UdpPlain,
                _ => Kind::UdpWrong,
            },
        };
        let to_target = Mode::of_port(before.ports?.1).filter(|_| is_vip(before.destination));
        let to_client = || Mode::of_port(after.ports?.0).filter(|_| is_vip(after.source));
        match to_target {
            Some(mode) => Some(Class { mode, way: Way::ToTarget, kind }),
            None => Some(Class { mode: to_client()?, way: Way::ToClient, kind }),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:?}, {:?}", MODES[self.mode].name, self.way, self.kind)
    }
}

fn is_vip(address: std::net::IpAddr) -> bool {
    MODES.iter().any(|mode| vip(mode.vip) == address)
}

/// Whether flows of a mode are possible: not where they need a source and have none.
fn can_forward(at: usize) -> bool {
    MODES[at].sources != Supply::None || (MODES[at].keeps_client && MODES[at].vip == MODES[at].targets)
}

/// A client's datagram to a mode's listener.
fn datagram(at: usize, number: u32, random: &mut Random<'_>) -> Packet {
    let (source, destination) = (client(MODES[at].vip, 0), vip(MODES[at].vip));
    let length = 40 + random.below(LONGEST_PAYLOAD);
    Packet {
        header: header((CLIENT_MAC, OWN_MACS[0]), (source, destination), number + at as u32),
        ports: (50_000, Mode::port(at)),
        body: Body::Udp(Udp { payload: random.bytes(length), ..Udp::default() }),
    }
}

/// The datagram with which a target answers one.
fn answering(got: &Seen, number: u32) -> Packet {
    let (source_port, destination_port) = got.ports.expect("a whole datagram");
    Packet {
        header: header((target_mac(0), OWN_MACS[1]), (got.destination, got.source), number),
        ports: (destination_port, source_port),
        body: Body::Udp(Udp { payload: got.data().to_vec(), ..Udp::default() }),
    }
}

fn header(
    macs: (Mac, Mac),
    (source, destination): (std::net::IpAddr, std::net::IpAddr),
    number: u32,
) -> Header {
    Header {
        macs,
        source,
        destination,
        ttl: 64,
        tos: 0,
        number,
        may_fragment: true,
        options: Vec::new(),
        extensions: Vec::new(),
    }
}

/// Frames of a datagram in pieces, in any order.
fn pieces(packet: &Packet, random: &mut Random<'_>) -> Vec<Vec<u8>> {
    let length = packet.segment().len();
    let (least, most) = (length.div_ceil(16).next_multiple_of(8), (length - 1) / 8 * 8);
    let size = (8 * (1 + random.below(180))).clamp(least, most);
    let ranges: Vec<_> = (0..length).step_by(size).map(|start| start..(start + size).min(length)).collect();
    let mut pieces = packet.pieces(&ranges);
    let turned = random.below(pieces.len());
    pieces.rotate_left(turned);
    if random.one_in(2) {
        pieces.reverse();
    }
    pieces
}

/// Sends the frames of a datagram, and puts together what leaves.
fn send(
    fleet: &mut Fleet<'_>,
    ingress: InterfaceId,
    packet: &Packet,
    frames: Vec<Vec<u8>>,
    random: &mut Random<'_>,
) -> Seen {
    let arriving = frames.into_iter().map(|bytes| Arriving { bytes, ingress }).collect();
    let events = fleet.process(arriving, 0, random);
    let left: Vec<Vec<u8>> = events
        .into_iter()
        .filter(|event| event.verdict.reason.action() == Action::Transmit)
        .map(|event| event.after)
        .collect();
    let seen = match &left[..] {
        [whole] => see(whole),
        pieces => reassemble(pieces),
    }
    .unwrap_or_else(|error| panic!("{error}: {packet:?}"));
    assert_eq!(seen.checksum, Checksum::Right, "{packet:?}");
    assert_eq!(seen.segment[8..], packet.segment()[8..], "the data is what it was");
    seen
}

const MANNERS: Manners =
    Manners { damaged: usize::MAX, spoiled: 6, odd: 10, disorderly: 8, noise: usize::MAX };
/// Packets that are looked at in the suite.
const FRAMES: u64 = 300_000;
/// Each round has new workers, one to three of them.
const FRAMES_OF_A_ROUND: u64 = 100_000;
/// Datagrams in pieces of each mode.
const DATAGRAMS: u32 = 100;
/// Of a datagram, in bytes: no longer, its frame could not be copied to be cut up.
const LONGEST_PAYLOAD: usize = limits::EXTRA_FRAME_BYTES - 100;
/// Of links that datagrams have to be cut up for: small, so that pieces are cut up, too.
const SMALL_MTU: u32 = 1_280;
/// Of each worker.
const FLOWS: u32 = 16_384;
