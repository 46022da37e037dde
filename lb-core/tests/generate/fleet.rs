//! Workers that hand frames over to each other, and their books.

use std::{collections::VecDeque, sync::Arc};

use lb_core::{
    counters::WorkerCounters,
    datapath::{Arrival, Datapath, MacFilter, Parties, Settings, Why, key_of},
    flow_table::FlowArena,
    frame::Frame,
    limits,
    tables::{InterfaceId, Protocol, Tables},
    time::Instant,
    verdict::{Action, Reason, Verdict},
    wire::proxy,
};

use super::{detour::lengthen, random::Random};

/// A frame, and the interface that it comes in by.
#[derive(Clone, Debug)]
pub struct Arriving {
    pub bytes: Vec<u8>,
    pub ingress: InterfaceId,
}

/// What became of a frame.
#[derive(Debug)]
pub struct Event {
    /// As it came in; `None` for one that was made or kept.
    pub before: Option<Vec<u8>>,
    /// As it leaves, where it does.
    pub after: Vec<u8>,
    pub verdict: Verdict,
    /// What was said of it beforehand, where that was asked.
    pub foretold: Option<Foretold>,
}

/// What a worker says of a frame right before it processes it.
#[derive(Clone, Debug)]
pub struct Foretold {
    pub why: Why,
    pub parties: Parties,
    /// Of the frame that has left, right after.
    pub parties_after: Option<Parties>,
}

pub struct Fleet<'a> {
    workers: Vec<Worker<'a>>,
    takes_detours: bool,
    foretells: bool,
}

struct Worker<'a> {
    path: Datapath<'a>,
    counters: Arc<WorkerCounters>,
    handed_over: VecDeque<Given>,
}

/// A frame on its way to a worker.
struct Given {
    frame: Arriving,
    /// Room behind it in its buffer.
    tail: usize,
    /// How many workers have given it on.
    times: u32,
}

impl<'a> Fleet<'a> {
    /// A worker for each arena.
    pub fn new(arenas: &'a mut [FlowArena], tables: &Arc<Tables>) -> Fleet<'a> {
        let workers = arenas.len() as u8;
        let worker = |(number, arena): (usize, &'a mut FlowArena)| {
            let counters = Arc::new(WorkerCounters::new());
            let settings = Settings {
                ports_per_client: Some(PORTS_PER_CLIENT),
                worker: number as u8,
                workers,
                flow_hash_key: std::array::from_fn(|i| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                selection_secret: [7; 16],
                adopt_until: None,
                mac_filter: MacFilter::Own,
            };
            let path = Datapath::new(settings, arena.memory(), tables.clone(), counters.clone());
            Worker { path, counters, handed_over: VecDeque::new() }
        };
        Fleet {
            workers: arenas.iter_mut().enumerate().map(worker).collect(),
            takes_detours: false,
            foretells: false,
        }
    }

    /// The same, but packets that have a short way get options, so that they go the long one.
    pub fn by_detours(self) -> Fleet<'a> {
        Fleet { takes_detours: true, ..self }
    }

    /// The same, but each frame is processed by itself, after the worker was asked what becomes of it.
    pub fn foretelling(self) -> Fleet<'a> {
        Fleet { foretells: true, ..self }
    }

    pub fn install(&mut self, tables: &Arc<Tables>) {
        for worker in &mut self.workers {
            worker.path.install(tables.clone());
        }
    }

