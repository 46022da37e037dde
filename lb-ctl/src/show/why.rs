//! `lbctl why`: what becomes of packets, in sentences. The first says it, the others why.

use lb_core::verdict::Reason;

use super::{
    flows::silence,
    text::{count, plural, seconds},
};
use crate::api::{TargetRow, Why, WhyFlow, WhySelection, WhySender, WhySource};

/// What becomes of packets, and why.
pub fn why(why: &Why) -> String {
    let mut lines =
        vec![format!("{} {} -> {}: {}", why.protocol, why.from, why.to, outcome(why)), String::new()];
    lines.push(address(why));
    lines.extend(listener(why));
    lines.extend(why.flow.as_ref().map(|row| flow(row, why)).or_else(|| no_flow(why)));
    if let Some(selection) = &why.selection {
        lines.extend(selected(selection, why));
    }
    if let Some(row) = &why.target {
        lines.extend(target(row, why));
    }
    lines.extend(next_hop(why));
    lines.extend(why.source.as_ref().map(|row| source(row, why)));
    lines.extend(bypass(why));
    lines.extend(stray(why));
    lines.join("\n") + &silence(&why.silent_workers)
}

/// What becomes of the next packet.
fn outcome(why: &Why) -> String {
    let target = || match (&why.flow, &why.target) {
        (Some(flow), _) if !is_replaced(flow) => flow.row.target.to_string(),
        (_, Some(target)) => target.target.to_string(),
        _ => "its target".into(),
    };
    let Some(reason) = Reason::ALL.iter().find(|reason| reason.name() == why.verdict.reason) else {
        return why.verdict.help.clone();
    };
    match (reason, &why.flow) {
        (Reason::FlowHit, Some(flow)) if flow.is_reply => {
            format!("answers in a flow, they go to the client {}.", flow.row.client)
        }
        (Reason::FlowHit, _) => format!("packets of a flow, they go to {}.", target()),
        (Reason::FlowNew, _) => format!("a new flow, it goes to {}.", target()),
        (Reason::ProxyHeader, Some(_)) => {
            format!("packets of a flow, they go to {}, each with a PROXY header.", target())
        }
        (Reason::SynToTarget, None) => {
            format!("a new flow, it goes to {} once the client has confirmed a SYN cookie.", target())
        }
        (Reason::FlowAdopted, _) => {
            let before =
                "packets of a flow from before an unclean start, or that the flow table had no room for";
            format!("{before}, it is adopted with {}.", target())
        }
        (Reason::Stateless, _) => {
            format!("they go to {}; the flow table is full, so the hash finds it anew for each.", target())
        }
        _ => refusal(*reason, why),
    }
}

/// Why packets get nowhere.
fn refusal(reason: Reason, why: &Why) -> String {
    match reason {
        Reason::NoListener => "dropped: nothing listens there.".into(),
        Reason::PassHost => "left to the kernel: the address is the host's own.".into(),
        Reason::PassNotOurs => "left to the kernel: the load balancer has nothing to do with them.".into(),
        Reason::NoTarget => "dropped: no target can get the flow.".into(),
        Reason::ResetNoTarget => "answered by a reset: no target can get the flow.".into(),
        Reason::NextHopUnresolved if why.sender == WhySender::Target => {
            "dropped for now: the way to the client is not known yet.".into()
        }
        Reason::NextHopUnresolved => "dropped for now: the way to the target is not known.".into(),
        Reason::ResetNoFlow => "answered by a reset: they belong to no flow.".into(),
        Reason::NoFlow => "dropped: they belong to no flow.".into(),
        Reason::ResetTerminated => "answered by a reset: their flow is cut.".into(),
        other => format!("{}: {}", verb(why), lower(other.help())),
    }
}

fn verb(why: &Why) -> &'static str {
    match why.verdict.verdict.as_str() {
        "drop" => "dropped",
        "pass" => "left to the kernel",
        "reply" => "answered",
        _ => "sent on",
    }
}

