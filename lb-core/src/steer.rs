//! Which frames are ours: the twin of the XDP program `lb-io/bpf/redirect.bpf.c`, over the same two maps.
//!
//! Both must decide alike for every frame; a test runs them side by side. Keys and values are kept as the program reads
//! them: addresses as 16 bytes (IPv4 as ::ffff:a.b.c.d), ports in network order.

mod packet;

use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    steer::packet::{Family, Packet, Ports},
    tables::{Endpoint, Ownership, Protocol, Source, Tables},
    verdict::Reason,
    wire::octets,
};

/// Bits of an address's roles, in the map `addresses`.
pub mod role {
    /// A load balancer's address.
    pub const VIP: u32 = 1;
    /// One of the host's own addresses; with [`VIP`] when they share it.
    pub const HOST: u32 = 2;
    /// A target of a TCP listener.
    pub const TARGET_TCP: u32 = 4;
    /// A target of a UDP listener.
    pub const TARGET_UDP: u32 = 8;
    /// Where flows that do not keep the client's address come from, for a range of its ports.
    pub const SOURCE: u32 = 16;
}

/// Bits of an endpoint's roles, the value of the map `endpoints`.
pub mod endpoint_role {
    /// A listener.
    pub const LISTENER: u32 = 1;
    /// A target that a listener can send flows to.
    pub const TARGET: u32 = 2;
}

/// Key of the map `addresses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressKey(pub [u8; 16]);

/// Key of the map `endpoints`: address (16 bytes), port in network order (2), protocol (1), zero (1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointKey(pub [u8; 20]);

impl From<IpAddr> for AddressKey {
    fn from(address: IpAddr) -> AddressKey {
        AddressKey(octets(address))
    }
}

impl From<&Endpoint> for EndpointKey {
    fn from(endpoint: &Endpoint) -> EndpointKey {
        EndpointKey::new(
            AddressKey::from(endpoint.address),
            endpoint.port.to_be_bytes(),
            endpoint.protocol as u8,
        )
    }
}

impl EndpointKey {
    fn new(address: AddressKey, port: [u8; 2], protocol: u8) -> EndpointKey {
        let mut key = [0; 20];
        key[..16].copy_from_slice(&address.0);
        key[16..18].copy_from_slice(&port);
        key[18] = protocol;
        EndpointKey(key)
    }
}

/// Value of the map `addresses`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressEntry {
    /// Bits of [`role`].
    pub roles: u32,
    /// First port, in host order, that is the load balancer's where the address is a source; otherwise 0.
    pub first_port: u16,
    /// Last such port.
    pub last_port: u16,
}

impl AddressEntry {
    /// As the XDP program reads it, in this machine's byte order: roles (4 bytes), first port (2), last port (2).
    pub fn to_bytes(self) -> [u8; 8] {
        let [a, b, c, d] = self.roles.to_ne_bytes();
        let [first, last] = [self.first_port, self.last_port].map(u16::to_ne_bytes);
        [a, b, c, d, first[0], first[1], last[0], last[1]]
    }

    /// Makes it a source. One range stands for all that the address is given.
    fn add_source(&mut self, source: &Source) {
        let is_first = !self.has(role::SOURCE);
        self.roles |= role::SOURCE;
        self.first_port = if is_first { source.first_port } else { self.first_port.min(source.first_port) };
        self.last_port = self.last_port.max(source.last_port);
    }

    fn has(&self, roles: u32) -> bool {
        self.roles & roles != 0
    }

    fn is_source_port(&self, port: [u8; 2]) -> bool {
        self.has(role::SOURCE) && (self.first_port..=self.last_port).contains(&u16::from_be_bytes(port))
    }
}

/// The contents of the two maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steering {
    /// What each address is.
    pub addresses: BTreeMap<AddressKey, AddressEntry>,
    /// Roles by endpoint.
    pub endpoints: BTreeMap<EndpointKey, u32>,
}

/// What the XDP program does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steer {
    /// Ours: to this queue's socket, or dropped while there is none.
    Redirect,
    /// The kernel's, for this reason.
    Pass(Reason),
}

impl Steering {
    /// What the tables and the host's own addresses (broadcast addresses included) ask for.
    pub fn new(tables: &Tables, host_addresses: &[IpAddr]) -> Steering {
        let mut steering = Steering::default();
        for &address in host_addresses {
            steering.entry(address).roles |= role::HOST;
        }
        for vip in tables.vips() {
            // The host has an exclusive VIP only so that the kernel answers ARP, neighbour discovery and ping.
            steering.entry(vip.address).roles = match vip.ownership {
                Ownership::Exclusive => role::VIP,
                Ownership::SharedWithHost => role::VIP | role::HOST,
            };
        }
        for source in tables.sources() {
            steering.entry(source.address).add_source(source);
        }
        for listener in tables.listeners().iter().flatten() {
            *steering.endpoints.entry((&listener.endpoint).into()).or_default() |= endpoint_role::LISTENER;
        }
        for target in tables.targets().iter().flatten() {
            for &protocol in target.protocols {
                let endpoint = Endpoint { address: target.address, port: target.port, protocol };
                steering.entry(target.address).roles |= match protocol {
                    Protocol::Tcp => role::TARGET_TCP,
                    Protocol::Udp => role::TARGET_UDP,
                };
                *steering.endpoints.entry((&endpoint).into()).or_default() |= endpoint_role::TARGET;
            }
        }
        steering
    }

