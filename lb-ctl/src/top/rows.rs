//! The rows of each view: from a sample and its history to cells.

use std::cmp::Ordering;

use crate::{
    api::{ForwardRow, ListenerRow, ReasonRow, TargetRow, WorkerRow},
    show::text::count,
};

use super::{
    columns::View,
    history::History,
    poll::Sample,
    text::{short, short_count},
};

/// A row of the table.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// What tells it from the others, whatever their order.
    pub(super) key: String,
    pub(super) cells: Vec<Cell>,
    pub(super) graph: Vec<f64>,
    /// What is said of it when it is selected.
    pub(super) detail: String,
}

#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    order: Order,
    pub(super) tone: Tone,
}

/// What rows are sorted by.
#[derive(Clone, Debug, PartialEq)]
enum Order {
    Text(String),
    Number(f64),
}

/// How a cell is to be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Good,
    Bad,
    Odd,
}

/// The rows of a view, in no order; of targets, those of some groups alone.
pub(super) fn rows(view: View, groups: Option<&[String]>, sample: &Sample, history: &History) -> Vec<Row> {
    match view {
        View::Listeners => {
            let listeners = sample.status.load_balancers.iter().flat_map(|lb| &lb.listeners);
            listeners.map(|row| listener(row, history)).collect()
        }
        View::Targets => {
            let is_in = |row: &&TargetRow| groups.is_none_or(|groups| groups.contains(&row.target_group));
            sample.targets.iter().filter(is_in).map(|row| target(row, history)).collect()
        }
        View::Drops => {
            let is_drop = |row: &&ReasonRow| row.verdict == "drop" && row.frames > 0;
            sample.stats.reasons.iter().filter(is_drop).map(|row| reason(row, history)).collect()
        }
        View::Workers => sample.status.workers.iter().map(|row| worker(row, history)).collect(),
    }
}

fn listener(row: &ListenerRow, history: &History) -> Row {
    let (rates, graph) = history.listeners.of(&row.name);
    let [packets, bits, new_flows] = each(rates);
    let (healthy, registered) = (row.healthy_targets(), row.registered_targets());
    let tone = match (healthy, row.forward.iter().any(|row| row.is_failing_open)) {
        (0, _) => Tone::Bad,
        (_, true) => Tone::Odd,
        (_, false) => Tone::Good,
    };
    let health = Cell::text(format!("{healthy}/{registered}")).of(tone).by(f64::from(healthy));
    let flows = Cell::count(row.traffic.active_flows);
    let cells = vec![Cell::text(row.name.clone()), health, packets, bits, new_flows, flows];
    let forward: Vec<String> = row.forward.iter().map(forward).collect();
    let detail = format!("{} to {}; {}", row.address, forward.join(", "), row.mode);
    Row { key: row.name.clone(), cells, graph, detail }
}

fn forward(row: &ForwardRow) -> String {
    let ForwardRow { target_group, weight, healthy_targets, registered_targets, is_failing_open } = row;
    if *registered_targets == 0 {
        return format!("{target_group} (empty)");
    }
    let open = if *is_failing_open { ", fails open" } else { "" };
    format!("{target_group} (weight {weight}, {healthy_targets} of {registered_targets} healthy{open})")
}

fn target(row: &TargetRow, history: &History) -> Row {
    let (rates, graph) = history.targets.of(&(row.target_group.clone(), row.target));
    let [packets, bits, new_flows] = each(rates);
    let tone = match row.state.as_str() {
        "healthy" => Tone::Good,
        "unhealthy" | "unhealthy.draining" => Tone::Bad,
        _ => Tone::Odd,
    };
    let cells = vec![
        Cell::text(row.target.to_string()),
        Cell::text(row.target_group.clone()),
        Cell::text(row.state.replace("unhealthy.", "unh.")).of(tone),
        packets,
        bits,
        new_flows,
        Cell::count(row.traffic.active_flows),
    ];
    let why = row.description.as_ref().or(row.reason.as_ref()).map(|why| format!(" ({why})"));
    let zone = row.zone.as_ref().map(|zone| format!(", zone {zone}")).unwrap_or_default();
    let detail = format!(
        "{}{}{zone}, {:.1} % of new flows, checks: {} passed, {} failed",
        row.state,
        why.unwrap_or_default(),
        row.share_percent,
        count(row.checks_passed),
        count(row.checks_failed)
    );
    Row { key: format!("{}/{}", row.target_group, row.target), cells, graph, detail }
}

fn reason(row: &ReasonRow, history: &History) -> Row {
    let (rates, graph) = history.reasons.of(&row.reason);
    let [frames] = each(rates);
    let total = Cell::text(count(row.frames)).by(row.frames as f64);
    Row {
        key: row.reason.clone(),
        cells: vec![Cell::text(row.reason.clone()), frames, total],
        graph,
        detail: row.help.clone(),
    }
}

fn worker(row: &WorkerRow, history: &History) -> Row {
    let (rates, graph) = history.workers.of(&row.worker);
    let load = rates.filter(|rates| rates[5] > 0.0).map(|rates| 100.0 * rates[4] / rates[5]);
    let [packets, handed_over, dropped, full, ..] = each(rates);
    let load = match load {
        Some(percent) => Cell::text(format!("{percent:.0} %")).by(percent),
        None => Cell::unknown(),
    };
    let cells = vec![
        Cell::ordinal(row.worker),
        Cell::ordinal(row.cpu),
        load,
        packets,
        handed_over,
        dropped,
        full,
        Cell::count(row.flows),
    ];
    let sockets = row.sockets.iter().map(|socket| {
        format!(
            "{} queue {} ({}, {} missed)",
            socket.interface,
            socket.queue,
            socket.mode,
            count(socket.missed)
        )
    });
    let detail = sockets.collect::<Vec<_>>().join(", ");
    Row { key: row.worker.to_string(), cells, graph, detail }
}

fn each<const N: usize>(rates: Option<[f64; N]>) -> [Cell; N] {
    rates.map_or_else(|| std::array::from_fn(|_| Cell::unknown()), |rates| rates.map(Cell::number))
}

impl Cell {
    fn text(text: String) -> Cell {
        Cell { order: Order::Text(text.clone()), text, tone: Tone::Plain }
    }

    fn number(number: f64) -> Cell {
        Cell { text: short(number), order: Order::Number(number), tone: Tone::Plain }
    }

    /// What is counted in whole.
    fn count(count: u64) -> Cell {
        Cell { text: short_count(count), order: Order::Number(count as f64), tone: Tone::Plain }
    }

    /// What tells rows apart by number: from low to high.
    fn ordinal(number: u32) -> Cell {
        Cell { text: number.to_string(), order: Order::Number(-f64::from(number)), tone: Tone::Plain }
    }

    /// What is not known yet.
    fn unknown() -> Cell {
        Cell { text: "-".into(), order: Order::Number(f64::NEG_INFINITY), tone: Tone::Plain }
    }

    fn of(self, tone: Tone) -> Cell {
        Cell { tone, ..self }
    }

    fn by(self, number: f64) -> Cell {
        Cell { order: Order::Number(number), ..self }
    }

    /// Texts from A to Z, numbers from high to low.
    pub(super) fn compare(&self, other: &Cell) -> Ordering {
        match (&self.order, &other.order) {
            (Order::Text(one), Order::Text(other)) => one.cmp(other),
            (Order::Number(one), Order::Number(other)) => other.total_cmp(one),
            (Order::Text(_), Order::Number(_)) => Ordering::Less,
            (Order::Number(_), Order::Text(_)) => Ordering::Greater,
        }
    }
}
