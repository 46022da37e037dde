//! What listeners, target groups and targets tell: the same traffic of each, by one table, then what only one of them has.

use std::{collections::BTreeMap, fmt};

use crate::api::{ListenerRow, LoadBalancerRow, TargetRow, Traffic};

use super::{
    GroupRow, Metrics,
    exposition::{Families, Labels},
};

pub(super) fn write(metrics: &Metrics, to: &mut Families<'_>) -> fmt::Result {
    listeners(&metrics.status.load_balancers, to)?;
    target_groups(metrics, to)?;
    let omitted = if metrics.targets.len() > metrics.targets_max { metrics.targets.len() } else { 0 };
    let help = "Targets without series of their own, because there are more than metrics.targets_max.";
    to.gauge("metrics_omitted_targets", help, omitted as u64)?;
    targets(if omitted > 0 { &[] } else { &metrics.targets }, metrics, to)
}

/// A counter of traffic: one series, or one for each value of a label.
struct Column {
    name: &'static str,
    help: &'static str,
    label: &'static str,
    series: &'static [Series],
}

struct Series {
    /// Of the label.
    value: &'static str,
    count: fn(&Traffic) -> u64,
}

const fn series(value: &'static str, count: fn(&Traffic) -> u64) -> Series {
    Series { value, count }
}

