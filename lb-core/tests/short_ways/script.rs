//! What clients, targets and the control thread do, as values that a failing test can make simpler.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use lb_core::{
    tables::{CutCause, FlowPolicy, Mac},
    verdict::Reason,
};
use proptest::{prelude::*, sample::select};

use crate::{
    generate::fleet::Arriving,
    support::{
        ACK, CLIENT, CLIENT_MAC, CLIENT6, Crafted, FIN, Family, INSIDE_MAC, OUTSIDE_MAC, PSH, RST, SOURCE,
        SOURCE6, SYN, Scene, VIP, VIP6, ingress_of, number_of, read, target, target_mac, target6, tcp, udp,
    },
    twins::{Fate, Twins},
};

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// Packets that come to a worker together.
    Burst(usize, Vec<Shot>),
    /// A handshake.
    Connect(Ends),
    /// SYNs of as many clients' ports.
    Flood(u16),
    /// Milliseconds without packets.
    Wait(u64),
    Change(Change),
}

/// Who talks to whom, by numbers.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    client: usize,
    port: u16,
    listener: usize,
}

/// A packet, once or more often.
#[derive(Clone, Debug)]
pub struct Shot {
    ends: Ends,
    is_reply: bool,
    flags: u8,
    length: usize,
    shape: Shape,
    times: usize,
}

/// What few packets have.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    ttl: u8,
    may_fragment: bool,
    identification: u16,
    checksum: Checksum,
    tcp_options: usize,
    /// A client's packet comes from another router, by the other interface.
    is_rerouted: bool,
}

#[derive(Clone, Copy, Debug)]
enum Checksum {
    Right,
    Wrong,
    /// Where there can be none: 0.
    Absent,
}

/// Other tables.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Nothing,
    /// A target is there and eligible, drains, is cut, or is gone.
    Target(u8, Option<(bool, FlowPolicy)>),
    Resolved(bool),
    Preserving(bool),
    Adopting(bool),
    Cookies(bool),
    SecondListener(bool),
    Mtus([u32; 2]),
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0..3usize, prop::collection::vec(shot(), 1..12)).prop_map(|(at, shots)| Step::Burst(at, shots)),
        6 => ends().prop_map(Step::Connect),
        1 => (1..80u16).prop_map(Step::Flood),
        3 => select(vec![1, 900, 1_500, 29_999, 30_001, 60_001, 119_000, 120_001, 240_001, 350_001]).prop_map(Step::Wait),
        3 => change().prop_map(Step::Change),
    ];
    prop::collection::vec(step, 1..40)
}

fn ends() -> impl Strategy<Value = Ends> {
    (select(vec![0, 0, 0, 1, 1, 2, 3, 4, 5]), 0..3u16, select(vec![0, 0, 0, 0, 1, 1, 1, 2, 2, 3]))
        .prop_map(|(client, port, listener)| Ends { client, port: 40_000 + port, listener })
}

fn shot() -> impl Strategy<Value = Shot> {
    let flags = select(vec![
        SYN,
        SYN,
        SYN | ACK,
        ACK,
        ACK,
        ACK,
        PSH | ACK,
        PSH | ACK,
        FIN | ACK,
        FIN | ACK,
        RST,
        RST | ACK,
    ]);
    let length = select(vec![0, 0, 0, 4, 12, 100, 548, 1_452, 1_460, 3_004]);
    let shape = prop_oneof![3 => Just(Shape::PLAIN), 1 => shape()];
    (ends(), any::<bool>(), flags, length, shape, select(vec![1, 1, 1, 2, 3])).prop_map(
        |(ends, is_reply, flags, length, shape, times)| Shot { ends, is_reply, flags, length, shape, times },
    )
}

fn shape() -> impl Strategy<Value = Shape> {
    (
        select(vec![64, 64, 64, 64, 2, 1, 0]),
        any::<bool>(),
        any::<u16>(),
        select(vec![Checksum::Right, Checksum::Right, Checksum::Wrong, Checksum::Absent]),
        select(vec![0, 8, 40]),
        any::<bool>(),
    )
        .prop_map(|(ttl, may_fragment, identification, checksum, tcp_options, is_rerouted)| Shape {
            ttl,
            may_fragment,
            identification,
            checksum,
            tcp_options,
            is_rerouted,
        })
}

