//! Whole test networks: a client, a load balancer's host and targets, joined as one of three layouts.
//!
//! ```text
//!  Layout::Direct     client -- lb0 [lb] lb1 -- target 1          two-armed, a link for each target
//!                                        lb2 -- target 2
//!  Layout::Switched   client -- lb0 [lb] lb1 -- switch -- targets two-armed, two links
//!  Layout::OneArmed   client, targets -- switch -- lb0 [lb]       one link for both directions
//! ```
//!
//! Addresses are the same in each, inside 198.18.0.0/15 (RFC 2544 C.2.2): client 198.18.0.2 behind gateway 198.18.0.1, target
//! `i` (from 1) 198.19.i.2 behind gateway 198.19.i.1; both gateways are the load balancer's host, which does not forward by
//! itself. So whatever arrives was forwarded by what runs there.

use std::{
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsFd,
};

use super::{
    Doing, TestbedError,
    cleanup::unique_name,
    namespace::Namespace,
    netlink::{VethEnd, index_of},
    offload,
};

/// The client's address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// The load balancer's own address on the client's side.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The address that clients connect to.
pub const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 100, 1);

/// The address of target `number`, counted from 1.
pub const fn target_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 19, number, 2)
}

/// How client, load balancer and targets are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Two-armed: the client on one link, every target on a link of its own.
    Direct,
    /// Two-armed: the client on one link, all targets behind a switch on another.
    Switched,
    /// One-armed: client and targets behind one switch, the load balancer with a single link.
    OneArmed,
}

/// Who computes the checksums that clients and targets send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// The sender, so that frames look as they would on a wire.
    Off,
    /// Nobody: veth's default. Frames arrive with the sum of the pseudo-header only.
    On,
}

/// What network to build.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How it is joined.
    pub layout: Layout,
    /// Targets, at most 250.
    pub targets: u8,
    /// Receive and transmit queues of every link.
    pub queues: u32,
    /// Who computes checksums.
    pub offload: Offload,
}

/// A built network. Dropping it removes everything.
#[derive(Debug)]
pub struct Network {
    /// Where clients run.
    pub client: Namespace,
    /// Where the load balancer runs.
    pub lb: Namespace,
    /// Where targets run; target `number` is at `number - 1`.
    pub targets: Vec<Namespace>,
    /// The load balancer's links, the client's side first.
    pub interfaces: Vec<String>,
    /// The switch, in layouts that have one.
    switch: Option<Namespace>,
}

impl Network {
    /// Builds the network.
    ///
    /// # Errors
    /// What could not be made and why; what was made before is removed.
    pub fn build(plan: &Plan) -> Result<Network, TestbedError> {
        let prefix = unique_name();
        let namespace = |role: &str| Namespace::create(format!("{prefix}-{role}"));
        let (client, lb) = (namespace("client")?, namespace("lb")?);
        let targets = (1..=plan.targets)
            .map(|number| namespace(&format!("target{number}")))
            .collect::<Result<_, _>>()?;
        let switch = match plan.layout {
            Layout::Direct => None,
            Layout::Switched | Layout::OneArmed => Some(namespace("switch")?),
        };
        let mut network = Network { client, lb, targets, interfaces: Vec::new(), switch };
        network.join(plan)?;
        network.address(plan)?;
        Ok(network)
    }

    /// Lets the load balancer's kernel forward packets, to test the network itself.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn forward_by_kernel(&self) -> Result<(), TestbedError> {
        self.lb.set_sysctl("net/ipv4/ip_forward", "1")
    }

    /// Sets the load balancer's link `name` up or, as pulling the cable would, down.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn set_link(&self, name: &str, state: LinkState) -> Result<(), TestbedError> {
        let index = index_in(&self.lb, name)?;
        match state {
            LinkState::Up => self.lb.routes().set_up(index),
            LinkState::Down => self.lb.routes().set_down(index),
        }
        .doing(|| format!("set {name} {state:?}"))
    }

    /// Sets the longest IP packet that the load balancer's link `name` sends, in bytes; the far end keeps its own.
    ///
    /// # Errors
    /// When there is no such link, or it cannot have this.
    pub fn set_mtu(&self, name: &str, bytes: u32) -> Result<(), TestbedError> {
        let index = index_in(&self.lb, name)?;
        self.lb.routes().set_mtu(index, bytes).doing(|| format!("set the MTU of {name} to {bytes}"))
    }

    /// The id of the XDP program on the load balancer's link `name`, if there is one.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn xdp_program(&self, name: &str) -> Result<Option<u32>, TestbedError> {
        let index = index_in(&self.lb, name)?;
        self.lb.routes().xdp_program(index).doing(|| format!("ask for the XDP program of {name}"))
    }

    /// Whether the load balancer's host has an address as its own.
    pub fn lb_has(&self, address: Ipv4Addr) -> bool {
        self.lb.within(|| UdpSocket::bind((address, 0)).is_ok())
    }

    /// Lays all links.
    fn join(&mut self, plan: &Plan) -> Result<(), TestbedError> {
        let mut wiring = Wiring { plan, links: 0, interfaces: Vec::new() };
        match &self.switch {
            None => {
                wiring.wire_lb(&self.client, HOST_LINK, &self.lb)?;
                for target in &self.targets {
                    wiring.wire_lb(target, HOST_LINK, &self.lb)?;
                }
            }
            Some(switch) => {
                let bridge = create_bridge(switch)?;
                match plan.layout {
                    Layout::OneArmed => wiring.wire_switch(&self.client, switch, bridge)?,
                    _ => wiring.wire_lb(&self.client, HOST_LINK, &self.lb)?,
                }
                for target in &self.targets {
                    wiring.wire_switch(target, switch, bridge)?;
                }
                wiring.wire_lb(switch, LB_PORT, &self.lb)?;
                let port = index_in(switch, LB_PORT)?;
                switch
                    .routes()
                    .enslave(port, bridge)
                    .doing(|| "join the load balancer to the switch".into())?;
            }
        }
        self.interfaces = wiring.interfaces;
        Ok(())
    }

    /// Gives addresses and routes.
    fn address(&self, plan: &Plan) -> Result<(), TestbedError> {
        add_address(&self.lb, &self.interfaces[0], GATEWAY)?;
        add_address(&self.client, HOST_LINK, CLIENT)?;
        add_default_route(&self.client, GATEWAY)?;
        for (number, target) in (1..=plan.targets).zip(&self.targets) {
            let gateway = Ipv4Addr::new(198, 19, number, 1);
            let arm = match plan.layout {
                Layout::Direct => usize::from(number),
                Layout::Switched => 1,
                Layout::OneArmed => 0,
            };
            add_address(&self.lb, &self.interfaces[arm], gateway)?;
            add_address(target, HOST_LINK, target_address(number))?;
            add_default_route(target, gateway)?;
        }
        Ok(())
    }
}

