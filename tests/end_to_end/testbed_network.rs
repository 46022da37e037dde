//! The test network itself, with the kernel as the router between client and targets: what fails here is no load balancer's
//! fault.

use std::{net::SocketAddr, path::Path, time::Duration};

use lbd::testbed::{
    client::{self, Conversation, Crowd, Flows},
    namespace,
    network::{CLIENT, Layout, Network, Offload, Plan, target_address},
    sniffer::ResetSniffer,
    target::{Ports, Target},
};
use libtest_mimic::Failed;

use crate::Test;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("testbed::direct_network_carries_traffic", || carries_traffic(Layout::Direct, Offload::Off)),
    ("testbed::switched_network_carries_traffic", || carries_traffic(Layout::Switched, Offload::Off)),
    ("testbed::one_armed_network_carries_traffic", || carries_traffic(Layout::OneArmed, Offload::On)),
    ("testbed::nothing_is_left_behind", nothing_is_left_behind),
    ("testbed::sniffer_sees_resets", sniffer_sees_resets),
    ("testbed::processes_run_inside", processes_run_inside),
];

fn carries_traffic(layout: Layout, offload: Offload) -> Result<(), Failed> {
    let network = Network::build(&Plan { layout, targets: 2, queues: 2, offload })?;
    network.forward_by_kernel()?;
    network.client.within(|| client::ping(target_address(1)))?;
    for number in [1, 2] {
        let mut target = Target::new(format!("target{number}"), target_address(number), PORTS);
        target.start(&network.targets[usize::from(number) - 1])?;
        let mut crowd = Crowd::open(&network.client, target.tcp_address(), 50)?;
        let failures = crowd.ask_all("again", Duration::from_secs(5));
        assert!(failures.is_empty(), "{failures:?}");
        assert!(crowd.members().iter().all(|member| member.target == target.name()));
        assert_eq!(target.counts().lines(), 100);
        let flows = Flows::open(&network.client, (target_address(number), PORTS.udp).into(), 50)?;
        let answers = flows.ask_all("datagram")?;
        assert!(answers.iter().all(|answer| answer.client.ip() == CLIENT));
    }
    Ok(())
}

fn nothing_is_left_behind() -> Result<(), Failed> {
    let network =
        Network::build(&Plan { layout: Layout::OneArmed, targets: 1, queues: 1, offload: Offload::Off })?;
    let path = namespace::path_of(network.lb.name());
    assert!(path.exists());
    drop(network);
    assert!(!path.exists());
    Ok(())
}

fn sniffer_sees_resets() -> Result<(), Failed> {
    let network =
        Network::build(&Plan { layout: Layout::Direct, targets: 1, queues: 1, offload: Offload::Off })?;
    network.forward_by_kernel()?;
    let sniffer = ResetSniffer::start(&network.client)?;
    let nobody = SocketAddr::from((target_address(1), PORTS.tcp));
    assert!(network.client.within(|| Conversation::open(nobody)).is_err());
    std::thread::sleep(Duration::from_millis(200));
    let seen = sniffer.seen();
    // On a busy machine the client may ask twice before it hears the first answer.
    assert!(!seen.is_empty(), "no reset was seen");
    assert!(
        seen.iter().all(|reset| SocketAddr::from(reset.from) == nobody && *reset.to.ip() == CLIENT),
        "{seen:?}"
    );
    Ok(())
}

fn processes_run_inside() -> Result<(), Failed> {
    let network =
        Network::build(&Plan { layout: Layout::Direct, targets: 1, queues: 1, offload: Offload::Off })?;
    let output = network.client.command(Path::new("ls")).arg("/sys/class/net").output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "eth0\nlo\n");
    Ok(())
}

const PORTS: Ports = Ports { tcp: 8080, udp: 7007 };
