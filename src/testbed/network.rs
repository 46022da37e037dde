//! Whole test networks: a client, a load balancer's host and targets, joined as one of four layouts.
//!
//! ```text
//!  Layout::Direct     client -- lb0 [lb] lb1 -- target 1                     two-armed, a link for each target
//!                                        lb2 -- target 2
//!  Layout::Switched   client -- lb0 [lb] lb1 -- switch -- targets            two-armed, two links
//!  Layout::OneArmed   client, targets -- switch -- lb0 [lb]                  one link for both directions
//!  Layout::Routed     client -- router -- lb0 [lb] lb1 -- router -- targets  two-armed, a hop on each side
//! ```
//!
//! Addresses are the same in each, of both families: client 198.18.0.2 and 2001:db8::2 behind gateway 198.18.0.1 and 2001:db8::1,
//! target `i` (from 1) 198.19.i.2 and 2001:db8:1:i::2 behind gateway 198.19.i.1 and 2001:db8:1:i::1. The gateways are the
//! load balancer's host, which does not forward by itself, so whatever arrives was forwarded by what runs there; or the routers,
//! which are joined to it by 198.18.1.0/24 and 198.19.0.0/24 (2001:db8:0:1::/64 and 2001:db8:1::/64).

use std::{
    net::{IpAddr, UdpSocket},
    ops::RangeInclusive,
};

use super::{
    Doing, TestbedError,
    cleanup::unique_name,
    namespace::Namespace,
    wiring::{
        HOST_LINK, UPLINK, Wiring, add_address, add_route, create_bridge, forward, index_in, join_bridge,
        set_mtu,
    },
};

pub use super::addresses::{CLIENT, Family, GATEWAY, Side, VIP, target_address};

/// How client, load balancer and targets are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Two-armed: the client on one link, every target on a link of its own.
    Direct,
    /// Two-armed: the client on one link, all targets behind a switch on another.
    Switched,
    /// One-armed: client and targets behind one switch, the load balancer with a single link.
    OneArmed,
    /// Two-armed: the client behind a router on one link, all targets behind another on the other.
    Routed,
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

impl Plan {
    /// The numbers of its targets.
    pub fn numbers(&self) -> RangeInclusive<u8> {
        1..=self.targets
    }
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
    between: Between,
}