/// Whether a link is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Up.
    Up,
    /// Down.
    Down,
}

/// Lays links and counts them, so that each has names and MAC addresses of its own, the same in every run.
struct Wiring<'a> {
    plan: &'a Plan,
    links: u8,
    interfaces: Vec<String>,
}

impl Wiring<'_> {
    /// A link from `host` to the next interface of the load balancer.
    fn wire_lb(&mut self, host: &Namespace, host_end: &str, lb: &Namespace) -> Result<(), TestbedError> {
        let name = format!("lb{}", self.interfaces.len());
        self.lay(host, host_end, lb, &name)?;
        self.interfaces.push(name);
        Ok(())
    }

    /// A link from `host` to a new port of the switch.
    fn wire_switch(&mut self, host: &Namespace, switch: &Namespace, bridge: u32) -> Result<(), TestbedError> {
        let port = format!("port{}", self.links);
        self.lay(host, HOST_LINK, switch, &port)?;
        let index = index_in(switch, &port)?;
        switch.routes().enslave(index, bridge).doing(|| format!("join {port} to the switch"))
    }

    fn lay(
        &mut self,
        host: &Namespace,
        host_end: &str,
        far: &Namespace,
        far_end: &str,
    ) -> Result<(), TestbedError> {
        self.links += 1;
        let queues = self.plan.queues;
        let near = VethEnd { name: host_end, mac: [0x02, 0x1b, 0, 0, 0, self.links], queues };
        let peer = VethEnd { name: far_end, mac: [0x02, 0x1b, 0, 0, 1, self.links], queues };
        let what = || format!("lay the link {}/{host_end} - {}/{far_end}", host.name(), far.name());
        host.routes().create_veth(&near, &peer, far.as_fd()).doing(what)?;
        for (namespace, name) in [(host, host_end), (far, far_end)] {
            if self.plan.offload == Offload::Off {
                namespace
                    .within(|| offload::turn_off(name))
                    .doing(|| format!("turn offload of {name} off"))?;
            }
            let index = index_in(namespace, name)?;
            namespace.routes().set_up(index).doing(|| format!("set {name} up"))?;
        }
        Ok(())
    }
}

fn create_bridge(switch: &Namespace) -> Result<u32, TestbedError> {
    switch.routes().create_bridge(BRIDGE).doing(|| "create a bridge".into())?;
    let index = index_in(switch, BRIDGE)?;
    switch.routes().set_up(index).doing(|| "set the bridge up".into())?;
    Ok(index)
}

fn index_in(namespace: &Namespace, name: &str) -> Result<u32, TestbedError> {
    namespace.within(|| index_of(name)).doing(|| format!("find link {name} in {}", namespace.name()))
}

fn add_address(namespace: &Namespace, name: &str, address: Ipv4Addr) -> Result<(), TestbedError> {
    let index = index_in(namespace, name)?;
    let what = || format!("add {address} to {name} in {}", namespace.name());
    namespace.routes().add_address(index, address, PREFIX_LENGTH).doing(what)
}

fn add_default_route(namespace: &Namespace, gateway: Ipv4Addr) -> Result<(), TestbedError> {
    let what = || format!("route {} by {gateway}", namespace.name());
    namespace.routes().add_default_route(gateway).doing(what)
}

/// The only link of a client or target.
const HOST_LINK: &str = "eth0";
/// The switch's port towards the load balancer.
const LB_PORT: &str = "uplink";
const BRIDGE: &str = "br0";
const PREFIX_LENGTH: u8 = 24;
