//! The control API's server: HTTP and JSON on a Unix socket, on a thread of its own.
//!
//! It decides nothing. Each request becomes a [`Call`] for the control thread, which answers by the call's [`Reply`].
//!
//! ```text
//! socket --accept--> access, seats --connection--> routes --Call--> control thread
//!                        |                           ^
//!                     farewell                     events <--Events-- control thread
//! ```

mod accept;
mod access;
pub(crate) mod answer;
mod certificate;
mod connection;
pub(crate) mod counts;
mod events;
mod limits;
mod routes;
pub(crate) mod seats;
mod socket;
mod stream;
mod tcp;
mod unstalled;

use std::{
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use axum::http::StatusCode;
use lb_core::flow_key::FlowKey;
use tokio::sync::oneshot;

use crate::{
    api::{
        ApiTraffic, FlowList, FlowsQuery, InForce, Refusal, RefusalCode, Stats, Status, TargetRow,
        TraceQuery, Why, WhyQuery,
    },
    change::Change,
    config::Document,
    metrics::Metrics,
    objects::{Difference, Objects},
};
use accept::House;
pub use access::Access;
use counts::Counts;
pub use events::Events;
pub use limits::{Limits, STALL_TIME};
use socket::{Place, Reach};
pub use stream::{Stream, StreamWriter, stream};
use tcp::Door;
pub use tcp::Tcp;

/// A request for the control thread.
#[derive(Debug)]
pub enum Call {
    /// The daemon at a glance.
    Status(Reply<Status>),
    /// Every target.
    Targets(Reply<Vec<TargetRow>>),
    /// The targets of one target group.
    TargetsOf {
        /// Its name.
        target_group: String,
        /// The answer.
        reply: Reply<Vec<TargetRow>>,
    },
    /// The objects as they are.
    Snapshot(Reply<Snapshot>),
    /// Change objects.
    Change(ChangeCall),
    /// The host's settings and all objects as a configuration file.
    Export(Reply<String>),
    /// What applying a file would change.
    Differences {
        /// The file.
        file: Document,
        /// The answer.
        reply: Reply<Vec<Difference>>,
    },
    /// Some flows, or their number.
    Flows {
        /// Which.
        query: FlowsQuery,
        /// The answer.
        reply: Reply<FlowList>,
    },
    /// Why packets fare as they do.
    Why {
        /// From whom to whom.
        query: WhyQuery,
        /// The key of such packets.
        key: FlowKey,
        /// The answer.
        reply: Reply<Why>,
    },
    /// Tell what becomes of frames, as they come.
    Trace {
        /// Which.
        query: TraceQuery,
        /// The answer: lines of JSON ([`crate::api::TraceLine`]).
        reply: Reply<Stream>,
    },
    /// Tell of frames with what is in them.
    Capture {
        /// Which.
        query: TraceQuery,
        /// Who asks for it.
        by: Caller,
        /// The answer: blocks of pcapng.
        reply: Reply<Stream>,
    },
    /// Counters.
    Stats(Reply<Stats>),
    /// What a scrape tells.
    Metrics(Reply<Metrics>),
    /// Read the configuration again and apply it, or refuse it and keep the old one.
    Reload {
        /// Who asks for it.
        by: Caller,
        /// The answer.
        reply: Reply<InForce>,
    },
}

/// A request to change objects, wholly or not at all.
#[derive(Debug)]
pub struct ChangeCall {
    /// The change.
    pub change: Change,
    /// Refuse it (`GenerationMismatch`) unless the objects are of this generation.
    pub expected_generation: Option<u64>,
    /// Who asks.
    pub by: Caller,
    /// The answer, once the change is in force and kept.
    pub reply: Reply<Changed>,
}

/// Who asks for a change, for the audit line: `uid 0 pid 4711`, or a key or certificate and an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller(pub String);

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A change is in force and kept.
#[derive(Clone, Debug)]
pub struct Changed {
    /// In which generation.
    pub in_force: InForce,
    /// The objects with it.
    pub objects: Arc<Objects>,
}

/// Objects of a generation.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The generation.
    pub generation: u64,
    /// The objects.
    pub objects: Arc<Objects>,
}

/// Where the answer to a call goes. Dropped unused, it tells the client that there is no answer.
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<Result<T, Refusal>>);

impl<T> Reply<T> {
    /// A reply, and where its answer comes out.
    pub(crate) fn channel() -> (Reply<T>, oneshot::Receiver<Result<T, Refusal>>) {
        let (sender, answer) = oneshot::channel();
        (Reply(sender), answer)
    }

    /// Answers. A client that has gone away is no concern of the control thread's.
    pub fn send(self, answer: T) {
        let _ = self.0.send(Ok(answer));
    }

    /// Refuses, with one paragraph for a person.
    pub fn refuse(self, refusal: impl Into<Refusal>) {
        let _ = self.0.send(Err(refusal.into()));
    }
}

/// How the server is set up.
#[derive(Clone)]
pub struct Settings {
    /// The Unix socket's path.
    pub socket: PathBuf,
    /// Who may use it.
    pub access: Access,
    /// How much a client may take.
    pub limits: Limits,
    /// Where to listen beside the socket.
    pub tcp: Option<Tcp>,
    /// Takes a line of the log, and must not block.
    pub log: fn(String),
}

