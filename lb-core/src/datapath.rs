//! Joins the stages: a burst of frames goes in, each comes out rewritten, with a verdict.
//!
//! ```text
//!   parse + hash + prefetch bucket             (whole burst)
//!   candidate + prefetch record                (whole burst)
//!   of misses: listener + select + prefetch    (whole burst, if there are any)
//!   per frame:  the common packet of a flow -> rewrite
//!               the common first packet     -> insert -> rewrite
//!               any other:
//!                  lookup --hit---> revalidate? -> TCP state -> rewrite
//!                     \---miss--> listener -> (hand over) -> select -> source -> insert -> rewrite
//!                             \-> target   -> (hand over) -> find the listener again -> insert -> rewrite
//! ```
//!
//! The stages of the burst stand here, the short ways of common packets in `plain`, `plain_ipv6` and `open`. The ways of a
//! single packet: `hit`, `miss`, `choice` and `forward`, with `handshake` (which segments complete one), `home` (which worker owns a flow), `end` (how flows end), `flow_log` (who is told of that),
//! `source` and `clients` (ports of our own), `purge` (flows that are cut before their next packet), `cookie` (listeners with SYN cookies), `preamble`
//! (PROXY headers) and `stateless` (datagrams that a full table had no room for); `fragment` and `icmp` for what is no whole packet of a flow; `split` for packets that are cut up, `reply` for
//! answers of our own, `budget` for how many, `extra` for frames beside the burst's, `why` and `trace` for people's questions.
//!
//! A hit makes no decision: the flow carries its target and its rewrite. Nothing here allocates, and no frame is ever
//! refused without a reason. Called by the worker's loop, by `lbctl simulate`, by tests and benches.

mod audit;
mod begin_elsewhere;
mod budget;
mod choice;
mod clients;
mod cookie;
mod end;
mod extra;
mod flow_log;
mod forward;
mod fragment;
mod handshake;
mod hit;
mod home;
mod icmp;
mod miss;
mod open;
mod plain;
mod plain_ipv6;
mod preamble;
mod purge;
mod renew;
mod reply;
mod source;
mod split;
mod stateless;
mod trace;
mod why;

use std::{collections::VecDeque, net::IpAddr, num::NonZeroU32, sync::Arc};

use crate::{
    counters::WorkerCounters,
    flow::{Direction, State},
    flow_key::FlowKey,
    flow_log::EndedFlow,
    flow_table::{Candidate, FlowMemory, FlowTable},
    frame::Frame,
    hash::FlowHash,
    limits,
    listener::ListenerId,
    parse::{Packet, parse_into},
    rewrite::identification,
    select,
    tables::{Interface, InterfaceId, Mac, NextHop, Tables, TargetGroupId, TargetId},
    time::Instant,
    verdict::{Reason, Verdict},
    wire::ethernet,
};

use self::open::Opening;

pub use self::{
    choice::TranslationCause,
    trace::{Parties, key_of, later_piece},
    why::{FlowFate, Outlook, Prospect, Why},
};
pub use crate::flow::FlowView;

/// Where a burst came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A receive ring: counted as received; may be handed to the worker that owns the flow.
    Ring,
    /// Another worker, which found this one to own the flow.
    HandedOver,
}

/// Which link addresses a frame may be sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MacFilter {
    /// The receiving interface's own.
    #[default]
    Own,
    /// Any that names one station: for frames captured elsewhere.
    AnyUnicast,
}

/// What one worker's packet path is told at start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This worker's number, from 0.
    pub worker: u8,
    /// Number of workers.
    pub workers: u8,
    /// Key of the flow table's hash and of the choice of home worker: drawn at each start, equal in all workers.
    pub flow_hash_key: [u64; 16],
    /// Secret of target selection: lasting, equal on all nodes of a fleet.
    pub selection_secret: [u8; 16],
    /// Until when TCP packets of no flow are adopted instead of reset (after an unclean start).
    pub adopt_until: Option<Instant>,
    /// Most source ports of one client, over all workers, each of which gives out its share; `None`: no limit.
    pub ports_per_client: Option<u32>,
    /// Which frames are for us.
    pub mac_filter: MacFilter,
}

