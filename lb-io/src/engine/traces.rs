//! Traces of what becomes of frames: begun without waiting, noted by the workers, read by whoever has the time.

use std::{
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, Release},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::Engine;
use crate::worker::{Command, Following, Note, TraceQuery, Tracer};

/// A trace under way. Dropping it ends it.
#[derive(Debug)]
pub struct Trace {
    notes: Receiver<Note>,
    following: Arc<Following>,
}

/// What came while one waited.
#[derive(Debug)]
pub enum Waited {
    /// A note.
    Note(Box<Note>),
    /// Nothing yet.
    Nothing,
    /// No more will come.
    End,
}

/// Frames that passed a trace's filter without a note.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// They came when a worker had noted as many as it may in a second.
    pub over_rate: u64,
    /// The reader was too slow.
    pub unread: u64,
}

impl Trace {
    /// The next note. Waits for it no longer than `patience`.
    pub fn next(&self, patience: Duration) -> Waited {
        match self.notes.recv_timeout(patience) {
            Ok(note) => Waited::Note(Box::new(note)),
            Err(RecvTimeoutError::Timeout) => Waited::Nothing,
            Err(RecvTimeoutError::Disconnected) => Waited::End,
        }
    }

    /// What was missed since this was last asked.
    pub fn take_missed(&self) -> Missed {
        let Following { over_rate, unread, .. } = &*self.following;
        Missed { over_rate: over_rate.swap(0, Relaxed), unread: unread.swap(0, Relaxed) }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.following.is_over.store(true, Release);
    }
}

impl Engine {
    /// Has every worker note what becomes of frames. Does not wait. `waiting` notes of all workers may wait to be read.
    pub fn trace(&self, query: &TraceQuery, waiting: usize) -> Trace {
        let (sender, notes) = bounded(waiting);
        let following = Arc::new(Following::default());
        for member in self.crew.iter().filter(|member| member.is_listening()) {
            let tracer = Tracer::new(query.clone(), sender.clone(), following.clone());
            member.tell(Command::Trace(tracer));
        }
        Trace { notes, following }
    }
}