/// Writes the traffic of each owner; `whose` begins the names.
fn traffic(whose: &str, owners: &[(Labels<'_>, &Traffic)], to: &mut Families<'_>) -> fmt::Result {
    let active = owners.iter().map(|(labels, traffic)| (labels.clone(), traffic.active_flows));
    let help = "Flows with a handshake under way, or established (NLB ActiveFlowCount).";
    to.gauges(&format!("{whose}_active_flows"), help, active)?;
    columns(whose, COMMON, owners, to)
}

fn columns(
    whose: &str,
    columns: &[Column],
    owners: &[(Labels<'_>, &Traffic)],
    to: &mut Families<'_>,
) -> fmt::Result {
    for Column { name, help, label, series } in columns {
        let rows = owners.iter().flat_map(|(labels, traffic)| {
            series.iter().map(move |row| (labels.clone().and(label, row.value), (row.count)(traffic)))
        });
        to.counters(&format!("{whose}_{name}"), help, rows)?;
    }
    Ok(())
}

fn listeners(load_balancers: &[LoadBalancerRow], to: &mut Families<'_>) -> fmt::Result {
    let rows = load_balancers.iter().flat_map(|lb| lb.listeners.iter().map(move |listener| (lb, listener)));
    let owners: Vec<(Labels<'_>, &Traffic)> =
        rows.map(|(lb, listener)| (listener_labels(lb, listener), &listener.traffic)).collect();
    traffic("listener", &owners, to)?;
    columns("listener", LISTENERS_ALONE, &owners, to)
}

fn listener_labels<'l>(lb: &'l LoadBalancerRow, listener: &'l ListenerRow) -> Labels<'l> {
    let zone = lb.addresses.iter().find(|vip| vip.address == listener.address);
    let zone = zone.and_then(|vip| vip.zone.as_deref()).unwrap_or_default();
    // `LOAD-BALANCER/PROTOCOL:PORT`, see `lb_core::tables::Listener`.
    let endpoint = listener.name.rsplit('/').next().unwrap_or_default();
    let protocol = endpoint.split(':').next().unwrap_or_default();
    Labels::of("load_balancer", lb.name.as_str())
        .and("listener", endpoint)
        .and("protocol", protocol)
        .and("address", listener.address.to_string())
        .and("zone", zone)
}

fn target_groups(metrics: &Metrics, to: &mut Families<'_>) -> fmt::Result {
    let groups = &metrics.target_groups;
    let owners: Vec<_> = groups.iter().map(|group| (group_labels(group), &group.traffic)).collect();
    traffic("target_group", &owners, to)?;
    let open = groups.iter().map(|group| (group_labels(group), u64::from(group.is_failing_open)));
    let help = "Whether flows go to targets without regard to their health, because too few are healthy.";
    to.gauges("target_group_failing_open", help, open)?;
    let bypassed = groups.iter().map(|group| (group_labels(group), group.bypassed_targets));
    let help = "Targets whose replies go past the load balancer.";
    to.gauges("target_group_bypassed_targets", help, bypassed)?;
    let help = "Targets by zone and state. NLB HealthyHostCount: state healthy; UnHealthyHostCount: unhealthy and \
                unhealthy.draining.";
    to.gauges("target_group_targets", help, hosts(metrics))?;
    let checks = groups.iter().flat_map(|group| {
        let results = [("passed", group.checks_passed), ("failed", group.checks_failed)];
        results.map(|(result, count)| (group_labels(group).and("result", result), count))
    });
    to.counters("target_group_checks", "Health checks of a group's targets, by result.", checks)
}

fn group_labels(group: &GroupRow) -> Labels<'_> {
    Labels::of("target_group", group.name.as_str())
        .and("load_balancer", group.load_balancer.as_deref().unwrap_or_default())
}

/// How many targets each group has, by zone and state; every state of a zone with targets, and of a group without any.
fn hosts(metrics: &Metrics) -> Vec<(Labels<'_>, u64)> {
    let mut counts: BTreeMap<(&str, &str), [u64; STATES.len()]> = BTreeMap::new();
    for row in &metrics.targets {
        let zone = row.zone.as_deref().unwrap_or_default();
        let states = counts.entry((&row.target_group, zone)).or_default();
        if let Some(at) = STATES.iter().position(|state| *state == row.state) {
            states[at] += 1;
        }
    }
    let of_group = |group| {
        let labels = group_labels(group);
        let has_any =
            counts.range((group.name.as_str(), "")..).next().is_some_and(|row| row.0.0 == group.name);
        let none = (!has_any).then_some(("", [0; STATES.len()]));
        let zones = counts.range((group.name.as_str(), "")..).take_while(|row| row.0.0 == group.name);
        let zones = zones.map(|(key, states)| (key.1, *states)).chain(none);
        zones.flat_map(move |(zone, states)| {
            let labels = labels.clone().and("zone", zone);
            let row = |(state, count): (&'static str, u64)| (labels.clone().and("state", state), count);
            STATES.into_iter().zip(states).map(row).collect::<Vec<_>>()
        })
    };
    metrics.target_groups.iter().flat_map(of_group).collect()
}

fn targets(rows: &[TargetRow], metrics: &Metrics, to: &mut Families<'_>) -> fmt::Result {
    let users: BTreeMap<&str, &str> = metrics
        .target_groups
        .iter()
        .filter_map(|group| Some((group.name.as_str(), group.load_balancer.as_deref()?)))
        .collect();
    let labels = |row: &'_ TargetRow| {
        let user = users.get(row.target_group.as_str()).copied().unwrap_or_default();
        Labels::of("target_group", row.target_group.clone())
            .and("load_balancer", user.to_owned())
            .and("target", row.target.to_string())
    };
    let owners: Vec<_> = rows.iter().map(|row| (labels(row), &row.traffic)).collect();
    traffic("target", &owners, to)?;
    let each = |is: fn(&TargetRow) -> bool| rows.iter().map(move |row| (labels(row), u64::from(is(row))));
    to.gauges("target_healthy", "Whether a target is healthy.", each(|row| row.state == "healthy"))?;
    to.gauges("target_eligible", "Whether a target gets new flows.", each(|row| row.is_eligible))?;
    let checks = rows.iter().flat_map(|row| {
        let results = [("passed", row.checks_passed), ("failed", row.checks_failed)];
        results.map(|(result, count)| (labels(row).and("result", result), count))
    });
    to.counters("target_checks", "Health checks of a target since it is checked, by result.", checks)
}

const COMMON: &[Column] = &[
    Column {
        name: "new_flows",
        help: "Flows made (NLB NewFlowCount).",
        label: "",
        series: &[series("", |traffic| traffic.new_flows)],
    },
    Column {
        name: "packets",
        help: "Packets from clients (in) and to clients (out) (NLB ProcessedPackets, without health checks).",
        label: "direction",
        series: &[series("in", |traffic| traffic.packets_in), series("out", |traffic| traffic.packets_out)],
    },
    Column {
        name: "bytes",
        help: "Bytes from clients (in) and to clients (out), from the IP header on (NLB ProcessedBytes).",
        label: "direction",
        series: &[series("in", |traffic| traffic.bytes_in), series("out", |traffic| traffic.bytes_out)],
    },
    Column {
        name: "passed_resets",
        help: "TCP resets that were sent on, by who sent them (NLB TCP_Client_Reset_Count, TCP_Target_Reset_Count).",
        label: "sender",
        series: &[
            series("client", |traffic| traffic.client_resets),
            series("target", |traffic| traffic.target_resets),
        ],
    },
    Column {
        name: "unhealthy_routing_flows",
        help: "Flows made while too few targets were healthy (NLB UnhealthyRoutingFlowCount).",
        label: "",
        series: &[series("", |traffic| traffic.unhealthy_routing_flows)],
    },
    Column {
        name: "cut_flows",
        help: "Flows that were cut.",
        label: "",
        series: &[series("", |traffic| traffic.cut_flows)],
    },
    Column {
        name: "repeated_syns",
        help: "SYNs repeated by clients whose target had not answered the first.",
        label: "",
        series: &[series("", |traffic| traffic.repeated_syns)],
    },
    Column {
        name: "refused_syns",
        help: "SYNs that a target refused.",
        label: "",
        series: &[series("", |traffic| traffic.refused_syns)],
    },
    Column {
        name: "bypassed_flows",
        help: "Flows whose client acknowledged an answer of the target that has not come by here.",
        label: "",
        series: &[series("", |traffic| traffic.bypassed_flows)],
    },
];

/// What happens before there is a target.
const LISTENERS_ALONE: &[Column] = &[
    Column {
        name: "made_resets",
        help: "TCP resets that the load balancer made (NLB TCP_ELB_Reset_Count).",
        label: "",
        series: &[series("", |traffic| traffic.resets)],
    },
    Column {
        name: "port_allocation_errors",
        help: "Flows refused because no source port was free (NLB PortAllocationErrorCount).",
        label: "",
        series: &[series("", |traffic| traffic.port_allocation_errors)],
    },
    Column {
        name: "rejected_flows",
        help: "Flows refused because the target group had no target (NLB RejectedFlowCount).",
        label: "",
        series: &[series("", |traffic| traffic.rejected_flows)],
    },
];

const STATES: [&str; 7] =
    ["initial", "healthy", "unhealthy", "unhealthy.draining", "draining", "unused", "unavailable"];
