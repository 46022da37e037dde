//! Health checks: whether each target may get new flows.
//!
//! One thread checks every target of every group that a listener uses, from an address of the kernel's choice. The daemon
//! hands in the checks and is called back at every change of state.
//!
//! ```text
//! Health --commands--> checker (the thread) --time--> roster (when to check whom) --outcomes--> machine (what they mean)
//!    ^                    | one future a check
//!    |                    v
//!  board <--news--   tcp, http, grpc, udp  over socket, tls
//! ```

mod absence;
mod board;
mod checker;
mod grpc;
mod http;
mod lateness;
mod machine;
mod matcher;
mod probe;
mod roster;
mod socket;
mod target_health;
mod tls;
mod udp;

use std::{
    collections::{BTreeSet, HashMap},
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{Sender, unbounded};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use board::Board;
pub use board::{LastCheck, TargetReport};
pub use lateness::Statistics;
pub use machine::Thresholds;
pub use matcher::{Matcher, MatcherError};
pub use probe::{GrpcProbe, HttpProbe, Probe, Roots, TlsProbe, UdpProbe, Validation};
pub use target_health::{Cause, TargetHealth};

use crate::{
    compile,
    config::{self, Config, Family, Listener, LoadBalancer, Target},
};

/// The checks that run, and what they found.
pub struct Health {
    commands: Sender<Command>,
    waker: mio::Waker,
    board: Arc<Board>,
    thread: Option<JoinHandle<()>>,
}

/// A target to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The target.
    pub key: TargetKey,
    /// Where to send the probe.
    pub endpoint: SocketAddr,
    /// How connections begin.
    pub opening: Opening,
    /// What to ask.
    pub probe: Arc<Probe>,
    /// Longest time from the start of one check to the start of the next; jitter takes off up to 5 %.
    pub interval: Duration,
    /// A check that has not succeeded after this long has failed.
    pub timeout: Duration,
    /// Outcomes in a row that change the state.
    pub thresholds: Thresholds,
    /// How long a target is in `unhealthy.draining` before it is unhealthy; zero: not at all.
    pub draining_interval: Duration,
}

/// How the connection of a check begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// With the check itself.
    Plain,
    /// With a PROXY header that says `LOCAL`: the connection is no client's.
    ProxyHeader,
}

/// A change of a target's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The target.
    pub key: TargetKey,
    /// State before.
    pub from: TargetHealth,
    /// State now.
    pub to: TargetHealth,
}

/// The checks that a configuration asks for: every target of every group that a listener uses, unless it is stopped, its
/// zone is none of the load balancer's, or its address is one of the host's own.
pub fn checks(config: &Config, host: &BTreeSet<IpAddr>) -> Vec<Check> {
    let groups = config.target_groups.iter().enumerate();
    let used = groups.filter_map(|(index, group)| Some((group, config.user(index)?)));
    let checks = used.flat_map(|(group, (lb, listener))| group_checks(group, lb, listener));
    checks.filter(|check| !host.contains(&check.key.address)).collect()
}

impl Health {
    /// Starts the thread, with nothing to check yet. It calls `on_transition` at every change of a state.
    ///
    /// Raises the soft limit of open files of this process to the hard one: every check under way has a socket.
    pub fn start(on_transition: impl FnMut(Transition) + Send + 'static) -> io::Result<Health> {
        raise_open_files()?;
        let (sender, commands) = unbounded();
        let board = Arc::new(Board::default());
        let checker = checker::Checker::new(commands, board.clone())?;
        let waker = checker.waker()?;
        let thread =
            std::thread::Builder::new().name("health".into()).spawn(move || checker.run(on_transition))?;
        Ok(Health { commands: sender, waker, board, thread: Some(thread) })
    }

    /// Targets that the next [`Health::set`] brings begin with these states, if they are of checked targets.
    pub fn restore(&self, states: impl IntoIterator<Item = (TargetKey, TargetHealth)>) {
        let restored = states.into_iter().filter_map(|(key, health)| Some((key, health.restored()?)));
        *self.board.restored() = restored.collect();
    }