/// A frame that the packet path kept or made, beside those of the burst. Who carries out its verdict settles it as any other.
#[derive(Debug)]
pub struct Extra<'d> {
    /// The frame, from the Ethernet header on.
    pub bytes: &'d [u8],
    /// Interface that it came in by, or that the frame which it was made for came in by.
    pub ingress: InterfaceId,
    /// Its fate.
    pub verdict: Verdict,
}

/// What a frame has to do with the configuration, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The listener that it came to, or whose flow it belongs to.
    pub listener: Option<ListenerId>,
    /// The target of its flow, or the one that selection names.
    pub target: Option<(IpAddr, u16)>,
    /// The group that this target is registered with.
    pub target_group: Option<TargetGroupId>,
    /// What that target sees instead of the client, if its flow has such a source.
    pub source: Option<(IpAddr, u16)>,
}

/// One worker's packet path.
#[derive(Debug)]
pub struct Datapath<'m> {
    tables: Arc<Tables>,
    pipeline: Pipeline<'m>,
    slots: [Slot; limits::BURST_FRAMES],
}

/// What the stages of a burst hand on about one of its frames.
#[derive(Clone, Copy, Debug)]
struct Slot {
    packet: Packet,
    /// Whether there is a packet, and else why not.
    parsed: Result<(), Reason>,
    /// Of the packet's key.
    hash: u64,
    candidate: Candidate,
    /// Of a packet without a candidate; else of an earlier burst.
    opening: Option<Opening>,
}

impl Slot {
    const EMPTY: Slot =
        Slot { packet: Packet::EMPTY, parsed: Ok(()), hash: 0, candidate: Candidate::NONE, opening: None };

    /// Whether the packet's key is in no first bucket.
    fn is_miss(&self) -> bool {
        self.parsed.is_ok() && !self.candidate.is_some()
    }
}

/// What all frames of a burst have in common.
#[derive(Clone, Copy, Debug)]
struct Burst {
    arrival: Arrival,
    now: Instant,
    /// The same in wrapping milliseconds.
    now_ms: u32,
}

/// Everything that a burst changes.
#[derive(Debug)]
struct Pipeline<'m> {
    flows: FlowTable<'m>,
    counters: Arc<WorkerCounters>,
    hash: FlowHash,
    selection_secret: [u8; 16],
    mac_filter: MacFilter,
    worker: u8,
    workers: u8,
    egress: [Egress; limits::INTERFACES],
    /// Until when packets may be of flows from before an unclean start.
    adopt_until: Instant,
    /// Until when TCP packets may be of flows that the table had no room for.
    full_until: Instant,
    stateless: stateless::Stateless,
    budgets: budget::Budgets,
    extras: extra::Extras,
    flow_log: flow_log::FlowLog,
    fragments: fragment::Fragments,
    identifications: identification::Counters,
    cookies: cookie::Cookies,
    unanswered: VecDeque<cookie::Unanswered>,
    unheard: VecDeque<preamble::Unheard>,
    clients: Option<clients::Clients>,
    /// By target and protocol, when no source port was free, in wrapping milliseconds; 0 where one was.
    exhausted_ms: Box<[u32]>,
    wanted_hops: Vec<IpAddr>,
    expired_until: Option<Instant>,
    purge: purge::Purge,
}

/// One packet on its way through the stages.
struct InFlight<'f, 'b> {
    frame: &'f mut Frame<'b>,
    packet: &'f Packet,
    arrival: Arrival,
    now: Instant,
}

/// What sending by an interface takes.
#[derive(Clone, Copy, Debug, Default)]
struct Egress {
    mac: Mac,
    mtu: u32,
}

