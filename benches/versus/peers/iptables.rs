//! DNAT in the chains that kube-proxy's iptables mode makes of services and endpoints.

use std::{fmt::Write as _, fs};

use lbd::testbed::network::VIP;

use super::{Running, SERVICES};
use crate::{
    peer::Source,
    topology::{Failure, TARGETS, Topology, shell, target_addresses},
};

/// Loads the rules and lets the kernel forward.
pub fn start(topology: &Topology, source: Source) -> Result<Running, Failure> {
    let file = topology.directory.path().join("rules.iptables");
    fs::write(&file, format!("{}{FILTER}", nat(source)))?;
    shell(&topology.network.lb, &format!("iptables-restore {}", file.display()))?;
    topology.network.forward_by_kernel()?;
    Ok(Running::rules(topology.by_vip()?))
}

/// Table `nat`: chains are declared before rules.
fn nat(source: Source) -> String {
    let (mut chains, mut rules) = (String::from(NAT_CHAINS), String::from(NAT_RULES));
    for (protocol, port) in SERVICES {
        let service = format!("KUBE-SVC-{protocol}-{port}");
        let matches = format!("-d {VIP}/32 -p {protocol} -m {protocol} --dport {port}");
        writeln!(chains, ":{service} - [0:0]").expect("a String takes all text");
        writeln!(rules, "-A KUBE-SERVICES {matches} -m comment --comment \"versus cluster IP\" -j {service}")
            .expect("a String takes all text");
        if source == Source::Masqueraded {
            writeln!(rules, "-A {service} {matches} -j KUBE-MARK-MASQ").expect("a String takes all text");
        }
        for (index, target) in target_addresses().iter().enumerate() {
            let endpoint = format!("KUBE-SEP-{protocol}-{port}-{index}");
            writeln!(chains, ":{endpoint} - [0:0]").expect("a String takes all text");
            write!(
                rules,
                "-A {service}{} -j {endpoint}\n\
                 -A {endpoint} -s {target}/32 -j KUBE-MARK-MASQ\n\
                 -A {endpoint} -p {protocol} -m {protocol} -j DNAT --to-destination {target}:{port}\n",
                one_of(TARGETS - index)
            )
            .expect("a String takes all text");
        }
    }
    format!("*nat\n{chains}{rules}COMMIT\n")
}

/// Takes a connection with the probability that gives `left` endpoints equal shares; the last takes what is left.
fn one_of(left: usize) -> String {
    match left {
        1 => String::new(),
        _ => format!(" -m statistic --mode random --probability {:.10}", 1.0 / left as f64),
    }
}

const NAT_CHAINS: &str = ":KUBE-SERVICES - [0:0]\n:KUBE-POSTROUTING - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n";
const NAT_RULES: &str = "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
";
const FILTER: &str = "*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
";
