//! Configurations of the tests, as values: what a test is about differs from the usual in a field or two.

use std::{fmt::Write as _, net::IpAddr, path::Path};

use lbd::testbed::network::{Family, Plan, VIP};

use crate::harness::{PORTS, SOCKET, TCP_PORT, UDP_PORT};

/// A configuration: one load balancer with a few services, all with the same targets.
#[derive(Clone, Debug)]
pub struct Config {
    /// Targets by number, from 1.
    pub targets: Vec<u8>,
    /// Packet threads.
    pub workers: u32,
    /// Flows that all workers together can hold.
    pub flow_capacity: u32,
    /// Addresses of the load balancer.
    pub vips: Vec<IpAddr>,
    /// Who is in which zone.
    pub zones: Zones,
    /// Section `source_nat`, where there is one.
    pub source_nat: Option<SourceNat>,
    /// What it serves.
    pub services: Vec<Service>,
}

/// Zones by their names; nobody is in one where there are none.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    /// Of each of the load balancer's addresses.
    pub vips: Vec<&'static str>,
    /// Of each target by number, from 1, whether it is registered or not.
    pub targets: Vec<&'static str>,
}

/// Addresses and ports that stand for clients.
#[derive(Clone, Debug, Default)]
pub struct SourceNat {
    /// The load balancer's own where there are none.
    pub addresses: Vec<IpAddr>,
    /// First and last; the default range where there is none.
    pub ports: Option<(u16, u16)>,
}

/// A target group with, usually, a listener of its own on every address of the load balancer.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Name of the target group.
    pub name: &'static str,
    /// Protocol of both.
    pub protocol: Protocol,
    /// The listener's port.
    pub port: u16,
    /// The targets' port.
    pub target_port: u16,
    /// The targets' port that health checks go to, with thresholds of 2.
    pub check_port: u16,
    /// How often they do, as `key = value`.
    pub check_interval: &'static str,
    /// Lines of section `health_check` beside these.
    pub health_check: &'static [&'static str],
    /// Which targets are registered.
    pub registered: Registered,
    /// Which of the targets' addresses are registered.
    pub target_family: Family,
    /// How targets are registered.
    pub target_type: TargetType,
    /// Whose address the targets of a TCP service see.
    pub client_address: ClientAddress,
    /// Attributes of the target group beside that one, as `key = value`.
    pub attributes: &'static [&'static str],
    /// Where its listener sends new flows.
    pub forward: Forward,
    /// Attributes of the listener that are on.
    pub listener_attributes: &'static [&'static str],
}

/// Which targets the file registers with a target group.
#[derive(Clone, Copy, Debug)]
pub enum Registered {
    /// All of the configuration.
    All,
    /// Those of these numbers.
    These(&'static [u8]),
    /// None: that is for calls to do.
    ByCalls,
}

/// Where a listener sends new flows.
#[derive(Clone, Copy, Debug)]
pub enum Forward {
    /// To the target group of its service.
    Own,
    /// To target groups by name and weight.
    Weighted(&'static [(&'static str, u16)]),
    /// The same, all flows of a client to one of them.
    Sticky(&'static [(&'static str, u16)]),
    /// The service has no listener: its target group is used by others'.
    Nowhere,
}

/// Protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP. The client's address is always kept within a family.
    Udp,
}

/// How targets are registered.
#[derive(Clone, Copy, Debug)]
pub enum TargetType {
    /// By address.
    Ip,
    /// As nodes, each with several services on ports of one address.
    Instance,
}

/// Whose address targets see.
#[derive(Clone, Copy, Debug)]
pub enum ClientAddress {
    /// The client's own.
    Kept,
    /// A source address of the load balancer: full NAT.
    Hidden,
}

impl Config {
    /// Lines and datagrams over IPv4, served by all targets of a network; a worker for each queue.
    pub fn of(plan: &Plan) -> Config {
        Config {
            targets: plan.numbers().collect(),
            workers: plan.queues,
            flow_capacity: 65_536,
            vips: vec![VIP.into()],
            zones: Zones::default(),
            source_nat: None,
            services: vec![Service::LINES, Service::DATAGRAMS],
        }
    }

    /// The same over both families, to targets of both: [`Service::LINES`] and [`Service::DATAGRAMS`] have IPv4 targets,
    /// [`Service::LINES_V6`] and [`Service::DATAGRAMS_V6`] IPv6 targets.
    pub fn dual_stack(plan: &Plan) -> Config {
        let services = vec![Service::LINES, Service::DATAGRAMS, Service::LINES_V6, Service::DATAGRAMS_V6];
        Config { vips: Family::BOTH.map(Family::vip).into(), services, ..Config::of(plan) }
    }

    /// One service alone.
    pub fn only(plan: &Plan, service: Service) -> Config {
        Config { services: vec![service], ..Config::of(plan) }
    }

    /// The same without one target.
    pub fn without(&self, number: u8) -> Config {
        let targets = self.targets.iter().copied().filter(|target| *target != number).collect();
        Config { targets, ..self.clone() }
    }

    /// The text of the file, with state and socket under `directory`.
    pub fn text(&self, interfaces: &[String], directory: &Path) -> String {
        let directory = directory.display();
        let mut text = format!(
            "interfaces = {interfaces:?}\n\
             state_directory = \"{directory}/state\"\n\
             control_socket = \"{directory}/{SOCKET}\"\n\
             workers = {{ count = {} }}\n\
             flow_table = {{ capacity = {} }}\n",
            self.workers, self.flow_capacity
        );
        text += &self.source_nat.as_ref().map(SourceNat::text).unwrap_or_default();
        write!(text, "[[load_balancers]]\nname = \"test\"\naddresses = [{}]\n", self.addresses())
            .expect("a String takes all text");
        text.extend(self.services.iter().map(Service::listener));
        text.extend(self.services.iter().map(|service| service.group(self)));
        text
    }

