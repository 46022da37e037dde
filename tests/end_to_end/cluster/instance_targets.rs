//! Instance targets: nodes by a service's node port, under both externalTrafficPolicies.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use lb_ctl::api::TargetRow;
use lbd::testbed::{
    client::{Answer, Flows, Seen},
    cluster::{
        places::{Node, Pod, VIP_A},
        services::{LOCAL, WEB},
    },
    daemon::is_serving,
    namespace::Namespace,
    tap::Hop,
};
use libtest_mimic::Failed;

use super::scene::{Caller, Scene};
use crate::Test;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("cluster::a_node_sees_the_client_and_the_client_the_vip", by_node_port),
    ("cluster::a_node_sends_on_to_another_and_the_reply_finds_back_by_both", by_two_nodes),
    ("cluster::with_policy_local_flows_follow_the_pod", follow_the_pod),
    ("cluster::datagrams_reach_pods_by_node_ports", datagrams),
];

fn by_node_port() -> Result<(), Failed> {
    let mut scene = Scene::serve()?;
    scene.walk(Caller::Client, NODES, by(Node::One, Pod::P51))?.assert(
        &[
            "client/eth0 > router/client: 198.18.0.2:c > 198.18.100.1:80",
            "router/vpc > lb/eth0: 198.18.0.2:c > 198.18.100.1:80",
            "lb/eth0 > node1/eth0: 198.18.0.2:c > 198.19.1.50:30080",
            "node1/pod51 > pod51/eth0: 198.19.1.50:* > 198.19.1.51:8080",
        ],
        &[
            "pod51/eth0 > node1/pod51: 198.19.1.51:8080 > 198.19.1.50:*",
            "node1/eth0 > lb/eth0: 198.19.1.50:30080 > 198.18.0.2:c",
            "lb/eth0 > router/vpc: 198.18.100.1:80 > 198.18.0.2:c",
            "router/client > client/eth0: 198.18.100.1:80 > 198.18.0.2:c",
        ],
    );
    scene.finish().map(drop)
}

/// From node 1 to pod71 as to any other's pod: the load balancer knows nothing of it.
fn by_two_nodes() -> Result<(), Failed> {
    let mut scene = Scene::serve()?;
    scene.walk(Caller::Client, NODES, by(Node::One, Pod::P71))?.assert(
        &[
            "client/eth0 > router/client: 198.18.0.2:c > 198.18.100.1:80",
            "router/vpc > lb/eth0: 198.18.0.2:c > 198.18.100.1:80",
            "lb/eth0 > node1/eth0: 198.18.0.2:c > 198.19.1.50:30080",
            "node1/eth0 > node2/eth1: 198.19.1.50:* > 198.19.1.71:8080",
            "node2/pod71 > pod71/eth0: 198.19.1.50:* > 198.19.1.71:8080",
        ],
        &[
            "pod71/eth0 > node2/pod71: 198.19.1.71:8080 > 198.19.1.50:*",
            "node2/eth1 > router/vpc: 198.19.1.71:8080 > 198.19.1.50:*",
            "router/vpc > node1/eth0: 198.19.1.71:8080 > 198.19.1.50:*",
            "node1/eth0 > lb/eth0: 198.19.1.50:30080 > 198.18.0.2:c",
            "lb/eth0 > router/vpc: 198.18.100.1:80 > 198.18.0.2:c",
            "router/client > client/eth0: 198.18.100.1:80 > 198.18.0.2:c",
        ],
    );
    scene.finish().map(drop)
}

