//! Datagrams to targets that are owed PROXY headers: what the client's kernel makes of them, and what is told of them.

use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use lb_ctl::{
    api::{TraceQuery, TracedFrame, WhyQuery, WhySender},
    show,
};
use lbd::testbed::network::{CLIENT, Family, Layout, Offload, Plan};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{Config, Service},
    harness::{PATIENCE, Rig, udp_vip, vip_of},
    trace::{begin, frames_until},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("proxy_datagrams::full_packets_arrive_behind_a_header_in_all_families", full_packets),
    ("proxy_datagrams::the_first_is_told_with_its_selection", first_is_told),
];

/// Whatever fits a packet of the client's link arrives: its kernel is never told to cut datagrams up itself.
fn full_packets() -> Result<(), Failed> {
    let config = Config { services: vec![HEADED, HEADED_V6], ..Config::dual_stack(&PLAN) };
    let rig = Rig::serve_by(PLAN, &config)?;
    for service in [HEADED, HEADED_V6] {
        let address = (service.target_family.target(1), service.target_port);
        let server = rig.network.targets[0].within(|| UdpSocket::bind(address))?;
        server.set_read_timeout(Some(Duration::from_millis(500)))?;
        for family in Family::BOTH {
            let client = rig.network.client.within(|| UdpSocket::bind((family.client(), 0)))?;
            client.connect(vip_of(family, &service))?;
            let (longest, header) = if family == Family::V4 { (1_472, 100) } else { (1_452, 124) };
            for length in [longest, longest - header, longest - header + 1, 1_108, 1_109, 64, longest] {
                let payload: Vec<u8> = (0..length).map(|at| (at / 8) as u8).collect();
                let has_arrived = arrives(&client, (&server, header), &payload)?;
                assert!(has_arrived, "{length} bytes, {family:?} to {}", service.name);
            }
        }
    }
    assert_eq!((rig.frames("too_big")?, rig.frames("proxy_fragment")?), (0, 0));
    assert!(rig.frames("cut_up")? > 0);
    rig.finish().map(drop)
}

/// Whether a server gets a datagram behind a header of so many bytes. It is sent again while nothing comes.
fn arrives(
    client: &UdpSocket,
    (server, header): (&UdpSocket, usize),
    payload: &[u8],
) -> Result<bool, Failed> {
    let (mut bytes, deadline) = (vec![0; 4_096], Instant::now() + PATIENCE);
    while Instant::now() < deadline {
        client.send(payload)?;
        while let Ok(length) = server.recv(&mut bytes) {
            if length == header + payload.len() && bytes[..length].ends_with(payload) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// As `why` has said before; the next ones are the flow's.
fn first_is_told() -> Result<(), Failed> {
    let rig = Rig::serve_by(PLAN, &Config::only(&PLAN, HEADED))?;
    let client = SocketAddr::from((CLIENT, 40_000));
    let query = WhyQuery { client, vip: udp_vip(), protocol: Some("udp".parse()?) };
    let foretold = rig.control.why(&query)?;
    let target = foretold.target.as_ref().ok_or("no target was foretold")?.target;
    let said = show::why(&foretold);
    assert!(said.contains(&format!(": a new flow, it goes to {target}.\n")), "{said}");

    let client = client.to_string().parse().ok();
    let mut trace = begin(&rig, &TraceQuery { client, ..TraceQuery::default() })?;
    let socket = rig.network.client.within(|| UdpSocket::bind(query.client))?;
    socket.connect(udp_vip())?;
    for _ in 0..3 {
        socket.send(b"hello")?;
    }
    let of_client = |frame: &&TracedFrame| frame.sender == Some(WhySender::Client);
    let frames = frames_until(&mut trace, |frames| frames.iter().filter(of_client).count() >= 3)?;
    let told: Vec<_> = frames
        .iter()
        .filter(of_client)
        .map(|frame| {
            let selected = frame.selection.as_ref().and_then(|selection| selection.target);
            (frame.verdict.reason.as_str(), selected)
        })
        .collect();
    let later = ("proxy_header", None);
    assert_eq!(told, [("new_flow", Some(target)), later, later]);
    let after = show::why(&rig.control.why(&query)?);
    let sentence = format!("packets of a flow, they go to {target}, each with a PROXY header.\n");
    assert!(after.contains(&sentence), "{after}");
    rig.finish().map(drop)
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 1, queues: 2, offload: Offload::Off };
/// To a port where only the test listens, if anybody.
const HEADED: Service = Service {
    name: "headed",
    target_port: 7_100,
    attributes: &["proxy_protocol_v2.enabled = true"],
    ..Service::DATAGRAMS
};
const HEADED_V6: Service = Service {
    name: "headed-v6",
    target_port: HEADED.target_port,
    attributes: HEADED.attributes,
    ..Service::DATAGRAMS_V6
};
