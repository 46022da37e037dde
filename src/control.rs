//! The one thread that owns the truth: every change (call, health transition, next hop, signal, deadline) comes here, in
//! order, and is applied wholly or refused wholly. Packets flow on beside it.

use std::{
    collections::{BTreeSet, VecDeque},
    error::Error,
    net::IpAddr,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Select};
use lb_core::{datapath::FlowView, limits, steer::Steering, tables::Tables, time};
use lb_ctl::{
    api::{Happening, InterfaceState, Refusal},
    compile::{self, Compiler, Inputs, Registration, TargetEntry},
    config::Config,
    elbv2::Endpoint,
    health::{self, Health, TargetHealth, TargetKey, Transition},
    metrics::{Checks, MetricsServer, Peaks},
    server::{Call, Caller, ChangeCall, Server, Snapshot},
    state::{RunMarker, StateDirectory},
    store::Store,
};
use lb_io::{clock, engine::Engine, nexthop::NextHops};

use crate::{
    addresses::Addresses,
    bypass::BypassDetector,
    changes::now,
    events::{self, FailingOpen},
    flow_log::FlowLogging,
    leaving::{Leaving, SourcesInUse},
    ledger::Ledger,
    log::{self, complain, say},
    passive::PassiveSignal,
    questions::{Answered, Questions},
    reserved_ports::ReservedPorts,
    traces::Traces,
};

/// What the control thread waits for.
#[derive(Debug)]
pub enum Event {
    /// A request of the control API.
    Call(Call),
    /// A target changed its state.
    Health(Transition),
    /// A route, a neighbour or an address of the host changed.
    NextHops,
    /// The workers have said why packets fare as they do.
    Why(Answered),
    /// A target whose replies go past, and the flow of one of its clients if the workers know any.
    Bypassed(TargetKey, Option<FlowView>),
    /// How many flows have the sources that are to go.
    SourcesInUse(SourcesInUse),
    /// Read the configuration again.
    Reload,
    /// Stop cleanly.
    Stop,
}

/// Everything that the daemon knows and owns.
pub struct Control {
    /// Configuration file.
    pub path: PathBuf,
    /// The objects in force, and the configuration that they come to.
    pub store: Store,
    /// What outlives the process.
    pub state: StateDirectory,
    /// The data path.
    pub engine: Engine,
    /// The kernel's routes and neighbours.
    pub next_hops: NextHops,
    /// Health checks.
    pub health: Health,
    /// Makes tables.
    pub compiler: Compiler,
    /// Tables in force.
    pub tables: Arc<Tables>,
    /// Steering in force.
    pub steering: Steering,
    /// The tables and the host's addresses that it was made from; `None` when a change of it has failed.
    pub steered_by: Option<(Arc<Tables>, Vec<IpAddr>)>,
    /// VIPs and source addresses on interfaces.
    pub addresses: Addresses,
    /// Sources that are to go.
    pub leaving: Leaving,
    /// Ports kept from the host's own connections.
    pub reserved_ports: ReservedPorts,
    /// Clients whose next hop a worker asked for, oldest first.
    pub wanted_hops: VecDeque<IpAddr>,
    /// When health states were last saved; `None` while they are as saved.
    pub health_saved: Option<Instant>,
    /// Until when strays are adopted.
    pub adopt_until: Option<time::Instant>,
    /// When the interfaces were last looked at.
    pub devices_seen: Instant,
    /// When the targets were last looked at.
    pub targets_seen: Instant,
    /// The same, on the packet path's clock.
    pub delays_seen: time::Instant,
    /// What flows tell of targets.
    pub passive: PassiveSignal,
    /// Whose replies go past.
    pub bypass: BypassDetector,
    /// Target groups without enough healthy targets.
    pub failing_open: FailingOpen,
    /// What ids have counted for their holders of today.
    pub ledger: Ledger,
    /// Peak rates of load balancers.
    pub peaks: Peaks,
    /// Health checks of target groups.
    pub checks: Checks,
    /// When the process started.
    pub started: Instant,
    /// Who is told of flows that are over.
    pub flow_log: FlowLogging,
    /// Questions to the workers.
    pub questions: Questions,
    /// Traces of frames.
    pub traces: Traces,
    /// The same, in seconds since the epoch.
    pub started_seconds: f64,
    /// The control API.
    pub server: Server,
    /// Metrics by HTTP, if they are wanted.
    pub metrics_server: Option<MetricsServer>,
    /// The endpoint for the stock `aws` command line, if there is one.
    pub endpoint: Option<Endpoint>,
}

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Next,
    Stop,
}

/// What events of one turn leave to do together.
#[derive(Default)]
struct Batch {
    transitions: Vec<Transition>,
    calls: Vec<ChangeCall>,
    is_stale: bool,
}

