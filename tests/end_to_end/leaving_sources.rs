//! A source address that the configuration drops stays on its interface for as long as flows have it.

use std::{
    net::{IpAddr, Ipv4Addr},
    process::Command,
    time::{Duration, Instant},
};

use lbd::testbed::{
    client::{Conversation, Crowd, Seen},
    network::{Layout, Offload, Plan, VIP},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{ClientAddress, Config, Service, SourceNat},
    harness::{PATIENCE, Rig, tcp_vip},
    web::output_of,
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("leaving_sources::stay_until_their_flows_are_over", stay_until_their_flows_are_over),
    ("leaving_sources::stay_when_assign_is_turned_off", stay_when_assign_is_turned_off),
    ("leaving_sources::may_move_to_another_interface", may_move_to_another_interface),
    ("leaving_sources::may_have_been_a_load_balancers_address", may_have_been_a_load_balancers_address),
    ("leaving_sources::are_known_after_a_crash", are_known_after_a_crash),
];

fn stay_until_their_flows_are_over() -> Result<(), Failed> {
    let rig = Rig::serve_by(PLAN, &config(&[SOURCE]))?;
    let mut crowd = crowd(&rig)?;
    rig.reload(&config(&[OTHER_SOURCE]))?;
    rig.wait_for_log(&format!("{SOURCE} is kept"))?;
    assert_unhurt(&rig, &mut crowd)?;
    rig.reload(&config(&[SOURCE]))?;
    rig.reload(&config(&[]))?;
    assert_unhurt(&rig, &mut crowd)?;
    let newer = Crowd::open_seen(&rig.network.client, tcp_vip(), 5, Seen::Source(VIP.into()))?;
    drop(crowd);
    wait_until_gone(&rig, SOURCE)?;
    drop(newer);
    rig.finish().map(drop)
}

/// The address is the source of new flows, too, so it stays until there are none.
fn stay_when_assign_is_turned_off() -> Result<(), Failed> {
    let rig = Rig::serve_by(PLAN, &config(&[SOURCE]))?;
    let mut crowd = crowd(&rig)?;
    let text = config(&[SOURCE]).text(&rig.network.interfaces, rig.directory.path());
    rig.write_text(&text.replace("[source_nat]\n", "[source_nat]\nassign = false\n"))?;
    rig.control.reload()?;
    rig.wait_for_log(&format!("{SOURCE} is kept"))?;
    assert_unhurt(&rig, &mut crowd)?;
    rig.finish().map(drop)
}

fn may_move_to_another_interface() -> Result<(), Failed> {
    let rig = Rig::serve_by(PLAN, &config(&[SOURCE]))?;
    let mut crowd = crowd(&rig)?;
    let [_, other] = &rig.network.interfaces[..] else { return Err("expected two interfaces".into()) };
    let text = config(&[SOURCE]).text(&rig.network.interfaces, rig.directory.path());
    rig.write_text(&text.replace("[source_nat]\n", &format!("[source_nat]\ninterface = \"{other}\"\n")))?;
    rig.control.reload()?;
    rig.wait_for_log(&format!("added {SOURCE} to {other}"))?;
    assert_unhurt(&rig, &mut crowd)?;
    drop(crowd);
    rig.finish().map(drop)
}

/// Without `source_nat.addresses` flows have either address of their load balancer, wherever their clients call.
fn may_have_been_a_load_balancers_address() -> Result<(), Failed> {
    let both = Config { vips: vec![VIP.into(), SOURCE.into()], ..config(&[]) };
    let rig = Rig::serve_by(PLAN, &both)?;
    let open = || (0..40).map(|_| Conversation::open(tcp_vip())).collect::<std::io::Result<Vec<_>>>();
    let mut conversations = rig.network.client.within(open)?;
    let mut seen = Vec::new();
    for conversation in &mut conversations {
        seen.push(conversation.ask("hello")?.client.ip());
    }
    assert!(seen.contains(&SOURCE.into()) && seen.contains(&VIP.into()), "{seen:?}");
    rig.reload(&config(&[]))?;
    rig.wait_for_log(&format!("{SOURCE} is kept"))?;
    forget_neighbours(&rig)?;
    for (conversation, source) in conversations.iter_mut().zip(&seen) {
        assert_eq!(conversation.ask("again")?.client.ip(), *source);
    }
    drop(conversations);
    rig.finish().map(drop)
}

fn are_known_after_a_crash() -> Result<(), Failed> {
    let mut rig = Rig::serve_by(PLAN, &config(&[SOURCE]))?;
    let crowd = crowd(&rig)?;
    rig.reload(&config(&[]))?;
    rig.wait_for_log(&format!("{SOURCE} is kept"))?;
    rig.daemon.take().ok_or("no daemon was started")?.kill()?;
    assert!(rig.network.lb_has(SOURCE));
    rig.start_daemon(&config(&[]))?;
    assert!(!rig.network.lb_has(SOURCE), "its flows are gone with the process");
    drop(crowd);
    rig.finish().map(drop)
}

/// Connections whose target must find the way to their source anew.
fn assert_unhurt(rig: &Rig, crowd: &mut Crowd) -> Result<(), Failed> {
    assert!(rig.network.lb_has(SOURCE));
    forget_neighbours(rig)?;
    let failures = crowd.ask_all("again", PATIENCE);
    assert!(failures.is_empty(), "{failures:?}");
    Ok(())
}

fn forget_neighbours(rig: &Rig) -> Result<(), Failed> {
    let name = rig.network.targets[0].name();
    output_of(Command::new("ip").args(["-n", name, "neigh", "flush", "all"]))?;
    Ok(())
}

fn crowd(rig: &Rig) -> Result<Crowd, Failed> {
    Ok(Crowd::open_seen(&rig.network.client, tcp_vip(), 20, Seen::Source(SOURCE.into()))?)
}

/// A closed flow is kept for a minute.
fn wait_until_gone(rig: &Rig, address: Ipv4Addr) -> Result<(), Failed> {
    let deadline = Instant::now() + Duration::from_secs(u64::from(lb_core::limits::CLOSED_S)) + PATIENCE * 2;
    while rig.network.lb_has(address) {
        if Instant::now() > deadline {
            return Err(format!("{address} is still there: {:?}", rig.control.status()?).into());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    rig.wait_for_log(&format!("removed {address} from "))
}

fn config(sources: &[Ipv4Addr]) -> Config {
    let source_nat =
        SourceNat { addresses: sources.iter().copied().map(IpAddr::from).collect(), ports: None };
    Config { source_nat: Some(source_nat), ..Config::only(&PLAN, HIDDEN) }
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 1, queues: 2, offload: Offload::Off };
const HIDDEN: Service = Service { client_address: ClientAddress::Hidden, ..Service::LINES };
/// On the target's own network, so that it asks who has them.
const SOURCE: Ipv4Addr = Ipv4Addr::new(198, 19, 1, 9);
const OTHER_SOURCE: Ipv4Addr = Ipv4Addr::new(198, 19, 1, 10);
