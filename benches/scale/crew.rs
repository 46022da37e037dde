//! Workers of one load balancer in threads of their own, each with a player of its network devices: opens flows, then carries
//! packets of them whenever it is told to.

use std::{
    ops::ControlFlow,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU8,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use lb_core::{
    counters::{Counter, WorkerCounters},
    hash::FlowHash,
    tables::Tables,
    verdict::Reason,
};
use lb_io::in_memory::{self, CrewSettings, KernelEnd, Recruit};

use crate::{
    random::Random,
    support::{self, INSIDE, OUTSIDE, Scene},
    traffic::{Seed, Spread, Spreader, Template},
};

/// What a crew is like.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub workers: u8,
    pub flows_per_worker: u32,
    pub preserves_client_ip: bool,
    pub spread: Spread,
}

/// Workers that run, with all flows open.
pub struct Crew {
    pub kind: Kind,
    orders: Arc<AtomicU8>,
    posts: Vec<Post>,
}

/// One worker, from outside.
struct Post {
    station: Arc<Station>,
    counters: Arc<WorkerCounters>,
    thread: JoinHandle<()>,
}

/// What a player shares with the crew. Cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Station {
    /// With the player, but while it rests.
    load: Mutex<Load>,
    is_resting: AtomicBool,
    has_opened: AtomicBool,
    /// Time spent as the kernel, in nanoseconds.
    kernel_ns: Counter,
    /// Time that the thread waited for its core, in nanoseconds, as it was at the last rest.
    waited_ns: Counter,
}

/// A worker's traffic.
#[derive(Default)]
struct Load {
    requests: Vec<Seed>,
    replies: Vec<Seed>,
    /// Answers to what was sent to targets.
    learned: Vec<Seed>,
}

/// What players are told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Rest,
    /// Send every request once, and learn the replies.
    Open,
    /// Send requests and replies, over and over.
    Carry,
    End,
}

/// What a crew did, over all of its workers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    pub received: u64,
    pub forwarded: u64,
    pub handed_over: u64,
    pub lost: u64,
    /// Time of all workers, in nanoseconds.
    pub time_ns: u64,
    /// Time of these that went into playing the kernel.
    pub kernel_ns: u64,
    /// Time for which a worker could not run, because something else ran on its core.
    pub waited_ns: u64,
}

impl Crew {
    /// Starts the workers and opens their flows.
    pub fn open(kind: Kind) -> Crew {
        let scene = Scene {
            preserves_client_ip: kind.preserves_client_ip,
            sources: support::sources(1_024..=65_535),
            receive_hash: support::receive_hash(kind.workers.into()),
            ..Scene::default().with_targets(TARGETS)
        };
        let tables = scene.tables();
        let orders = Arc::new(AtomicU8::new(Order::Rest as u8));
        let posts = kind.recruits().into_iter().map(|recruit| Post::man(recruit, &tables, &orders)).collect();
        let mut crew = Crew { kind, orders, posts };
        crew.deal(&tables);
        crew
    }

    /// Opens all flows; from then on requests and replies come to the workers that they come to.
    fn deal(&mut self, tables: &Tables) {
        let spreader = Spreader {
            spread: self.kind.spread,
            workers: self.kind.workers,
            receive_hash: tables.interfaces()[0].receive_hash.as_deref().expect("the scene has one"),
            flow_hash: &FlowHash::new(&support::settings().flow_hash_key),
        };
        let flows = self.kind.flows_per_worker * u32::from(self.kind.workers);
        self.wait_for(|station| &station.is_resting);
        // Opened at their homes, so that none is lost between workers.
        let at_home = Spreader { spread: self.kind.spread_at_home(), ..spreader };
        let requests = Random::new(flows.into()).shuffled((0..flows).map(Seed::request).collect());
        for &seed in &requests {
            self.load(at_home.worker_of_request(seed)).requests.push(seed);
        }
        self.order(Order::Open);
        self.wait_for(|station| &station.has_opened);
        thread::sleep(DRAIN);
        self.rest();
        let loads = self.posts.iter().map(|post| std::mem::take(&mut *post.load()));
        let replies = loads.flat_map(|load| load.learned).collect::<Vec<_>>();
        assert_eq!(replies.len(), requests.len(), "flows that are open, and all");
        for &seed in &requests {
            self.load(spreader.worker_of_request(seed)).requests.push(seed);
        }
        for seed in Random::new(flows.into()).shuffled(replies) {
            self.load(spreader.worker_of_reply(seed)).replies.push(seed);
        }
    }