    /// Items of the load balancer's `addresses`.
    fn addresses(&self) -> String {
        let address = |(at, vip): (usize, &IpAddr)| match self.zones.vips.get(at) {
            Some(zone) => format!("{{ address = \"{vip}\", zone = \"{zone}\" }}"),
            None => format!("\"{vip}\""),
        };
        self.vips.iter().enumerate().map(address).collect::<Vec<_>>().join(", ")
    }

    /// An item of a target group's `targets`.
    fn target(&self, family: Family, number: u8) -> String {
        let zone = self.zones.targets.get(usize::from(number) - 1);
        let zone = zone.map(|zone| format!(", zone = \"{zone}\"")).unwrap_or_default();
        format!("{{ address = \"{}\"{zone} }}", family.target(number))
    }
}

impl SourceNat {
    fn text(&self) -> String {
        let addresses = match &self.addresses[..] {
            [] => String::new(),
            addresses => format!("addresses = {}\n", list(addresses)),
        };
        let ports = self.ports.map(|(first, last)| format!("ports = \"{first}-{last}\"\n"));
        format!("[source_nat]\n{addresses}{}", ports.unwrap_or_default())
    }
}

impl Service {
    /// Lines over TCP, or HTTP.
    pub const LINES: Service = Service {
        name: "lines",
        protocol: Protocol::Tcp,
        port: TCP_PORT,
        target_port: PORTS.tcp,
        check_port: PORTS.tcp,
        check_interval: "fast_interval_ms = 1000",
        health_check: &[],
        registered: Registered::All,
        target_family: Family::V4,
        target_type: TargetType::Ip,
        client_address: ClientAddress::Kept,
        attributes: &[],
        forward: Forward::Own,
        listener_attributes: &[],
    };

    /// Datagrams.
    pub const DATAGRAMS: Service = Service {
        name: "datagrams",
        protocol: Protocol::Udp,
        port: UDP_PORT,
        target_port: PORTS.udp,
        ..Service::LINES
    };

    /// Lines to IPv6 targets, one port above [`Service::LINES`].
    pub const LINES_V6: Service =
        Service { name: "lines-v6", port: TCP_PORT + 1, target_family: Family::V6, ..Service::LINES };

    /// Datagrams to IPv6 targets, one port above [`Service::DATAGRAMS`].
    pub const DATAGRAMS_V6: Service =
        Service { name: "datagrams-v6", port: UDP_PORT + 1, target_family: Family::V6, ..Service::DATAGRAMS };

    fn listener(&self) -> String {
        let Service { protocol, port, name, .. } = self;
        let forward = match self.forward {
            Forward::Own => format!("target_group = \"{name}\""),
            Forward::Weighted(groups) => format!("forward = {{ {} }}", weighted(groups)),
            Forward::Sticky(groups) => format!("forward = {{ {}, stickiness = true }}", weighted(groups)),
            Forward::Nowhere => return String::new(),
        };
        let attributes: Vec<_> =
            self.listener_attributes.iter().map(|key| format!("\"{key}\" = true")).collect();
        format!(
            "[[load_balancers.listeners]]\n\
             protocol = \"{}\"\n\
             port = {port}\n\
             {forward}\n\
             attributes = {{ {} }}\n",
            protocol.name(),
            attributes.join(", ")
        )
    }

    fn group(&self, config: &Config) -> String {
        format!(
            "[[target_groups]]\n\
             name = \"{}\"\n\
             protocol = \"{}\"\n\
             port = {}\n\
             {}\
             {}\
             [target_groups.attributes]\n\
             {}\
             {}\n\
             [target_groups.health_check]\n\
             port = {}\n\
             {}\n\
             healthy_threshold = 2\n\
             unhealthy_threshold = 2\n\
             {}\n",
            self.name,
            self.protocol.name(),
            self.target_port,
            self.target_type.line(),
            self.targets(config),
            self.preservation(),
            self.attributes.join("\n"),
            self.check_port,
            self.check_interval,
            self.health_check.join("\n")
        )
    }

    fn targets(&self, config: &Config) -> String {
        let numbers = match self.registered {
            Registered::All => &config.targets,
            Registered::These(numbers) => numbers,
            Registered::ByCalls => return String::new(),
        };
        let targets: Vec<_> =
            numbers.iter().map(|&number| config.target(self.target_family, number)).collect();
        format!("targets = [{}]\n", targets.join(", "))
    }

    fn preservation(&self) -> &'static str {
        match (self.protocol, self.client_address) {
            (Protocol::Udp, _) => "",
            (Protocol::Tcp, ClientAddress::Kept) => "preserve_client_ip.enabled = true\n",
            (Protocol::Tcp, ClientAddress::Hidden) => "preserve_client_ip.enabled = false\n",
        }
    }
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        }
    }
}

impl TargetType {
    fn line(self) -> &'static str {
        match self {
            TargetType::Ip => "",
            TargetType::Instance => "target_type = \"instance\"\n",
        }
    }
}

/// Key `target_groups` of a forward action.
fn weighted(groups: &[(&str, u16)]) -> String {
    let group = |(name, weight): &(&str, u16)| format!("{{ name = \"{name}\", weight = {weight} }}");
    format!("target_groups = [{}]", groups.iter().map(group).collect::<Vec<_>>().join(", "))
}

/// A TOML array of addresses.
fn list(addresses: &[IpAddr]) -> String {
    format!("{:?}", addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>())
}
