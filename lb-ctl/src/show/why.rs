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
    lines.extend(why.source.as_ref().map(|row| source(row, why)));
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
        (Reason::SynToTarget, None) => {
            format!("a new flow, it goes to {} once the client has confirmed a SYN cookie.", target())
        }
        (Reason::FlowAdopted, _) => {
            format!("packets of a flow from before an unclean start, it is adopted with {}.", target())
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
        let is_ours = why.sender == WhySender::Nobody && why.address.load_balancer.is_some();
        return is_ours.then(|| nothing_listens(why));
    };
    let is_shared = listener.forward.len() > 1;
    let group = |row: &crate::api::WhyWeight| match is_shared {
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
    Some(match groups.is_empty() {
        true => format!("The listener {name} was removed a moment ago: its flows are cut."),
        false => format!("The listener {name}{by} forwards to {}{sticky}{cookies}.", list(&groups, "and")),
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
        (None, true) => " It is over: the next SYN begins a new one.".into(),
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
    let worker = why.worker?;
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
    if row.is_failing_open && row.eligible_targets > 0 {
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
        _ => format!("{} has no target{zone} that could get flows.", row.target_group),
    });
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

fn target(row: &TargetRow, why: &Why) -> Vec<String> {
    let zone = row.zone.as_ref().map_or(String::new(), |zone| format!(" (zone {zone})"));
    let reason = match (&row.reason, &row.description) {
        (Some(reason), Some(description)) => format!(" ({reason}: {description})"),
        (one, other) => one.as_ref().or(other.as_ref()).map_or(String::new(), |text| format!(" ({text})")),
    };
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
        lines.push("Its flows go on until its deregistration delay ends, and maybe after it.".into());
    }
    lines
}

fn source(row: &WhySource, why: &Why) -> String {
    let cause = match row.cause.as_deref() {
        Some("hairpin") => ", because the client is that target itself",
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
            format!(
                "The target sees {addresses}, a port from {first} to {last}, instead of the client{cause}."
            )
        }
        _ => format!("The target cannot see the client{cause}, and there is no address to send from."),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{FlowRow, Traffic, WhyAddress, WhyListener, WhyVerdict, WhyWeight};

    /// A new flow of a client's to one of two target groups.
    fn new_flow() -> Why {
        let target = "198.19.1.2:8080".parse().unwrap();
        Why {
            protocol: "TCP".into(),
            from: "198.18.0.2:40000".parse().unwrap(),
            to: "198.18.100.1:80".parse().unwrap(),
            sender: WhySender::Client,
            verdict: Reason::FlowNew.into(),
            stray: Some(Reason::ResetNoFlow.into()),
            address: WhyAddress {
                address: "198.18.100.1".parse().unwrap(),
                load_balancer: Some("edge".into()),
                zone: Some("a".into()),
                pool: Some("subnet-a".into()),
                is_host: false,
            },
            listener: Some(WhyListener {
                name: "edge/TCP:80".into(),
                rule: None,
                forward: [("blue", 9), ("green", 1)]
                    .map(|(name, weight)| WhyWeight { target_group: name.into(), weight })
                    .into(),
                is_sticky: false,
                has_syn_cookies: false,
                idle_timeout_seconds: 350,
            }),
            other_listeners: vec![],
            flow: None,
            selection: Some(WhySelection {
                target_group: "blue".into(),
                group_by: Some("flow".into()),
                target_by: "client_address".into(),
                zone: Some("a".into()),
                eligible_targets: 1,
                is_failing_open: false,
                slot: Some(12_345),
                slots: 65_537,
                owner: Some(target),
                taken_by: None,
                target: Some(target),
            }),
            target: Some(row("healthy", true)),
            source: Some(WhySource {
                address: Some("198.18.0.2:40000".parse().unwrap()),
                cause: None,
                addresses: vec![],
                ports: None,
            }),
            worker: Some(1),
            generation: 7,
            silent_workers: vec![],
        }
    }

    fn row(state: &str, is_eligible: bool) -> TargetRow {
        TargetRow {
            target_group: "blue".into(),
            target: "198.19.1.2:8080".parse().unwrap(),
            zone: Some("a".into()),
            state: state.into(),
            reason: None,
            description: None,
            changed: None,
            changed_seconds_ago: None,
            checks_passed: 1,
            checks_failed: 0,
            weight: Some(1),
            is_eligible,
            share_percent: 100.0,
            is_reachable: true,
            traffic: Traffic::default(),
        }
    }

    fn flow(state: &str) -> WhyFlow {
        WhyFlow {
            row: FlowRow {
                protocol: "TCP".into(),
                client: "198.18.0.2:40000".parse().unwrap(),
                listener: "198.18.100.1:80".parse().unwrap(),
                source: "198.18.0.2:40000".parse().unwrap(),
                target: "198.19.1.3:8080".parse().unwrap(),
                state: state.into(),
                idle_ms: 1_500,
                timeout_ms: 350_000,
                worker: 0,
            },
            is_reply: false,
            is_over: false,
            cut: None,
        }
    }

    #[test]
    fn a_new_flow_is_followed_to_its_target() {
        assert_eq!(
            why(&new_flow()),
            "TCP 198.18.0.2:40000 -> 198.18.100.1:80: a new flow, it goes to 198.19.1.2:8080.\n\n\
             198.18.100.1 is an address of the load balancer edge, in zone a, from the address pool subnet-a.\n\
             The listener edge/TCP:80 forwards to blue (weight 9) and green (weight 1).\n\
             There is no such flow; one would be worker 1's.\n\
             The hash of the flow selects the target group blue.\n\
             The hash of the client's address is slot 12,345 of 65,537 in the Maglev table of blue (1 eligible target for \
             zone a): it belongs to 198.19.1.2:8080.\n\
             198.19.1.2:8080 of blue (zone a) is healthy.\n\
             The target sees the client itself: 198.18.0.2:40000.\n\
             A TCP packet other than a SYN is answered by a reset: it has no flow."
        );
    }

    #[test]
    fn every_turn_of_the_story_is_told() {
        let refused = |reason: Reason| Why { verdict: reason.into(), ..new_flow() };
        let with_flow =
            |flow| Why { flow: Some(flow), stray: None, verdict: Reason::FlowHit.into(), ..new_flow() };
        let with_source = |cause: &str, addresses: &[&str]| {
            let addresses: Vec<_> = addresses.iter().map(|address| address.parse().unwrap()).collect();
            let ports = Some((1_024, 65_535));
            Why {
                source: Some(WhySource { address: None, cause: Some(cause.into()), addresses, ports }),
                ..new_flow()
            }
        };
        let unreachable = TargetRow { is_reachable: false, ..row("unhealthy", true) };
        let selection = |change: fn(&mut WhySelection)| {
            let mut row = new_flow().selection.unwrap();
            change(&mut row);
            Why { selection: Some(row), ..new_flow() }
        };
        for (told, sentence) in [
            (with_flow(flow("established")), "packets of a flow, they go to 198.19.1.3:8080.\n"),
            (
                with_flow(flow("established")),
                "established, with 198.19.1.3:8080, idle for 1.5 s of 350.0 s. It stays with",
            ),
            (
                with_flow(WhyFlow { is_over: true, ..flow("reset") }),
                "It is over: the next SYN begins a new one.",
            ),
            (
                with_flow(WhyFlow { cut: Some("unhealthy".into()), ..flow("established") }),
                "Its next packet has it cut: its target is unhealthy.",
            ),
            (
                with_flow(WhyFlow { is_reply: true, ..flow("established") }),
                "they go to the client 198.18.0.2:40000.",
            ),
            (refused(Reason::ResetNoTarget), "answered by a reset: no target can get the flow."),
            (refused(Reason::NextHopUnresolved), "dropped for now: the way to the target is not known."),
            (refused(Reason::NoSourcePort), "dropped: no source port is free"),
            (refused(Reason::OwnSource), "dropped: source address is a VIP"),
            (refused(Reason::FlowTableFull), "dropped: the flow table has no room"),
            (refused(Reason::Stateless), "they go to 198.19.1.2:8080; the flow table is full"),
            (refused(Reason::SynToTarget), "once the client has confirmed a SYN cookie"),
            (
                Why { target: Some(unreachable.clone()), ..new_flow() },
                "is unhealthy; it gets new flows all the same",
            ),
            (Why { target: Some(unreachable), ..new_flow() }, "No way to 198.19.1.2 is known"),
            (
                Why { target: Some(row("draining", false)), ..new_flow() },
                "is draining; it gets no new flows.",
            ),
            (
                with_source("hairpin", &["198.18.100.1"]),
                "instead of the client, because the client is that target itself.",
            ),
            (
                with_source("not_preserved", &["198.18.100.1", "198.18.100.2"]),
                "sees 198.18.100.1 or 198.18.100.2, a port from 1024 to 65535,",
            ),
            (with_source("other_family", &[]), "there is no address to send from."),
            (
                selection(|row| row.is_failing_open = true),
                "Too few targets of blue are healthy: it fails open",
            ),
            (
                selection(|row| (row.slot, row.owner, row.target) = (None, None, None)),
                "blue has no target for zone a",
            ),
            (
                selection(|row| {
                    row.taken_by = Some("edge/TCP:81".into());
                    row.target = "198.19.1.4:8080".parse().ok();
                }),
                "reaches that one by edge/TCP:81, so the next in the table is selected: 198.19.1.4:8080.",
            ),
            (Why { silent_workers: vec![3], ..new_flow() }, "\nWorker 3 did not answer in time"),
        ] {
            let text = why(&told);
            assert!(text.contains(sentence), "{sentence}\n{text}");
        }
    }

    #[test]
    fn where_nothing_listens_it_is_told_what_does() {
        let nobody = Why {
            sender: WhySender::Nobody,
            verdict: Reason::NoListener.into(),
            listener: None,
            selection: None,
            target: None,
            source: None,
            stray: None,
            worker: None,
            other_listeners: vec!["edge/TCP:80".into(), "edge/UDP:53".into()],
            to: "198.18.100.1:81".parse().unwrap(),
            ..new_flow()
        };
        let text = why(&nobody);
        assert!(text.contains(
            "No listener is for TCP port 81; the listeners of that address are edge/TCP:80 and edge/UDP:53."
        ));
        let address = WhyAddress { load_balancer: None, is_host: true, ..nobody.address.clone() };
        let host = Why { address, verdict: WhyVerdict::from(Reason::PassHost), ..nobody };
        assert!(why(&host).contains("left to the kernel: the address is the host's own."), "{}", why(&host));
    }
}
