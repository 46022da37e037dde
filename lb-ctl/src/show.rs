//! Answers of the control API as text for people: tables that fit the terminal, with colours only on a terminal.

mod differences;
mod doctor;
mod events;
mod flows;
mod listeners;
mod load_balancers;
mod objects;
mod status;
mod table;
mod target_groups;
mod targets;
pub(crate) mod text;
mod trace;
mod why;

use comfy_table::Cell;

use crate::{
    api::{InForce, Stats, Traffic},
    config::Config,
};
pub use differences::{applied, differences};
pub use doctor::doctor;
pub use events::event;
pub use flows::{flow_count, flows};
pub use listeners::{ListenerOf, listener, listener_rows, listeners, rules};
pub use load_balancers::{load_balancer, load_balancers};
pub use objects::tags;
pub use status::status;
use table::{Give, fitted, number, table, wrapped};
pub use target_groups::{target_group, target_groups};
pub use targets::{changed, deregistered, targets};
use text::{count, plural};
pub use trace::{trace, trace_sum};
pub use why::why;

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

/// What became of every frame; reasons that never occurred are left out.
pub fn stats(stats: &Stats, columns: Columns) -> String {
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
        "Flows: {} now ({} half-open), {} expired, {} half-open evicted, {} of targets to themselves or their neighbours\n\
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
    let text = wrapped(&text);
    if table.is_empty() {
        return text;
    }
    let give = Give { spared: &["VERDICT"], wrapped: &["MEANING"] };
    text + "\n" + &fitted(table, columns, give)
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
    fn cut_flows_are_told_by_cause() {
        let row = |cause: &str, flows| CutRow { cause: cause.into(), flows };
        let cut = Stats {
            cut: 1_200,
            cut_by_cause: vec![row("unhealthy", 1_000), row("unused", 0), row("deregistered", 200)],
            ..Stats::default()
        };
        assert!(
            stats(&cut, Columns::Usual).contains("Flows cut: 1,200 (1,000 unhealthy, 200 deregistered)\n")
        );
        assert!(stats(&Stats::default(), Columns::Usual).contains("Flows cut: 0\n"));
    }
}
