//! A worker: one thread, pinned to one core, that runs frames from its sockets to completion.
//!
//! A turn takes a burst from every socket and from the frames that other workers hand over, lets the datapath decide, and
//! puts each frame on a tx ring, into another worker's hands or back on the free list. Each burst is sent before the next is
//! taken, and none is taken that the tx rings have no room for: it waits on its rx ring. At the end of a turn frames that
//! were sent are taken back and fill rings refilled. The worker owns everything it touches: new tables and questions come
//! through a channel, which it looks at only when `Shared::call` has been called.
//!
//! Invariant: every frame received or made is settled exactly once under a reason other than `HandedOver` and `FragmentHeld`, by
//! the last worker that had it.

mod flow_log;
mod idle;
mod note;
mod port;
mod shared;
mod trace;
mod traced;

use std::{net::IpAddr, os::fd::AsRawFd, sync::Arc, thread};

use crossbeam_channel::{Receiver, Sender};
use lb_core::{
    counters::WorkerCounters,
    datapath::{Datapath, Extra, Settings},
    flow_table::FlowMemory,
    frame::Frame,
    limits,
    tables::{InterfaceId, Tables},
    time::Instant,
    verdict::{Action, Reason, Verdict},
};

pub use self::{
    flow_log::FlowLogSink,
    note::{Glimpse, Note, Origin, TraceFilter, TraceQuery},
    shared::{Extent, FlowQuery, FlowsFound},
};
use self::{
    idle::{Idle, Rest},
    trace::{Seen, Tracing},
};
pub(crate) use self::{
    port::Port,
    shared::{Asker, Command, Shared},
    trace::{Following, Tracer},
};
use crate::{
    clock,
    engine::Polling,
    handoff::{Inbox, Outbox, Parcel},
    partial_checksum,
    sys::{self, Mapping},
    umem::{FreeFrames, HEADROOM_BYTES, Umem},
};

/// What a worker is given at start.
pub(crate) struct Assignment {
    /// The core it runs on.
    pub(crate) cpu: usize,
    /// What it does while there is no traffic.
    pub(crate) polling: Polling,
    /// Memory of its frames.
    pub(crate) umem: Arc<Umem>,
    /// Its sockets.
    pub(crate) ports: Vec<Port>,
    /// Index in `ports` of the socket to send by, for each `InterfaceId`.
    pub(crate) exits: Vec<usize>,
    /// Ways to the other workers, by their number; `None` for itself.
    pub(crate) outboxes: Vec<Option<Outbox>>,
    /// Ways from the other workers.
    pub(crate) inboxes: Vec<Inbox>,
    /// What each worker shares with the others, by number.
    pub(crate) workers: Vec<Arc<Shared>>,
    /// What the engine asks for.
    pub(crate) commands: Receiver<Command>,
    /// Tables that are no longer in use, for the engine to drop.
    pub(crate) retired: Sender<Arc<Tables>>,
    /// Addresses whose next hop it wants.
    pub(crate) wanted_hops: Sender<IpAddr>,
    /// Flows that its table can hold.
    pub(crate) flow_capacity: u32,
    /// What its datapath is told.
    pub(crate) settings: Settings,
    /// What it counts.
    pub(crate) counters: Arc<WorkerCounters>,
}

