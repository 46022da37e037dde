//! How replies to clients find back to the load balancer, where targets see the clients' own addresses; and what becomes of
//! connections when they do not.

use std::{net::SocketAddr, time::Duration};

use super::{
    super::{
        super::{
            DemoError,
            screen::{WIDTH, wrapped},
        },
        stage::{Host, Stage},
        walk::Way,
    },
    Findings,
    balanced::PODS_KEPT,
};
use crate::testbed::cluster::{
    places::{Node, Pod, VIP_A},
    routing::Return,
    services::POD_PORTS,
};

pub(super) fn replies(stage: &mut Stage, findings: &mut Findings) -> Result<(), DemoError> {
    let vip: SocketAddr = (VIP_A, PODS_KEPT).into();
    let pod71: SocketAddr = (Pod::P71.address(), POD_PORTS.tcp).into();
    let node = stage.cluster.node(Node::Two);
    let commands = ["ip rule show priority 256", "ip route show table 100"];
    for (place, command) in ["node rule", "node route"].into_iter().zip(commands) {
        findings.said(place, &format!("node2# {command}"), stage.said(node, command)?);
    }
    let talk = stage.converse_with(Host::Client, vip, pod71)?;
    let links = [
        "pod71/eth0 > node2/pod71",
        "node2/eth0 > lb/eth0",
        "lb/eth0 > router/vpc",
        "router/client > client/eth0",
    ];
    findings.walk("by nodes", stage.walk(&talk, Way::Back), &links);

    stage.cluster.set_return(Return::ByRouter)?;
    for (place, command) in ["router rule", "router route"].into_iter().zip(commands) {
        findings.said(place, &format!("router# {command}"), stage.said(&stage.cluster.router, command)?);
    }
    let talk = stage.converse_with(Host::Client, vip, pod71)?;
    let links = [
        "pod71/eth0 > node2/pod71",
        "node2/eth1 > router/vpc",
        "router/vpc > lb/eth0",
        "lb/eth0 > router/vpc",
        "router/client > client/eth0",
    ];
    findings.walk("by the router", stage.walk(&talk, Way::Back), &links);

    stage.cluster.set_return(Return::Nowhere)?;
    let talk = stage.knock(Host::Client, vip, pod71)?;
    let links = ["pod71/eth0 > node2/pod71", "node2/eth1 > router/vpc", "router/client > client/eth0"];
    findings.walk("past it", stage.walk(&talk, Way::Back), &links);
    let links = ["client/eth0 > router/client", "router/vpc > node2/eth1", "node2/pod71 > pod71/eth0"];
    findings.walk("refused", stage.tell(&talk, &talk.reset(), Way::There), &links);
    let printed = noticed(stage, vip, pod71)?;
    findings.claim(printed.contains("198.19.1.71"), "lbd notices it, names the target, and says what to do");
    findings.said("noticed", "lbd prints:", wrapped(&printed, WIDTH).join("\n"));
    stage.cluster.set_return(Return::ByNodes)?;
    Ok(())
}

/// What lbd prints of the bypass; nothing if it does not notice. Where a look at the target took in the last reply of before together with
/// the first repeated SYN, the second is that of another client.
fn noticed(stage: &mut Stage, vip: SocketAddr, target: SocketAddr) -> Result<String, DemoError> {
    for _ in 0..CLIENTS {
        if let Some(line) = stage.printed("no reply comes by the load balancer", NOTICING) {
            return Ok(line);
        }
        stage.knock(Host::Client, vip, target)?;
    }
    Ok(String::new())
}

/// It looks once a second, and waits for a second repeated SYN.
const NOTICING: Duration = Duration::from_secs(10);
/// More than are needed.
const CLIENTS: usize = 3;
