//! What the control API tells, from what the control thread knows.

use std::sync::Arc;

use lb_core::{
    counters::WorkerCounters,
    tables::{ListenerId, Mac, TargetId},
};
use lb_ctl::{
    api::{
        FlowTable, InterfaceRow, ListenerRow, LoadBalancerRow, SocketRow, Stats, Status, TargetRow, Traffic,
        WorkerRow,
    },
    compile::reported_health,
    health::TargetHealth,
};
use lb_io::{clock, engine::SocketStatus};

use crate::control::Control;

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
            generation: self.tables.generation(),
            applied_generation: self.engine.applied_generation(),
            adopting_seconds: adopting_ns.div_ceil(1_000_000_000),
            load_balancers: self.load_balancers(&counters),
            interfaces: self.interfaces(),
            workers: self.workers(),
            flow_table: FlowTable {
                flows: stats.flows,
                half_open: stats.half_open,
                capacity: memory.flows,
                bytes: memory.bytes as u64,
            },
        }
    }

    /// Every target, those still draining included.
    pub fn targets(&self) -> Vec<TargetRow> {
        let counters = self.engine.counters();
        let now = clock::now();
        let row = |entry: lb_ctl::compile::TargetEntry| {
            let health = reported_health(&entry, self.health.of(&entry.key), now);
            TargetRow::new(&entry, &self.config, &self.tables, health, target_traffic(&counters, entry.id))
        };
        self.compiler.targets().into_iter().map(row).collect()
    }

    /// Counters over all workers.
    pub fn stats(&self) -> Stats {
        let sockets = self.engine.workers().into_iter().flat_map(|worker| worker.sockets);
        let missed = sockets.map(|socket| missed(&socket)).sum();
        Stats { missed, ..Stats::sum(&self.engine.counters()) }
    }

    fn load_balancers(&self, counters: &[Arc<WorkerCounters>]) -> Vec<LoadBalancerRow> {
        let rows = self.config.load_balancers.iter().map(|lb| {
            let listeners = self.tables.listeners().iter().enumerate().filter_map(|(id, listener)| {
                let listener = listener.as_ref()?;
                lb.addresses()
                    .any(|address| address == listener.endpoint.address)
                    .then_some((ListenerId(id as u16), listener))
            });
            LoadBalancerRow {
                name: lb.name.clone(),
                addresses: lb.addresses().collect(),
                interface: self.config.interfaces[usize::from(lb.interface.0)].clone(),
                listeners: listeners.map(|(id, listener)| self.listener(id, listener, counters)).collect(),
            }
        });
        rows.collect()
    }

    fn listener(
        &self,
        id: ListenerId,
        listener: &lb_core::tables::Listener,
        counters: &[Arc<WorkerCounters>],
    ) -> ListenerRow {
        let first = listener.forward.groups.first();
        let name = first.and_then(|row| self.tables.group(row.group)).map_or("", |group| &group.name);
        let group = self.config.target_groups.iter().find(|group| group.name == name);
        let keys = group.into_iter().flat_map(lb_ctl::compile::keys);
        let healths: Vec<TargetHealth> = keys.map(|key| self.health.of(&key)).collect();
        ListenerRow {
            name: listener.name.to_string(),
            target_group: name.into(),
            mode: group.map_or("", |group| group.client_address(listener.endpoint.address).name()).into(),
            has_syn_cookies: listener.has_syn_cookies,
            adopts_strays: listener.adopts_strays,
            healthy_targets: healths.iter().filter(|health| **health == TargetHealth::Healthy).count() as u32,
            registered_targets: healths.len() as u32,
            traffic: Traffic::sum(
                counters.iter().filter_map(|worker| worker.listeners.get(usize::from(id.0))),
            ),
        }
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

    fn workers(&self) -> Vec<WorkerRow> {
        let row = |worker: lb_io::engine::WorkerStatus| WorkerRow {
            worker: u32::from(worker.worker),
            cpu: worker.cpu as u32,
            idle_percent: worker.idle_share() * 100.0,
            sockets: worker
                .sockets
                .into_iter()
                .map(|socket| SocketRow {
                    missed: missed(&socket),
                    interface: socket.interface,
                    queue: socket.queue,
                    mode: socket.mode.into(),
                })
                .collect(),
        };
        self.engine.workers().into_iter().map(row).collect()
    }
}

fn target_traffic(counters: &[Arc<WorkerCounters>], id: TargetId) -> Traffic {
    Traffic::sum(counters.iter().filter_map(|worker| worker.targets.get(id.0 as usize)))
}

/// An empty fill ring counts as `rx_dropped`, too.
fn missed(socket: &SocketStatus) -> u64 {
    socket.statistics.rx_dropped + socket.statistics.rx_ring_full
}

fn text(mac: Mac) -> String {
    mac.0.map(|byte| format!("{byte:02x}")).join(":")
}
