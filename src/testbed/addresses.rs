//! Who has which address in a test network, in both families: inside 198.18.0.0/15 (RFC 2544 C.2.2) and 2001:db8::/32
//! (RFC 3849).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The client's IPv4 address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// The client's gateway: the load balancer's host, or the router before it.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The address that clients connect to.
pub const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 100, 1);

/// The IPv4 address of target `number`, counted from 1.
pub const fn target_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 19, number, 2)
}

/// One side of the load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Towards the client.
    Client,
    /// Towards the targets.
    Targets,
}

/// IPv4 or IPv6: the same places have an address in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    /// The client's address.
    pub const fn client(self) -> IpAddr {
        self.pick(CLIENT, documentation(0, 0, 2))
    }

    /// The client's gateway: the load balancer's host, or the router before it.
    pub const fn gateway(self) -> IpAddr {
        self.pick(GATEWAY, documentation(0, 0, 1))
    }

    /// The address that clients connect to.
    pub const fn vip(self) -> IpAddr {
        self.pick(VIP, documentation(0x100, 0, 1))
    }

    /// The address of target `number`, counted from 1.
    pub const fn target(self, number: u8) -> IpAddr {
        self.pick(target_address(number), documentation(1, number, 2))
    }

    /// The gateway of target `number`: the load balancer's host, or the router before it.
    pub const fn target_gateway(self, number: u8) -> IpAddr {
        self.pick(Ipv4Addr::new(198, 19, number, 1), documentation(1, number, 1))
    }

    /// Bits of an address that name its link's network.
    pub const fn prefix_length(self) -> u8 {
        match self {
            Family::V4 => 24,
            Family::V6 => 64,
        }
    }

    /// Everything: the destination of a default route.
    pub(super) const fn everywhere(self) -> (IpAddr, u8) {
        (self.pick(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED), 0)
    }

    /// The network that the client is in.
    pub(super) const fn client_network(self) -> (IpAddr, u8) {
        (self.pick(Ipv4Addr::new(198, 18, 0, 0), documentation(0, 0, 0)), self.prefix_length())
    }

    /// The network that target `number` is in.
    pub(super) const fn target_network(self, number: u8) -> (IpAddr, u8) {
        let network = self.pick(Ipv4Addr::new(198, 19, number, 0), documentation(1, number, 0));
        (network, self.prefix_length())
    }

    /// An address on the link between the load balancer's host (1) and the router on one side of it (2).
    pub(super) const fn transit(self, side: Side, host: u8) -> IpAddr {
        match side {
            Side::Client => self.pick(Ipv4Addr::new(198, 18, 1, host), documentation(0, 1, host)),
            Side::Targets => self.pick(Ipv4Addr::new(198, 19, 0, host), documentation(1, 0, host)),
        }
    }

    const fn pick(self, v4: Ipv4Addr, v6: Ipv6Addr) -> IpAddr {
        match self {
            Family::V4 => IpAddr::V4(v4),
            Family::V6 => IpAddr::V6(v6),
        }
    }
}

impl From<IpAddr> for Family {
    fn from(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// 2001:db8:`site`:`link`::`host`
const fn documentation(site: u16, link: u8, host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, site, link as u16, 0, 0, 0, host as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_the_same_plan() {
        let all = |family: Family| {
            [family.client(), family.gateway(), family.vip(), family.target(10), family.target_gateway(10)]
        };
        assert_eq!(
            all(Family::V4).map(|address| address.to_string()),
            ["198.18.0.2", "198.18.0.1", "198.18.100.1", "198.19.10.2", "198.19.10.1"]
        );
        assert_eq!(
            all(Family::V6).map(|address| address.to_string()),
            ["2001:db8::2", "2001:db8::1", "2001:db8:100::1", "2001:db8:1:a::2", "2001:db8:1:a::1"]
        );
    }
}