    /// Frames that come at one time, each by the queue of some worker: carries out every verdict.
    pub fn process(&mut self, frames: Vec<Arriving>, now_ms: u64, random: &mut Random<'_>) -> Vec<Event> {
        let now = Instant::from_millis(now_ms);
        let mut events = Vec::new();
        let mut bursts: Vec<Vec<Given>> = self.workers.iter().map(|_| Vec::new()).collect();
        for frame in frames {
            let queue = random.below(bursts.len());
            let tail = if random.one_in(64) { 0 } else { ROOM };
            // Options are room for an answer.
            let frame = if self.takes_detours && tail != 0 { self.detour(frame) } else { frame };
            bursts[queue].push(Given { frame, tail, times: 0 });
        }
        for (worker, burst) in bursts.into_iter().enumerate() {
            for burst in in_bursts(burst) {
                self.burst(worker, burst, Arrival::Ring, now, &mut events);
            }
        }
        while let Some(worker) = self.workers.iter().position(|worker| !worker.handed_over.is_empty()) {
            let given = self.workers[worker].handed_over.drain(..).collect();
            for burst in in_bursts(given) {
                self.burst(worker, burst, Arrival::HandedOver, now, &mut events);
            }
        }
        for worker in 0..self.workers.len() {
            self.workers[worker].path.expire(now);
            self.settle_extras(worker, &mut events);
            self.workers[worker].path.take_wanted_hops().for_each(drop);
        }
        events
    }

    /// The packet path of each worker.
    pub fn paths(&self) -> impl Iterator<Item = &Datapath<'a>> {
        self.workers.iter().map(|worker| &worker.path)
    }

    /// The same, to be changed.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = &mut Datapath<'a>> {
        self.workers.iter_mut().map(|worker| &mut worker.path)
    }

    /// Reasons that any frame has met.
    pub fn reasons(&self) -> impl Iterator<Item = Reason> + '_ {
        let has_met = |reason: Reason| {
            self.workers.iter().any(|worker| worker.counters.reasons[reason as usize].value() != 0)
        };
        Reason::ALL.iter().copied().filter(move |&reason| has_met(reason))
    }

    /// Asserts that everything is accounted for.
    pub fn audit(&self) {
        let (mut held, mut taken, mut settled) = (0, 0, 0);
        for worker in &self.workers {
            held += worker.path.audit().expect("a sound packet path") as u64;
            let counters = &worker.counters;
            taken += counters.received.value() + counters.made.value();
            settled += Reason::ALL
                .iter()
                .filter(|reason| !matches!(reason.action(), Action::HandOver | Action::Hold))
                .map(|&reason| counters.reasons[reason as usize].value())
                .sum::<u64>();
        }
        assert_eq!(taken, settled + held, "frames taken are frames settled or held");
    }

    /// A frame with options, unless that makes it too long for a link: also a datagram behind a PROXY header, which would be cut up
    /// elsewhere.
    fn detour(&self, frame: Arriving) -> Arriving {
        let shortest = self.workers[0].path.tables().interfaces().iter().map(|interface| interface.mtu).min();
        let header = if is_udp(&frame.bytes) { proxy::IPV6_LENGTH } else { 0 };
        let fits = |longer: &Vec<u8>| packet_length(longer).0 + header <= shortest.unwrap_or(0) as usize;
        match lengthen(&frame.bytes).filter(fits) {
            Some(bytes) => Arriving { bytes, ..frame },
            None => frame,
        }
    }

    fn burst(
        &mut self,
        worker: usize,
        burst: Vec<Given>,
        arrival: Arrival,
        now: Instant,
        events: &mut Vec<Event>,
    ) {
        let path = &mut self.workers[worker].path;
        let mut buffers: Vec<Vec<u8>> = burst.iter().map(buffer).collect();
        let mut frames: Vec<Frame<'_>> = buffers
            .iter_mut()
            .zip(&burst)
            .map(|(buffer, given)| {
                Frame::new(buffer, ROOM, ROOM + given.frame.bytes.len(), given.frame.ingress)
            })
            .collect();
        let mut verdicts = [Verdict::drop(Reason::NoFlow); limits::BURST_FRAMES];
        let mut foretold = vec![None; frames.len()];
        match self.foretells {
            false => path.process_burst(&mut frames, arrival, now, &mut verdicts),
            true => {
                for ((frame, verdict), foretold) in frames.iter_mut().zip(&mut verdicts).zip(&mut foretold) {
                    *foretold = foretell(path, frame, now);
                    path.process_burst(
                        std::slice::from_mut(frame),
                        arrival,
                        now,
                        std::slice::from_mut(verdict),
                    );
                    if let (Some(foretold), Some(key)) = (foretold, key_of(frame.bytes())) {
                        foretold.parties_after = path.parties(&key.opposite());
                    }
                }
            }
        }
        let processed: Vec<(Vec<u8>, Verdict)> =
            frames.iter().zip(verdicts).map(|(frame, verdict)| (frame.bytes().to_vec(), verdict)).collect();
        for ((given, (after, verdict)), foretold) in burst.into_iter().zip(processed).zip(foretold) {
            if !matches!(verdict.reason.action(), Action::Transmit | Action::Reply) {
                assert_eq!(after, given.frame.bytes, "a frame that does not leave is not touched");
            }
            let before = Some(given.frame.bytes.clone());
            self.settle(worker, given, Event { before, after, verdict, foretold }, events);
        }
        self.settle_extras(worker, events);
    }

    /// Carries out what a worker has kept or made.
    fn settle_extras(&mut self, worker: usize, events: &mut Vec<Event>) {
        let mut extras = Vec::new();
        while let Some(extra) = self.workers[worker].path.next_extra() {
            let frame = Arriving { bytes: extra.bytes.to_vec(), ingress: extra.ingress };
            extras.push((frame, extra.verdict));
        }
        for (frame, verdict) in extras {
            let after = frame.bytes.clone();
            let given = Given { frame, tail: ROOM, times: 0 };
            self.settle(worker, given, Event { before: None, after, verdict, foretold: None }, events);
        }
    }

    fn settle(&mut self, worker: usize, given: Given, event: Event, events: &mut Vec<Event>) {
        let Verdict { reason, port } = event.verdict;
        self.workers[worker].counters.settle(reason);
        match reason.action() {
            Action::HandOver => {
                assert!(usize::from(port) != worker && given.times < MOST_GIVEN, "{reason:?} to {port}");
                let given = Given { times: given.times + 1, ..given };
                self.workers[usize::from(port)].handed_over.push_back(given);
            }
            Action::Pass => panic!("the packet path passes nothing: {reason:?}"),
            Action::Transmit | Action::Reply => {
                let path = &self.workers[worker].path;
                let interface =
                    path.tables().interface(InterfaceId(port)).expect("an interface that is there");
                let (length, least) = packet_length(&event.after);
                assert!(
                    length <= interface.mtu.max(least) as usize || reason.action() == Action::Reply,
                    "{reason:?}: {length} bytes by a link of {}",
                    interface.mtu
                );
            }
            Action::Hold | Action::Drop => {}
        }
        events.push(event);
    }
}

