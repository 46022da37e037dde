//! Two load balancers side by side: one gets packets, the other the same with IP options, which have no short way.

use std::collections::{BTreeMap, VecDeque};

use lb_core::{
    counters::{Counter, TrafficCounters, WorkerCounters},
    datapath::{Arrival, Datapath, Settings},
    flow::FlowView,
    frame::Frame,
    limits,
    tables::InterfaceId,
    time::Instant,
    verdict::{Action, Reason, Verdict},
};

use crate::{
    generate::{
        detour::{MOST_LONGER, lengthen, shorten},
        fleet::Arriving,
    },
    support::{Scene, leaked_datapath},
};

/// The workers of both. After each burst, both have come to the same.
pub struct Twins {
    workers: Vec<Twin>,
}

/// A worker of each.
struct Twin {
    short: Datapath<'static>,
    long: Datapath<'static>,
}

/// What becomes of a frame.
#[derive(Debug)]
pub struct Fate {
    pub verdict: Verdict,
    pub frame: Arriving,
}

/// Frames that come to a worker together.
struct Burst {
    at: usize,
    arrival: Arrival,
    /// As the one gets them, and as the other does.
    frames: Vec<(Arriving, Arriving)>,
}

impl Twins {
    /// As many workers as the settings say.
    pub fn new(capacity: u32, settings: &Settings, scene: &Scene) -> Twins {
        let path = |worker| leaked_datapath(capacity, Settings { worker, ..settings.clone() }, scene);
        let twin = |worker| Twin { short: path(worker), long: path(worker) };
        Twins { workers: (0..settings.workers).map(twin).collect() }
    }

    pub fn install(&mut self, scene: &Scene) {
        let tables = scene.tables();
        for twin in &mut self.workers {
            twin.both().for_each(|path| drop(path.install(tables.clone())));
        }
    }

    /// Lets time pass.
    pub fn expire(&mut self, now_ms: u64) -> Vec<Fate> {
        for twin in &mut self.workers {
            twin.both().for_each(|path| path.expire(Instant::from_millis(now_ms)));
        }
        let empty = |at| Burst { at, arrival: Arrival::Ring, frames: Vec::new() };
        self.carry_out((0..self.workers.len()).map(empty).collect(), now_ms)
    }

    /// Puts a burst through worker `at` of both, and carries out all hand-overs.
    pub fn process(&mut self, at: usize, frames: &[Arriving], now_ms: u64) -> Vec<Fate> {
        let longer = |frame: &Arriving| {
            let bytes = lengthen(&frame.bytes).unwrap_or_else(|| frame.bytes.clone());
            (frame.clone(), Arriving { bytes, ingress: frame.ingress })
        };
        let at = at % self.workers.len();
        let burst = Burst { at, arrival: Arrival::Ring, frames: frames.iter().map(longer).collect() };
        self.carry_out([burst].into(), now_ms)
    }

    /// Flows of all workers.
    pub fn flows(&self, now_ms: u64) -> Vec<FlowView> {
        self.workers.iter().flat_map(|twin| flows(&twin.short, now_ms)).collect()
    }

    /// Every reason that a frame was settled under.
    pub fn reasons(&self) -> impl Iterator<Item = Reason> + '_ {
        let has_met = |reason: Reason| {
            self.workers.iter().any(|twin| twin.short.counters().reasons[reason as usize].value() > 0)
        };
        Reason::ALL.iter().copied().filter(move |&reason| has_met(reason))
    }

    fn carry_out(&mut self, mut open: VecDeque<Burst>, now_ms: u64) -> Vec<Fate> {
        let mut fates = Vec::new();
        while let Some(burst) = open.pop_front() {
            let Twin { short, long } = &mut self.workers[burst.at];
            let (ones, others): (Vec<_>, Vec<_>) = burst.frames.into_iter().unzip();
            let ones = process(short, &ones, burst.arrival, now_ms);
            let others = process(long, &others, burst.arrival, now_ms);
            assert_eq!(ones.len(), others.len(), "frames that were made");
            let mut given: BTreeMap<u8, Vec<_>> = BTreeMap::new();
            for (one, other) in ones.into_iter().zip(others) {
                assert_same_fate(&one, &other);
                match one.verdict.reason.action() {
                    Action::HandOver => {
                        given.entry(one.verdict.port).or_default().push((one.frame, other.frame))
                    }
                    _ => fates.push(one),
                }
            }
            self.workers[burst.at].assert_same_state(now_ms);
            open.extend(given.into_iter().map(|(to, frames)| Burst {
                at: to.into(),
                arrival: Arrival::HandedOver,
                frames,
            }));
        }
        fates
    }
}

impl Twin {
    fn both(&mut self) -> impl Iterator<Item = &mut Datapath<'static>> {
        [&mut self.short, &mut self.long].into_iter()
    }

    fn assert_same_state(&mut self, now_ms: u64) {
        let Twin { short, long } = self;
        assert_eq!(short.audit(), Ok(0));
        assert_eq!(long.audit(), Ok(0));
        assert_eq!(flows(short, now_ms), flows(long, now_ms));
        assert_eq!(short.take_wanted_hops().collect::<Vec<_>>(), long.take_wanted_hops().collect::<Vec<_>>());
        assert_same_counters(short.counters(), long.counters());
    }
}