    /// Checks exactly these targets from now on. Those checked already keep their state; new ones are checked at once.
    pub fn set(&self, checks: Vec<Check>) {
        self.register(&checks);
        let restored = std::mem::take(&mut *self.board.restored());
        self.send(Command::Set { checks, restored });
    }

    /// Knows the states of exactly these targets, whose checks [`Health::set`] begins later.
    pub fn register(&self, checks: &[Check]) {
        self.board.register(checks.iter().map(|check| &check.key));
    }

    /// Makes the next check of these targets now, or a second after the last one began if that was more recent. Decides
    /// nothing by itself.
    pub fn hasten(&self, targets: Vec<TargetKey>) {
        self.send(Command::Hasten(targets));
    }

    /// What the checks say of a target now; [`TargetHealth::RegistrationInProgress`] of one that is not checked.
    pub fn of(&self, key: &TargetKey) -> TargetHealth {
        let state = self.board.reports().get(key).map(|report| report.health);
        state.unwrap_or(TargetHealth::RegistrationInProgress)
    }

    /// All that is known of a target; `None` of one that is not checked.
    pub fn report(&self, key: &TargetKey) -> Option<TargetReport> {
        self.board.reports().get(key).copied()
    }

    /// The state of every checked target, in the order of its key.
    pub fn snapshot(&self) -> Vec<(TargetKey, TargetHealth)> {
        let mut rows: Vec<_> =
            self.board.reports().iter().map(|(key, report)| (key.clone(), report.health)).collect();
        rows.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        rows
    }

    /// How punctual the checks are.
    pub fn statistics(&self) -> Statistics {
        *self.board.statistics()
    }

    fn send(&self, command: Command) {
        // Both fail only when the thread is gone, which is when nobody asks any more.
        let _ = self.commands.send(command);
        let _ = self.waker.wake();
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        self.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread is told.
enum Command {
    Set { checks: Vec<Check>, restored: HashMap<TargetKey, TargetHealth> },
    Hasten(Vec<TargetKey>),
    Stop,
}

fn raise_open_files() -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return Ok(());
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

fn group_checks<'c>(
    group: &'c config::TargetGroup,
    lb: &'c LoadBalancer,
    listener: &Listener,
) -> impl Iterator<Item = Check> + 'c {
    let check = &group.health_check;
    let probe = Arc::new(check.protocol.probe(&host(group, lb, listener)));
    let is_checked = |target: &Target| lb.serves(target.zone.as_deref()) && !target.is_stopped;
    let keys = group.targets.iter().zip(compile::keys(group));
    keys.filter(move |(target, _)| is_checked(target)).map(move |(_, key)| Check {
        endpoint: SocketAddr::new(key.address, check.port.unwrap_or(key.port)),
        opening: opening(group, key.port),
        key,
        probe: probe.clone(),
        interval: check.interval,
        timeout: check.timeout,
        thresholds: Thresholds { healthy: check.healthy_threshold, unhealthy: check.unhealthy_threshold },
        draining_interval: Duration::from_secs(group.draining_interval_seconds.into()),
    })
}

/// How checks of a target with this port begin: as its clients' connections do, but at another port only if the check says so.
fn opening(group: &config::TargetGroup, target_port: u16) -> Opening {
    let check = &group.health_check;
    let is_traffic_port = check.port.is_none_or(|port| port == target_port);
    match check.has_proxy_header.unwrap_or(group.proxy_header.is_some() && is_traffic_port) {
        true => Opening::ProxyHeader,
        false => Opening::Plain,
    }
}

/// What checks name as the host that they ask: the address, of the group's family if there is one, and port that clients use.
fn host(group: &config::TargetGroup, lb: &LoadBalancer, listener: &Listener) -> String {
    let address =
        lb.addresses().find(|address| Family::of(*address) == group.family).unwrap_or(lb.vips[0].address);
    SocketAddr::new(address, listener.port).to_string()
}

/// What a target is known by: the same address and port in two groups is two targets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TargetKey {
    /// Name of its target group.
    pub group: Arc<str>,
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
}

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, std::net::SocketAddr::new(self.address, self.port))
    }
}

#[cfg(test)]
mod tests;
