//! The thread that names flows and writes their records, each within a second.

use std::{
    io,
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::{Duration, Instant, SystemTime},
};

use crossbeam_channel::{Receiver, never, select};
use lb_core::flow_log::EndedFlow;

use super::{
    Fate, Surroundings,
    file::{LogFile, Unwritten},
    names::Names,
    record::{Clocks, Record},
    unpoisoned,
};
use crate::config;

/// Settings to go on with, and the file that was opened for them.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) settings: config::FlowLog,
    pub(super) file: LogFile,
}

pub(super) struct Writer {
    settings: config::FlowLog,
    /// `None` until it can be opened.
    file: Option<LogFile>,
    names: Arc<Mutex<Names>>,
    surroundings: Surroundings,
    /// Whole lines that are not written yet.
    lines: Vec<u8>,
    /// When the first of them has to be written.
    due: Option<Instant>,
    is_failing: bool,
}

impl Writer {
    pub(super) fn new(
        settings: config::FlowLog,
        file: Option<LogFile>,
        names: Arc<Mutex<Names>>,
        surroundings: Surroundings,
    ) -> Writer {
        Writer { settings, file, names, surroundings, lines: Vec::new(), due: None, is_failing: false }
    }

    /// Writes until nobody tells of flows any more.
    pub(super) fn run(mut self, flows: &Receiver<EndedFlow>, mut orders: Receiver<Order>) {
        loop {
            let patience = self.due.map_or(FLUSH_INTERVAL, |due| due.duration_since(Instant::now()));
            select! {
                recv(flows) -> flow => match flow {
                    Ok(flow) => self.note(flow, flows),
                    Err(_) => break,
                },
                recv(orders) -> order => match order {
                    Ok(order) => self.obey(order),
                    Err(_) => orders = never(),
                },
                default(patience) => {}
            }
            let is_due = self.due.is_some_and(|due| due <= Instant::now());
            if is_due || self.lines.len() >= FLUSH_BYTES {
                self.flush();
            }
        }
        self.flush();
    }

    /// Makes lines of a flow and of those that wait behind it.
    fn note(&mut self, first: EndedFlow, waiting: &Receiver<EndedFlow>) {
        self.due.get_or_insert_with(|| Instant::now() + FLUSH_INTERVAL);
        let names = unpoisoned(&self.names);
        let clocks = Clocks { monotonic: (self.surroundings.clock)(), wall: SystemTime::now() };
        for flow in std::iter::once(first).chain(waiting.try_iter().take(BATCH_FLOWS)) {
            Record::new(&flow, &names, clocks, self.settings.sample).write(&mut self.lines);
        }
    }

    fn obey(&mut self, order: Order) {
        self.flush();
        let Order { settings, file } = order;
        (self.settings, self.file) = (settings, Some(file));
    }

    /// Writes what there is. What cannot be written is lost: memory would not last as long as a full disk.
    fn flush(&mut self) {
        self.due = None;
        if self.lines.is_empty() {
            return;
        }
        let (written, error) = match self.write() {
            Ok(()) => (self.lines.len(), None),
            Err(Unwritten { written, error }) => (written, Some(error)),
        };
        // Whoever sees that records are lost finds why.
        self.tell(error.map(|error| describe(&self.settings, &error)));
        let outcomes = &self.surroundings.outcomes;
        outcomes.written.fetch_add(count(&self.lines[..written]), Relaxed);
        outcomes.lost.fetch_add(count(&self.lines[written..]), Relaxed);
        self.lines.clear();
    }

    fn write(&mut self) -> Result<(), Unwritten> {
        let nothing = |error| Unwritten { written: 0, error };
        let file = match self.file.take().filter(LogFile::is_in_place) {
            Some(file) => file,
            None => LogFile::open(&self.settings).map_err(nothing)?,
        };
        self.file.insert(file).append(&self.lines)
    }

    /// Tells when writing begins to fail, and when it does no more.
    fn tell(&mut self, trouble: Option<String>) {
        *unpoisoned(&self.surroundings.outcomes.trouble) = trouble.clone();
        if self.is_failing != trouble.is_some() {
            self.is_failing = trouble.is_some();
            (self.surroundings.tell)(trouble.map_or(Fate::Written, |error| Fate::Lost { error }));
        }
    }
}

/// An error of a flow log's file, for people.
fn describe(settings: &config::FlowLog, error: &io::Error) -> String {
    format!("{}: {error}", settings.file.display())
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// A record waits no longer than this to be written.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// As many bytes are written at once.
const FLUSH_BYTES: usize = 1 << 16;

/// Flows that lines are made of before the clock is looked at again.
const BATCH_FLOWS: usize = 256;
