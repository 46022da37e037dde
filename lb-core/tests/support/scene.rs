//! Tables for tests.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
};

use lb_core::{
    limits,
    maglev::{Candidate, Maglev},
    receive_hash::HashedFields,
    tables::*,
};

use super::*;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// Tables with a TCP listener on port 80 and a UDP listener on port 53, both to targets on port 8080.
#[derive(Clone, Debug)]
pub struct Scene {
    pub generation: u32,
    /// Number, eligible, policy of each registered target.
    pub targets: Vec<(u8, bool, FlowPolicy)>,
    pub target_family: Family,
    pub is_resolved: bool,
    /// Whether all targets are behind the next hop of the first.
    pub is_one_node: bool,
    pub hops: Vec<(IpAddr, NextHop)>,
    /// The host's own, and those of its subnets' broadcasts.
    pub host_addresses: Vec<IpAddr>,
    /// A second TCP listener on this port, to the same group.
    pub second_port: Option<u16>,
    /// The listeners of ports 80 and 53 once more, on the IPv6 VIP, to the same group.
    pub is_dual_stack: bool,
    pub preserves_client_ip: bool,
    /// Sources of all listeners.
    pub sources: Arc<Sources>,
    /// Idle timeout of the TCP listeners, in seconds.
    pub tcp_idle_s: u16,
    /// Of the UDP listeners.
    pub udp_idle_s: u16,
    /// Of all listeners.
    pub adopts_strays: bool,
    /// Of all listeners.
    pub has_syn_cookies: bool,
    /// Whether all listeners are gone, and only their flows are still known.
    pub is_closing: bool,
    /// Of the group.
    pub proxy_header: Option<HeaderPlacement>,
    /// MTU of the outside and of the inside.
    pub mtus: [u32; 2],
    /// Of both interfaces.
    pub receive_hash: Option<Arc<ReceiveHash>>,
}

impl Default for Scene {
    fn default() -> Scene {
        Scene {
            generation: 1,
            targets: (1..=3).map(|n| (n, true, FlowPolicy::Keep)).collect(),
            target_family: Family::V4,
            is_resolved: true,
            is_one_node: false,
            hops: Vec::new(),
            host_addresses: vec![HOST.into(), BROADCAST.into(), HOST6.into()],
            second_port: None,
            is_dual_stack: false,
            preserves_client_ip: true,
            sources: Sources::none(),
            tcp_idle_s: limits::TCP_IDLE_S,
            udp_idle_s: limits::UDP_IDLE_S,
            adopts_strays: false,
            has_syn_cookies: false,
            is_closing: false,
            proxy_header: None,
            mtus: [1_500; 2],
            receive_hash: None,
        }
    }
}

/// Sources with these ports, on both source addresses.
pub fn sources(ports: RangeInclusive<u16>) -> Arc<Sources> {
    Arc::new(Sources { addresses: [SOURCE.into(), SOURCE6.into()].into(), ports })
}

/// Addresses of ours in every mode's scene: a VIP, a source, and the host's.
pub fn own_addresses(family: Family) -> Vec<IpAddr> {
    match family {
        Family::V4 => [VIP, SOURCE, HOST, BROADCAST].map(IpAddr::from).to_vec(),
        Family::V6 => [VIP6, SOURCE6, HOST6].map(IpAddr::from).to_vec(),
    }
}

impl Scene {
    /// Listeners on both VIPs, with sources, to targets of one family that see clients of that family.
    pub fn dual_stack(target_family: Family) -> Scene {
        Scene { is_dual_stack: true, target_family, sources: sources(1_024..=65_535), ..Scene::default() }
    }

    /// The same, but targets never see clients.
    pub fn full_nat(target_family: Family) -> Scene {
        Scene { preserves_client_ip: false, ..Scene::dual_stack(target_family) }
    }

    /// With so many targets, all eligible.
    pub fn with_targets(self, count: u8) -> Scene {
        Scene { targets: (1..=count).map(|n| (n, true, FlowPolicy::Keep)).collect(), ..self }
    }

    /// Address and port of target `n`.
    pub fn target(&self, n: u8) -> SocketAddr {
        match self.target_family {
            Family::V4 => (target(n), 8080).into(),
            Family::V6 => (target6(n), 8080).into(),
        }
    }