/// A node is healthy where its healthCheckNodePort says that it has a pod; when none says so, the group fails open.
fn follow_the_pod() -> Result<(), Failed> {
    let mut scene = Scene::serve()?;
    move_to(&mut scene, &[Pod::P51])?;
    scene.walk(Caller::Client, LOCAL_NODES, |_| true)?.assert(
        &[
            "client/eth0 > router/client: 198.18.0.2:c > 198.18.100.1:81",
            "router/vpc > lb/eth0: 198.18.0.2:c > 198.18.100.1:81",
            "lb/eth0 > node1/eth0: 198.18.0.2:c > 198.19.1.50:30081",
            "node1/pod51 > pod51/eth0: 198.18.0.2:c > 198.19.1.51:8080",
        ],
        &[
            "pod51/eth0 > node1/pod51: 198.19.1.51:8080 > 198.18.0.2:c",
            "node1/eth0 > lb/eth0: 198.19.1.50:30081 > 198.18.0.2:c",
            "lb/eth0 > router/vpc: 198.18.100.1:81 > 198.18.0.2:c",
            "router/client > client/eth0: 198.18.100.1:81 > 198.18.0.2:c",
        ],
    );
    assert_all_with(&scene, Pod::P51)?;
    move_to(&mut scene, &[Pod::P71])?;
    assert_all_with(&scene, Pod::P71)?;
    scene.cluster.set_endpoints(&LOCAL, &[])?;
    scene.wait_for("fail-open", |targets| {
        of_local(targets).all(|row| row.state == "unhealthy" && row.is_eligible)
    })?;
    scene.hops()?;
    // Nobody answers, but the nodes are asked.
    drop(scene.cluster.client.within(|| TcpStream::connect_timeout(&LOCAL_NODES, SILENCE)));
    let arrives =
        |hop: &Hop| hop.is_syn() && hop.place == "lb/eth0" && hop.destination.port() == LOCAL.node_port;
    scene.hops_until(arrives)?.iter().find(|hop| arrives(hop)).ok_or("no node was asked")?;
    scene.finish().map(drop)
}

fn datagrams() -> Result<(), Failed> {
    let mut scene = Scene::serve()?;
    scene.reconfigure("echo-nodes", &format!("{}, ", target(Node::One)), "")?;
    let seen = Seen::Source(Node::Two.address().into());
    let open = |client: &Namespace| Flows::open_seen(client, ECHO_NODES, 1, seen);
    scene.walk_datagram(open, |answer| answer.target == "pod52")?.assert(
        &[
            "client/eth0 > router/client: 198.18.0.2:c > 198.18.100.1:8",
            "router/vpc > lb/eth0: 198.18.0.2:c > 198.18.100.1:8",
            "lb/eth0 > node2/eth0: 198.18.0.2:c > 198.19.1.60:30007",
            "node2/eth0 > node1/eth0: 198.19.1.60:* > 198.19.1.52:7007",
            "node1/pod52 > pod52/eth0: 198.19.1.60:* > 198.19.1.52:7007",
        ],
        &[
            "pod52/eth0 > node1/pod52: 198.19.1.52:7007 > 198.19.1.60:*",
            "node1/eth0 > node2/eth0: 198.19.1.52:7007 > 198.19.1.60:*",
            "node2/eth0 > lb/eth0: 198.19.1.60:30007 > 198.18.0.2:c",
            "lb/eth0 > router/vpc: 198.18.100.1:8 > 198.18.0.2:c",
            "router/client > client/eth0: 198.18.100.1:8 > 198.18.0.2:c",
        ],
    );
    scene.finish().map(drop)
}

/// How a node stands in the configuration.
fn target(node: Node) -> String {
    format!("{{ address = \"{}\", zone = \"{}\" }}", node.address(), node.zone())
}

/// Answered by a pod that sees the node which the load balancer chose.
fn by(node: Node, pod: Pod) -> impl Fn(&Answer) -> bool {
    move |answer| answer.target == pod.name() && answer.client.ip() == node.address()
}

/// Moves the service's pod, and waits until the nodes' health says so.
fn move_to(scene: &mut Scene, pods: &[Pod]) -> Result<(), Failed> {
    scene.cluster.set_endpoints(&LOCAL, pods)?;
    let has_pod = |row: &TargetRow| pods.iter().any(|pod| row.target.ip() == pod.node().address());
    scene.wait_for("health that follows the pod", |targets| {
        of_local(targets).all(|row| is_serving(row) == has_pod(row) && row.is_eligible == has_pod(row))
    })
}

fn of_local(targets: &[TargetRow]) -> impl Iterator<Item = &TargetRow> {
    targets.iter().filter(|row| row.target_group == "local-nodes")
}

/// Whatever connects meets this pod, which sees the client's own address.
fn assert_all_with(scene: &Scene, pod: Pod) -> Result<(), Failed> {
    let crowd = scene.crowd(LOCAL_NODES, 30, Seen::Client)?;
    assert!(crowd.members().iter().all(|member| member.target == pod.name()), "{crowd:?}");
    Ok(())
}

const NODES: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(VIP_A), WEB.port);
const LOCAL_NODES: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(VIP_A), 81);
const ECHO_NODES: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(VIP_A), 8);
/// So long nobody is waited for.
const SILENCE: Duration = Duration::from_millis(200);
