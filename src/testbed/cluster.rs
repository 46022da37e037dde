//! A Kubernetes cluster behind the load balancer, as the VPC's CNI plugin and kube-proxy make one on EC2: who sends what to whom is
//! decided by the same routes, policy rules and packet rules, so that every path of a packet can be walked, tapped and broken.
//!
//! ```text
//!  client 198.18.0.2 -- [router] -- 198.19.1.1 -- [switch: subnet 198.19.1.0/24]
//!                                                   |-- [lb] 198.19.1.10, VIPs 198.18.100.1 (zone a) and .2 (zone b), one link
//!                                                   |-- [node1] eth0 .50 -- [pod51] .51        zone a
//!                                                   |                   `-- [pod52] .52
//!                                                   |-- [node2] eth0 .60                       zone b
//!                                                   `--         eth1 .70 -- [pod71] .71, whose packets leave by table 2
//! ```
//!
//! What a file below says: `places` who is where, `services` what is served, `routing` the routes and rules of everybody,
//! `kube_proxy` the nodes' packet rules. Needs the programs `ip` and `nft`.

use std::{
    io::{self, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use lb_core::tables::Mac;

use super::{
    Doing, TestbedError,
    cleanup::unique_name,
    namespace::Namespace,
    network::Offload,
    program::Program,
    tap::LinkEnd,
    target::Target,
    wiring::{HOST_LINK, Wiring, create_bridge, join_bridge, set_mtu},
};
use health_node_port::HealthNodePort;
use places::{FIRST_NIC, Node, Pod, SECOND_NIC};
use routing::{Place, ROUTING, Return, TO_CLIENT, VPC};
use services::{Endpoints, POD_PORTS, Policy, Service};

mod health_node_port;
mod kube_proxy;
pub mod places;
pub mod routing;
pub mod services;

/// What the namespaces of a cluster are called, after its prefix and a `-`.
pub fn roles() -> impl Iterator<Item = &'static str> {
    ["client", "router", "lb", "switch"]
        .into_iter()
        .chain(Node::ALL.map(Node::name))
        .chain(Pod::ALL.map(Pod::name))
}

/// The programs that a cluster cannot be made without.
pub const PROGRAMS: [Program; 2] =
    [Program { name: "ip", package: "iproute2" }, Program { name: "nft", package: "nftables" }];

/// A built cluster, with everything running but the load balancer's daemon. Dropping it removes everything.
#[derive(Debug)]
pub struct Cluster {
    /// By pod.
    servers: Vec<Target>,
    health: Vec<HealthOf>,
    /// Where the client is.
    pub client: Namespace,
    /// The VPC's router.
    pub router: Namespace,
    /// Where the load balancer runs.
    pub lb: Namespace,
    switch: Namespace,
    /// By node.
    nodes: Vec<Namespace>,
    /// By pod.
    pods: Vec<Namespace>,
    /// Each with its near and its far end.
    links: Vec<[End; 2]>,
    endpoints: Vec<Endpoints>,
    returns: Return,
}

/// A service's healthCheckNodePort on a node.
#[derive(Debug)]
struct HealthOf {
    service: &'static str,
    node: Node,
    server: HealthNodePort,
}

/// One end of a link.
#[derive(Clone, Debug)]
struct End {
    owner: Owner,
    link: String,
    mac: Mac,
}

/// Whose namespace an end is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Client,
    Router,
    Lb,
    Switch,
    Node(Node),
    Pod(Pod),
}

impl Cluster {
    /// Builds the cluster, with names that carry this process's id.
    ///
    /// # Errors
    /// What could not be made and why; what was made before is removed.
    pub fn build() -> Result<Cluster, TestbedError> {
        Cluster::build_named(&unique_name())
    }

    /// The same with names that begin with `prefix`.
    ///
    /// # Errors
    /// The same.
    pub fn build_named(prefix: &str) -> Result<Cluster, TestbedError> {
        let namespace = |role: &str| Namespace::create(format!("{prefix}-{role}"));
        let mut cluster = Cluster {
            servers: Vec::new(),
            health: Vec::new(),
            client: namespace("client")?,
            router: namespace("router")?,
            lb: namespace("lb")?,
            switch: namespace("switch")?,
            nodes: Node::ALL.iter().map(|node| namespace(node.name())).collect::<Result<_, _>>()?,
            pods: Pod::ALL.iter().map(|pod| namespace(pod.name())).collect::<Result<_, _>>()?,
            links: Vec::new(),
            endpoints: services::ALL.map(|service| Endpoints { service, pods: Pod::ALL.into() }).into(),
            returns: Return::Nowhere,
        };
        cluster.settle_kernels()?;
        cluster.lay_links()?;
        cluster.route()?;
        cluster.set_return(Return::ByNodes)?;
        cluster.start_servers()?;
        cluster.apply_endpoints()?;
        Ok(cluster)
    }

