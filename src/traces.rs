//! Traces and captures of live frames: begun by the control thread, which does not wait. A thread of each one's own takes the workers'
//! notes and tells of them, so that a slow reader holds up nobody but himself.
//!
//! ```text
//!   workers --notes--> (bounded, else missed) --> Teller --lines or blocks--> (bounded, it waits) --> API server --> reader
//! ```

mod lines;
mod packets;
mod told;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use lb_core::{listener::ListenerId, time};
use lb_ctl::{
    api::{
        CAPTURE_COUNT_DEFAULT, Refusal, RefusalCode, TRACE_COUNT_DEFAULT, TRACE_SECONDS_DEFAULT, TraceEnd,
        TraceQuery,
    },
    server::{Caller, Reply, Stream, StreamWriter, stream},
};
use lb_io::{
    clock,
    engine::{Missed, Note, Trace, TraceFilter, Waited},
};

use crate::{audit, control::Control, log::complain};
use lines::Lines;
use packets::Packets;

/// How many traces and captures are under way.
#[derive(Debug, Default)]
pub struct Traces {
    /// Held by the thread of each.
    permits: Arc<()>,
}

/// What becomes of notes.
trait Tell {
    /// What the stream begins with.
    fn begin(&mut self, out: &mut Vec<u8>);
    /// Tells of a frame.
    fn note(&mut self, note: &Note, out: &mut Vec<u8>);
    /// Tells that frames were missed.
    fn missed(&mut self, missed: Missed, out: &mut Vec<u8>);
    /// Tells that there has been nothing to tell.
    fn sign_of_life(&mut self, out: &mut Vec<u8>);
    /// Tells that there is no more to come.
    fn end(&mut self, because: TraceEnd, frames: u64, out: &mut Vec<u8>);
}

/// What the notes' clock says of the time of day. Steps of the wall clock during a trace are not followed: its times go forward.
#[derive(Clone, Copy, Debug)]
struct WallClock {
    /// Nanoseconds since 1970 when the other clock was at 0.
    zero_ns: u64,
}

impl WallClock {
    fn now() -> WallClock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        WallClock { zero_ns: u64::try_from(wall).unwrap_or(u64::MAX).saturating_sub(clock::now().nanos()) }
    }

    /// In nanoseconds since 1970.
    fn at(self, time: time::Instant) -> u64 {
        self.zero_ns.saturating_add(time.nanos())
    }
}

/// A trace with whoever reads it.
struct Teller<T> {
    trace: Trace,
    tell: T,
    writer: StreamWriter,
    deadline: Instant,
    count: u64,
    frames: u64,
}

/// How a trace differs from a capture.
struct Kind {
    count: u64,
    snap_bytes: usize,
    wants_why: bool,
    notes_per_second: u32,
}

impl Control {
    /// Has frames followed, and tells of each in a line.
    pub(crate) fn trace(&self, query: &TraceQuery, reply: Reply<Stream>) {
        let lines = Lines::new(self.interface_names(), WallClock::now());
        let kind = Kind {
            count: query.count.unwrap_or(TRACE_COUNT_DEFAULT),
            snap_bytes: HEADERS_BYTES,
            wants_why: true,
            notes_per_second: TRACED_PER_SECOND,
        };
        self.follow(query, &kind, lines, reply);
    }

    /// Has frames followed, and tells of each with what is in it.
    pub(crate) fn capture(&self, query: &TraceQuery, by: &Caller, reply: Reply<Stream>) {
        let asked: Vec<String> = query.pairs().iter().map(|(key, value)| format!("{key}={value}")).collect();
        audit::watched(by, format!("capture of packets: {}", asked.join(" ")));
        let snap = query.snap.map(|snap| snap as usize);
        let packets = Packets::new(self.interface_names(), WallClock::now(), query.snap.unwrap_or(0));
        let kind = Kind {
            count: query.count.unwrap_or(CAPTURE_COUNT_DEFAULT),
            snap_bytes: snap.unwrap_or(usize::MAX),
            wants_why: false,
            notes_per_second: CAPTURED_PER_SECOND,
        };
        self.follow(query, &kind, packets, reply);
    }