/// A help text as the end of a sentence; names in capitals stay.
fn lower(help: &str) -> String {
    let mut letters = help.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => help.into(),
    }
}

fn address(why: &Why) -> String {
    let row = &why.address;
    let zone = row.zone.as_ref().map_or(String::new(), |zone| format!(", in zone {zone}"));
    let pool = row.pool.as_ref().map_or(String::new(), |pool| format!(", from the address pool {pool}"));
    let shared = if row.is_host { "; the host has it, too" } else { "" };
    match (&row.load_balancer, why.sender) {
        (Some(name), _) => {
            format!("{} is an address of the load balancer {name}{zone}{pool}{shared}.", row.address)
        }
        (None, WhySender::Target) => format!("{} sends from a target's address and port.", why.from),
        (None, _) if row.is_host => {
            format!("{} is an address of this host, of no load balancer.", row.address)
        }
        (None, _) => format!("{} is no address of a load balancer: `lbctl status` lists them.", row.address),
    }
}

fn listener(why: &Why) -> Option<String> {
    let Some(listener) = &why.listener else {
        let is_nobodys = why.sender == WhySender::Nobody || why.verdict.reason == Reason::NoListener.name();
        let is_ours = is_nobodys && why.address.load_balancer.is_some();
        return is_ours.then(|| nothing_listens(why));
    };
    let is_shared = listener.forward.len() > 1;
    let group = |row: &crate::api::WhyWeight| match is_shared || row.weight == 0 {
        true => format!("{} (weight {})", row.target_group, row.weight),
        false => row.target_group.clone(),
    };
    let groups: Vec<String> = listener.forward.iter().map(group).collect();
    let sticky = if is_shared && listener.is_sticky { ", each client's flows to one of them" } else { "" };
    let cookies = if listener.has_syn_cookies { "; it answers SYNs by cookies" } else { "" };
    let name = &listener.name;
    let by = match &listener.rule {
        Some(rule) => format!(", by its rule {} for {} clients,", rule.priority, rule.source.name()),
        None => String::new(),
    };
    let shares_out = listener.forward.iter().any(|row| row.weight > 0);
    let no_share =
        if shares_out { "" } else { " It gives no target group a weight, so nobody gets new flows." };
    Some(match groups.is_empty() {
        true => format!("The listener {name} was removed a moment ago: its flows are cut."),
        false => {
            format!(
                "The listener {name}{by} forwards to {}{sticky}{cookies}.{no_share}",
                list(&groups, "and")
            )
        }
    })
}

fn nothing_listens(why: &Why) -> String {
    let instead = match &why.other_listeners[..] {
        [] => "no listener has that address.".into(),
        [one] => format!("the listener of that address is {one}."),
        several => format!("the listeners of that address are {}.", list(several, "and")),
    };
    format!("No listener is for {} port {}; {instead}", why.protocol, why.to.port())
}

fn flow(flow: &WhyFlow, why: &Why) -> String {
    let row = &flow.row;
    let whose = match flow.is_reply {
        true => format!(" of {} to {}", row.client, row.listener),
        false => String::new(),
    };
    let (idle, timeout) = (seconds(row.idle_ms), seconds(row.timeout_ms));
    let found = format!(
        "Worker {} has the flow{whose}: {}, with {}, idle for {idle} of {timeout}.",
        row.worker, row.state, row.target
    );
    let selected = why.selection.as_ref().and_then(|selection| selection.target);
    let then = match (&flow.cut, is_replaced(flow)) {
        (Some(cause), _) => format!(" Its next packet has it cut: {}.", cut_cause(cause)),
        (None, true) if begins_a_flow(why) => " It is over: the next SYN begins a new one.".into(),
        (None, true) => " It is over.".into(),
        (None, false) if selected.is_some_and(|selected| selected != row.target) => {
            " It stays with that target, whatever the hash selects.".into()
        }
        (None, false) => String::new(),
    };
    found + &then
}

