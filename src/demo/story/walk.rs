//! The way of one captured packet, told: a step for each link, and what whoever stands between two links did to it, and why. Nothing
//! here is known beforehand: rewriting is told where a packet left somebody with other addresses than it came with.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use lb_core::{
    tables::Mac,
    wire::{
        l4::tcp::{ACK, FIN, RST, SYN},
        proxy,
    },
};

use crate::{
    report::text,
    testbed::tap::{Crossing, Hop, Protocol},
};

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the client.
    There,
    /// To the client.
    Back,
}

/// What captures do not say by themselves.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The link ends that MAC addresses belong to, such as `node1/eth0`.
    pub(super) ends: BTreeMap<Mac, String>,
    /// What addresses are called, such as `pod51`.
    pub(super) addresses: BTreeMap<IpAddr, String>,
    /// Ports that are not told, because chance chose them; none where the reader watches.
    pub(super) told: Ports,
    /// How the load balancer chose, as `lbctl why` says.
    pub(super) choice: String,
    /// Why the load balancer puts its own address in the client's place, where it does.
    pub(super) cause: String,
}

/// Which ports are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Ports {
    /// All.
    #[default]
    All,
    /// These; others differ from run to run.
    Only(Vec<u16>),
}

/// A packet's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    steps: Vec<Step>,
}

/// A packet on one link, and what became of it just before.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    places: String,
    addresses: String,
    packet: String,
    macs: String,
    deeds: Vec<String>,
}

/// A line of a told walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The packet on a link: from where to where, from whom to whom, what it is.
    Hop(String),
    /// Its link-layer addresses.
    Macs(String),
    /// What somebody did to it before.
    Deed(String),
}

impl Walk {
    /// Tells the crossings of one packet, in order.
    pub(super) fn tell(crossings: &[Crossing<'_>], way: Way, names: &Names) -> Walk {
        let before = [None].into_iter().chain(crossings.iter().map(Some));
        let steps = before.zip(crossings).map(|(before, crossing)| Step::tell(before, crossing, way, names));
        Walk { steps: steps.collect() }
    }

    /// From where to where, for each link.
    pub(super) fn places(&self) -> Vec<&str> {
        self.steps.iter().map(|step| step.places.as_str()).collect()
    }

    /// For people, in at most 120 columns with an indentation of three.
    pub(super) fn lines(&self) -> Vec<Line> {
        let widest = |of: fn(&Step) -> &str| self.steps.iter().map(|step| of(step).len()).max().unwrap_or(0);
        let (places, addresses) = (widest(|step| &step.places), widest(|step| &step.addresses));
        let mut lines = Vec::new();
        for (number, step) in (1..).zip(&self.steps) {
            lines.extend(step.deeds.iter().map(|deed| Line::Deed(format!("     {deed}"))));
            let Step { packet, .. } = step;
            lines.push(Line::Hop(format!(
                "{number:>3}. {:<places$}  {:<addresses$}  {packet}",
                step.places, step.addresses
            )));
            lines.push(Line::Macs(format!("     {}", step.macs)));
        }
        lines
    }
}

impl Step {
    fn tell(before: Option<&Crossing<'_>>, crossing: &Crossing<'_>, way: Way, names: &Names) -> Step {
        let hop = crossing.hop;
        let place = |place: Option<&str>| place.unwrap_or("(not tapped)").to_owned();
        let deeds = match (before, crossing.from) {
            (Some(before), Some(from)) => deeds(before.hop, hop, Actor { name: owner(from), way }, names),
            _ => Vec::new(),
        };
        Step {
            places: format!("{} > {}", place(crossing.from), place(crossing.to)),
            addresses: format!("{} > {}", names.address(hop.source), names.address(hop.destination)),
            packet: format!("{:<9} TTL {}", what(hop), hop.ttl),
            macs: format!("{} > {}", names.mac(hop.source_mac), names.mac(hop.destination_mac)),
            deeds,
        }
    }
}

/// Who handles a packet between two links.
#[derive(Clone, Copy)]
struct Actor<'a> {
    name: &'a str,
    way: Way,
}

/// What somebody did to a packet between two links.
fn deeds(before: &Hop, after: &Hop, actor: Actor<'_>, names: &Names) -> Vec<String> {
    let who = actor.name;
    let mut deeds = Vec::new();
    if before.destination != after.destination {
        let (old, new) = (names.address(before.destination), names.address(after.destination));
        let why = why_destination(before, after, actor, names);
        deeds.push(format!("{who}: destination {old} -> {new}: {why}"));
    }
    if before.source != after.source {
        let (old, new) = (names.address(before.source), names.address(after.source));
        deeds.push(format!("{who}: source {old} -> {new}: {}", why_source(actor, names)));
    }
    if has_proxy_header(after) && !has_proxy_header(before) {
        let bytes = after.payload().len().saturating_sub(before.payload().len());
        deeds
            .push(format!("{who}: {bytes} bytes inserted: a PROXY header that names the client and the VIP"));
    }
    deeds
}

