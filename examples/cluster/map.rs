//! Who is where in a cluster, and what to try.

use std::path::Path;

use crate::{
    files::Files,
    name::{LENGTH_MAX, Name},
};

/// The map that is printed. `lbctl` is where that program is.
pub fn map(name: &Name, files: &Files, lbctl: &Path) -> String {
    let line = |namespace: &str, addresses: &str, links: &str| {
        format!("{namespace:<COLUMN$} {addresses:<45} {links}\n")
    };
    let mut map = line("namespace", "addresses", "links");
    for (role, addresses, links) in NAMESPACES {
        map += &line(&name.namespace(role), addresses, links);
    }
    let lbctl = format!("{} --socket {}", lbctl.display(), files.socket().display());
    let directory = files.directory.display().to_string();
    map + &REST.replace("NAME", name.as_str()).replace("LBCTL", &lbctl).replace("DIRECTORY", &directory)
}

/// The longest name, a `-`, and the longest role.
const COLUMN: usize = LENGTH_MAX + 1 + "client".len();
/// Namespace, its addresses, its links.
const NAMESPACES: [(&str, &str, &str); 9] = [
    ("client", "198.18.0.2", "eth0"),
    ("router", "198.18.0.1, 198.19.1.1", "client, vpc"),
    ("switch", "none: a bridge", "to-router, to-lb, to-node1, to-node2, to-node2-b"),
    ("lb", "198.19.1.10, VIPs 198.18.100.1, 198.18.100.2", "eth0"),
    ("node1", "198.19.1.50", "eth0, pod51, pod52"),
    ("pod51", "198.19.1.51", "eth0"),
    ("pod52", "198.19.1.52", "eth0"),
    ("node2", "198.19.1.60, 198.19.1.70", "eth0, eth1, pod71"),
    ("pod71", "198.19.1.71", "eth0"),
];
const REST: &str = "
service  cluster IP           node port  policy   pods listen on
web      198.19.200.10:80     30080      Cluster  8080
local    198.19.200.11:80     30081      Local    8080, healthCheckNodePort 32081
echo     198.19.200.12:7 UDP  30007      Cluster  7007

listener  target group  targets
TCP 80    nodes         nodes, by web's node port
TCP 81    local-nodes   nodes with a pod, by local's node port; pods see the client
TCP 82    pods          pods by address; they see 198.19.1.10
TCP 83    pods-kept     the same; they see the client
TCP 84    zonal         the same, in the zone of the VIP
UDP 7     echo          pods by address
UDP 8     echo-nodes    nodes, by echo's node port

A pod answers a line, or a datagram, with its name and the client that it sees:
  echo hello | ip netns exec NAME-client curl -s -m 1 telnet://198.18.100.1:83
  echo hello | ip netns exec NAME-pod51 curl -s -m 1 telnet://198.19.200.10:80
  ip netns exec NAME-client curl -s http://198.19.1.50:32081/healthz
What it passes:
  ip netns exec NAME-node2 tcpdump -nei any tcp
  ip netns exec NAME-switch tcpdump -nei to-lb    what lbd gets and sends: tcpdump in NAME-lb sees none of it
  ip netns exec NAME-node2 nft list ruleset
  ip -n NAME-node2 rule
The load balancer (DIRECTORY/lbd.toml, lbd.log):
  LBCTL status";