fn assert_same_fate(short: &Fate, long: &Fate) {
    let context = || format!("\n{short:02x?}\n{long:02x?}");
    assert_eq!(short.verdict, long.verdict, "{}", context());
    assert_eq!(short.frame.ingress, long.frame.ingress, "{}", context());
    assert_eq!(shorten(&short.frame.bytes), shorten(&long.frame.bytes), "{}", context());
}

fn assert_same_counters(short: &WorkerCounters, long: &WorkerCounters) {
    let alone = |counters: &WorkerCounters| {
        [
            &counters.received,
            &counters.flows,
            &counters.half_open,
            &counters.half_open_evicted,
            &counters.expired,
            &counters.made,
            &counters.hairpins,
        ]
        .map(Counter::value)
    };
    assert_eq!(alone(short), alone(long));
    assert_eq!(short.cut.each_ref().map(Counter::value), long.cut.each_ref().map(Counter::value));
    for (&reason, (short, long)) in Reason::ALL.iter().zip(short.reasons.iter().zip(&long.reasons)) {
        assert_eq!(short.value(), long.value(), "{reason:?}");
    }
    for (id, (short, long)) in short.listeners.iter().zip(&long.listeners).take(LISTENERS).enumerate() {
        assert_same_traffic(&format!("listener {id}"), short, long);
    }
    for (id, (short, long)) in short.targets.iter().zip(&long.targets).take(TARGETS).enumerate() {
        assert_same_traffic(&format!("target {id}"), short, long);
    }
}

/// The same, but for the bytes of options.
fn assert_same_traffic(whose: &str, short: &TrafficCounters, long: &TrafficCounters) {
    let exact = |traffic: &TrafficCounters| {
        [
            &traffic.new_flows,
            &traffic.active_flows,
            &traffic.packets_in,
            &traffic.packets_out,
            &traffic.resets,
            &traffic.port_allocation_errors,
            &traffic.unhealthy_routing_flows,
            &traffic.rejected_flows,
            &traffic.cut_flows,
            &traffic.repeated_syns,
            &traffic.refused_syns,
            &traffic.bypassed_flows,
            &traffic.client_resets,
            &traffic.target_resets,
        ]
        .map(Counter::value)
    };
    assert_eq!(exact(short), exact(long), "{whose}");
    assert_same_bytes(whose, &short.packets_in, [&short.bytes_in, &long.bytes_in]);
    assert_same_bytes(whose, &short.packets_out, [&short.bytes_out, &long.bytes_out]);
}

/// What makes packets longer does not leave, or be counted, where it is lost in translation.
fn assert_same_bytes(whose: &str, packets: &Counter, [short, long]: [&Counter; 2]) {
    let longer = long.value() - short.value();
    let most = packets.value() * MOST_LONGER;
    assert!(longer <= most && longer.is_multiple_of(4), "{whose}: {longer} of {most}");
}

fn flows(path: &Datapath<'_>, now_ms: u64) -> Vec<FlowView> {
    let mut flows = Vec::new();
    path.visit_flows(0, u32::MAX, Instant::from_millis(now_ms), |flow| flows.push(flow));
    flows
}

/// What becomes of the frames of a burst, and of those that were made beside, in order.
fn process(path: &mut Datapath<'_>, frames: &[Arriving], arrival: Arrival, now_ms: u64) -> Vec<Fate> {
    let mut buffers: Vec<Vec<u8>> =
        frames.iter().map(|frame| [&[0; ROOM], &frame.bytes[..], &[0; ROOM]].concat()).collect();
    let mut in_flight: Vec<Frame<'_>> = buffers
        .iter_mut()
        .zip(frames)
        .map(|(buffer, frame)| Frame::new(buffer, ROOM, ROOM + frame.bytes.len(), frame.ingress))
        .collect();
    let mut verdicts = [Verdict::drop(Reason::NoFlow); limits::BURST_FRAMES];
    path.process_burst(&mut in_flight, arrival, Instant::from_millis(now_ms), &mut verdicts);
    let fate = |verdict, bytes: &[u8], ingress: InterfaceId| Fate {
        verdict,
        frame: Arriving { bytes: bytes.to_vec(), ingress },
    };
    let mut fates: Vec<Fate> = in_flight
        .iter()
        .zip(verdicts)
        .map(|(frame, verdict)| fate(verdict, frame.bytes(), frame.ingress))
        .collect();
    while let Some(extra) = path.next_extra() {
        fates.push(fate(extra.verdict, extra.bytes, extra.ingress));
    }
    fates.iter().for_each(|fate| path.counters().settle(fate.verdict.reason));
    fates
}

/// Bytes before and behind a frame.
const ROOM: usize = 64;
/// More than any scene has.
const LISTENERS: usize = 8;
const TARGETS: usize = 16;