/// Why a worker cannot run.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It cannot run on its core.
    #[error("cannot pin worker {worker} to core {cpu}: {source}")]
    Core {
        /// The worker.
        worker: u8,
        /// The core.
        cpu: usize,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// There is no memory for its flow table.
    #[error("cannot get {bytes} bytes for the flow table of worker {worker}: {source}")]
    FlowMemory {
        /// The worker.
        worker: u8,
        /// Bytes wanted.
        bytes: usize,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

/// Runs a worker until it is stopped. Says by `ready` that its fill rings are full and traffic may come, or why it cannot
/// run. Before each turn it calls `play_kernel`, for whoever runs it without a kernel. Returns what others may still hand over
/// to it, for the engine to settle.
pub(crate) fn run(
    assignment: Assignment,
    tables: Arc<Tables>,
    ready: Sender<Result<(), WorkerError>>,
    mut play_kernel: impl FnMut(),
) -> Vec<Inbox> {
    let worker = assignment.settings.worker;
    let bytes = FlowMemory::bytes_for(assignment.flow_capacity);
    let memory = sys::pin_to_core(assignment.cpu)
        .map_err(|source| WorkerError::Core { worker, cpu: assignment.cpu, source })
        .and_then(|()| {
            Mapping::anonymous(bytes).map_err(|source| WorkerError::FlowMemory { worker, bytes, source })
        });
    let mut memory = match memory {
        Ok(memory) => memory,
        Err(error) => {
            let _ = ready.send(Err(error));
            return assignment.inboxes;
        }
    };
    let flows = FlowMemory::new(memory.bytes_mut(), assignment.flow_capacity)
        .expect("the mapping has the size asked for, and pages are aligned");
    let umem = assignment.umem.clone();
    let mut worker = Worker::new(assignment, &umem, flows, tables);
    worker.service();
    let _ = ready.send(Ok(()));
    // Whoever waits must not wait for this worker any longer.
    drop(ready);
    while !worker.shared.bell.is_stopped() {
        play_kernel();
        worker.turn();
        worker.rest();
    }
    worker.tell_stopped();
    worker.inboxes
}

struct Worker<'u, 'm> {
    datapath: Datapath<'m>,
    ports: Vec<Port>,
    exits: Vec<usize>,
    outboxes: Vec<Option<Outbox>>,
    inboxes: Vec<Inbox>,
    /// The inbox that is looked at first in the next turn.
    first_inbox: usize,
    /// Workers that were handed frames in this turn, one bit each.
    handed_to: u64,
    workers: Vec<Arc<Shared>>,
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    retired: Sender<Arc<Tables>>,
    wanted_hops: Sender<IpAddr>,
    flow_log: Option<FlowLogSink>,
    questions: Vec<Question>,
    /// While somebody follows frames.
    tracing: Option<Box<Tracing>>,
    /// Its number.
    number: u8,
    umem: &'u Umem,
    free: FreeFrames,
    /// The burst, and beside it where each frame lies in the UMEM.
    frames: Vec<Frame<'u>>,
    places: Vec<Parcel>,
    verdicts: [Verdict; limits::BURST_FRAMES],
    /// When this turn began.
    now: Instant,
    /// Whether this turn moved frames.
    is_busy: bool,
    idle: Idle,
    /// Its wake-up, then its sockets.
    descriptors: Vec<libc::pollfd>,
}

/// A question that is being answered, some records each turn.
struct Question {
    query: FlowQuery,
    asker: Asker<FlowsFound>,
    cursor: u32,
    found: FlowsFound,
}

impl<'u, 'm> Worker<'u, 'm> {
    fn new(
        assignment: Assignment,
        umem: &'u Umem,
        flows: FlowMemory<'m>,
        tables: Arc<Tables>,
    ) -> Worker<'u, 'm> {
        let Assignment {
            ports,
            exits,
            outboxes,
            inboxes,
            workers,
            commands,
            retired,
            wanted_hops,
            polling,
            ..
        } = assignment;
        let number = assignment.settings.worker;
        let shared = workers[usize::from(number)].clone();
        shared.apply_generation(tables.generation());
        let sockets = ports.iter().map(|port| port.socket.as_raw_fd());
        let descriptors =
            std::iter::once(shared.wakeup.as_raw_fd()).chain(sockets).map(sys::poll_input).collect();
        let now = clock::now();
        Worker {
            datapath: Datapath::new(assignment.settings, flows, tables, assignment.counters),
            ports,
            exits,
            outboxes,
            inboxes,
            first_inbox: 0,
            handed_to: 0,
            workers,
            shared,
            commands,
            retired,
            wanted_hops,
            flow_log: None,
            questions: Vec::new(),
            tracing: None,
            number,
            free: umem.free_frames(),
            umem,
            frames: Vec::with_capacity(limits::BURST_FRAMES),
            places: Vec::with_capacity(limits::BURST_FRAMES),
            verdicts: [Verdict::drop(Reason::NoListener); limits::BURST_FRAMES],
            now,
            is_busy: false,
            idle: Idle::new(polling, now),
            descriptors,
        }
    }

    /// One iteration of the loop.
    fn turn(&mut self) {
        self.begin();
        if self.shared.bell.take_call() {
            self.obey();
        }
        let mut moved = 0;
        for port in 0..self.ports.len() {
            moved += self.receive(port);
        }
        moved += self.receive_handed_over();
        self.datapath.expire(self.now);
        if self.datapath.has_extras() {
            self.finish_extras();
        }
        if self.datapath.wants_hops() {
            self.ask_for_hops();
        }
        if self.datapath.has_ended() {
            self.tell_ended();
        }
        self.answer();
        if self.tracing.is_some() {
            self.prune_traces();
        }
        self.send();
        if moved > 0 || self.is_owed() {
            self.service();
        }
        self.wake_kernel();
        self.dispatch();
        self.is_busy = moved > 0;
        if self.is_busy {
            self.idle.end(self.now);
        }
    }

    /// Reads the clock and books the time since the last turn.
    fn begin(&mut self) {
        let before = std::mem::replace(&mut self.now, clock::now());
        let elapsed_ns = self.now.nanos().saturating_sub(before.nanos());
        let booked = if self.is_busy { &self.shared.busy_ns } else { &self.shared.idle_ns };
        booked.add(elapsed_ns);
        self.shared.turns.add(1);
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Install(tables) => {
                    let generation = tables.generation();
                    // The engine drops the old tables: freeing them is not a worker's business.
                    let _ = self.retired.send(self.datapath.install(tables));
                    self.shared.apply_generation(generation);
                }
                Command::Flows(query, asker) => {
                    self.questions.push(Question { query, asker, cursor: 0, found: FlowsFound::default() });
                }
                Command::LogFlows(sink) => self.log_flows(sink),
                Command::Why(key, asker) => {
                    let _ = asker.answer.try_send(self.datapath.why(&key, self.now));
                }
                Command::Trace(tracer) => match &mut self.tracing {
                    Some(tracing) => tracing.add(tracer),
                    None => self.tracing = Some(Box::new(Tracing::new(self.number, tracer))),
                },
            }
        }
    }

    /// Takes a burst from a socket, as far as the tx rings have room; returns the number of descriptors.
    fn receive(&mut self, port: usize) -> usize {
        if self.ports[port].socket.rx.available(1) == 0 {
            return 0;
        }
        let room = self.room();
        let port = &mut self.ports[port];
        let count = port.socket.rx.available(room);
        for _ in 0..count {
            let Some(descriptor) = port.socket.rx.pop() else { break };
            let goes_on = descriptor.options & libc::XDP_PKT_CONTD != 0;
            if goes_on || port.in_oversize {
                if !port.in_oversize {
                    self.datapath.counters().received.add(1);
                    self.datapath.counters().settle(Reason::FrameOversize);
                    if let Some(tracing) = &mut self.tracing {
                        // SAFETY: the kernel gave the chunk to us with the descriptor. It is given up below, after the frame is gone.
                        let first =
                            unsafe { self.umem.frame(descriptor.addr, descriptor.len, port.interface) };
                        let seen = first.as_ref().map(|frame| Seen::of(frame, Origin::Queue(port.queue)));
                        tracing.lose(&self.datapath, seen, Reason::FrameOversize, self.now);
                    }
                }
                self.free.give(self.umem.chunk_of(descriptor.addr));
                port.in_oversize = goes_on;
                continue;
            }
            let place = Parcel { start: descriptor.addr, len: descriptor.len, ingress: port.interface };
            // SAFETY: the kernel gave the chunk to us with the descriptor. It is given up in `finish`, after the frames are
            // gone.
            let Some(mut frame) = (unsafe { self.umem.frame(place.start, place.len, place.ingress) }) else {
                debug_assert!(false, "the kernel's descriptor is outside of the memory: {place:?}");
                continue;
            };
            if port.is_veth {
                partial_checksum::complete(frame.bytes_mut());
            }
            self.frames.push(frame);
            self.places.push(place);
        }
        port.socket.rx.release();
        let origin = Origin::Queue(port.queue);
        self.process(origin);
        count as usize
    }

    /// Takes what other workers hand over, as much as a burst for each port: peers that receive as much as this worker hand over
    /// no more. Returns the number of frames.
    fn receive_handed_over(&mut self) -> usize {
        (0..self.ports.len()).map(|_| self.receive_burst_handed_over()).take_while(|&count| count > 0).sum()
    }

    /// Takes a burst of what other workers hand over, as far as the tx rings have room; returns the number of frames.
    fn receive_burst_handed_over(&mut self) -> usize {
        let inboxes = self.inboxes.len();
        let room = if inboxes == 0 { 0 } else { self.room() as usize };
        for turn in 0..inboxes {
            let inbox = (self.first_inbox + turn) % inboxes;
            let most = room.saturating_sub(self.frames.len());
            for _ in 0..self.inboxes[inbox].prepare(most) {
                self.take_handed_over(inbox);
            }
            self.inboxes[inbox].release();
        }
        self.first_inbox = if inboxes == 0 { 0 } else { (self.first_inbox + 1) % inboxes };
        let count = self.frames.len();
        if count > 0 {
            self.process(Origin::Worker);
        }
        count
    }

    /// How many frames can be sent, whichever port they leave by.
    #[inline]
    fn room(&mut self) -> u32 {
        let now = self.now;
        self.ports.iter_mut().map(|port| port.room(now)).min().unwrap_or(0)
    }

    /// Copies one frame from another worker's memory.
    fn take_handed_over(&mut self, inbox: usize) {
        let Worker { inboxes, frames, places, umem, free, datapath, tracing, now, .. } = self;
        inboxes[inbox].take(|parcel, bytes| match copy_in(umem, free, bytes, parcel.ingress) {
            Some((place, frame)) => {
                frames.push(frame);
                places.push(place);
            }
            None => {
                datapath.counters().settle(Reason::HandoverFull);
                if let Some(tracing) = tracing {
                    let seen = Seen { bytes, ingress: parcel.ingress, origin: Origin::Worker };
                    tracing.lose(datapath, Some(seen), Reason::HandoverFull, *now);
                }
            }
        });
    }

    /// Lets the datapath decide about the burst, and gives every frame of it up.
    fn process(&mut self, origin: Origin) {
        if self.tracing.is_some() {
            return self.process_traced(origin);
        }
        let count = self.frames.len();
        let verdicts = &mut self.verdicts[..count];
        self.datapath.process_burst(&mut self.frames, origin.arrival(), self.now, verdicts);
        self.give_up_frames();
        for at in 0..count {
            self.finish(self.places[at], self.verdicts[at]);
        }
        self.end_burst();
    }

    /// Notes where the frames of the burst are now; only these places are left of them.
    #[inline]
    fn give_up_frames(&mut self) {
        for (place, frame) in self.places.iter_mut().zip(&self.frames) {
            place.start = self.umem.chunk_of(place.start) + frame.start() as u64;
            place.len = frame.len() as u32;
        }
        self.frames.clear();
    }

    /// What is to do once every frame of the burst is given up.
    #[inline]
    fn end_burst(&mut self) {
        self.places.clear();
        if self.datapath.has_extras() {
            self.finish_extras();
        }
        self.send();
    }

    /// Carries out what the datapath decided about the frames that it kept or made.
    fn finish_extras(&mut self) {
        while let Some(Extra { bytes, ingress, verdict }) = self.datapath.next_extra() {
            match copy_in(self.umem, &mut self.free, bytes, ingress) {
                Some((place, _)) if self.tracing.is_none() => drop(self.finish(place, verdict)),
                Some((place, frame)) => self.finish_extra_traced(place, frame, verdict),
                None => self.datapath.counters().settle(reason_of_loss(verdict.reason)),
            }
        }
    }

    /// Puts one frame where its verdict says, and counts it, under the reason that it returns.
    #[inline]
    fn finish(&mut self, place: Parcel, verdict: Verdict) -> Reason {
        let port = usize::from(verdict.port);
        let is_gone = match verdict.reason.action() {
            Action::Transmit | Action::Reply => {
                let exit = self.exits.get(port).and_then(|&port| self.ports.get_mut(port));
                exit.is_some_and(|port| port.push(place.start, place.len))
            }
            Action::HandOver => {
                let outbox = self.outboxes.get_mut(port).and_then(Option::as_mut);
                let is_sent = outbox.is_some_and(|outbox| outbox.send(place));
                self.handed_to |= u64::from(is_sent) << (port % limits::WORKERS);
                is_sent
            }
            // What is held has been copied. Only the XDP program can leave a frame to the kernel; here it can only be dropped.
            Action::Drop | Action::Hold | Action::Pass => false,
        };
        let reason = if is_gone { verdict.reason } else { reason_of_loss(verdict.reason) };
        self.datapath.counters().settle(reason);
        if !is_gone {
            self.free.give(self.umem.chunk_of(place.start));
        }
        reason
    }

    /// Passes on for which addresses packets were dropped for want of a next hop. What does not fit is asked for again by a
    /// later packet.
    #[cold]
    fn ask_for_hops(&mut self) {
        for address in self.datapath.take_wanted_hops() {
            let _ = self.wanted_hops.try_send(address);
        }
    }

    /// Goes on with the oldest question, some records further.
    fn answer(&mut self) {
        let Some(Question { query, asker, cursor, found }) = self.questions.first_mut() else { return };
        let next = self.datapath.visit_flows(*cursor, RECORDS_PER_TURN, self.now, |flow| {
            if found.has_room(query.extent) && (query.filter)(&flow) {
                found.add(flow, query.extent);
            }
        });
        found.is_complete = next.is_none() && found.has_room(query.extent);
        match next {
            Some(next) if found.has_room(query.extent) && self.now < asker.until => *cursor = next,
            _ => {
                let Question { asker, found, .. } = self.questions.remove(0);
                // Who does not wait any longer is told nothing.
                let _ = asker.answer.try_send(found);
            }
        }
    }

    /// Has the kernel send what was put on the tx rings, and what it has not taken yet.
    #[inline]
    fn send(&mut self) {
        self.ports.iter_mut().for_each(Port::send);
    }

    /// Whether frames are to come back, or to go to fill rings.
    #[inline]
    fn is_owed(&self) -> bool {
        self.ports.iter().any(Port::is_owed) || self.outboxes.iter().flatten().any(Outbox::is_owed)
    }

    /// Takes back frames that were sent or copied, and refills the fill rings.
    fn service(&mut self) {
        let Worker { outboxes, ports, free, umem, .. } = self;
        for outbox in outboxes.iter_mut().flatten() {
            outbox.reclaim(|start| free.give(umem.chunk_of(start)));
        }
        for port in ports {
            port.service(umem, free);
        }
    }

    /// Wakes the kernel where it waits for frames to receive into.
    #[inline]
    fn wake_kernel(&mut self) {
        for port in &mut self.ports {
            port.socket.wake_receiver();
        }
    }

    /// Shows other workers what they were handed, and wakes those that sleep.
    fn dispatch(&mut self) {
        while self.handed_to != 0 {
            let peer = self.handed_to.trailing_zeros() as usize;
            if let Some(outbox) = &mut self.outboxes[peer] {
                outbox.publish();
            }
            self.workers[peer].wake();
            self.handed_to &= self.handed_to - 1;
        }
    }

    /// What is done between turns: nothing after one that moved frames.
    fn rest(&mut self) {
        if self.is_busy || !self.questions.is_empty() || self.datapath.is_purging() {
            return;
        }
        match self.idle.rest(self.now) {
            Rest::Spin => std::hint::spin_loop(),
            Rest::Yield => thread::yield_now(),
            Rest::Sleep => self.sleep(),
        }
    }

    /// Sleeps until a socket has frames, somebody wakes us, or it is time to look at the flow table again.
    fn sleep(&mut self) {
        let Worker { shared, inboxes, ports, descriptors, .. } = self;
        let is_sending = ports.iter().any(Port::is_sending);
        shared.bell.rest(
            || inboxes.iter().any(Inbox::has_parcels),
            || {
                sys::poll(descriptors, if is_sending { SEND_RETRY_MS } else { SLEEP_MS });
                if descriptors[0].revents != 0 {
                    shared.wakeup.clear();
                }
            },
        );
    }
}

