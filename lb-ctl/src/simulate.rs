//! What the load balancer would do with captured frames, without any network: steering, then the packet path, over each
//! frame in order, with the frame's capture time as the clock. One JSON line answers each frame before the next is read.

mod assumptions;
mod world;

use std::{
    fmt,
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use lb_core::{
    counters::WorkerCounters,
    datapath::{Arrival, Datapath, Explanation, MacFilter, Settings},
    flow_table::FlowArena,
    frame::Frame,
    steer::{Steer, Steering},
    tables::{InterfaceId, TablesError},
    time::Instant,
    verdict::{Action, Reason, Verdict},
};
use serde::Serialize;

use crate::{
    capture::{Capture, CaptureError, CaptureWriter, CapturedFrame},
    config::Config,
    hex,
};
pub use assumptions::{AssumedHealth, AssumedState, Assumptions, MTU_DEFAULT, Neighbor};
use world::World;

/// Why a simulation cannot begin or go on.
#[derive(Debug)]
pub enum SimulateError {
    /// An assumption names something that the configuration does not have.
    Assumption(String),
    /// The capture cannot be read.
    Capture(CaptureError),
    /// The configuration makes no tables.
    Tables(TablesError),
    /// Answers or outgoing frames cannot be written.
    Write(io::Error),
}

/// Runs every frame of `input` through the load balancer, writes an answer for each to `answers`, and the frames that leave
/// to `outgoing`.
pub fn run(
    config: &Config,
    assumptions: &Assumptions,
    input: impl Read,
    mut answers: impl Write,
    outgoing: Option<&mut dyn Write>,
) -> Result<(), SimulateError> {
    let mut arena = FlowArena::new(config.flow_capacity.min(FLOWS));
    let mut simulator = Simulator::new(config, assumptions, &mut arena)?;
    let mut outgoing = outgoing.map(CaptureWriter::create).transpose().map_err(SimulateError::Write)?;
    let mut capture = Capture::open(input).map_err(SimulateError::Capture)?;
    while let Some(frame) = capture.next_frame().map_err(SimulateError::Capture)? {
        let answer = simulator.answer(&frame)?;
        let written = write_answer(&mut answers, &answer).and_then(|()| {
            outgoing.as_mut().map_or(Ok(()), |sink| write_frames(sink, frame.time_ns, &answer))
        });
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()), // Nobody reads on.
            written => written.map_err(SimulateError::Write)?,
        }
    }
    Ok(())
}

/// One line of output.
#[derive(Serialize)]
struct Answer {
    frame: u64,
    verdict: &'static str,
    reason: &'static str,
    listener: Option<String>,
    target: Option<SocketAddr>,
    /// The group that the target is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    target_group: Option<String>,
    /// What the target sees instead of the client; left out where it sees the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<SocketAddr>,
    /// How many frames at the beginning of `out` a timer has made, before this frame, for whatever flow; left out where none.
    #[serde(skip_serializing_if = "is_zero")]
    made_by_timers: usize,
    #[serde(serialize_with = "as_hex")]
    out: Vec<Vec<u8>>,
}

/// What became of one frame.
struct Processed {
    verdict: Verdict,
    /// The frame, if it leaves, and those that leave because of it.
    out: Vec<Vec<u8>>,
}

/// The load balancer with a world made up around it.
struct Simulator<'a> {
    config: &'a Config,
    assumptions: &'a Assumptions,
    world: World<'a>,
    steering: Steering,
    datapath: Datapath<'a>,
    now: Instant,
    frames: u64,
}

