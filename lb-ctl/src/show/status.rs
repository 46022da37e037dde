//! `lbctl status`.

use comfy_table::{Cell, Color, Table};

use super::{
    Columns, refused_flows,
    table::{Give, fitted, number, right, table, wrapped},
    text::{bytes, count, duration},
};
use crate::api::{FlowLogStatus, ForwardRow, ListenerRow, Status, Traffic};

/// The daemon at a glance.
pub fn status(status: &Status, columns: Columns) -> String {
    let mut text = format!(
        "lbd {}, process {}, up {}, generation {}{}\nConfiguration: {}\n",
        status.version,
        status.pid,
        duration(status.uptime_seconds),
        status.generation,
        if status.applied_tables_generation == status.tables_generation {
            ""
        } else {
            " (workers are catching up)"
        },
        status.configuration,
    );
    if status.adopting_seconds > 0 {
        let left = duration(status.adopting_seconds);
        text += &format!("After an unclean stop: flows from before it are adopted for another {left}\n");
    }
    let flows = &status.flow_table;
    text += &format!(
        "Flow table: {} of {} flows ({} half-open), {}\n",
        count(flows.flows),
        count(flows.capacity),
        count(flows.half_open),
        bytes(flows.bytes)
    );
    text += &status.flow_log.as_ref().map_or(String::new(), flow_log);
    text = wrapped(&text) + "\n";
    text += &fitted(listeners(status), columns, LISTENERS_GIVE);
    text += "\n";
    text += &zones(status, columns);
    for row in status.load_balancers.iter().flat_map(|lb| &lb.listeners) {
        if let Some(refused) = refused_flows(&row.traffic) {
            text += &format!("{}: {refused}\n", row.name);
        }
    }
    text += "\n";
    text + &fitted(workers(status), columns, WORKERS_GIVE)
}

fn flow_log(log: &FlowLogStatus) -> String {
    let FlowLogStatus { file, records, dropped_by_queue, dropped_by_file, error } = log;
    let lost = match dropped_by_queue + dropped_by_file {
        0 => String::new(),
        lost => format!(", {} lost", count(lost)),
    };
    let failing = error.as_ref().map_or(String::new(), |error| format!("; CANNOT BE WRITTEN: {error}"));
    format!("Flow log: {file}, {} records{lost}{failing}\n", count(*records))
}

fn listeners(status: &Status) -> Table {
    let mut table = table(&[
        "LISTENER",
        "ADDRESS",
        "INTERFACE",
        "FORWARDS TO",
        "MODE",
        "HEALTHY",
        "FLOWS",
        "BYTES IN",
        "BYTES OUT",
    ]);
    for lb in &status.load_balancers {
        for row in &lb.listeners {
            let Traffic { active_flows, bytes_in, bytes_out, .. } = row.traffic;
            let healthy = format!("{}/{}", row.healthy_targets(), row.registered_targets());
            let color = if row.healthy_targets() == 0 { Color::Red } else { Color::Green };
            table.add_row([
                Cell::new(&row.name),
                Cell::new(row.address),
                Cell::new(&lb.interface),
                Cell::new(forward(row)),
                Cell::new(mode(row)),
                right(healthy).fg(color),
                number(active_flows),
                right(bytes(bytes_in)),
                right(bytes(bytes_out)),
            ]);
        }
    }
    table
}

/// Such as `blue 9, green 1 (sticky)`.
fn forward(row: &ListenerRow) -> String {
    let is_shared = row.forward.len() > 1;
    let group = |forward: &ForwardRow| {
        let weight = if is_shared { format!(" {}", forward.weight) } else { String::new() };
        let mark = match (forward.registered_targets, forward.is_failing_open) {
            (0, _) => " (empty)",
            (_, true) => " (fails open)",
            (_, false) => "",
        };
        format!("{}{weight}{mark}", forward.target_group)
    };
    let groups: Vec<String> = row.forward.iter().map(group).collect();
    format!("{}{}", groups.join(", "), if row.is_sticky { " (sticky)" } else { "" })
}

/// Addresses of the load balancers that have zones; nothing where none has.
fn zones(status: &Status, columns: Columns) -> String {
    let mut table = table(&["LOAD BALANCER", "ADDRESS", "ZONE", "ZONAL HEALTH", "CROSS-ZONE"]);
    for lb in &status.load_balancers {
        for vip in lb.addresses.iter().filter(|vip| vip.zone.is_some()) {
            table.add_row([
                Cell::new(&lb.name),
                Cell::new(vip.address),
                Cell::new(vip.zone.as_deref().unwrap_or_default()),
                Cell::new(vip.zonal_health.as_deref().unwrap_or_default()),
                Cell::new(if lb.crosses_zones { "on" } else { "off" }),
            ]);
        }
    }
    if table.is_empty() { String::new() } else { format!("\n{}\n", fitted(table, columns, ZONES_GIVE)) }
}

