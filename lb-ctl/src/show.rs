//! Answers of the control API as text for people: tables that fit the terminal, with colours only on a terminal.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use crate::{
    api::{FlowRow, ListenerRow, Reloaded, Stats, Status, TargetRow, Traffic},
    config::Config,
};

/// The daemon at a glance.
pub fn status(status: &Status) -> String {
    let mut text = format!(
        "lbd {}, process {}, up {}, configuration {}, tables generation {}{}\n",
        status.version,
        status.pid,
        duration(status.uptime_seconds),
        status.configuration,
        status.generation,
        if status.applied_generation == status.generation { "" } else { " (workers are catching up)" },
    );
    if status.adopting_seconds > 0 {
        let left = duration(status.adopting_seconds);
        text += &format!("After an unclean stop: flows from before it are adopted for another {left}\n");
    }
    let flows = &status.flow_table;
    text += &format!(
        "Flow table: {} of {} flows ({} half-open), {}\n\n",
        count(flows.flows),
        count(flows.capacity),
        count(flows.half_open),
        bytes(flows.bytes)
    );
    text += &listeners(status);
    text += "\n";
    for row in status.load_balancers.iter().flat_map(|lb| &lb.listeners) {
        if let Some(refused) = refused_flows(&row.traffic) {
            text += &format!("{}: {refused}\n", row.name);
        }
    }
    text += "\n";
    text += &workers(status);
    text
}

/// Every target.
pub fn targets(rows: &[TargetRow]) -> String {
    let mut table = table(&[
        "TARGET GROUP",
        "TARGET",
        "STATE",
        "WEIGHT",
        "NEW FLOWS",
        "FLOWS",
        "PACKETS IN",
        "PACKETS OUT",
        "REASON",
    ]);
    for row in rows {
        let weight = right(row.weight.map_or(String::new(), |weight| weight.to_string()));
        let mut cells = vec![Cell::new(&row.target_group), Cell::new(row.target), state(row), weight];
        cells.extend([row.traffic.new_flows, row.traffic.active_flows].map(number));
        cells.extend([row.traffic.packets_in, row.traffic.packets_out].map(number));
        cells.push(Cell::new(remark(row)));
        table.add_row(cells);
    }
    table.trim_fmt()
}

/// Some flows; with sources when a target sees another than its client.
pub fn flows(rows: &[FlowRow]) -> String {
    let has_sources = rows.iter().any(|row| row.source != row.client);
    let source: &[&str] = if has_sources { &["SOURCE"] } else { &[] };
    let header =
        [&["PROTOCOL", "CLIENT", "LISTENER"], source, &["TARGET", "STATE", "IDLE", "TIMEOUT"]].concat();
    let mut table = table(&header);
    for row in rows {
        let mut cells = vec![Cell::new(&row.protocol), Cell::new(row.client), Cell::new(row.listener)];
        cells.extend(has_sources.then(|| Cell::new(row.source)));
        cells.extend([Cell::new(row.target), Cell::new(&row.state)]);
        cells.extend([row.idle_ms, row.timeout_ms].map(|ms| right(seconds(ms))));
        table.add_row(cells);
    }
    table.trim_fmt()
}

/// What became of every frame; reasons that never occurred are left out.
pub fn stats(stats: &Stats) -> String {
    let mut text = format!(
        "Frames: {} received + {} made = {} transmitted + {} replied + {} dropped\n\
         Beside these: {} handed over between workers, {} fragments held for the first of their datagram\n\
         Missed before a worker could take them: {}\n",
        count(stats.received),
        count(stats.made),
        count(stats.transmitted),
        count(stats.replied),
        count(stats.dropped),
        count(stats.handed_over),
        count(stats.held),
        count(stats.missed)
    );
    text += &format!(
        "Flows: {} now ({} half-open), {} expired, {} cut with their target, {} half-open evicted, {} of targets to themselves\n",
        count(stats.flows),
        count(stats.half_open),
        count(stats.expired),
        count(stats.cut),
        count(stats.half_open_evicted),
        count(stats.hairpins)
    );
    let mut table = table(&["REASON", "VERDICT", "FRAMES", "MEANING"]);
    for row in stats.reasons.iter().filter(|row| row.frames > 0) {
        table.add_row([
            Cell::new(&row.reason),
            Cell::new(&row.verdict),
            number(row.frames),
            Cell::new(&row.help),
        ]);
    }
    if table.is_empty() {
        return text;
    }
    text + "\n" + &table.trim_fmt()
}

/// That a configuration is in force.
pub fn reloaded(reloaded: &Reloaded) -> String {
    format!("The configuration is in force: tables generation {}\n", reloaded.generation)
}

/// What a configuration holds, in one line.
pub fn summary(config: &Config) -> String {
    let listeners = config.load_balancers.iter().map(|lb| lb.listeners.len()).sum();
    let targets = config.target_groups.iter().map(|group| group.targets.len()).sum();
    format!(
        "{}, {}, {}, {}, {}",
        plural(config.interfaces.len(), "interface"),
        plural(config.load_balancers.len(), "load balancer"),
        plural(listeners, "listener"),
        plural(config.target_groups.len(), "target group"),
        plural(targets, "target"),
    )
}

