//! Addresses, routes and policy rules of the cluster, as the `ip` command takes them: one text for each namespace.

use std::fmt::Write as _;

use lb_core::tables::Mac;

use super::places::{
    CLIENT, CLIENT_NETWORK, FIRST_NIC, LB, Node, POD_GATEWAY, Pod, ROUTER, ROUTER_OF_CLIENT, SECOND_NIC,
    SUBNET, VIPS,
};
use crate::{report::text, testbed::wiring::HOST_LINK};

/// How packets of targets that see the client's own address find back to the load balancer. On EC2 the network does that unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// Nodes mark connections that come from the load balancer's MAC address, and send their replies there.
    ByNodes,
    /// The router sends what the subnet has for the client's network through the load balancer.
    ByRouter,
    /// Nobody cares: replies avoid the load balancer.
    Nowhere,
}

impl Return {
    /// The rule that makes it so, and where it stands.
    pub(super) fn rule(self) -> Option<(&'static [Place], String)> {
        match self {
            Return::ByNodes => Some((
                &[Place::Node(Node::One), Place::Node(Node::Two)],
                format!("priority 256 fwmark {RETURN_MARK}/{RETURN_MARK} lookup {RETURN_TABLE}"),
            )),
            Return::ByRouter => Some((
                &[Place::Router],
                format!("priority 256 iif {VPC} from {SUBNET} to {CLIENT_NETWORK} lookup {RETURN_TABLE}"),
            )),
            Return::Nowhere => None,
        }
    }
}

/// Somebody who routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Node(Node),
    Router,
}

/// The client: one address, everything by the router.
pub(super) fn client() -> String {
    format!("address add {CLIENT}/24 dev {HOST_LINK}\nroute add default via {ROUTER_OF_CLIENT}\n")
}

/// The VPC's router: the client on one side, the subnet on the other, the VIPs behind the load balancer.
pub(super) fn router() -> String {
    format!(
        "address add {ROUTER_OF_CLIENT}/24 dev {TO_CLIENT}\n\
         address add {ROUTER}/24 dev {VPC}\n\
         route add {VIPS} via {LB}\n\
         route add default via {LB} table {RETURN_TABLE}\n"
    )
}

/// The load balancer's host: one address on one link, everything by the router.
pub(super) fn lb() -> String {
    format!("address add {LB}/24 dev {HOST_LINK}\nroute add default via {ROUTER}\n")
}

/// A node: its NICs, and for each pod what the VPC's CNI plugin sets up. Rule 1024 goes with [`marks`].
pub(super) fn node(node: Node) -> String {
    let mut text = format!(
        "address add {}/24 dev {FIRST_NIC}\n\
         route add default via {ROUTER}\n\
         route add default via {LB} dev {FIRST_NIC} table {RETURN_TABLE}\n\
         rule add priority 1024 fwmark {FIRST_NIC_MARK}/{FIRST_NIC_MARK} lookup main\n",
        node.address()
    );
    if let Some(address) = node.second_address() {
        // Even neighbours of the subnet are reached by the router: the table has no route of the subnet.
        write!(
            text,
            "address add {address}/24 dev {SECOND_NIC} noprefixroute\n\
             route add {ROUTER} dev {SECOND_NIC} scope link table {SECOND_NIC_TABLE}\n\
             route add default via {ROUTER} dev {SECOND_NIC} table {SECOND_NIC_TABLE}\n"
        )
        .expect("a String takes all text");
    }
    text.extend(node.pods().map(pod_on_node));
    text
}

/// On AWS the network knows where a pod's address is; here its node answers for it.
fn pod_on_node(pod: Pod) -> String {
    let (name, address, nic) = (pod.name(), pod.address(), pod.nic());
    let mut text = format!(
        "neighbour add proxy {address} dev {nic}\n\
         route add {address} dev {name} scope link\n\
         rule add priority 512 to {address} lookup main\n"
    );
    if nic == SECOND_NIC {
        text += &format!("rule add priority 1536 from {address} lookup {SECOND_NIC_TABLE}\n");
    }
    text
}

/// A pod whose node has the MAC address `node_end` on their link.
pub(super) fn pod(pod: Pod, node_end: Mac) -> String {
    format!(
        "address add {}/32 dev {HOST_LINK}\n\
         route add {POD_GATEWAY} dev {HOST_LINK} scope link\n\
         route add default via {POD_GATEWAY}\n\
         neighbour add {POD_GATEWAY} lladdr {} dev {HOST_LINK} nud permanent\n",
        pod.address(),
        text(node_end)
    )
}

/// A node's marks of connections, in nft's words: those that came by the load balancer (its MAC address), for [`Return::ByNodes`],
/// and as the VPC's CNI plugin does those that came to the node's own address by the first NIC, whose replies leave by it whatever
/// pod they are of.
pub(super) fn marks(lb: Mac) -> String {
    let lb = text(lb);
    let restore = |mark: &str| format!("ct mark and {mark} == {mark} meta mark set meta mark or {mark}");
    let (returning, first_nic) = (restore(RETURN_MARK), restore(FIRST_NIC_MARK));
    format!(
        "table ip marks {{
            chain prerouting {{
                type filter hook prerouting priority mangle
                ct state new ether saddr {lb} ct mark set ct mark or {RETURN_MARK}
                ct state new iifname {FIRST_NIC} fib daddr type local ct mark set ct mark or {FIRST_NIC_MARK}
                ct direction reply {returning}
                ct direction reply {first_nic}
            }}
            chain output {{
                type route hook output priority mangle
                ct direction reply {returning}
            }}
        }}\n"
    )
}

/// The router's link to the client.
pub(super) const TO_CLIENT: &str = "client";
/// The router's link to the subnet.
pub(super) const VPC: &str = "vpc";
/// The kernel's settings of all who route: replies may come by another way than requests go (EKS: loose), and nobody is told of a
/// shorter one; a node answers ARP for what is on the NIC that is asked, and at once.
pub(super) const ROUTING: [(&str, &str); 6] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "2"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/all/arp_ignore", "1"),
    ("net/ipv4/conf/all/arp_announce", "2"),
];
const RETURN_MARK: &str = "0x100";
const RETURN_TABLE: u32 = 100;
const FIRST_NIC_MARK: &str = "0x80";
const SECOND_NIC_TABLE: u32 = 2;
