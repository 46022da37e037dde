//! Who is where in the cluster: names, addresses, zones.

use std::net::Ipv4Addr;

use super::super::addresses::{CLIENT as CLIENT_ADDRESS, GATEWAY};

/// The client's address.
pub const CLIENT: Ipv4Addr = CLIENT_ADDRESS;
/// The client's network.
pub const CLIENT_NETWORK: &str = "198.18.0.0/24";
/// The router, as the client sees it.
pub const ROUTER_OF_CLIENT: Ipv4Addr = GATEWAY;
/// The router, as the subnet sees it.
pub const ROUTER: Ipv4Addr = subnet(1);
/// The load balancer's host.
pub const LB: Ipv4Addr = subnet(10);
/// The subnet that all but the client are in.
pub const SUBNET: &str = "198.19.1.0/24";
/// The load balancer's address of zone a.
pub const VIP_A: Ipv4Addr = Ipv4Addr::new(198, 18, 100, 1);
/// The load balancer's address of zone b.
pub const VIP_B: Ipv4Addr = Ipv4Addr::new(198, 18, 100, 2);
/// The network of the load balancer's addresses, which the router sends to it.
pub const VIPS: &str = "198.18.100.0/24";
/// What every pod has for a gateway. Nobody has this address: pods hold a permanent neighbour entry for it, the node's end of their
/// link.
pub const POD_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// A node of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// With one NIC, two pods; zone a.
    One,
    /// With a second NIC, whose pod answers by it (policy routing table 2); zone b.
    Two,
}

impl Node {
    /// Both.
    pub const ALL: [Node; 2] = [Node::One, Node::Two];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Node::One => "node1",
            Node::Two => "node2",
        }
    }

    /// Its address, on `eth0`.
    pub const fn address(self) -> Ipv4Addr {
        match self {
            Node::One => subnet(50),
            Node::Two => subnet(60),
        }
    }

    /// The first address of its second NIC `eth1`, if it has one.
    pub const fn second_address(self) -> Option<Ipv4Addr> {
        match self {
            Node::One => None,
            Node::Two => Some(subnet(70)),
        }
    }

    /// Its zone.
    pub const fn zone(self) -> &'static str {
        match self {
            Node::One => "a",
            Node::Two => "b",
        }
    }

    /// Its pods.
    pub fn pods(self) -> impl Iterator<Item = Pod> {
        Pod::ALL.into_iter().filter(move |pod| pod.node() == self)
    }
}

/// A pod of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pod {
    /// On node 1.
    P51,
    /// On node 1, too.
    P52,
    /// On node 2, with an address of its second NIC.
    P71,
}

impl Pod {
    /// All.
    pub const ALL: [Pod; 3] = [Pod::P51, Pod::P52, Pod::P71];

    /// Its name, which the node's end of its link has, too.
    pub const fn name(self) -> &'static str {
        match self {
            Pod::P51 => "pod51",
            Pod::P52 => "pod52",
            Pod::P71 => "pod71",
        }
    }

    /// Its address.
    pub const fn address(self) -> Ipv4Addr {
        match self {
            Pod::P51 => subnet(51),
            Pod::P52 => subnet(52),
            Pod::P71 => subnet(71),
        }
    }

    /// Where it runs.
    pub const fn node(self) -> Node {
        match self {
            Pod::P51 | Pod::P52 => Node::One,
            Pod::P71 => Node::Two,
        }
    }

    /// The NIC of its node that its address belongs to.
    pub const fn nic(self) -> &'static str {
        match self {
            Pod::P51 | Pod::P52 => FIRST_NIC,
            Pod::P71 => SECOND_NIC,
        }
    }
}

/// The first NIC of a node.
pub const FIRST_NIC: &str = "eth0";
/// The second NIC of a node that has one.
pub const SECOND_NIC: &str = "eth1";

/// 198.19.1.`host`
const fn subnet(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 19, 1, host)
}
