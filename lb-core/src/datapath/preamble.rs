//! Flows whose targets are owed a PROXY header (NLB `proxy_protocol_v2.enabled`). A TCP flow is in this phase from its SYN on until its
//! target has acknowledged the header: `crate::preamble` says how its numbers are then.
//!
//! A header goes with the client's segment that begins its stream, each time that this comes: so the client's own repetition makes up
//! for a header that is lost. Where both do not fit one packet, and when they have gone together in vain, the header goes first by
//! itself. Only a header that went with an acknowledgement alone (`on_first_ack`) is repeated from here, as nobody else would.
//!
//! A UDP flow's target is owed a header with every datagram, for the flow's life: nothing is kept for that, and only whole datagrams have
//! one.
//!
//! Segments whose checksum is wrong go on as they are, for their receiver to find, and nothing is learnt from them.

use std::net::IpAddr;

use super::{InFlight, Pipeline, reply::has_right_checksum};
use crate::{
    flow::{Addresses, Direction, Flow},
    flow_key::FlowKey,
    limits,
    parse::{Packet, Piece, parse},
    preamble::{Numbers, Passage, Preamble},
    rewrite::{preamble as write, segment::Segment},
    tables::{NextHop, Protocol, Tables},
    target::{HeaderPlacement, TargetId},
    time::Instant,
    verdict::{Reason, Verdict},
    wire::{
        l4::tcp::{ACK, FIN, URG},
        proxy::{self, Header},
    },
};

/// A header that went without data, and that its target has not acknowledged yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unheard {
    record: u32,
    /// The client's initial sequence number: what tells that the record is still the same flow's.
    initial: u32,
    due: Instant,
    /// Intervals since it was sent first.
    intervals: u8,
}

