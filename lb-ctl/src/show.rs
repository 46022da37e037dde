//! Answers of the control API as text for people: tables that fit the terminal, with colours only on a terminal.

mod differences;
mod events;
mod listeners;
mod load_balancers;
mod objects;
mod status;
mod target_groups;
mod targets;
mod text;

use comfy_table::Cell;

use crate::{
    api::{FlowRow, InForce, Stats, Traffic},
    config::Config,
};
pub use differences::{applied, differences};
pub use events::event;
pub use listeners::{ListenerOf, listener, listener_rows, listeners, rules};
pub use load_balancers::{load_balancer, load_balancers};
pub use objects::tags;
pub use status::status;
pub use target_groups::{target_group, target_groups};
pub use targets::{changed, targets};
use text::{count, number, plural, right, seconds, table};

/// How much of a table is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// What is mostly asked for.
    Usual,
    /// Everything.
    All,
}

impl Columns {
    /// These, where all are shown.
    fn of_all<'h>(self, titles: &'h [&'h str]) -> &'h [&'h str] {
        if self == Columns::All { titles } else { &[] }
    }
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
        "Flows: {} now ({} half-open), {} expired, {} half-open evicted, {} of targets to themselves\n\
         Flows cut: {}{}\n\
         Flows refused for want of a target: {}; made while too few targets were healthy: {}\n",
        count(stats.flows),
        count(stats.half_open),
        count(stats.expired),
        count(stats.half_open_evicted),
        count(stats.hairpins),
        count(stats.cut),
        cut_by_cause(stats),
        count(stats.rejected_flows),
        count(stats.unhealthy_routing_flows)
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

/// Such as ` (3 unhealthy, 4 deregistered)`.
fn cut_by_cause(stats: &Stats) -> String {
    let causes = stats.cut_by_cause.iter().filter(|row| row.flows > 0);
    let causes: Vec<String> = causes.map(|row| format!("{} {}", count(row.flows), row.cause)).collect();
    if causes.is_empty() { String::new() } else { format!(" ({})", causes.join(", ")) }
}

/// That a configuration is in force.
pub fn reloaded(in_force: &InForce) -> String {
    format!("The configuration is in force: generation {}\n", in_force.generation)
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

fn refused_flows(traffic: &Traffic) -> Option<String> {
    let errors = traffic.port_allocation_errors;
    (errors > 0)
        .then(|| format!("{} refused because no source port was free", plural(errors as usize, "flow")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::CutRow;

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
    fn cut_flows_are_told_by_cause() {
        let row = |cause: &str, flows| CutRow { cause: cause.into(), flows };
        let cut = Stats {
            cut: 1_200,
            cut_by_cause: vec![row("unhealthy", 1_000), row("unused", 0), row("deregistered", 200)],
            ..Stats::default()
        };
        assert!(stats(&cut).contains("Flows cut: 1,200 (1,000 unhealthy, 200 deregistered)\n"));
        assert!(stats(&Stats::default()).contains("Flows cut: 0\n"));
    }
}
