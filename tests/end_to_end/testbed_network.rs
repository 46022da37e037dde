//! The test network itself, with the kernel as the router between client and targets: what fails here is no load balancer's
//! fault.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
};

use lbd::testbed::{
    client::{self, Conversation, Crowd, Flows},
    namespace,
    network::{Family, Layout, Network, Offload, Plan, Side},
    sniffer::{Sniffer, TooBig},
    target::{GREETING, Ports, Target},
};
use libtest_mimic::Failed;

use crate::Test;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("testbed::direct_network_carries_traffic", || carries_traffic(Layout::Direct, Offload::Off)),
    ("testbed::switched_network_carries_traffic", || carries_traffic(Layout::Switched, Offload::Off)),
    ("testbed::one_armed_network_carries_traffic", || carries_traffic(Layout::OneArmed, Offload::On)),
    ("testbed::routed_network_carries_traffic", || carries_traffic(Layout::Routed, Offload::Off)),
    ("testbed::a_narrow_hop_to_the_client_is_found", || narrow_hop_is_found(Side::Client)),
    ("testbed::a_narrow_hop_to_the_targets_is_found", || narrow_hop_is_found(Side::Targets)),
    ("testbed::nothing_is_left_behind", nothing_is_left_behind),
    ("testbed::sniffer_sees_resets", sniffer_sees_resets),
    ("testbed::targets_greet", targets_greet),
    ("testbed::processes_run_inside", processes_run_inside),
];

fn carries_traffic(layout: Layout, offload: Offload) -> Result<(), Failed> {
    let network = Network::build(&Plan { layout, targets: 2, queues: 8, offload })?;
    network.forward_by_kernel()?;
    for number in [1, 2] {
        let mut target = dual_stack_target(number);
        target.start(&network.targets[usize::from(number) - 1])?;
        for family in Family::BOTH {
            network.client.within(|| client::ping(family.target(number)))?;
            serves(&network, &target, (family.target(number), PORTS.tcp).into())?;
            let flows = Flows::open(&network.client, (family.target(number), PORTS.udp).into(), 50)?;
            for text in ["datagram", &"d".repeat(4_000)] {
                let answers = flows.ask_all(text)?;
                assert!(answers.iter().all(|answer| answer.client.ip() == family.client()));
            }
        }
        assert_eq!(target.counts().lines(), 200);
    }
    Ok(())
}

fn serves(network: &Network, target: &Target, address: SocketAddr) -> Result<(), Failed> {
    let mut crowd = Crowd::open(&network.client, address, 50)?;
    let failures = crowd.ask_all("again", client::PATIENCE);
    assert!(failures.is_empty(), "{failures:?}");
    assert!(crowd.members().iter().all(|member| member.target == target.name()));
    Ok(())
}

/// Whoever sends towards the narrow side learns it from the router's ICMP error, in each family.
fn narrow_hop_is_found(side: Side) -> Result<(), Failed> {
    let network =
        Network::build(&Plan { layout: Layout::Routed, targets: 1, queues: 1, offload: Offload::Off })?;
    network.forward_by_kernel()?;
    network.narrow(side, NARROW_BYTES)?;
    let (client, target) = (&network.client, &network.targets[0]);
    let (sender, receiver) = match side {
        Side::Client => (target, client),
        Side::Targets => (client, target),
    };
    let sniffer = Sniffer::start(sender)?;
    for family in Family::BOTH {
        let (from, to) = match side {
            Side::Client => (family.target(1), family.client()),
            Side::Targets => (family.client(), family.target(1)),
        };
        let listener = receiver.within(|| TcpListener::bind((to, PORTS.tcp)))?;
        let mut stream = sender.within(|| TcpStream::connect((to, PORTS.tcp)))?;
        let (mut accepted, _) = listener.accept()?;
        stream.write_all(&[1; 10_000])?;
        accepted.set_read_timeout(Some(client::PATIENCE))?;
        accepted.read_exact(&mut [0; 10_000])?;
        let is_expected = |error: &TooBig| error.to == from && error.mtu == NARROW_BYTES;
        assert!(sniffer.too_big().iter().any(is_expected), "{family:?}: {:?}", sniffer.too_big());
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
    for family in Family::BOTH {
        let sniffer = Sniffer::start(&network.client)?;
        let nobody = SocketAddr::from((family.target(1), PORTS.tcp));
        assert!(network.client.within(|| Conversation::open(nobody)).is_err());
        let seen = sniffer.resets();
        // On a busy machine the client may ask twice before it hears the first answer.
        assert!(!seen.is_empty(), "no reset was seen");
        assert!(
            seen.iter().all(|reset| reset.from == nobody && reset.to.ip() == family.client()),
            "{seen:?}"
        );
    }
    Ok(())
}

fn targets_greet() -> Result<(), Failed> {
    let network =
        Network::build(&Plan { layout: Layout::Direct, targets: 1, queues: 1, offload: Offload::Off })?;
    network.forward_by_kernel()?;
    let mut target = dual_stack_target(1).greeting();
    target.start(&network.targets[0])?;
    let mut conversation = network.client.within(|| Conversation::open(target.tcp_address()))?;
    let greeting = conversation.hear(client::PATIENCE)?;
    assert_eq!((greeting.text.as_str(), greeting.client), (GREETING, conversation.local));
    conversation.ask("hello")?;
    Ok(())
}

fn processes_run_inside() -> Result<(), Failed> {
    let network =
        Network::build(&Plan { layout: Layout::Direct, targets: 1, queues: 1, offload: Offload::Off })?;
    let output = network.client.command(Path::new("ls")).arg("/sys/class/net").output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "eth0\nlo\n");
    Ok(())
}

fn dual_stack_target(number: u8) -> Target {
    Target::new(format!("target{number}"), Family::V4.target(number), PORTS)
        .also_at(Family::V6.target(number))
}

const PORTS: Ports = Ports { tcp: 8080, udp: 7007 };
/// The longest packet that the narrow hop carries.
const NARROW_BYTES: u32 = 1_400;