impl Egress {
    /// The Ethernet header of an IPv4 packet, but for its destination.
    #[inline(always)]
    fn sender(&self) -> [u8; 8] {
        let ([a, b, c, d, e, f], [high, low]) = (self.mac.0, ethernet::IPV4);
        [a, b, c, d, e, f, high, low]
    }
}

impl<'m> Datapath<'m> {
    /// A packet path without flows.
    pub fn new(
        settings: Settings,
        memory: FlowMemory<'m>,
        tables: Arc<Tables>,
        counters: Arc<WorkerCounters>,
    ) -> Datapath<'m> {
        let hash = FlowHash::new(&settings.flow_hash_key);
        let capacity = memory.capacity();
        let ports_per_client =
            settings.ports_per_client.map(|most| most.div_ceil(u32::from(settings.workers.max(1))));
        let pipeline = Pipeline {
            flows: FlowTable::new(memory, hash.clone()),
            counters,
            hash,
            selection_secret: settings.selection_secret,
            mac_filter: settings.mac_filter,
            worker: settings.worker,
            workers: settings.workers,
            egress: egress(tables.interfaces()),
            adopt_until: settings.adopt_until.unwrap_or_default(),
            full_until: Instant::default(),
            stateless: stateless::Stateless::new(),
            budgets: budget::Budgets::default(),
            extras: extra::Extras::new(),
            flow_log: flow_log::FlowLog::new(),
            fragments: fragment::Fragments::new(),
            identifications: identification::Counters::new(
                settings.worker,
                settings.workers,
                &settings.flow_hash_key,
            ),
            cookies: cookie::Cookies::new(&settings.flow_hash_key),
            unanswered: VecDeque::with_capacity(limits::SYNS_REPEATED),
            unheard: VecDeque::with_capacity(limits::HEADERS_REPEATED),
            clients: ports_per_client.map(|most| clients::Clients::new(most, capacity)),
            exhausted_ms: vec![0; limits::TARGETS * 2].into(),
            wanted_hops: Vec::with_capacity(limits::WANTED_HOPS),
            expired_until: None,
            purge: purge::Purge::default(),
        };
        Datapath { tables, pipeline, slots: [Slot::EMPTY; limits::BURST_FRAMES] }
    }

    /// Processes a burst of at most [`limits::BURST_FRAMES`] frames that all came at `now`: rewrites them in place and sets
    /// a verdict for each. Who carries out a verdict settles it with [`WorkerCounters::settle`] when the frame's fate is
    /// final, so that `received` equals the sum of all settled reasons but `HandedOver`.
    pub fn process_burst(
        &mut self,
        frames: &mut [Frame<'_>],
        arrival: Arrival,
        now: Instant,
        verdicts: &mut [Verdict],
    ) {
        debug_assert!(frames.len() <= limits::BURST_FRAMES && verdicts.len() >= frames.len());
        if arrival == Arrival::Ring {
            self.pipeline.counters.received.add(frames.len() as u64);
        }
        let Datapath { tables, pipeline, slots } = self;
        let slots = &mut slots[..frames.len()];
        let burst = Burst { arrival, now, now_ms: now.wrapping_millis() };
        pipeline.parse_all(frames, slots);
        let misses = pipeline.find_all(slots);
        if misses != 0 {
            pipeline.plan_openings(tables, slots, misses);
        }
        for ((frame, slot), verdict) in frames.iter_mut().zip(&*slots).zip(verdicts) {
            *verdict = match pipeline.forward_plain(tables.epoch(), &burst, frame, slot) {
                Some(verdict) => verdict,
                None => pipeline.process_other(tables, &burst, frame, slot),
            };
        }
    }

    /// Swaps in new tables and returns the old ones, to be dropped off the packet path. Flows are checked against the new
    /// ones when their next packet comes.
    pub fn install(&mut self, tables: Arc<Tables>) -> Arc<Tables> {
        self.pipeline.egress = egress(tables.interfaces());
        if tables.epoch() != self.tables.epoch() && tables.has_cuts() {
            self.pipeline.purge.begin(self.pipeline.flows.used_records());
        }
        std::mem::replace(&mut self.tables, tables)
    }

    /// The tables in use.
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// The worker's counters.
    pub fn counters(&self) -> &WorkerCounters {
        &self.pipeline.counters
    }

    /// Forgets flows whose time is over, and does what else is due: see [`Datapath::next_extra`]. Bounded work, in proportion to
    /// the time since the last call; call once per turn.
    pub fn expire(&mut self, now: Instant) {
        self.pipeline.expire(now);
        self.pipeline.repeat_syns(&self.tables, now);
        self.pipeline.repeat_headers(now);
        self.pipeline.purge(&self.tables, now);
    }

    /// Whether [`Datapath::expire`] has flows to cut: call it soon again.
    #[inline]
    pub fn is_purging(&self) -> bool {
        self.pipeline.purge.is_under_way()
    }

    /// Whether [`Datapath::next_extra`] has a frame.
    #[inline]
    pub fn has_extras(&self) -> bool {
        self.pipeline.extras.has_ready()
    }

    /// The next frame that was kept or made, to be copied and sent, handed over or dropped as its verdict says. Call until `None`
    /// after each burst and after [`Datapath::expire`].
    pub fn next_extra(&mut self) -> Option<Extra<'_>> {
        self.pipeline.extras.next()
    }

    /// Addresses whose next hop packets were dropped for want of, since the last call.
    pub fn take_wanted_hops(&mut self) -> impl Iterator<Item = IpAddr> {
        self.pipeline.wanted_hops.drain(..)
    }

    /// Whether [`Datapath::take_wanted_hops`] has anything to say.
    #[inline]
    pub fn wants_hops(&self) -> bool {
        !self.pipeline.wanted_hops.is_empty()
    }

    /// Has the flow log told of one flow in `sample` from now on, or of none. Flows that are open when that begins are not counted.
    pub fn log_flows(&mut self, sample: Option<NonZeroU32>, now: Instant) {
        self.pipeline.flow_log.switch(sample, now);
    }

    /// Whether [`Datapath::take_ended`] has anything to say.
    #[inline]
    pub fn has_ended(&self) -> bool {
        self.pipeline.flow_log.has_ended()
    }

    /// Flows that have ended since the last call, for the flow log. Call once per turn: what there is no room for is counted, and lost.
    pub fn take_ended(&mut self) -> impl Iterator<Item = EndedFlow> {
        self.pipeline.flow_log.take_ended()
    }

    /// Tells the flow log of the flows that live, because the daemon stops: from record number `cursor` on, as far as there is room.
    /// Returns the next cursor, or `None` after the last record.
    pub fn tell_stopped(&mut self, cursor: u32, now: Instant) -> Option<u32> {
        self.pipeline.tell_stopped(cursor, now.wrapping_millis())
    }

    /// Looks at up to `records` flow records from number `cursor` on and calls `visit` for each live flow among them.
    /// Returns the next cursor, or `None` after the last record.
    pub fn visit_flows(
        &self,
        cursor: u32,
        records: u32,
        now: Instant,
        mut visit: impl FnMut(FlowView),
    ) -> Option<u32> {
        let flows = &self.pipeline.flows;
        let end = cursor.saturating_add(records).min(flows.used_records());
        let now_ms = now.wrapping_millis();
        for record in cursor..end {
            let flow = flows.flow(record);
            if flow.is_live() && flow.state() != State::Resting && !flow.is_expired(now_ms) {
                visit(FlowView::new((self.pipeline.worker, flow, flows.addresses(record)), now_ms));
            }
        }
        (end < flows.used_records()).then_some(end)
    }

    /// What a frame, as it was before it was processed, has to do with the configuration.
    pub fn explain(&self, frame: &[u8]) -> Explanation {
        let key = key_of(frame);
        key.map_or_else(Explanation::default, |key| self.pipeline.explain(&self.tables, &key))
    }
}

