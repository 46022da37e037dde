//! What identifies the packets of one direction of a flow, for both address families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytemuck::{Pod, Zeroable};

use crate::tables::{Endpoint, Protocol};

/// One end of an IPv4 flow, as the load balancer sees it: its own address there, and its peer's. All in network order, and in
/// the order of a packet that comes in at this end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct End {
    /// The peer's address.
    pub remote: [u8; 4],
    /// The load balancer's address: destination of what comes in at this end, source of what leaves by it.
    pub local: [u8; 4],
    /// The peer's port.
    pub remote_port: [u8; 2],
    /// The load balancer's port.
    pub local_port: [u8; 2],
}

/// Key of IPv4 packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct Ipv4Key {
    /// Where the packets come in.
    pub end: End,
    /// Protocol, as in the IP header.
    pub protocol: u8,
    /// Always zero.
    pub zero: [u8; 3],
}

/// Key of IPv6 packets, in wire order within each field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct Ipv6Key {
    /// Source address.
    pub remote: [u8; 16],
    /// Destination address.
    pub local: [u8; 16],
    /// Source port.
    pub remote_port: [u8; 2],
    /// Destination port.
    pub local_port: [u8; 2],
    /// Protocol of the transport header.
    pub protocol: u8,
    /// Always zero.
    pub zero: [u8; 3],
}

/// What identifies the packets of one direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowKey {
    /// IPv4.
    V4(Ipv4Key),
    /// IPv6.
    V6(Ipv6Key),
}

impl Ipv4Key {
    /// Of no packet.
    pub(crate) const ZERO: Ipv4Key = Ipv4Key {
        end: End { remote: [0; 4], local: [0; 4], remote_port: [0; 2], local_port: [0; 2] },
        protocol: 0,
        zero: [0; 3],
    };

    /// Key of a packet, from its addresses and ports as they stand in it.
    #[inline]
    pub fn from_wire(addresses: [u8; 8], ports: [u8; 4], protocol: u8) -> Ipv4Key {
        let [p0, p1, p2, p3] = ports;
        let rest = u64::from_ne_bytes([p0, p1, p2, p3, protocol, 0, 0, 0]);
        bytemuck::cast([u64::from_ne_bytes(addresses), rest])
    }

    /// As two words, for hashing.
    #[inline]
    pub fn words(&self) -> [u64; 2] {
        bytemuck::cast(*self)
    }
}

impl Ipv6Key {
    /// As five words, for hashing.
    #[inline]
    pub fn words(&self) -> [u64; 5] {
        bytemuck::cast(*self)
    }
}

impl FlowKey {
    /// Key of packets from `source` to `destination`. `None` when these are of different families.
    pub fn new(source: (IpAddr, [u8; 2]), destination: (IpAddr, [u8; 2]), protocol: u8) -> Option<FlowKey> {
        match (source.0, destination.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => Some(FlowKey::V4(Ipv4Key {
                end: End {
                    local: to.octets(),
                    remote: from.octets(),
                    local_port: destination.1,
                    remote_port: source.1,
                },
                protocol,
                zero: [0; 3],
            })),
            (IpAddr::V6(from), IpAddr::V6(to)) => Some(FlowKey::V6(Ipv6Key {
                local: to.octets(),
                remote: from.octets(),
                local_port: destination.1,
                remote_port: source.1,
                protocol,
                zero: [0; 3],
            })),
            _ => None,
        }
    }

    /// Key of packets the other way.
    pub fn opposite(&self) -> FlowKey {
        match *self {
            FlowKey::V4(key) => FlowKey::V4(Ipv4Key {
                end: End {
                    local: key.end.remote,
                    remote: key.end.local,
                    local_port: key.end.remote_port,
                    remote_port: key.end.local_port,
                },
                ..key
            }),
            FlowKey::V6(key) => FlowKey::V6(Ipv6Key {
                local: key.remote,
                remote: key.local,
                local_port: key.remote_port,
                remote_port: key.local_port,
                ..key
            }),
        }
    }

    /// Source address.
    pub fn source(&self) -> IpAddr {
        match self {
            FlowKey::V4(key) => IpAddr::V4(Ipv4Addr::from(key.end.remote)),
            FlowKey::V6(key) => IpAddr::V6(Ipv6Addr::from(key.remote)),
        }
    }

    /// Destination address.
    pub fn destination(&self) -> IpAddr {
        match self {
            FlowKey::V4(key) => IpAddr::V4(Ipv4Addr::from(key.end.local)),
            FlowKey::V6(key) => IpAddr::V6(Ipv6Addr::from(key.local)),
        }
    }

    /// Source port, in network order.
    #[inline]
    pub fn source_port(&self) -> [u8; 2] {
        match self {
            FlowKey::V4(key) => key.end.remote_port,
            FlowKey::V6(key) => key.remote_port,
        }
    }

    /// Destination port, in network order.
    #[inline]
    pub fn destination_port(&self) -> [u8; 2] {
        match self {
            FlowKey::V4(key) => key.end.local_port,
            FlowKey::V6(key) => key.local_port,
        }
    }

    /// The same with other ports, in network order.
    pub fn with_ports(self, source: [u8; 2], destination: [u8; 2]) -> FlowKey {
        match self {
            FlowKey::V4(key) => {
                let end = End { local_port: destination, remote_port: source, ..key.end };
                FlowKey::V4(Ipv4Key { end, ..key })
            }
            FlowKey::V6(key) => FlowKey::V6(Ipv6Key { local_port: destination, remote_port: source, ..key }),
        }
    }

    /// Number of the transport protocol.
    #[inline]
    pub fn protocol(&self) -> u8 {
        match self {
            FlowKey::V4(key) => key.protocol,
            FlowKey::V6(key) => key.protocol,
        }
    }

    /// Whether the packets are IPv6.
    #[inline]
    pub fn is_ipv6(&self) -> bool {
        matches!(self, FlowKey::V6(_))
    }

    /// The endpoint that the packet goes to. `None` for a protocol that listeners do not have.
    pub fn destination_endpoint(&self) -> Option<Endpoint> {
        endpoint(self.destination(), self.destination_port(), self.protocol())
    }

    /// The endpoint that the packet comes from.
    pub fn source_endpoint(&self) -> Option<Endpoint> {
        endpoint(self.source(), self.source_port(), self.protocol())
    }
}

impl Default for FlowKey {
    fn default() -> FlowKey {
        FlowKey::V4(Ipv4Key::default())
    }
}

fn endpoint(address: IpAddr, port: [u8; 2], protocol: u8) -> Option<Endpoint> {
    let protocol = Protocol::from_number(protocol)?;
    Some(Endpoint { address, port: u16::from_be_bytes(port), protocol })
}

const _: () = assert!(size_of::<End>() == 12 && size_of::<Ipv4Key>() == 16 && size_of::<Ipv6Key>() == 40);
