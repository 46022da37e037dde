//! Starts and stops everything of the data path: locks, programs, sockets, workers.
//!
//! The order of a start is such that no packet of a load balancer ever meets the kernel: sockets are bound and maps filled
//! first, then workers fill their rings, and only then is the program attached, or takes the place of the one that an
//! earlier process left. A clean stop goes the other way. Dropping an engine without [`Engine::stop`] leaves the programs,
//! as a crash does: what is ours is dropped until the next start.

mod error;
mod questions;
mod traces;

use std::{
    collections::BTreeSet,
    io,
    net::IpAddr,
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Receiver, Sender};
use lb_core::{
    counters::WorkerCounters,
    datapath::{MacFilter, Settings},
    flow_table::FlowMemory,
    receive_hash::ReceiveHash,
    steer::Steering,
    tables::{Interface, InterfaceId, Tables},
    time::Instant,
    verdict::Reason,
};

pub use error::EngineError;
pub use questions::Answers;
pub use traces::{Missed, Trace, Waited};

pub use crate::{
    attach::AttachError,
    device::DeviceError,
    lock::LockError,
    plan::PlanError,
    program::ProgramError,
    status::{
        AttachMode, Attachment, DeviceChanges, FlowMemorySize, RingStatistics, SocketStatus, WorkerStatus,
    },
    worker::{
        Extent, FlowLogSink, FlowQuery, FlowsFound, Glimpse, Note, Origin, TraceFilter, TraceQuery,
        WorkerError,
    },
};
use crate::{
    attach::{self, Attached, Leftover},
    device::Device,
    handoff::{self, Inbox},
    lock::InterfaceLock,
    plan::{self, Plan, WorkerPlan},
    program::{Program, SteeringMaps},
    sys,
    umem::Umem,
    worker::{self, Assignment, Command, Port, Shared},
    xsk::{self, CopyMode, Memory, Socket},
};

/// How the data path is set up.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Names of interfaces; the place in this list is the `InterfaceId`.
    pub interfaces: Vec<String>,
    /// Number of workers; `None` for one per queue that every interface has, at most one per core.
    pub workers: Option<u8>,
    /// Cores that workers take in turn; empty for those that this process may use, from the first on.
    pub cpus: Vec<usize>,
    /// What a worker does while there is no traffic.
    pub polling: Polling,
    /// UMEM frames of each worker.
    pub frames_per_worker: u32,
    /// Flows that all workers together can hold; split evenly.
    pub flow_capacity: u32,
    /// Key of the flow tables' hash, drawn at each start.
    pub flow_hash_key: [u64; 16],
    /// Secret of target selection, lasting.
    pub selection_secret: [u8; 16],
    /// Until when TCP packets of no flow are adopted, by [`crate::clock`].
    pub adopt_until: Option<Instant>,
    /// Most source ports of one client; `None`: no limit.
    pub ports_per_client: Option<u32>,
    /// Directory of the files that keep two instances off one interface.
    pub lock_directory: PathBuf,
}

/// What a worker does while there is no traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polling {
    /// Never sleeps.
    Busy,
    /// Spins for a while, then sleeps until the kernel has frames.
    Adaptive,
    /// Sleeps at once.
    Interrupt,
}

/// The data path.
#[derive(Debug)]
pub struct Engine {
    /// Before the links: a worker's sockets go before the maps that name them.
    crew: Vec<Member>,
    links: Vec<Link>,
    maps: SteeringMaps,
    flow_capacity: u32,
    longest_frame: u32,
    retired: Receiver<Arc<Tables>>,
    wanted_hops: Receiver<IpAddr>,
    _locks: Vec<InterfaceLock>,
}

/// One interface.
#[derive(Debug)]
struct Link {
    device: Device,
    program: Program,
    leftover: Option<Leftover>,
    attached: Option<Attached>,
    /// The device is gone, and somebody has been told.
    is_lost: bool,
    /// How the device spread packets when it was last looked at; `device` says how it did at the start.
    receive_hash_seen: Option<Arc<ReceiveHash>>,
}

/// One worker, from outside.
struct Member {
    cpu: usize,
    shared: Arc<Shared>,
    counters: Arc<WorkerCounters>,
    commands: Sender<Command>,
    sockets: Vec<BoundSocket>,
    /// Until it is started.
    assignment: Option<Assignment>,
    /// From then on.
    thread: Option<JoinHandle<Vec<Inbox>>>,
    /// What was still on its way to it when it ended.
    leftovers: Vec<Inbox>,
}

