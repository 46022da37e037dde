//! On what machine, with which versions of whom.

use std::{fs, process::Command};

use crate::{
    peer::Peer,
    topology::{CPUS, Failure, run},
};

/// Processor, memory, kernel, and the version of every peer that is a program. Ends with a line end.
pub fn describe(peers: &[Peer]) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = field(&cpuinfo, "model name").unwrap_or("unknown processor");
    let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    let mut versions = Vec::new();
    for &peer in peers {
        let version = version_of(peer);
        if let Some(version) = version.filter(|version| !versions.contains(version)) {
            versions.push(version);
        }
    }
    let machine =
        format!("{model}, {cpus} CPUs, of which {} are used; Linux {}\n", CPUS.len(), kernel.trim());
    if versions.is_empty() { machine } else { format!("{machine}{}\n", versions.join("; ")) }
}

fn version_of(peer: Peer) -> Option<String> {
    let (program, arguments): (&str, &[&str]) = match peer {
        Peer::Nftables(_) => ("nft", &["--version"]),
        Peer::Iptables(_) => ("iptables", &["--version"]),
        Peer::Haproxy => ("haproxy", &["-v"]),
        Peer::Nginx => ("sh", &["-c", "nginx -v 2>&1"]),
        Peer::Testpmd => ("dpkg-query", &["--show", "--showformat", "DPDK ${Version}", "dpdk-dev"]),
        Peer::Routing | Peer::RoutingOffloaded | Peer::Lbd(_) => return None,
    };
    let printed: Result<String, Failure> = run(Command::new(program).args(arguments));
    // HAProxy tells where its home is, too.
    let line = printed.ok()?.lines().next()?.to_owned();
    Some(line.split(" - ").next()?.trim().to_owned())
}

/// A line `name : value` of a file like /proc/cpuinfo.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}