fn foretell(path: &Datapath<'_>, frame: &Frame<'_>, now: Instant) -> Option<Foretold> {
    let key = key_of(frame.bytes())?;
    Some(Foretold { why: path.why(&key, now), parties: path.parties(&key)?, parties_after: None })
}

/// Bytes of the packet in a frame that leaves, and those that every link of its family carries.
fn packet_length(frame: &[u8]) -> (usize, u32) {
    let field = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    if frame[12..14] == [8, 0] { (field(16), 68) } else { (40 + field(18), 1_280) }
}

/// Whether a frame holds a datagram right behind its IP header.
fn is_udp(frame: &[u8]) -> bool {
    key_of(frame).is_some_and(|key| key.protocol() == Protocol::Udp as u8)
}

fn in_bursts(frames: Vec<Given>) -> Vec<Vec<Given>> {
    let mut bursts = Vec::new();
    let mut frames = frames.into_iter().peekable();
    while frames.peek().is_some() {
        bursts.push(frames.by_ref().take(limits::BURST_FRAMES).collect());
    }
    bursts
}

/// A frame with room before and behind.
fn buffer(given: &Given) -> Vec<u8> {
    [&[0xee; ROOM][..], &given.frame.bytes, &[0xee; ROOM][..given.tail]].concat()
}

/// Bytes before a frame, and behind most.
const ROOM: usize = 256;
/// To the likelier owner and to the other; or to where pieces meet, and to the owner.
const MOST_GIVEN: u32 = 2;
/// Few enough that the busiest clients find out.
const PORTS_PER_CLIENT: u32 = 60;