/// One socket, from outside.
struct BoundSocket {
    link: usize,
    queue: u32,
    copy_mode: CopyMode,
    descriptor: Arc<OwnedFd>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("cpu", &self.cpu).field("thread", &self.thread).finish_non_exhaustive()
    }
}

impl Engine {
    /// Locks the interfaces, loads the XDP program and binds the sockets. No traffic is taken yet, and an error leaves nothing
    /// behind. Everything is done in the calling thread's network namespace, and workers will run there.
    pub fn prepare(settings: EngineSettings) -> Result<Engine, EngineError> {
        plan::check_interfaces(&settings.interfaces)?;
        let devices =
            settings.interfaces.iter().map(|name| Device::open(name)).collect::<Result<Vec<_>, _>>()?;
        let cores = sys::allowed_cores().map_err(EngineError::Thread)?;
        let plan = Plan::new(&settings, &devices, &cores)?;
        // Newer kernels account for this memory elsewhere, so not being allowed to raise the limit is no error.
        sys::raise_locked_memory_limit();
        let maps = SteeringMaps::create()?;
        let locks = devices
            .iter()
            .map(|device| InterfaceLock::acquire(&settings.lock_directory, device))
            .collect::<Result<Vec<_>, _>>()?;
        let links =
            devices.into_iter().map(|device| Link::new(device, &maps)).collect::<Result<Vec<_>, _>>()?;
        let (retire, retired) = crossbeam_channel::unbounded();
        let (want_hop, wanted_hops) = crossbeam_channel::bounded(WANTED_HOPS);
        let crew = muster(&settings, &plan, &links, &retire, &want_hop)?;
        Ok(Engine {
            crew,
            links,
            maps,
            flow_capacity: plan.flow_capacity,
            longest_frame: plan.longest_frame(),
            retired,
            wanted_hops,
            _locks: locks,
        })
    }

    /// The interfaces, by `InterfaceId`.
    pub fn interfaces(&self) -> Vec<Interface> {
        let interface = |link: &Link| Interface {
            name: link.device.name.as_str().into(),
            mac: link.device.mac,
            mtu: link.device.mtu,
            receive_hash: link.device.receive_hash.clone(),
        };
        self.links.iter().map(interface).collect()
    }

