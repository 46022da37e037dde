//! Events for those who follow them. The control thread only drops a note into a bounded channel; numbers, text and the wait for
//! slow readers are this thread's.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use futures_util::stream;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{answer, connection::Endless};
use crate::{
    api::{Event, Happening},
    timestamp::rfc3339,
};

/// Where events are published. Cloned freely.
#[derive(Clone, Debug)]
pub struct Events {
    notes: mpsc::Sender<Note>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Note {
    at: SystemTime,
    what: Happening,
}

impl Events {
    /// Publishes without waiting for anything. What nobody has room for is counted as missed by all readers.
    pub fn publish(&self, what: Happening) {
        let note = Note { at: SystemTime::now(), what };
        if self.notes.try_send(note).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}

/// The latest events, for readers.
pub(super) struct Feed {
    ring: Mutex<Ring>,
    /// The number of the latest event.
    latest: watch::Sender<u64>,
}

/// What still has to be put into the feed.
pub(super) struct Inbox {
    notes: mpsc::Receiver<Note>,
    lost: Arc<AtomicU64>,
}

struct Ring {
    /// Number of the first event of this run.
    first: u64,
    /// Number of the first event that is still known.
    oldest: u64,
    /// Number of the next event.
    next: u64,
    /// Lines from the oldest on, with their numbers.
    lines: VecDeque<(u64, Bytes)>,
}

/// The query of `GET /v1/events`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// Events after this one; by default all that are known, or, to follow, those to come.
    since: Option<u64>,
    /// Whether the answer goes on with what happens from now on.
    #[serde(default)]
    follow: bool,
}

/// A feed, where to publish for it, and what feeds it.
pub(super) fn feed() -> (Arc<Feed>, Events, Inbox) {
    let (sender, notes) = mpsc::channel(NOTES);
    let lost = Arc::new(AtomicU64::new(0));
    let first = first_number();
    let (latest, _) = watch::channel(first.saturating_sub(1));
    let feed = Arc::new(Feed { ring: Mutex::new(Ring::starting_at(first)), latest });
    (feed, Events { notes: sender, lost: lost.clone() }, Inbox { notes, lost })
}

/// Above those of all earlier runs, which published less than a thousand events a millisecond. Exact in JSON until the year 2255.
fn first_number() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or_default() * 1_000
}

impl Feed {
    /// Takes in what is published, for ever.
    pub(super) async fn take_in(&self, mut inbox: Inbox) {
        while let Some(note) = inbox.notes.recv().await {
            let latest = {
                let mut ring = self.ring();
                ring.skip(inbox.lost.swap(0, Relaxed));
                ring.push(note);
                ring.next - 1
            };
            self.latest.send_replace(latest);
        }
    }

    /// Answers `GET /v1/events`.
    pub(super) fn answer(self: &Arc<Feed>, query: &EventsQuery) -> Response {
        let newest = *self.latest.borrow();
        if !query.follow {
            let (lines, _) = self.ring().after(query.since.unwrap_or_default(), usize::MAX);
            return answer::lines(Body::from(lines.concat()));
        }
        let follower = Follower {
            feed: self.clone(),
            read: query.since.unwrap_or(newest).min(newest),
            latest: self.latest.subscribe(),
            heartbeat: Instant::now(),
        };
        let lines = stream::unfold(follower, |mut follower| async move {
            let lines = follower.next().await?;
            Some((Ok::<_, std::convert::Infallible>(lines), follower))
        });
        let mut response = answer::lines(Body::from_stream(lines));
        response.extensions_mut().insert(Endless);
        response
    }

    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn starting_at(first: u64) -> Ring {
        Ring { first, oldest: first, next: first, lines: VecDeque::new() }
    }

    fn push(&mut self, note: Note) {
        let event = Event { seq: self.next, at: rfc3339(note.at), what: note.what };
        if self.lines.len() == EVENTS
            && let Some((number, _)) = self.lines.pop_front()
        {
            self.oldest = number + 1;
        }
        self.lines.push_back((self.next, line(&event)));
        self.next += 1;
    }

    /// Leaves out the numbers of events that nobody can be told of.
    fn skip(&mut self, events: u64) {
        if events > 0 {
            self.next += events - 1;
            self.push(Note { at: SystemTime::now(), what: Happening::Missed { events: Some(events) } });
        }
    }

