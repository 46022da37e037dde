//! What the control API says: the shapes of its JSON, shared by server and client.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | [`Status`] |
//! | `GET /v1/targets` | [`TargetRow`] array |
//! | `GET /v1/flows?limit=N` | [`FlowRow`] array |
//! | `GET /v1/stats` | [`Stats`] |
//! | `POST /v1/reload` | [`Reloaded`] |
//!
//! An answer other than 200 carries a [`Refusal`].

use std::net::{IpAddr, SocketAddr};

use lb_core::{
    counters::{Counter, TrafficCounters, WorkerCounters},
    datapath::FlowView,
    tables::Tables,
    verdict::{Action, Reason},
};
use serde::{Deserialize, Serialize};

use crate::{
    compile::TargetEntry,
    config::Config,
    health::{TargetHealth, TargetKey},
};

/// The daemon at a glance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Time since it started, in seconds.
    pub uptime_seconds: u64,
    /// Path of the configuration in force.
    pub configuration: String,
    /// Generation of the tables last published.
    pub generation: u32,
    /// Oldest generation that a worker still uses.
    pub applied_generation: u32,
    /// How long TCP packets of no flow are still adopted, in seconds; 0: they are reset.
    pub adopting_seconds: u64,
    /// Load balancers.
    pub load_balancers: Vec<LoadBalancerRow>,
    /// Interfaces.
    pub interfaces: Vec<InterfaceRow>,
    /// Packet threads.
    pub workers: Vec<WorkerRow>,
    /// Flow table of all workers together.
    pub flow_table: FlowTable,
}

impl Status {
    /// Whether every listener has a healthy target.
    pub fn is_healthy(&self) -> bool {
        self.load_balancers.iter().flat_map(|lb| &lb.listeners).all(|listener| listener.healthy_targets > 0)
    }
}

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadBalancerRow {
    /// Name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Interface that they are on.
    pub interface: String,
    /// Its listeners.
    pub listeners: Vec<ListenerRow>,
}

/// A listener, one for each address and protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListenerRow {
    /// Name.
    pub name: String,
    /// Where new flows go.
    pub target_group: String,
    /// What targets see of clients: `preserve` (their address and port), `full NAT` (a source of the load balancer) or
    /// `translated` (the same, because they are of another family).
    pub mode: String,
    /// Whether targets meet only TCP clients that have confirmed their address.
    pub has_syn_cookies: bool,
    /// Whether TCP packets of no flow start one, always.
    pub adopts_strays: bool,
    /// Healthy targets of that group. With none the group fails open: every target gets flows.
    pub healthy_targets: u32,
    /// Registered targets of that group.
    pub registered_targets: u32,
    /// What went through it.
    pub traffic: Traffic,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InterfaceRow {
    /// Name.
    pub name: String,
    /// Link-layer address.
    pub mac: String,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Driver.
    pub driver: String,
}

/// A packet thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerRow {
    /// Its number.
    pub worker: u32,
    /// CPU that it is pinned to.
    pub cpu: u32,
    /// Share of its turns that found nothing to do, in percent.
    pub idle_percent: f64,
    /// Its sockets.
    pub sockets: Vec<SocketRow>,
}

/// A worker's socket on one queue of one interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SocketRow {
    /// Interface.
    pub interface: String,
    /// Queue.
    pub queue: u32,
    /// How frames reach it, such as `zero-copy, native`.
    pub mode: String,
    /// Frames that the kernel had no buffer or no place on the receive ring for, or that were too long: not in `received`.
    pub missed: u64,
}

/// The flow table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FlowTable {
    /// Flows in it.
    pub flows: u64,
    /// Of these, flows whose handshake is not complete.
    pub half_open: u64,
    /// Most flows that it can hold.
    pub capacity: u64,
    /// Memory that it takes, in bytes.
    pub bytes: u64,
}

