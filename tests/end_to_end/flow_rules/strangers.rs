//! Packets that belong to nothing: silence where nobody listens, a reset where no flow is.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
};

use lbd::testbed::{network::VIP, stray::Stray};
use libtest_mimic::Failed;

use super::{SILENCE, Scene, assert_unanswered};
use crate::{
    Test,
    config::Config,
    harness::{PATIENCE, tcp_vip},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("flow_rules::where_nobody_listens_is_silence", silence),
    ("flow_rules::data_of_no_flow_is_reset", data_of_no_flow),
];

fn silence() -> Result<(), Failed> {
    let scene = Scene::serve(&Config::of(&super::PLAN))?;
    let nowhere = SocketAddr::from((VIP, 9));
    scene.rig.network.client.within(|| -> Result<(), Failed> {
        let refused = TcpStream::connect_timeout(&nowhere, SILENCE).map(drop).map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::TimedOut));
        assert_unanswered(nowhere)
    })?;
    assert_eq!(scene.at_client.resets(), []);
    scene.rig.wait_for_frames("no_listener", 2)?;
    scene.finish()
}

fn data_of_no_flow() -> Result<(), Failed> {
    let scene = Scene::serve(&Config::of(&super::PLAN))?;
    let (client, heard) = scene.rig.network.client.within(|| -> Result<_, Failed> {
        let mut stray = Stray::open(tcp_vip())?;
        Ok((stray.local, stray.speak(PATIENCE).map_err(|error| error.kind())))
    })?;
    assert_eq!(heard, Err(ErrorKind::ConnectionReset));
    // What is answered late is said again.
    let resets = scene.at_client.resets().into_iter();
    let resets: BTreeSet<_> = resets.map(|reset| (reset.from, reset.to)).collect();
    assert_eq!(resets, [(tcp_vip(), client)].into());
    assert!(scene.rig.frames("reset_no_flow")? >= 1);
    scene.finish()
}
