//! Whatever way packets take, the tallies of all flows of a listener come to what the listener counts, and so do those of a target.

use std::collections::BTreeSet;

use lb_core::{
    counters::TrafficCounters,
    flow_log::{EndedFlow, Tally},
    flow_table::FlowArena,
    tables::HeaderPlacement,
    verdict::Reason,
};

use crate::{
    generate::{
        fleet::Fleet,
        random::Random,
        traffic::{Manners, Traffic},
        world::World,
    },
    log_all, stop,
    support::{
        ACK, Crafted, FIN, OpenFlow, PSH, SYN, Scene, leaked_datapath, modes, settings, take_extras, through,
    },
};

#[test]
fn come_to_what_listeners_and_targets_count() {
    let mut met = BTreeSet::new();
    for round in 0..ROUNDS {
        for takes_detours in [false, true] {
            let mut arenas: Vec<FlowArena> = (0..1 + round % 3).map(|_| FlowArena::new(FLOWS)).collect();
            met.extend(run(round, &mut arenas, takes_detours));
        }
    }
    let missed: Vec<_> = EXPECTED.iter().filter(|reason| !met.contains(reason)).collect();
    assert!(missed.is_empty(), "no traffic led to {missed:?}");
}

/// The header is not the client's traffic.
#[test]
fn of_connections_that_begin_with_a_proxy_header() {
    for mode in modes() {
        for placement in [HeaderPlacement::OnFirstAckWithPayload, HeaderPlacement::OnFirstAck] {
            let scene = Scene { proxy_header: Some(placement), ..mode.scene.clone() };
            let mut path = leaked_datapath(64, settings(), &scene);
            log_all(&mut path, START_MS);
            let flow = OpenFlow::connect(&mut path, mode.client, mode.web(), START_MS);
            let first = flow.request(SYN).sequence + 1;
            let hello = Crafted {
                sequence: first,
                acknowledgement: flow.reply(SYN).sequence + 1,
                ..flow.request(PSH | ACK).payload(b"hello")
            };
            for packet in [hello, flow.reply(ACK), flow.reply(FIN | ACK)] {
                through(&mut path, &packet, START_MS + 1);
                take_extras(&mut path);
            }
            assert_ne!(path.counters().reasons[Reason::ProxyHeader as usize].value(), 0, "{}", mode.name);
            let mut told = Sum::default();
            stop(&mut path, START_MS + 2).into_iter().for_each(|ended| told.add(ended.tally.unwrap()));
            assert_eq!(told, Sum::of(path.counters().listeners.iter()), "{}", mode.name);
        }
    }
}

/// The reasons that frames met.
fn run(round: u64, arenas: &mut [FlowArena], takes_detours: bool) -> BTreeSet<Reason> {
    let mut random = Random::seeded(0xf10e_0109 ^ round << 24);
    let mut world = World::default();
    let mut fleet = Fleet::new(arenas, &world.tables());
    if takes_detours {
        fleet = fleet.by_detours();
    }
    fleet.paths_mut().for_each(|path| log_all(path, START_MS));
    let mut traffic = Traffic::new(MANNERS);
    let mut books = Books::default();
    // So little time that no flow is told of before its last packet.
    for now_ms in START_MS..START_MS + BURSTS {
        if random.one_in(60) {
            world.change(&mut random);
            fleet.install(&world.tables());
        }
        let burst = (0..1 + random.below(48)).flat_map(|_| traffic.next(&mut random)).collect();
        let events = fleet.process(burst, now_ms, &mut random);
        traffic.deliver(&events);
        fleet
            .paths_mut()
            .flat_map(|path| path.take_ended().collect::<Vec<_>>())
            .for_each(|flow| books.enter(flow));
    }
    for path in fleet.paths_mut() {
        stop(path, START_MS + BURSTS).into_iter().for_each(|flow| books.enter(flow));
    }
    fleet.audit();
    for path in fleet.paths() {
        assert_eq!(path.counters().ended_flows_lost.value(), 0);
    }
    let counters: Vec<_> = fleet.paths().map(|path| path.counters()).collect();
    for id in 0..IDS {
        let listeners = counters.iter().map(|counters| &counters.listeners[id]);
        assert_eq!(books.listeners[id], Sum::of(listeners), "listener {id}");
        let targets = counters.iter().map(|counters| &counters.targets[id]);
        assert_eq!(books.targets[id], Sum::of(targets), "target {id}");
    }
    fleet.reasons().collect()
}

/// Flows, and the packets and bytes of each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    flows: u64,
    packets: [u64; 2],
    bytes: [u64; 2],
}

impl Sum {
    fn of<'c>(counters: impl Iterator<Item = &'c TrafficCounters>) -> Sum {
        counters.fold(Sum::default(), |sum, counted| Sum {
            flows: sum.flows + counted.new_flows.value(),
            packets: [
                sum.packets[0] + counted.packets_in.value(),
                sum.packets[1] + counted.packets_out.value(),
            ],
            bytes: [sum.bytes[0] + counted.bytes_in.value(), sum.bytes[1] + counted.bytes_out.value()],
        })
    }

    fn add(&mut self, Tally { bytes, packets, .. }: Tally) {
        self.flows += 1;
        for direction in [0, 1] {
            self.packets[direction] += packets[direction];
            self.bytes[direction] += bytes[direction];
        }
    }
}

/// What the flow log was told, by listener and by target.
struct Books {
    listeners: [Sum; IDS],
    targets: [Sum; IDS],
}

impl Default for Books {
    fn default() -> Books {
        Books { listeners: [Sum::default(); IDS], targets: [Sum::default(); IDS] }
    }
}

impl Books {
    fn enter(&mut self, EndedFlow { view, tally, .. }: EndedFlow) {
        let tally = tally.expect("no flow is older than the flow log");
        self.listeners[usize::from(view.listener.0)].add(tally);
        self.targets[view.target_id.0 as usize].add(tally);
    }
}

const MANNERS: Manners = Manners { damaged: 32, spoiled: 24, odd: 16, disorderly: 2, noise: 64 };
const ROUNDS: u64 = 6;
/// A burst each millisecond.
const BURSTS: u64 = 400;
const START_MS: u64 = 1_000;
/// Of each worker: room for all, for a packet that goes without a flow is counted all the same.
const FLOWS: u32 = 16_384;
/// More than there are listeners, or targets.
const IDS: usize = 128;
const EXPECTED: [Reason; 8] = [
    Reason::FlowHit,
    Reason::FlowNew,
    Reason::FlowAdopted,
    Reason::CutUp,
    Reason::ResetTerminated,
    Reason::AckToTarget,
    Reason::HandedOver,
    Reason::TooBig,
];
