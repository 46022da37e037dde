//! What happens without the load balancer: pods, nodes, and the services that kube-proxy makes.

use super::{
    super::{
        super::DemoError,
        stage::{Host, Stage},
        walk::Way,
    },
    Findings,
};
use crate::testbed::{
    cluster::{
        places::{Node, Pod},
        services::{POD_PORTS, WEB},
    },
    tap::{Direction, Hop, Protocol},
};

pub(super) fn pod_wiring(stage: &mut Stage, findings: &mut Findings) -> Result<(), DemoError> {
    let talk = stage.converse(Host::Pod(Pod::P51), (Pod::P52.address(), POD_PORTS.tcp).into())?;
    let (pod, node) = (stage.cluster.pod(Pod::P51), stage.cluster.node(Node::One));
    for (place, namespace, prompt, command) in [
        ("address", pod, "pod51", "ip -oneline -4 address show dev eth0 scope global"),
        ("routes", pod, "pod51", "ip route"),
        ("neighbours", pod, "pod51", "ip neighbour show nud permanent"),
        ("node", node, "node1", "ip route show 198.19.1.51"),
    ] {
        findings.said(place, &format!("{prompt}# {command}"), stage.said(namespace, command)?);
    }
    let there = stage.walk(&talk, Way::There);
    findings.walk("there", there, &["pod51/eth0 > node1/pod51", "node1/pod52 > pod52/eth0"]);
    let asks = |hop: &Hop| {
        let is_request = hop.payload().get(ARP_OPERATION) == Some(&ARP_REQUEST);
        hop.place == "pod51/eth0" && hop.direction == Direction::Out && is_request
    };
    let asked = talk.hops.iter().any(|hop| hop.protocol == Protocol::Neighbours && asks(hop));
    findings.claim(!asked, "pod51 has asked nobody for a MAC address (no ARP request left it)");
    Ok(())
}

pub(super) fn same_node(stage: &mut Stage, findings: &mut Findings) -> Result<(), DemoError> {
    let talk = stage.converse(Host::Pod(Pod::P51), (Pod::P52.address(), POD_PORTS.tcp).into())?;
    let (there, back) = (stage.walk(&talk, Way::There), stage.walk(&talk, Way::Back));
    findings.walk("there", there, &["pod51/eth0 > node1/pod51", "node1/pod52 > pod52/eth0"]);
    findings.walk("back", back, &["pod52/eth0 > node1/pod52", "node1/pod51 > pod51/eth0"]);
    findings.claim(talk.seen_client() == Some(talk.from), "pod52 sees pod51's own address");
    Ok(())
}

pub(super) fn across_nodes(stage: &mut Stage, findings: &mut Findings) -> Result<(), DemoError> {
    let talk = stage.converse(Host::Pod(Pod::P51), (Pod::P71.address(), POD_PORTS.tcp).into())?;
    let links = ["pod51/eth0 > node1/pod51", "node1/eth0 > node2/eth1", "node2/pod71 > pod71/eth0"];
    findings.walk("there", stage.walk(&talk, Way::There), &links);
    findings.claim(talk.seen_client() == Some(talk.from), "pod71 sees pod51's own address");
    Ok(())
}

pub(super) fn policy_routing(stage: &mut Stage, findings: &mut Findings) -> Result<(), DemoError> {
    let talk = stage.converse(Host::Pod(Pod::P51), (Pod::P71.address(), POD_PORTS.tcp).into())?;
    let node = stage.cluster.node(Node::Two);
    for (place, command) in [("rules", "ip rule"), ("table", "ip route show table 2")] {
        findings.said(place, &format!("node2# {command}"), stage.said(node, command)?);
    }
    let links = [
        "pod71/eth0 > node2/pod71",
        "node2/eth1 > router/vpc",
        "router/vpc > node1/eth0",
        "node1/pod51 > pod51/eth0",
    ];
    findings.walk("back", stage.walk(&talk, Way::Back), &links);
    Ok(())
}

pub(super) fn cluster_ip(stage: &mut Stage, findings: &mut Findings) -> Result<(), DemoError> {
    stage.cluster.set_endpoints(&WEB, &[Pod::P52])?;
    let talk = stage.converse(Host::Pod(Pod::P51), (WEB.cluster_ip, WEB.port).into())?;
    let (there, back) = (stage.walk(&talk, Way::There), stage.walk(&talk, Way::Back));
    findings.walk("there", there, &["pod51/eth0 > node1/pod51", "node1/pod52 > pod52/eth0"]);
    findings.walk("back", back, &["pod52/eth0 > node1/pod52", "node1/pod51 > pod51/eth0"]);
    findings.claim(talk.seen_client() == Some(talk.from), "pod52 sees pod51's own address");
    findings.claim(talk.is_answered_by_whom_it_asked(), "pod51 is answered by the cluster IP, whom it asked");
    Ok(())
}

pub(super) fn node_port(stage: &mut Stage, findings: &mut Findings) -> Result<(), DemoError> {
    stage.cluster.set_endpoints(&WEB, &[Pod::P71])?;
    let talk = stage.converse(Host::Client, (Node::One.address(), WEB.node_port).into())?;
    let links = [
        "client/eth0 > router/client",
        "router/vpc > node1/eth0",
        "node1/eth0 > node2/eth1",
        "node2/pod71 > pod71/eth0",
    ];
    findings.walk("there", stage.walk(&talk, Way::There), &links);
    let links = [
        "pod71/eth0 > node2/pod71",
        "node2/eth1 > router/vpc",
        "router/vpc > node1/eth0",
        "node1/eth0 > router/vpc",
        "router/client > client/eth0",
    ];
    findings.walk("back", stage.walk(&talk, Way::Back), &links);
    let seen = talk.seen_client().map(|client| client.ip());
    findings.claim(seen == Some(Node::One.address().into()), "pod71 takes node1 for its client");
    Ok(())
}

/// Low byte of the operation in an ARP message (RFC 826).
const ARP_OPERATION: usize = 7;
const ARP_REQUEST: u8 = 1;