fn change() -> impl Strategy<Value = Change> {
    let (keep, cut) = (FlowPolicy::Keep, FlowPolicy::Cut(CutCause::Unhealthy));
    let state = select(vec![
        Some((true, keep)),
        Some((true, keep)),
        Some((false, keep)),
        Some((false, cut)),
        Some((false, cut)),
        None,
    ]);
    prop_oneof![
        2 => Just(Change::Nothing),
        4 => (1..4u8, state).prop_map(|(n, state)| Change::Target(n, state)),
        1 => any::<bool>().prop_map(Change::Resolved),
        1 => any::<bool>().prop_map(Change::Preserving),
        1 => any::<bool>().prop_map(Change::Adopting),
        1 => any::<bool>().prop_map(Change::Cookies),
        1 => any::<bool>().prop_map(Change::SecondListener),
        // Multiples of 8. Long packets are 4 more than such, so that 4 more bytes never matter; nor do they where pieces begin.
        1 => select(vec![[1_496, 1_496], [576, 1_496], [1_496, 576]]).prop_map(Change::Mtus),
    ]
}

impl Shape {
    const PLAIN: Shape = Shape {
        ttl: 64,
        may_fragment: false,
        identification: 0x1234,
        checksum: Checksum::Right,
        tcp_options: 0,
        is_rerouted: false,
    };
}

impl Change {
    fn apply(self, scene: &mut Scene) {
        scene.generation += 1;
        match self {
            Change::Nothing => {}
            Change::Target(n, state) => {
                scene.targets.retain(|target| target.0 != n);
                scene.targets.extend(state.map(|(is_eligible, policy)| (n, is_eligible, policy)));
                scene.targets.sort_by_key(|target| target.0);
            }
            Change::Resolved(is_resolved) => scene.is_resolved = is_resolved,
            Change::Preserving(preserves) => scene.preserves_client_ip = preserves,
            Change::Adopting(adopts) => scene.adopts_strays = adopts,
            Change::Cookies(has_cookies) => scene.has_syn_cookies = has_cookies,
            Change::SecondListener(is_there) => scene.second_port = is_there.then_some(SECOND_PORT),
            Change::Mtus(mtus) => scene.mtus = mtus,
        }
    }
}

/// Both load balancers with all their clients and targets.
pub struct Stage {
    pub twins: Twins,
    scene: Scene,
    /// Of most clients.
    family: Family,
    now_ms: u64,
    /// What a target sees of a client, and which target that is.
    known: HashMap<(SocketAddr, SocketAddr), (SocketAddr, SocketAddr)>,
    /// Sequence numbers that clients were answered with.
    cookies: HashMap<(SocketAddr, SocketAddr), u32>,
}

impl Stage {
    pub fn new(twins: Twins, scene: Scene, family: Family) -> Stage {
        Stage { twins, scene, family, now_ms: 1_000, known: HashMap::new(), cookies: HashMap::new() }
    }

    pub fn play(&mut self, step: &Step) {
        match step {
            Step::Burst(at, shots) => self.shoot(*at, shots),
            Step::Connect(ends) => {
                for (is_reply, flags) in [(false, SYN), (true, SYN | ACK), (false, ACK)] {
                    let shot =
                        Shot { ends: *ends, is_reply, flags, length: 0, shape: Shape::PLAIN, times: 1 };
                    self.shoot(usize::from(ends.port), &[shot]);
                }
            }
            Step::Flood(count) => {
                let ports: Vec<u16> = (0..*count).map(|n| 50_000 + n).collect();
                for ports in ports.chunks(64) {
                    let syn = |&port| {
                        let ends = Ends { client: 0, port, listener: 0 };
                        arriving(&tcp(self.client(ends), self.vip(ends), SYN), Shape::PLAIN)
                    };
                    self.send(0, &ports.iter().map(syn).collect::<Vec<_>>());
                }
            }
            Step::Wait(ms) => {
                self.now_ms += ms;
                let fates = self.twins.expire(self.now_ms);
                self.learn(&fates);
            }
            Step::Change(change) => {
                change.apply(&mut self.scene);
                self.twins.install(&self.scene);
            }
        }
    }

    fn shoot(&mut self, at: usize, shots: &[Shot]) {
        let frames: Vec<Arriving> = shots
            .iter()
            .flat_map(|shot| std::iter::repeat_n(arriving(&self.packet(shot), shot.shape), shot.times))
            .collect();
        self.send(at, &frames);
    }

    fn send(&mut self, at: usize, frames: &[Arriving]) {
        let fates = self.twins.process(at, frames, self.now_ms);
        self.learn(&fates);
    }

