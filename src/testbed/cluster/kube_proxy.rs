//! A node's packet rules, as kube-proxy writes them for iptables, said in nft: the same chains by the same names (but for hashes),
//! in the same order. Pure: services and endpoints in, the text of a ruleset out.
//!
//! ```text
//!  PREROUTING, OUTPUT -> KUBE-SERVICES -- cluster IP --> KUBE-SVC-WEB -- one of n --> KUBE-SEP-WEB-POD51: DNAT
//!                              |                            ^
//!                              `-- KUBE-NODEPORTS -> KUBE-EXT-WEB -- policy Local --> KUBE-SVL-WEB, this node's pods
//!                                                           `-- policy Cluster: KUBE-MARK-MASQ (0x4000)
//!  POSTROUTING -> KUBE-POSTROUTING: MASQUERADE what has the mark
//! ```
//!
//! Source: kubernetes, `pkg/proxy/iptables/proxier.go`.

use std::fmt::Write as _;

use super::{
    places::{Node, Pod},
    services::{Endpoints, Policy, Service},
};

/// The ruleset of a node, which replaces what the node had, at once.
pub(super) fn ruleset(node: Node, services: &[Endpoints]) -> String {
    let views: Vec<_> = services.iter().map(|endpoints| View { node, endpoints }).collect();
    let mut text = format!("table ip {TABLE} {{}}\ndelete table ip {TABLE}\ntable ip {TABLE} {{\n");
    text += HOOKS;
    text += &chain("KUBE-SERVICES", views.iter().filter_map(View::by_cluster_ip), Some(TO_NODE_PORTS));
    text += &chain("KUBE-NODEPORTS", views.iter().filter_map(View::by_node_port), None);
    text += &chain("KUBE-EXTERNAL-SERVICES", views.iter().filter_map(View::refusal), None);
    text.extend(views.iter().map(View::chains));
    text + "}\n"
}

/// A service, seen from a node.
struct View<'a> {
    node: Node,
    endpoints: &'a Endpoints,
}

impl View<'_> {
    fn service(&self) -> &Service {
        &self.endpoints.service
    }

    fn pods(&self) -> &[Pod] {
        &self.endpoints.pods
    }

    fn local_pods(&self) -> Vec<Pod> {
        self.pods().iter().copied().filter(|pod| pod.node() == self.node).collect()
    }

    /// The pods that traffic from outside may reach by this node.
    fn reachable_pods(&self) -> Vec<Pod> {
        match self.service().policy {
            Policy::Cluster => self.pods().to_vec(),
            Policy::Local { .. } => self.local_pods(),
        }
    }

    fn by_cluster_ip(&self) -> Option<String> {
        let Service { cluster_ip, port, protocol, .. } = self.service();
        let rule =
            format!("ip daddr {cluster_ip} {} dport {port} goto {}", protocol.name(), self.name("SVC"));
        (!self.pods().is_empty()).then_some(rule)
    }

    fn by_node_port(&self) -> Option<String> {
        let Service { node_port, protocol, .. } = self.service();
        let rule = format!("{} dport {node_port} goto {}", protocol.name(), self.name("EXT"));
        (!self.reachable_pods().is_empty()).then_some(rule)
    }

    /// Without a pod of its own a node is silent about a service of policy Local: its clients are somebody else's.
    fn refusal(&self) -> Option<String> {
        let Service { node_port, protocol, .. } = self.service();
        let verdict = match (self.pods(), self.reachable_pods().is_empty()) {
            (_, false) => return None,
            ([], true) => "reject",
            (_, true) => "drop",
        };
        Some(format!("fib daddr type local {} dport {node_port} {verdict}", protocol.name()))
    }

    /// The service's own chains.
    fn chains(&self) -> String {
        let mut text = String::new();
        if !self.pods().is_empty() {
            text += &chain(&self.name("SVC"), [self.one_of(self.pods())], None);
            text.extend(self.pods().iter().map(|pod| self.endpoint(*pod)));
        }
        let reachable = self.reachable_pods();
        if !reachable.is_empty() {
            text += &chain(&self.name("EXT"), self.external(), None);
            if let Policy::Local { .. } = self.service().policy {
                text += &chain(&self.name("SVL"), [self.one_of(&reachable)], None);
            }
        }
        text
    }

    fn external(&self) -> Vec<String> {
        match self.service().policy {
            Policy::Cluster => vec!["jump KUBE-MARK-MASQ".into(), format!("goto {}", self.name("SVC"))],
            Policy::Local { .. } => vec![
                "fib saddr type local jump KUBE-MARK-MASQ".into(),
                format!("fib saddr type local goto {}", self.name("SVC")),
                format!("goto {}", self.name("SVL")),
            ],
        }
    }

    /// One of some pods, each with the same probability.
    fn one_of(&self, pods: &[Pod]) -> String {
        let goto = |(at, pod): (usize, &Pod)| format!("{at} : goto {}", self.endpoint_name(*pod));
        let gotos: Vec<_> = pods.iter().enumerate().map(goto).collect();
        format!("numgen random mod {} vmap {{ {} }}", pods.len(), gotos.join(", "))
    }

    /// A pod that reaches itself by the service must not see its own address as the client's.
    fn endpoint(&self, pod: Pod) -> String {
        let Service { protocol, target_port, .. } = self.service();
        let rules = [
            format!("ip saddr {} jump KUBE-MARK-MASQ", pod.address()),
            format!("meta l4proto {} dnat to {}:{target_port}", protocol.name(), pod.address()),
        ];
        chain(&self.endpoint_name(pod), rules, None)
    }

    fn name(&self, kind: &str) -> String {
        format!("KUBE-{kind}-{}", self.service().name.to_uppercase())
    }

    fn endpoint_name(&self, pod: Pod) -> String {
        format!("{}-{}", self.name("SEP"), pod.name().to_uppercase())
    }
}

