//! Joins the stages: a burst of frames goes in, each comes out rewritten, with a verdict.
//!
//! ```text
//!   parse + hash + prefetch bucket  (whole burst)
//!   prefetch record                 (whole burst)
//!   per frame:  lookup --hit---> revalidate? -> TCP state -> rewrite
//!                  \---miss--> listener -> (hand over) -> select -> insert -> rewrite
//!                          \-> target   -> (hand over) -> find the listener again -> insert -> rewrite
//! ```
//!
//! A hit makes no decision: the flow carries its target and its rewrite. Nothing here allocates, and no frame is ever
//! refused without a reason. Called by the worker's loop, by `lbctl simulate`, by tests and benches.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use crate::{
    counters::{TrafficCounters, WorkerCounters},
    flow::{Direction, Flow, FlowKey, State},
    flow_table::{FlowMemory, FlowTable, Full},
    frame::Frame,
    hash::FlowHash,
    limits,
    listener::{Listener, ListenerId},
    parse::{Packet, parse},
    rewrite::{nat, reset},
    select,
    tables::{Endpoint, Interface, InterfaceId, Mac, NextHop, Tables},
    target::{FlowPolicy, TargetId},
    tcp,
    time::Instant,
    verdict::{Reason, Verdict},
    wire::{ethernet, l4::tcp::RST},
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
    /// Which frames are for us.
    pub mac_filter: MacFilter,
}

/// What a frame has to do with the configuration, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The listener that it came to, or whose flow it belongs to.
    pub listener: Option<ListenerId>,
    /// The target of its flow, or the one that selection names.
    pub target: Option<(IpAddr, u16)>,
}

/// One worker's packet path.
#[derive(Debug)]
pub struct Datapath<'m> {
    tables: Arc<Tables>,
    pipeline: Pipeline<'m>,
    parsed: [Result<Packet, Reason>; limits::BURST_FRAMES],
    hashes: [u64; limits::BURST_FRAMES],
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
    adopt_until: Instant,
    replies: ReplyBudget,
    wanted_hops: Vec<IpAddr>,
    expired_until: Option<Instant>,
}

/// One packet on its way through the stages.
struct InFlight<'f, 'b> {
    frame: &'f mut Frame<'b>,
    packet: Packet,
    arrival: Arrival,
    now: Instant,
}

/// What sending by an interface takes.
#[derive(Clone, Copy, Debug, Default)]
struct Egress {
    mac: Mac,
    mtu: u32,
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
            replies: ReplyBudget::default(),
            wanted_hops: Vec::with_capacity(limits::WANTED_HOPS),
            expired_until: None,
        };
        Datapath {
            tables,
            pipeline,
            parsed: [Err(Reason::EthernetTruncated); limits::BURST_FRAMES],
            hashes: [0; limits::BURST_FRAMES],
        }
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
        let parsed = &mut self.parsed[..frames.len()];
        let hashes = &mut self.hashes[..frames.len()];
        for ((frame, packet), hash) in frames.iter().zip(&mut *parsed).zip(&mut *hashes) {
            *packet = self.pipeline.parse(frame);
            if let Ok(packet) = packet {
                *hash = self.pipeline.flows.hash(&packet.key);
                self.pipeline.flows.prefetch_bucket(*hash);
            }
        }
        for (packet, &hash) in parsed.iter().zip(&*hashes) {
            if packet.is_ok() {
                self.pipeline.flows.prefetch_record(hash);
            }
        }
        for (((frame, packet), &hash), verdict) in frames.iter_mut().zip(parsed).zip(&*hashes).zip(verdicts) {
            *verdict = match packet {
                Ok(packet) => self.pipeline.process(
                    &self.tables,
                    hash,
                    InFlight { frame, packet: *packet, arrival, now },
                ),
                Err(reason) => Verdict::drop(*reason),
            };
        }
    }

    /// Swaps in new tables and returns the old ones, to be dropped off the packet path. Flows are checked against the new
    /// ones when their next packet comes.
    pub fn install(&mut self, tables: Arc<Tables>) -> Arc<Tables> {
        self.pipeline.egress = egress(tables.interfaces());
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

    /// Forgets flows whose time is over. Bounded work, in proportion to the time since the last call; call once per turn.
    pub fn expire(&mut self, now: Instant) {
        self.pipeline.expire(now);
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
        for flow in (cursor..end).map(|record| flows.flow(record)) {
            if flow.is_live() && !flow.is_expired(now_ms) {
                visit(FlowView::new(flow, now_ms));
            }
        }
        (end < flows.used_records()).then_some(end)
    }

    /// What a frame, as it was before it was processed, has to do with the configuration.
    pub fn explain(&self, frame: &[u8]) -> Explanation {
        match parse(frame) {
            Ok(packet) => self.pipeline.explain(&self.tables, &packet.key),
            Err(_) => Explanation::default(),
        }
    }
}

