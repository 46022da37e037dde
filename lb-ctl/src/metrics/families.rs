//! The families of series, except those that listeners, target groups and targets have alike (`groups`).

use std::fmt;

use crate::api::{ApiTraffic, ReasonRow, RingCounters, Stats, Status, VipRow, WorkerFrames, WorkerRow};

use super::{
    Metrics,
    exposition::{Families, Labels},
    groups,
};

/// Writes all of them.
pub(super) fn write(metrics: &Metrics, to: &mut Families<'_>) -> fmt::Result {
    daemon(metrics, to)?;
    control(&metrics.stats, to)?;
    frames(&metrics.stats, to)?;
    workers(&metrics.status.workers, to)?;
    sockets(&metrics.status.workers, to)?;
    flows(&metrics.stats, &metrics.status, to)?;
    load_balancers(metrics, to)?;
    groups::write(metrics, to)
}

fn daemon(metrics: &Metrics, to: &mut Families<'_>) -> fmt::Result {
    let status = &metrics.status;
    // A gauge, not an OpenMetrics info: older parsers do not know that type.
    let version = [(Labels::of("version", &status.version), 1u64)];
    to.gauges("build_info", "Version of lbd.", version)?;
    let help = "When lbd started, in seconds since the epoch.";
    to.gauge("start_time_seconds", help, metrics.started_seconds)?;
    to.gauge("objects_generation", "Generation of the objects in force.", status.generation)?;
    to.gauge("tables_generation", "Generation of the tables last published.", status.tables_generation)?;
    let help = "Oldest generation of tables that a worker still uses.";
    to.gauge("tables_applied_generation", help, status.applied_tables_generation)?;
    let help = "How long TCP packets of no flow are still adopted.";
    to.gauge("adopting_remaining_seconds", help, status.adopting_seconds)
}

fn control(stats: &Stats, to: &mut Families<'_>) -> fmt::Result {
    let ApiTraffic { accepted, refused_access, refused_busy, accept_errors, refused_changes } =
        stats.control_api;
    let rows = [
        ("accepted", accepted),
        ("refused_access", refused_access),
        ("refused_busy", refused_busy),
        ("lost", accept_errors),
    ];
    let rows = rows.map(|(outcome, connections)| (Labels::of("outcome", outcome), connections));
    to.counters("control_connections", "Connections to the control socket, by what became of them.", rows)?;
    let help = "Changes of objects, and captures of packets, that the control API refused to users who may only read.";
    to.counter("control_changes_refused", help, refused_changes)
}

fn frames(stats: &Stats, to: &mut Families<'_>) -> fmt::Result {
    to.counter("frames_received", "Frames taken from receive rings.", stats.received)?;
    to.counter("frames_made", "Frames made beside those that were received.", stats.made)?;
    let help = "Frames that no worker could take, for want of a buffer or a place: not among those received.";
    to.counter("frames_missed", help, stats.missed)?;
    let help = "Frames by their fate and why. Those of verdict transmit, reply and drop are those received and made; hand_over \
                and hold come beside.";
    let row = |row: &'_ ReasonRow| {
        (Labels::of("reason", row.reason.clone()).and("verdict", row.verdict.clone()), row.frames)
    };
    to.counters("frames_settled", help, stats.reasons.iter().map(row))
}

fn workers(workers: &[WorkerRow], to: &mut Families<'_>) -> fmt::Result {
    let each = |count: fn(&WorkerRow) -> u64| workers.iter().map(move |row| (label(row), count(row)));
    let time = |time: fn(&WorkerRow) -> f64| workers.iter().map(move |row| (label(row), time(row)));
    let help = "Time of a worker in turns that moved frames.";
    to.counters("worker_busy_seconds", help, time(|row| row.busy_seconds))?;
    let help = "Time of a worker in turns that moved none, asleep or not.";
    to.counters("worker_idle_seconds", help, time(|row| row.idle_seconds))?;
    to.counters("worker_turns", "Turns of a worker's loop.", each(|row| row.turns))?;
    let help = "Frames that a worker took from its receive rings.";
    to.counters("worker_received_frames", help, each(|row| row.frames.received))?;
    to.counters("worker_made_frames", "Frames that a worker made.", each(|row| row.frames.made))?;
    let settled = workers.iter().flat_map(|row| {
        by_verdict(&row.frames).map(|(verdict, frames)| (label(row).and("verdict", verdict), frames))
    });
    let help = "Frames by what a worker did with them; hand_over: given to the worker that owns the flow.";
    to.counters("worker_settled_frames", help, settled)?;
    let help = "Frames dropped because the ring to another worker was full.";
    to.counters("worker_handover_full_frames", help, each(|row| row.frames.handover_full))?;
    let help = "Frames dropped because a transmit ring was full.";
    to.counters("worker_tx_ring_full_frames", help, each(|row| row.frames.tx_ring_full))?;
    to.gauges("worker_flows", "Flows in a worker's part of the flow table.", each(|row| row.flows))?;
    let help = "Flows in a worker's part of the flow table whose handshake is not complete.";
    to.gauges("worker_half_open_flows", help, each(|row| row.half_open))
}

fn label(row: &WorkerRow) -> Labels<'static> {
    Labels::of("worker", row.worker.to_string())
}

