//! What the control API tells, from what the control thread knows.

mod targets;

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use lb_core::{
    counters::WorkerCounters,
    tables::{Listener, ListenerId, Mac, WeightedGroup},
};
use lb_ctl::{
    api::{
        FlowTable, ForwardRow, InterfaceRow, ListenerRow, LoadBalancerRow, RingCounters, SocketRow, Stats,
        Status, Traffic, VipRow, WorkerFrames, WorkerRow,
    },
    compile::{self, ZonalHealth},
    config::{TargetGroup, Vip},
    health::{TargetHealth, TargetKey},
};
use lb_io::{
    clock,
    engine::{SocketStatus, WorkerStatus},
};

use crate::control::Control;

/// Targets of one group.
#[derive(Clone, Copy, Default)]
struct TargetCounts {
    healthy: u32,
    registered: u32,
}

impl Control {
    /// The daemon at a glance.
    pub fn status(&self) -> Status {
        let counters = self.engine.counters();
        let stats = Stats::sum(&counters);
        let memory = self.engine.flow_memory();
        let adopting_ns =
            self.adopt_until.map_or(0, |until| until.nanos().saturating_sub(clock::now().nanos()));
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            configuration: self.path.display().to_string(),
            generation: self.store.generation,
            tables_generation: self.tables.generation(),
            applied_tables_generation: self.engine.applied_generation(),
            adopting_seconds: adopting_ns.div_ceil(1_000_000_000),
            load_balancers: self.load_balancers(&counters),
            interfaces: self.interfaces(),
            workers: self.workers(&counters),
            flow_table: FlowTable {
                flows: stats.flows,
                half_open: stats.half_open,
                capacity: memory.flows,
                bytes: memory.bytes as u64,
            },
            flow_log: self.flow_log_status(),
        }
    }

    /// Counters over all workers.
    pub fn stats(&self) -> Stats {
        let sockets = self.engine.workers().into_iter().flat_map(|worker| worker.sockets);
        let missed = sockets.map(|socket| missed(&socket)).sum();
        Stats { missed, control_api: self.server.traffic(), ..Stats::sum(&self.engine.counters()) }
    }

    pub(crate) fn load_balancers(&self, counters: &[Arc<WorkerCounters>]) -> Vec<LoadBalancerRow> {
        let counts = self.target_counts();
        let zonal_health: HashMap<IpAddr, ZonalHealth> = self.compiler.zonal_health().into_iter().collect();
        let rows = self.store.config.load_balancers.iter().map(|lb| {
            let listeners = self.tables.listeners().iter().enumerate().filter_map(|(id, listener)| {
                let listener = listener.as_ref().filter(|listener| !listener.forward.is_closing())?;
                lb.addresses()
                    .any(|address| address == listener.endpoint.address)
                    .then_some((ListenerId(id as u16), listener))
            });
            let traffic = |id: ListenerId| self.ledger.listener(counters, id);
            LoadBalancerRow {
                name: lb.name.clone(),
                addresses: lb.vips.iter().map(|vip| vip_row(vip, &zonal_health)).collect(),
                interface: self.store.config.interfaces[usize::from(lb.interface.0)].clone(),
                crosses_zones: lb.crosses_zones,
                listeners: listeners.map(|(id, row)| self.listener(row, &counts, traffic(id))).collect(),
            }
        });
        rows.collect()
    }

    fn listener(
        &self,
        listener: &Listener,
        counts: &HashMap<&str, TargetCounts>,
        traffic: Traffic,
    ) -> ListenerRow {
        let forward: Vec<ForwardRow> =
            listener.forward.groups.iter().filter_map(|row| self.forward(row, counts)).collect();
        ListenerRow {
            name: listener.name.to_string(),
            address: listener.endpoint.address,
            mode: self.mode(&forward, listener.endpoint.address),
            forward,
            is_sticky: listener.forward.is_sticky,
            has_syn_cookies: listener.has_syn_cookies,
            adopts_strays: listener.adopts_strays,
            traffic,
        }
    }

    fn forward(&self, row: &WeightedGroup, counts: &HashMap<&str, TargetCounts>) -> Option<ForwardRow> {
        let (group, pool) = self.tables.pool(row)?;
        let counts = counts.get(&*group.name).copied().unwrap_or_default();
        Some(ForwardRow {
            target_group: group.name.to_string(),
            weight: row.weight,
            healthy_targets: counts.healthy,
            registered_targets: counts.registered,
            is_failing_open: pool.is_failing_open,
        })
    }

    /// What targets see of clients of an address: of each group, once.
    fn mode(&self, forward: &[ForwardRow], vip: IpAddr) -> String {
        let group = |row: &ForwardRow| {
            self.store.config.target_groups.iter().find(|group| group.name == row.target_group)
        };
        let mut modes: Vec<&str> =
            forward.iter().filter_map(group).map(|group| group.client_address(vip).name()).collect();
        modes.dedup();
        modes.join(", ")
    }

    /// How many targets there are, by target group.
    fn target_counts(&self) -> HashMap<&str, TargetCounts> {
        let count = |group: &TargetGroup| {
            let is_healthy = |key: &TargetKey| self.health.of(key) == TargetHealth::Healthy;
            let healthy = compile::keys(group).filter(is_healthy).count();
            TargetCounts { healthy: healthy as u32, registered: group.targets.len() as u32 }
        };
        self.store.config.target_groups.iter().map(|group| (group.name.as_str(), count(group))).collect()
    }

    fn interfaces(&self) -> Vec<InterfaceRow> {
        let driver = |name: &str| {
            lb_io::device::Device::open(name).map_or_else(|error| error.to_string(), |device| device.driver)
        };
        let row = |interface: lb_core::tables::Interface| InterfaceRow {
            name: interface.name.to_string(),
            mac: text(interface.mac),
            mtu: interface.mtu,
            driver: driver(&interface.name),
        };
        self.engine.interfaces().into_iter().map(row).collect()
    }

    fn workers(&self, counters: &[Arc<WorkerCounters>]) -> Vec<WorkerRow> {
        self.engine
            .workers()
            .into_iter()
            .zip(counters)
            .map(|(worker, counted)| row(worker, counted))
            .collect()
    }
}

