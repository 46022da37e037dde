//! `lbd run`: starts everything in an order that never lets the kernel answer for a VIP, and stops it in reverse.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use crossbeam_channel::{Sender, unbounded};
use lb_core::time;
use lb_ctl::{
    compile::Compiler,
    config::{self, Config, ControlApi, Document},
    elbv2::{Endpoint, Keys},
    health::Health,
    metrics::{MetricsServer, MetricsServerError},
    server::{Access, Server, Settings},
    state::StateDirectory,
    store::Store,
};
use lb_io::{
    clock,
    engine::{AttachMode, Engine, EngineSettings, Polling},
    nexthop::NextHops,
    peer::peer_groups,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{
    addresses::Addresses,
    changes::now,
    control::{Control, Event},
    log::{self, complain, say},
    questions::Questions,
    reserved_ports::ReservedPorts,
};

/// Runs until SIGTERM or SIGINT. An error means that the daemon could not start, and that nothing is left behind.
pub fn run(path: &Path) -> Result<(), Box<dyn Error>> {
    log::start()?;
    let outcome = run_to_the_end(path);
    log::finish();
    outcome
}

fn run_to_the_end(path: &Path) -> Result<(), Box<dyn Error>> {
    let file = Document::load(path)?;
    let config = file.config()?;
    let mut made = Made::by_a_start_of(&config);
    let (sender, events) = unbounded();
    let (signals, signal_thread) = forward_signals(sender.clone())?;
    let outcome =
        start(path, file, &sender, &mut made).map_err(Stopped::BeforeStart).and_then(|mut control| {
            control.run(&events);
            control.stop().map_err(Stopped::Later)
        });
    signals.close();
    drop(signal_thread.join()); // It ends when the signals close.
    if let Err(Stopped::BeforeStart(_)) = &outcome {
        made.remove();
    }
    outcome.map_err(Stopped::into_inner)
}

/// Directories that a start makes, because they are not there before.
struct Made {
    state: Option<PathBuf>,
    socket: Option<PathBuf>,
    /// The state directory was locked by this process: nobody else's files are in it.
    is_state_ours: bool,
}

impl Made {
    fn by_a_start_of(config: &Config) -> Made {
        let missing = |path: &Path| (!path.exists()).then(|| path.to_owned());
        Made {
            state: missing(&config.state_directory),
            socket: config.control_socket.parent().and_then(missing),
            is_state_ours: false,
        }
    }

    /// After a start that was refused. What cannot be removed is not worth another error.
    fn remove(self) {
        drop(self.state.filter(|_| self.is_state_ours).map(fs::remove_dir_all));
        drop(self.socket.map(fs::remove_dir));
    }
}

/// Why there is no daemon any more.
enum Stopped {
    BeforeStart(Box<dyn Error>),
    Later(Box<dyn Error>),
}

impl Stopped {
    fn into_inner(self) -> Box<dyn Error> {
        match self {
            Stopped::BeforeStart(error) | Stopped::Later(error) => error,
        }
    }
}

/// Starts everything. After a failure nothing is left but what an earlier run had left.
fn start(
    path: &Path,
    file: Document,
    events: &Sender<Event>,
    made: &mut Made,
) -> Result<Control, Box<dyn Error>> {
    let started = Instant::now();
    let state = StateDirectory::open(&file.config()?.state_directory)?;
    made.is_state_ours = true;
    let (store, is_new) = Store::open(state.objects()?, file, &now())
        .map_err(|error| format!("{error} (what was made by call is kept in {})", state.path().display()))?;
    let config = store.config.clone();
    let unclean = state.unclean_run()?;
    let selection_secret = match config.selection.secret {
        Some(secret) => secret,
        None => state.selection_secret()?,
    };
    let adopt_until =
        unclean.as_ref().map(|_| clock::now().after_seconds(u64::from(config.selection.adopt_seconds)));
    let deliver = events.clone();
    // The socket first: a second instance must find out before it touches an interface.
    let server = Server::with(server_settings(&config), move |call| drop(deliver.send(Event::Call(call))))?;
    let metrics_server = start_metrics(&config, events)?;
    let endpoint = start_endpoint(&config, events)?;
    let engine = Engine::prepare(engine_settings(&config, selection_secret, adopt_until)?)?;

    let notify = events.clone();
    let next_hops = NextHops::start(&config.interfaces, move || drop(notify.send(Event::NextHops)))?;
    let notify = events.clone();
    let health = Health::start(move |transition| drop(notify.send(Event::Health(transition))))?;
    if unclean.is_some() {
        match state.health() {
            Ok(states) => health.restore(states),
            Err(error) => complain!("{error}; health checks begin anew"),
        }
    }

    let mut control = Control {
        path: path.to_owned(),
        compiler: Compiler::new(),
        addresses: Addresses::left_behind_by(unclean.as_ref()),
        leaving: Default::default(),
        reserved_ports: ReservedPorts::left_behind(&state)?,
        tables: lb_core::tables::Tables::empty(),
        steering: Default::default(),
        steered_by: None,
        wanted_hops: Default::default(),
        failing_open: Default::default(),
        ledger: Default::default(),
        peaks: Default::default(),
        checks: Default::default(),
        health_saved: None,
        adopt_until,
        devices_seen: started,
        targets_seen: started,
        delays_seen: clock::now(),
        passive: Default::default(),
        flow_log: Default::default(),
        bypass: Default::default(),
        questions: Questions::new(events.clone()),
        traces: Default::default(),
        started,
        started_seconds: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
        store,
        state,
        server,
        metrics_server,
        endpoint,
        engine,
        next_hops,
        health,
    };
    if let Some(marker) = &unclean {
        say!(
            "process {} did not stop cleanly: TCP packets of unknown flows are adopted for {} s",
            marker.pid,
            control.store.config.selection.adopt_seconds
        );
    }
    match control.begin() {
        Ok(()) => {
            if is_new && let Err(error) = control.state.save_objects(&control.store.to_keep()) {
                complain!(
                    "WARNING: {error}; the objects are the configuration file's, and calls are refused"
                );
            }
            control.warn_of_strays();
            print_start(&control);
            Ok(control)
        }
        Err(error) => {
            control.abandon(unclean.as_ref());
            Err(error)
        }
    }
}

fn server_settings(config: &Config) -> Settings {
    let ControlApi { read_write_groups, read_only_groups, limits, tcp } = config.control_api.clone();
    Settings {
        socket: config.control_socket.clone(),
        access: Access { read_write_groups, read_only_groups, peer_groups },
        limits,
        tcp,
        log: log::out,
    }
}

fn start_metrics(
    config: &Config,
    events: &Sender<Event>,
) -> Result<Option<MetricsServer>, MetricsServerError> {
    let deliver = events.clone();
    let start = |listen| MetricsServer::start(listen, move |call| drop(deliver.send(Event::Call(call))));
    config.metrics.listen.map(start).transpose()
}

fn start_endpoint(config: &Config, events: &Sender<Event>) -> Result<Option<Endpoint>, Box<dyn Error>> {
    let Some(settings) = &config.elbv2 else { return Ok(None) };
    let deliver = events.clone();
    let deliver = move |call| drop(deliver.send(Event::Call(call)));
    Endpoint::start(settings, Keys::load(&settings.access)?, log::out, deliver).map(Some)
}

/// What the data path is set up by.
pub(crate) fn engine_settings(
    config: &Config,
    selection_secret: [u8; 16],
    adopt_until: Option<time::Instant>,
) -> Result<EngineSettings, Box<dyn Error>> {
    let mut key = [0; 128];
    getrandom::fill(&mut key)?;
    Ok(EngineSettings {
        interfaces: config.interfaces.clone(),
        workers: config.workers.count,
        cpus: config.workers.cpus.clone(),
        polling: match config.workers.polling {
            config::Polling::Busy => Polling::Busy,
            config::Polling::Adaptive => Polling::Adaptive,
            config::Polling::Interrupt => Polling::Interrupt,
        },
        frames_per_worker: config.workers.frames,
        flow_capacity: config.flow_capacity,
        flow_hash_key: std::array::from_fn(|word| {
            u64::from_ne_bytes(std::array::from_fn(|byte| key[word * 8 + byte]))
        }),
        selection_secret,
        adopt_until,
        ports_per_client: config.source_nat.ports_per_client,
        lock_directory: LOCK_DIRECTORY.into(),
    })
}

/// Says what was chosen, once everything runs.
fn print_start(control: &Control) {
    for attachment in control.engine.attachments() {
        let mode = match attachment.mode {
            AttachMode::Native => "native".to_owned(),
            AttachMode::Generic => format!(
                "generic, slower, because native failed ({})",
                attachment.native_refusal.as_deref().unwrap_or("the driver has none")
            ),
        };
        let adopted = if attachment.adopted { ", in place of one left by an earlier run" } else { "" };
        say!("{}: XDP program {mode}{adopted}", attachment.interface);
    }
    for worker in control.engine.workers() {
        for socket in worker.sockets {
            say!(
                "worker {} on CPU {}: {} queue {}: {}",
                worker.worker,
                worker.cpu,
                socket.interface,
                socket.queue,
                socket.mode
            );
        }
    }
    if control.engine.shares_cores() {
        complain!(
            "WARNING: workers share CPUs, which costs latency: set workers.count to no more than there are CPUs"
        );
    }
    let longest = control.engine.longest_frame() - ETHERNET_HEADER_BYTES;
    for interface in control.engine.interfaces().iter().filter(|interface| interface.mtu > longest) {
        complain!(
            "WARNING: {} has an MTU of {}, but packets of more than {longest} bytes are lost here (`lbctl status` counts \
             them as missed): set the MTU of clients and targets, or of their routes through this host, to {longest} or less",
            interface.name,
            interface.mtu
        );
    }
    let memory = control.engine.flow_memory();
    let mebibytes = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    let each = |bytes: usize| bytes / (memory.flows.max(1) as usize);
    say!(
        "flow table: {} flows in {:.1} MiB, {} bytes each; up to {:.1} MiB, {} bytes each, if all have IPv6 ends and are \
         counted for the flow log or began with a PROXY header",
        memory.flows,
        mebibytes(memory.bytes),
        each(memory.bytes),
        mebibytes(memory.most_bytes),
        each(memory.most_bytes)
    );
    if let Some(endpoint) = &control.endpoint {
        say!("Elastic Load Balancing API at http://{}", endpoint.address());
    }
    say!(
        "ready in {} ms; control socket {}",
        control.started.elapsed().as_millis(),
        control.store.config.control_socket.display()
    );
    if let Some(tcp) = &control.store.config.control_api.tcp {
        say!("control API for clients with certificates: https://{}", tcp.listen);
    }
    if let Some(flow_log) = &control.store.config.flow_log {
        say!("flow log: {}", flow_log.file.display());
    }
    if let Some(server) = &control.metrics_server {
        say!("metrics for Prometheus: http://{}/metrics", server.address());
    }
}

/// Turns signals into events. The handle closes the stream, which ends the thread.
fn forward_signals(
    events: Sender<Event>,
) -> Result<(signal_hook::iterator::Handle, std::thread::JoinHandle<()>), Box<dyn Error>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let handle = signals.handle();
    let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            let event = if signal == SIGHUP { Event::Reload } else { Event::Stop };
            drop(events.send(event)); // Nobody listens any more only when the daemon is stopping.
        }
    })?;
    Ok((handle, thread))
}

const ETHERNET_HEADER_BYTES: u32 = 14;

/// Where the files stand that keep two instances off one interface.
pub(crate) const LOCK_DIRECTORY: &str = "/run/lbd";
