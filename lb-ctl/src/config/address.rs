//! Addresses that a load balancer, a target or a source can have, and their families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{errors::Refusal, walk::Value};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "ipv4")]
    V4,
    /// IPv6.
    #[serde(rename = "ipv6")]
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// `IPv4` or `IPv6`.
    pub const fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }
}

/// What a target sees of a client's address and port (NLB "Client IP preservation").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddress {
    /// Both, unchanged.
    Preserved,
    /// A source of the load balancer instead.
    Hidden,
    /// A source of the load balancer instead, because the target is of another family.
    Translated,
}

impl ClientAddress {
    /// `preserve`, `full NAT` or `translated`.
    pub const fn name(self) -> &'static str {
        match self {
            ClientAddress::Preserved => "preserve",
            ClientAddress::Hidden => "full NAT",
            ClientAddress::Translated => "translated",
        }
    }
}

/// An address that one host can have and others can reach through routers.
pub(super) fn unicast(value: &Value<'_>) -> Option<IpAddr> {
    match value.text(ADDRESS_EXPECTED)?.parse() {
        Ok(address) => value.accept(reachable(address)),
        Err(_) => value.refuse(ADDRESS_EXPECTED),
    }
}

/// Refuses an address that is not unicast, or known on one link only.
pub(super) fn reachable(address: IpAddr) -> Result<IpAddr, Refusal> {
    let refusal = || Refusal::new(format!("\"{address}\""), UNICAST_EXPECTED);
    match address {
        IpAddr::V4(v4) if is_reachable_v4(v4) => Ok(address),
        IpAddr::V4(_) => Err(refusal()),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => Err(refusal().advise(format!("write an IPv4 address as such: {v4}"))),
            None if v6.is_unicast_link_local() => Err(refusal().advise(LINK_LOCAL)),
            None if is_reachable_v6(v6) => Ok(address),
            None => Err(refusal()),
        },
    }
}

fn is_reachable_v4(address: Ipv4Addr) -> bool {
    let is_reserved = address.octets()[0] == 0 || address.octets()[0] >= 240;
    !(is_reserved || address.is_loopback() || address.is_multicast())
}

fn is_reachable_v6(address: Ipv6Addr) -> bool {
    !(address.is_multicast() || address.is_loopback() || address.is_unspecified())
}

pub(super) const ADDRESS_EXPECTED: &str =
    "an IPv4 or IPv6 address, such as \"198.19.1.2\" or \"2001:db8:1::2\"";
const UNICAST_EXPECTED: &str = "a unicast address that other hosts can reach";
const LINK_LOCAL: &str =
    "a link-local address is known on one link only: take a global or a unique local one";
