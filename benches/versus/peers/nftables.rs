//! DNAT in the chains and maps that kube-proxy's nftables mode makes of services and endpoints.

use std::{fmt::Write as _, fs};

use lbd::testbed::network::VIP;

use super::{Running, SERVICES};
use crate::{
    peer::Source,
    topology::{Failure, Topology, shell, target_addresses},
};

/// Loads the rules and lets the kernel forward.
pub fn start(topology: &Topology, source: Source) -> Result<Running, Failure> {
    let file = topology.directory.path().join("rules.nft");
    fs::write(&file, rules(source))?;
    shell(&topology.network.lb, &format!("nft -f {}", file.display()))?;
    topology.network.forward_by_kernel()?;
    Ok(Running::rules(topology.by_vip()?))
}

fn rules(source: Source) -> String {
    let mut table = String::from(BASE);
    let mut services = Vec::new();
    for (protocol, port) in SERVICES {
        let endpoint = |index: usize| format!("endpoint-{protocol}-{port}-{index}");
        for (index, target) in target_addresses().iter().enumerate() {
            let chain = endpoint(index);
            writeln!(
                table,
                "  chain {chain} {{\n    ip saddr {target} jump mark-for-masquerade\n    meta l4proto {protocol} dnat to {target}:{port}\n  }}"
            )
            .expect("a String takes all text");
        }
        let count = target_addresses().len();
        let choices: Vec<_> = (0..count).map(|index| format!("{index} : goto {}", endpoint(index))).collect();
        let mark = match source {
            Source::Kept => String::new(),
            Source::Masqueraded => {
                format!("    ip daddr {VIP} {protocol} dport {port} jump mark-for-masquerade\n")
            }
        };
        writeln!(
            table,
            "  chain service-{protocol}-{port} {{\n{mark}    numgen random mod {count} vmap {{ {} }}\n  }}",
            choices.join(", ")
        )
        .expect("a String takes all text");
        services.push(format!("{VIP} . {protocol} . {port} : goto service-{protocol}-{port}"));
    }
    format!("table ip kube-proxy {{\n{table}{}}}\n", lookup(&services.join(", ")))
}

/// One map look-up finds the service; hooks lead there.
fn lookup(services: &str) -> String {
    format!(
        "  map service-ips {{
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = {{ {services} }}
  }}
  chain services {{
    ip daddr . meta l4proto . th dport vmap @service-ips
  }}
  chain nat-prerouting {{
    type nat hook prerouting priority dstnat
    jump services
  }}
  chain nat-output {{
    type nat hook output priority -100
    jump services
  }}
"
    )
}

/// What kube-proxy has whatever the services are.
const BASE: &str = "  map no-endpoint-services {
    type ipv4_addr . inet_proto . inet_service : verdict
  }
  map firewall-ips {
    type ipv4_addr . inet_proto . inet_service : verdict
  }
  chain mark-for-masquerade {
    meta mark set meta mark or 0x4000
  }
  chain masquerading {
    meta mark & 0x4000 == 0 return
    meta mark set meta mark xor 0x4000
    masquerade fully-random
  }
  chain nat-postrouting {
    type nat hook postrouting priority srcnat
    jump masquerading
  }
  chain firewall-check {
    ip daddr . meta l4proto . th dport vmap @firewall-ips
  }
  chain service-endpoints-check {
    ip daddr . meta l4proto . th dport vmap @no-endpoint-services
  }
  chain filter-prerouting {
    type filter hook prerouting priority -110
    ct state new jump firewall-check
  }
  chain filter-forward {
    type filter hook forward priority -110
    ct state new jump service-endpoints-check
  }
";
