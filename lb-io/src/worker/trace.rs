//! Traces: what becomes of single frames, noted for people who follow some of them. A worker without a trace knows of this file by one
//! look at an `Option` for each burst.
//!
//! ```text
//!   burst ---> who is it for? ---> glimpse before, why ---> process ---> glimpse after ---> finish ---> note --try_send--> Trace
//!                 (filter)            (of what passes)                                     (by which reason in the end)
//! ```
//!
//! A frame that passes is processed by itself, so that what is said of it beforehand is what it finds. A trace by reason looks at
//! frames only when it is known what has become of them. Nothing waits: what is over a trace's rate, or finds its reader's channel
//! full, is counted as missed, and a trace that nobody reads any more ends.

use std::sync::{
    Arc,
    atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use crossbeam_channel::{Sender, TrySendError};
use lb_core::{
    datapath::{Datapath, Parties, key_of, later_piece},
    flow_key::FlowKey,
    frame::Frame,
    tables::InterfaceId,
    time::Instant,
    verdict::{Action, Reason, Verdict},
};

use super::note::{Glimpse, Note, Origin, TraceFilter, TraceQuery};

/// What a trace's workers and its reader share.
#[derive(Debug, Default)]
pub(crate) struct Following {
    /// Nobody reads any longer.
    pub(crate) is_over: AtomicBool,
    /// Frames that passed when a worker had noted as many as it may in a second.
    pub(crate) over_rate: AtomicU64,
    /// Notes that there was no room for.
    pub(crate) unread: AtomicU64,
}

/// One worker's part of a trace.
pub(crate) struct Tracer {
    query: TraceQuery,
    notes: Sender<Note>,
    following: Arc<Following>,
    /// Frames that passed, for sampling.
    passed: u32,
    /// The second, by the worker's clock, and what may still be noted in it.
    second: u64,
    left: u32,
}

impl Tracer {
    /// Of a trace that begins.
    pub(crate) fn new(query: TraceQuery, notes: Sender<Note>, following: Arc<Following>) -> Tracer {
        Tracer { query, notes, following, passed: 0, second: 0, left: 0 }
    }

    fn is_over(&self, now: Instant) -> bool {
        now >= self.query.until || self.following.is_over.load(Acquire)
    }

    fn has_filter(&self) -> bool {
        matches!(self.query.filter, TraceFilter::Of(_))
    }

    fn passes(&self, parties: Option<&Parties>) -> bool {
        match &self.query.filter {
            TraceFilter::All => true,
            TraceFilter::Of(filter) => parties.is_some_and(|parties| filter(parties)),
        }
    }

    /// Whether a frame that passes is to be noted: it is in the sample, and there have not been too many in this second.
    fn takes(&mut self, now: Instant) -> bool {
        self.passed = (self.passed + 1) % self.query.sample.max(1);
        if self.passed != 0 {
            return false;
        }
        let second = now.nanos() / NANOS_PER_SECOND;
        if second != self.second {
            (self.second, self.left) = (second, self.query.notes_per_second);
        }
        if self.left == 0 {
            self.following.over_rate.fetch_add(1, Relaxed);
            return false;
        }
        self.left -= 1;
        true
    }

    /// Whether it decides about a frame when the frame's fate is known.
    fn is_by_reason(&self) -> bool {
        self.query.reason.is_some()
    }

    fn send(&self, note: Note) {
        match self.notes.try_send(note) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => drop(self.following.unread.fetch_add(1, Relaxed)),
            Err(TrySendError::Disconnected(_)) => self.following.is_over.store(true, Release),
        }
    }
}

/// A frame that a trace looks at.
#[derive(Clone, Copy)]
pub(super) struct Seen<'f> {
    pub(super) bytes: &'f [u8],
    pub(super) ingress: InterfaceId,
    pub(super) origin: Origin,
}

impl<'f> Seen<'f> {
    /// A frame that a worker has from somewhere.
    pub(super) fn of(frame: &'f Frame<'_>, origin: Origin) -> Seen<'f> {
        Seen { bytes: frame.bytes(), ingress: frame.ingress, origin }
    }
}

/// A worker's traces: at least one.
pub(super) struct Tracing {
    worker: u8,
    tracers: Vec<Tracer>,
    /// Notes of the burst under way, in its order.
    pending: Vec<Pending>,
    /// Buffers of notes that were not sent.
    spare: Vec<Vec<u8>>,
}

/// A note of a frame whose fate is not known yet.
struct Pending {
    /// The frame's place in its burst.
    at: usize,
    tracer: usize,
    note: Note,
    /// By which its parties are known.
    key: Option<FlowKey>,
}

impl Tracing {
    /// With its first trace.
    pub(super) fn new(worker: u8, tracer: Tracer) -> Tracing {
        Tracing { worker, tracers: vec![tracer], pending: Vec::new(), spare: Vec::new() }
    }

    /// One more trace.
    pub(super) fn add(&mut self, tracer: Tracer) {
        self.tracers.push(tracer);
    }

    /// Gives up traces that are over. Whether any is left. Not called within a burst.
    pub(super) fn prune(&mut self, now: Instant) -> bool {
        self.tracers.retain(|tracer| !tracer.is_over(now));
        !self.tracers.is_empty()
    }