    /// Carries packets for a while, and says what was done once it ran smoothly.
    pub fn carry(&self, duration: Duration) -> Work {
        self.order(Order::Carry);
        thread::sleep(WARM_UP);
        let (began, before) = (Instant::now(), self.work());
        thread::sleep(duration);
        let (time, after) = (began.elapsed(), self.work());
        self.rest();
        let time_ns = time.as_nanos() as u64 * self.posts.len() as u64;
        let waited_ns = self.work().waited_ns - before.waited_ns;
        Work { time_ns, waited_ns, ..after.since(before) }
    }

    /// Ends all workers.
    pub fn disband(mut self) {
        self.order(Order::End);
        for post in self.posts.drain(..) {
            post.thread.join().expect("no worker panics");
        }
    }

    fn rest(&self) {
        self.order(Order::Rest);
        self.wait_for(|station| &station.is_resting);
    }

    fn order(&self, order: Order) {
        self.orders.store(order as u8, Release);
        for post in &self.posts {
            post.thread.thread().unpark();
        }
    }

    fn wait_for(&self, flag: impl Fn(&Station) -> &AtomicBool) {
        while !self.posts.iter().all(|post| flag(&post.station).load(Acquire)) {
            assert!(!self.posts.iter().any(|post| post.thread.is_finished()), "a worker could not run");
            thread::sleep(PAUSE);
        }
    }

    fn load(&self, worker: usize) -> MutexGuard<'_, Load> {
        self.posts[worker].load()
    }

    fn work(&self) -> Work {
        self.posts.iter().fold(Work::default(), |sum, post| sum.and(post.work()))
    }
}

impl Kind {
    fn recruits(&self) -> Vec<Recruit> {
        let muster = |cpus: &[usize]| {
            let settings = CrewSettings {
                cpus: cpus.to_vec(),
                interfaces: 2,
                frames_per_worker: FRAMES_PER_WORKER,
                // Flows are dealt out by hash, not evenly.
                flow_capacity: self.flows_per_worker + self.flows_per_worker / 8 + 4_096,
                datapath: support::settings(),
            };
            in_memory::muster(&settings).expect("memory and a core for each worker")
        };
        let cores = in_memory::cores().expect("the kernel tells");
        let cores = &cores[..usize::from(self.workers)];
        match self.spread {
            Spread::Apart => cores.chunks(1).flat_map(muster).collect(),
            _ => muster(cores),
        }
    }

    /// The way to the workers by which no packet is handed over.
    fn spread_at_home(&self) -> Spread {
        if self.preserves_client_ip { Spread::Steered } else { Spread::Hashed }
    }
}

impl Post {
    fn man(recruit: Recruit, tables: &Arc<Tables>, orders: &Arc<AtomicU8>) -> Post {
        let (counters, tables) = (recruit.counters(), tables.clone());
        let station = Arc::new(Station::default());
        let mut player = Player::new(station.clone(), orders.clone());
        let thread = thread::spawn(move || {
            recruit.run(tables, |kernel| player.play(kernel)).expect("a core and memory");
        });
        Post { station, counters, thread }
    }

    fn load(&self) -> MutexGuard<'_, Load> {
        self.station.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) -> Work {
        let sum = |reasons: &[Reason]| -> u64 {
            reasons.iter().map(|&reason| self.counters.reasons[reason as usize].value()).sum()
        };
        Work {
            received: self.counters.received.value(),
            forwarded: sum(&[Reason::FlowHit, Reason::FlowNew]),
            handed_over: sum(&[Reason::HandedOver]),
            lost: sum(&[Reason::HandoverFull, Reason::TxRingFull]),
            time_ns: 0,
            kernel_ns: self.station.kernel_ns.value(),
            waited_ns: self.station.waited_ns.value(),
        }
    }
}

impl Work {
    /// Time of a worker per packet forwarded, in nanoseconds.
    pub fn ns(&self) -> f64 {
        self.time_ns as f64 / self.forwarded as f64
    }

    /// The same without playing the kernel.
    pub fn net_ns(&self) -> f64 {
        (self.time_ns - self.kernel_ns) as f64 / self.forwarded as f64
    }

    /// Part of the time for which workers waited for their cores, 0 to 1.
    pub fn waited_share(&self) -> f64 {
        self.waited_ns as f64 / self.time_ns as f64
    }

    /// Of the packets received, 0 to 1.
    pub fn handed_over_share(&self) -> f64 {
        self.handed_over as f64 / self.received as f64
    }

    /// Of the packets received, 0 to 1.
    pub fn lost_share(&self) -> f64 {
        self.lost as f64 / self.received as f64
    }

    fn and(self, other: Work) -> Work {
        self.with(other, u64::wrapping_add)
    }

