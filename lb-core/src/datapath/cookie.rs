//! Listeners with SYN cookies (RFC 4987 section 3.6): a SYN is answered here, from nothing but a secret, and only a client that
//! confirms the answer gets a flow and a connection to its target. What the client's SYN offered is written into the cookie.
//!
//! ```text
//!   client                     load balancer                     target
//!     SYN (c)            -->
//!                        <--   SYN-ACK (cookie), window 0
//!     ACK                -->   flow: Connecting   SYN (c)   -->
//!                                                           <--   SYN-ACK (s)
//!                        <--   window       |     ACK       -->
//!                              flow: Established, shifted by cookie - s
//! ```
//!
//! A SYN that the target does not answer is repeated every second, since the client believes to be connected and may wait for
//! the target to speak; after half a minute the client is reset.
//!
//! The client may not send before the target has answered, so nothing has to be kept for it. Timestamps are not offered: they
//! would have to be translated, too.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::{InFlight, Pipeline, last_hop, miss::Known, reply::has_right_checksum};
use crate::{
    flow::{Direction, Flow, State},
    flow_key::FlowKey,
    flow_log::CloseReason,
    frame::Frame,
    limits,
    listener::ListenerId,
    preamble::Numbers,
    rewrite::segment::Segment,
    select,
    tables::{Mac, NextHop, Tables},
    time::Instant,
    verdict::{Reason, Verdict},
    wire::{
        ipv4, ipv6,
        l4::tcp::{self, ACK, RST, SYN, option},
    },
};

/// Makes and checks cookies. All workers have the same secret, since they have the same hash key.
#[derive(Debug)]
pub(super) struct Cookies {
    secret: [u8; 16],
}

/// A SYN that its target has not answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unanswered {
    record: u32,
    /// The cookie and the client's initial sequence number: what tells that the record is still the same flow's.
    connecting: (u32, u32),
    due: Instant,
    sent: u8,
}

/// What a client's SYN offered, as far as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offer {
    /// Index into [`SEGMENT_SIZES`].
    segment_size: u8,
    /// Shift of the client's window, [`NO_SCALE`] when it offered none.
    window_scale: u8,
    has_sack: bool,
}

/// A client that has confirmed a cookie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Confirmed {
    cookie: u32,
    /// Its initial sequence number.
    initial: u32,
}

impl Cookies {
    pub(super) fn new(key: &[u64; 16]) -> Cookies {
        let mut hasher = SipHasher13::new_with_keys(key[0], key[15]);
        hasher.write(b"SYN cookies");
        let (low, high) = (hasher.finish(), {
            hasher.write_u8(1);
            hasher.finish()
        });
        let mut secret = [0; 16];
        secret[..8].copy_from_slice(&low.to_ne_bytes());
        secret[8..].copy_from_slice(&high.to_ne_bytes());
        Cookies { secret }
    }

    /// The initial sequence number that answers a SYN: a code for all that it depends on, and the offer.
    fn cookie(&self, key: &FlowKey, initial: u32, offer: Offer, period: u64) -> u32 {
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        match key {
            FlowKey::V4(key) => hasher.write(bytemuck::bytes_of(key)),
            FlowKey::V6(key) => hasher.write(bytemuck::bytes_of(key)),
        }
        hasher.write_u32(initial);
        hasher.write_u8(offer.bits());
        hasher.write_u64(period);
        (hasher.finish() as u32) << OFFER_BITS | u32::from(offer.bits())
    }

    /// Whether `cookie` is one that was made for this client within the last period or two.
    fn is_valid(&self, key: &FlowKey, initial: u32, cookie: u32, now: Instant) -> bool {
        let (offer, period) = (Offer::from_bits(cookie as u8), period(now));
        [period, period.wrapping_sub(1)]
            .iter()
            .any(|&period| self.cookie(key, initial, offer, period) == cookie)
    }
}

