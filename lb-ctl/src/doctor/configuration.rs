//! Rules of a configuration on this host: whether it would start, what it takes from the host, whose addresses its VIPs are.

use std::{collections::BTreeSet, net::IpAddr};

use lb_core::{
    flow_table::FlowMemory,
    tables::{Ownership, Source},
};

use super::{
    cloud,
    facts::{ConfigFacts, Facts, InterfaceFacts},
    finding::Finding,
};
use crate::{
    compile,
    config::{Assignment, Config, LoadBalancer},
    port_set::{HOST_PORTS_FEW, HOST_PORTS_LEAST, PortSet, beside},
    state::RunMarker,
};

pub(super) fn judge(facts: &Facts, config: &ConfigFacts) -> Vec<Finding> {
    let is_running = facts.interfaces.iter().any(InterfaceFacts::has_holder);
    let mut findings = vec![layout(config)];
    findings.extend(memory(facts, config).filter(|_| !is_running));
    findings.push(source_ports(config, is_running));
    findings.extend(sockets(config));
    if !is_running {
        findings.extend(config.config.load_balancers.iter().flat_map(|lb| vips(facts, config, lb)));
    }
    findings
}

fn layout(config: &ConfigFacts) -> Finding {
    match &config.layout {
        Ok(layout) => {
            Finding::ok("workers", format!("{} would carry packets", plural(layout.workers, "worker")))
        }
        Err(words) => Finding::fault("workers", words, "lbd would not start with this configuration")
            .cure("change the configuration, or the machine, as this says"),
    }
}

/// Memory of flows is taken as they come; all of it is needed when the table is full.
fn memory(facts: &Facts, config: &ConfigFacts) -> Option<Finding> {
    let (available, layout) = (facts.host.memory_available?, config.layout.as_ref().ok()?);
    let needed = FlowMemory::bytes_for(config.config.flow_capacity) as u64 + layout.frame_bytes;
    let found = format!("up to {} MiB for flows and buffers, {} MiB are free", needed >> 20, available >> 20);
    if needed <= available {
        return Some(Finding::ok("memory", found));
    }
    let why = "when the flow table fills, the kernel ends lbd or another process for want of memory";
    let capacity = config.config.flow_capacity;
    let fitting = u64::from(capacity) * available.saturating_sub(layout.frame_bytes) / needed;
    let cure = format!("in the configuration: [flow_table] capacity = {}", (fitting / 2).next_power_of_two());
    Some(Finding::warning("memory", found, why).cure(cure))
}

/// An address that the host has, too, gives its source ports to lbd while that runs.
fn source_ports(config: &ConfigFacts, is_running: bool) -> Finding {
    let shared = shared_sources(&config.config, &config.host_addresses, &config.assigned);
    let Some(first) = shared.first() else {
        return Finding::ok("source_ports", "no source address is the host's own: its ports are no concern");
    };
    let wanted = PortSet::of(first.first_port..=first.last_port);
    let addresses: BTreeSet<String> = shared.iter().map(|source| source.address.to_string()).collect();
    let addresses = Vec::from_iter(addresses).join(", ");
    let (ephemeral, range) = (PortSet::of(config.ephemeral_ports.clone()), &config.ephemeral_ports);
    let left = ephemeral.minus(&config.reserved_ports).minus(&wanted);
    let ranges = format!(
        "{wanted} on the host's own address {addresses}; the host takes {}-{}",
        range.start(),
        range.end()
    );
    let cure = format!("in the configuration: [source_nat] ports = \"{}\"", beside(range));
    match left.count() {
        _ if ephemeral.minus(&wanted) == ephemeral => Finding::ok("source_ports", ranges),
        left @ 0..HOST_PORTS_LEAST if !is_running => {
            let why = format!(
                "{left} would be left for the host's own connections and health checks, of {HOST_PORTS_LEAST} that lbd \
                 leaves at least: it does not start"
            );
            Finding::fault("source_ports", ranges, why).cure(cure)
        }
        left @ 0..HOST_PORTS_FEW => {
            let why = format!(
                "{left} are left for the host's own connections and health checks, which fail when all are in use"
            );
            Finding::warning("source_ports", ranges, why).cure(cure)
        }
        _ => {
            let why =
                "while it runs, lbd keeps the ports of both from the host (net.ipv4.ip_local_reserved_ports)";
            Finding::note("source_ports", ranges, why).cure(cure + "   # to keep them apart")
        }
    }
}

/// Sources of a configuration whose address is the host's, too; what an lbd has assigned is its own.
pub fn shared_sources(
    config: &Config,
    host_addresses: &[(IpAddr, String)],
    assigned: &BTreeSet<IpAddr>,
) -> BTreeSet<Source> {
    let ownership = |address: IpAddr| {
        let is_there = host_addresses.iter().any(|row| row.0 == address);
        match is_there && !assigned.contains(&address) {
            true => Ownership::SharedWithHost,
            false => Ownership::Exclusive,
        }
    };
    let sources = compile::sources(config, &ownership);
    sources.into_iter().filter(|source| ownership(source.address) == Ownership::SharedWithHost).collect()
}

