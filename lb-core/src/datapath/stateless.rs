//! What is kept of datagrams that went to their target without a flow, because the table was full: a trace of each, so that their
//! answers find the way back, and a target's other datagrams never leave as the VIP's (RFC 4787 REQ-8). `miss` writes and asks.

use crate::{limits, time::Instant};

/// Clients' datagrams that were sent without a flow of late, by the hash of their key. A later one of the same place overwrites.
#[derive(Debug)]
pub(super) struct Stateless {
    sent: Box<[Sent]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    hash: u64,
    until: Instant,
}

impl Stateless {
    pub(super) fn new() -> Stateless {
        Stateless { sent: vec![Sent::default(); limits::STATELESS_DATAGRAMS].into() }
    }

    /// Answers to a key with this hash pass until then.
    pub(super) fn note(&mut self, hash: u64, until: Instant) {
        self.sent[place(hash)] = Sent { hash, until };
    }

    /// Whether a datagram's answer may pass.
    pub(super) fn awaits_answer(&self, hash: u64, now: Instant) -> bool {
        let sent = self.sent[place(hash)];
        sent.hash == hash && now < sent.until
    }
}

fn place(hash: u64) -> usize {
    hash as usize % limits::STATELESS_DATAGRAMS
}
