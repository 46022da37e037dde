//! From counters to rates: what has come since the sample before, and the graphs of the last minutes.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    net::SocketAddr,
};

use crate::api::{Traffic, WorkerRow};

use super::poll::Sample;

/// Rates and graphs of everything that has a row.
#[derive(Debug, Default)]
pub(super) struct History {
    at_seconds: Option<f64>,
    /// The process that counts.
    pid: u32,
    pub(super) all: Meter<5>,
    pub(super) listeners: Meters<String, 3>,
    pub(super) targets: Meters<(String, SocketAddr), 3>,
    pub(super) reasons: Meters<String, 1>,
    pub(super) workers: Meters<u32, 6>,
}

/// Counters of one row, as rates.
#[derive(Clone, Debug)]
pub(super) struct Meter<const N: usize> {
    counted: Option<[f64; N]>,
    /// A second; `None` until there are two samples to compare.
    pub(super) rates: Option<[f64; N]>,
    /// The first of the rates, oldest first.
    pub(super) graph: VecDeque<f64>,
}

/// Meters by who they are of.
#[derive(Debug)]
pub(super) struct Meters<K, const N: usize>(HashMap<K, Meter<N>>);

impl History {
    /// Takes in a sample.
    pub(super) fn take(&mut self, sample: &Sample) {
        if self.pid != sample.status.pid {
            *self = History { pid: sample.status.pid, ..History::default() };
        }
        let elapsed = self.at_seconds.replace(sample.at_seconds).map(|before| sample.at_seconds - before);
        let elapsed = elapsed.filter(|seconds| *seconds > 0.0);
        let rows = || sample.status.load_balancers.iter().flat_map(|lb| &lb.listeners);
        let sum = rows().map(|row| row.traffic).fold(Traffic::default(), Traffic::and);
        let [packets, bits, new_flows] = of_traffic(&sum);
        let drops = sample.stats.dropped as f64;
        self.all.take([packets, bits, new_flows, drops, sample.stats.handed_over as f64], elapsed);
        self.listeners.take(rows().map(|row| (row.name.clone(), of_traffic(&row.traffic))), elapsed);
        let targets = sample.targets.iter();
        let targets = targets.map(|row| ((row.target_group.clone(), row.target), of_traffic(&row.traffic)));
        self.targets.take(targets, elapsed);
        let reasons = sample.stats.reasons.iter();
        self.reasons.take(reasons.map(|row| (row.reason.clone(), [row.frames as f64])), elapsed);
        self.workers.take(sample.status.workers.iter().map(|row| (row.worker, of_worker(row))), elapsed);
    }

    /// Nobody counts: no rate is known until two samples can be compared again.
    pub(super) fn lose(&mut self) {
        self.all.lose();
        self.listeners.lose();
        self.targets.lose();
        self.reasons.lose();
        self.workers.lose();
    }
}

impl<const N: usize> Meter<N> {
    fn lose(&mut self) {
        self.rates = None;
    }

    fn take(&mut self, counted: [f64; N], elapsed_seconds: Option<f64>) {
        let before = self.counted.replace(counted);
        let is_growth = |before: &[f64; N]| before.iter().zip(&counted).all(|(before, now)| before <= now);
        let grown = before.filter(is_growth);
        self.rates = grown
            .zip(elapsed_seconds)
            .map(|(before, seconds)| std::array::from_fn(|at| (counted[at] - before[at]) / seconds));
        if let Some(rates) = self.rates {
            self.graph.push_back(rates[0]);
            self.graph.drain(..self.graph.len().saturating_sub(GRAPH_POINTS));
        }
    }
}

impl<K: Eq + Hash, const N: usize> Meters<K, N> {
    fn lose(&mut self) {
        self.0.values_mut().for_each(Meter::lose);
    }

    /// Takes in all rows; who has none any more is forgotten.
    fn take(&mut self, rows: impl Iterator<Item = (K, [f64; N])>, elapsed_seconds: Option<f64>) {
        let mut before = std::mem::take(&mut self.0);
        for (key, counted) in rows {
            let mut meter = before.remove(&key).unwrap_or_default();
            meter.take(counted, elapsed_seconds);
            self.0.insert(key, meter);
        }
    }

    /// The rates, where they are known, and the graph.
    pub(super) fn of(&self, key: &K) -> (Option<[f64; N]>, Vec<f64>) {
        let meter = self.0.get(key);
        (
            meter.and_then(|meter| meter.rates),
            meter.map_or(Vec::new(), |meter| meter.graph.iter().copied().collect()),
        )
    }
}

impl<const N: usize> Default for Meter<N> {
    fn default() -> Meter<N> {
        Meter { counted: None, rates: None, graph: VecDeque::new() }
    }
}

impl<K, const N: usize> Default for Meters<K, N> {
    fn default() -> Meters<K, N> {
        Meters(HashMap::new())
    }
}

/// Packets and bits of both directions, new flows.
fn of_traffic(traffic: &Traffic) -> [f64; 3] {
    let bytes = traffic.bytes_in + traffic.bytes_out;
    [(traffic.packets_in + traffic.packets_out) as f64, 8.0 * bytes as f64, traffic.new_flows as f64]
}

/// Frames received, handed over, dropped, lost to full rings; seconds busy, and all seconds.
fn of_worker(row: &WorkerRow) -> [f64; 6] {
    let full = row.frames.handover_full + row.frames.tx_ring_full;
    let frames =
        [row.frames.received, row.frames.handed_over, row.frames.dropped, full].map(|frames| frames as f64);
    let [received, handed_over, dropped, full] = frames;
    [received, handed_over, dropped, full, row.busy_seconds, row.busy_seconds + row.idle_seconds]
}

/// Points of a graph: none is drawn wider.
const GRAPH_POINTS: usize = 240;