/// Copies a frame into a free chunk, behind the headroom. `None` when there is none, or when the frame does not fit.
fn copy_in<'u>(
    umem: &'u Umem,
    free: &mut FreeFrames,
    bytes: &[u8],
    ingress: InterfaceId,
) -> Option<(Parcel, Frame<'u>)> {
    let chunk = free.take()?;
    let place = Parcel { start: chunk + u64::from(HEADROOM_BYTES), len: bytes.len() as u32, ingress };
    // SAFETY: the chunk was free, so it is the worker's alone. It is given up in `Worker::finish`, after the frame is gone.
    let Some(mut frame) = (unsafe { umem.frame(place.start, place.len, ingress) }) else {
        free.give(chunk);
        return None;
    };
    frame.bytes_mut().copy_from_slice(bytes);
    Some((place, frame))
}

/// What a frame is counted under that cannot go where `reason` says.
fn reason_of_loss(reason: Reason) -> Reason {
    match reason.action() {
        Action::Transmit | Action::Reply => Reason::TxRingFull,
        Action::HandOver => Reason::HandoverFull,
        Action::Drop | Action::Hold | Action::Pass => reason,
    }
}

/// Longest sleep: expiry goes on without traffic.
const SLEEP_MS: i32 = 100;
/// Sleep while the kernel has not taken all frames to send.
const SEND_RETRY_MS: i32 = 1;
/// Flow records looked at in one turn for a question.
const RECORDS_PER_TURN: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_takes_a_chunk_or_leaves_all_as_it_was() {
        let umem = Umem::allocate(1, 2_048).unwrap();
        let mut free = umem.free_frames();
        assert!(copy_in(&umem, &mut free, &[0; 1_793], InterfaceId(3)).is_none(), "longer than a chunk");
        assert_eq!(free.count(), 1);
        let (place, frame) = copy_in(&umem, &mut free, &[0x5a; 1_792], InterfaceId(3)).unwrap();
        assert_eq!(place, Parcel { start: 256, len: 1_792, ingress: InterfaceId(3) });
        assert_eq!((frame.bytes(), frame.ingress), (&[0x5a; 1_792][..], InterfaceId(3)));
        assert!(copy_in(&umem, &mut free, &[0; 60], InterfaceId(3)).is_none(), "no chunk is free");
    }

    #[test]
    fn what_cannot_go_is_counted_as_a_drop() {
        for reason in Reason::ALL.iter().copied().filter(|reason| reason.action() != Action::Pass) {
            let lost = reason_of_loss(reason);
            assert!(lost == reason || lost.action() == Action::Drop, "{reason:?}");
            assert!(matches!(lost.action(), Action::Drop | Action::Hold), "{reason:?}");
        }
    }
}