impl Pipeline<'_> {
    /// Begins the phase of a new TCP flow, whose client has this initial sequence number.
    pub(super) fn begin_preamble(&mut self, tables: &Tables, record: u32, initial: u32) {
        let flow = self.flows.flow(record);
        let placement = header_placement(tables, TargetId(flow.target_id.into()));
        let Some(placement) = placement.filter(|_| !flow.is_udp()) else { return };
        let length = header(&self.flows.key(record, Direction::Forward)).bytes().len();
        self.flows.annex_mut(record).preamble = Preamble::new(initial, length, placement);
    }

    /// Sends the header of a connection that was made in its client's name, and that has acknowledged its target's answer with this
    /// number and window, unless the client's own bytes bring it.
    pub(super) fn send_first_header(
        &mut self,
        record: u32,
        hop: NextHop,
        (number, window): (u32, u16),
        now: Instant,
    ) {
        let preamble = &mut self.flows.annex_mut(record).preamble;
        preamble.acknowledge_all(number, window);
        if !preamble.is_on_first_ack() {
            return;
        }
        preamble.mark_sent(now.wrapping_millis());
        let initial = preamble.initial;
        self.make_header(record, hop, Reason::ProxyHeader);
        self.await_acknowledgement(Unheard { record, initial, due: now, intervals: 0 });
    }

    /// Sends a client's datagram behind a header; where it is too long with that, in pieces, whatever its sender wants.
    pub(super) fn send_datagram(
        &mut self,
        it: &mut InFlight<'_, '_>,
        record: u32,
        hop: NextHop,
        reason: Reason,
    ) -> Verdict {
        let (flow, addresses) = (*self.flows.flow(record), *self.flows.addresses(record));
        if it.packet.piece != Piece::Whole {
            return Verdict::drop(Reason::ProxyFragment);
        }
        let length = it.packet.total_length; // The client's bytes alone are its traffic.
        let header = header(&it.packet.key);
        let Some(longer) = write::insert(it.frame, it.packet, header.bytes()) else {
            return Verdict::drop(Reason::FrameOversize);
        };
        let mut it = InFlight { frame: &mut *it.frame, packet: &longer, ..*it };
        let direction = Direction::Forward;
        let reason = if reason == Reason::FlowHit { Reason::ProxyHeader } else { reason };
        let verdict = self.send_uncounted(&mut it, (&flow, &addresses), direction, hop, reason);
        if verdict.reason == reason {
            self.counters.count_packet(&flow, direction, length);
            self.tally(record, direction, length);
        }
        verdict
    }

    /// Sends a packet on, of a TCP flow whose target is owed a header.
    pub(super) fn forward_in_preamble(
        &mut self,
        it: &mut InFlight<'_, '_>,
        record: u32,
        direction: Direction,
        hop: NextHop,
        reason: Reason,
    ) -> Verdict {
        let numbers = Numbers::of(segment(it)).filter(|_| has_right_checksum(it));
        match (numbers, direction) {
            (Some(numbers), Direction::Forward) => self.send_to_target(it, record, &numbers, hop, reason),
            (Some(numbers), Direction::Reverse) => {
                self.tell_client_of_target(it, record, &numbers);
                self.send_on(it, record, direction, hop, reason)
            }
            (None, _) => self.send_on(it, record, direction, hop, reason),
        }
    }

    fn send_to_target(
        &mut self,
        it: &mut InFlight<'_, '_>,
        record: u32,
        numbers: &Numbers,
        hop: NextHop,
        reason: Reason,
    ) -> Verdict {
        let preamble = &self.flows.annex(record).preamble;
        if preamble.is_foreign(numbers) {
            return Verdict::drop(Reason::ProxyUnplaced);
        }
        let packet = write::cut_old(it.frame, it.packet, preamble.old(numbers));
        let mut it = InFlight { frame: &mut *it.frame, packet: &packet, ..*it };
        let Some(numbers) = Numbers::of(segment(&it)) else { return Verdict::drop(Reason::L4Truncated) };
        let passage = preamble.passage(&numbers, it.now.wrapping_millis());
        let preamble = &mut self.flows.annex_mut(record).preamble;
        preamble.learn_from_client(&numbers, segment(&it));
        let preamble = *preamble;
        match passage {
            Passage::Unchanged => {}
            Passage::WithHeader => return self.send_with_header(&mut it, record, &numbers, hop),
            Passage::Twice => self.send_reset_ahead(&it, record, &preamble, hop),
            Passage::Ahead => write::move_ahead(segment_mut(&mut it), preamble.length()),
        }
        self.send_on(&mut it, record, Direction::Forward, hop, reason)
    }

    /// Sends the header, and with or behind it the client's segment.
    fn send_with_header(
        &mut self,
        it: &mut InFlight<'_, '_>,
        record: u32,
        numbers: &Numbers,
        hop: NextHop,
    ) -> Verdict {
        let (flow, addresses) = (*self.flows.flow(record), *self.flows.addresses(record));
        let header = header(&flow.key(&addresses, Direction::Forward));
        let fits = self.fits_with_header(it, record, numbers, hop);
        if !fits {
            self.send_behind_header(it, (&flow, &addresses), hop);
        }
        let together = match fits {
            true => write::insert(it.frame, it.packet, header.bytes()),
            false => write::replace_payload(it.frame, it.packet, header.bytes()),
        };
        let Some(together) = together else { return Verdict::drop(Reason::FrameOversize) };
        let macs = (self.egress(hop.interface).mac, hop.mac);
        if let Err(reason) = self.rewrite(it.frame, &together, (&flow, &addresses), Direction::Forward, macs)
        {
            return Verdict::drop(reason);
        }
        self.note_header(record, numbers, it.now);
        // The client's bytes alone are its traffic.
        self.counters.count_segment(&flow, Direction::Forward, it.packet.total_length, it.packet.tcp_flags);
        self.tally(record, Direction::Forward, it.packet.total_length);
        Verdict::to(Reason::ProxyHeader, hop.interface.0)
    }

    /// Whether a client's segment and the header may leave in one packet. What has gone so in vain may be too long for a link on the
    /// way, or for the target's window.
    fn fits_with_header(&self, it: &InFlight<'_, '_>, record: u32, numbers: &Numbers, hop: NextHop) -> bool {
        let preamble = &self.flows.annex(record).preamble;
        let (flow, addresses) = (self.flows.flow(record), self.flows.addresses(record));
        let length = preamble.length() as usize;
        let Some(total_length) = it.packet.total_length.checked_add(length as u16) else { return false };
        let longer = Packet { total_length, ..*it.packet };
        let is_bare = numbers.data == 0;
        let is_first = !preamble.is_sent() && numbers.flags & URG == 0;
        let fits_segment = numbers.options + numbers.data + length <= usize::from(preamble.segment_size);
        is_bare
            || is_first
                && fits_segment
                && self.excess(&longer, (flow, addresses), Direction::Forward, hop) == 0
    }

    /// Has a client's segment follow the header in a frame of its own. Where that cannot be, the client sends it again.
    fn send_behind_header(&mut self, it: &InFlight<'_, '_>, flow: (&Flow, &Addresses), hop: NextHop) {
        if self.excess(it.packet, flow, Direction::Forward, hop) > 0 {
            return;
        }
        let (packet, macs) = (it.packet, (self.egress(hop.interface).mac, hop.mac));
        self.make(it.frame, |this, copy| {
            this.rewrite(copy, packet, flow, Direction::Forward, macs).ok()?;
            Some(Verdict::to(Reason::BehindHeader, hop.interface.0))
        });
    }

    /// Sends a client's reset also under the number that its target expects if it has not got the header.
    fn send_reset_ahead(&mut self, it: &InFlight<'_, '_>, record: u32, preamble: &Preamble, hop: NextHop) {
        let flow = (*self.flows.flow(record), *self.flows.addresses(record));
        let (packet, macs) = (it.packet, (self.egress(hop.interface).mac, hop.mac));
        self.make(it.frame, |this, copy| {
            write::move_ahead(&mut copy.bytes_mut()[usize::from(packet.l4)..packet.end()], preamble.length());
            this.rewrite(copy, packet, (&flow.0, &flow.1), Direction::Forward, macs).ok()?;
            Some(Verdict::to(Reason::ResetBeforeHeader, hop.interface.0))
        });
    }

    /// Notes that the header is sent. One without data is repeated from here.
    fn note_header(&mut self, record: u32, numbers: &Numbers, now: Instant) {
        let preamble = &mut self.flows.annex_mut(record).preamble;
        let is_first = !preamble.is_sent();
        preamble.mark_sent(now.wrapping_millis());
        let initial = preamble.initial;
        if is_first && numbers.data == 0 && numbers.flags & FIN == 0 {
            self.await_acknowledgement(Unheard { record, initial, due: now, intervals: 0 });
        }
    }

    /// Gives a target's segment the numbers that the client knows. With the acknowledgement of the header the phase is over.
    fn tell_client_of_target(&mut self, it: &mut InFlight<'_, '_>, record: u32, numbers: &Numbers) {
        let flow = self.flows.flow(record);
        let shift = if flow.is_shifted() { flow.sequence_shift() } else { 0 };
        let numbers = Numbers { sequence: numbers.sequence.wrapping_add(shift), ..*numbers };
        let preamble = &mut self.flows.annex_mut(record).preamble;
        preamble.learn_from_target(&numbers, segment(it));
        if numbers.flags & ACK == 0 {
            return;
        }
        let told = preamble.told(numbers.acknowledgement);
        let is_over = preamble.is_over(&numbers);
        write::tell(segment_mut(it), preamble, &told);
        if is_over {
            self.flows.flow_mut(record).end_preamble();
        }
    }

    fn await_acknowledgement(&mut self, unheard: Unheard) {
        // Of more than these, a target that repeats its SYN has the client's acknowledgement repeat the header.
        if self.unheard.len() < limits::HEADERS_REPEATED {
            let due = unheard.due.after_millis(INTERVAL_MS);
            self.unheard.push_back(Unheard { due, intervals: unheard.intervals + 1, ..unheard });
        }
    }

    /// Repeats the headers that are due.
    #[inline]
    pub(super) fn repeat_headers(&mut self, now: Instant) {
        while let Some(due) = self.unheard.front().copied().filter(|first| first.due <= now) {
            self.unheard.pop_front();
            self.repeat_header(&due, now);
        }
    }

    /// Repeats a header after 1, 2, 4 intervals and so on, for as long as a target has to answer a SYN.
    #[cold]
    fn repeat_header(&mut self, due: &Unheard, now: Instant) {
        let (flow, preamble) = (*self.flows.flow(due.record), self.flows.annex(due.record).preamble);
        let is_same = flow.has_preamble() && !flow.state().is_over() && preamble.initial == due.initial;
        if !is_same || due.intervals >= INTERVALS {
            return;
        }
        // Else its client's acknowledgement brings it.
        if due.intervals.is_power_of_two()
            && preamble.is_all_acknowledged()
            && let Some(hop) = flow.hop(Direction::Forward)
        {
            self.make_header(due.record, hop, Reason::HeaderRepeated);
        }
        self.await_acknowledgement(Unheard { due: now, ..*due });
    }

    /// Makes a segment with the header alone, as if the client had acknowledged once more what it acknowledged last.
    fn make_header(&mut self, record: u32, hop: NextHop, reason: Reason) {
        let (flow, addresses) = (*self.flows.flow(record), *self.flows.addresses(record));
        let (key, preamble) = (flow.key(&addresses, Direction::Forward), self.flows.annex(record).preamble);
        let (options, length) = preamble.options();
        let acknowledgement = Segment {
            source: (key.source(), key.source_port()),
            destination: (key.destination(), key.destination_port()),
            sequence: preamble.first(),
            acknowledgement: preamble.target_next,
            flags: ACK,
            window: preamble.window,
            options: &options[..length],
        };
        let macs = (self.egress(hop.interface).mac, hop.mac);
        self.make_new(|this, frame| {
            let packet = acknowledgement.write(frame, macs.0, macs.1).then(|| parse(frame.bytes()))?.ok()?;
            let packet = write::insert(frame, &packet, header(&key).bytes())?;
            this.rewrite(frame, &packet, (&flow, &addresses), Direction::Forward, macs).ok()?;
            Some(Verdict::to(reason, hop.interface.0))
        });
    }
}

