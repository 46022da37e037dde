//! UDP datagrams in pieces. All pieces of one meet at one worker, which learns the ports from the first and keeps later
//! pieces that came before it; from then on each piece goes where a whole datagram of these ports would go. Nothing is
//! reassembled, so overlapping pieces harm nobody here (RFC 5722).

use super::{Arrival, InFlight, Pipeline, extra::Buffer};
use crate::{
    frame::Frame,
    hash::FlowHash,
    limits,
    parse::{Fragment, FragmentId, Packet, Piece, parse_fragment},
    tables::Tables,
    time::Instant,
    verdict::{Action, Reason, Verdict},
};

/// What one worker knows of datagrams in pieces.
#[derive(Debug)]
pub(super) struct Fragments {
    /// Places of datagrams whose first piece came, by hash; the oldest of four is overwritten.
    datagrams: Box<[Datagram]>,
    /// Later pieces whose first has not come, oldest first.
    held: Vec<Held>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Datagram {
    id: FragmentId,
    source_port: [u8; 2],
    destination_port: [u8; 2],
    until: Instant,
}

impl Datagram {
    /// Of its source and its destination.
    fn ports(&self) -> ([u8; 2], [u8; 2]) {
        (self.source_port, self.destination_port)
    }
}

#[derive(Debug)]
struct Held {
    id: FragmentId,
    buffer: Buffer,
    until: Instant,
}

impl Fragments {
    pub(super) fn new() -> Fragments {
        Fragments {
            datagrams: vec![Datagram::default(); limits::FRAGMENTED_DATAGRAMS].into(),
            held: Vec::with_capacity(limits::HELD_FRAGMENTS),
        }
    }

    /// Later pieces that are kept.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    pub(super) fn ports(&self, hash: &FlowHash, id: &FragmentId, now: Instant) -> Option<([u8; 2], [u8; 2])> {
        let place = place(hash, id);
        let ways = &self.datagrams[place..place + WAYS];
        ways.iter().find(|known| known.id == *id && now < known.until).map(Datagram::ports)
    }

    fn learn(&mut self, hash: &FlowHash, id: FragmentId, packet: &Packet, now: Instant) {
        let place = place(hash, &id);
        let ways = &mut self.datagrams[place..place + WAYS];
        let known = ways.iter().position(|datagram| datagram.id == id);
        let oldest = || (0..WAYS).min_by_key(|&way| ways[way].until).unwrap_or(0);
        let way = known.unwrap_or_else(oldest);
        ways[way] = Datagram {
            id,
            source_port: packet.key.source_port(),
            destination_port: packet.key.destination_port(),
            until: now.after_seconds(limits::FRAGMENTED_DATAGRAM_S),
        };
    }

    /// A first piece with other ports is not the one that was learnt from, and may be forged.
    fn forget(&mut self, hash: &FlowHash, id: &FragmentId, packet: &Packet) {
        let place = place(hash, id);
        let ports = (packet.key.source_port(), packet.key.destination_port());
        let ways = &mut self.datagrams[place..place + WAYS];
        if let Some(known) = ways.iter_mut().find(|known| known.id == *id && known.ports() == ports) {
            *known = Datagram::default();
        }
    }
}