/// What stands between the load balancer and the others.
#[derive(Debug)]
enum Between {
    Nothing,
    Switch(Namespace),
    Routers { client: Namespace, targets: Namespace },
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
        let targets =
            plan.numbers().map(|number| namespace(&format!("target{number}"))).collect::<Result<_, _>>()?;
        let between = match plan.layout {
            Layout::Direct => Between::Nothing,
            Layout::Switched | Layout::OneArmed => Between::Switch(namespace("switch")?),
            Layout::Routed => {
                Between::Routers { client: namespace("router1")?, targets: namespace("router2")? }
            }
        };
        let mut network = Network { client, lb, targets, interfaces: Vec::new(), between };
        network.join(plan)?;
        Family::BOTH.into_iter().try_for_each(|family| network.address(plan.layout, family))?;
        Ok(network)
    }

    /// The switch, in layouts that have one. Its link `uplink` leads to the load balancer.
    pub fn switch(&self) -> Option<&Namespace> {
        match &self.between {
            Between::Switch(switch) => Some(switch),
            Between::Nothing | Between::Routers { .. } => None,
        }
    }

    /// Lets the load balancer's kernel forward packets, to test the network itself.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn forward_by_kernel(&self) -> Result<(), TestbedError> {
        forward(&self.lb)
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
        set_mtu(&self.lb, name, bytes)
    }

    /// Sets the longest IP packet, in bytes, that the router of one side sends on to the client or to the targets, as a narrow
    /// link behind it would; they go on sending and receiving what they did. Routers are there in [`Layout::Routed`] only.
    ///
    /// # Errors
    /// When there is no router, or its links cannot have this.
    pub fn narrow(&self, side: Side, bytes: u32) -> Result<(), TestbedError> {
        match (side, &self.between) {
            (Side::Client, Between::Routers { client, .. }) => set_mtu(client, &port_to(0), bytes),
            (Side::Targets, Between::Routers { targets, .. }) => {
                self.numbers().try_for_each(|number| set_mtu(targets, &port_to(number), bytes))
            }
            (_, Between::Nothing | Between::Switch(_)) => {
                Err(std::io::Error::from(std::io::ErrorKind::NotFound)).doing(|| "find a router".into())
            }
        }
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
    pub fn lb_has(&self, address: impl Into<IpAddr>) -> bool {
        let address = address.into();
        self.lb.within(|| UdpSocket::bind((address, 0)).is_ok())
    }

    /// Lays all links.
    fn join(&mut self, plan: &Plan) -> Result<(), TestbedError> {
        let mut wiring = Wiring::new(plan.queues, plan.offload);
        match &self.between {
            Between::Nothing => {
                wiring.wire_lb(&self.client, HOST_LINK, &self.lb)?;
                for target in &self.targets {
                    wiring.wire_lb(target, HOST_LINK, &self.lb)?;
                }
            }
            Between::Switch(switch) => self.join_by_switch(&mut wiring, plan.layout, switch)?,
            Between::Routers { client, targets } => {
                wiring.lay((&self.client, HOST_LINK), (client, &port_to(0)))?;
                wiring.wire_lb(client, UPLINK, &self.lb)?;
                for (number, target) in self.numbers().zip(&self.targets) {
                    wiring.lay((target, HOST_LINK), (targets, &port_to(number)))?;
                }
                wiring.wire_lb(targets, UPLINK, &self.lb)?;
            }
        }
        self.interfaces = wiring.interfaces;
        Ok(())
    }

    fn join_by_switch(
        &self,
        wiring: &mut Wiring,
        layout: Layout,
        switch: &Namespace,
    ) -> Result<(), TestbedError> {
        let bridge = create_bridge(switch)?;
        match layout {
            Layout::OneArmed => wiring.wire_switch(&self.client, switch, bridge)?,
            _ => wiring.wire_lb(&self.client, HOST_LINK, &self.lb)?,
        }
        for target in &self.targets {
            wiring.wire_switch(target, switch, bridge)?;
        }
        wiring.wire_lb(switch, UPLINK, &self.lb)?;
        join_bridge(switch, UPLINK, bridge)
    }

    /// Gives addresses and routes of one family.
    fn address(&self, layout: Layout, family: Family) -> Result<(), TestbedError> {
        let (gateway, link) = self.gateway_of(layout, 0);
        add_address(gateway, &link, family.gateway())?;
        add_address(&self.client, HOST_LINK, family.client())?;
        add_route(&self.client, family.everywhere(), family.gateway())?;
        for (number, target) in self.numbers().zip(&self.targets) {
            let (gateway, link) = self.gateway_of(layout, number);
            add_address(gateway, &link, family.target_gateway(number))?;
            add_address(target, HOST_LINK, family.target(number))?;
            add_route(target, family.everywhere(), family.target_gateway(number))?;
        }
        self.route(family)
    }

    /// Who is the gateway of the client (0) or of a target, and by which link.
    fn gateway_of(&self, layout: Layout, number: u8) -> (&Namespace, String) {
        let arm = match (layout, number) {
            (Layout::OneArmed, _) | (_, 0) => 0,
            (Layout::Direct, _) => usize::from(number),
            _ => 1,
        };
        match &self.between {
            Between::Routers { client, .. } if number == 0 => (client, port_to(number)),
            Between::Routers { targets, .. } => (targets, port_to(number)),
            _ => (&self.lb, self.interfaces[arm].clone()),
        }
    }

    /// Joins the routers, if there are any, to the load balancer's host.
    fn route(&self, family: Family) -> Result<(), TestbedError> {
        let Between::Routers { client, targets } = &self.between else { return Ok(()) };
        for (router, side, link) in
            [(client, Side::Client, &self.interfaces[0]), (targets, Side::Targets, &self.interfaces[1])]
        {
            let (here, there) = (family.transit(side, 1), family.transit(side, 2));
            forward(router)?;
            add_address(&self.lb, link, here)?;
            add_address(router, UPLINK, there)?;
            add_route(router, family.everywhere(), here)?;
            match side {
                Side::Client => add_route(&self.lb, family.client_network(), there)?,
                Side::Targets => self
                    .numbers()
                    .try_for_each(|number| add_route(&self.lb, family.target_network(number), there))?,
            }
        }
        Ok(())
    }

    /// The numbers of the targets.
    fn numbers(&self) -> impl Iterator<Item = u8> + use<> {
        let count = self.targets.len();
        (1..=u8::MAX).take(count)
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

/// A router's link to the client (0) or to a target.
fn port_to(number: u8) -> String {
    format!("port{number}")
}