/// Addresses that an lbd has put on the host: those of its run marker or, where that is not to be had, all that one which runs
/// is told to assign.
pub fn assigned(config: &Config, marker: Option<RunMarker>, is_running: bool) -> BTreeSet<IpAddr> {
    match marker {
        Some(marker) => marker.assigned.into_iter().map(|row| row.address).collect(),
        None if is_running => assigned_by_daemon(config),
        None => BTreeSet::new(),
    }
}

fn assigned_by_daemon(config: &Config) -> BTreeSet<IpAddr> {
    let source_nat = &config.source_nat;
    let sources = source_nat.addresses.iter().filter(|_| source_nat.assignment == Assignment::Daemon);
    let lbs = config.load_balancers.iter().filter(|lb| lb.assignment == Assignment::Daemon);
    lbs.flat_map(LoadBalancer::addresses).chain(sources.copied()).collect()
}

fn sockets(config: &ConfigFacts) -> Option<Finding> {
    let (first, others) = config.sockets_at_risk.split_first()?;
    let more = if others.is_empty() { String::new() } else { format!(", and {} more", others.len()) };
    let found = format!("the host's {first}{more} has a port of source_nat.ports");
    let why = "what targets send to it is taken for a flow's, and lost";
    Some(
        Finding::warning("host_sockets", found, why)
            .cure("ss -tuanp   # then restart what holds it once lbd runs"),
    )
}

fn vips(facts: &Facts, config: &ConfigFacts, lb: &LoadBalancer) -> Vec<Finding> {
    let interface = &config.config.interfaces[usize::from(lb.interface.0)];
    lb.addresses().map(|vip| self::vip(facts, config, (lb, interface), vip)).collect()
}

fn vip(facts: &Facts, config: &ConfigFacts, (lb, interface): (&LoadBalancer, &str), vip: IpAddr) -> Finding {
    match (lb.assignment, has_address(config, vip)) {
        (Assignment::Daemon, None) => Finding::ok("vip", format!("{vip}: lbd will add it to {interface}")),
        (Assignment::Elsewhere, Some(at)) => Finding::ok("vip", format!("{vip} is on {at}")),
        (Assignment::Daemon, Some(at)) if config.assigned.contains(&vip) => {
            let left = "left by an lbd that did not stop cleanly; taken over at the start";
            Finding::ok("vip", format!("{vip} is on {at}: {left}"))
        }
        (Assignment::Daemon, Some(at)) => {
            let why = "it is shared: ports without a listener stay the host's, and lbd does not remove it";
            Finding::note("vip", format!("{vip} is on {at} already"), why)
                .cure(format!("ip address del {vip} dev {at}   # if it is to be lbd's alone"))
        }
        (Assignment::Elsewhere, None) => unassigned(facts, interface, vip),
    }
}

/// Nobody has it, and lbd will not add it.
fn unassigned(facts: &Facts, interface: &str, vip: IpAddr) -> Finding {
    let prefix_bits = if vip.is_ipv4() { 32 } else { 128 };
    let add = format!("ip address add {vip}/{prefix_bits} dev {interface}");
    let link = facts.interfaces.iter().find(|row| row.name == interface).and_then(|row| row.link.as_ref());
    match link.and_then(|link| link.mac.as_ref()).filter(|_| cloud::is_ec2(facts)) {
        Some(mac) => {
            let option = if vip.is_ipv4() { "assign-private-ip-addresses" } else { "assign-ipv6-addresses" };
            let addresses = if vip.is_ipv4() { "private-ip-addresses" } else { "ipv6-addresses" };
            let why = "EC2 brings packets only for addresses that its network interface has; this cannot be seen from here";
            Finding::note("vip", format!("{vip} is on no interface, and assign = false"), why)
                .cure(cloud::find_network_interface(mac))
                .cure(format!("aws ec2 {option} --network-interface-id $ENI --{addresses} {vip}"))
        }
        None => {
            let why = "nobody answers for it on the link (ARP, neighbour discovery), unless packets are routed to this host";
            Finding::warning("vip", format!("{vip} is on no interface, and assign = false"), why).cure(add)
        }
    }
}

/// The interface that has an address of the host.
fn has_address(config: &ConfigFacts, address: IpAddr) -> Option<&str> {
    config.host_addresses.iter().find(|row| row.0 == address).map(|row| row.1.as_str())
}

