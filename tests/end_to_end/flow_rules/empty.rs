//! A target group without targets: TCP is refused, datagrams vanish; both are counted.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
};

use libtest_mimic::Failed;

use super::{Scene, assert_unanswered};
use crate::{
    Test,
    config::{Config, Registered, Service},
    harness::{PATIENCE, frames_of, tcp_vip, udp_vip},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[("flow_rules::an_empty_group_refuses", refuses)];

fn refuses() -> Result<(), Failed> {
    let mut scene = Scene::build()?;
    let empty = |service| Service { registered: Registered::These(&[]), ..service };
    let services = [Service::LINES, Service::DATAGRAMS].map(empty).into();
    scene.rig.launch_daemon(&Config { services, ..Config::of(&super::PLAN) })?;
    scene.rig.network.client.within(|| -> Result<(), Failed> {
        let connected = TcpStream::connect_timeout(&tcp_vip(), PATIENCE).map(drop);
        assert_eq!(connected.map_err(|error| error.kind()), Err(ErrorKind::ConnectionRefused));
        assert_unanswered(udp_vip())
    })?;
    // A SYN that is answered late is repeated.
    let resets: BTreeSet<SocketAddr> = scene.at_client.resets().iter().map(|reset| reset.from).collect();
    assert_eq!(resets, [tcp_vip()].into());
    scene.rig.wait_for_frames("no_target", 1)?;
    let stats = scene.rig.finish()?.0;
    let [refused, vanished] = ["reset_no_target", "no_target"].map(|reason| frames_of(&stats, reason));
    let (refused, vanished) = (refused?, vanished?);
    assert!(refused >= 1 && vanished == 1, "{stats:?}");
    assert_eq!((stats.rejected_flows, stats.cut), (refused + vanished, 0));
    Ok(())
}