    /// Decides as the XDP program does.
    pub fn steer(&self, frame: &[u8]) -> Steer {
        let family =
            frame.get(12..14).and_then(|ethertype| Family::of_ethertype([ethertype[0], ethertype[1]]));
        let Some(family) = family else {
            return Steer::Pass(Reason::PassNotIp);
        };
        let Some(packet) = Packet::read(family, &frame[14..]) else {
            return Steer::Redirect; // Nobody can use it; the worker counts it.
        };
        let destination = self.address(packet.destination);
        if packet.is_link_scope {
            return Steer::Pass(Reason::PassHost);
        }
        if packet.is_icmp() {
            return self.steer_icmp(&packet, &destination);
        }
        let ports = packet.ports();
        if self.is_to_listener(&packet, ports, &destination) {
            return Steer::Redirect;
        }
        let is_to_source = destination.has(role::SOURCE)
            && (packet.is_fragment
                || ports.is_some_and(|ports| destination.is_source_port(ports.destination)));
        if destination.has(role::HOST | role::SOURCE) && !is_to_source {
            return Steer::Pass(Reason::PassHost);
        }
        if self.is_from_target(&packet, ports) { Steer::Redirect } else { Steer::Pass(Reason::PassNotOurs) }
    }

    /// Everything to an address that is the load balancer's alone; otherwise what a listener can want.
    fn is_to_listener(&self, packet: &Packet<'_>, ports: Option<Ports>, destination: &AddressEntry) -> bool {
        destination.has(role::VIP)
            && (!destination.has(role::HOST)
                || (packet.is_fragment && matches!(packet.protocol, TCP | UDP))
                || ports.is_some_and(|ports| {
                    self.has_role(
                        packet.destination,
                        ports.destination,
                        packet.protocol,
                        endpoint_role::LISTENER,
                    )
                }))
    }

    fn is_from_target(&self, packet: &Packet<'_>, ports: Option<Ports>) -> bool {
        let is_target = self.address(packet.source).has(match packet.protocol {
            TCP => role::TARGET_TCP,
            UDP => role::TARGET_UDP,
            _ => 0,
        });
        let is_endpoint =
            |ports: Ports| self.has_role(packet.source, ports.source, packet.protocol, endpoint_role::TARGET);
        is_target && (packet.is_fragment || ports.is_some_and(is_endpoint))
    }

    /// An ICMP error is ours when it quotes a packet that went out from a listener or a source, or in to a target.
    fn steer_icmp(&self, packet: &Packet<'_>, destination: &AddressEntry) -> Steer {
        if self.is_our_error(packet, destination) {
            return Steer::Redirect;
        }
        Steer::Pass(match destination {
            entry if entry.has(role::VIP) => Reason::PassIcmp,
            entry if entry.has(role::HOST | role::SOURCE) => Reason::PassHost,
            _ => Reason::PassNotOurs,
        })
    }

    fn is_our_error(&self, packet: &Packet<'_>, destination: &AddressEntry) -> bool {
        let Some(quote) = packet.icmp_quote() else { return false };
        let Some(ports) = quote.ports() else { return false };
        let is_to_target =
            self.has_role(quote.destination, ports.destination, quote.protocol, endpoint_role::TARGET);
        let is_from_listener =
            || self.has_role(quote.source, ports.source, quote.protocol, endpoint_role::LISTENER);
        let is_from_source = || self.address(quote.source).is_source_port(ports.source);
        (is_to_target && (!destination.has(role::VIP | role::HOST | role::SOURCE) || is_from_source()))
            || (destination.has(role::VIP) && is_from_listener())
    }

    fn entry(&mut self, address: IpAddr) -> &mut AddressEntry {
        self.addresses.entry(address.into()).or_default()
    }

    fn address(&self, address: AddressKey) -> AddressEntry {
        self.addresses.get(&address).copied().unwrap_or_default()
    }

    fn has_role(&self, address: AddressKey, port: [u8; 2], protocol: u8, role: u32) -> bool {
        matches!(protocol, TCP | UDP)
            && self
                .endpoints
                .get(&EndpointKey::new(address, port, protocol))
                .is_some_and(|roles| roles & role != 0)
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;
