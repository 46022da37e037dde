//! Taps: a packet's way over several links is seen whole, in order, with what became of it at each.

use lbd::testbed::{
    client::Conversation,
    network::{CLIENT, Layout, Offload, Plan, target_address},
    tap::{Checksum, Crossing, Hop, LinkEnd, Protocol, Taps, crossings, follow},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    harness::{PATIENCE, PORTS, Rig, tcp_vip},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[("taps::a_way_through_lbd_is_seen_whole", through_lbd)];

/// A frame that lbd gets and sends by AF_XDP is seen at the far end of its link.
fn through_lbd() -> Result<(), Failed> {
    let rig = Rig::serve(Plan { layout: Layout::OneArmed, targets: 1, queues: 1, offload: Offload::Off })?;
    let switch = rig.network.switch().ok_or("no switch")?;
    let ends = [
        LinkEnd::at(&rig.network.client, "eth0", "client"),
        LinkEnd::across(switch, "uplink", "lb"),
        LinkEnd::at(&rig.network.targets[0], "eth0", "target"),
    ];
    let mut taps = Taps::on(&ends)?;
    let from = (CLIENT, 40_000).into();
    rig.network.client.within(|| Conversation::open_from(from, tcp_vip())?.ask("hello"))?;
    let answers = |hop: &Hop| hop.place == "client" && hop.payload().ends_with(b" hello\n");
    let hops = taps.take_until(PATIENCE, |hops| hops.iter().any(answers))?;
    let segments: Vec<_> = hops.iter().filter(|hop| hop.protocol == Protocol::Tcp).collect();
    assert!(segments.iter().all(|hop| hop.checksum == Checksum::Right), "{segments:#?}");

    let target = (target_address(1), PORTS.tcp).into();
    let there = follow(&hops, |hop| hop.is_syn() && hop.source == from);
    let ends = |crossing: &Crossing<'_>| {
        (
            crossing.from.map(str::to_owned),
            crossing.to.map(str::to_owned),
            crossing.hop.source,
            crossing.hop.destination,
        )
    };
    let wanted = [
        (Some("client".into()), Some("lb".into()), from, tcp_vip()),
        (Some("lb".into()), Some("target".into()), from, target),
    ];
    assert_eq!(crossings(&there).iter().map(ends).collect::<Vec<_>>(), wanted);
    let back = follow(&hops, |hop| hop.is_syn_ack() && hop.destination == from);
    let wanted = [
        (Some("target".into()), Some("lb".into()), target, from),
        (Some("lb".into()), Some("client".into()), tcp_vip(), from),
    ];
    assert_eq!(crossings(&back).iter().map(ends).collect::<Vec<_>>(), wanted);
    rig.finish()?;
    Ok(())
}
