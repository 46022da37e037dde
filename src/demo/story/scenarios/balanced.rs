//! What happens through the load balancer.

use std::time::Duration;

use lb_ctl::api::TargetRow;

use super::{
    super::{
        super::DemoError,
        stage::{Host, Stage},
        talk::Talk,
        walk::Way,
    },
    Findings,
};
use crate::testbed::{
    cluster::{
        places::{LB, Node, Pod, VIP_A},
        services::{ECHO, LOCAL, POD_PORTS, WEB},
    },
    daemon::{is_avoided, is_serving},
};

pub(super) fn instance(stage: &mut Stage, findings: &mut Findings) -> Result<(), DemoError> {
    stage.cluster.set_endpoints(&WEB, &[Pod::P71])?;
    let node1 = (Node::One.address(), WEB.node_port).into();
    let talk = stage.converse_with(Host::Client, (VIP_A, NODES).into(), node1)?;
    let links = [
        "client/eth0 > router/client",
        "router/vpc > lb/eth0",
        "lb/eth0 > node1/eth0",
        "node1/eth0 > node2/eth1",
        "node2/pod71 > pod71/eth0",
    ];
    findings.walk("there", stage.walk(&talk, Way::There), &links);
    let links = [
        "pod71/eth0 > node2/pod71",
        "node2/eth1 > router/vpc",
        "router/vpc > node1/eth0",
        "node1/eth0 > lb/eth0",
        "lb/eth0 > router/vpc",
        "router/client > client/eth0",
    ];
    findings.walk("back", stage.walk(&talk, Way::Back), &links);
    let at_node = talk.crossings(Way::There);
    let at_node = at_node.iter().find(|crossing| crossing.to == Some("node1/eth0"));
    findings.claim(at_node.is_some_and(|crossing| crossing.hop.source == talk.from), "node1 sees the client");
    let seen = talk.seen_client().map(|client| client.ip());
    findings.claim(seen == Some(Node::One.address().into()), "pod71 takes node1 for its client");
    claim_answer_by_vip(&talk, findings);
    Ok(())
}

pub(super) fn local_policy(stage: &mut Stage, findings: &mut Findings) -> Result<(), DemoError> {
    stage.cluster.set_endpoints(&LOCAL, &[Pod::P51])?;
    let is_local = |row: &&TargetRow| row.target_group == LOCAL_NODES_GROUP;
    let is_right = |row: &TargetRow| match row.target.ip() == Node::One.address() {
        true => is_serving(row),
        false => is_avoided(row) && row.reason.as_deref() == Some(WRONG_CODE),
    };
    let settled = stage.wait_until(HEALTH_PATIENCE, |rows| rows.iter().filter(is_local).all(is_right));
    findings.claim(settled, "node1, which has a pod, is healthy; node2, which has none, is not");
    let mut said = String::new();
    for row in stage.control.targets_of(LOCAL_NODES_GROUP)? {
        let reason = row.description.unwrap_or_default();
        let line = format!("{:<18} {:<10} {reason}", row.target.to_string(), row.state);
        said += &format!("{}\n", line.trim_end());
    }
    findings.said("targets", "lbctl targets local-nodes (address, state, why)", said);
    let node1 = (Node::One.address(), LOCAL.node_port).into();
    let talk = stage.converse_with(Host::Client, (VIP_A, LOCAL_NODES).into(), node1)?;
    findings.walk("there", stage.walk(&talk, Way::There), &TO_POD51);
    findings.walk("back", stage.walk(&talk, Way::Back), &BACK_FROM_POD51);
    findings.claim(talk.seen_client() == Some(talk.from), "pod51 sees the client's own address");
    claim_answer_by_vip(&talk, findings);
    Ok(())
}

pub(super) fn ip(stage: &mut Stage, findings: &mut Findings) -> Result<(), DemoError> {
    let pod51 = (Pod::P51.address(), POD_PORTS.tcp).into();
    let talk = stage.converse_with(Host::Client, (VIP_A, PODS).into(), pod51)?;
    findings.walk("there", stage.walk(&talk, Way::There), &TO_POD51);
    findings.walk("back", stage.walk(&talk, Way::Back), &BACK_FROM_POD51);
    let seen = talk.seen_client().map(|client| client.ip());
    findings.claim(seen == Some(LB.into()), "pod51 takes the load balancer for its client");
    claim_answer_by_vip(&talk, findings);
    Ok(())
}

