//! How replies find back: by another interface, by the router, to clients that are themselves in the cluster, or not at all.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use lbd::testbed::{
    client::Answer,
    cluster::{
        places::{CLIENT, LB, Node, Pod, VIP_A},
        routing::Return,
    },
    tap::{Direction, Hop},
};
use libtest_mimic::Failed;

use super::scene::{Caller, Scene};
use crate::Test;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("cluster::replies_by_another_interface_and_the_router_are_found", by_router),
    ("cluster::a_pod_reaches_itself_by_the_vip", to_itself),
    ("cluster::a_pod_reaches_its_neighbour_by_the_vip", to_neighbour),
    ("cluster::a_node_reaches_its_own_pods_by_the_vip", from_node),
    ("cluster::replies_that_avoid_the_load_balancer_reach_nobody", avoided),
];

/// The flow is known by addresses and ports alone, whoever brings a packet of it.
fn by_router() -> Result<(), Failed> {
    let mut scene = Scene::serve()?;
    scene.cluster.set_return(Return::ByRouter)?;
    scene.walk(Caller::Client, KEPT, |answer| answer.target == "pod71")?.assert(
        &[
            "client/eth0 > router/client: 198.18.0.2:c > 198.18.100.1:83",
            "router/vpc > lb/eth0: 198.18.0.2:c > 198.18.100.1:83",
            "lb/eth0 > node2/eth1: 198.18.0.2:c > 198.19.1.71:8080",
            "node2/pod71 > pod71/eth0: 198.18.0.2:c > 198.19.1.71:8080",
        ],
        &[
            "pod71/eth0 > node2/pod71: 198.19.1.71:8080 > 198.18.0.2:c",
            "node2/eth1 > router/vpc: 198.19.1.71:8080 > 198.18.0.2:c",
            "router/vpc > lb/eth0: 198.19.1.71:8080 > 198.18.0.2:c",
            "lb/eth0 > router/vpc: 198.18.100.1:83 > 198.18.0.2:c",
            "router/client > client/eth0: 198.18.100.1:83 > 198.18.0.2:c",
        ],
    );
    scene.finish().map(drop)
}

/// From its own address it would take the SYN for its own; so the load balancer's stands in, for it alone.
fn to_itself() -> Result<(), Failed> {
    let mut scene = Scene::serve()?;
    let itself = |answer: &Answer| answer.target == "pod51" && answer.client.ip() == LB;
    scene.walk(Caller::Pod(Pod::P51), KEPT, itself)?.assert(
        &[
            "pod51/eth0 > node1/pod51: 198.19.1.51:c > 198.18.100.1:83",
            "node1/eth0 > router/vpc: 198.19.1.51:c > 198.18.100.1:83",
            "router/vpc > lb/eth0: 198.19.1.51:c > 198.18.100.1:83",
            "lb/eth0 > node1/eth0: 198.19.1.10:* > 198.19.1.51:8080",
            "node1/pod51 > pod51/eth0: 198.19.1.10:* > 198.19.1.51:8080",
        ],
        &[
            "pod51/eth0 > node1/pod51: 198.19.1.51:8080 > 198.19.1.10:*",
            "node1/eth0 > lb/eth0: 198.19.1.51:8080 > 198.19.1.10:*",
            "lb/eth0 > router/vpc: 198.18.100.1:83 > 198.19.1.51:c",
            "router/vpc > node1/eth0: 198.18.100.1:83 > 198.19.1.51:c",
            "node1/pod51 > pod51/eth0: 198.18.100.1:83 > 198.19.1.51:c",
        ],
    );
    let books = scene.finish()?;
    assert!(books.0.hairpins > 0, "{books}");
    Ok(())
}