fn chain(name: &str, rules: impl IntoIterator<Item = String>, last: Option<&str>) -> String {
    let mut text = format!("    chain {name} {{\n");
    for rule in rules.into_iter().chain(last.map(str::to_owned)) {
        writeln!(text, "        {rule}").expect("a String takes all text");
    }
    text + "    }\n"
}

const TABLE: &str = "kube-proxy";
const TO_NODE_PORTS: &str = "fib daddr type local goto KUBE-NODEPORTS";
const HOOKS: &str = "\
    chain PREROUTING {
        type nat hook prerouting priority dstnat
        jump KUBE-SERVICES
    }
    chain OUTPUT {
        type nat hook output priority -100
        jump KUBE-SERVICES
    }
    chain POSTROUTING {
        type nat hook postrouting priority srcnat
        jump KUBE-POSTROUTING
    }
    chain INPUT {
        type filter hook input priority filter
        jump KUBE-EXTERNAL-SERVICES
    }
    chain KUBE-MARK-MASQ {
        meta mark set meta mark or 0x4000
    }
    chain KUBE-POSTROUTING {
        meta mark and 0x4000 != 0x4000 return
        meta mark set meta mark xor 0x4000
        masquerade fully-random
    }
";

#[cfg(test)]
mod tests {
    use super::{
        super::services::{LOCAL, WEB},
        *,
    };

    fn of(node: Node, service: Service, pods: &[Pod]) -> String {
        ruleset(node, &[Endpoints { service, pods: pods.to_vec() }])
    }

    #[test]
    fn policy_cluster_masquerades_and_takes_pods_of_any_node() {
        let text = of(Node::Two, WEB, &[Pod::P51, Pod::P71]);
        assert!(
            text.contains("chain KUBE-EXT-WEB {\n        jump KUBE-MARK-MASQ\n        goto KUBE-SVC-WEB\n")
        );
        assert!(text.contains(
            "numgen random mod 2 vmap { 0 : goto KUBE-SEP-WEB-POD51, 1 : goto KUBE-SEP-WEB-POD71 }"
        ));
    }

    #[test]
    fn policy_local_takes_pods_of_this_node_alone() {
        let pods = [Pod::P51, Pod::P71];
        assert!(of(Node::One, LOCAL, &pods).contains(
            "chain KUBE-SVL-LOCAL {\n        numgen random mod 1 vmap { 0 : goto KUBE-SEP-LOCAL-POD51 }"
        ));
        let without = of(Node::Two, LOCAL, &pods[..1]);
        assert!(without.contains("fib daddr type local tcp dport 30081 drop"));
        assert!(!without.contains("SVL"));
    }

    #[test]
    fn nobody_behind_a_service_is_a_refusal() {
        let text = of(Node::One, WEB, &[]);
        assert!(text.contains("tcp dport 30080 reject"));
        assert!(!text.contains("KUBE-SVC-WEB"));
    }
}