/// A target, registered or still draining.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetRow {
    /// Its target group.
    pub target_group: String,
    /// Address and port.
    pub target: SocketAddr,
    /// State: `initial`, `healthy`, `unhealthy`, `draining` or `unused`.
    pub state: String,
    /// Reason code of the state.
    pub reason: Option<String>,
    /// The reason in a sentence.
    pub description: Option<String>,
    /// Its share of its group's flows, in proportion to the others' weights; `None` once it is deregistered.
    pub weight: Option<u16>,
    /// Whether it gets new flows.
    pub is_eligible: bool,
    /// Whether the way to it is known.
    pub is_reachable: bool,
    /// What went to and from it.
    pub traffic: Traffic,
}

/// A flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRow {
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// Client.
    pub client: SocketAddr,
    /// Listener's address and port.
    pub listener: SocketAddr,
    /// What the target sees as the client: another than `client` when that is hidden or translated.
    pub source: SocketAddr,
    /// Target.
    pub target: SocketAddr,
    /// State, such as `established`.
    pub state: String,
    /// Time without packets, in milliseconds.
    pub idle_ms: u32,
    /// Forgotten after this long without packets, in milliseconds.
    pub timeout_ms: u32,
}

/// Counters over all workers since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Frames taken from receive rings. With `made` equal to transmitted + replied + dropped, but for frames still on their way.
    pub received: u64,
    /// Frames that the load balancer made beside those that it received.
    pub made: u64,
    /// Frames sent on.
    pub transmitted: u64,
    /// Frames answered by the load balancer itself.
    pub replied: u64,
    /// Frames dropped.
    pub dropped: u64,
    /// Frames that changed worker on the way; each is also in one of the other sums.
    pub handed_over: u64,
    /// Fragments that were kept until the first of their datagram came; each is also in one of the other sums, once it is over.
    pub held: u64,
    /// Frames that never got to a worker, because it had no buffer or no place for them: not in `received`.
    pub missed: u64,
    /// Every reason that was counted, or all of them.
    pub reasons: Vec<ReasonRow>,
    /// Flows in the table.
    pub flows: u64,
    /// Of these, flows whose handshake is not complete.
    pub half_open: u64,
    /// Half-open flows that made room for others.
    pub half_open_evicted: u64,
    /// Flows that ended by idle timeout.
    pub expired: u64,
    /// Flows that were cut because their target was.
    pub cut: u64,
    /// Flows of a target to itself.
    pub hairpins: u64,
}

/// How many frames met their fate for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonRow {
    /// Name of the reason.
    pub reason: String,
    /// What was done: `transmit`, `reply`, `hand_over`, `hold` or `drop`.
    pub verdict: String,
    /// The reason in a sentence.
    pub help: String,
    /// Frames.
    pub frames: u64,
}

/// Traffic of one listener or one target since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Flows made.
    pub new_flows: u64,
    /// Flows now.
    pub active_flows: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients, from the IP header on.
    pub bytes_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes to clients, from the IP header on.
    pub bytes_out: u64,
    /// Resets that the load balancer made.
    pub resets: u64,
    /// Flows refused because no source port was free (NLB `PortAllocationErrorCount`).
    pub port_allocation_errors: u64,
}

/// A configuration was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Generation of the tables that it led to.
    pub generation: u32,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// One paragraph for a person.
    pub error: String,
}

impl Traffic {
    /// The sum over workers.
    pub fn sum<'a>(workers: impl IntoIterator<Item = &'a TrafficCounters>) -> Traffic {
        let mut sum = Traffic::default();
        for counters in workers {
            sum.new_flows += counters.new_flows.value();
            sum.active_flows = sum.active_flows.wrapping_add(counters.active_flows.value());
            sum.packets_in += counters.packets_in.value();
            sum.bytes_in += counters.bytes_in.value();
            sum.packets_out += counters.packets_out.value();
            sum.bytes_out += counters.bytes_out.value();
            sum.resets += counters.resets.value();
            sum.port_allocation_errors += counters.port_allocation_errors.value();
        }
        sum
    }
}

impl Stats {
    /// Whether every frame has exactly one fate. True of a daemon through which nothing moves.
    pub fn balance(&self) -> bool {
        self.received + self.made == self.transmitted + self.replied + self.dropped
    }