fn cut_cause(cause: &str) -> &str {
    match cause {
        "unhealthy" => "its target is unhealthy",
        "deregistered" => "its target is deregistered",
        "weight_zero" => "its listener gives the target group the weight 0",
        "unused" => "its target is out of use",
        "listener_gone" => "its listener is gone",
        other => other,
    }
}

fn no_flow(why: &Why) -> Option<String> {
    let worker = why.worker.filter(|_| !is_refused_by_source(why))?;
    (why.sender != WhySender::Nobody)
        .then(|| format!("There is no such flow; one would be worker {worker}'s."))
}

fn selected(row: &WhySelection, why: &Why) -> Vec<String> {
    let mut lines = Vec::new();
    let by = |by: &str| if by == "client_address" { "client's address" } else { "flow" };
    if let Some(group_by) = &row.group_by {
        lines.push(format!(
            "The hash of the {} selects the target group {}.",
            by(group_by),
            row.target_group
        ));
    }
    if row.is_failing_open {
        lines.push(format!(
            "Too few targets of {} are healthy: it fails open, so that all of them get flows.",
            row.target_group
        ));
    }
    let zone = row.zone.as_ref().map_or(String::new(), |zone| format!(" for zone {zone}"));
    lines.push(match (row.slot, row.owner) {
        (Some(slot), Some(owner)) => format!(
            "The hash of the {} is slot {} of {} in the Maglev table of {} ({}{zone}): it belongs to {owner}.",
            by(&row.target_by),
            count(slot.into()),
            count(row.slots as u64),
            row.target_group,
            plural(row.eligible_targets, "eligible target"),
        ),
        _ => format!("{} has no target{zone} that could get flows{}", row.target_group, end(&row.targets)),
    });
    lines.extend(row.targets.iter().take(TARGETS_SHOWN).map(|target| format!("- {}", unfit(target))));
    if let Some(more) = row.targets.len().checked_sub(TARGETS_SHOWN).filter(|more| *more > 0) {
        lines.push(format!("- and {} more: `lbctl targets` lists them", count(more as u64)));
    }
    let selected = row.target.filter(|_| row.target != row.owner);
    if let (Some(listener), Some(selected)) = (&row.taken_by, selected) {
        lines.push(format!(
            "The same client's port reaches that one by {listener}, so the next in the table is selected: {selected}."
        ));
    }
    let chosen = why.target.as_ref().map(|target| target.target).filter(|_| why.flow.is_none());
    if let Some(chosen) = chosen.filter(|chosen| row.target.is_some_and(|selected| selected != *chosen)) {
        lines
            .push(format!("Another flow of this client's port is with that one, so {chosen} gets the flow."));
    }
    lines
}

/// How a sentence about targets ends before they are listed.
fn end(targets: &[TargetRow]) -> &'static str {
    if targets.is_empty() { ": it is empty." } else { ":" }
}

/// What keeps a target from new flows.
fn unfit(row: &TargetRow) -> String {
    let zone = row.zone.as_ref().map_or(String::new(), |zone| format!(" (zone {zone})"));
    let weight = if row.weight == Some(0) { ", has the weight 0" } else { "" };
    let hop = if row.is_reachable { ", its next hop is known" } else { ", its next hop is not known" };
    format!("{}{zone} is {}{}{weight}{hop}", row.target, row.state, reason(row))
}

/// Why a target is in its state.
fn reason(row: &TargetRow) -> String {
    match (&row.reason, &row.description) {
        (Some(reason), Some(description)) => format!(" ({reason}: {description})"),
        (one, other) => one.as_ref().or(other.as_ref()).map_or(String::new(), |text| format!(" ({text})")),
    }
}

