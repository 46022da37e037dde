//! A capture as blocks of pcapng: each frame as it came in and, where it leaves, as it leaves, with what became of it as a comment.

use lb_core::verdict::{Action, Reason};
use lb_ctl::{
    api::TraceEnd,
    capture::pcapng::{self, CapturedPacket, Direction},
    packet_head::{ends, packet_head},
};
use lb_io::engine::{Glimpse, Missed, Note, Origin};

use super::{Tell, WallClock};

/// What it takes to tell of notes in blocks.
pub(super) struct Packets {
    interfaces: Vec<String>,
    clock: WallClock,
    snap_bytes: u32,
    missed: u64,
    /// Those of `missed` that no frame has told of.
    untold: u64,
}

impl Packets {
    pub(super) fn new(interfaces: Vec<String>, clock: WallClock, snap_bytes: u32) -> Packets {
        Packets { interfaces, clock, snap_bytes, missed: 0, untold: 0 }
    }

    fn packet(&mut self, note: &Note, (interface, direction): (u8, Direction), frame: &Glimpse) -> Vec<u8> {
        pcapng::packet(&CapturedPacket {
            interface: interface.into(),
            time_ns: self.clock.at(note.at),
            direction,
            bytes: &frame.bytes,
            length: frame.length,
            comment: &comment(note),
            missed: std::mem::take(&mut self.untold),
        })
    }

    fn statistics(&self) -> Vec<u8> {
        pcapng::statistics(self.clock.at(lb_io::clock::now()), self.missed)
    }
}

impl Tell for Packets {
    fn begin(&mut self, out: &mut Vec<u8>) {
        out.extend(pcapng::section(concat!("lbd ", env!("CARGO_PKG_VERSION"))));
        for name in &self.interfaces {
            out.extend(pcapng::interface(name, self.snap_bytes));
        }
    }

    fn note(&mut self, note: &Note, out: &mut Vec<u8>) {
        let sent = note.after.as_ref().filter(|_| leaves(note.reason));
        // One that another worker has handed over was told of when it came in there, but not what became of it.
        let is_handed_on = note.reason.action() == Action::HandOver;
        let is_news = note.origin != Origin::Worker || sent.is_none() && !is_handed_on;
        if let Some(frame) = note.before.as_ref().filter(|_| is_news) {
            out.extend(self.packet(note, (note.ingress.0, Direction::Inbound), frame));
        }
        if let Some(frame) = sent {
            out.extend(self.packet(note, (note.verdict.port, Direction::Outbound), frame));
        }
    }

    fn missed(&mut self, Missed { over_rate, unread }: Missed, out: &mut Vec<u8>) {
        self.missed += over_rate + unread;
        self.untold += over_rate + unread;
        out.extend(self.statistics()); // A reader who ends it now knows, too.
    }

    fn sign_of_life(&mut self, out: &mut Vec<u8>) {
        out.extend(self.statistics());
    }

    fn end(&mut self, _: TraceEnd, _: u64, out: &mut Vec<u8>) {
        out.extend(self.statistics());
    }
}

/// Such as `transmit flow -> 198.19.1.2:80, worker 1`.
fn comment(note: &Note) -> String {
    let Note { worker, reason, verdict, .. } = note;
    let to = match (reason.action(), &note.after) {
        (Action::Transmit | Action::Reply, Some(after)) => ends(&packet_head(&after.bytes, after.length))
            .map_or(String::new(), |(_, to)| format!(" -> {to}")),
        (Action::HandOver, _) => format!(" -> worker {}", verdict.port),
        _ => String::new(),
    };
    let from = match note.origin {
        Origin::Queue(queue) => format!(", queue {queue}"),
        Origin::Worker => ", handed over".into(),
        Origin::Own => ", made here".into(),
    };
    format!("{} {}{to}, worker {worker}{from}", reason.action().name(), reason.name())
}

fn leaves(reason: Reason) -> bool {
    matches!(reason.action(), Action::Transmit | Action::Reply)
}