impl Control {
    /// Starts the data path with the first tables, then puts the VIPs in place: never the other way round, or the kernel
    /// would answer for them.
    pub fn begin(&mut self) -> Result<(), Box<dyn Error>> {
        self.watch_next_hops();
        let config = self.store.config.clone();
        let host = self.host_addresses();
        let sources = compile::sources(&config, &|address| self.addresses.ownership(address, &host));
        // Before the first check, which must not have one of these ports.
        self.reserve_ports(&Vec::from_iter(sources), &config)?;
        let checks = health::checks(&config, &host);
        self.health.register(&checks);
        self.tables = self.compile(&config)?;
        self.steering = Steering::new(&self.tables, &self.next_hops.host_addresses());
        self.begin_flow_log();
        self.engine.start(self.tables.clone(), &self.steering)?;
        self.health.set(checks); // Not sooner: thousands of first checks would have the cores that a start needs.
        self.addresses.assign(&config, &self.host_addresses(), &self.state)?;
        // Of an earlier run, under another configuration: flows of its sources are gone with it.
        self.addresses.release(&config, &BTreeSet::new(), &self.state)?;
        self.refresh();
        self.addresses.announce();
        Ok(())
    }

    /// Handles events until one says stop.
    pub fn run(&mut self, events: &Receiver<Event>) {
        while self.turn(events) == Turn::Next {}
    }

    /// Stops cleanly: VIPs off, programs detached, the next start knows.
    pub fn stop(mut self) -> Result<(), Box<dyn Error>> {
        self.addresses.release_all();
        let stopped = self.engine.stop();
        self.flow_log.finish();
        if let Err(error) = self.reserved_ports.release(&self.state) {
            complain!("{error}");
        }
        if let Err(error) = self.state.save_health(&self.health.snapshot()) {
            complain!("{error}");
        }
        self.state.mark_stopped()?;
        stopped?;
        say!("stopped");
        Ok(())
    }

    /// Takes down what [`Control::begin`] has set up before it failed. What an unclean run had left stays for the next start.
    pub fn abandon(mut self, earlier: Option<&RunMarker>) {
        self.engine.abandon();
        if earlier.is_some() {
            return;
        }
        let released = self.reserved_ports.release(&self.state);
        if let Err(error) = released.and_then(|()| Ok(self.state.mark_stopped()?)) {
            complain!("{error}");
        }
    }

    /// Waits for the next event or deadline, takes all that has come, and makes new tables at most once.
    fn turn(&mut self, events: &Receiver<Event>) -> Turn {
        let mut ready = Select::new();
        ready.recv(events);
        ready.recv(self.engine.wanted_hops());
        let _ = ready.ready_timeout(self.patience());
        let mut batch = Batch::default();
        while let Ok(event) = events.try_recv() {
            if self.handle(event, &mut batch) == Turn::Stop {
                return Turn::Stop;
            }
        }
        events::tell(&batch.transitions, &self.server.events());
        batch.is_stale |= self.is_deadline_over();
        batch.is_stale |= self.watch_devices();
        batch.is_stale |= self.learn_wanted_hops();
        let is_fresh = self.change_objects(batch.calls);
        if batch.is_stale && !is_fresh {
            self.refresh();
        }
        self.watch_leaving_sources();
        self.watch_targets();
        self.watch_peaks();
        self.save_health();
        if let Some(worker) = self.engine.lost_worker() {
            // What a crash leaves is what the next start takes over: VIP traffic is dropped, nobody resets a connection.
            complain!(
                "worker {worker} has ended, which is a defect: ending as after a crash, start lbd again"
            );
            log::finish();
            std::process::exit(CRASHED);
        }
        Turn::Next
    }

    fn handle(&mut self, event: Event, batch: &mut Batch) -> Turn {
        match event {
            Event::Stop => return Turn::Stop,
            Event::NextHops => {
                self.addresses.settle(&self.host_addresses());
                batch.is_stale = true;
            }
            Event::Health(transition) => {
                batch.transitions.push(transition);
                batch.is_stale = true;
                self.health_saved.get_or_insert_with(Instant::now);
            }
            Event::Reload => drop(self.reload_for(&Caller("SIGHUP".into()))),
            Event::Call(call) => self.answer(call, batch),
            Event::Why(answered) => self.explain(answered),
            Event::Bypassed(target, flow) => self.tell_of_bypass(&target, flow.as_ref()),
            Event::SourcesInUse(answer) => self.learn_sources_in_use(&answer),
        }
        Turn::Next
    }

