//! Path MTU discovery through the load balancer: a link of 1,400 bytes, its own or beyond a router, on each side, within each
//! family and translated.

use lbd::testbed::{
    network::{Family, Layout, Offload, Plan, Side},
    sniffer::{Sniffer, TooBig},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{Config, Service},
    harness::{Rig, vip_of},
    web::WebServers,
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("path_mtu::narrow_link_to_the_client", || finds_the_way(Layout::Direct, Side::Client)),
    ("path_mtu::narrow_link_to_the_targets", || finds_the_way(Layout::Direct, Side::Targets)),
    ("path_mtu::narrow_hop_to_the_client", || finds_the_way(Layout::Routed, Side::Client)),
    ("path_mtu::narrow_hop_to_the_targets", || finds_the_way(Layout::Routed, Side::Targets)),
    ("path_mtu::ipv6_clients_over_an_ipv4_link_that_ipv6_could_not_use", over_a_link_below_1280),
];

/// Transfers towards the narrow side arrive whole, and whoever sends is told the longest packet, in its own family's terms.
fn finds_the_way(layout: Layout, side: Side) -> Result<(), Failed> {
    let plan = Plan { layout, targets: 1, queues: 2, offload: Offload::Off };
    let mut rig = Rig::build(plan)?;
    match layout {
        Layout::Routed => rig.network.narrow(side, NARROW_BYTES)?,
        _ => rig.network.set_mtu(&rig.network.interfaces[side as usize], NARROW_BYTES)?,
    }
    let servers = WebServers::start(&rig)?;
    servers.make_noise(10 << 20)?;
    rig.start_daemon(&Config::dual_stack(&plan))?;
    for (client, service) in LONGEST_FIRST {
        let to = vip_of(client, &service);
        let (sender, sender_family, narrow_family) = match side {
            Side::Client => (&rig.network.targets[0], service.target_family, client),
            Side::Targets => (&rig.network.client, client, service.target_family),
        };
        let sniffer = Sniffer::start(sender)?;
        match side {
            Side::Client => servers.download(&rig.network.client, to)?,
            Side::Targets => servers.upload(&rig.network.client, to)?,
        }
        let address = match side {
            Side::Client => sender_family.target(1),
            Side::Targets => sender_family.client(),
        };
        let mtu = translated(sender_family, narrow_family);
        let is_expected = |error: &TooBig| error.to == address && error.mtu == mtu;
        let seen = sniffer.too_big();
        assert!(seen.iter().any(is_expected), "{client:?} to {}: {mtu} is not in {seen:?}", service.name);
    }
    rig.finish().map(drop)
}

/// IPv6 clients send packets of 1,280 bytes whatever they are told, and those are cut up (RFC 7915 section 5.1).
fn over_a_link_below_1280() -> Result<(), Failed> {
    let plan = Plan { layout: Layout::Direct, targets: 1, queues: 2, offload: Offload::Off };
    let mut rig = Rig::build(plan)?;
    rig.network.set_mtu(&rig.network.interfaces[Side::Targets as usize], VERY_NARROW_BYTES)?;
    let servers = WebServers::start(&rig)?;
    servers.make_noise(1 << 20)?;
    let services = vec![Service::LINES];
    rig.start_daemon(&Config { services, ..Config::dual_stack(&plan) })?;
    let to = vip_of(Family::V6, &Service::LINES);
    servers.upload(&rig.network.client, to)?;
    assert!(rig.frames("cut_up")? > 1_000, "a megabyte in packets of 1,280 bytes");
    rig.finish().map(drop)
}

/// The longest packet of a sender that fits the narrow link after translation (RFC 7915 sections 4.2, 5.2).
fn translated(sender: Family, narrow: Family) -> u32 {
    match (sender, narrow) {
        (Family::V4, Family::V6) => NARROW_BYTES - HEADERS_DIFFER_BYTES,
        (Family::V6, Family::V4) => NARROW_BYTES + HEADERS_DIFFER_BYTES,
        _ => NARROW_BYTES,
    }
}

/// The kernel remembers what it is told by destination, so each client begins with what admits the longer packets.
const LONGEST_FIRST: [(Family, Service); 4] = [
    (Family::V4, Service::LINES),
    (Family::V4, Service::LINES_V6),
    (Family::V6, Service::LINES),
    (Family::V6, Service::LINES_V6),
];
const NARROW_BYTES: u32 = 1_400;
const VERY_NARROW_BYTES: u32 = 600;
/// An IPv6 header is so much longer than an IPv4 one.
const HEADERS_DIFFER_BYTES: u32 = 20;
