//! Workers without a kernel: they are the engine's, with hand-overs, but their rings lie in ordinary memory, and whoever runs
//! them plays the network devices, in each worker's own thread. For benches.

use std::{io, ops::ControlFlow, os::fd::OwnedFd, sync::Arc};

use lb_core::{
    counters::WorkerCounters,
    datapath::Settings,
    tables::{InterfaceId, Tables},
};

pub use crate::worker::WorkerError;
use crate::{
    engine::Polling,
    handoff, plan,
    ring::{self, Consumer, Producer},
    sys::{self, Wakeup},
    umem::{HEADROOM_BYTES, Umem},
    worker::{self, Assignment, Port, Shared},
    xsk::{RingSizes, Rings, Socket},
};

/// The workers of one load balancer, each with a socket on every interface.
#[derive(Clone, Debug)]
pub struct CrewSettings {
    /// The core of each worker.
    pub cpus: Vec<usize>,
    /// Number of interfaces.
    pub interfaces: u8,
    /// UMEM frames of each worker, in chunks of 2,048 bytes.
    pub frames_per_worker: u32,
    /// Flows that each worker's table can hold.
    pub flow_capacity: u32,
    /// What the packet paths are told; the worker's number and that of all workers are set for each.
    pub datapath: Settings,
}

/// A worker that does not run yet.
pub struct Recruit {
    assignment: Assignment,
    kernel: Vec<KernelEnd>,
}

/// The kernel's end of one socket's rings.
pub struct KernelEnd {
    fill: Consumer<u64>,
    completion: Producer<u64>,
    rx: Producer<libc::xdp_desc>,
    tx: Consumer<libc::xdp_desc>,
    umem: Arc<Umem>,
    interface: InterfaceId,
}

/// The cores that this thread may use, ascending.
pub fn cores() -> io::Result<Vec<usize>> {
    sys::allowed_cores()
}

/// Makes the workers, with ring sizes as the engine has them.
pub fn muster(settings: &CrewSettings) -> io::Result<Vec<Recruit>> {
    let workers = settings.cpus.len();
    let umems = (0..workers)
        .map(|_| Umem::allocate(settings.frames_per_worker, CHUNK_BYTES).map(Arc::new))
        .collect::<io::Result<Vec<_>>>()?;
    let shared = (0..workers).map(|_| Shared::new().map(Arc::new)).collect::<io::Result<Vec<_>>>()?;
    let ways = handoff::ways(&umems, plan::handoff_frames(settings.frames_per_worker, workers));
    let mut recruits = Vec::with_capacity(workers);
    for (number, ((umem, ways), &cpu)) in umems.into_iter().zip(ways).zip(&settings.cpus).enumerate() {
        let (ports, kernel) = sockets(settings, &umem)?;
        let assignment = Assignment {
            cpu,
            polling: Polling::Busy,
            umem,
            ports,
            exits: (0..usize::from(settings.interfaces)).collect(),
            outboxes: ways.outboxes,
            inboxes: ways.inboxes,
            workers: shared.clone(),
            // Nobody gives commands, drops old tables or looks for next hops.
            commands: crossbeam_channel::never(),
            retired: crossbeam_channel::unbounded().0,
            wanted_hops: crossbeam_channel::bounded(1).0,
            flow_capacity: settings.flow_capacity,
            settings: Settings { worker: number as u8, workers: workers as u8, ..settings.datapath.clone() },
            counters: Arc::new(WorkerCounters::new()),
        };
        recruits.push(Recruit { assignment, kernel });
    }
    Ok(recruits)
}

impl Recruit {
    /// What the worker counts.
    pub fn counters(&self) -> Arc<WorkerCounters> {
        self.assignment.counters.clone()
    }