impl Offer {
    fn of(options: &[u8]) -> Offer {
        let mut offer = Offer { segment_size: UNSAID_SIZE, window_scale: NO_SCALE, has_sack: false };
        for (kind, value) in tcp::options(options) {
            match (kind, &options[value]) {
                (option::MAXIMUM_SEGMENT_SIZE, &[high, low]) => {
                    let size = u16::from_be_bytes([high, low]);
                    let fitting = SEGMENT_SIZES.iter().rposition(|&known| known <= size);
                    offer.segment_size = fitting.unwrap_or(0) as u8;
                }
                (option::WINDOW_SCALE, &[scale]) => offer.window_scale = scale.min(tcp::MOST_SCALE),
                (option::SACK_PERMITTED, &[]) => offer.has_sack = true,
                _ => {}
            }
        }
        offer
    }

    fn bits(self) -> u8 {
        self.segment_size << 5 | self.window_scale << 1 | u8::from(self.has_sack)
    }

    fn from_bits(bits: u8) -> Offer {
        Offer { segment_size: bits >> 5, window_scale: bits >> 1 & 0x0f, has_sack: bits & 1 != 0 }
    }

    fn has_scale(self) -> bool {
        self.window_scale != NO_SCALE
    }

    /// The offer as options: of `segment_size`, and of `window_scale` if the client offered any.
    fn options(self, segment_size: u16, window_scale: u8) -> ([u8; 12], usize) {
        let size = segment_size.to_be_bytes();
        let mut options = [option::NO_OPERATION; 12];
        options[..4].copy_from_slice(&[option::MAXIMUM_SEGMENT_SIZE, 4, size[0], size[1]]);
        let mut length = 4;
        if self.has_scale() {
            options[length + 1..length + 4].copy_from_slice(&[option::WINDOW_SCALE, 3, window_scale]);
            length += 4;
        }
        if self.has_sack {
            options[length + 2..length + 4].copy_from_slice(&[option::SACK_PERMITTED, 2]);
            length += 4;
        }
        (options, length)
    }
}