    /// A node's namespace.
    pub fn node(&self, node: Node) -> &Namespace {
        &self.nodes[node as usize]
    }

    /// A pod's namespace.
    pub fn pod(&self, pod: Pod) -> &Namespace {
        &self.pods[pod as usize]
    }

    /// What runs in a pod.
    pub fn server(&mut self, pod: Pod) -> &mut Target {
        &mut self.servers[pod as usize]
    }

    /// Every end of every link as one to tap, called as `node1/eth0`: but for the switch's ports, which do nothing to a frame, and for the
    /// load balancer's link, which is tapped from the switch.
    pub fn links(&self) -> Vec<LinkEnd<'_>> {
        let tap = |end: &End| LinkEnd::at(self.namespace(end.owner), &end.link, &end.place());
        let taps = |[near, far]: &[End; 2]| match (near.owner, far.owner) {
            (Owner::Lb, _) => vec![LinkEnd::across(self.namespace(far.owner), &far.link, &near.place())],
            (_, Owner::Switch) => vec![tap(near)],
            _ => vec![tap(near), tap(far)],
        };
        self.links.iter().flat_map(taps).collect()
    }

    /// The MAC address of the end of a link called as `node1/eth0`; the same in every cluster.
    pub fn mac(&self, place: &str) -> Option<Mac> {
        self.links.iter().flatten().find(|end| end.place() == place).map(|end| end.mac)
    }

    /// From now on a service has these pods, as after the pods' deployment moved: the rules of both nodes change, and what they
    /// say at its healthCheckNodePort. Connections that stand go on.
    ///
    /// # Errors
    /// When the rules are refused.
    pub fn set_endpoints(&mut self, service: &Service, pods: &[Pod]) -> Result<(), TestbedError> {
        self.endpoints.retain(|endpoints| endpoints.service.name != service.name);
        self.endpoints.push(Endpoints { service: *service, pods: pods.to_vec() });
        self.apply_endpoints()
    }

    /// Changes how replies to clients find back to the load balancer.
    ///
    /// # Errors
    /// When a rule is refused.
    pub fn set_return(&mut self, returns: Return) -> Result<(), TestbedError> {
        self.change_return("delete", self.returns)?;
        self.returns = returns;
        self.change_return("add", returns)
    }

    /// Sets the longest IP packet, in bytes, that a pod's link takes in either direction.
    ///
    /// # Errors
    /// When the link cannot have this.
    pub fn narrow(&self, pod: Pod, bytes: u32) -> Result<(), TestbedError> {
        set_mtu(self.pod(pod), HOST_LINK, bytes)?;
        set_mtu(self.node(pod.node()), pod.name(), bytes)
    }

    fn change_return(&self, verb: &str, returns: Return) -> Result<(), TestbedError> {
        let Some((places, rule)) = returns.rule() else { return Ok(()) };
        places.iter().try_for_each(|place| {
            let namespace = match place {
                Place::Node(node) => self.node(*node),
                Place::Router => &self.router,
            };
            ip(namespace, &format!("rule {verb} {rule}\n"))
        })
    }

    fn namespace(&self, owner: Owner) -> &Namespace {
        match owner {
            Owner::Client => &self.client,
            Owner::Router => &self.router,
            Owner::Lb => &self.lb,
            Owner::Switch => &self.switch,
            Owner::Node(node) => self.node(node),
            Owner::Pod(pod) => self.pod(pod),
        }
    }

    /// Everybody but the switch speaks IPv4 alone, so that nothing moves unasked.
    fn settle_kernels(&self) -> Result<(), TestbedError> {
        let all = [&self.client, &self.router, &self.lb].into_iter().chain(&self.nodes).chain(&self.pods);
        for namespace in all.chain([&self.switch]) {
            namespace.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        }
        for namespace in self.nodes.iter().chain([&self.router]) {
            ROUTING.iter().try_for_each(|(key, value)| namespace.set_sysctl(key, value))?;
        }
        Ok(())
    }

    /// Lays all links, in an order that is part of their MAC addresses.
    fn lay_links(&mut self) -> Result<(), TestbedError> {
        let bridge = create_bridge(&self.switch)?;
        let mut wiring = Wiring::new(QUEUES, Offload::Off);
        self.lay(&mut wiring, (Owner::Client, HOST_LINK), (Owner::Router, TO_CLIENT))?;
        let node = |node: Node| Owner::Node(node);
        let ports = [
            (Owner::Router, VPC, "to-router"),
            (Owner::Lb, HOST_LINK, "to-lb"),
            (node(Node::One), FIRST_NIC, "to-node1"),
            (node(Node::Two), FIRST_NIC, "to-node2"),
            (node(Node::Two), SECOND_NIC, "to-node2-b"),
        ];
        for (owner, link, port) in ports {
            self.lay(&mut wiring, (owner, link), (Owner::Switch, port))?;
            join_bridge(&self.switch, port, bridge)?;
        }
        for pod in Pod::ALL {
            self.lay(&mut wiring, (Owner::Pod(pod), HOST_LINK), (node(pod.node()), pod.name()))?;
        }
        Ok(())
    }

    fn lay(
        &mut self,
        wiring: &mut Wiring,
        near: (Owner, &str),
        far: (Owner, &str),
    ) -> Result<(), TestbedError> {
        let macs = wiring.lay((self.namespace(near.0), near.1), (self.namespace(far.0), far.1))?;
        let end = |(owner, link): (Owner, &str), mac| End { owner, link: link.to_owned(), mac };
        self.links.push([end(near, macs[0]), end(far, macs[1])]);
        Ok(())
    }

    /// Gives everybody addresses, routes and rules, and nodes their marks.
    fn route(&self) -> Result<(), TestbedError> {
        ip(&self.client, &routing::client())?;
        ip(&self.router, &routing::router())?;
        ip(&self.lb, &routing::lb())?;
        for node in Node::ALL {
            for nic in [Some(FIRST_NIC), node.second_address().map(|_| SECOND_NIC)].into_iter().flatten() {
                // ARP for pods is answered at once.
                self.node(node).set_sysctl(&format!("net/ipv4/neigh/{nic}/proxy_delay"), "0")?;
            }
            ip(self.node(node), &routing::node(node))?;
            nft(self.node(node), &routing::marks(self.mac_of(Owner::Lb, HOST_LINK)?))?;
        }
        Pod::ALL.into_iter().try_for_each(|pod| {
            let node_end = self.mac_of(Owner::Node(pod.node()), pod.name())?;
            ip(self.pod(pod), &routing::pod(pod, node_end))
        })
    }

    fn mac_of(&self, owner: Owner, link: &str) -> Result<Mac, TestbedError> {
        let end = self.links.iter().flatten().find(|end| end.owner == owner && end.link == link);
        end.map(|end| end.mac)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
            .doing(|| format!("find the link {link}"))
    }

    fn start_servers(&mut self) -> Result<(), TestbedError> {
        for pod in Pod::ALL {
            let mut server = Target::new(pod.name().to_owned(), pod.address(), POD_PORTS);
            server.start(self.pod(pod))?;
            self.servers.push(server);
        }
        for service in services::ALL {
            let Policy::Local { health_check_node_port: port } = service.policy else { continue };
            for node in Node::ALL {
                let start = || HealthNodePort::start(service.name, port);
                let server = self.node(node).within(start);
                let server = server.doing(|| format!("listen on port {port} of {}", node.name()))?;
                self.health.push(HealthOf { service: service.name, node, server });
            }
        }
        Ok(())
    }

    fn apply_endpoints(&self) -> Result<(), TestbedError> {
        for node in Node::ALL {
            nft(self.node(node), &kube_proxy::ruleset(node, &self.endpoints))?;
        }
        for health in &self.health {
            let of_service = self.endpoints.iter().filter(|of| of.service.name == health.service);
            let local = of_service.flat_map(|of| &of.pods).filter(|pod| pod.node() == health.node);
            health.server.set_local_endpoints(local.count());
        }
        Ok(())
    }
}

