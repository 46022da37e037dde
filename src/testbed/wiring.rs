//! The pieces that networks are put together from: links between namespaces, switches, addresses, routes.

use std::{net::IpAddr, os::fd::AsFd};

use lb_core::tables::Mac;

use super::{
    Doing, TestbedError,
    addresses::Family,
    namespace::Namespace,
    netlink::{VethEnd, index_of},
    network::Offload,
    offload,
};

/// Lays links and counts them, so that each has MAC addresses of its own, the same in every run.
pub(super) struct Wiring {
    queues: u32,
    offload: Offload,
    links: u8,
    /// The load balancer's links so far.
    pub(super) interfaces: Vec<String>,
}

impl Wiring {
    /// Nothing is laid yet. Every end will have so many receive and transmit queues.
    pub(super) fn new(queues: u32, offload: Offload) -> Wiring {
        Wiring { queues, offload, links: 0, interfaces: Vec::new() }
    }

    /// A link from `host` to the next interface of the load balancer.
    pub(super) fn wire_lb(
        &mut self,
        host: &Namespace,
        host_end: &str,
        lb: &Namespace,
    ) -> Result<(), TestbedError> {
        let name = format!("lb{}", self.interfaces.len());
        self.lay((host, host_end), (lb, &name))?;
        self.interfaces.push(name);
        Ok(())
    }

    /// A link from `host` to a new port of the switch.
    pub(super) fn wire_switch(
        &mut self,
        host: &Namespace,
        switch: &Namespace,
        bridge: u32,
    ) -> Result<(), TestbedError> {
        let port = format!("port{}", self.links);
        self.lay((host, HOST_LINK), (switch, &port))?;
        join_bridge(switch, &port, bridge)
    }

    /// A link between two ends, each a namespace and the name of the link in it. The MAC addresses of both.
    pub(super) fn lay(
        &mut self,
        near: (&Namespace, &str),
        far: (&Namespace, &str),
    ) -> Result<[Mac; 2], TestbedError> {
        self.links += 1;
        let queues = self.queues;
        let macs = [0, 1].map(|end| Mac([0x02, 0x1b, 0, 0, end, self.links]));
        let near_end = VethEnd { name: near.1, mac: macs[0].0, queues };
        let far_end = VethEnd { name: far.1, mac: macs[1].0, queues };
        let what = || format!("lay the link {}/{} - {}/{}", near.0.name(), near.1, far.0.name(), far.1);
        near.0.routes().create_veth(&near_end, &far_end, far.0.as_fd()).doing(what)?;
        for (namespace, name) in [near, far] {
            if self.offload == Offload::Off {
                namespace
                    .within(|| offload::turn_off(name))
                    .doing(|| format!("turn offload of {name} off"))?;
            }
            let index = index_in(namespace, name)?;
            namespace.routes().set_up(index).doing(|| format!("set {name} up"))?;
        }
        Ok(macs)
    }
}

/// Makes a bridge in the switch's namespace and returns its index.
pub(super) fn create_bridge(switch: &Namespace) -> Result<u32, TestbedError> {
    switch.routes().create_bridge(BRIDGE).doing(|| "create a bridge".into())?;
    let index = index_in(switch, BRIDGE)?;
    switch.routes().set_up(index).doing(|| "set the bridge up".into())?;
    Ok(index)
}

/// Makes link `port` one of the bridge's.
pub(super) fn join_bridge(switch: &Namespace, port: &str, bridge: u32) -> Result<(), TestbedError> {
    let index = index_in(switch, port)?;
    switch.routes().enslave(index, bridge).doing(|| format!("join {port} to the switch"))
}

/// The index of link `name`.
pub(super) fn index_in(namespace: &Namespace, name: &str) -> Result<u32, TestbedError> {
    namespace.within(|| index_of(name)).doing(|| format!("find link {name} in {}", namespace.name()))
}

/// Gives link `name` an address of its network.
pub(super) fn add_address(namespace: &Namespace, name: &str, address: IpAddr) -> Result<(), TestbedError> {
    let index = index_in(namespace, name)?;
    let what = || format!("add {address} to {name} in {}", namespace.name());
    namespace.routes().add_address(index, address, Family::from(address).prefix_length()).doing(what)
}

/// Routes what goes to `network` through `gateway`.
pub(super) fn add_route(
    namespace: &Namespace,
    network: (IpAddr, u8),
    gateway: IpAddr,
) -> Result<(), TestbedError> {
    let what = || format!("route {} by {gateway}", namespace.name());
    namespace.routes().add_route(network, gateway).doing(what)
}

/// Sets the longest IP packet that link `name` sends, in bytes.
pub(super) fn set_mtu(namespace: &Namespace, name: &str, bytes: u32) -> Result<(), TestbedError> {
    let index = index_in(namespace, name)?;
    namespace.routes().set_mtu(index, bytes).doing(|| format!("set the MTU of {name} to {bytes}"))
}

/// Lets a namespace's kernel forward packets of both families.
pub(super) fn forward(namespace: &Namespace) -> Result<(), TestbedError> {
    namespace.set_sysctl("net/ipv4/ip_forward", "1")?;
    namespace.set_sysctl("net/ipv6/conf/all/forwarding", "1")
}

/// The only link of a client or target.
pub(super) const HOST_LINK: &str = "eth0";
/// The link of a switch or router towards the load balancer.
pub(super) const UPLINK: &str = "uplink";
const BRIDGE: &str = "br0";
