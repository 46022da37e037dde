//! Answers of the control API as text for people: tables that fit the terminal, with colours only on a terminal.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use crate::{
    api::{FlowRow, Reloaded, Stats, Status, TargetRow, Traffic},
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
    text += "\n\n";
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

/// Some flows.
pub fn flows(rows: &[FlowRow]) -> String {
    let mut table = table(&["PROTOCOL", "CLIENT", "LISTENER", "TARGET", "STATE", "IDLE", "TIMEOUT"]);
    for row in rows {
        table.add_row([
            Cell::new(&row.protocol),
            Cell::new(row.client),
            Cell::new(row.listener),
            Cell::new(row.target),
            Cell::new(&row.state),
            right(seconds(row.idle_ms)),
            right(seconds(row.timeout_ms)),
        ]);
    }
    table.trim_fmt()
}

/// What became of every frame; reasons that never occurred are left out.
pub fn stats(stats: &Stats) -> String {
    let mut text = format!(
        "Frames: {} received = {} transmitted + {} replied + {} dropped; {} handed over between workers\n\
         Missed before a worker could take them: {}\n",
        count(stats.received),
        count(stats.transmitted),
        count(stats.replied),
        count(stats.dropped),
        count(stats.handed_over),
        count(stats.missed)
    );
    text += &format!(
        "Flows: {} now ({} half-open), {} expired, {} cut with their target, {} half-open evicted\n",
        count(stats.flows),
        count(stats.half_open),
        count(stats.expired),
        count(stats.cut),
        count(stats.half_open_evicted)
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
    let mut remarks: Vec<&str> = Vec::new();
    remarks.extend(row.reason.as_deref());
    if row.is_eligible && row.state != "healthy" {
        remarks.push("gets new flows because its group fails open");
    }
    if !row.is_reachable {
        remarks.push("no next hop yet");
    }
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
            target: "198.19.1.2:8080".parse().unwrap(),
            state: "established".into(),
            idle_ms: 1_500,
            timeout_ms: 350_000,
        };
        let text = flows(&[row]);
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["PROTOCOL", "CLIENT", "LISTENER", "TARGET", "STATE", "IDLE", "TIMEOUT"]);
        assert_eq!(
            words[1][..5],
            ["TCP", "198.18.0.9:40000", "198.18.100.1:80", "198.19.1.2:8080", "established"]
        );
        assert!(!text.contains('\u{1b}'));
    }
}