    /// The sums over workers.
    pub fn sum(workers: &[impl AsRef<WorkerCounters>]) -> Stats {
        let total = |counter: fn(&WorkerCounters) -> &Counter| -> u64 {
            workers.iter().map(|worker| counter(worker.as_ref()).value()).sum()
        };
        let mut stats = Stats {
            received: total(|worker| &worker.received),
            made: total(|worker| &worker.made),
            flows: total(|worker| &worker.flows),
            half_open: total(|worker| &worker.half_open),
            half_open_evicted: total(|worker| &worker.half_open_evicted),
            expired: total(|worker| &worker.expired),
            cut: workers.iter().map(|worker| worker.as_ref().all_cut()).sum(),
            hairpins: total(|worker| &worker.hairpins),
            ..Stats::default()
        };
        for &reason in Reason::ALL.iter().filter(|reason| reason.action() != Action::Pass) {
            let frames = workers.iter().map(|worker| worker.as_ref().reasons[reason as usize].value()).sum();
            match reason.action() {
                Action::Transmit => stats.transmitted += frames,
                Action::Reply => stats.replied += frames,
                Action::HandOver => stats.handed_over += frames,
                Action::Hold => stats.held += frames,
                Action::Drop => stats.dropped += frames,
                Action::Pass => {}
            }
            let (name, verdict) = (reason.name().into(), reason.action().name().into());
            stats.reasons.push(ReasonRow { reason: name, verdict, help: reason.help().into(), frames });
        }
        stats
    }
}

impl TargetRow {
    /// The row of a target in these tables and this configuration, with what is told of its health.
    pub fn new(
        entry: &TargetEntry,
        config: &Config,
        tables: &Tables,
        health: TargetHealth,
        traffic: Traffic,
    ) -> TargetRow {
        let TargetKey { group, address, port } = &entry.key;
        let target = tables.target(entry.id);
        let group_row = target.and_then(|target| tables.group(target.group));
        TargetRow {
            target_group: group.to_string(),
            target: SocketAddr::new(*address, *port),
            state: health.state().into(),
            reason: health.reason().map(Into::into),
            description: health.description(),
            weight: config.target(group, *address, *port).map(|target| target.weight),
            is_eligible: group_row
                .is_some_and(|group| group.pools.iter().any(|pool| pool.eligible.contains(&entry.id))),
            is_reachable: target.is_some_and(|target| target.next_hop.is_some()),
            traffic,
        }
    }
}

impl From<FlowView> for FlowRow {
    fn from(view: FlowView) -> FlowRow {
        FlowRow {
            protocol: view.protocol.name().into(),
            client: view.client.into(),
            listener: view.vip.into(),
            source: view.source.into(),
            target: view.target.into(),
            state: view.state.into(),
            idle_ms: view.idle_ms,
            timeout_ms: view.timeout_ms,
        }
    }
}

/// Flows that `GET /v1/flows` lists when the request names no limit.
pub const FLOWS_LISTED_DEFAULT: usize = 100;

/// Most flows that `GET /v1/flows` lists.
pub const FLOWS_LISTED: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn every_settled_frame_is_in_one_sum() {
        let workers = [Arc::new(WorkerCounters::new()), Arc::new(WorkerCounters::new())];
        let settled = Reason::ALL.iter().filter(|reason| reason.action() != Action::Pass);
        for (index, &reason) in settled.enumerate() {
            workers[index % 2].settle(reason);
            match reason.action() {
                Action::HandOver | Action::Hold => {}
                Action::Drop => workers[1].made.add(1),
                _ => workers[0].received.add(1),
            }
        }
        let stats = Stats::sum(&workers);
        assert!(stats.balance());
        assert_eq!((stats.transmitted > 0, stats.replied > 0), (true, true));
        assert_eq!((stats.handed_over, stats.held), (1, 1));
        assert!(stats.reasons.iter().all(|row| row.frames == 1));
    }
}