    fn follow(
        &self,
        query: &TraceQuery,
        kind: &Kind,
        tell: impl Tell + Send + 'static,
        reply: Reply<Stream>,
    ) {
        if Arc::strong_count(&self.traces.permits) > TRACES {
            return reply.refuse(Refusal::of(RefusalCode::ServiceUnavailable, TOO_MANY));
        }
        let filter = match self.filter(query) {
            Ok(filter) => filter,
            Err(refusal) => return reply.refuse(refusal),
        };
        let seconds = query.seconds.unwrap_or(TRACE_SECONDS_DEFAULT);
        let asked = lb_io::engine::TraceQuery {
            filter,
            reason: query.reason.map(|name| name.0),
            sample: query.sample.unwrap_or(1),
            snap_bytes: kind.snap_bytes,
            wants_why: kind.wants_why,
            notes_per_second: kind.notes_per_second,
            until: clock::now().after_seconds(u64::from(seconds)),
        };
        let trace = self.engine.trace(&asked, NOTES);
        let (writer, stream) = stream();
        let deadline = Instant::now() + Duration::from_secs(u64::from(seconds));
        let mut teller = Teller { trace, tell, writer, deadline, count: kind.count, frames: 0 };
        let permit = self.traces.permits.clone();
        let run = move || {
            teller.run();
            drop(permit);
        };
        match thread::Builder::new().name("trace".into()).spawn(run) {
            Ok(_) => reply.send(stream),
            // The reply is dropped with this, which tells who asked.
            Err(error) => complain!("a trace is not begun: no thread can be started: {error}"),
        }
    }

    fn filter(&self, query: &TraceQuery) -> Result<TraceFilter, Refusal> {
        let listeners = self.listeners_named(query);
        if let Some(name) = query.listener.as_ref().filter(|_| listeners.is_empty()) {
            let error = format!("there is no listener {name}: `lbctl listener list` lists them");
            return Err(Refusal::of(RefusalCode::ListenerNotFound, error).at("listener"));
        }
        if !query.names_parties() {
            return Ok(TraceFilter::All);
        }
        let query = query.clone();
        Ok(TraceFilter::Of(Arc::new(move |parties| query.matches(parties, &listeners))))
    }

    fn listeners_named(&self, query: &TraceQuery) -> Vec<ListenerId> {
        let rows = self.tables.listeners().iter().enumerate();
        let named = rows.filter(|(_, row)| row.as_ref().is_some_and(|row| query.is_listener(&row.name)));
        named.map(|(id, _)| ListenerId(id as u16)).collect()
    }

    fn interface_names(&self) -> Vec<String> {
        self.tables.interfaces().iter().map(|interface| interface.name.to_string()).collect()
    }
}

impl<T: Tell> Teller<T> {
    /// Tells until the trace is over, or nobody reads any longer.
    fn run(&mut self) {
        let mut out = Vec::new();
        self.tell.begin(&mut out);
        loop {
            let because = self.gather(&mut out);
            if let Some(because) = because {
                self.tell.end(because, self.frames, &mut out);
            }
            let is_read = self.writer.write(std::mem::take(&mut out)).is_ok();
            if because.is_some() || !is_read {
                return;
            }
        }
    }

    /// Takes what notes there are, or waits for the first. Why there are no more to come, if so.
    fn gather(&mut self, out: &mut Vec<u8>) -> Option<TraceEnd> {
        let mut patience = SIGN_OF_LIFE.min(self.deadline.saturating_duration_since(Instant::now()));
        if !out.is_empty() {
            patience = Duration::ZERO; // The beginning tells the reader that he is heard.
        }
        let because = loop {
            match self.trace.next(patience) {
                Waited::Note(note) => {
                    self.tell.note(&note, out);
                    self.frames += 1;
                }
                Waited::Nothing => break None,
                Waited::End => break Some(TraceEnd::Stop),
            }
            patience = Duration::ZERO;
            if self.frames >= self.count {
                break Some(TraceEnd::Count);
            }
            if out.len() >= PART_BYTES {
                break None;
            }
        };
        let missed = self.trace.take_missed();
        if missed != Missed::default() {
            self.tell.missed(missed, out);
        }
        if out.is_empty() {
            self.tell.sign_of_life(out);
        }
        let is_late = Instant::now() >= self.deadline;
        match because {
            Some(TraceEnd::Count) => because,
            _ if is_late => Some(TraceEnd::Time),
            because => because,
        }
    }
}

/// Traces and captures under way at once: each costs a look at every frame.
const TRACES: usize = 4;

/// Frames of one worker that a trace tells of in a second.
const TRACED_PER_SECOND: u32 = 1_000;

/// Frames of one worker that a capture holds of a second.
const CAPTURED_PER_SECOND: u32 = 10_000;

/// Bytes of a frame that hold all headers that are told of: Ethernet, IPv6 with extension headers, TCP with options.
const HEADERS_BYTES: usize = 192;

/// Notes that wait to be told.
const NOTES: usize = 4_096;

/// Notes are told in parts of about so many bytes.
const PART_BYTES: usize = 64 << 10;

/// Time between two signs of life. Who has gone away is found out by them.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

const TOO_MANY: &str = "four traces or captures are under way, which is as many as may be: end another first, or ask again when \
                        one has ended by itself";