fn row(worker: WorkerStatus, counted: &WorkerCounters) -> WorkerRow {
    WorkerRow {
        worker: u32::from(worker.worker),
        cpu: worker.cpu as u32,
        idle_percent: worker.idle_share() * 100.0,
        busy_seconds: seconds(worker.busy_ns),
        idle_seconds: seconds(worker.idle_ns),
        turns: worker.turns,
        frames: WorkerFrames::of(counted),
        flows: counted.flows.value(),
        half_open: counted.half_open.value(),
        sockets: worker.sockets.into_iter().map(socket_row).collect(),
    }
}

fn socket_row(socket: SocketStatus) -> SocketRow {
    let statistics = socket.statistics;
    SocketRow {
        missed: missed(&socket),
        interface: socket.interface,
        queue: socket.queue,
        mode: socket.mode.into(),
        rings: RingCounters {
            rx_dropped: statistics.rx_dropped,
            rx_ring_full: statistics.rx_ring_full,
            fill_ring_empty: statistics.rx_fill_ring_empty,
            tx_ring_empty: statistics.tx_ring_empty,
            rx_invalid: statistics.rx_invalid,
            tx_invalid: statistics.tx_invalid,
        },
    }
}

fn seconds(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64()
}

fn vip_row(vip: &Vip, zonal_health: &HashMap<IpAddr, ZonalHealth>) -> VipRow {
    let health = zonal_health.get(&vip.address).map(|health| match health {
        ZonalHealth::Healthy => "healthy".into(),
        ZonalHealth::Unhealthy => "unhealthy".into(),
    });
    VipRow { address: vip.address, zone: vip.zone.clone(), zonal_health: health }
}

/// An empty fill ring counts as `rx_dropped`, too.
fn missed(socket: &SocketStatus) -> u64 {
    socket.statistics.rx_dropped + socket.statistics.rx_ring_full
}

pub(crate) fn text(mac: Mac) -> String {
    mac.0.map(|byte| format!("{byte:02x}")).join(":")
}