impl Pipeline<'_> {
    #[inline]
    fn parse(&self, frame: &Frame<'_>) -> Result<Packet, Reason> {
        let packet = parse(frame.bytes())?;
        let is_ours = self.mac_filter == MacFilter::AnyUnicast
            || frame.bytes()[ethernet::DESTINATION] == self.egress(frame.ingress).mac.0;
        if is_ours { Ok(packet) } else { Err(Reason::OtherMac) }
    }

    #[inline]
    fn process(&mut self, tables: &Tables, hash: u64, mut it: InFlight<'_, '_>) -> Verdict {
        if let Some((record, direction)) = self.flows.lookup(hash, &it.packet.key)
            && let Some(verdict) = self.hit(tables, &mut it, record, direction)
        {
            return verdict;
        }
        self.miss(tables, &mut it)
    }

    /// A packet of a flow in the table. `None` when the flow turns out to be over: then the packet is a miss.
    #[inline]
    fn hit(
        &mut self,
        tables: &Tables,
        it: &mut InFlight<'_, '_>,
        record: u32,
        direction: Direction,
    ) -> Option<Verdict> {
        let now_ms = it.now.wrapping_millis();
        if self.flows.flow(record).is_expired(now_ms) {
            self.counters.expired.add(1);
            self.forget(record);
            return None;
        }
        if self.flows.flow(record).generation != tables.generation()
            && self.revalidate(tables, record).is_none()
        {
            return None;
        }
        if !it.packet.is_udp() {
            let state = self.flows.flow(record).state();
            if direction == Direction::Forward && it.packet.is_syn() && state.is_over() {
                self.forget(record);
                return None;
            }
            if state == State::Cut {
                return Some(self.refuse_cut(it, record));
            }
            let next = tcp::next(state, direction, it.packet.tcp_flags);
            if next != state {
                self.advance(record, next, now_ms);
            }
        }
        let flow = self.flows.flow_mut(record);
        if tcp::prolongs(flow) {
            flow.last_seen_ms = now_ms;
        }
        let hop = match direction {
            Direction::Forward => {
                flow.set_client_hop(last_hop(it.frame));
                flow.target_hop()
            }
            Direction::Reverse => match flow.client_hop().or_else(|| tables.hop(client(flow))) {
                Some(hop) => hop,
                None => return Some(self.want_hop(record)),
            },
        };
        Some(self.forward(it, record, direction, hop, Reason::FlowHit))
    }

    /// Rewrites a packet of a flow in the table and counts it.
    #[inline]
    fn forward(
        &mut self,
        it: &mut InFlight<'_, '_>,
        record: u32,
        direction: Direction,
        hop: NextHop,
        reason: Reason,
    ) -> Verdict {
        let egress = self.egress(hop.interface);
        if u32::from(it.packet.total_length) > egress.mtu {
            return Verdict::drop(Reason::MtuExceeded);
        }
        let flow = self.flows.flow(record);
        nat::apply(it.frame.bytes_mut(), &it.packet, flow, direction, egress.mac, hop.mac);
        count_packet(&self.counters, flow, direction, it.packet.total_length);
        Verdict::to(reason, hop.interface.0)
    }

    /// Checks a flow against tables that it has not seen. `None` when that ended it.
    #[cold]
    fn revalidate(&mut self, tables: &Tables, record: u32) -> Option<()> {
        let flow = *self.flows.flow(record);
        let endpoint = flow.forward_key().destination_endpoint();
        let listener = tables
            .listener(ListenerId(flow.listener_id))
            .filter(|listener| Some(listener.endpoint) == endpoint);
        let target = tables.target(TargetId(flow.target_id)).filter(|target| {
            target.address == IpAddr::V4(Ipv4Addr::from(flow.target))
                && target.port.to_be_bytes() == flow.target_port
        });
        let is_udp = flow.state() == State::Udp;
        let policy = match target {
            Some(target) => target.flow_policy,
            None if is_udp => FlowPolicy::Cut,
            None => FlowPolicy::Keep, // Its deregistration is long over; what still flows may go on.
        };
        let Some(listener) = listener.filter(|_| !(is_udp && policy == FlowPolicy::Cut)) else {
            self.forget(record);
            return None;
        };
        if policy == FlowPolicy::Cut && flow.state() != State::Cut {
            self.counters.cut.add(1);
            self.flows.set_state(record, State::Cut);
        }
        let flow = self.flows.flow_mut(record);
        if let Some(hop) = target.and_then(|target| target.next_hop) {
            flow.set_target_hop(hop);
        }
        flow.idle_timeout_s = listener.idle_timeout_s;
        flow.timeout_s = tcp::timeout_s(flow.state(), flow.idle_timeout_s);
        flow.generation = tables.generation();
        Some(())
    }

    fn advance(&mut self, record: u32, state: State, now_ms: u32) {
        self.flows.set_state(record, state);
        self.publish_gauges();
        let flow = self.flows.flow_mut(record);
        flow.timeout_s = tcp::timeout_s(state, flow.idle_timeout_s);
        flow.last_seen_ms = now_ms;
    }

    /// A packet of no flow.
    fn miss(&mut self, tables: &Tables, it: &mut InFlight<'_, '_>) -> Verdict {
        let key = it.packet.key;
        if let Some(id) = key.destination_endpoint().and_then(|endpoint| tables.listener_at(&endpoint))
            && let Some(listener) = tables.listener(id)
        {
            if let Some(verdict) = self.hand_over(key.source, key.source_port, it.arrival) {
                return verdict;
            }
            return self.open(tables, (id, listener), it);
        }
        let rows = key.source_endpoint().map_or(&[][..], |endpoint| tables.listeners_of_target(&endpoint));
        if rows.is_empty() {
            return Verdict::drop(Reason::NoListener);
        }
        if let Some(verdict) = self.hand_over(key.destination, key.destination_port, it.arrival) {
            return verdict;
        }
        self.open_from_target(tables, rows, it)
    }

    /// To the worker that owns the flows of a client's address and port, if that is another.
    fn hand_over(&self, client: [u8; 4], port: [u8; 2], arrival: Arrival) -> Option<Verdict> {
        if self.workers == 1 || arrival == Arrival::HandedOver {
            return None;
        }
        let home = self.hash.home(client, port, self.workers);
        (home != self.worker).then_some(Verdict::to(Reason::HandedOver, home))
    }

    /// A client's packet of no flow: a new flow, or one that is adopted, or a reset.
    fn open(
        &mut self,
        tables: &Tables,
        (id, listener): (ListenerId, &Listener),
        it: &mut InFlight<'_, '_>,
    ) -> Verdict {
        let key = it.packet.key;
        if tables.is_vip(IpAddr::V4(Ipv4Addr::from(key.source))) {
            return Verdict::drop(Reason::OwnSource);
        }
        let (state, reason) = match () {
            () if it.packet.is_udp() => (State::Udp, Reason::FlowNew),
            () if it.packet.is_syn() => (State::HalfOpen, Reason::FlowNew),
            () if it.packet.has(RST) => return Verdict::drop(Reason::NoFlow),
            () if self.adopts_strays(it.now) => (State::Established, Reason::FlowAdopted),
            () => return self.reset(it, Reason::ResetNoFlow, Some(id)),
        };
        let mut is_empty = true;
        for target_id in select::candidates(tables, listener.group, &self.selection_secret, &key) {
            is_empty = false;
            let Some((target, hop)) = tables.target(target_id).map(|target| (target, target.next_hop)) else {
                continue;
            };
            let IpAddr::V4(address) = target.address else { continue };
            if address.octets() == key.source {
                continue; // Its own packet would come back to it from itself.
            }
            let mut flow = Flow::new(&key, (address.octets(), target.port.to_be_bytes()), state);
            if self.is_reverse_taken(&flow, it.now) {
                continue;
            }
            let Some(hop) = hop else {
                return Verdict::drop(Reason::NextHopUnresolved);
            };
            if u32::from(it.packet.total_length) > self.egress(hop.interface).mtu {
                return Verdict::drop(Reason::MtuExceeded);
            }
            flow.set_client_hop(last_hop(it.frame));
            flow.set_target_hop(hop);
            self.stamp(&mut flow, tables, (id, listener), target_id, it.now);
            return self.insert_and_forward(it, &flow, Direction::Forward, hop, reason);
        }
        match is_empty {
            true if it.packet.is_udp() => Verdict::drop(Reason::NoTarget),
            true => self.reset(it, Reason::ResetNoTarget, Some(id)),
            false => Verdict::drop(Reason::TupleCollision),
        }
    }

    /// A target's packet of no flow: the one listener whose selection leads to this target for this client is found
    /// again, when strays are adopted; else a reset.
    fn open_from_target(
        &mut self,
        tables: &Tables,
        rows: &[(Endpoint, ListenerId, TargetId)],
        it: &mut InFlight<'_, '_>,
    ) -> Verdict {
        let key = it.packet.key;
        let can_reset = !it.packet.is_udp() && !it.packet.has(RST);
        if !self.adopts_strays(it.now) {
            return match can_reset {
                true => self.reset(it, Reason::ResetNoFlow, None),
                false => Verdict::drop(Reason::NoFlow),
            };
        }
        let mut origins = rows.iter().filter_map(|&(_, id, target_id)| {
            let listener = tables.listener(id)?;
            let forward = forward_key(&key, &listener.endpoint)?;
            let selected = select::select(tables, listener.group, &self.selection_secret, &forward)?;
            (selected == target_id).then_some((id, listener, target_id, forward))
        });
        let (Some((id, listener, target_id, forward)), None) = (origins.next(), origins.next()) else {
            return Verdict::drop(Reason::NoFlow);
        };
        let state = match it.packet.is_udp() {
            true => State::Udp,
            false => tcp::next(State::Established, Direction::Reverse, it.packet.tcp_flags),
        };
        let mut flow = Flow::new(&forward, (key.source, key.source_port), state);
        let client = IpAddr::V4(Ipv4Addr::from(key.destination));
        let Some(hop) = tables.hop(client) else {
            self.want(client);
            return Verdict::drop(Reason::NextHopUnresolved);
        };
        if u32::from(it.packet.total_length) > self.egress(hop.interface).mtu {
            return Verdict::drop(Reason::MtuExceeded);
        }
        flow.set_client_hop(hop);
        flow.set_target_hop(last_hop(it.frame));
        self.stamp(&mut flow, tables, (id, listener), target_id, it.now);
        self.insert_and_forward(it, &flow, Direction::Reverse, hop, Reason::FlowAdopted)
    }

    /// Fills in what a new flow has from its listener, its target and the time.
    fn stamp(
        &self,
        flow: &mut Flow,
        tables: &Tables,
        (id, listener): (ListenerId, &Listener),
        target_id: TargetId,
        now: Instant,
    ) {
        flow.listener_id = id.0;
        flow.target_id = target_id.0;
        flow.generation = tables.generation();
        flow.idle_timeout_s = listener.idle_timeout_s;
        flow.timeout_s = tcp::timeout_s(flow.state(), listener.idle_timeout_s);
        flow.last_seen_ms = now.wrapping_millis();
    }

    /// Sends the packet that a new flow begins with. Without room for the flow, the packet goes all the same: selection
    /// finds the same target for the next ones, which are adopted until then.
    fn insert_and_forward(
        &mut self,
        it: &mut InFlight<'_, '_>,
        flow: &Flow,
        direction: Direction,
        hop: NextHop,
        reason: Reason,
    ) -> Verdict {
        match self.flows.insert(flow) {
            Ok((record, evicted)) => {
                if let Some(evicted) = evicted {
                    self.counters.half_open_evicted.add(1);
                    count_flow_end(&self.counters, &evicted);
                }
                count_flow_start(&self.counters, flow);
                self.publish_gauges();
                self.forward(it, record, direction, hop, reason)
            }
            Err(Full) => {
                let idle =
                    Instant::from_nanos(it.now.nanos() + u64::from(flow.idle_timeout_s) * 1_000_000_000);
                self.adopt_until = self.adopt_until.max(idle);
                let from = self.egress(hop.interface).mac;
                nat::apply(it.frame.bytes_mut(), &it.packet, flow, direction, from, hop.mac);
                count_packet(&self.counters, flow, direction, it.packet.total_length);
                Verdict::to(Reason::Stateless, hop.interface.0)
            }
        }
    }

    /// Whether another flow's replies look like this flow's would. One that is over makes way.
    fn is_reverse_taken(&mut self, flow: &Flow, now: Instant) -> bool {
        let key = flow.reverse_key();
        let Some((record, _)) = self.flows.lookup(self.flows.hash(&key), &key) else { return false };
        let other = self.flows.flow(record);
        let is_over = other.state().is_over() || other.is_expired(now.wrapping_millis());
        if is_over {
            self.forget(record);
        }
        !is_over
    }

    /// A packet of a flow that was cut with its target.
    #[cold]
    fn refuse_cut(&mut self, it: &mut InFlight<'_, '_>, record: u32) -> Verdict {
        let listener = ListenerId(self.flows.flow(record).listener_id);
        match it.packet.has(RST) {
            true => Verdict::drop(Reason::Terminated),
            false => self.reset(it, Reason::ResetTerminated, Some(listener)),
        }
    }

    /// Answers a TCP packet by a reset, towards where it came from.
    #[cold]
    fn reset(&mut self, it: &mut InFlight<'_, '_>, reason: Reason, listener: Option<ListenerId>) -> Verdict {
        if !self.replies.take(it.now) {
            return Verdict::drop(Reason::ReplyRateLimited);
        }
        if let Some(traffic) = listener.and_then(|id| self.counters.listeners.get(usize::from(id.0))) {
            traffic.resets.add(1);
        }
        let from = match self.mac_filter {
            MacFilter::Own => self.egress(it.frame.ingress).mac,
            MacFilter::AnyUnicast => own_mac(it.frame),
        };
        reset::apply(it.frame, &it.packet, from);
        Verdict::to(reason, it.frame.ingress.0)
    }

    fn adopts_strays(&self, now: Instant) -> bool {
        now < self.adopt_until
    }

    #[cold]
    fn want_hop(&mut self, record: u32) -> Verdict {
        let client = client(self.flows.flow(record));
        self.want(client);
        Verdict::drop(Reason::NextHopUnresolved)
    }

    fn want(&mut self, address: IpAddr) {
        if self.wanted_hops.len() < limits::WANTED_HOPS && !self.wanted_hops.contains(&address) {
            self.wanted_hops.push(address);
        }
    }

    fn forget(&mut self, record: u32) {
        count_flow_end(&self.counters, self.flows.flow(record));
        self.flows.remove(record);
        self.publish_gauges();
    }

    fn expire(&mut self, now: Instant) {
        let since_ns = now.nanos().saturating_sub(self.expired_until.get_or_insert(now).nanos());
        let round_ns = limits::EXPIRY_ROUND_MS * 1_000_000;
        let due = u128::from(since_ns) * u128::from(self.flows.used_records()) / u128::from(round_ns);
        if due == 0 {
            return;
        }
        self.expired_until = Some(now);
        let now_ms = now.wrapping_millis();
        for _ in 0..due.min(u128::from(limits::EXPIRY_RECORDS)) {
            if let Some(record) = self.flows.sweep(now_ms) {
                self.counters.expired.add(1);
                self.forget(record);
            }
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
            let target = (IpAddr::V4(Ipv4Addr::from(flow.target)), u16::from_be_bytes(flow.target_port));
            return Explanation { listener: Some(ListenerId(flow.listener_id)), target: Some(target) };
        }
        let listener = key.destination_endpoint().and_then(|endpoint| tables.listener_at(&endpoint));
        let group = listener.and_then(|id| tables.listener(id)).map(|listener| listener.group);
        let selected = group.and_then(|group| select::select(tables, group, &self.selection_secret, key));
        let target = selected.and_then(|id| tables.target(id)).map(|target| (target.address, target.port));
        Explanation { listener, target }
    }
}