impl Pipeline<'_> {
    /// Answers a SYN by a cookie. Nothing is kept.
    pub(super) fn answer_by_cookie(
        &mut self,
        tables: &Tables,
        (id, listener): Known<'_>,
        it: &mut InFlight<'_, '_>,
    ) -> Verdict {
        if !has_right_checksum(it) {
            return Verdict::drop(Reason::TcpChecksum);
        }
        let start = select::start(tables, &listener.forward, &self.selection_secret, &it.packet.key);
        if start.is_none_or(|start| start.pool.eligible.is_empty()) {
            return self.refuse(it, id, Reason::NoTarget);
        }
        let key = it.packet.key;
        let (initial, _, options) = numbers(it);
        let offer = Offer::of(options);
        let cookie = self.cookies.cookie(&key, initial, offer, period(it.now));
        let (options, length) = offer.options(self.segment_size(tables, &key), WINDOW_SCALE);
        let answer = Segment {
            source: (key.destination(), key.destination_port()),
            destination: (key.source(), key.source_port()),
            sequence: cookie,
            acknowledgement: initial.wrapping_add(1),
            flags: SYN | ACK,
            window: 0,
            options: &options[..length],
        };
        let hop = last_hop(it.frame);
        write(it.frame, &answer, (self.own_mac(it.frame), hop), Reason::SynCookie)
    }

    /// The client of a packet of no flow, if the packet confirms a cookie.
    pub(super) fn confirmed(&self, it: &InFlight<'_, '_>) -> Option<Confirmed> {
        let (sequence, acknowledgement, _) = numbers(it);
        if !it.packet.has(ACK) {
            return None;
        }
        let cookie = acknowledgement.wrapping_sub(1);
        // A probe of the window of 0 repeats the number before its first.
        let initial = [sequence.wrapping_sub(1), sequence]
            .into_iter()
            .find(|&initial| self.cookies.is_valid(&it.packet.key, initial, cookie, it.now))?;
        Some(Confirmed { cookie, initial })
    }

    /// Opens the flow of a confirmed client; its packet becomes the SYN to the target.
    pub(super) fn connect(
        &mut self,
        tables: &Tables,
        known: Known<'_>,
        it: &mut InFlight<'_, '_>,
        Confirmed { cookie, initial }: Confirmed,
    ) -> Verdict {
        if !has_right_checksum(it) {
            return Verdict::drop(Reason::TcpChecksum);
        }
        let choice = match self.choose(tables, known, &it.packet.key, it.now) {
            Ok(choice) => choice,
            Err(reason) => return self.refuse(it, known.0, reason),
        };
        let mut new = self.new_flow(tables, known, it, &choice, State::Connecting);
        new.flow.set_connecting(cookie, initial);
        match self.insert(&new, self.flows.hashes(&new), it.now) {
            Ok(record) => {
                if new.flow.has_preamble() {
                    self.begin_preamble(tables, record, initial);
                }
                self.await_answer(record, (cookie, initial), it.now, 1);
                self.write_syn(tables, it.frame, record)
            }
            Err(_) => Verdict::drop(Reason::FlowTableFull),
        }
    }

    /// A packet of a flow that waits for its target.
    pub(super) fn connecting(
        &mut self,
        tables: &Tables,
        it: &mut InFlight<'_, '_>,
        record: u32,
        direction: Direction,
    ) -> Verdict {
        if !has_right_checksum(it) {
            return Verdict::drop(Reason::TcpChecksum);
        }
        let (sequence, acknowledgement, _) = numbers(it);
        let (_, initial) = self.flows.flow(record).connecting();
        let is_answer = acknowledgement == self.initial_at_target(record).wrapping_add(1);
        match direction {
            // The client may not have sent anything, and has no other number (RFC 5961 section 3.2).
            Direction::Forward if it.packet.has(RST) && sequence != initial.wrapping_add(1) => {
                Verdict::drop(Reason::Connecting)
            }
            Direction::Forward if it.packet.has(RST) => {
                self.forget_for(record, CloseReason::ClientReset, it.now.wrapping_millis());
                Verdict::drop(Reason::NoFlow)
            }
            // The SYN, or the target's answer, was lost, or the client is in a hurry.
            Direction::Forward => self.write_syn(tables, it.frame, record),
            Direction::Reverse if it.packet.has(RST | ACK) && is_answer => self.refused(it, record),
            Direction::Reverse if it.packet.has(SYN | ACK) && is_answer => self.connected(tables, it, record),
            Direction::Reverse => Verdict::drop(Reason::Connecting),
        }
    }

    fn await_answer(&mut self, record: u32, connecting: (u32, u32), now: Instant, sent: u8) {
        // Of more than these, the client's packets alone repeat the SYN.
        if self.unanswered.len() < limits::SYNS_REPEATED {
            self.unanswered.push_back(Unanswered { record, connecting, due: now.after_seconds(1), sent });
        }
    }

    /// Repeats the SYNs that are due, and gives up those that were sent too often.
    #[inline]
    pub(super) fn repeat_syns(&mut self, tables: &Tables, now: Instant) {
        while let Some(due) = self.unanswered.front().copied().filter(|first| first.due <= now) {
            self.unanswered.pop_front();
            self.repeat_syn(tables, &due, now);
        }
    }

    #[cold]
    fn repeat_syn(&mut self, tables: &Tables, due: &Unanswered, now: Instant) {
        let flow = *self.flows.flow(due.record);
        if flow.state() != State::Connecting || flow.connecting() != due.connecting {
            return;
        }
        if due.sent < SYNS {
            self.counters.count_repeated_syn(&flow);
            self.make_new(|this, frame| Some(this.write_syn(tables, frame, due.record)));
            return self.await_answer(due.record, due.connecting, now, due.sent + 1);
        }
        let (cookie, initial) = due.connecting;
        let first = (cookie.wrapping_add(1), initial.wrapping_add(1));
        if let Some((segment, hop)) = self.client_segment(&flow, due.record, towards_client(first, RST | ACK))
        {
            let from = self.egress(hop.interface).mac;
            self.make_new(|this, frame| {
                this.counters.count_own_reset(ListenerId(flow.listener_id));
                Some(write(frame, &segment, (from, hop), Reason::ResetUnanswered))
            });
        }
        self.forget(due.record, now.wrapping_millis());
    }

    /// Turns a frame into the SYN that the client has sent once.
    fn write_syn(&self, tables: &Tables, frame: &mut Frame<'_>, record: u32) -> Verdict {
        let flow = self.flows.flow(record);
        let Some(hop) = flow.hop(Direction::Forward) else {
            return Verdict::drop(Reason::NextHopUnresolved);
        };
        let (cookie, _) = flow.connecting();
        let offer = Offer::from_bits(cookie as u8);
        let out = flow.outward(self.flows.addresses(record), Direction::Forward);
        let size = SEGMENT_SIZES[usize::from(offer.segment_size)];
        let size = size.min(self.segment_size(tables, &self.flows.key(record, Direction::Forward)));
        let (options, length) = offer.options(size, offer.window_scale);
        let syn = Segment {
            source: (out.source, out.source_port),
            destination: (out.destination, out.destination_port),
            sequence: self.initial_at_target(record),
            acknowledgement: 0,
            flags: SYN,
            window: FIRST_WINDOW,
            options: &options[..length],
        };
        write(frame, &syn, (self.egress(hop.interface).mac, hop), Reason::SynToTarget)
    }

    /// The target's SYN-ACK becomes our acknowledgement of it; the client is told that it may send.
    fn connected(&mut self, tables: &Tables, it: &mut InFlight<'_, '_>, record: u32) -> Verdict {
        let (sequence, _, options) = numbers(it);
        let window = self.window_for_client(it, record);
        let first_at_target = self.initial_at_target(record).wrapping_add(1);
        let scale = Offer::of(options).window_scale;
        let flow = *self.flows.flow(record);
        let (cookie, initial) = flow.connecting();
        let offer = Offer::from_bits(cookie as u8);
        // The client scales its windows if it has offered to, but to the target only if that does, too.
        let (windows, client_scale) = match (offer.has_scale(), scale) {
            (false, _) => ([0, 0], 0),
            (true, NO_SCALE) => ([offer.window_scale as i8, -(WINDOW_SCALE as i8)], 0),
            (true, scale) => ([0, scale as i8 - WINDOW_SCALE as i8], offer.window_scale),
        };
        self.flows.flow_mut(record).set_shift(cookie.wrapping_sub(sequence), windows);
        let step = (State::Established, Direction::Reverse);
        self.advance(tables, record, step, it.now.wrapping_millis());

        let first = (cookie.wrapping_add(1), initial.wrapping_add(1));
        let window = if offer.has_scale() { (window >> WINDOW_SCALE).max(1) } else { window };
        self.tell_client(
            it,
            record,
            Segment { window, ..towards_client(first, ACK) },
            Reason::WindowToClient,
        );
        let Some(hop) = flow.hop(Direction::Forward) else {
            return Verdict::drop(Reason::NextHopUnresolved);
        };
        let out = flow.outward(self.flows.addresses(record), Direction::Forward);
        let acknowledgement = Segment {
            source: (out.source, out.source_port),
            destination: (out.destination, out.destination_port),
            sequence: first_at_target,
            acknowledgement: sequence.wrapping_add(1),
            flags: ACK,
            window: (FIRST_WINDOW_BYTES >> client_scale).max(1),
            options: &[],
        };
        if flow.has_preamble() {
            // What the client would say in its own numbers.
            let offered = if offer.has_scale() { offer.window_scale } else { 0 };
            let told = (first.0, (FIRST_WINDOW_BYTES >> offered).max(1));
            self.send_first_header(record, hop, told, it.now);
        }
        let from = self.egress(hop.interface).mac;
        write(it.frame, &acknowledgement, (from, hop), Reason::AckToTarget)
    }

    /// What the target of a flow that is connecting knows as the client's initial sequence number.
    fn initial_at_target(&self, record: u32) -> u32 {
        let flow = self.flows.flow(record);
        let (_, initial) = flow.connecting();
        match flow.has_preamble() {
            true => initial.wrapping_sub(self.flows.annex(record).preamble.length()),
            false => initial,
        }
    }

    /// The window of a target's answer, less the header that it is owed.
    fn window_for_client(&mut self, it: &InFlight<'_, '_>, record: u32) -> u16 {
        if !self.flows.flow(record).has_preamble() {
            return window(it);
        }
        let preamble = &mut self.flows.annex_mut(record).preamble;
        if let Some(numbers) = Numbers::of(header(it)) {
            preamble.learn_from_target(&numbers, header(it));
        }
        preamble.window(window(it), SYN, preamble.length())
    }

    /// The target refuses the connection: so does the VIP.
    fn refused(&mut self, it: &mut InFlight<'_, '_>, record: u32) -> Verdict {
        let flow = *self.flows.flow(record);
        let (cookie, initial) = flow.connecting();
        let first = (cookie.wrapping_add(1), initial.wrapping_add(1));
        let verdict = match self.client_segment(&flow, record, towards_client(first, RST | ACK)) {
            Some((segment, hop)) => {
                let from = self.egress(hop.interface).mac;
                self.counters.count_own_reset(ListenerId(flow.listener_id));
                write(it.frame, &segment, (from, hop), Reason::RefusedByTarget)
            }
            None => Verdict::drop(Reason::NextHopUnresolved),
        };
        self.forget_for(record, CloseReason::Refused, it.now.wrapping_millis());
        verdict
    }

    /// Makes a segment to the client, beside the target's packet.
    fn tell_client(&mut self, it: &InFlight<'_, '_>, record: u32, segment: Segment<'static>, reason: Reason) {
        let flow = *self.flows.flow(record);
        let Some((segment, hop)) = self.client_segment(&flow, record, segment) else { return };
        let from = self.egress(hop.interface).mac;
        self.make(it.frame, |_, frame| {
            segment.write(frame, from, hop.mac).then_some(Verdict::to(reason, hop.interface.0))
        });
    }

    /// A segment with the addresses and ports of the client's end, and the way there.
    fn client_segment(
        &self,
        flow: &Flow,
        record: u32,
        segment: Segment<'static>,
    ) -> Option<(Segment<'static>, NextHop)> {
        let out = flow.outward(self.flows.addresses(record), Direction::Reverse);
        let source = (out.source, out.source_port);
        let destination = (out.destination, out.destination_port);
        Some((Segment { source, destination, ..segment }, flow.hop(Direction::Reverse)?))
    }

    /// Largest segment that fits every interface and both families' headers.
    fn segment_size(&self, tables: &Tables, key: &FlowKey) -> u16 {
        let mtu =
            tables.interfaces().iter().map(|interface| interface.mtu).min().unwrap_or(ipv6::MINIMUM_MTU);
        let is_ipv4 =
            !key.is_ipv6() && !tables.targets().iter().flatten().any(|target| target.address.is_ipv6());
        let header = if is_ipv4 { ipv4::HEADER } else { ipv6::HEADER };
        u16::try_from(mtu.saturating_sub((header + tcp::HEADER) as u32))
            .unwrap_or(u16::MAX)
            .max(SEGMENT_SIZES[0])
    }
}