    fn answer(&mut self, call: Call, batch: &mut Batch) {
        match call {
            Call::Status(reply) => reply.send(self.status()),
            Call::Targets(reply) => {
                self.catch_up(batch);
                reply.send(self.targets());
            }
            Call::TargetsOf { target_group, reply } => {
                self.catch_up(batch);
                match self.targets_of(&target_group) {
                    Ok(rows) => reply.send(rows),
                    Err(refusal) => reply.refuse(refusal),
                }
            }
            Call::Change(call) => batch.calls.push(call),
            Call::Snapshot(reply) => {
                let Store { generation, objects, .. } = &self.store;
                reply.send(Snapshot { generation: *generation, objects: objects.clone() });
            }
            Call::Export(reply) => match self.store.export() {
                Ok(text) => reply.send(text),
                Err(error) => reply.refuse(error),
            },
            Call::Differences { file, reply } => match self.store.differences(&file, &now()) {
                Ok(rows) => reply.send(rows),
                Err(errors) => reply.refuse(Refusal::of_file(&errors)),
            },
            Call::Flows { query, reply } => self.find_flows(query, reply),
            Call::Why { query, key, reply } => self.ask_why(query, key, reply),
            Call::Trace { query, reply } => self.trace(&query, reply),
            Call::Capture { query, by, reply } => self.capture(&query, &by, reply),
            Call::Stats(reply) => reply.send(self.stats()),
            Call::Metrics(reply) => reply.send(self.metrics()),
            Call::Reload { by, reply } => match self.reload_for(&by) {
                Ok(in_force) => reply.send(in_force),
                Err(refusal) => reply.refuse(refusal),
            },
        }
    }

    /// Has the tables follow the targets' states before anybody is told of these: whoever waits for a healthy target sends to it next.
    fn catch_up(&mut self, batch: &mut Batch) {
        if std::mem::take(&mut batch.is_stale) {
            self.refresh();
        }
    }

    /// Compiles, publishes and steers what is known now. On a failure the tables in force stay.
    pub(crate) fn refresh(&mut self) {
        let config = self.store.config.clone();
        let tables = match self.compile(&config) {
            Ok(tables) => tables,
            Err(error) => return complain!("the tables stay as they are: {error}"),
        };
        self.put_in_force(tables);
    }

    /// Publishes tables, and has the kernel go by them.
    pub(crate) fn put_in_force(&mut self, tables: Arc<Tables>) {
        self.ledger.note(&self.tables, &tables, &self.engine.counters());
        self.flow_log.note(&self.tables, &tables);
        self.engine.publish(tables.clone());
        self.failing_open.tell(&self.tables, &tables, &self.server.events());
        self.tables = tables;
        self.warn_of_crowded_out();
        self.note_sources_that_stay();
        self.reserve_ports_of_tables();
        self.steer();
    }

    /// Has the XDP program go by the tables in force. Most changes of tables do not concern it.
    fn steer(&mut self) {
        let host = self.next_hops.host_addresses();
        let is_same = |(tables, addresses): &(Arc<Tables>, Vec<IpAddr>)| {
            tables.are_steered_like(&self.tables) && *addresses == host
        };
        if !self.steered_by.as_ref().is_some_and(is_same) {
            let steering = Steering::new(&self.tables, &host);
            if steering != self.steering
                && let Err(error) = self.engine.steer(&steering)
            {
                self.steered_by = None;
                return complain!("the XDP program's maps stay as they are: {error}");
            }
            self.steering = steering;
        }
        self.steered_by = Some((self.tables.clone(), host));
    }

    pub(crate) fn compile(&mut self, config: &Config) -> Result<Arc<Tables>, String> {
        let host = self.host_addresses();
        let hop = |address: &IpAddr| self.next_hops.resolve(*address).map(|hop| (*address, hop));
        let inputs = Inputs {
            config,
            interfaces: self.engine.interfaces(),
            health: &|key| self.health.of(key),
            next_hop: &|address| self.next_hops.resolve(address),
            hops: self.wanted_hops.iter().filter_map(hop).collect(),
            ownership: &|address| self.addresses.ownership(address, &host),
            host_addresses: &host,
            now: clock::now(),
        };
        self.compiler.compile(&inputs).map_err(|error| format!("the configuration does not fit: {error:?}"))
    }

    pub(crate) fn host_addresses(&self) -> BTreeSet<IpAddr> {
        self.next_hops.host_addresses().into_iter().collect()
    }

    /// Has the next hops of all that may need one looked after.
    pub(crate) fn watch_next_hops(&self) {
        self.next_hops.watch(&self.watched(&self.store.config));
    }

    /// Addresses whose next hop must be known: every target's, deregistered ones included, and those that workers want.
    fn watched(&self, config: &Config) -> Vec<IpAddr> {
        let registered =
            config.target_groups.iter().flat_map(|group| group.targets.iter().map(|target| target.address));
        let known = self.compiler.targets().into_iter().map(|entry| entry.key.address);
        let all: BTreeSet<IpAddr> = registered.chain(known).chain(self.wanted_hops.iter().copied()).collect();
        all.into_iter().collect()
    }