    /// The devices, by `InterfaceId`.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.links.iter().map(|link| &link.device)
    }

    /// Looks at the interfaces again: notes changed link addresses and MTUs, which interfaces are gone or were replaced, and
    /// which spread packets in another way.
    pub fn look_at_devices(&mut self) -> DeviceChanges {
        let mut changes = DeviceChanges::default();
        let mut are_usable = true;
        for link in &mut self.links {
            match Device::open(&link.device.name) {
                Ok(device) if device.index != link.device.index => changes.is_replaced = true,
                Ok(device) => {
                    link.is_lost = false;
                    changes.is_altered |= (device.mac, device.mtu) != (link.device.mac, link.device.mtu);
                    (link.device.mac, link.device.mtu) = (device.mac, device.mtu);
                    if link.is_rehashed(device.receive_hash) {
                        changes.rehashed.push(link.device.name.clone());
                    }
                }
                Err(error) => {
                    are_usable = false;
                    let is_missing = matches!(error, DeviceError::Missing(_));
                    if is_missing && !link.is_lost {
                        changes.lost.push(link.device.name.clone());
                    }
                    link.is_lost |= is_missing;
                }
            }
        }
        changes.is_replaced &= are_usable;
        changes
    }

    /// Fills the maps, starts the workers and attaches the programs. Called once; after an error, drop the engine.
    pub fn start(&mut self, tables: Arc<Tables>, steering: &Steering) -> Result<(), EngineError> {
        self.maps.apply(steering)?;
        let started = self.start_workers(&tables).and_then(|()| self.attach());
        if started.is_err() {
            self.detach_new();
            self.stop_workers();
        }
        started
    }

    /// Gives the workers new tables, which each takes between two bursts. Drops tables that no worker uses any more.
    pub fn publish(&self, tables: Arc<Tables>) {
        while self.retired.try_recv().is_ok() {}
        for member in &self.crew {
            member.tell(Command::Install(tables.clone()));
        }
    }

    /// Changes what the XDP program steers. After an error, a part of the change is in force; calling again goes on.
    pub fn steer(&mut self, steering: &Steering) -> Result<(), EngineError> {
        Ok(self.maps.apply(steering)?)
    }

    /// Has the workers tell of flows that end from now on, or nobody. Before the start: from the first flow on.
    pub fn log_flows(&self, sink: Option<&FlowLogSink>) {
        for member in &self.crew {
            member.tell(Command::LogFlows(sink.cloned()));
        }
    }

    /// Lowest generation of tables that a worker uses, 0 before the start.
    pub fn applied_generation(&self) -> u32 {
        self.crew.iter().map(|member| member.shared.generation()).min().unwrap_or(0)
    }

    /// Addresses for which packets were dropped because the tables have no next hop for them. The same address may come
    /// several times; what nobody takes is dropped and comes again.
    pub fn wanted_hops(&self) -> &Receiver<IpAddr> {
        &self.wanted_hops
    }

    /// What each worker does.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        self.crew
            .iter()
            .enumerate()
            .map(|(number, member)| self.worker_status(number as u8, member))
            .collect()
    }

    /// The first worker that ended though nobody stopped it: its queues' traffic is dropped from then on.
    pub fn lost_worker(&self) -> Option<u8> {
        let is_lost = |member: &Member| member.thread.is_some() && !member.is_running();
        self.crew.iter().position(is_lost).map(|number| number as u8)
    }

    /// How the programs are attached; empty before the start.
    pub fn attachments(&self) -> Vec<Attachment> {
        self.links.iter().filter_map(Link::attachment).collect()
    }

    /// Counters by worker.
    pub fn counters(&self) -> Vec<Arc<WorkerCounters>> {
        self.crew.iter().map(|member| member.counters.clone()).collect()
    }

    /// Whether workers share cores, because more were asked for than there are cores.
    pub fn shares_cores(&self) -> bool {
        let cores: BTreeSet<usize> = self.crew.iter().map(|member| member.cpu).collect();
        cores.len() < self.crew.len()
    }

    /// Longest frame that fits a buffer, in bytes from the Ethernet header on. The kernel drops longer ones, and counts them as
    /// `rx_dropped`.
    pub fn longest_frame(&self) -> u32 {
        self.longest_frame
    }

    /// Memory of the flow tables.
    pub fn flow_memory(&self) -> FlowMemorySize {
        FlowMemorySize {
            flows: u64::from(self.flow_capacity) * self.crew.len() as u64,
            bytes: FlowMemory::bytes_for_ipv4(self.flow_capacity) * self.crew.len(),
            most_bytes: FlowMemory::bytes_for(self.flow_capacity) * self.crew.len(),
        }
    }

    /// Stops: takes the programs off the interfaces, lets the workers finish what they have, closes the sockets.
    pub fn stop(mut self) -> Result<(), EngineError> {
        let detached: Vec<_> = self.links.iter_mut().map(Link::detach).collect();
        self.stop_workers();
        detached.into_iter().collect::<Result<(), _>>().map_err(EngineError::from)
    }

    /// Gives up a start that went wrong elsewhere: takes off the programs that it attached, but leaves one in place of an
    /// earlier run's leftover, which drops what is ours until somebody starts again.
    pub fn abandon(mut self) {
        self.detach_new();
        self.stop_workers();
    }

    fn start_workers(&mut self, tables: &Arc<Tables>) -> Result<(), EngineError> {
        let (ready, answers) = crossbeam_channel::bounded(self.crew.len());
        for (number, member) in self.crew.iter_mut().enumerate() {
            let Some(assignment) = member.assignment.take() else { continue };
            let (tables, ready) = (tables.clone(), ready.clone());
            let thread = thread::Builder::new()
                .name(format!("worker {number}"))
                .spawn(move || worker::run(assignment, tables, ready, || {}))
                .map_err(EngineError::Thread)?;
            member.thread = Some(thread);
        }
        drop(ready);
        for _ in &self.crew {
            match answers.recv() {
                Ok(answer) => answer?,
                Err(_) => return Err(EngineError::Thread(io::Error::other("a worker ended at once"))),
            }
        }
        Ok(())
    }

    fn attach(&mut self) -> Result<(), EngineError> {
        for (index, link) in self.links.iter_mut().enumerate() {
            let attached = attach::attach(&link.device, &link.program, link.leftover.as_ref())?;
            let refusal = attached.native_refusal.clone();
            link.attached = Some(attached);
            let sockets = self.crew.iter().flat_map(|member| &member.sockets);
            let has_zero_copy =
                { sockets }.any(|socket| socket.link == index && socket.copy_mode == CopyMode::ZeroCopy);
            if let Some(refusal) = refusal.filter(|_| has_zero_copy) {
                let interface = link.device.name.clone();
                return Err(EngineError::ZeroCopyWithoutNative { interface, refusal });
            }
        }
        Ok(())
    }

    /// Takes off the programs that a failed start attached. One in place of a leftover stays, as the leftover did.
    fn detach_new(&mut self) {
        for link in self.links.iter_mut().filter(|link| link.leftover.is_none()) {
            let _ = link.detach();
        }
    }

    fn stop_workers(&mut self) {
        for member in &self.crew {
            member.shared.stop();
        }
        for member in &mut self.crew {
            let Some(thread) = member.thread.take() else { continue };
            member.leftovers = thread.join().unwrap_or_default();
        }
        // Only now does nobody hand over any more.
        for member in &mut self.crew {
            for mut inbox in std::mem::take(&mut member.leftovers) {
                while inbox.take(|_, _| member.counters.settle(Reason::HandoverFull)) {}
            }
        }
    }

    fn worker_status(&self, number: u8, member: &Member) -> WorkerStatus {
        let socket_status = |socket: &BoundSocket| SocketStatus {
            interface: self.links[socket.link].device.name.clone(),
            queue: socket.queue,
            mode: mode_name(socket.copy_mode, self.links[socket.link].attached.as_ref()),
            statistics: xsk::statistics(&socket.descriptor),
        };
        WorkerStatus {
            worker: number,
            cpu: member.cpu,
            turns: member.shared.turns.value(),
            busy_ns: member.shared.busy_ns.value(),
            idle_ns: member.shared.idle_ns.value(),
            generation: member.shared.generation(),
            is_running: member.is_running(),
            sockets: member.sockets.iter().map(socket_status).collect(),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop_workers();
    }
}