impl<'a> Simulator<'a> {
    fn new(
        config: &'a Config,
        assumptions: &'a Assumptions,
        arena: &'a mut FlowArena,
    ) -> Result<Simulator<'a>, SimulateError> {
        let mut world = World::new(config, assumptions)?;
        let tables = world.tables()?;
        let settings = Settings {
            worker: 0,
            workers: 1,
            flow_hash_key: flow_hash_key(&assumptions.selection_secret),
            selection_secret: assumptions.selection_secret,
            adopt_until: None,
            ports_per_client: config.source_nat.ports_per_client,
            mac_filter: MacFilter::AnyUnicast,
        };
        let steering = Steering::new(&tables, &[]);
        let counters = Arc::new(WorkerCounters::new());
        let datapath = Datapath::new(settings, arena.memory(), tables, counters);
        let now = Instant::default();
        Ok(Simulator { config, assumptions, world, steering, datapath, now, frames: 0 })
    }

    fn answer(&mut self, frame: &CapturedFrame) -> Result<Answer, SimulateError> {
        self.frames += 1;
        self.now = self.now.max(Instant::from_nanos(frame.time_ns)); // A capture's clock may step back; ours does not.
        self.datapath.expire(self.now);
        let mut due = Vec::new();
        self.collect_extras(&mut due);
        let made_by_timers = due.len();
        let name = frame.interface.as_deref().unwrap_or(&self.assumptions.interface);
        let Some(ingress) = world::interface(self.config, name) else {
            return Ok(self.untouched(INTERFACE_NOT_CONFIGURED, due));
        };
        if frame.is_cut() {
            return Ok(self.untouched(CUT_BY_CAPTURE, due));
        }
        if let Steer::Pass(reason) = self.steering.steer(&frame.bytes) {
            return Ok(self.untouched(reason.name(), due));
        }
        let mut processed = self.process(&frame.bytes, ingress);
        if processed.verdict.reason == Reason::NextHopUnresolved && self.resolve_wanted()? {
            processed = self.process(&frame.bytes, ingress);
        }
        let Processed { verdict, out } = processed;
        due.extend(out);
        let Explanation { listener, target, target_group, source } = self.datapath.explain(&frame.bytes);
        let listener = listener.and_then(|id| self.datapath.tables().listener(id));
        let group = target_group.and_then(|id| self.datapath.tables().group(id));
        let has_target = tells_target(verdict.reason);
        let of_flow = |end: Option<(IpAddr, u16)>| end.filter(|_| has_target).map(SocketAddr::from);
        Ok(Answer {
            frame: self.frames,
            verdict: verdict.reason.action().name(),
            reason: verdict.reason.name(),
            listener: listener.map(|listener| listener.name.to_string()),
            target: of_flow(target),
            target_group: group.filter(|_| has_target).map(|group| group.name.to_string()),
            source: of_flow(source),
            made_by_timers,
            out: due,
        })
    }

    /// A frame that never reaches a worker. What leaves was due before it.
    fn untouched(&self, reason: &'static str, out: Vec<Vec<u8>>) -> Answer {
        Answer {
            frame: self.frames,
            verdict: Action::Pass.name(),
            reason,
            listener: None,
            target: None,
            target_group: None,
            source: None,
            made_by_timers: out.len(),
            out,
        }
    }

    /// The verdict on a copy of the frame, and what leaves because of it.
    fn process(&mut self, bytes: &[u8], ingress: InterfaceId) -> Processed {
        let mut buffer = vec![0; HEADROOM + bytes.len() + TAILROOM];
        buffer[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
        let mut burst = [Frame::new(&mut buffer, HEADROOM, HEADROOM + bytes.len(), ingress)];
        let mut verdicts = [Verdict::drop(Reason::NoListener)];
        self.datapath.process_burst(&mut burst, Arrival::Ring, self.now, &mut verdicts);
        let mut out = Vec::new();
        if leaves(verdicts[0]) {
            out.push(burst[0].bytes().to_vec());
        }
        self.collect_extras(&mut out);
        Processed { verdict: verdicts[0], out }
    }

    /// Frames that the packet path had held, or has made beside the last one or because time has passed.
    fn collect_extras(&mut self, out: &mut Vec<Vec<u8>>) {
        while let Some(extra) = self.datapath.next_extra() {
            if leaves(extra.verdict) {
                out.push(extra.bytes.to_vec());
            }
        }
    }

    /// Makes up next hops for what the packet path found none for. False when it asked for none.
    fn resolve_wanted(&mut self) -> Result<bool, SimulateError> {
        let wanted: Vec<IpAddr> = self.datapath.take_wanted_hops().collect();
        if !wanted.is_empty() {
            self.world.resolve(&wanted);
            self.datapath.install(self.world.tables()?);
        }
        Ok(!wanted.is_empty())
    }
}

/// Whether a frame with this fate was on its way to or from a target.
fn tells_target(reason: Reason) -> bool {
    reason.action() == Action::Transmit
        || matches!(
            reason,
            Reason::ResetTerminated
                | Reason::Terminated
                | Reason::AckToTarget
                | Reason::RefusedByTarget
                | Reason::Connecting
                | Reason::NextHopUnresolved
                | Reason::TooBig
                | Reason::MtuExceeded
        )
}

impl fmt::Display for SimulateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SimulateError::Assumption(what) => f.write_str(what),
            SimulateError::Capture(error) => write!(f, "the capture {error}"),
            SimulateError::Tables(error) => write!(f, "the configuration cannot be compiled: {error:?}"),
            SimulateError::Write(error) => write!(f, "cannot write: {error}"),
        }
    }
}

impl std::error::Error for SimulateError {}

fn leaves(verdict: Verdict) -> bool {
    matches!(verdict.reason.action(), Action::Transmit | Action::Reply)
}

/// The flow table's key decides nothing that can be seen; it only has to be the same each time.
fn flow_hash_key(secret: &[u8; 16]) -> [u64; 16] {
    let mut state = u128::from_le_bytes(*secret) as u64;
    std::array::from_fn(|_| {
        // SplitMix64 (Steele, Lea, Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

fn write_answer(answers: &mut impl Write, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    answers.write_all(&line)?;
    answers.flush()
}

fn write_frames(sink: &mut CaptureWriter<&mut dyn Write>, time_ns: u64, answer: &Answer) -> io::Result<()> {
    for bytes in &answer.out {
        sink.write(time_ns, bytes)?;
    }
    sink.flush()
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn as_hex<S: serde::Serializer>(frames: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(frames.iter().map(|bytes| hex::digits(bytes)))
}

/// What passes although no frame that lbd gets does, and is told by these words.
const INTERFACE_NOT_CONFIGURED: &str = "interface_not_configured";
const CUT_BY_CAPTURE: &str = "cut_by_capture";

/// More flows than this no simulation keeps, whatever the configuration says.
const FLOWS: u32 = 1 << 22;

/// Room around a frame for headers and for answers longer than what they answer, in bytes.
const HEADROOM: usize = 256;
const TAILROOM: usize = 256;