impl Pipeline<'_> {
    /// A piece of a datagram.
    #[cold]
    pub(super) fn fragment(
        &mut self,
        tables: &Tables,
        frame: &mut Frame<'_>,
        arrival: Arrival,
        now: Instant,
    ) -> Verdict {
        if !self.is_for_us(frame) {
            return Verdict::drop(Reason::OtherMac);
        }
        let Fragment { packet, id } = match parse_fragment(frame.bytes()) {
            Ok(fragment) => fragment,
            Err(reason) => return Verdict::drop(reason),
        };
        if tables.is_own(packet.key.source()) {
            return Verdict::drop(Reason::OwnSource);
        }
        let meeting = self.hash.fragment_home(id.words(), self.workers);
        if arrival == Arrival::Ring && meeting != self.worker {
            return Verdict::to(Reason::HandedOver, meeting);
        }
        if packet.piece == Piece::First {
            let verdict = self.fragment_of(tables, frame, &packet, now);
            match verdict.reason.action() {
                Action::Drop => self.abandon(&id, &packet),
                _ => {
                    self.fragments.learn(&self.hash, id, &packet, now);
                    self.release(tables, &id, now);
                }
            }
            return verdict;
        }
        match self.fragments.ports(&self.hash, &id, now) {
            Some((source, destination)) => {
                let packet = Packet { key: packet.key.with_ports(source, destination), ..packet };
                self.fragment_of(tables, frame, &packet, now)
            }
            None if meeting == self.worker => self.hold(frame, id, now),
            None => Verdict::drop(Reason::FragmentLost), // Handed over by the worker that knew its first piece.
        }
    }

    /// A piece whose ports are known goes as a whole datagram would: from the worker where the pieces meet to the one that owns
    /// the flow, if that is another.
    fn fragment_of(
        &mut self,
        tables: &Tables,
        frame: &mut Frame<'_>,
        packet: &Packet,
        now: Instant,
    ) -> Verdict {
        let hash = self.flows.hash(&packet.key);
        self.process(tables, hash, InFlight { frame, packet, arrival: Arrival::Ring, now })
    }

    /// Keeps a copy of a later piece. The oldest makes room.
    fn hold(&mut self, frame: &Frame<'_>, id: FragmentId, now: Instant) -> Verdict {
        if self.fragments.held.len() == limits::HELD_FRAGMENTS {
            self.lose(0);
        }
        let Some(buffer) = self.extras.copy(frame) else {
            return Verdict::drop(Reason::FragmentLost);
        };
        let until = now.after_seconds(limits::HELD_FRAGMENT_S);
        self.fragments.held.push(Held { id, buffer, until });
        Verdict::drop(Reason::FragmentHeld)
    }

    /// Sends the pieces that were kept for a first piece after it.
    fn release(&mut self, tables: &Tables, id: &FragmentId, now: Instant) {
        while let Some(at) = self.fragments.held.iter().position(|held| held.id == *id) {
            let Held { mut buffer, .. } = self.fragments.held.remove(at);
            let mut frame = buffer.frame();
            let verdict = self.fragment(tables, &mut frame, Arrival::HandedOver, now);
            let place = (frame.start(), frame.len());
            buffer.keep(place);
            self.extras.push(buffer, verdict);
        }
    }

    /// Gives up the other pieces of a datagram whose first is dropped.
    fn abandon(&mut self, id: &FragmentId, first: &Packet) {
        self.fragments.forget(&self.hash, id, first);
        while let Some(at) = self.fragments.held.iter().position(|held| held.id == *id) {
            self.lose(at);
        }
    }

    /// Gives up pieces whose first did not come in time.
    #[inline]
    pub(super) fn expire_fragments(&mut self, now: Instant) {
        while self.fragments.held.first().is_some_and(|held| held.until <= now) {
            self.lose(0);
        }
    }

    fn lose(&mut self, at: usize) {
        let held = self.fragments.held.remove(at);
        self.extras.give_back(held.buffer);
        self.counters.settle(Reason::FragmentLost);
    }
}

/// The first of the places for a datagram.
fn place(hash: &FlowHash, id: &FragmentId) -> usize {
    usize::from(hash.fragment_home(id.words(), SETS)) * WAYS * SETS_PER_HASH + number_bits(id) * WAYS
}

/// The sender counts its datagrams, so that the low bits of the number spread them well among the sets of one hash.
fn number_bits(id: &FragmentId) -> usize {
    id.number as usize % SETS_PER_HASH
}

const WAYS: usize = 4;
const SETS: u8 = 128;
const SETS_PER_HASH: usize = limits::FRAGMENTED_DATAGRAMS / WAYS / SETS as usize;
const _: () = assert!(SETS as usize * SETS_PER_HASH * WAYS == limits::FRAGMENTED_DATAGRAMS);
