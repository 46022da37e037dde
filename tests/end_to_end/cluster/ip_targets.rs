//! ip targets: pods by their own addresses, with and without the client's address.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use lbd::testbed::{
    client::{Answer, Flows, Seen},
    cluster::places::{CLIENT, LB, Pod, VIP_A},
    sniffer::Sniffer,
    tap::Checksum,
};
use libtest_mimic::Failed;

use super::scene::{Caller, Scene};
use crate::{Test, harness::PATIENCE};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("cluster::a_pod_sees_the_load_balancer", hidden),
    ("cluster::a_pod_sees_the_client_that_is_kept", kept),
    ("cluster::a_pod_sees_the_client_of_datagrams", datagrams),
    ("cluster::keeping_the_client_or_not_concerns_new_flows", toggled),
    ("cluster::new_flows_are_spread_by_chance", spread),
    ("cluster::a_pod_behind_a_narrow_link_is_told_of_in_time", narrow),
];

/// What the pod answers goes to the load balancer by itself: it is a neighbour like any.
fn hidden() -> Result<(), Failed> {
    let mut scene = Scene::serve()?;
    scene.walk(Caller::Client, listener(82), with(Pod::P51))?.assert(
        &[
            "client/eth0 > router/client: 198.18.0.2:c > 198.18.100.1:82",
            "router/vpc > lb/eth0: 198.18.0.2:c > 198.18.100.1:82",
            "lb/eth0 > node1/eth0: 198.19.1.10:* > 198.19.1.51:8080",
            "node1/pod51 > pod51/eth0: 198.19.1.10:* > 198.19.1.51:8080",
        ],
        &[
            "pod51/eth0 > node1/pod51: 198.19.1.51:8080 > 198.19.1.10:*",
            "node1/eth0 > lb/eth0: 198.19.1.51:8080 > 198.19.1.10:*",
            "lb/eth0 > router/vpc: 198.18.100.1:82 > 198.18.0.2:c",
            "router/client > client/eth0: 198.18.100.1:82 > 198.18.0.2:c",
        ],
    );
    scene.finish().map(drop)
}

/// The frame to a pod goes to its node's NIC, and comes back by the node's mark of the connection.
fn kept() -> Result<(), Failed> {
    let mut scene = Scene::serve()?;
    scene.walk(Caller::Client, listener(83), with(Pod::P52))?.assert(
        &[
            "client/eth0 > router/client: 198.18.0.2:c > 198.18.100.1:83",
            "router/vpc > lb/eth0: 198.18.0.2:c > 198.18.100.1:83",
            "lb/eth0 > node1/eth0: 198.18.0.2:c > 198.19.1.52:8080",
            "node1/pod52 > pod52/eth0: 198.18.0.2:c > 198.19.1.52:8080",
        ],
        &[
            "pod52/eth0 > node1/pod52: 198.19.1.52:8080 > 198.18.0.2:c",
            "node1/eth0 > lb/eth0: 198.19.1.52:8080 > 198.18.0.2:c",
            "lb/eth0 > router/vpc: 198.18.100.1:83 > 198.18.0.2:c",
            "router/client > client/eth0: 198.18.100.1:83 > 198.18.0.2:c",
        ],
    );
    scene.finish().map(drop)
}

/// A datagram without a checksum goes on without one.
fn datagrams() -> Result<(), Failed> {
    let mut scene = Scene::serve()?;
    let walk = scene.walk_datagram(|client| Flows::open(client, listener(7), 1), with(Pod::P71))?;
    walk.assert(&DATAGRAM_THERE, &DATAGRAM_BACK);
    assert!(walk.hops.iter().all(|hop| hop.checksum == Checksum::Right));
    let walk = scene
        .walk_datagram(|client| Flows::open(client, listener(7), 1)?.without_checksums(), with(Pod::P71))?;
    walk.assert(&DATAGRAM_THERE, &DATAGRAM_BACK);
    let (there, back) = walk.hops.split_at(2 * DATAGRAM_THERE.len());
    assert!(there.iter().all(|hop| hop.checksum == Checksum::Absent), "{there:?}");
    assert!(back.iter().all(|hop| hop.checksum == Checksum::Right), "{back:?}");
    scene.finish().map(drop)
}