impl Link {
    fn new(device: Device, maps: &SteeringMaps) -> Result<Link, EngineError> {
        let leftover = attach::inspect(&device)?;
        let program = Program::load(maps)?;
        let receive_hash_seen = device.receive_hash.clone();
        Ok(Link { device, program, leftover, attached: None, is_lost: false, receive_hash_seen })
    }

    /// Notes how the device spreads packets now: whether that has just come to differ from how it did at the start.
    fn is_rehashed(&mut self, receive_hash: Option<Arc<ReceiveHash>>) -> bool {
        let has_changed = receive_hash != self.receive_hash_seen;
        self.receive_hash_seen = receive_hash;
        has_changed && self.receive_hash_seen != self.device.receive_hash
    }

    fn attachment(&self) -> Option<Attachment> {
        let attached = self.attached.as_ref()?;
        Some(Attachment {
            interface: self.device.name.clone(),
            mode: attached.mode,
            adopted: self.leftover.is_some(),
            native_refusal: attached.native_refusal.clone(),
        })
    }

    fn detach(&mut self) -> Result<(), AttachError> {
        match self.attached.take() {
            Some(attached) => attach::detach(&self.device, &self.program, attached.mode),
            None => Ok(()),
        }
    }
}

impl Member {
    fn tell(&self, command: Command) {
        // A worker that has ended takes no commands, which `is_running` tells.
        let _ = self.commands.send(command);
        self.shared.call();
    }

    fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

/// Makes the workers, ready to start: memory, sockets, and the ways between them.
fn muster(
    settings: &EngineSettings,
    plan: &Plan,
    links: &[Link],
    retired: &Sender<Arc<Tables>>,
    wanted_hops: &Sender<IpAddr>,
) -> Result<Vec<Member>, EngineError> {
    let frames = settings.frames_per_worker;
    let umems = (0..plan.workers.len())
        .map(|_| Umem::allocate(frames, plan.chunk_bytes).map(Arc::new))
        .collect::<io::Result<Vec<_>>>()
        .map_err(|source| EngineError::FrameMemory { frames, source })?;
    let shared = (0..plan.workers.len())
        .map(|_| Shared::new().map(Arc::new))
        .collect::<io::Result<Vec<_>>>()
        .map_err(EngineError::Thread)?;
    let ways = handoff::ways(&umems, plan.handoff_frames);
    let mut crew = Vec::with_capacity(plan.workers.len());
    for (number, ((worker, umem), ways)) in plan.workers.iter().zip(umems).zip(ways).enumerate() {
        let (commands, told) = crossbeam_channel::unbounded();
        let counters = Arc::new(WorkerCounters::new());
        let (ports, sockets) = bind(worker, links, &umem)?;
        let assignment = Assignment {
            cpu: worker.cpu,
            polling: settings.polling,
            umem,
            ports,
            exits: exits(worker, links.len()),
            outboxes: ways.outboxes,
            inboxes: ways.inboxes,
            workers: shared.clone(),
            commands: told,
            retired: retired.clone(),
            wanted_hops: wanted_hops.clone(),
            flow_capacity: plan.flow_capacity,
            settings: Settings {
                worker: number as u8,
                workers: plan.workers.len() as u8,
                flow_hash_key: settings.flow_hash_key,
                selection_secret: settings.selection_secret,
                adopt_until: settings.adopt_until,
                ports_per_client: settings.ports_per_client,
                mac_filter: MacFilter::Own,
            },
            counters: counters.clone(),
        };
        crew.push(Member {
            cpu: worker.cpu,
            shared: shared[number].clone(),
            counters,
            commands,
            sockets,
            assignment: Some(assignment),
            thread: None,
            leftovers: Vec::new(),
        });
    }
    Ok(crew)
}

/// For each interface, the first of the worker's sockets on it.
fn exits(worker: &WorkerPlan, interfaces: usize) -> Vec<usize> {
    (0..interfaces)
        .filter_map(|interface| worker.sockets.iter().position(|socket| socket.0 == interface))
        .collect()
}

/// Binds a worker's sockets, without copying if every interface can do that, and has the programs serve them.
fn bind(
    worker: &WorkerPlan,
    links: &[Link],
    umem: &Umem,
) -> Result<(Vec<Port>, Vec<BoundSocket>), EngineError> {
    // Zero-copy sockets need the program in the driver; a leftover in the stack is replaced in the stack.
    let is_generic = links.iter().any(|link| link.leftover.as_ref().is_some_and(Leftover::is_generic));
    let first = if is_generic { CopyMode::Copy } else { CopyMode::ZeroCopy };
    let ports = match bind_in(first, worker, links, umem) {
        Err(EngineError::Bind { source, .. })
            if !is_generic && source.raw_os_error() != Some(libc::EBUSY) =>
        {
            bind_in(CopyMode::Copy, worker, links, umem)?
        }
        bound => bound?,
    };
    let mut sockets = Vec::with_capacity(ports.len());
    for (port, &(link, queue)) in ports.iter().zip(&worker.sockets) {
        links[link].program.serve(queue, port.socket.as_raw_fd())?;
        sockets.push(BoundSocket {
            link,
            queue,
            copy_mode: port.socket.copy_mode(),
            descriptor: port.socket.descriptor(),
        });
    }
    Ok((ports, sockets))
}

fn bind_in(
    copy_mode: CopyMode,
    worker: &WorkerPlan,
    links: &[Link],
    umem: &Umem,
) -> Result<Vec<Port>, EngineError> {
    let mut ports: Vec<Port> = Vec::with_capacity(worker.sockets.len());
    for &(link, queue) in &worker.sockets {
        let device = &links[link].device;
        let memory = match ports.first() {
            Some(first) => Memory::SharedWith(&first.socket),
            None => Memory::Own(umem, copy_mode),
        };
        let socket = Socket::bind(device, queue, memory, worker.rings)
            .map_err(|source| EngineError::Bind { interface: device.name.clone(), queue, source })?;
        ports.push(Port::new(socket, (InterfaceId(link as u8), queue), device.is_veth));
    }
    Ok(ports)
}

fn mode_name(copy_mode: CopyMode, attached: Option<&Attached>) -> &'static str {
    match (copy_mode, attached.map(|attached| attached.mode)) {
        (CopyMode::ZeroCopy, _) => "zero-copy, native",
        (CopyMode::Copy, Some(AttachMode::Generic)) => "copy, generic",
        (CopyMode::Copy, _) => "copy, native",
    }
}

/// Wishes for next hops that wait for the control thread.
const WANTED_HOPS: usize = 4_096;
