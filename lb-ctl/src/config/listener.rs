//! Listeners.

use super::{
    Listener, Protocols, attributes, forward,
    load_balancer::{Known, Owner, Taken},
    read::{port, protocols, sections},
    rule, tags,
    walk::Section,
};

pub(super) fn all(
    section: &Section<'_>,
    known: &Known<'_>,
    taken: &mut Taken,
    owner: &Owner<'_>,
) -> Option<Vec<Listener>> {
    let mut listeners: Vec<Option<Listener>> = Vec::new();
    for section in sections(section, "listeners")? {
        let listener = section.and_then(|section| listener(&section, known, taken, owner, &listeners));
        listeners.push(listener);
    }
    listeners.into_iter().collect()
}

fn listener(
    section: &Section<'_>,
    known: &Known<'_>,
    taken: &mut Taken,
    owner: &Owner<'_>,
    earlier: &[Option<Listener>],
) -> Option<Listener> {
    section.allow_only(&["protocol", "port", "target_group", "forward", "rules", "attributes", "tags"]);
    let protocol = protocols(section);
    let port = port(section);
    let forwarding = forward::Rules { protocol, known, owner };
    let forward = forward::read(section, &forwarding, taken);
    let rules = rule::all(section, &forwarding, taken);
    tags::check(section);
    let attributes = attributes::of_listener(section, protocol);
    let (protocol, port) = (protocol?, port?);
    if earlier.iter().flatten().any(|listener| listener.port == port && overlap(listener.protocol, protocol))
    {
        let found = format!("{} port {port} a second time", protocol.name());
        section.errors().report(&section.place, found, "each protocol and port once per load balancer");
        return None;
    }
    let attributes = attributes?;
    Some(Listener {
        protocol,
        port,
        forward: forward?,
        rules: rules?,
        tcp_idle_timeout_seconds: attributes.tcp_idle_timeout_seconds,
        udp_idle_timeout_seconds: attributes.udp_idle_timeout_seconds,
        adopts_strays: attributes.adopts_strays,
        has_syn_cookies: attributes.has_syn_cookies,
    })
}

fn overlap(one: Protocols, other: Protocols) -> bool {
    one.each().iter().any(|protocol| other.each().contains(protocol))
}