/// Turns a frame into a segment.
fn write(
    frame: &mut Frame<'_>,
    segment: &Segment<'_>,
    (from, hop): (Mac, NextHop),
    reason: Reason,
) -> Verdict {
    match segment.write(frame, from, hop.mac) {
        true => Verdict::to(reason, hop.interface.0),
        false => Verdict::drop(Reason::FrameOversize),
    }
}

/// A segment to the client with sequence and acknowledgement numbers; its addresses are filled in later.
fn towards_client((sequence, acknowledgement): (u32, u32), flags: u8) -> Segment<'static> {
    let nobody = (std::net::IpAddr::from([0; 4]), [0; 2]);
    Segment { source: nobody, destination: nobody, sequence, acknowledgement, flags, window: 0, options: &[] }
}

/// Sequence and acknowledgement number and options of a TCP segment.
pub(super) fn numbers<'f>(it: &'f InFlight<'_, '_>) -> (u32, u32, &'f [u8]) {
    let header = header(it);
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    (word(tcp::SEQUENCE.start), word(tcp::ACKNOWLEDGEMENT.start), &header[tcp::HEADER..])
}

fn window(it: &InFlight<'_, '_>) -> u16 {
    let header = header(it);
    u16::from_be_bytes([header[14], header[15]])
}