/// When the PROXY header goes to the connections of a target, if it does.
pub(super) fn header_placement(tables: &Tables, target: TargetId) -> Option<HeaderPlacement> {
    tables.group(tables.target(target)?.group)?.proxy_header
}

/// Bytes of the header that goes with a flow's datagrams of this direction; its client has this address.
pub(super) fn header_of_datagrams(flow: &Flow, direction: Direction, client: IpAddr) -> u32 {
    match flow.heads_datagrams() && direction == Direction::Forward {
        true if client.is_ipv6() => proxy::IPV6_LENGTH as u32,
        true => proxy::IPV4_LENGTH as u32,
        false => 0,
    }
}

/// The sequence number of a TCP segment; 0 of any other packet.
pub(super) fn sequence(it: &InFlight<'_, '_>) -> u32 {
    Numbers::of(segment(it)).filter(|_| !it.packet.is_udp()).map_or(0, |numbers| numbers.sequence)
}

/// The header of a flow, by the key of its client's packets.
pub(super) fn header(key: &FlowKey) -> Header {
    let protocol = Protocol::from_number(key.protocol()).unwrap_or(Protocol::Tcp);
    let client = (key.source(), u16::from_be_bytes(key.source_port()));
    Header::proxied(protocol, client, (key.destination(), u16::from_be_bytes(key.destination_port())))
}

fn segment<'f>(it: &'f InFlight<'_, '_>) -> &'f [u8] {
    &it.frame.bytes()[usize::from(it.packet.l4)..it.packet.end()]
}

pub(super) fn segment_mut<'f>(it: &'f mut InFlight<'_, '_>) -> &'f mut [u8] {
    &mut it.frame.bytes_mut()[usize::from(it.packet.l4)..it.packet.end()]
}

/// Between looks at a header that was not acknowledged, in milliseconds.
const INTERVAL_MS: u64 = 250;
/// As many of these as a target has time to answer a SYN.
const INTERVALS: u8 = (limits::HALF_OPEN_S as u64 * 1_000 / INTERVAL_MS) as u8;