fn workers(status: &Status) -> Table {
    let mut table =
        table(&["WORKER", "CPU", "IDLE", "INTERFACE", "QUEUE", "MODE", "DRIVER", "MTU", "MISSED"]);
    for worker in &status.workers {
        for socket in &worker.sockets {
            let interface = status.interfaces.iter().find(|interface| interface.name == socket.interface);
            table.add_row([
                number(worker.worker.into()),
                number(worker.cpu.into()),
                right(format!("{:.0} %", worker.idle_percent)),
                Cell::new(&socket.interface),
                number(socket.queue.into()),
                Cell::new(&socket.mode),
                Cell::new(interface.map_or("", |interface| &interface.driver)),
                right(interface.map_or(String::new(), |interface| interface.mtu.to_string())),
                number(socket.missed),
            ]);
        }
    }
    table
}

/// What targets see of clients, and what else the listener does of its own.
fn mode(row: &ListenerRow) -> String {
    let own = [(row.has_syn_cookies, ", SYN cookies"), (row.adopts_strays, ", adopts strays")];
    let own = own.iter().filter(|(is_on, _)| *is_on).map(|(_, text)| *text);
    std::iter::once(row.mode.as_str()).chain(own).collect()
}

const LISTENERS_GIVE: Give = Give {
    spared: &["ADDRESS", "INTERFACE", "BYTES OUT", "BYTES IN", "MODE", "FLOWS"],
    wrapped: &["FORWARDS TO", "MODE"],
};
const ZONES_GIVE: Give = Give { spared: &["CROSS-ZONE", "ZONE"], wrapped: &[] };
const WORKERS_GIVE: Give = Give { spared: &["MTU", "DRIVER", "CPU", "MISSED", "MODE", "IDLE"], wrapped: &[] };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{LoadBalancerRow, VipRow};

    #[test]
    fn what_a_listener_does_of_its_own_is_told() {
        let row = ListenerRow {
            name: "edge/TCP:80".into(),
            address: "198.18.100.1".parse().unwrap(),
            forward: vec![forward_row("web", 1, 1)],
            is_sticky: false,
            mode: "full NAT".into(),
            has_syn_cookies: true,
            adopts_strays: true,
            traffic: Traffic { port_allocation_errors: 1, ..Traffic::default() },
        };
        assert_eq!(mode(&row), "full NAT, SYN cookies, adopts strays");
        assert_eq!(mode(&ListenerRow { has_syn_cookies: false, ..row.clone() }), "full NAT, adopts strays");
        let lb = LoadBalancerRow {
            name: "edge".into(),
            addresses: vec![],
            interface: "eth0".into(),
            crosses_zones: false,
            listeners: vec![row],
        };
        let text = status(&Status { load_balancers: vec![lb], ..Status::default() }, Columns::Usual);
        assert!(text.contains("edge/TCP:80: 1 flow refused because no source port was free\n"), "{text}");
    }

    #[test]
    fn forward_actions_tell_weights_stickiness_and_fail_open() {
        let row = ListenerRow {
            name: "edge/TCP:80".into(),
            address: "198.18.100.1".parse().unwrap(),
            forward: vec![forward_row("blue", 9, 2), forward_row("green", 1, 0)],
            is_sticky: true,
            mode: "full NAT".into(),
            has_syn_cookies: false,
            adopts_strays: false,
            traffic: Traffic::default(),
        };
        assert_eq!(forward(&row), "blue 9, green 1 (fails open) (sticky)");
        let one = ListenerRow { forward: vec![forward_row("blue", 9, 2)], is_sticky: false, ..row };
        assert_eq!(forward(&one), "blue");
    }

    #[test]
    fn zones_are_told_where_there_are_any() {
        let vip = |address: &str, zone: Option<&str>| VipRow {
            address: address.parse().unwrap(),
            zone: zone.map(Into::into),
            zonal_health: Some("healthy".into()),
        };
        let lb = |addresses| LoadBalancerRow {
            name: "edge".into(),
            addresses,
            interface: "eth0".into(),
            crosses_zones: false,
            listeners: vec![],
        };
        let with = lb(vec![vip("198.18.100.1", Some("a")), vip("198.18.100.2", Some("b"))]);
        let text = zones(&Status { load_balancers: vec![with], ..Status::default() }, Columns::Usual);
        let words: Vec<&str> = text.split_whitespace().collect();
        let rows =
            ["edge", "198.18.100.1", "a", "healthy", "off", "edge", "198.18.100.2", "b", "healthy", "off"];
        assert_eq!(words[words.len() - rows.len()..], rows);
        let without = lb(vec![vip("198.18.100.1", None)]);
        assert_eq!(zones(&Status { load_balancers: vec![without], ..Status::default() }, Columns::Usual), "");
    }

    fn forward_row(name: &str, weight: u16, healthy_targets: u32) -> ForwardRow {
        ForwardRow {
            target_group: name.into(),
            weight,
            healthy_targets,
            registered_targets: 2,
            is_failing_open: healthy_targets == 0,
        }
    }
}