pub(super) fn ip_preserved(stage: &mut Stage, findings: &mut Findings) -> Result<(), DemoError> {
    let pod51 = (Pod::P51.address(), POD_PORTS.tcp).into();
    let talk = stage.converse_with(Host::Client, (VIP_A, PODS_KEPT).into(), pod51)?;
    findings.walk("there", stage.walk(&talk, Way::There), &TO_POD51);
    findings.walk("back", stage.walk(&talk, Way::Back), &BACK_FROM_POD51);
    findings.claim(talk.seen_client() == Some(talk.from), "pod51 sees the client's own address");
    claim_answer_by_vip(&talk, findings);
    Ok(())
}

pub(super) fn udp(stage: &mut Stage, findings: &mut Findings) -> Result<(), DemoError> {
    let pod51 = (Pod::P51.address(), POD_PORTS.udp).into();
    let talk = stage.ask_datagram(Host::Client, (VIP_A, ECHO.port).into(), pod51)?;
    findings.walk("there", stage.walk(&talk, Way::There), &TO_POD51);
    findings.walk("back", stage.walk(&talk, Way::Back), &BACK_FROM_POD51);
    findings.claim(talk.seen_client() == Some(talk.from), "pod51 sees the client's own address");
    claim_answer_by_vip(&talk, findings);
    Ok(())
}

pub(super) fn hairpin(stage: &mut Stage, findings: &mut Findings) -> Result<(), DemoError> {
    let pod51 = (Pod::P51.address(), POD_PORTS.tcp).into();
    let talk = stage.converse_with(Host::Pod(Pod::P51), (VIP_A, PODS_KEPT).into(), pod51)?;
    let links = [
        "pod51/eth0 > node1/pod51",
        "node1/eth0 > router/vpc",
        "router/vpc > lb/eth0",
        "lb/eth0 > node1/eth0",
        "node1/pod51 > pod51/eth0",
    ];
    findings.walk("there", stage.walk(&talk, Way::There), &links);
    let links = [
        "pod51/eth0 > node1/pod51",
        "node1/eth0 > lb/eth0",
        "lb/eth0 > router/vpc",
        "router/vpc > node1/eth0",
        "node1/pod51 > pod51/eth0",
    ];
    findings.walk("back", stage.walk(&talk, Way::Back), &links);
    let seen = talk.seen_client().map(|client| client.ip());
    findings.claim(seen == Some(LB.into()), "pod51 takes the load balancer, not itself, for its client");
    claim_answer_by_vip(&talk, findings);
    Ok(())
}

fn claim_answer_by_vip(talk: &Talk, findings: &mut Findings) {
    findings.claim(talk.is_answered_by_whom_it_asked(), "the client is answered by the VIP, whom it asked");
}

const TO_POD51: [&str; 4] = [
    "client/eth0 > router/client",
    "router/vpc > lb/eth0",
    "lb/eth0 > node1/eth0",
    "node1/pod51 > pod51/eth0",
];
const BACK_FROM_POD51: [&str; 4] = [
    "pod51/eth0 > node1/pod51",
    "node1/eth0 > lb/eth0",
    "lb/eth0 > router/vpc",
    "router/client > client/eth0",
];
/// The listeners of configs/cluster.toml.
const NODES: u16 = 80;
const LOCAL_NODES: u16 = 81;
const PODS: u16 = 82;
pub(super) const PODS_KEPT: u16 = 83;
const LOCAL_NODES_GROUP: &str = "local-nodes";
/// The reason of a target whose checks are answered, but not as they should.
const WRONG_CODE: &str = "Target.ResponseCodeMismatch";
/// Two checks, a second apart, with much to spare.
pub(super) const HEALTH_PATIENCE: Duration = Duration::from_secs(20);