    /// Notes addresses whose next hop a worker dropped packets for want of. Whether there were any.
    fn learn_wanted_hops(&mut self) -> bool {
        let mut has_new = false;
        for address in self.engine.wanted_hops().try_iter() {
            if !self.wanted_hops.contains(&address) {
                self.wanted_hops.push_back(address);
                has_new = true;
            }
        }
        // The oldest have found their flows long ago; who has not asks again.
        let surplus = self.wanted_hops.len().saturating_sub(limits::HOPS);
        self.wanted_hops.drain(..surplus);
        if has_new {
            self.watch_next_hops();
        }
        has_new
    }

    /// Notes what has become of the interfaces. Whether the tables must change.
    fn watch_devices(&mut self) -> bool {
        if self.devices_seen.elapsed() < DEVICES_INTERVAL {
            return false;
        }
        self.devices_seen = Instant::now();
        let changes = self.engine.look_at_devices();
        for name in &changes.lost {
            self.tell_of_interface(Some(name), InterfaceState::Gone);
            complain!("interface {name} is gone: its traffic rests until it is there again");
        }
        for name in &changes.rehashed {
            self.tell_of_interface(Some(name), InterfaceState::Rehashed);
            complain!(
                "WARNING: {name} spreads packets over its queues in another way than at the start: workers hand more to \
                 each other until lbd is restarted"
            );
        }
        if changes.is_replaced {
            start_anew();
        }
        if changes.is_altered {
            self.tell_of_interface(None, InterfaceState::Altered);
            self.addresses.announce(); // Under the new link address.
        }
        changes.is_altered
    }

    fn tell_of_interface(&self, interface: Option<&String>, state: InterfaceState) {
        self.server.events().publish(Happening::Interface { interface: interface.cloned(), state });
    }

    /// Looks at the targets once in a while: at the signs of their flows, and at deregistration delays that are over.
    fn watch_targets(&mut self) {
        if self.targets_seen.elapsed() < TARGETS_INTERVAL {
            return;
        }
        self.targets_seen = Instant::now();
        let now = clock::now();
        let since = std::mem::replace(&mut self.delays_seen, now);
        let targets = self.compiler.targets();
        let is_over = |entry: &&TargetEntry| match entry.registration {
            Registration::Registered { .. } => false,
            Registration::Deregistered { delay_ends } => since < delay_ends && delay_ends <= now,
        };
        let unused = |entry: &TargetEntry| Transition {
            key: entry.key.clone(),
            from: TargetHealth::DeregistrationInProgress,
            to: TargetHealth::NotRegistered,
        };
        let unused: Vec<Transition> = targets.iter().filter(is_over).map(unused).collect();
        events::tell(&unused, &self.server.events());
        self.hasten_suspects(&targets);
        self.watch_for_bypasses(&targets);
    }

    /// Saves health states, at most once a second: a restart after a crash begins with them.
    fn save_health(&mut self) {
        if self.health_saved.is_some_and(|since| since.elapsed() >= HEALTH_SAVE_DELAY) {
            self.health_saved = None;
            if let Err(error) = self.state.save_health(&self.health.snapshot()) {
                complain!("health states are not saved: {error}");
            }
        }
    }

    fn patience(&self) -> Duration {
        let deadline =
            self.compiler.next_deadline().map(|at| at.nanos().saturating_sub(clock::now().nanos()));
        deadline.map_or(TICK, |ns| Duration::from_nanos(ns).min(TICK))
    }

    fn is_deadline_over(&self) -> bool {
        self.compiler.next_deadline().is_some_and(|at| at <= clock::now())
    }
}

/// Puts a new process in this one's place. Sockets and programs of an interface that was taken away and made again cannot be
/// mended one by one; a start after what looks like a crash does it all, and adopts the connections under way.
fn start_anew() {
    say!("an interface was made anew: starting again, connections under way are adopted");
    log::finish();
    let error = Command::new("/proc/self/exe").args(std::env::args_os().skip(1)).exec();
    complain!("cannot start again: {error}");
    log::finish();
    std::process::exit(CRASHED);
}

/// Exit code when a part of the data path is lost.
const CRASHED: i32 = 1;

/// How often the interfaces are looked at.
const DEVICES_INTERVAL: Duration = Duration::from_secs(1);

/// How often targets are looked at.
const TARGETS_INTERVAL: Duration = Duration::from_secs(1);

/// Longest time between two looks at what is due.
const TICK: Duration = Duration::from_millis(200);

/// Health states are saved this long after a change, together with those that follow.
const HEALTH_SAVE_DELAY: Duration = Duration::from_millis(200);
