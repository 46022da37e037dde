//! Health checks: whether each target may get new flows.
//!
//! One thread checks every target of every group that a listener uses, by a TCP connect from an address of the kernel's
//! choice. `machine` says what outcomes mean, `roster` when to check, `tcp` is the thread. The daemon hands in the checks
//! and is called back at every change of state.

mod machine;
mod roster;
mod tcp;

use std::{
    collections::HashMap,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{Sender, unbounded};
use serde::{Deserialize, Serialize};

pub use machine::{Machine, Outcome, Thresholds};

use crate::{
    compile,
    config::{self, Config},
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
    /// Where to connect to.
    pub endpoint: SocketAddr,
    /// Time from the start of one check to the start of the next; 10 % jitter is added or taken off.
    pub interval: Duration,
    /// A check that has not succeeded after this long has failed.
    pub timeout: Duration,
    /// Outcomes in a row that change the state.
    pub thresholds: Thresholds,
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

/// The checks that a configuration asks for: every target of every group that a listener uses.
pub fn checks(config: &Config) -> Vec<Check> {
    let groups = config.target_groups.iter().enumerate();
    groups.filter(|(index, _)| config.is_used(*index)).flat_map(|(_, group)| group_checks(group)).collect()
}

impl Health {
    /// Starts the thread, with nothing to check yet. It calls `on_transition` at every change of a state.
    pub fn start(on_transition: impl FnMut(Transition) + Send + 'static) -> io::Result<Health> {
        let (sender, commands) = unbounded();
        let board = Arc::new(Board::default());
        let checker = tcp::Checker::new(commands, board.clone())?;
        let waker = checker.waker()?;
        let thread =
            std::thread::Builder::new().name("health".into()).spawn(move || checker.run(on_transition))?;
        Ok(Health { commands: sender, waker, board, thread: Some(thread) })
    }

    /// Targets that the next [`Health::set`] brings begin with these states, if they are of checked targets.
    pub fn restore(&self, states: impl IntoIterator<Item = (TargetKey, TargetHealth)>) {
        let is_checked = |health: &TargetHealth| *health == TargetHealth::Healthy || health.is_unhealthy();
        *self.board.restored() = states.into_iter().filter(|(_, health)| is_checked(health)).collect();
    }

    /// Checks exactly these targets from now on. Those checked already keep their state; new ones are checked at once.
    pub fn set(&self, checks: Vec<Check>) {
        self.register(&checks);
        let restored = std::mem::take(&mut *self.board.restored());
        self.send(Command::Set { checks, restored });
    }

    /// Knows the states of exactly these targets, whose checks [`Health::set`] begins later.
    pub fn register(&self, checks: &[Check]) {
        let restored = self.board.restored();
        let mut states = self.board.states();
        let before = std::mem::take(&mut *states);
        let state = |key| before.get(key).or(restored.get(key)).copied();
        *states = checks
            .iter()
            .map(|Check { key, .. }| {
                (key.clone(), state(key).unwrap_or(TargetHealth::RegistrationInProgress))
            })
            .collect();
    }

    /// What the checks say of a target now; [`TargetHealth::RegistrationInProgress`] of one that is not checked.
    pub fn of(&self, key: &TargetKey) -> TargetHealth {
        self.board.states().get(key).copied().unwrap_or(TargetHealth::RegistrationInProgress)
    }

    /// The state of every checked target, in the order of its key.
    pub fn snapshot(&self) -> Vec<(TargetKey, TargetHealth)> {
        let mut rows: Vec<_> =
            self.board.states().iter().map(|(key, health)| (key.clone(), *health)).collect();
        rows.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        rows
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
    Stop,
}

/// What the thread and its owner share.
#[derive(Default)]
struct Board {
    states: Mutex<HashMap<TargetKey, TargetHealth>>,
    restored: Mutex<HashMap<TargetKey, TargetHealth>>,
}

impl Board {
    fn states(&self) -> MutexGuard<'_, HashMap<TargetKey, TargetHealth>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn restored(&self) -> MutexGuard<'_, HashMap<TargetKey, TargetHealth>> {
        self.restored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a change, unless the target is not checked any more.
    fn note(&self, transition: &Transition) -> bool {
        let mut states = self.states();
        let state = states.get_mut(&transition.key);
        let is_known = state.is_some();
        if let Some(state) = state {
            *state = transition.to;
        }
        is_known
    }
}

fn group_checks(group: &config::TargetGroup) -> impl Iterator<Item = Check> + '_ {
    let check = &group.health_check;
    compile::keys(group).map(move |key| Check {
        endpoint: SocketAddr::new(key.address, check.port.unwrap_or(key.port)),
        key,
        interval: check.interval,
        timeout: check.timeout,
        thresholds: Thresholds { healthy: check.healthy_threshold, unhealthy: check.unhealthy_threshold },
    })
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

/// State of a target with the reason for it (NLB "Target health status" and "Health check reason codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetHealth {
    /// Registered; its first check has not begun.
    RegistrationInProgress,
    /// No check has succeeded yet.
    InitialHealthChecking,
    /// Gets new flows.
    Healthy,
    /// Unhealthy: the last check had no answer in time.
    Timeout,
    /// Unhealthy: the last check was refused or failed otherwise.
    FailedHealthChecks,
    /// Deregistered; its flows go on through the deregistration delay.
    DeregistrationInProgress,
    /// Deregistered; the delay is over.
    NotRegistered,
    /// Its group is used by no listener.
    NotInUse,
}

impl TargetHealth {
    /// The state's name.
    pub const fn state(self) -> &'static str {
        match self {
            TargetHealth::RegistrationInProgress | TargetHealth::InitialHealthChecking => "initial",
            TargetHealth::Healthy => "healthy",
            TargetHealth::Timeout | TargetHealth::FailedHealthChecks => "unhealthy",
            TargetHealth::DeregistrationInProgress => "draining",
            TargetHealth::NotRegistered | TargetHealth::NotInUse => "unused",
        }
    }

    /// The reason code; `None` for a healthy target.
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            TargetHealth::RegistrationInProgress => Some("Elb.RegistrationInProgress"),
            TargetHealth::InitialHealthChecking => Some("Elb.InitialHealthChecking"),
            TargetHealth::Healthy => None,
            TargetHealth::Timeout => Some("Target.Timeout"),
            TargetHealth::FailedHealthChecks => Some("Target.FailedHealthChecks"),
            TargetHealth::DeregistrationInProgress => Some("Target.DeregistrationInProgress"),
            TargetHealth::NotRegistered => Some("Target.NotRegistered"),
            TargetHealth::NotInUse => Some("Target.NotInUse"),
        }
    }

    /// The reason in a sentence; `None` for a healthy target.
    pub const fn description(self) -> Option<&'static str> {
        match self {
            TargetHealth::RegistrationInProgress => Some("Target registration is in progress"),
            TargetHealth::InitialHealthChecking => Some("Initial health checks in progress"),
            TargetHealth::Healthy => None,
            TargetHealth::Timeout => Some("Request timed out"),
            TargetHealth::FailedHealthChecks => Some("Health checks failed"),
            TargetHealth::DeregistrationInProgress => Some("Target deregistration is in progress"),
            TargetHealth::NotRegistered => Some("Target is not registered to the target group"),
            TargetHealth::NotInUse => {
                Some("Target group is not configured to receive traffic from the load balancer")
            }
        }
    }

    /// Whether checks have found the target unhealthy.
    pub const fn is_unhealthy(self) -> bool {
        matches!(self, TargetHealth::Timeout | TargetHealth::FailedHealthChecks)
    }
}

#[cfg(test)]
mod tests;
