//! Which frames are ours: the twin of the XDP program `lb-io/bpf/redirect.bpf.c`, over the same two maps.
//!
//! Both must decide alike for every frame; a test runs them side by side. Keys and values are kept as the program reads
//! them: addresses as 16 bytes (IPv4 as ::ffff:a.b.c.d), ports in network order.

use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    tables::{Endpoint, Ownership, Protocol, Tables},
    verdict::Reason,
    wire::icmp::is_error,
};

/// Bits of an address's roles, the value of the map `addresses`.
pub mod role {
    /// A load balancer's address.
    pub const VIP: u32 = 1;
    /// One of the host's own addresses; with [`VIP`] when they share it.
    pub const HOST: u32 = 2;
    /// A target of a TCP listener.
    pub const TARGET_TCP: u32 = 4;
    /// A target of a UDP listener.
    pub const TARGET_UDP: u32 = 8;
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
        match address {
            IpAddr::V4(v4) => AddressKey(v4.to_ipv6_mapped().octets()),
            IpAddr::V6(v6) => AddressKey(v6.octets()),
        }
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

/// The contents of the two maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steering {
    /// Roles by address.
    pub addresses: BTreeMap<AddressKey, u32>,
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
            *steering.addresses.entry(address.into()).or_default() |= role::HOST;
        }
        for vip in tables.vips() {
            let roles = match vip.ownership {
                Ownership::Exclusive => role::VIP,
                Ownership::SharedWithHost => role::VIP | role::HOST,
            };
            steering.addresses.insert(vip.address.into(), roles);
        }
        for listener in tables.listeners().iter().flatten() {
            *steering.endpoints.entry((&listener.endpoint).into()).or_default() |= endpoint_role::LISTENER;
        }
        for target in tables.targets().iter().flatten() {
            for &protocol in target.protocols {
                let endpoint = Endpoint { address: target.address, port: target.port, protocol };
                let role = match protocol {
                    Protocol::Tcp => role::TARGET_TCP,
                    Protocol::Udp => role::TARGET_UDP,
                };
                *steering.addresses.entry(target.address.into()).or_default() |= role;
                *steering.endpoints.entry((&endpoint).into()).or_default() |= endpoint_role::TARGET;
            }
        }
        steering
    }

    /// Decides as the XDP program does.
    pub fn steer(&self, frame: &[u8]) -> Steer {
        let Some(ethertype) = frame.get(12..14) else {
            return Steer::Pass(Reason::PassNotIp);
        };
        if ethertype != [0x08, 0x00] {
            return Steer::Pass(Reason::PassNotIp);
        }
        let packet = &frame[14..];
        let Some(header) = packet.first_chunk::<20>() else {
            return Steer::Redirect; // Nobody can use it; the worker counts it.
        };
        let protocol = header[9];
        let is_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
        let destination = mapped(&header[16..20]);
        let source = mapped(&header[12..16]);
        let ports = ports(packet, header[0]);

        let destination_roles = self.roles(destination);
        if protocol == ICMP {
            return self.steer_icmp(packet, destination_roles);
        }
        if destination_roles & role::VIP != 0 {
            let is_exclusive = destination_roles & role::HOST == 0;
            if is_exclusive || (is_fragment && matches!(protocol, TCP | UDP)) {
                return Steer::Redirect;
            }
            if let Some((_, port)) = ports
                && self.has_role(destination, port, protocol, endpoint_role::LISTENER)
            {
                return Steer::Redirect;
            }
        }
        if destination_roles & role::HOST != 0 || header[16] >= 224 {
            return Steer::Pass(Reason::PassHost);
        }
        let source_roles = self.roles(source);
        let is_target = match protocol {
            TCP => source_roles & role::TARGET_TCP != 0,
            UDP => source_roles & role::TARGET_UDP != 0,
            _ => false,
        };
        if !is_target {
            return Steer::Pass(Reason::PassNotOurs);
        }
        match ports {
            _ if is_fragment => Steer::Redirect,
            Some((port, _)) if self.has_role(source, port, protocol, endpoint_role::TARGET) => {
                Steer::Redirect
            }
            _ => Steer::Pass(Reason::PassNotOurs),
        }
    }

    /// An ICMP error is ours when it quotes a packet that went out from a listener, or in to a target.
    fn steer_icmp(&self, packet: &[u8], destination_roles: u32) -> Steer {
        let reason = match destination_roles {
            roles if roles & role::VIP != 0 => Reason::PassIcmp,
            roles if roles & role::HOST != 0 => Reason::PassHost,
            _ => Reason::PassNotOurs,
        };
        let Some(quote) = icmp_quote(packet) else { return Steer::Pass(reason) };
        let Some((source_port, destination_port)) = ports(quote, quote[0]) else {
            return Steer::Pass(reason);
        };
        let is_ours = match destination_roles {
            roles if roles & role::VIP != 0 => {
                self.has_role(mapped(&quote[12..16]), source_port, quote[9], endpoint_role::LISTENER)
            }
            roles if roles & role::HOST != 0 => false,
            _ => self.has_role(mapped(&quote[16..20]), destination_port, quote[9], endpoint_role::TARGET),
        };
        if is_ours { Steer::Redirect } else { Steer::Pass(reason) }
    }

    fn roles(&self, address: AddressKey) -> u32 {
        self.addresses.get(&address).copied().unwrap_or(0)
    }

    fn has_role(&self, address: AddressKey, port: [u8; 2], protocol: u8, role: u32) -> bool {
        matches!(protocol, TCP | UDP)
            && self
                .endpoints
                .get(&EndpointKey::new(address, port, protocol))
                .is_some_and(|roles| roles & role != 0)
    }
}

fn mapped(v4: &[u8]) -> AddressKey {
    let mut key = [0; 16];
    key[10..12].fill(0xff);
    key[12..].copy_from_slice(v4);
    AddressKey(key)
}

/// The packet that an ICMP error in an IPv4 packet quotes: `None` unless the header of each is possible and whole, the error is
/// of a kind that is about somebody's packet, and neither is a later fragment.
fn icmp_quote(packet: &[u8]) -> Option<&[u8]> {
    let header_length = usize::from(packet.first()? & 0x0f) * 4;
    let is_fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3fff != 0;
    if header_length < 20 || is_fragment || !is_error(*packet.get(header_length)?) {
        return None;
    }
    let quote = packet.get(header_length + 8..)?;
    let header = quote.first_chunk::<20>()?;
    let is_later_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    (header[0] >> 4 == 4 && !is_later_fragment).then_some(quote)
}

/// Source and destination port, as they stand after an IPv4 header of the length that its first byte says. `None` when
/// that length is not possible or the packet is too short.
fn ports(packet: &[u8], first: u8) -> Option<([u8; 2], [u8; 2])> {
    let header_length = usize::from(first & 0x0f) * 4;
    if header_length < 20 {
        return None;
    }
    let l4 = packet.get(header_length..header_length + 4)?;
    Some(([l4[0], l4[1]], [l4[2], l4[3]]))
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
