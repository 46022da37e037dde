//! `lbctl trace`: a frame in a line, stage by stage.

use lb_core::verdict::Action;

use super::text::{count, counted};
use crate::api::{
    PacketHead, TraceEnd, TraceLine, TraceOrigin, TraceSelection, TracedFrame, WhyFlow, WhySender,
};
use crate::packet_head::ends;

/// One line of a trace; nothing for a sign of life.
pub fn trace(line: &TraceLine) -> String {
    match line {
        TraceLine::Frame(row) => frame(row),
        TraceLine::Missed { over_rate, unread } => missed(*over_rate, *unread),
        TraceLine::Heartbeat => String::new(),
        TraceLine::End { because, frames, missed } => end(*because, *frames, *missed),
    }
}

fn missed(over_rate: u64, unread: u64) -> String {
    let over_rate = (over_rate > 0).then(|| format!("{} over the rate of a trace", count(over_rate)));
    let unread = (unread > 0).then(|| format!("{} read too slowly", count(unread)));
    let causes: Vec<String> = over_rate.into_iter().chain(unread).collect();
    format!("... frames not told: {}", causes.join(", "))
}

fn end(because: TraceEnd, frames: u64, missed: u64) -> String {
    let because = match because {
        TraceEnd::Count => "as many as were asked for",
        TraceEnd::Time => "the time is over",
        TraceEnd::Stop => "lbd stops",
    };
    format!("{}: {because}", trace_sum(frames, missed))
}

/// How many frames a trace has told, and how many it has not.
pub fn trace_sum(frames: u64, missed: u64) -> String {
    let missed = if missed > 0 { format!(", {} not told", count(missed)) } else { String::new() };
    format!("{}{missed}", counted(frames, "frame"))
}

fn frame(row: &TracedFrame) -> String {
    let time = row.at.get(11..26).unwrap_or(&row.at);
    let stages = [
        Some(format!("{time} worker {}", row.worker)),
        Some(came(row)),
        steered(row),
        row.listener.as_ref().map(|name| format!("listener {name}")),
        row.flow.as_ref().map(hit),
        row.selection.as_ref().map(selected),
        rewritten(row),
        next_hop(row),
        Some(outcome(row)),
    ];
    stages.into_iter().flatten().collect::<Vec<_>>().join(" | ")
}

/// Frame in.
fn came(row: &TracedFrame) -> String {
    let what = row.before.as_ref().map(|head| format!(": {}", packet(head))).unwrap_or_default();
    match (row.origin, row.queue) {
        (TraceOrigin::Queue, Some(queue)) => format!("in {} queue {queue}{what}", row.interface),
        (TraceOrigin::Queue, None) => format!("in {}{what}", row.interface),
        (TraceOrigin::Worker, _) => format!("handed over, in {}{what}", row.interface),
        (TraceOrigin::Own, _) => format!("made here, for one in {}{what}", row.interface),
    }
}

/// Such as `74 bytes, TCP 198.18.0.2:40000 > 198.18.100.1:80 SYN`.
fn packet(head: &PacketHead) -> String {
    let ends = ends(head).map_or(String::new(), |(from, to)| format!(" {from} > {to}"));
    let piece = if head.is_piece { " piece" } else { "" };
    let tcp = head.tcp.as_ref().map_or(String::new(), |tcp| match tcp.data_bytes {
        0 => format!(" {}", tcp.flags),
        data => format!(" {} with {} bytes", tcp.flags, data),
    });
    format!("{} bytes, {}{piece}{ends}{tcp}", head.bytes, head.protocol)
}

fn steered(row: &TracedFrame) -> Option<String> {
    let (sender, head) = (row.sender?, row.before.as_ref()?);
    let what = if head.protocol.starts_with("ICMP") { "ICMP error" } else { "steered" };
    Some(match sender {
        WhySender::Client => format!("{what}: to a listener"),
        WhySender::Target => format!("{what}: of a target"),
        WhySender::Nobody => format!("{what}: to a VIP without that listener"),
    })
}

fn hit(flow: &WhyFlow) -> String {
    let way = if flow.is_reply { "to the client" } else { "to the target" };
    let cut = flow.cut.as_ref().map_or(String::new(), |cause| format!(", to be cut: {cause}"));
    format!("flow {} {way}{cut}", flow.row.state)
}

fn selected(row: &TraceSelection) -> String {
    let target = row.target.map_or("nobody".into(), |target| target.to_string());
    let instead = match row.owner.filter(|owner| Some(*owner) != row.target) {
        Some(owner) if row.target.is_some() => {
            format!(", instead of {owner}, to which this client's port leads by another listener")
        }
        _ => String::new(),
    };
    match row.slot {
        Some(slot) => format!(
            "select {}: slot {} of {}, {target}{instead}",
            row.target_group,
            count(slot.into()),
            count(row.slots as u64)
        ),
        None => format!("select {}: no target", row.target_group),
    }
}

/// What differs between the frame that came and the one that leaves; or what is answered.
fn rewritten(row: &TracedFrame) -> Option<String> {
    let after = row.after.as_ref()?;
    let Some(before) = row.before.as_ref().filter(|_| row.verdict.verdict != Action::Reply.name()) else {
        return Some(format!("{}: {}", if row.before.is_some() { "answer" } else { "frame" }, packet(after)));
    };
    let tcp = |head: &PacketHead| head.tcp.clone().unwrap_or_default();
    let (was, is) = (tcp(before), tcp(after));
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    let macs = |head: &PacketHead| {
        Some(format!("{} > {}", head.source_mac.as_ref()?, head.destination_mac.as_ref()?))
    };
    let ((from, to), (new_from, new_to)) =
        (ends(before).unwrap_or_default(), ends(after).unwrap_or_default());
    let changes = [
        change("source", Some(from), Some(new_from)),
        change("destination", Some(to), Some(new_to)),
        change("sequence", number(Some(was.sequence)), number(Some(is.sequence))),
        change("acknowledgement", number(was.acknowledgement), number(is.acknowledgement)),
        change("window", Some(was.window.to_string()), Some(is.window.to_string())),
        change("bytes", Some(before.bytes.to_string()), Some(after.bytes.to_string())),
        change("MACs", macs(before), macs(after)),
    ];
    let changes: Vec<String> = changes.into_iter().flatten().collect();
    Some(format!("rewrite {}", if changes.is_empty() { "nothing".into() } else { changes.join(", ") }))
}

fn change(what: &str, before: Option<String>, after: Option<String>) -> Option<String> {
    let (before, after) = (before?, after?);
    (before != after).then(|| format!("{what} {before} -> {after}"))
}

fn next_hop(row: &TracedFrame) -> Option<String> {
    Some(format!("next hop {}", row.after.as_ref()?.destination_mac.as_ref()?))
}

/// Frame out, or why not.
fn outcome(row: &TracedFrame) -> String {
    let (verdict, reason) = (&row.verdict.verdict, &row.verdict.reason);
    match (&row.out, row.to_worker) {
        (Some(interface), _) => format!("out {interface}: {reason}"),
        (None, Some(worker)) => format!("to worker {worker}: {reason}"),
        (None, None) => format!("{verdict}: {reason}"),
    }
}

#[cfg(test)]
mod tests;