    /// What targets see of clients, and clients of cookies.
    fn learn(&mut self, fates: &[Fate]) {
        for flow in self.twins.flows(self.now_ms) {
            self.known
                .insert((flow.client.into(), flow.vip.into()), (flow.source.into(), flow.target.into()));
        }
        for fate in fates.iter().filter(|fate| fate.verdict.reason == Reason::SynCookie) {
            let seen = read(&fate.frame.bytes);
            self.cookies.insert((seen.destination, seen.source), seen.sequence);
        }
    }

    /// A packet of a client to a listener; or of the target of such a flow, or of one that might have been.
    fn packet(&self, shot: &Shot) -> Crafted {
        let Shot { ends, flags, .. } = *shot;
        let (client, vip) = (self.client(ends), self.vip(ends));
        let (source, destination) = match self.known.get(&(client, vip)) {
            _ if !shot.is_reply => (client, vip),
            Some(&(source, target)) => (target, source),
            None if client.is_ipv4() == self.scene.target(1).is_ipv4() => (self.scene.target(1), client),
            None => (client, vip),
        };
        let packet = match ends.listener {
            1 => udp(source, destination).payload(&vec![0x5a; shot.length + 4]),
            _ => {
                let packet = tcp(source, destination, flags).payload(&vec![0x5a; shot.length]);
                let cookie = self.cookies.get(&(client, vip));
                let acknowledgement = cookie.map_or(0x3000_0001, |cookie| cookie.wrapping_add(1));
                match source == client {
                    true if flags == SYN => packet,
                    true => Crafted { sequence: packet.sequence + 1, acknowledgement, ..packet },
                    false => {
                        Crafted { sequence: 0x3000_0000, acknowledgement: packet.sequence + 1, ..packet }
                    }
                }
            }
        };
        let macs = match source.ip() {
            _ if source == client && shot.shape.is_rerouted => (ROUTER_MAC, INSIDE_MAC),
            _ if source == client && ends.client != HAIRPIN => (CLIENT_MAC, OUTSIDE_MAC),
            _ => (target_mac(number_of(source)), INSIDE_MAC),
        };
        Crafted { macs, ..packet }
    }

    fn client(&self, Ends { client, port, .. }: Ends) -> SocketAddr {
        let address: IpAddr = match (client, self.family) {
            (HAIRPIN, Family::V4) => target(1).into(),
            (HAIRPIN, Family::V6) => target6(1).into(),
            (3, Family::V4) => VIP.into(),
            (3, Family::V6) => VIP6.into(),
            (4, Family::V4) => SOURCE.into(),
            (4, Family::V6) => SOURCE6.into(),
            (STRANGER, Family::V4) => CLIENT6.into(),
            (STRANGER, Family::V6) => CLIENT.into(),
            (other, Family::V4) => (u32::from(CLIENT) + other as u32).to_be_bytes().into(),
            (other, Family::V6) => (u128::from(CLIENT6) + other as u128).to_be_bytes().into(),
        };
        (address, port).into()
    }

    fn vip(&self, ends: Ends) -> SocketAddr {
        let address: IpAddr = if self.client(ends).is_ipv4() { VIP.into() } else { VIP6.into() };
        (address, [80, 53, SECOND_PORT, 81][ends.listener]).into()
    }
}

/// The frame of a packet, no shorter than Ethernet's are.
fn arriving(packet: &Crafted, shape: Shape) -> Arriving {
    let is_tcp = packet.protocol == 6;
    let packet = Crafted {
        ttl: shape.ttl,
        do_not_fragment: !shape.may_fragment,
        identification: shape.identification,
        tcp_options: if is_tcp { vec![1; shape.tcp_options] } else { Vec::new() },
        ..packet.clone()
    };
    let mut bytes = packet.bytes();
    let at = if packet.source.is_ipv4() { 34 } else { 54 } + if is_tcp { 16 } else { 6 };
    match shape.checksum {
        Checksum::Wrong => bytes[at] ^= 0x10,
        Checksum::Absent if !is_tcp => bytes[at..at + 2].fill(0),
        Checksum::Right | Checksum::Absent => {}
    }
    bytes.resize(bytes.len().max(60), 0);
    Arriving { bytes, ingress: ingress_of(&packet) }
}

pub const SECOND_PORT: u16 = 443;
const ROUTER_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xc2]);
/// The client that is a target.
const HAIRPIN: usize = 2;
/// The client of the other family.
const STRANGER: usize = 5;