fn listeners(status: &Status) -> String {
    let mut table = table(&[
        "LISTENER",
        "ADDRESS",
        "INTERFACE",
        "TARGET GROUP",
        "MODE",
        "HEALTHY",
        "FLOWS",
        "BYTES IN",
        "BYTES OUT",
    ]);
    for lb in &status.load_balancers {
        let addresses: Vec<String> = lb.addresses.iter().map(ToString::to_string).collect();
        for row in &lb.listeners {
            let Traffic { active_flows, bytes_in, bytes_out, .. } = row.traffic;
            let healthy = format!("{}/{}", row.healthy_targets, row.registered_targets);
            let color = if row.healthy_targets == 0 { Color::Red } else { Color::Green };
            table.add_row([
                Cell::new(&row.name),
                Cell::new(addresses.join(" ")),
                Cell::new(&lb.interface),
                Cell::new(&row.target_group),
                Cell::new(mode(row)),
                right(healthy).fg(color),
                number(active_flows),
                right(bytes(bytes_in)),
                right(bytes(bytes_out)),
            ]);
        }
    }
    table.trim_fmt()
}

fn workers(status: &Status) -> String {
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
    table.trim_fmt()
}

/// What targets see of clients, and what else the listener does of its own.
fn mode(row: &ListenerRow) -> String {
    let own = [(row.has_syn_cookies, ", SYN cookies"), (row.adopts_strays, ", adopts strays")];
    let own = own.iter().filter(|(is_on, _)| *is_on).map(|(_, text)| *text);
    std::iter::once(row.mode.as_str()).chain(own).collect()
}

fn refused_flows(traffic: &Traffic) -> Option<String> {
    let errors = traffic.port_allocation_errors;
    (errors > 0)
        .then(|| format!("{} refused because no source port was free", plural(errors as usize, "flow")))
}

fn state(row: &TargetRow) -> Cell {
    let color = match row.state.as_str() {
        "healthy" => Color::Green,
        "unhealthy" => Color::Red,
        "unused" => Color::DarkGrey,
        _ => Color::Yellow,
    };
    Cell::new(&row.state).fg(color)
}

/// Why a target is in its state, and what else is to be known.
fn remark(row: &TargetRow) -> String {
    let mut remarks: Vec<String> = Vec::new();
    remarks.extend(row.reason.clone());
    if row.is_eligible && row.state != "healthy" {
        remarks.push("gets new flows because its group fails open".into());
    }
    if !row.is_reachable {
        remarks.push("no next hop yet".into());
    }
    remarks.extend(refused_flows(&row.traffic));
    remarks.join("; ")
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.iter().map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
    table
}

fn number(number: u64) -> Cell {
    right(count(number))
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// A number with its thousands set apart.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

fn seconds(ms: u32) -> String {
    format!("{:.1} s", f64::from(ms) / 1_000.0)
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

fn plural(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::LoadBalancerRow;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1_023, 1_536, 5 << 30].map(bytes), ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
        assert_eq!([5, 65, 3_700, 90_000].map(duration), ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
        assert_eq!([plural(1, "target"), plural(2, "target")], ["1 target", "2 targets"]);
    }

    #[test]
    fn off_a_terminal_rows_are_plain_lines() {
        let row = FlowRow {
            protocol: "TCP".into(),
            client: "198.18.0.9:40000".parse().unwrap(),
            listener: "198.18.100.1:80".parse().unwrap(),
            source: "198.18.0.9:40000".parse().unwrap(),
            target: "198.19.1.2:8080".parse().unwrap(),
            state: "established".into(),
            idle_ms: 1_500,
            timeout_ms: 350_000,
        };
        let text = flows(std::slice::from_ref(&row));
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["PROTOCOL", "CLIENT", "LISTENER", "TARGET", "STATE", "IDLE", "TIMEOUT"]);
        assert_eq!(
            words[1][..5],
            ["TCP", "198.18.0.9:40000", "198.18.100.1:80", "198.19.1.2:8080", "established"]
        );
        assert!(!text.contains('\u{1b}'));
        let hidden = FlowRow { source: "[2001:db8::1]:1024".parse().unwrap(), ..row.clone() };
        let text = flows(&[row, hidden]);
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0][1..5], ["CLIENT", "LISTENER", "SOURCE", "TARGET"]);
        assert_eq!((words[1][3], words[2][3]), ("198.18.0.9:40000", "[2001:db8::1]:1024"));
    }

    #[test]
    fn what_a_listener_does_of_its_own_is_told() {
        let row = ListenerRow {
            name: "edge/TCP:80".into(),
            target_group: "web".into(),
            mode: "full NAT".into(),
            has_syn_cookies: true,
            adopts_strays: true,
            healthy_targets: 1,
            registered_targets: 1,
            traffic: Traffic { port_allocation_errors: 1, ..Traffic::default() },
        };
        assert_eq!(mode(&row), "full NAT, SYN cookies, adopts strays");
        assert_eq!(mode(&ListenerRow { has_syn_cookies: false, ..row.clone() }), "full NAT, adopts strays");
        let lb = LoadBalancerRow {
            name: "edge".into(),
            addresses: vec![],
            interface: "eth0".into(),
            listeners: vec![row],
        };
        let text = status(&Status { load_balancers: vec![lb], ..Status::default() });
        assert!(text.contains("edge/TCP:80: 1 flow refused because no source port was free\n"), "{text}");
    }
}