    /// At most so many lines of the events after one, and the number of the last of them.
    fn after(&self, read: u64, limit: usize) -> (Vec<Bytes>, u64) {
        let (mut lines, mut last) = (Vec::new(), read);
        if let Some(missed) = self.missed_after(read) {
            last = missed.seq;
            lines.push(line(&missed));
        }
        let start = self.lines.partition_point(|(number, _)| *number <= last);
        for (number, line) in self.lines.range(start..).take(limit) {
            lines.push(line.clone());
            last = *number;
        }
        (lines, last)
    }

    /// What the ring has no more of what came after an event. Whoever asks from 0 on wants what there is.
    fn missed_after(&self, read: u64) -> Option<Event> {
        if read == 0 || read + 1 >= self.oldest {
            return None;
        }
        let events = (read + 1 >= self.first).then_some(self.oldest - read - 1);
        let at = rfc3339(SystemTime::now());
        Some(Event { seq: self.oldest - 1, at, what: Happening::Missed { events } })
    }
}

/// One who follows.
struct Follower {
    feed: Arc<Feed>,
    /// The number of the last event that it was told of.
    read: u64,
    latest: watch::Receiver<u64>,
    heartbeat: Instant,
}

impl Follower {
    /// The next lines: events as soon as there are any, or a heartbeat. The first comes at once, so that a client sees that it follows.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let newest = *self.latest.borrow_and_update();
            let (lines, read) = self.feed.ring().after(self.read, EVENTS_AT_ONCE);
            if !lines.is_empty() {
                self.read = read;
                self.heartbeat = Instant::now() + HEARTBEAT;
                return Some(Bytes::from(lines.concat()));
            }
            tokio::select! {
                changed = self.latest.changed() => changed.ok()?,
                () = sleep_until(self.heartbeat) => {
                    self.heartbeat = Instant::now() + HEARTBEAT;
                    let at = rfc3339(SystemTime::now());
                    return Some(line(&Event { seq: newest, at, what: Happening::Heartbeat }));
                }
            }
        }
    }
}

/// The line of an event. Its strings and numbers are all JSON can say.
fn line(event: &Event) -> Bytes {
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

/// Events that are kept for readers who come later.
const EVENTS: usize = 4_096;

/// Events that a reader is sent in one piece.
const EVENTS_AT_ONCE: usize = 256;

/// Events on the way from the control thread.
const NOTES: usize = 4_096;

/// Time between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn fail_open(group: usize) -> Happening {
        Happening::FailOpen { target_group: format!("g{group}"), is_failing_open: true }
    }

    fn ring(count: usize) -> Ring {
        let mut ring = Ring::starting_at(1_000);
        for group in 0..count {
            ring.push(Note { at: UNIX_EPOCH, what: fail_open(group) });
        }
        ring
    }

    fn events(lines: &[Bytes]) -> Vec<Event> {
        lines.iter().map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    #[test]
    fn a_reader_is_told_what_came_after_its_last_event() {
        let ring = ring(3);
        let (lines, last) = ring.after(1_000, 10);
        let expected = [1, 2].map(|group| Event {
            seq: 1_000 + group as u64,
            at: "1970-01-01T00:00:00Z".into(),
            what: fail_open(group),
        });
        assert_eq!((events(&lines).as_slice(), last), (&expected[..], 1_002));
        assert_eq!(ring.after(1_002, 10), (vec![], 1_002));
        assert_eq!(ring.after(0, 1).1, 1_000, "all that there is, from the first on");
    }

    #[test]
    fn a_late_reader_is_told_how_many_events_it_missed() {
        let ring = ring(EVENTS + 5);
        let (lines, last) = ring.after(1_001, 1);
        let told = events(&lines);
        assert_eq!(told[0].what, Happening::Missed { events: Some(3) });
        assert_eq!((told[1].seq, last), (1_005, 1_005));
        let (lines, _) = ring.after(17, 1);
        assert_eq!(events(&lines)[0].what, Happening::Missed { events: None }, "of an earlier run");
    }

    #[tokio::test]
    async fn publishing_never_waits_and_what_is_lost_is_told() {
        let (feed, publisher, inbox) = feed();
        for group in 0..NOTES + 7 {
            publisher.publish(fail_open(group));
        }
        drop(publisher);
        let first = feed.ring().first;
        feed.take_in(inbox).await;
        let ring = feed.ring();
        assert_eq!(ring.next, first + (NOTES + 7) as u64);
        let missed = Happening::Missed { events: Some(7) };
        let (lines, _) = ring.after(first - 1, 1);
        assert_eq!(events(&lines)[0].what, missed, "the ring is as long as the channel");
    }
}