/// The running server. Dropping it stops the thread and removes the socket.
#[derive(Debug)]
pub struct Server {
    events: Events,
    counts: Arc<Counts>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why the server cannot be started.
#[derive(Debug)]
pub enum ServerError {
    /// Somebody answers on the socket.
    InUse(PathBuf),
    /// The path is taken by something that is not a socket.
    NotASocket(PathBuf),
    /// The system refused.
    System(PathBuf, io::Error),
    /// The system refused to listen on an address.
    Tcp(SocketAddr, io::Error),
    /// A file that a key of `control_api.tcp` names is of no use.
    Tls(&'static str, String),
}

impl Settings {
    /// Uid 0 and the daemon's own user may use `socket`; the log goes to standard error.
    pub fn of(socket: &Path) -> Settings {
        let log = |line| eprintln!("lbd: {line}");
        Settings {
            socket: socket.into(),
            access: Access::default(),
            limits: Limits::default(),
            tcp: None,
            log,
        }
    }
}

impl Server {
    /// Listens on `socket`, for uid 0 and the daemon's own user. See [`Server::with`].
    pub fn start(
        socket: &Path,
        deliver: impl Fn(Call) + Send + Sync + 'static,
    ) -> Result<Server, ServerError> {
        Server::with(Settings::of(socket), deliver)
    }

    /// Listens on the socket: mode 0660, its directory made with 0750 if need be; where groups have access 0666 and 0755. A socket
    /// that nobody answers on is replaced. `deliver` hands a call to the control thread, and must not block.
    pub fn with(
        settings: Settings,
        deliver: impl Fn(Call) + Send + Sync + 'static,
    ) -> Result<Server, ServerError> {
        let path = settings.socket.clone();
        let system = |error| ServerError::System(path.clone(), error);
        let reach = if settings.access.has_groups() { Reach::Host } else { Reach::Owner };
        let (place, listener) = Place::bind(&path, reach)?;
        let door = settings.tcp.clone().map(Door::open).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::UnixListener::from_std(listener).map_err(system)?
        };
        let (feed, events, inbox) = events::feed();
        let counts = Arc::new(Counts::default());
        let (deliver, body_bytes) = (Deliver::new(deliver), settings.limits.body_bytes);
        let router =
            routes::router(routes::Api { deliver, feed: feed.clone(), body_bytes, counts: counts.clone() });
        let house = House::new(settings, router, counts.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let run = move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = house.clone().keep(place, listener) => {}
                    () = house.clone().keep_door(door) => {}
                    () = async { feed.take_in(inbox).await; std::future::pending().await } => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("api".into()).spawn(run).map_err(system)?;
        Ok(Server { events, counts, stop: Some(stop), thread: Some(thread) })
    }

    /// Where to publish what followers of `GET /v1/events` are told.
    pub fn events(&self) -> Events {
        self.events.clone()
    }

    /// Connections so far.
    pub fn traffic(&self) -> ApiTraffic {
        self.counts.read()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerError::InUse(path) => {
                write!(
                    f,
                    "another lbd answers on {}: stop it, or give this one its own control_socket",
                    path.display()
                )
            }
            ServerError::NotASocket(path) => {
                write!(
                    f,
                    "{} exists and is no socket: remove it, or name another control_socket",
                    path.display()
                )
            }
            ServerError::System(path, error) => write!(f, "cannot listen on {}: {error}", path.display()),
            ServerError::Tcp(address, error) => write!(f, "cannot listen on {address}: {error}"),
            ServerError::Tls(key, error) => write!(f, "control_api.tcp.{key}: {error}"),
        }
    }
}

impl std::error::Error for ServerError {}

/// Hands a call to the control thread.
#[derive(Clone)]
pub(crate) struct Deliver(Arc<dyn Fn(Call) + Send + Sync>);

impl Deliver {
    /// By a function that must not block.
    pub(crate) fn new(deliver: impl Fn(Call) + Send + Sync + 'static) -> Deliver {
        Deliver(Arc::new(deliver))
    }

    /// The control thread's answer to a call, or why there is none and the status that says so.
    pub(crate) async fn ask<T>(
        &self,
        call: impl FnOnce(Reply<T>) -> Call,
    ) -> Result<T, (StatusCode, Refusal)> {
        let (sender, answer) = oneshot::channel();
        (self.0)(call(Reply(sender)));
        let unavailable = |why: &str| {
            let refusal = Refusal::of(RefusalCode::ServiceUnavailable, why);
            Err((answer::status(&refusal), refusal))
        };
        match tokio::time::timeout(limits::CONTROL_TIME, answer).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(refusal))) => {
                let code = refusal.code.unwrap_or(RefusalCode::InvalidConfigurationRequest);
                Err((answer::status(&refusal), Refusal { code: Some(code), ..refusal }))
            }
            Ok(Err(_)) => unavailable("the daemon is stopping"),
            Err(_) => unavailable("the daemon's control thread did not answer in time"),
        }
    }
}

#[cfg(test)]
mod tests;