/// The TCP header with its options, which `parse` has found to be whole.
fn header<'f>(it: &'f InFlight<'_, '_>) -> &'f [u8] {
    let segment = &it.frame.bytes()[usize::from(it.packet.l4)..];
    &segment[..usize::from(segment[tcp::DATA_OFFSET] >> 4) * 4]
}

fn period(now: Instant) -> u64 {
    now.nanos() / PERIOD_NS
}

/// Segment sizes that a cookie can tell: those of common links, and one that nobody is too small for. A client's is never raised.
const SEGMENT_SIZES: [u16; 8] = [64, 536, 1_220, 1_360, 1_400, 1_440, 1_460, 8_940];
/// The index of what a client takes that offers no size (RFC 9293 section 3.7.1).
const UNSAID_SIZE: u8 = 1;
/// Bits of a cookie that hold the offer.
const OFFER_BITS: u32 = 8;
/// The client offered no window scale.
const NO_SCALE: u8 = 15;
/// Shift of windows that clients are told: what most targets use, so that few windows have to be shifted.
const WINDOW_SCALE: u8 = 7;
/// Window in the SYN to a target: the client's own is not known any more.
const FIRST_WINDOW: u16 = 0xffff;
/// Window in the acknowledgement to a target, until the client tells its own; smaller than any that clients begin with.
const FIRST_WINDOW_BYTES: u16 = 8_192;
/// A SYN to a target is sent this often, once a second, before the client is reset: the flow has 30 s (NLB's half-open timeout).
const SYNS: u8 = 29;
/// A cookie is valid for one to two of these.
const PERIOD_NS: u64 = 32_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u8) -> FlowKey {
        let end = |last: u8, port| (std::net::IpAddr::from([198, 18, 0, last]), [0, port]);
        FlowKey::new(end(1, port), end(2, 80), 6).unwrap()
    }

    #[test]
    fn a_cookie_is_valid_for_its_client_and_for_a_while() {
        let cookies = Cookies::new(&std::array::from_fn(|at| at as u64));
        let offer = Offer { segment_size: 6, window_scale: 9, has_sack: true };
        let at = |seconds: u64| Instant::from_millis(seconds * 1_000);
        let cookie = cookies.cookie(&key(1), 1_000, offer, period(at(40)));
        assert_eq!(Offer::from_bits(cookie as u8), offer);
        assert!(cookies.is_valid(&key(1), 1_000, cookie, at(40)));
        assert!(cookies.is_valid(&key(1), 1_000, cookie, at(95)));
        assert!(!cookies.is_valid(&key(1), 1_000, cookie, at(96)));
        assert!(!cookies.is_valid(&key(2), 1_000, cookie, at(40)));
        assert!(!cookies.is_valid(&key(1), 1_001, cookie, at(40)));
        assert!(!cookies.is_valid(&key(1), 1_000, cookie ^ 1, at(40)), "another offer");
    }

    #[test]
    fn an_offer_is_read_from_options_and_written_as_options() {
        let linux = [2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
        let offer = Offer::of(&linux);
        assert_eq!(offer, Offer { segment_size: 6, window_scale: 7, has_sack: true });
        let (options, length) = offer.options(1_460, 7);
        assert_eq!(Offer::of(&options[..length]), offer);
        assert_eq!(
            SEGMENT_SIZES[usize::from(Offer::of(&[2, 4, 1, 0]).segment_size)],
            64,
            "never more than offered"
        );
        for options in [&[][..], &[2, 3, 5], &[2, 0, 0, 0], &[0, 2, 4, 5, 0xb4], &[3, 3], &[1, 1]] {
            let poor = Offer { segment_size: UNSAID_SIZE, window_scale: NO_SCALE, has_sack: false };
            assert_eq!(Offer::of(options), poor, "{options:?}");
            assert_eq!(poor.options(536, 7).1, 4);
        }
    }
}
