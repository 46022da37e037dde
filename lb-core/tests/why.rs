//! Why packets fare as they do: what [`Datapath::why`] says of a packet beforehand is what becomes of it, for flows of all kinds
//! while the tables change.
//!
//! [`Datapath::why`]: lb_core::datapath::Datapath::why

mod generate;

use std::{collections::BTreeMap, net::IpAddr};

use generate::{
    fleet::{Event, Fleet},
    random::Random,
    traffic::{Manners, Traffic},
    world::World,
};
use lb_core::{
    datapath::{FlowFate, Outlook, Prospect, Why, key_of},
    flow::{Direction, State},
    flow_key::FlowKey,
    flow_table::FlowArena,
    parse::{Packet, parse},
    tables::{Listener, Tables},
    time::Instant,
    verdict::{Action, Reason},
};

#[test]
fn what_is_said_of_a_packet_is_what_becomes_of_it() {
    let mut tally = Tally::default();
    for round in 0..ROUNDS {
        let flows = FLOWS[round % FLOWS.len()];
        let mut arenas: Vec<FlowArena> = (0..1 + round % 3).map(|_| FlowArena::new(flows)).collect();
        run(round as u64, &mut arenas, &mut tally);
    }
    for (kind, least) in [(Kind::Opening, 10_000), (Kind::Stray, 1_000), (Kind::Flow, 10_000)] {
        assert!(tally.agreed[&kind] > least, "{kind:?}: {tally:?}");
    }
    for reason in OUTCOMES {
        assert!(tally.openings.contains_key(&reason.name()), "never said: {reason:?}; {tally:?}");
    }
    let agreed: u32 = tally.agreed.values().sum();
    assert!(tally.by_search * 100 < agreed, "{tally:?}");
}

#[test]
fn a_source_that_no_packet_may_have_is_said_to_be_dropped() {
    let tables = World::default().tables();
    let mut arenas = [FlowArena::new(FLOWS[0])];
    let fleet = Fleet::new(&mut arenas, &tables);
    let path = fleet.paths().next().expect("a worker");
    let endpoints = tables.listeners().iter().flatten().map(|listener| listener.endpoint);
    for endpoint in endpoints {
        let sources = match endpoint.address {
            IpAddr::V4(_) => ["127.0.0.1", "224.0.0.1", "0.0.0.0", "255.255.255.255"],
            IpAddr::V6(_) => ["::1", "ff02::1", "::", "fe80::1"],
        };
        for (source, port) in sources.into_iter().flat_map(|source| [(source, endpoint.port), (source, 9)]) {
            let from = (source.parse().expect("an address"), [156, 64]);
            let to = (endpoint.address, port.to_be_bytes());
            let key = FlowKey::new(from, to, endpoint.protocol as u8).expect("one family");
            let why = path.why(&key, Instant::from_millis(0));
            assert_eq!(why.reason(), Reason::MartianSource, "{key:?}");
            if let Outlook::Client { prospect, .. } = why.outlook {
                assert_eq!((prospect.reason, prospect.target), (Reason::MartianSource, None), "{key:?}");
            }
        }
    }
}

/// What of a packet could be foretold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// It opened a flow, or was refused one.
    Opening,
    /// A TCP packet of no flow that opens none.
    Stray,
    /// A packet of a flow.
    Flow,
}

#[derive(Debug, Default)]
struct Tally {
    agreed: BTreeMap<Kind, u32>,
    /// Packets that were to open a flow, by reason.
    openings: BTreeMap<&'static str, u32>,
    /// Flows that only the search for a source port has made room for.
    by_search: u32,
}

fn run(seed: u64, arenas: &mut [FlowArena], tally: &mut Tally) {
    let mut random = Random::seeded(0x9e37_79b9_7f4a_7c15 ^ seed << 20);
    let mut world = World::default();
    let mut fleet = Fleet::new(arenas, &world.tables());
    let mut traffic = Traffic::new(CALM);
    let mut now_ms = 0;
    for _ in 0..PACKETS {
        now_ms += random.below(40) as u64 * if random.one_in(100) { 5_000 } else { 1 };
        if random.one_in(400) {
            world.change(&mut random);
            fleet.install(&world.tables());
        }
        for frame in traffic.next(&mut random) {
            let packet = parse(&frame.bytes).ok().filter(|packet| packet.ttl > 1);
            let said = packet.map(|packet| (packet, why(&fleet, &packet, now_ms)));
            let events = fleet.process(vec![frame.clone()], now_ms, &mut random);
            if let Some((packet, why)) = said
                && let Some(event) = fate(&events, &frame.bytes)
            {
                compare(&packet, &why, event, tally);
            }
            traffic.deliver(&events);
        }
    }
}

/// What the worker with the flow says, or else the one that would have it.
fn why(fleet: &Fleet<'_>, packet: &Packet, now_ms: u64) -> Why {
    let mut said: Vec<Why> =
        fleet.paths().map(|path| path.why(&packet.key, Instant::from_millis(now_ms))).collect();
    let with_flow = said.iter().position(|why| why.flow.is_some());
    let at = with_flow.or_else(|| said.iter().position(|why| why.is_home)).expect("a home");
    said.swap_remove(at)
}

/// What became of a frame in the end.
fn fate<'e>(events: &'e [Event], frame: &[u8]) -> Option<&'e Event> {
    let is_final = |event: &&Event| {
        event.verdict.reason.action() != Action::HandOver && event.before.as_deref() == Some(frame)
    };
    events.iter().rev().find(is_final)
}

