//! A target group without targets: TCP is refused, datagrams vanish; both are counted.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
};

use libtest_mimic::Failed;

use super::{Scene, assert_unanswered};
use crate::{
    Test,
    config::{Config, Registered, Service},
    harness::{PATIENCE, tcp_vip, udp_vip},
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
    let resets: Vec<SocketAddr> = scene.at_client.resets().iter().map(|reset| reset.from).collect();
    assert_eq!(resets, [tcp_vip()]);
    assert_eq!([scene.rig.frames("reset_no_target")?, scene.rig.frames("no_target")?], [1, 1]);
    assert_eq!(scene.rig.control.stats()?.rejected_flows, 2);
    scene.finish()
}