fn target(row: &TargetRow, why: &Why) -> Vec<String> {
    let zone = row.zone.as_ref().map_or(String::new(), |zone| format!(" (zone {zone})"));
    let reason = reason(row);
    let flows = match (row.is_eligible, row.state.as_str()) {
        (true, "healthy") => "",
        (true, _) => "; it gets new flows all the same, because its group fails open",
        (false, _) => "; it gets no new flows",
    };
    let mut lines =
        vec![format!("{} of {}{zone} is {}{reason}{flows}.", row.target, row.target_group, row.state)];
    if !row.is_reachable {
        lines.push(format!(
            "No way to {} is known: the kernel has no route there, or nobody answers for the address.",
            row.target.ip()
        ));
    }
    if let (Some(flow), None) = (&why.flow, &row.weight)
        && flow.cut.is_none()
    {
        lines.push(match row.state.as_str() {
            "draining" => "Its flows go on until its deregistration delay ends, and maybe after it.".into(),
            _ => "Its deregistration delay is over; its flows go on.".into(),
        });
    }
    lines
}

/// Where requests to the target go by.
fn next_hop(why: &Why) -> Option<String> {
    let hop = why.next_hop.as_ref().filter(|_| why.sender == WhySender::Client)?;
    let ip = why.target.as_ref()?.target.ip();
    Some(format!("The next hop to {ip} is {} by {}.", hop.mac, hop.interface))
}

fn source(row: &WhySource, why: &Why) -> String {
    let cause = match row.cause.as_deref() {
        Some("hairpin") => ", because the client is that target itself",
        Some("same_node") => {
            ", because the client is behind the same next hop as the target, and would be answered there"
        }
        Some("other_family") => ", because client and target have addresses of different families",
        Some("not_preserved") => ", because its group does not preserve clients' addresses",
        Some("collision") => ", because the client's port already leads to it by another listener",
        _ => "",
    };
    let client = why.flow.as_ref().map_or(why.from, |flow| flow.row.client);
    match (row.address, row.ports) {
        (Some(address), _) if address == client => {
            format!("The target sees the client itself: {address}.")
        }
        (Some(address), _) => format!("The target sees {address} instead of the client{cause}."),
        (None, Some((first, last))) if !row.addresses.is_empty() => {
            let addresses: Vec<String> = row.addresses.iter().map(ToString::to_string).collect();
            let addresses = list(&addresses, "or");
            if why.verdict.reason == Reason::NoSourcePort.name() {
                return format!(
                    "The target cannot see the client{cause}, and no port from {first} to {last} of {addresses} is free \
                     towards it."
                );
            }
            format!(
                "The target sees {addresses}, a port from {first} to {last}, instead of the client{cause}."
            )
        }
        _ => format!("The target cannot see the client{cause}, and there is no address to send from."),
    }
}

/// That the target's replies go past the load balancer.
fn bypass(why: &Why) -> Option<String> {
    Some(format!("{}: {}", why.target.as_ref()?.target, why.bypass.as_ref()?))
}

fn stray(why: &Why) -> Option<String> {
    let stray = why.stray.as_ref().filter(|stray| stray.reason != why.verdict.reason)?;
    Some(match stray.reason.as_str() {
        "reset_no_flow" => "A TCP packet other than a SYN is answered by a reset: it has no flow.".into(),
        "adopted_flow" | "stateless" => {
            "A TCP packet other than a SYN is adopted: the hash finds the target that its flow had.".into()
        }
        _ => format!("A TCP packet other than a SYN: {}", lower(&stray.help)),
    })
}

/// Whether the next packet opens a flow.
fn begins_a_flow(why: &Why) -> bool {
    let openings = [Reason::FlowNew, Reason::SynToTarget, Reason::Stateless, Reason::FlowAdopted];
    openings.iter().any(|reason| reason.name() == why.verdict.reason)
}

/// Whether no packet of that source opens a flow, so that nobody would have one.
fn is_refused_by_source(why: &Why) -> bool {
    [Reason::MartianSource, Reason::OwnSource].iter().any(|reason| reason.name() == why.verdict.reason)
}

/// Whether a client's next packet begins a new flow in this one's place.
fn is_replaced(flow: &WhyFlow) -> bool {
    flow.is_over && !flow.is_reply
}

/// Such as `a, b and c`.
fn list(items: &[String], and: &str) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} {and} {last}", first.join(", ")),
    }
}

/// Targets without flows that are listed.
const TARGETS_SHOWN: usize = 16;

#[cfg(test)]
mod tests;