/// Those that are under way go on as they began.
fn toggled() -> Result<(), Failed> {
    const COUNT: usize = 20;
    const KEPT: &str = "\"preserve_client_ip.enabled\" = true";
    const HIDDEN: &str = "\"preserve_client_ip.enabled\" = false";
    let scene = Scene::serve()?;
    let mut kept = scene.crowd(listener(83), COUNT, Seen::Client)?;
    scene.reconfigure("pods-kept", KEPT, HIDDEN)?;
    let mut hidden = scene.crowd(listener(83), COUNT, Seen::Source(LB.into()))?;
    assert_eq!(kept.ask_all("as before?", PATIENCE).len(), 0);
    scene.reconfigure("pods-kept", KEPT, KEPT)?;
    let mut kept_again = scene.crowd(listener(83), COUNT, Seen::Client)?;
    for crowd in [&mut kept, &mut hidden, &mut kept_again] {
        assert_eq!(crowd.ask_all("still?", PATIENCE).len(), 0);
    }
    drop((kept, hidden, kept_again));
    scene.finish().map(drop)
}

/// Not in turn: each new flow is hashed. Pearson's chi-squared test for two degrees of freedom fails once in some sixty million runs.
fn spread() -> Result<(), Failed> {
    const COUNT: usize = 300;
    const MOST: f64 = 36.0;
    let scene = Scene::serve()?;
    let crowd = scene.crowd(listener(83), COUNT, Seen::Client)?;
    let expected = COUNT as f64 / Pod::ALL.len() as f64;
    let counts =
        Pod::ALL.map(|pod| crowd.members().iter().filter(|member| member.target == pod.name()).count());
    let chi_squared: f64 = counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum();
    assert!(chi_squared < MOST, "{counts:?}: {chi_squared}");
    let repeated = crowd.members().windows(2).filter(|pair| pair[0].target == pair[1].target).count();
    assert!(repeated > 0, "in turn");
    drop(crowd);
    scene.finish().map(drop)
}

/// Its node says so to the client, by way of the load balancer, as if the narrow link were before the VIP.
fn narrow() -> Result<(), Failed> {
    const NARROW_BYTES: u32 = 1_400;
    let scene = Scene::serve()?;
    Pod::ALL.into_iter().try_for_each(|pod| scene.cluster.narrow(pod, NARROW_BYTES))?;
    let sniffer = Sniffer::start(&scene.cluster.client)?;
    let long = "x".repeat(1_450);
    scene.cluster.client.within(|| insist(listener(7), &long))?;
    let told = sniffer.too_big();
    assert!(
        told.iter().any(|error| error.to == IpAddr::V4(CLIENT) && error.mtu == NARROW_BYTES),
        "{NARROW_BYTES} is not in {told:?}"
    );
    scene.finish().map(drop)
}

/// Sends a datagram until it is answered: the first is lost to the narrow link; told of that, the kernel sends the next in pieces.
fn insist(to: SocketAddr, text: &str) -> Result<(), Failed> {
    let socket = UdpSocket::bind((CLIENT, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(AGAIN))?;
    let mut answer = vec![0; 2 * text.len()];
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        // Both also report what the kernel was told by ICMP.
        let heard = socket.send(text.as_bytes()).and_then(|_| socket.recv(&mut answer));
        if heard.is_ok_and(|length| answer[..length].ends_with(text.as_bytes())) {
            return Ok(());
        }
    }
    Err("no answer".into())
}

/// Answered by this pod.
fn with(pod: Pod) -> impl Fn(&Answer) -> bool {
    move |answer| answer.target == pod.name()
}

fn listener(port: u16) -> SocketAddr {
    (VIP_A, port).into()
}

const DATAGRAM_THERE: [&str; 4] = [
    "client/eth0 > router/client: 198.18.0.2:c > 198.18.100.1:7",
    "router/vpc > lb/eth0: 198.18.0.2:c > 198.18.100.1:7",
    "lb/eth0 > node2/eth1: 198.18.0.2:c > 198.19.1.71:7007",
    "node2/pod71 > pod71/eth0: 198.18.0.2:c > 198.19.1.71:7007",
];
/// By the other NIC than the question came by: the load balancer's MAC address is in the table of the first.
const DATAGRAM_BACK: [&str; 4] = [
    "pod71/eth0 > node2/pod71: 198.19.1.71:7007 > 198.18.0.2:c",
    "node2/eth0 > lb/eth0: 198.19.1.71:7007 > 198.18.0.2:c",
    "lb/eth0 > router/vpc: 198.18.100.1:7 > 198.18.0.2:c",
    "router/client > client/eth0: 198.18.100.1:7 > 198.18.0.2:c",
];
/// A datagram that is not answered by then is sent again.
const AGAIN: Duration = Duration::from_millis(200);
