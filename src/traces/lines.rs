//! A trace as lines of JSON.

use lb_ctl::api::{TraceEnd, TraceLine};
use lb_io::engine::{Missed, Note};

use super::{Tell, WallClock, told::told};

/// What it takes to tell of notes in lines.
pub(super) struct Lines {
    interfaces: Vec<String>,
    clock: WallClock,
    missed: u64,
}

impl Lines {
    pub(super) fn new(interfaces: Vec<String>, clock: WallClock) -> Lines {
        Lines { interfaces, clock, missed: 0 }
    }
}

impl Tell for Lines {
    fn begin(&mut self, out: &mut Vec<u8>) {
        TraceLine::Heartbeat.append_to(out);
    }

    fn note(&mut self, note: &Note, out: &mut Vec<u8>) {
        let frame = told(note, &self.interfaces, self.clock.at(note.at));
        TraceLine::Frame(Box::new(frame)).append_to(out);
    }

    fn missed(&mut self, Missed { over_rate, unread }: Missed, out: &mut Vec<u8>) {
        self.missed += over_rate + unread;
        TraceLine::Missed { over_rate, unread }.append_to(out);
    }

    fn sign_of_life(&mut self, out: &mut Vec<u8>) {
        TraceLine::Heartbeat.append_to(out);
    }

    fn end(&mut self, because: TraceEnd, frames: u64, out: &mut Vec<u8>) {
        TraceLine::End { because, frames, missed: self.missed }.append_to(out);
    }
}
