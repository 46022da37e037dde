//! Paths that the load balancer has no part in: pods among themselves, cluster IPs, node ports.

use std::{net::TcpStream, time::Duration};

use lbd::testbed::cluster::{
    places::{Node, Pod},
    services::{LOCAL, WEB},
};
use libtest_mimic::Failed;

use super::scene::{Caller, Scene};
use crate::Test;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("cluster::pods_of_one_node_meet_on_it", on_one_node),
    ("cluster::pods_of_two_nodes_meet_directly_and_the_reply_comes_by_the_router", on_two_nodes),
    ("cluster::a_cluster_ip_becomes_a_pod_and_answers_as_itself", cluster_ip),
    ("cluster::a_node_port_hides_the_client_and_may_lead_to_another_node", node_port),
    ("cluster::a_node_port_of_policy_local_shows_the_client_or_says_nothing", local_node_port),
];

fn on_one_node() -> Result<(), Failed> {
    let mut scene = Scene::without_lbd()?;
    let to = (Pod::P52.address(), WEB.target_port).into();
    scene.walk(Caller::Pod(Pod::P51), to, |_| true)?.assert(
        &[
            "pod51/eth0 > node1/pod51: 198.19.1.51:c > 198.19.1.52:8080",
            "node1/pod52 > pod52/eth0: 198.19.1.51:c > 198.19.1.52:8080",
        ],
        &[
            "pod52/eth0 > node1/pod52: 198.19.1.52:8080 > 198.19.1.51:c",
            "node1/pod51 > pod51/eth0: 198.19.1.52:8080 > 198.19.1.51:c",
        ],
    );
    Ok(())
}

/// Neighbours of one subnet, and yet pod71 answers by table 2, which knows the router alone.
fn on_two_nodes() -> Result<(), Failed> {
    let mut scene = Scene::without_lbd()?;
    let to = (Pod::P71.address(), WEB.target_port).into();
    scene.walk(Caller::Pod(Pod::P51), to, |_| true)?.assert(
        &[
            "pod51/eth0 > node1/pod51: 198.19.1.51:c > 198.19.1.71:8080",
            "node1/eth0 > node2/eth1: 198.19.1.51:c > 198.19.1.71:8080",
            "node2/pod71 > pod71/eth0: 198.19.1.51:c > 198.19.1.71:8080",
        ],
        &[
            "pod71/eth0 > node2/pod71: 198.19.1.71:8080 > 198.19.1.51:c",
            "node2/eth1 > router/vpc: 198.19.1.71:8080 > 198.19.1.51:c",
            "router/vpc > node1/eth0: 198.19.1.71:8080 > 198.19.1.51:c",
            "node1/pod51 > pod51/eth0: 198.19.1.71:8080 > 198.19.1.51:c",
        ],
    );
    Ok(())
}

fn cluster_ip() -> Result<(), Failed> {
    let mut scene = Scene::without_lbd()?;
    let to = (WEB.cluster_ip, WEB.port).into();
    scene.walk(Caller::Pod(Pod::P51), to, |answer| answer.target == "pod71")?.assert(
        &[
            "pod51/eth0 > node1/pod51: 198.19.1.51:c > 198.19.200.10:80",
            "node1/eth0 > node2/eth1: 198.19.1.51:c > 198.19.1.71:8080",
            "node2/pod71 > pod71/eth0: 198.19.1.51:c > 198.19.1.71:8080",
        ],
        &[
            "pod71/eth0 > node2/pod71: 198.19.1.71:8080 > 198.19.1.51:c",
            "node2/eth1 > router/vpc: 198.19.1.71:8080 > 198.19.1.51:c",
            "router/vpc > node1/eth0: 198.19.1.71:8080 > 198.19.1.51:c",
            "node1/pod51 > pod51/eth0: 198.19.200.10:80 > 198.19.1.51:c",
        ],
    );
    Ok(())
}

/// The reply goes back by the node that the client has spoken to, because that one stands for the client.
fn node_port() -> Result<(), Failed> {
    let mut scene = Scene::without_lbd()?;
    let to = (Node::One.address(), WEB.node_port).into();
    scene.walk(Caller::Client, to, |answer| answer.target == "pod71")?.assert(
        &[
            "client/eth0 > router/client: 198.18.0.2:c > 198.19.1.50:30080",
            "router/vpc > node1/eth0: 198.18.0.2:c > 198.19.1.50:30080",
            "node1/eth0 > node2/eth1: 198.19.1.50:* > 198.19.1.71:8080",
            "node2/pod71 > pod71/eth0: 198.19.1.50:* > 198.19.1.71:8080",
        ],
        &[
            "pod71/eth0 > node2/pod71: 198.19.1.71:8080 > 198.19.1.50:*",
            "node2/eth1 > router/vpc: 198.19.1.71:8080 > 198.19.1.50:*",
            "router/vpc > node1/eth0: 198.19.1.71:8080 > 198.19.1.50:*",
            "node1/eth0 > router/vpc: 198.19.1.50:30080 > 198.18.0.2:c",
            "router/client > client/eth0: 198.19.1.50:30080 > 198.18.0.2:c",
        ],
    );
    Ok(())
}

/// Rule 1024 sends the reply back by the NIC that the connection came by, although pod71's address is of the other one.
fn local_node_port() -> Result<(), Failed> {
    let mut scene = Scene::without_lbd()?;
    scene.cluster.set_endpoints(&LOCAL, &[Pod::P71])?;
    let to = (Node::Two.address(), LOCAL.node_port).into();
    scene.walk(Caller::Client, to, |_| true)?.assert(
        &[
            "client/eth0 > router/client: 198.18.0.2:c > 198.19.1.60:30081",
            "router/vpc > node2/eth0: 198.18.0.2:c > 198.19.1.60:30081",
            "node2/pod71 > pod71/eth0: 198.18.0.2:c > 198.19.1.71:8080",
        ],
        &[
            "pod71/eth0 > node2/pod71: 198.19.1.71:8080 > 198.18.0.2:c",
            "node2/eth0 > router/vpc: 198.19.1.60:30081 > 198.18.0.2:c",
            "router/client > client/eth0: 198.19.1.60:30081 > 198.18.0.2:c",
        ],
    );
    let elsewhere = (Node::One.address(), LOCAL.node_port).into();
    let refused = scene.cluster.client.within(|| TcpStream::connect_timeout(&elsewhere, SILENCE));
    assert_eq!(refused.map_err(|error| error.kind()).err(), Some(std::io::ErrorKind::TimedOut));
    Ok(())
}

/// Nobody answers for so long.
const SILENCE: Duration = Duration::from_millis(500);