    pub fn tables(&self) -> Arc<Tables> {
        let interface = |name: &str, mac, mtu| Interface {
            name: name.into(),
            mac,
            mtu,
            receive_hash: self.receive_hash.clone(),
        };
        let mut vips = vec![Vip { address: VIP.into(), ownership: Ownership::Exclusive }];
        vips.extend(
            self.is_dual_stack.then_some(Vip { address: VIP6.into(), ownership: Ownership::Exclusive }),
        );
        let ports = &self.sources.ports;
        let source =
            |&address: &IpAddr| Source { address, first_port: *ports.start(), last_port: *ports.end() };
        Arc::new(
            Tables::new(TablesParts {
                generation: self.generation,
                listeners: self.listeners(),
                groups: vec![self.group()],
                targets: self.table_of_targets(),
                interfaces: vec![
                    interface("outside", OUTSIDE_MAC, self.mtus[0]),
                    interface("inside", INSIDE_MAC, self.mtus[1]),
                ],
                vips,
                sources: self.sources.addresses.iter().map(source).collect(),
                host_addresses: self.host_addresses.clone(),
                hops: self.hops.clone(),
            })
            .unwrap(),
        )
    }

    fn listeners(&self) -> Vec<Option<Listener>> {
        let mut listeners =
            vec![self.listener(VIP, Protocol::Tcp, 80), self.listener(VIP, Protocol::Udp, 53)];
        listeners.extend(self.second_port.map(|port| self.listener(VIP, Protocol::Tcp, port)));
        if self.is_dual_stack {
            listeners
                .extend([self.listener(VIP6, Protocol::Tcp, 80), self.listener(VIP6, Protocol::Udp, 53)]);
        }
        listeners.into_iter().map(Some).collect()
    }

    fn listener(&self, vip: impl Into<IpAddr>, protocol: Protocol, port: u16) -> Listener {
        let address = vip.into();
        let idle_timeout_s = match protocol {
            Protocol::Tcp => self.tcp_idle_s,
            Protocol::Udp => self.udp_idle_s,
        };
        Listener {
            name: format!("edge@{address}/{}:{port}", protocol.name()).into(),
            endpoint: Endpoint { address, port, protocol },
            forward: if self.is_closing { Forward::closing() } else { Forward::to(TargetGroupId(0)) },
            idle_timeout_s,
            interface: OUTSIDE,
            sources: self.sources.clone(),
            adopts_strays: self.adopts_strays,
            has_syn_cookies: self.has_syn_cookies,
        }
    }

    fn group(&self) -> TargetGroup {
        let eligible: Vec<u8> = self.targets.iter().filter(|row| row.1).map(|row| row.0).collect();
        let candidates: Vec<Candidate> = eligible
            .iter()
            .map(|&n| Candidate { address: self.target(n).ip(), port: 8080, weight: 1 })
            .collect();
        let eligible = eligible.iter().map(|&n| TargetId(u32::from(n))).collect();
        let pool = Pool::new(eligible, Maglev::with_default_slots(&candidates).into());
        let group = TargetGroup::of_one_pool("web", self.preserves_client_ip, pool);
        TargetGroup { proxy_header: self.proxy_header, ..group }
    }

    fn table_of_targets(&self) -> Vec<Option<Target>> {
        let mut targets = vec![None; 256];
        for &(n, _, flow_policy) in &self.targets {
            targets[usize::from(n)] = Some(Target {
                group: TargetGroupId(0),
                address: self.target(n).ip(),
                port: 8080,
                protocols: &[Protocol::Tcp, Protocol::Udp],
                next_hop: self.is_resolved.then_some(NextHop {
                    interface: INSIDE,
                    mac: target_mac(if self.is_one_node { 1 } else { n }),
                }),
                flow_policy,
            });
        }
        targets
    }
}

/// What a device with so many queues has for a receive hash over addresses and ports.
pub fn receive_hash(queues: u16) -> Option<Arc<ReceiveHash>> {
    let (tcp4_ports, udp4_ports, tcp6_ports, udp6_ports) = (true, true, true, true);
    hash_over(queues, HashedFields { tcp4_ports, udp4_ports, tcp6_ports, udp6_ports })
}

/// The same over addresses alone.
pub fn receive_hash_without_ports(queues: u16) -> Option<Arc<ReceiveHash>> {
    hash_over(queues, HashedFields::default())
}

fn hash_over(queues: u16, fields: HashedFields) -> Option<Arc<ReceiveHash>> {
    let key: Vec<u8> = (0..40u32).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 23) as u8).collect();
    let indirection: Vec<u16> = (0..128).map(|at| at % queues).collect();
    Some(Arc::new(ReceiveHash::new(&key, &indirection, fields).unwrap()))
}