/// Resets and other answers of the current second.
#[derive(Debug, Default)]
struct ReplyBudget {
    second: u64,
    sent: u32,
}

impl ReplyBudget {
    fn take(&mut self, now: Instant) -> bool {
        let second = now.nanos() / 1_000_000_000;
        if second != self.second {
            *self = ReplyBudget { second, sent: 0 };
        }
        self.sent += 1;
        self.sent <= limits::REPLIES_PER_SECOND
    }
}

/// Key of a client's packets to a listener, from the key of the target's reply.
fn forward_key(reply: &FlowKey, listener: &Endpoint) -> Option<FlowKey> {
    let IpAddr::V4(vip) = listener.address else { return None };
    Some(FlowKey {
        source: reply.destination,
        destination: vip.octets(),
        source_port: reply.destination_port,
        destination_port: listener.port.to_be_bytes(),
        protocol: reply.protocol,
        zero: [0; 3],
    })
}

/// The hop that a frame came from.
#[inline]
fn last_hop(frame: &Frame<'_>) -> NextHop {
    let mac = frame.bytes().get(ethernet::SOURCE).and_then(|mac| mac.try_into().ok()).unwrap_or([0; 6]);
    NextHop { interface: frame.ingress, mac: Mac(mac) }
}

/// The link address that a frame was sent to.
fn own_mac(frame: &Frame<'_>) -> Mac {
    Mac(frame.bytes().get(ethernet::DESTINATION).and_then(|mac| mac.try_into().ok()).unwrap_or([0; 6]))
}

