//! Instance targets: nodes that serve several target groups on ports of one address.

use lbd::testbed::{
    client::Crowd,
    network::{Family, Layout, Offload, Plan},
    target::{Ports, Target},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{Config, Service, TargetType},
    harness::{PATIENCE, Rig, vip_of},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[("instances::each_connection_gets_the_right_service", right_service)];

/// Two services on each node, by node ports; one of them by two listeners and groups.
fn right_service() -> Result<(), Failed> {
    let mut rig = Rig::build(PLAN)?;
    for (number, namespace) in (1..).zip(&rig.network.targets) {
        for (name, ports) in [("red", RED), ("blue", BLUE)] {
            let mut target = Target::new(name.into(), Family::V4.target(number), ports);
            target.start(namespace)?;
            rig.targets.push(target);
        }
    }
    rig.start_daemon(&Config { services: SERVICES.into(), ..Config::of(&PLAN) })?;
    let mut crowds = Vec::new();
    for (service, ports) in SERVICES.iter().zip(CLIENT_PORTS) {
        rig.network.client.set_sysctl("net/ipv4/ip_local_port_range", ports)?;
        let crowd = Crowd::open(&rig.network.client, vip_of(Family::V4, service), 100)?;
        let expected = if service.target_port == BLUE.tcp { "blue" } else { "red" };
        assert!(crowd.members().iter().all(|member| member.target == expected), "{}", service.name);
        crowds.push(crowd);
    }
    for crowd in &mut crowds {
        assert_eq!(crowd.ask_all("again", PATIENCE).len(), 0);
    }
    drop(crowds);
    rig.finish().map(drop)
}

/// A target tells connections apart by the client's address and port alone, so no two of its services may meet the same.
const CLIENT_PORTS: [&str; 3] = ["20000 29999", "30000 39999", "40000 49999"];
const PLAN: Plan = Plan { layout: Layout::Direct, targets: 2, queues: 2, offload: Offload::Off };
const RED: Ports = Ports { tcp: 30_080, udp: 30_007 };
const BLUE: Ports = Ports { tcp: 30_081, udp: 30_008 };
const NODE: Service = Service {
    name: "red",
    target_port: RED.tcp,
    check_port: RED.tcp,
    target_type: TargetType::Instance,
    ..Service::LINES
};
const SERVICES: [Service; 3] = [
    NODE,
    Service { name: "blue", port: 81, target_port: BLUE.tcp, check_port: BLUE.tcp, ..NODE },
    Service { name: "red-again", port: 82, ..NODE },
];