    /// Runs the worker in this thread. Before each of its turns, `play` plays the kernel for its sockets, by `InterfaceId`,
    /// until it breaks.
    pub fn run(
        self,
        tables: Arc<Tables>,
        mut play: impl FnMut(&mut [KernelEnd]) -> ControlFlow<()>,
    ) -> Result<(), WorkerError> {
        let Recruit { assignment, mut kernel } = self;
        let shared = assignment.workers[usize::from(assignment.settings.worker)].clone();
        let (ready, answer) = crossbeam_channel::bounded(1);
        worker::run(assignment, tables, ready, || {
            if play(&mut kernel).is_break() {
                shared.stop();
            }
        });
        answer.recv().unwrap_or(Ok(()))
    }
}

impl KernelEnd {
    /// Receives up to `most` frames, as many as the rings have room for: `write` puts each into its buffer and returns its
    /// length. Returns how many.
    #[inline]
    pub fn receive(&mut self, most: u32, mut write: impl FnMut(&mut [u8]) -> usize) -> usize {
        let most = self.rx.room(most);
        let count = self.fill.available(most);
        for _ in 0..count {
            let Some(chunk) = self.fill.pop() else { break };
            let start = chunk + u64::from(HEADROOM_BYTES);
            // SAFETY: the worker gave the chunk away on the fill ring, and gets it back on the rx ring, when this frame is gone.
            let frame = unsafe { self.umem.frame(start, CHUNK_BYTES - HEADROOM_BYTES, self.interface) };
            let len = frame.map_or(0, |mut frame| write(frame.bytes_mut()));
            let is_received = self.rx.push(libc::xdp_desc { addr: start, len: len as u32, options: 0 });
            debug_assert!(is_received, "there was room");
        }
        self.fill.release();
        self.rx.publish();
        count as usize
    }

    /// Sends frames that the worker wants sent, `most` at most: `read` sees each. Returns how many.
    #[inline]
    pub fn send(&mut self, most: u32, mut read: impl FnMut(&[u8])) -> usize {
        let count = self.completion.room(self.tx.available(most));
        for _ in 0..count {
            let Some(descriptor) = self.tx.pop() else { break };
            // SAFETY: the worker gave the chunk away on the tx ring, and gets it back on the completion ring, when this frame is
            // gone.
            let frame = unsafe { self.umem.frame(descriptor.addr, descriptor.len, self.interface) };
            if let Some(frame) = frame {
                read(frame.bytes());
            }
            let is_completed = self.completion.push(descriptor.addr);
            debug_assert!(is_completed, "there was room");
        }
        self.tx.release();
        self.completion.publish();
        count as usize
    }
}

/// One worker's sockets, one on each interface, and the kernel's ends of them.
fn sockets(settings: &CrewSettings, umem: &Arc<Umem>) -> io::Result<(Vec<Port>, Vec<KernelEnd>)> {
    let interfaces = usize::from(settings.interfaces);
    let sizes = plan::ring_sizes(settings.frames_per_worker, interfaces, interfaces);
    let sockets = (0..settings.interfaces)
        .map(|interface| socket(InterfaceId(interface), umem, sizes))
        .collect::<io::Result<Vec<_>>>()?;
    Ok(sockets.into_iter().unzip())
}

fn socket(interface: InterfaceId, umem: &Arc<Umem>, sizes: RingSizes) -> io::Result<(Port, KernelEnd)> {
    let (fill, taken_to_fill) = ring::plain(sizes.receive, 0);
    let (sent, completion) = ring::plain(sizes.completion, 0);
    let (received, rx) = ring::plain(sizes.receive, 0);
    let (tx, to_send) = ring::plain(sizes.transmit, 0);
    // A descriptor that is never ready: there are no interrupts.
    let socket = Socket::over(Rings { fill, completion, rx, tx }, OwnedFd::from(Wakeup::new()?));
    let port = Port::new(socket, (interface, 0), false);
    let kernel = KernelEnd {
        fill: taken_to_fill,
        completion: sent,
        rx: received,
        tx: to_send,
        umem: umem.clone(),
        interface,
    };
    Ok((port, kernel))
}

const CHUNK_BYTES: u32 = 2_048;
