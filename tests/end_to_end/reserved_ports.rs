//! Ports that flows have on an address of the host are kept from the host's own connections, and given back.

use std::net::UdpSocket;

use lbd::testbed::{
    client::{Crowd, Seen},
    network::{GATEWAY, Layout, Offload, Plan},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{ClientAddress, Config, Service, SourceNat},
    harness::{PATIENCE, Rig, tcp_vip, wait_until},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("reserved_ports::come_and_go_with_the_daemon", come_and_go),
    ("reserved_ports::a_refused_reload_changes_none", a_refused_reload_changes_none),
    ("reserved_ports::the_other_half_may_follow", the_other_half_may_follow),
    ("reserved_ports::long_lists_of_others_stay", long_lists_of_others_stay),
    ("reserved_ports::the_host_keeps_some", the_host_keeps_some),
];

fn come_and_go() -> Result<(), Failed> {
    let mut rig = prepare()?;
    let held = rig.network.lb.within(|| UdpSocket::bind((GATEWAY, 2_345)))?;
    rig.start_daemon(&config(SOME))?;
    assert_eq!(reserved(&rig)?, "2000-2999,8080");
    rig.wait_for_log("ports 2000-2499,2501-2999 are kept from the host's own connections")?;
    rig.wait_for_log(&format!("WARNING: the host's UDP socket {GATEWAY}:2345 has a port"))?;
    drop(held);
    rig.daemon.take().ok_or("no daemon was started")?.kill()?;
    assert_eq!(reserved(&rig)?, "2000-2999,8080");
    rig.start_daemon(&config(SOME))?;
    assert_eq!(reserved(&rig)?, "2000-2999,8080");
    let daemon = rig.daemon.take().ok_or("no daemon was started")?;
    assert!(daemon.stop(PATIENCE)?.success());
    assert_eq!(reserved(&rig)?, "2500,8080");
    Ok(())
}

fn a_refused_reload_changes_none() -> Result<(), Failed> {
    let mut rig = prepare()?;
    rig.start_daemon(&config(SOME))?;
    let refusal = rig.reload(&config(None));
    assert!(format!("{refusal:?}").contains("set source_nat.ports, for example to"), "{refusal:?}");
    assert_eq!(reserved(&rig)?, "2000-2999,8080");
    let crowd = Crowd::open_seen(&rig.network.client, tcp_vip(), 5, Seen::Source(GATEWAY.into()))?;
    rig.reload(&config(Some((3_000, 3_999))))?;
    assert_eq!(reserved(&rig)?, "2000-3999,8080", "flows of before have the old ones");
    drop(crowd);
    rig.finish().map(drop)
}

/// A reload is judged by its own range, though the old one stays reserved until its flows are over.
fn the_other_half_may_follow() -> Result<(), Failed> {
    let mut rig = prepare()?;
    rig.start_daemon(&config(Some((32_768, 46_000))))?;
    let crowd = Crowd::open_seen(&rig.network.client, tcp_vip(), 5, Seen::Source(GATEWAY.into()))?;
    rig.reload(&config(Some((46_001, 60_999))))?;
    assert_eq!(reserved(&rig)?, "2500,8080,32768-60999");
    rig.wait_for_log("32768-46000, of the source_nat.ports of before, are kept until their flows are over")?;
    drop(crowd);
    rig.finish().map(drop)
}

/// Of more characters than the first read of a growing buffer takes, and then of more than one page.
fn long_lists_of_others_stay() -> Result<(), Failed> {
    for others in [every_other(4_000, 20), every_other(10_000, 5_000)] {
        let mut rig = Rig::build(PLAN)?;
        rig.network.lb.set_sysctl(RESERVED_KEY, &others)?;
        rig.start_targets()?;
        rig.start_daemon(&config(SOME))?;
        assert_eq!(reserved(&rig)?, format!("2000-2999,{others}"));
        rig.reload(&config(Some((3_000, 3_500))))?;
        // The ports of before go when the workers have said that no flow has them.
        let wanted = format!("3000-3500,{others}");
        wait_until(&wanted, || Ok(reserved(&rig)? == wanted))?;
        rig.stop()?;
        assert_eq!(reserved(&rig)?, others);
    }
    Ok(())
}

/// So many ports from one on, none beside another.
fn every_other(first: u16, count: usize) -> String {
    let ports = (first..=u16::MAX).step_by(2).take(count);
    Vec::from_iter(ports.map(|port| port.to_string())).join(",")
}

fn the_host_keeps_some() -> Result<(), Failed> {
    let rig = prepare()?;
    let text = config(None).text(&rig.network.interfaces, rig.directory.path());
    let output = rig.run_refused(&mut rig.lbd(&rig.write_text(&text)?))?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("would leave the host 0 ports for its own connections"), "{said}");
    assert_eq!(reserved(&rig)?, "2500,8080");
    rig.assert_nothing_left()
}

/// A network whose load balancer's host has reserved ports of its own.
fn prepare() -> Result<Rig, Failed> {
    let mut rig = Rig::build(PLAN)?;
    rig.network.lb.set_sysctl(RESERVED_KEY, "2500,8080")?;
    rig.start_targets()?;
    Ok(rig)
}

/// Ports of the host's own address that are source ports; all of the default range where there are none.
fn config(ports: Option<(u16, u16)>) -> Config {
    let source_nat = Some(SourceNat { addresses: vec![GATEWAY.into()], ports });
    let hidden = Service { client_address: ClientAddress::Hidden, ..Service::LINES };
    Config { source_nat, ..Config::only(&PLAN, hidden) }
}

fn reserved(rig: &Rig) -> Result<String, Failed> {
    Ok(rig.network.lb.sysctl(RESERVED_KEY)?)
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 1, queues: 1, offload: Offload::Off };
const RESERVED_KEY: &str = "net/ipv4/ip_local_reserved_ports";
const SOME: Option<(u16, u16)> = Some((2_000, 2_999));