impl Pipeline<'_> {
    /// First stage: every frame to a packet and its hash.
    #[inline(always)]
    fn parse_all(&self, frames: &[Frame<'_>], slots: &mut [Slot]) {
        for (frame, slot) in frames.iter().zip(slots) {
            slot.parsed = self.parse(frame, &mut slot.packet);
            if slot.parsed.is_ok() {
                slot.hash = self.flows.hash(&slot.packet.key);
                self.flows.prefetch_bucket(slot.hash);
            }
        }
    }

    #[inline(always)]
    fn parse(&self, frame: &Frame<'_>, packet: &mut Packet) -> Result<(), Reason> {
        let bytes = frame.bytes();
        parse_into(bytes, packet)?;
        if self.is_own_mac(bytes, frame.ingress) { Ok(()) } else { Err(Reason::OtherMac) }
    }

    /// Second stage: where each packet's flow is, most likely. Returns one bit for each packet without a flow.
    #[inline(always)]
    fn find_all(&self, slots: &mut [Slot]) -> u64 {
        let mut misses = 0;
        let has_tallies = self.flow_log.is_on();
        for (at, slot) in slots.iter_mut().enumerate() {
            slot.candidate = match slot.parsed {
                Ok(()) => self.flows.candidate(slot.hash),
                Err(_) => Candidate::NONE,
            };
            if slot.packet.key.is_ipv6() {
                self.flows.prefetch_addresses(slot.candidate);
            }
            if has_tallies {
                self.flows.prefetch_annex(slot.candidate);
            }
            misses |= u64::from(slot.is_miss()) << at;
        }
        misses
    }

    /// Third stage, of the packets without a flow.
    #[inline(never)]
    fn plan_openings(&self, tables: &Tables, slots: &mut [Slot], mut misses: u64) {
        while misses != 0 {
            if let Some(slot) = slots.get_mut(misses.trailing_zeros() as usize) {
                slot.opening = self.plan_opening(tables, &slot.packet);
            }
            misses &= misses - 1;
        }
    }

    #[inline]
    fn is_for_us(&self, frame: &Frame<'_>) -> bool {
        self.is_own_mac(frame.bytes(), frame.ingress)
    }

    #[inline(always)]
    fn is_own_mac(&self, bytes: &[u8], ingress: InterfaceId) -> bool {
        let own = self.egress.get(usize::from(ingress.0)).map(|egress| &egress.mac.0);
        bytes.first_chunk() == own || self.mac_filter == MacFilter::AnyUnicast
    }

    /// A frame that is not of the most common kind.
    #[inline(never)]
    fn process_other(
        &mut self,
        tables: &Tables,
        burst: &Burst,
        frame: &mut Frame<'_>,
        slot: &Slot,
    ) -> Verdict {
        let Burst { arrival, now, .. } = *burst;
        match slot.parsed {
            Ok(()) => {
                if slot.packet.key.is_ipv6()
                    && let Some(verdict) = self.forward_plain_ipv6(tables.epoch(), burst, frame, slot)
                {
                    return verdict;
                }
                let done = match slot.opening.as_ref().filter(|_| slot.is_miss()) {
                    Some(opening) => self.open_plain(tables, burst, frame, slot, opening),
                    None => self.forward_step(tables, burst, frame, slot),
                };
                done.unwrap_or_else(|| {
                    self.process(tables, slot.hash, InFlight { frame, packet: &slot.packet, arrival, now })
                })
            }
            Err(Reason::IcmpNoFlow) => {
                let packet = &Packet::EMPTY;
                self.icmp(tables, &mut InFlight { frame, packet, arrival, now })
            }
            Err(Reason::Fragment) => self.fragment(tables, frame, arrival, now),
            Err(Reason::SourceRoute) => self.refuse_route(tables, burst, frame),
            Err(reason) => Verdict::drop(reason),
        }
    }

    #[inline(never)]
    fn process(&mut self, tables: &Tables, hash: u64, mut it: InFlight<'_, '_>) -> Verdict {
        let is_last_hop = it.packet.ttl == 1;
        if !is_last_hop && let Some((record, direction)) = self.flows.lookup(hash, &it.packet.key) {
            if let Some(verdict) = self.hit(tables, &mut it, record, direction) {
                return verdict;
            }
            self.end_rest(tables, hash, &it);
        }
        if tables.is_own(it.packet.key.source()) {
            return Verdict::drop(Reason::OwnSource); // Not sooner: no flow has such a source.
        }
        match is_last_hop {
            true => self.time_exceeded(tables, hash, &mut it),
            false => self.miss(tables, &mut it),
        }
    }

    /// A flow that is over rests under the key of its target's packets. Where a listener has come to the port of its source since,
    /// the target is that listener's client, whose flow gets the key.
    #[cold]
    fn end_rest(&mut self, tables: &Tables, hash: u64, it: &InFlight<'_, '_>) {
        let key = &it.packet.key;
        let is_for_listener =
            key.destination_endpoint().is_some_and(|endpoint| tables.listener_at(&endpoint).is_some());
        if is_for_listener && let Some((record, _)) = self.flows.lookup(hash, key) {
            self.forget(record, it.now.wrapping_millis());
        }
    }

    fn want(&mut self, address: IpAddr) {
        if self.wanted_hops.len() < limits::WANTED_HOPS && !self.wanted_hops.contains(&address) {
            self.wanted_hops.push(address);
        }
    }

    fn publish_gauges(&self) {
        self.counters.flows.set(u64::from(self.flows.len()));
        self.counters.half_open.set(u64::from(self.flows.half_open()));
    }

    #[inline]
    fn egress(&self, interface: InterfaceId) -> Egress {
        self.egress.get(usize::from(interface.0)).copied().unwrap_or_default()
    }

    fn explain(&self, tables: &Tables, key: &FlowKey) -> Explanation {
        if let Some((record, _)) = self.flows.lookup(self.flows.hash(key), key) {
            let flow = self.flows.flow(record);
            let reply = self.flows.key(record, Direction::Reverse);
            let end = |address, port: [u8; 2]| Some((address, u16::from_be_bytes(port)));
            let source = end(reply.destination(), reply.destination_port());
            return Explanation {
                listener: Some(ListenerId(flow.listener_id)),
                target: end(reply.source(), reply.source_port()),
                target_group: tables.target(TargetId(flow.target_id.into())).map(|target| target.group),
                source: source.filter(|_| flow.is_source_translated()),
            };
        }
        let listener = key.destination_endpoint().and_then(|endpoint| tables.listener_at(&endpoint));
        let selected = listener.and_then(|id| select::select(tables, id, &self.selection_secret, key));
        let target = selected.and_then(|id| tables.target(id));
        Explanation {
            listener,
            target: target.map(|target| (target.address, target.port)),
            target_group: target.map(|target| target.group),
            source: None,
        }
    }
}

/// The hop that a frame came from.
#[inline]
fn last_hop(frame: &Frame<'_>) -> NextHop {
    let mac = frame.bytes().get(ethernet::SOURCE).and_then(|mac| mac.try_into().ok()).unwrap_or([0; 6]);
    NextHop { interface: frame.ingress, mac: Mac(mac) }
}

fn egress(interfaces: &[Interface]) -> [Egress; limits::INTERFACES] {
    let mut egress = [Egress::default(); limits::INTERFACES];
    for (egress, interface) in egress.iter_mut().zip(interfaces) {
        *egress = Egress { mac: interface.mac, mtu: interface.mtu };
    }
    egress
}

#[cfg(test)]
mod tests;
