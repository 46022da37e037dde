//! Following single frames: what is said of each right before it is processed is what becomes of it, and asking changes neither a
//! verdict nor a byte.

mod generate;

use std::net::IpAddr;

use generate::{
    detour::assert_same_events,
    fleet::{Event, Fleet, Foretold},
    random::Random,
    traffic::{Manners, Traffic},
    world::World,
};
use lb_core::{
    datapath::{Outlook, Parties},
    flow::Direction,
    flow_table::FlowArena,
    parse::parse,
    tables::Tables,
    verdict::Reason,
};

#[test]
fn what_is_foretold_comes_and_asking_changes_nothing() {
    let mut told = Told::default();
    for round in 0..ROUNDS {
        let arenas = || -> Vec<FlowArena> {
            (0..1 + round % 3).map(|_| FlowArena::new(FLOWS[round % FLOWS.len()])).collect()
        };
        run(round as u64, &mut [arenas(), arenas()], &mut told);
    }
    assert!(told.hits > 8_000 && told.openings > 5_000 && told.nobodys > 100, "{told:?}");
}

/// Frames whose fate was compared with what was foretold.
#[derive(Debug, Default)]
struct Told {
    hits: u32,
    openings: u32,
    nobodys: u32,
}

fn run(seed: u64, [asked, plain]: &mut [Vec<FlowArena>; 2], told: &mut Told) {
    let mut random = Random::seeded(0x2545_f491_4f6c_dd1d ^ seed << 20);
    let mut world = World::default();
    let mut fleets = (Fleet::new(asked, &world.tables()).foretelling(), Fleet::new(plain, &world.tables()));
    let mut traffic = Traffic::new(MANNERS);
    let mut now_ms = 0;
    for _ in 0..BURSTS {
        now_ms += random.below(40) as u64 * if random.one_in(100) { 5_000 } else { 1 };
        if random.one_in(60) {
            world.change(&mut random);
            fleets.0.install(&world.tables());
            fleets.1.install(&world.tables());
        }
        let burst: Vec<_> = (0..1 + random.below(32)).flat_map(|_| traffic.next(&mut random)).collect();
        let events = fleets.0.process(burst.clone(), now_ms, &mut random.clone());
        assert_same_events(&events, &fleets.1.process(burst, now_ms, &mut random));
        for event in &events {
            if let Some(foretold) = &event.foretold {
                compare(event, foretold, told);
            }
        }
        traffic.deliver(&events);
    }
}

fn compare(event: &Event, foretold: &Foretold, told: &mut Told) {
    let Foretold { why, parties, parties_after } = foretold;
    let ends = || ends(&event.after);
    match event.verdict.reason {
        Reason::FlowHit => {
            let flow =
                why.flow.as_ref().unwrap_or_else(|| panic!("no flow was foretold: {:02x?}", event.before));
            let (from, to) = match flow.direction {
                Direction::Forward => (flow.view.source, flow.view.target),
                Direction::Reverse => (flow.view.vip, flow.view.client),
            };
            assert!(ends().is_none_or(|ends| ends == (from, to)), "{:02x?}", event.before);
            let of_flow = Parties {
                protocol: flow.view.protocol,
                listener: Some(flow.view.listener),
                client: flow.view.client,
                vip: Some(flow.view.vip),
                target: Some(flow.view.target),
            };
            assert_eq!(*parties, of_flow, "{:02x?}", event.before);
            // A reset may have ended the flow meanwhile.
            assert!(
                ends().is_none() || parties_after.unwrap().client == of_flow.client,
                "{:02x?}",
                event.before
            );
            told.hits += 1;
        }
        Reason::FlowNew | Reason::Stateless => {
            let Outlook::Client { prospect, listener, .. } = &why.outlook else {
                return assert_eq!(event.verdict.reason, Reason::Stateless, "{:02x?}", event.before); // A target's, to be adopted.
            };
            let target = address_of(&why.tables, prospect.target);
            assert!(ends().is_none_or(|(_, to)| Some(to) == target), "{:02x?}", event.before);
            assert_eq!(parties.listener, Some(*listener), "{:02x?}", event.before);
            assert!(
                event.verdict.reason != Reason::FlowNew || parties_after.unwrap().client == parties.client
            );
            told.openings += 1;
        }
        Reason::NoListener => {
            assert!(why.reason() == Reason::NoListener || why.flow.is_some(), "{:02x?}", event.before);
            told.nobodys += 1;
        }
        _ => {}
    }
}

/// Source and destination of a whole packet that leaves.
fn ends(frame: &[u8]) -> Option<((IpAddr, u16), (IpAddr, u16))> {
    let key = parse(frame).ok()?.key;
    let end = |address, port| (address, u16::from_be_bytes(port));
    Some((end(key.source(), key.source_port()), end(key.destination(), key.destination_port())))
}

fn address_of(tables: &Tables, id: Option<lb_core::target::TargetId>) -> Option<(IpAddr, u16)> {
    tables.target(id?).map(|target| (target.address, target.port))
}

const MANNERS: Manners = Manners { damaged: 16, spoiled: 24, odd: 16, disorderly: 4, noise: 64 };
const ROUNDS: usize = 6;
const BURSTS: usize = 600;
/// Of each worker, by turns.
const FLOWS: [u32; 3] = [64, 500, 4_000];