fn client(flow: &Flow) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(flow.client))
}

fn egress(interfaces: &[Interface]) -> [Egress; limits::INTERFACES] {
    let mut egress = [Egress::default(); limits::INTERFACES];
    for (egress, interface) in egress.iter_mut().zip(interfaces) {
        *egress = Egress { mac: interface.mac, mtu: interface.mtu };
    }
    egress
}

/// The counters of a flow's listener and of its target.
#[inline]
fn traffic<'c>(
    counters: &'c WorkerCounters,
    flow: &Flow,
) -> impl Iterator<Item = &'c TrafficCounters> + use<'c> {
    let listener = counters.listeners.get(usize::from(flow.listener_id));
    let target = counters.targets.get(flow.target_id as usize);
    listener.into_iter().chain(target)
}

#[inline]
fn count_packet(counters: &WorkerCounters, flow: &Flow, direction: Direction, bytes: u16) {
    for traffic in traffic(counters, flow) {
        match direction {
            Direction::Forward => {
                traffic.packets_in.add(1);
                traffic.bytes_in.add(u64::from(bytes));
            }
            Direction::Reverse => {
                traffic.packets_out.add(1);
                traffic.bytes_out.add(u64::from(bytes));
            }
        }
    }
}

fn count_flow_start(counters: &WorkerCounters, flow: &Flow) {
    for traffic in traffic(counters, flow) {
        traffic.new_flows.add(1);
        traffic.active_flows.add(1);
    }
}

fn count_flow_end(counters: &WorkerCounters, flow: &Flow) {
    for traffic in traffic(counters, flow) {
        traffic.active_flows.sub(1);
    }
}