    fn since(self, before: Work) -> Work {
        self.with(before, u64::wrapping_sub)
    }

    fn with(self, other: Work, join: impl Fn(u64, u64) -> u64) -> Work {
        Work {
            received: join(self.received, other.received),
            forwarded: join(self.forwarded, other.forwarded),
            handed_over: join(self.handed_over, other.handed_over),
            lost: join(self.lost, other.lost),
            time_ns: join(self.time_ns, other.time_ns),
            kernel_ns: join(self.kernel_ns, other.kernel_ns),
            waited_ns: join(self.waited_ns, other.waited_ns),
        }
    }
}

/// Plays the kernel for one worker, in its thread.
struct Player {
    station: Arc<Station>,
    orders: Arc<AtomicU8>,
    load: Load,
    next_request: usize,
    next_reply: usize,
    requests: Template,
    replies: Template,
}

impl Player {
    fn new(station: Arc<Station>, orders: Arc<AtomicU8>) -> Player {
        Player {
            station,
            orders,
            load: Load::default(),
            next_request: 0,
            next_reply: 0,
            requests: Template::requests(),
            replies: Template::replies(),
        }
    }

    fn play(&mut self, kernel: &mut [KernelEnd]) -> ControlFlow<()> {
        let began = Instant::now();
        match Order::from(self.orders.load(Relaxed)) {
            Order::Rest => self.rest(),
            Order::Open => self.open(kernel),
            Order::Carry => self.carry(kernel),
            Order::End => return ControlFlow::Break(()),
        }
        self.station.kernel_ns.add(began.elapsed().as_nanos() as u64);
        ControlFlow::Continue(())
    }

    /// Leaves the worker's traffic to the crew until there is another order.
    fn rest(&mut self) {
        let lock = || self.station.load.lock().unwrap_or_else(PoisonError::into_inner);
        *lock() = std::mem::take(&mut self.load);
        self.station.waited_ns.set(waited_ns());
        self.station.is_resting.store(true, Release);
        while Order::from(self.orders.load(Acquire)) == Order::Rest {
            thread::park();
        }
        self.station.waited_ns.set(waited_ns());
        self.station.is_resting.store(false, Release);
        self.load = std::mem::take(&mut *lock());
        self.next_request = 0;
    }

    fn open(&mut self, kernel: &mut [KernelEnd]) {
        let Load { requests, learned, .. } = &mut self.load;
        kernel[usize::from(INSIDE.0)].send(u32::MAX, |frame| learned.push(Seed::reply_to(frame)));
        let left = (requests.len() - self.next_request) as u32;
        kernel[usize::from(OUTSIDE.0)].receive(left.min(OPENED_PER_TURN), |buffer| {
            self.next_request += 1;
            self.requests.write(requests[self.next_request - 1], buffer)
        });
        if self.next_request == requests.len() {
            self.station.has_opened.store(true, Release);
        }
    }

    fn carry(&mut self, kernel: &mut [KernelEnd]) {
        let Player { load, next_request, next_reply, requests, replies, .. } = self;
        for end in &mut *kernel {
            end.send(u32::MAX, |_| ());
        }
        let (from_clients, from_targets) = (usize::from(OUTSIDE.0), usize::from(INSIDE.0));
        kernel[from_clients]
            .receive(BURST, |buffer| requests.write(following(&load.requests, next_request), buffer));
        kernel[from_targets]
            .receive(BURST, |buffer| replies.write(following(&load.replies, next_reply), buffer));
    }
}

/// Time for which this thread could have run and did not, in nanoseconds (proc(5): schedstat); 0 where the kernel does not tell.
fn waited_ns() -> u64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    schedstat.split(' ').nth(1).and_then(|waited| waited.parse().ok()).unwrap_or(0)
}

/// The seed at `place`, which goes on to the next one.
#[inline]
fn following(seeds: &[Seed], place: &mut usize) -> Seed {
    let seed = seeds[*place];
    *place = if *place + 1 < seeds.len() { *place + 1 } else { 0 };
    seed
}

impl From<u8> for Order {
    fn from(number: u8) -> Order {
        [Order::Rest, Order::Open, Order::Carry].get(usize::from(number)).copied().unwrap_or(Order::End)
    }
}

/// Frames received per interface and turn.
const BURST: u32 = 64;
/// Flows opened per turn.
const OPENED_PER_TURN: u32 = 32;
/// As configured by default.
pub const FRAMES_PER_WORKER: u32 = 8_192;
const TARGETS: u8 = 250;
const WARM_UP: Duration = Duration::from_millis(15);
const DRAIN: Duration = Duration::from_millis(30);
const PAUSE: Duration = Duration::from_millis(1);