fn compare(packet: &Packet, why: &Why, event: &Event, tally: &mut Tally) {
    let reason = event.verdict.reason;
    if PACKETS_OWN.contains(&reason) {
        return;
    }
    let opens = packet.is_udp() || packet.is_syn();
    match (&why.flow, &why.outlook) {
        // By the tables of today its packets need not come to the worker that has it.
        (Some(_), outlook) if !why.is_home || *outlook == Outlook::Nobody => {}
        (Some(flow), _) if !(flow.is_replaced() && opens) => {
            compare_flow(packet, flow, event);
            tally.count(Kind::Flow);
        }
        (_, Outlook::Client { listener, prospect, .. }) => {
            let listener = why.tables.listener(*listener).expect("a listener");
            if opens {
                compare_opening(packet, (&why.tables, listener), prospect, event, tally);
            } else if is_stray(packet, listener) {
                assert_eq!(reason, prospect.stray, "{packet:?} {:?} {:?}", why.flow, why.outlook);
                tally.count(Kind::Stray);
            }
        }
        (None, Outlook::Target { reason: said, .. }) if packet.tcp_flags & RST == 0 => {
            assert_eq!(reason, *said, "{packet:?} {:?} {:?}", why.flow, why.outlook);
            tally.count(Kind::Stray);
        }
        (_, Outlook::Nobody) => assert_eq!(reason, Reason::NoListener, "{packet:?}"),
        _ => {}
    }
}

/// Neither a reset nor one that may confirm a cookie.
fn is_stray(packet: &Packet, listener: &Listener) -> bool {
    packet.tcp_flags & RST == 0 && !listener.has_syn_cookies
}

fn compare_flow(packet: &Packet, flow: &FlowFate, event: &Event) {
    let (reason, said) = (event.verdict.reason, flow.reason());
    let is_reset_or_syn = packet.tcp_flags & RST != 0 || packet.is_syn();
    let has_header = flow.is_owed_header && reason == Reason::ProxyHeader && !packet.is_udp();
    let is_renewal = flow.state == State::Reset && packet.tcp_flags & SYN != 0;
    if flow.state == State::Connecting
        || is_renewal
        || reason == Reason::ProxyUnplaced
        || has_header
        || is_reset_or_syn && said != Reason::FlowHit
    {
        return; // What comes of it, the numbers in the packet say.
    }
    assert_eq!(reason, said, "{packet:?} {flow:?}");
    if said != Reason::FlowHit {
        return;
    }
    let (source, destination) = match flow.direction {
        Direction::Forward => (flow.view.source, flow.view.target),
        Direction::Reverse => (flow.view.vip, flow.view.client),
    };
    assert_eq!(ends(&event.after), (source, destination), "{packet:?} {flow:?}");
}

fn compare_opening(
    packet: &Packet,
    (tables, listener): (&Tables, &Listener),
    said: &Prospect,
    event: &Event,
    tally: &mut Tally,
) {
    let reason = event.verdict.reason;
    let is_cookie = listener.has_syn_cookies && !packet.is_udp();
    if said.translated.is_some() && SEARCHED.contains(&(said.reason, reason)) {
        tally.by_search += 1;
        return;
    }
    tally.count(Kind::Opening);
    *tally.openings.entry(said.reason.name()).or_default() += 1;
    let gets_cookie = is_cookie && said.target.is_some();
    let expected = if gets_cookie { Reason::SynCookie } else { said.reason };
    assert_eq!(reason, expected, "{packet:?} {said:?}");
    if matches!(reason, Reason::FlowNew | Reason::Stateless) {
        let target = said.target.and_then(|id| tables.target(id)).expect("a target");
        let (source, destination) = ends(&event.after);
        let client = (packet.key.source(), u16::from_be_bytes(packet.key.source_port()));
        assert_eq!(destination, (target.address, target.port), "{packet:?} {said:?}");
        assert_eq!(source == client, said.translated.is_none(), "{packet:?} {said:?}");
    }
}

/// Source and destination of a frame that leaves, which may be the first piece of a packet.
fn ends(frame: &[u8]) -> ((IpAddr, u16), (IpAddr, u16)) {
    let key = key_of(frame).expect("a packet");
    let end = |address, port| (address, u16::from_be_bytes(port));
    (end(key.source(), key.source_port()), end(key.destination(), key.destination_port()))
}

impl Tally {
    fn count(&mut self, kind: Kind) {
        *self.agreed.entry(kind).or_default() += 1;
    }
}

const CALM: Manners = Manners { damaged: NEVER, spoiled: NEVER, odd: NEVER, disorderly: NEVER, noise: NEVER };
/// What a packet can meet for its own sake, whatever its flow.
const PACKETS_OWN: [Reason; 5] = [
    Reason::FrameOversize,
    Reason::TooBig,
    Reason::MtuExceeded,
    Reason::TcpChecksum,
    Reason::UdpChecksumZero,
];
/// What is said and what becomes of a flow whose search for a source port ends one whose time is over, which makes room.
const SEARCHED: [(Reason, Reason); 1] = [(Reason::FlowTableFull, Reason::FlowNew)];
/// What openings must have come to, at least once.
const OUTCOMES: [Reason; 11] = [
    Reason::FlowNew,
    Reason::Stateless,
    Reason::SynToTarget,
    Reason::NoListener,
    Reason::NoTarget,
    Reason::ResetNoTarget,
    Reason::NextHopUnresolved,
    Reason::NoSource,
    Reason::NoSourcePort,
    Reason::TupleCollision,
    Reason::FlowTableFull,
];
/// More than there are numbers.
const NEVER: usize = 1 << 40;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ROUNDS: usize = 9;
const PACKETS: usize = 8_000;
/// Of each worker, by turns.
const FLOWS: [u32; 3] = [64, 500, 4_000];
