//! The cluster's services: what a Service object says, as far as the packet path depends on it.

use std::net::Ipv4Addr;

use super::{super::target::Ports, places::Pod};

/// A Service of type LoadBalancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name, in namespace `default`.
    pub name: &'static str,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its virtual address, the same on every node.
    pub cluster_ip: Ipv4Addr,
    /// The port of that.
    pub port: u16,
    /// The pods' port.
    pub target_port: u16,
    /// The port of every node that leads to it.
    pub node_port: u16,
    /// Which pods traffic from outside may reach.
    pub policy: Policy,
}

/// Protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// As nft says.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

/// externalTrafficPolicy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Pods of any node; the node's address stands for the client's.
    Cluster,
    /// Pods of the node that it came to, which see the client.
    Local {
        /// healthCheckNodePort: where each node says whether it has a pod.
        health_check_node_port: u16,
    },
}

/// A service and its ready pods.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// The service.
    pub service: Service,
    /// Its pods, in no order.
    pub pods: Vec<Pod>,
}

/// Lines over TCP, by any node.
pub const WEB: Service = Service {
    name: "web",
    protocol: Protocol::Tcp,
    cluster_ip: Ipv4Addr::new(198, 19, 200, 10),
    port: 80,
    target_port: POD_PORTS.tcp,
    node_port: 30_080,
    policy: Policy::Cluster,
};

/// The same lines, by nodes with a pod of theirs.
pub const LOCAL: Service = Service {
    name: "local",
    cluster_ip: Ipv4Addr::new(198, 19, 200, 11),
    node_port: 30_081,
    policy: Policy::Local { health_check_node_port: 32_081 },
    ..WEB
};

/// Datagrams, by any node.
pub const ECHO: Service = Service {
    name: "echo",
    protocol: Protocol::Udp,
    cluster_ip: Ipv4Addr::new(198, 19, 200, 12),
    port: 7,
    target_port: POD_PORTS.udp,
    node_port: 30_007,
    policy: Policy::Cluster,
};

/// All services.
pub const ALL: [Service; 3] = [WEB, LOCAL, ECHO];

/// Where pods listen.
pub const POD_PORTS: Ports = Ports { tcp: 8080, udp: 7007 };