fn plural(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{
        finding::Severity::{self, Fault, Note, Ok, Warning},
        samples,
    };
    use crate::state::AssignedAddress;

    fn severity_of(topic: &str, change: impl FnOnce(&mut Facts)) -> Option<Severity> {
        let mut facts = samples::fit();
        change(&mut facts);
        let config = facts.config.clone().unwrap();
        judge(&facts, &config).into_iter().find(|row| row.topic == topic).map(|finding| finding.severity)
    }

    fn config(facts: &mut Facts) -> &mut ConfigFacts {
        facts.config.as_mut().unwrap()
    }

    #[test]
    fn a_start_that_would_be_refused_is_a_fault() {
        assert_eq!(severity_of("workers", |_| ()), Some(Ok));
        assert_eq!(severity_of("workers", |facts| config(facts).layout = Err("too few".into())), Some(Fault));
    }

    #[test]
    fn all_flows_need_memory() {
        let with = |available| severity_of("memory", |facts| facts.host.memory_available = available);
        assert_eq!((with(None), with(Some(8 << 30)), with(Some(128 << 20))), (None, Some(Ok), Some(Warning)));
    }

    #[test]
    fn ports_clash_only_on_an_address_of_the_host() {
        let with = |shares: bool, ports: std::ops::RangeInclusive<u16>| {
            severity_of("source_ports", |facts| {
                let config = config(facts);
                config.config.source_nat.ports = ports;
                let group = &mut config.config.target_groups[0];
                group.preserves_client_ip = false;
                if shares {
                    config.host_addresses.push(("198.18.100.1".parse().unwrap(), "eth0".into()));
                }
            })
        };
        assert_eq!(with(false, 1_024..=65_535), Some(Ok));
        assert_eq!(with(true, 1_024..=65_535), Some(Fault));
        assert_eq!(with(true, 1_024..=59_976), Some(Fault), "1,023 would be left");
        assert_eq!(with(true, 1_024..=59_975), Some(Warning));
        assert_eq!(with(true, 1_024..=56_904), Some(Warning), "4,095 are left");
        assert_eq!(with(true, 1_024..=56_903), Some(Note));
        assert_eq!(with(true, 1_024..=32_767), Some(Ok));
    }

    #[test]
    fn what_runs_already_has_its_ports_and_addresses() {
        let mut facts = samples::fit();
        facts.interfaces[0].link.as_mut().unwrap().holder = Some(7);
        let config = config(&mut facts);
        config.config.target_groups[0].preserves_client_ip = false;
        let vip = "198.18.100.1".parse().unwrap();
        config.host_addresses.push((vip, "eth0".into()));
        assert_eq!(assigned(&config.config, None, false), BTreeSet::new());
        config.assigned = assigned(&config.config, None, true);
        assert_eq!(config.assigned, BTreeSet::from([vip]), "as it is told to");
        let config = config.clone();
        let findings = judge(&facts, &config);
        assert!(
            findings.iter().all(|finding| finding.severity == Ok && finding.topic != "vip"),
            "{findings:#?}"
        );
    }

    #[test]
    fn what_an_lbd_left_behind_is_taken_over() {
        let address: IpAddr = "198.18.100.1".parse().unwrap();
        let row = AssignedAddress { interface: "eth0".into(), address };
        let marker = || RunMarker { pid: 7, assigned: vec![row.clone()] };
        let of = |topic: &str, marker| {
            severity_of(topic, |facts| {
                let config = config(facts);
                config.config.target_groups[0].preserves_client_ip = false;
                config.host_addresses.push((address, "eth0".into()));
                config.assigned = assigned(&config.config, marker, false);
            })
        };
        assert_eq!((of("vip", None), of("source_ports", None)), (Some(Note), Some(Fault)));
        assert_eq!((of("vip", Some(marker())), of("source_ports", Some(marker()))), (Some(Ok), Some(Ok)));
    }

    #[test]
    fn vips() {
        let with = |assignment, is_there: bool, vendor: Option<&str>| {
            severity_of("vip", |facts| {
                facts.host.vendor = vendor.map(Into::into);
                let config = config(facts);
                config.config.load_balancers[0].assignment = assignment;
                if is_there {
                    config.host_addresses.push(("198.18.100.1".parse().unwrap(), "eth0".into()));
                }
            })
        };
        assert_eq!(with(Assignment::Daemon, false, None), Some(Ok));
        assert_eq!(with(Assignment::Daemon, true, None), Some(Note));
        assert_eq!(with(Assignment::Elsewhere, true, None), Some(Ok));
        assert_eq!(with(Assignment::Elsewhere, false, None), Some(Warning));
        assert_eq!(with(Assignment::Elsewhere, false, Some("Amazon EC2")), Some(Note));
    }

    #[test]
    fn sockets_of_the_host_are_named() {
        let sockets = || vec!["TCP socket 198.18.0.2:5000".into(), "UDP socket 0.0.0.0:5001".into()];
        assert_eq!(
            severity_of("host_sockets", |facts| config(facts).sockets_at_risk = sockets()),
            Some(Warning)
        );
        assert_eq!(severity_of("host_sockets", |_| ()), None);
    }
}
