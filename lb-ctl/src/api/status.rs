//! The daemon at a glance: load balancers, interfaces, workers.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Traffic;

/// The daemon at a glance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Time since it started, in seconds.
    pub uptime_seconds: u64,
    /// Path of the configuration in force.
    pub configuration: String,
    /// Generation of the objects.
    pub generation: u64,
    /// Generation of the tables last published.
    pub tables_generation: u32,
    /// Oldest generation of tables that a worker still uses.
    pub applied_tables_generation: u32,
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
    /// The flow log, if it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_log: Option<FlowLogStatus>,
}

/// The flow log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlowLogStatus {
    /// Path of its file.
    pub file: String,
    /// Records that were written since the daemon started.
    pub records: u64,
    /// Records that were lost because they came faster than they were written.
    pub dropped_by_queue: u64,
    /// Records that were lost because the file could not be written.
    pub dropped_by_file: u64,
    /// Why the file cannot be written, while it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Status {
    /// Whether every listener has a healthy target.
    pub fn is_healthy(&self) -> bool {
        self.load_balancers.iter().flat_map(|lb| &lb.listeners).all(ListenerRow::has_healthy_target)
    }
}

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadBalancerRow {
    /// Name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<VipRow>,
    /// Interface that they are on.
    pub interface: String,
    /// Whether flows to the address of a zone may go to targets of other zones, where a target group does not say otherwise.
    pub crosses_zones: bool,
    /// Its listeners.
    pub listeners: Vec<ListenerRow>,
}

/// An address of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VipRow {
    /// The address.
    pub address: IpAddr,
    /// Its zone; `None` where the load balancer has none.
    pub zone: Option<String>,
    /// `healthy` or `unhealthy`: whether every target group behind it has the healthy targets that `target_group_health.dns_failover.*`
    /// asks for (NLB `ZonalHealthStatus`).
    pub zonal_health: Option<String>,
}

/// A listener, one for each address and protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerRow {
    /// Name.
    pub name: String,
    /// Address that it listens on.
    pub address: IpAddr,
    /// Where new flows go.
    pub forward: Vec<ForwardRow>,
    /// Whether the flows of one client's address go to one target group.
    pub is_sticky: bool,
    /// What targets see of clients: `preserve` (their address and port), `full NAT` (a source of the load balancer) or
    /// `translated` (the same, because they are of another family); where target groups differ, each.
    pub mode: String,
    /// Whether targets meet only TCP clients that have confirmed their address.
    pub has_syn_cookies: bool,
    /// Whether TCP packets of no flow start one, always.
    pub adopts_strays: bool,
    /// What went through it.
    pub traffic: Traffic,
}

impl ListenerRow {
    /// Healthy targets of its target groups.
    pub fn healthy_targets(&self) -> u32 {
        self.forward.iter().map(|row| row.healthy_targets).sum()
    }

    /// Registered targets of its target groups.
    pub fn registered_targets(&self) -> u32 {
        self.forward.iter().map(|row| row.registered_targets).sum()
    }

    fn has_healthy_target(&self) -> bool {
        self.forward.iter().any(|row| row.weight > 0 && row.healthy_targets > 0)
    }
}

/// A target group that a listener forwards to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ForwardRow {
    /// Its name.
    pub target_group: String,
    /// Share of new flows in proportion to the other weights; 0: none.
    pub weight: u16,
    /// Healthy targets.
    pub healthy_targets: u32,
    /// Registered targets.
    pub registered_targets: u32,
    /// Whether all targets get flows, because too few are healthy.
    pub is_failing_open: bool,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerRow {
    /// Its number.
    pub worker: u32,
    /// CPU that it is pinned to.
    pub cpu: u32,
    /// Share of its time since the start that found nothing to do, in percent.
    pub idle_percent: f64,
    /// Time in turns that moved frames, in seconds.
    #[serde(default)]
    pub busy_seconds: f64,
    /// Time in turns that moved none, asleep or not, in seconds.
    #[serde(default)]
    pub idle_seconds: f64,
    /// Turns of its loop.
    #[serde(default)]
    pub turns: u64,
    /// Frames, by what it did with them.
    #[serde(default)]
    pub frames: WorkerFrames,
    /// Flows in its part of the flow table.
    #[serde(default)]
    pub flows: u64,
    /// Of these, flows whose handshake is not complete.
    #[serde(default)]
    pub half_open: u64,
    /// Its sockets.
    pub sockets: Vec<SocketRow>,
}

/// Frames of one worker since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerFrames {
    /// Taken from receive rings.
    pub received: u64,
    /// Made beside those.
    pub made: u64,
    /// Sent on.
    pub transmitted: u64,
    /// Answered.
    pub replied: u64,
    /// Dropped.
    pub dropped: u64,
    /// Handed over to other workers.
    pub handed_over: u64,
    /// Fragments kept until the first of their datagram came.
    pub held: u64,
    /// Dropped because the ring to another worker was full; they are in `dropped`, too.
    pub handover_full: u64,
    /// Dropped because a transmit ring was full; they are in `dropped`, too.
    pub tx_ring_full: u64,
}

/// A worker's socket on one queue of one interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SocketRow {
    /// Interface.
    pub interface: String,
    /// Queue.
    pub queue: u32,
    /// How frames reach it, such as `zero-copy, native`.
    pub mode: String,
    /// Frames that the kernel had no buffer or no place on the receive ring for, or that were too long: not in `received`.
    pub missed: u64,
    /// What the kernel counts for it.
    #[serde(default)]
    pub rings: RingCounters,
}

/// The kernel's counters of one socket (`XDP_STATISTICS`), in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RingCounters {
    /// Dropped on receive for want of a buffer, or because they were too long.
    pub rx_dropped: u64,
    /// Dropped because the receive ring was full.
    pub rx_ring_full: u64,
    /// Times that the kernel found no buffer on the fill ring.
    pub fill_ring_empty: u64,
    /// Times that the kernel found the transmit ring empty.
    pub tx_ring_empty: u64,
    /// Descriptors on the fill ring that the kernel could not use.
    pub rx_invalid: u64,
    /// Descriptors on the transmit ring that the kernel could not use.
    pub tx_invalid: u64,
}

/// The flow table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