fn sockets(workers: &[WorkerRow], to: &mut Families<'_>) -> fmt::Result {
    let sockets =
        || workers.iter().flat_map(|row| row.sockets.iter().map(move |socket| (label(row), socket)));
    let labelled = || {
        sockets().map(|(labels, socket)| {
            let queue = socket.queue.to_string();
            (labels.and("interface", socket.interface.as_str()).and("queue", queue), socket)
        })
    };
    let modes = labelled().map(|(labels, socket)| (labels.and("mode", socket.mode.as_str()), 1u64));
    to.gauges("socket_info", "How frames reach a socket.", modes)?;
    let each = |count: fn(&RingCounters) -> u64| {
        labelled().map(move |(labels, socket)| (labels, count(&socket.rings)))
    };
    let help = "Frames that the kernel dropped for want of a buffer, or because they were too long.";
    to.counters("socket_rx_dropped_frames", help, each(|rings| rings.rx_dropped))?;
    let help = "Frames that the kernel dropped because the receive ring was full.";
    to.counters("socket_rx_ring_full_frames", help, each(|rings| rings.rx_ring_full))?;
    let help = "Times that the kernel found no buffer on the fill ring.";
    to.counters("socket_fill_ring_empty", help, each(|rings| rings.fill_ring_empty))?;
    let help = "Times that the kernel found the transmit ring empty.";
    to.counters("socket_tx_ring_empty", help, each(|rings| rings.tx_ring_empty))?;
    let help = "Descriptors on the fill ring that the kernel could not use.";
    to.counters("socket_rx_invalid_descriptors", help, each(|rings| rings.rx_invalid))?;
    let help = "Descriptors on the transmit ring that the kernel could not use.";
    to.counters("socket_tx_invalid_descriptors", help, each(|rings| rings.tx_invalid))
}

fn flows(stats: &Stats, status: &Status, to: &mut Families<'_>) -> fmt::Result {
    let table = &status.flow_table;
    to.gauge("flow_table_flows", "Flows in the flow table.", table.flows)?;
    let help = "Flows in the flow table whose handshake is not complete.";
    to.gauge("flow_table_half_open_flows", help, table.half_open)?;
    to.gauge("flow_table_capacity_flows", "Most flows that the flow table can hold.", table.capacity)?;
    to.gauge("flow_table_bytes", "Memory that the flow table takes while all flows are IPv4.", table.bytes)?;
    to.counter("flows_expired", "Flows that ended by idle timeout.", stats.expired)?;
    flow_log(status, to)?;
    let help = "Half-open flows that made room for others.";
    to.counter("flows_half_open_evicted", help, stats.half_open_evicted)?;
    let cut = stats.cut_by_cause.iter().map(|row| (Labels::of("cause", row.cause.as_str()), row.flows));
    to.counters("flows_cut", "Flows that were cut, by cause.", cut)?;
    to.counter(
        "hairpin_flows",
        "Flows of a target to itself, or to another behind the same next hop.",
        stats.hairpins,
    )
}

/// Nothing while there is no flow log.
fn flow_log(status: &Status, to: &mut Families<'_>) -> fmt::Result {
    let Some(log) = &status.flow_log else { return Ok(()) };
    to.counter("flow_log_records", "Records written to the flow log.", log.records)?;
    let help = "Records that the flow log has lost, by what had no room for them.";
    let rows = [("queue", log.dropped_by_queue), ("file", log.dropped_by_file)];
    to.counters(
        "flow_log_dropped",
        help,
        rows.map(|(reason, records)| (Labels::of("reason", reason), records)),
    )
}

fn load_balancers(metrics: &Metrics, to: &mut Families<'_>) -> fmt::Result {
    let vips =
        metrics.status.load_balancers.iter().flat_map(|lb| lb.addresses.iter().map(move |vip| (lb, vip)));
    let health = vips.filter_map(|(lb, vip): (_, &VipRow)| {
        let is_healthy = vip.zonal_health.as_ref()? == "healthy";
        let labels = Labels::of("load_balancer", lb.name.as_str()).and("address", vip.address.to_string());
        Some((labels.and("zone", vip.zone.as_deref().unwrap_or_default()), u64::from(is_healthy)))
    });
    let help = "Whether every target group behind an address has the healthy targets that its attributes ask for (NLB \
                ZonalHealthStatus).";
    to.gauges("zonal_health", help, health)?;
    let peaks = |rate: fn(&super::Peak) -> f64| {
        metrics.peaks.iter().map(move |(name, peak)| (Labels::of("load_balancer", name.as_str()), rate(peak)))
    };
    let help =
        "Highest mean packet rate over 10 s in the last 60 s, both directions (NLB PeakPacketsPerSecond).";
    to.gauges("load_balancer_peak_packets_per_second", help, peaks(|peak| peak.packets_per_second))?;
    let help = "Highest mean byte rate over 10 s in the last 60 s, both directions (NLB PeakBytesPerSecond).";
    to.gauges("load_balancer_peak_bytes_per_second", help, peaks(|peak| peak.bytes_per_second))
}

fn by_verdict(frames: &WorkerFrames) -> [(&'static str, u64); 5] {
    [
        ("transmit", frames.transmitted),
        ("reply", frames.replied),
        ("drop", frames.dropped),
        ("hand_over", frames.handed_over),
        ("hold", frames.held),
    ]
}