impl End {
    /// What people call it.
    fn place(&self) -> String {
        let owner = match self.owner {
            Owner::Client => "client",
            Owner::Router => "router",
            Owner::Lb => "lb",
            Owner::Switch => "switch",
            Owner::Node(node) => node.name(),
            Owner::Pod(pod) => pod.name(),
        };
        format!("{owner}/{}", self.link)
    }
}

/// The load balancer's configuration for this cluster, with state and control socket (`control/lbd.sock`) below `directory`.
pub fn configuration(directory: &Path) -> String {
    CONFIGURATION.replace(SAMPLE_DIRECTORY, &directory.display().to_string())
}

/// Changes addresses, routes and rules.
fn ip(namespace: &Namespace, lines: &str) -> Result<(), TestbedError> {
    tell(namespace.command(Path::new("ip")).args(["-batch", "-"]), lines)
        .doing(|| format!("set up routes of {} by ip", namespace.name()))
}

/// Changes packet rules.
fn nft(namespace: &Namespace, ruleset: &str) -> Result<(), TestbedError> {
    tell(namespace.command(Path::new("nft")).args(["-f", "-"]), ruleset)
        .doing(|| format!("set up packet rules of {} by nft", namespace.name()))
}

/// Runs a program that reads what to do, and fails with what it complains of.
fn tell(command: &mut Command, input: &str) -> io::Result<()> {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    // It may end without having read all, and then says why; its end of the pipe is closed when this one is dropped.
    drop(child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(io::Error::other(complaint.into_owned())) }
}

/// Receive and transmit queues of every link.
const QUEUES: u32 = 2;
const CONFIGURATION: &str = include_str!("../../configs/cluster.toml");
/// Where the sample configuration keeps state and socket.
const SAMPLE_DIRECTORY: &str = "/tmp/lbd-cluster";