/// The node, which knows the way from pod to pod, would pass the load balancer by: so the load balancer's address stands in for the
/// client's, whatever becomes of other replies.
fn to_neighbour() -> Result<(), Failed> {
    let mut scene = Scene::serve()?;
    let elsewhere = format!("    {{ address = \"{}\", zone = \"b\" }},\n", Pod::P71.address());
    scene.reconfigure("pods-kept", &elsewhere, "")?;
    for returns in [Return::ByNodes, Return::Nowhere] {
        scene.cluster.set_return(returns)?;
        let neighbour = |answer: &Answer| answer.target == "pod52" && answer.client.ip() == LB;
        scene.walk(Caller::Pod(Pod::P51), KEPT, neighbour)?.assert(
            &[
                "pod51/eth0 > node1/pod51: 198.19.1.51:c > 198.18.100.1:83",
                "node1/eth0 > router/vpc: 198.19.1.51:c > 198.18.100.1:83",
                "router/vpc > lb/eth0: 198.19.1.51:c > 198.18.100.1:83",
                "lb/eth0 > node1/eth0: 198.19.1.10:* > 198.19.1.52:8080",
                "node1/pod52 > pod52/eth0: 198.19.1.10:* > 198.19.1.52:8080",
            ],
            &[
                "pod52/eth0 > node1/pod52: 198.19.1.52:8080 > 198.19.1.10:*",
                "node1/eth0 > lb/eth0: 198.19.1.52:8080 > 198.19.1.10:*",
                "lb/eth0 > router/vpc: 198.18.100.1:83 > 198.19.1.51:c",
                "router/vpc > node1/eth0: 198.18.100.1:83 > 198.19.1.51:c",
                "node1/pod51 > pod51/eth0: 198.18.100.1:83 > 198.19.1.51:c",
            ],
        );
    }
    let books = scene.finish()?;
    assert!(books.0.hairpins > 0, "{books}");
    Ok(())
}

/// From outside it takes nothing that has its own address.
fn from_node() -> Result<(), Failed> {
    let mut scene = Scene::serve()?;
    let own = |answer: &Answer| answer.target == "pod52" && answer.client.ip() == LB;
    scene.walk(Caller::Node(Node::One), KEPT, own)?.assert(
        &[
            "node1/eth0 > router/vpc: 198.19.1.50:c > 198.18.100.1:83",
            "router/vpc > lb/eth0: 198.19.1.50:c > 198.18.100.1:83",
            "lb/eth0 > node1/eth0: 198.19.1.10:* > 198.19.1.52:8080",
            "node1/pod52 > pod52/eth0: 198.19.1.10:* > 198.19.1.52:8080",
        ],
        &[
            "pod52/eth0 > node1/pod52: 198.19.1.52:8080 > 198.19.1.10:*",
            "node1/eth0 > lb/eth0: 198.19.1.52:8080 > 198.19.1.10:*",
            "lb/eth0 > router/vpc: 198.18.100.1:83 > 198.19.1.50:c",
            "router/vpc > node1/eth0: 198.18.100.1:83 > 198.19.1.50:c",
        ],
    );
    scene.finish().map(drop)
}

/// On plain networks the first thing that breaks: the client gets a SYN-ACK from a stranger, and resets it.
fn avoided() -> Result<(), Failed> {
    let mut scene = Scene::serve()?;
    scene.cluster.set_return(Return::Nowhere)?;
    scene.hops()?;
    drop(scene.cluster.client.within(|| TcpStream::connect_timeout(&KEPT, SILENCE)));
    let is_stray =
        |hop: &Hop| hop.place == "client/eth0" && hop.direction == Direction::In && hop.is_syn_ack();
    let hops = scene.hops_until(is_stray)?;
    let of_client = |hop: &&Hop| hop.is_syn_ack() && hop.destination.ip() == CLIENT;
    assert!(hops.iter().any(is_stray));
    assert!(
        hops.iter().filter(of_client).all(|hop| hop.place != "lb/eth0" && hop.source.ip() != VIP_A),
        "{hops:?}"
    );
    scene.finish().map(drop)
}

/// The listener whose targets see the client.
const KEPT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(VIP_A), 83);
/// So long nobody is waited for.
const SILENCE: Duration = Duration::from_millis(200);