fn why_destination(before: &Hop, after: &Hop, actor: Actor<'_>, names: &Names) -> String {
    let new = names.host(after.destination.ip());
    match (actor.name, actor.way) {
        (LOAD_BALANCER, Way::There) => format!("{new} by {}", names.choice),
        (LOAD_BALANCER, Way::Back) => "the flow knows the client".into(),
        (_, Way::There) => {
            format!("DNAT by kube-proxy, {} to {new}", names.host_or_port(before.destination))
        }
        (_, Way::Back) => "masquerade undone by conntrack".into(),
    }
}

fn why_source(actor: Actor<'_>, names: &Names) -> String {
    match (actor.name, actor.way) {
        (LOAD_BALANCER, Way::There) => format!("source NAT, {}", names.cause),
        (LOAD_BALANCER, Way::Back) => "the client must hear from whom it asked".into(),
        (_, Way::There) => "masquerade (mark 0x4000), so that answers come back".into(),
        (_, Way::Back) => "DNAT undone by conntrack".into(),
    }
}

impl Names {
    fn address(&self, address: SocketAddr) -> String {
        match &self.told {
            Ports::Only(told) if !told.contains(&address.port()) => format!("{}:*", address.ip()),
            _ => address.to_string(),
        }
    }

    fn mac(&self, mac: Mac) -> String {
        let owner = self.ends.get(&mac).map_or("unknown", String::as_str);
        format!("{} ({owner})", text(mac))
    }

    fn host(&self, address: IpAddr) -> String {
        self.addresses.get(&address).cloned().unwrap_or_else(|| address.to_string())
    }

    /// A service's own address has a name; a node's has many services, by port.
    fn host_or_port(&self, address: SocketAddr) -> String {
        let host = self.host(address.ip());
        if host.starts_with("node") { format!("node port {}", address.port()) } else { host }
    }
}

/// What a packet is, in few words.
fn what(hop: &Hop) -> String {
    let bytes = hop.payload().len();
    match hop.protocol {
        Protocol::Udp => format!("UDP {bytes} B"),
        Protocol::Tcp => {
            let flags = [(SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (ACK, "ACK")];
            let flags: Vec<_> =
                flags.iter().filter(|(flag, _)| hop.has(*flag)).map(|(_, name)| *name).collect();
            if bytes == 0 { flags.join("-") } else { format!("TCP {bytes} B") }
        }
        other => format!("{other:?}"),
    }
}

fn has_proxy_header(hop: &Hop) -> bool {
    hop.payload().starts_with(&proxy::SIGNATURE)
}

/// Who has a place: `node1` of `node1/eth0`.
fn owner(place: &str) -> &str {
    place.split('/').next().unwrap_or(place)
}

const LOAD_BALANCER: &str = "lb";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testbed::tap::{Direction, crossings};

    /// A SYN to a VIP that the load balancer sends on to a pod.
    fn walk(names: &Names) -> Walk {
        let (vip, pod) = ([10, 0, 1, 1], [10, 0, 2, 1]);
        let hops = [
            Hop::sample("client/eth0", Direction::Out, vip, 64),
            Hop::sample("lb/eth0", Direction::In, vip, 64),
            Hop::sample("lb/eth0", Direction::Out, pod, 63),
            Hop::sample("pod/eth0", Direction::In, pod, 63),
        ];
        Walk::tell(&crossings(&hops.iter().collect::<Vec<_>>()), Way::There, names)
    }

    fn texts(walk: &Walk) -> Vec<String> {
        let text = |line: &Line| match line {
            Line::Hop(text) | Line::Macs(text) | Line::Deed(text) => text.trim_end().to_owned(),
        };
        walk.lines().iter().map(text).collect()
    }

    #[test]
    fn what_was_rewritten_stands_between_the_links() {
        let names = Names {
            ends: BTreeMap::from([(Mac([2, 0, 0, 0, 0, 63]), "pod/eth0".to_owned())]),
            addresses: BTreeMap::from([([10, 0, 2, 1].into(), "pod".to_owned())]),
            choice: "chance".into(),
            ..Names::default()
        };
        let told = [
            "  1. client/eth0 > lb/eth0  10.0.0.1:40000 > 10.0.1.1:80  SYN       TTL 64",
            "     02:00:00:00:01:40 (unknown) > 02:00:00:00:00:40 (unknown)",
            "     lb: destination 10.0.1.1:80 -> 10.0.2.1:80: pod by chance",
            "  2. lb/eth0 > pod/eth0     10.0.0.1:40000 > 10.0.2.1:80  SYN       TTL 63",
            "     02:00:00:00:01:3f (unknown) > 02:00:00:00:00:3f (pod/eth0)",
        ];
        assert_eq!(texts(&walk(&names)), told);
        assert_eq!(walk(&names).places(), ["client/eth0 > lb/eth0", "lb/eth0 > pod/eth0"]);
    }

    #[test]
    fn ports_of_chance_can_be_left_out() {
        let names = Names { told: Ports::Only(vec![80]), ..Names::default() };
        assert!(texts(&walk(&names))[0].contains("10.0.0.1:* > 10.0.1.1:80"));
    }
}