    /// Has a burst processed, and notes what the traces want to know of its frames.
    pub(super) fn process(
        &mut self,
        datapath: &mut Datapath<'_>,
        frames: &mut [Frame<'_>],
        origin: Origin,
        now: Instant,
        verdicts: &mut [Verdict],
    ) {
        let mut begun = 0;
        for at in 0..frames.len() {
            let noted = self.pending.len();
            if self.has_filter() && later_piece(frames[at].bytes()).is_some() {
                // Its ports are known once its first piece has been processed, which may be in this burst.
                let before = begun..at;
                datapath.process_burst(
                    &mut frames[before.clone()],
                    origin.arrival(),
                    now,
                    &mut verdicts[before],
                );
                begun = at;
            }
            let seen = Seen::of(&frames[at], origin);
            let mark = Mark::of(seen.bytes, datapath, now);
            if !self.look(datapath, seen, (at, mark), now) {
                continue;
            }
            // What came before it goes first, so that it is foretold by what it finds.
            datapath.process_burst(&mut frames[begun..at], origin.arrival(), now, &mut verdicts[begun..at]);
            self.foresee(datapath, noted, now);
            datapath.process_burst(&mut frames[at..=at], origin.arrival(), now, &mut verdicts[at..=at]);
            begun = at + 1;
        }
        datapath.process_burst(&mut frames[begun..], origin.arrival(), now, &mut verdicts[begun..]);
        self.look_again(frames, verdicts);
    }

    /// Notes a frame that the load balancer has made or kept, before its verdict is carried out.
    pub(super) fn look_at_own(
        &mut self,
        datapath: &Datapath<'_>,
        frame: &Frame<'_>,
        verdict: Verdict,
        now: Instant,
    ) {
        let noted = self.pending.len();
        let mark = Mark::of(frame.bytes(), datapath, now).map(Mark::opposite);
        self.look(datapath, Seen::of(frame, Origin::Own), (0, mark), now);
        self.foresee(datapath, noted, now);
        for pending in &mut self.pending[noted..] {
            pending.note.verdict = verdict;
            if leaves(verdict.reason) {
                pending.note.after = pending.note.before.take();
            }
        }
    }

    /// Notes a frame that is dropped before it is processed, if there is one.
    pub(super) fn lose(
        &mut self,
        datapath: &Datapath<'_>,
        seen: Option<Seen<'_>>,
        reason: Reason,
        now: Instant,
    ) {
        let Some(seen) = seen else { return };
        let noted = self.pending.len();
        let mark = Mark::of(seen.bytes, datapath, now);
        self.look(datapath, seen, (0, mark), now);
        for pending in &mut self.pending[noted..] {
            pending.note.verdict = Verdict::drop(reason);
        }
        self.settle(0, reason, datapath, now);
    }

    /// Sends the notes of a frame that met its fate for a reason.
    pub(super) fn settle(&mut self, at: usize, reason: Reason, datapath: &Datapath<'_>, now: Instant) {
        let ends = self.pending.iter().take_while(|pending| pending.at == at).count();
        for Pending { tracer, mut note, key, .. } in self.pending.drain(..ends) {
            let tracer = &mut self.tracers[tracer];
            note.reason = reason;
            let is_by_reason = tracer.is_by_reason();
            if is_by_reason && (tracer.query.reason != Some(reason) || !tracer.takes(now)) {
                let buffers = [note.before, note.after].into_iter().flatten();
                self.spare.extend(buffers.map(|glimpse| glimpse.bytes));
                continue;
            }
            if is_by_reason && tracer.query.wants_why {
                note.why = key.map(|key| datapath.why(&key, now));
            }
            tracer.send(note);
        }
    }

    fn has_filter(&self) -> bool {
        self.tracers.iter().any(Tracer::has_filter)
    }

    /// Notes a frame, which is known by a mark, for the traces that it passes. Whether one of them wants it processed by itself.
    fn look(
        &mut self,
        datapath: &Datapath<'_>,
        seen: Seen<'_>,
        (at, mark): (usize, Option<Mark>),
        now: Instant,
    ) -> bool {
        // A look-up, which not every trace needs.
        let parties = mark.filter(|_| self.has_filter()).and_then(|mark| mark.parties(datapath));
        let key = mark.and_then(Mark::key);
        let mut is_foreseen = false;
        for (number, tracer) in self.tracers.iter_mut().enumerate() {
            if !tracer.passes(parties.as_ref()) || !tracer.is_by_reason() && !tracer.takes(now) {
                continue;
            }
            is_foreseen |= !tracer.is_by_reason() && tracer.query.wants_why;
            let before = Some(glimpse(seen.bytes, tracer.query.snap_bytes, &mut self.spare));
            let verdict = Verdict::drop(Reason::NoListener); // Until it is processed.
            let note = Note {
                worker: self.worker,
                at: now,
                origin: seen.origin,
                ingress: seen.ingress,
                before,
                why: None,
                verdict,
                reason: verdict.reason,
                after: None,
            };
            self.pending.push(Pending { at, tracer: number, note, key });
        }
        is_foreseen
    }

    /// Says in the notes from a number on why, where that is wanted beforehand.
    fn foresee(&mut self, datapath: &Datapath<'_>, noted: usize, now: Instant) {
        for Pending { tracer, note, key, .. } in &mut self.pending[noted..] {
            let tracer = &self.tracers[*tracer];
            if tracer.query.wants_why && !tracer.is_by_reason() {
                note.why = key.map(|key| datapath.why(&key, now));
            }
        }
    }

    /// Notes what the frames of the burst are like now.
    fn look_again(&mut self, frames: &[Frame<'_>], verdicts: &[Verdict]) {
        for Pending { at, tracer, note, .. } in &mut self.pending {
            note.verdict = verdicts[*at];
            if leaves(note.verdict.reason) {
                let snap_bytes = self.tracers[*tracer].query.snap_bytes;
                note.after = Some(glimpse(frames[*at].bytes(), snap_bytes, &mut self.spare));
            }
        }
    }
}

/// By what it is known whose a frame is.
#[derive(Clone, Copy)]
enum Mark {
    /// Its key.
    Key(FlowKey),
    /// Of a later piece whose first has not come here: addresses and protocol.
    Addresses(FlowKey),
}

impl Mark {
    fn of(frame: &[u8], datapath: &Datapath<'_>, now: Instant) -> Option<Mark> {
        let of_piece = || {
            let piece = later_piece(frame)?;
            Some(datapath.key_of_piece(&piece, now).map_or(Mark::Addresses(piece.packet.key), Mark::Key))
        };
        key_of(frame).map(Mark::Key).or_else(of_piece)
    }

    fn opposite(self) -> Mark {
        match self {
            Mark::Key(key) => Mark::Key(key.opposite()),
            Mark::Addresses(key) => Mark::Addresses(key.opposite()),
        }
    }

    fn parties(self, datapath: &Datapath<'_>) -> Option<Parties> {
        match self {
            Mark::Key(key) => datapath.parties(&key),
            Mark::Addresses(key) => datapath.parties_of_piece(&key),
        }
    }

    fn key(self) -> Option<FlowKey> {
        match self {
            Mark::Key(key) => Some(key),
            Mark::Addresses(_) => None,
        }
    }
}

fn leaves(reason: Reason) -> bool {
    matches!(reason.action(), Action::Transmit | Action::Reply)
}

fn glimpse(whole: &[u8], snap_bytes: usize, spare: &mut Vec<Vec<u8>>) -> Glimpse {
    let mut bytes = spare.pop().unwrap_or_default();
    bytes.clear();
    bytes.extend_from_slice(&whole[..whole.len().min(snap_bytes)]);
    Glimpse { bytes, length: whole.len() }
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Receiver, bounded};

    use super::*;

    fn tracer(query: TraceQuery, room: usize) -> (Tracer, Receiver<Note>, Arc<Following>) {
        let (sender, notes) = bounded(room);
        let following = Arc::new(Following::default());
        (Tracer::new(query, sender, following.clone()), notes, following)
    }

    fn all() -> TraceQuery {
        TraceQuery {
            filter: TraceFilter::All,
            reason: None,
            sample: 1,
            snap_bytes: 64,
            wants_why: false,
            notes_per_second: 10,
            until: Instant::from_millis(5_000),
        }
    }

    fn note() -> Note {
        let verdict = Verdict::drop(Reason::NoListener);
        let reason = verdict.reason;
        let ingress = InterfaceId(0);
        let (at, origin) = (Instant::default(), Origin::Worker);
        Note { worker: 0, at, origin, ingress, before: None, why: None, verdict, reason, after: None }
    }

    #[test]
    fn a_second_has_so_many_notes_and_the_rest_is_counted() {
        let (mut tracer, _notes, following) = tracer(all(), 1);
        let taken =
            |tracer: &mut Tracer, ms| (0..15).filter(|_| tracer.takes(Instant::from_millis(ms))).count();
        assert_eq!([1_000, 1_999, 2_000].map(|ms| taken(&mut tracer, ms)), [10, 0, 10]);
        assert_eq!(following.over_rate.load(Relaxed), 25);
    }

    #[test]
    fn a_sample_is_one_in_so_many() {
        let (mut tracer, _notes, following) = tracer(TraceQuery { sample: 4, ..all() }, 1);
        let now = Instant::from_millis(1_000);
        assert_eq!((0..22).filter(|_| tracer.takes(now)).count(), 5);
        assert_eq!(following.over_rate.load(Relaxed), 0);
    }

    #[test]
    fn nothing_waits_for_a_reader_and_a_trace_without_one_ends() {
        let (tracer, notes, following) = tracer(all(), 2);
        (0..5).for_each(|_| tracer.send(note()));
        assert_eq!((notes.len(), following.unread.load(Relaxed)), (2, 3));
        let now = Instant::from_millis(1_000);
        assert!(!tracer.is_over(now) && tracer.is_over(Instant::from_millis(5_000)));
        drop(notes);
        tracer.send(note());
        assert!(tracer.is_over(now));
    }
}
