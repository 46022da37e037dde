//! Targets: what is told of each, and what a call changes.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bypass, Traffic};

/// A target, registered or still draining.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TargetRow {
    /// Its target group.
    pub target_group: String,
    /// Address and port.
    pub target: SocketAddr,
    /// Its zone; `None`: all zones, or deregistered.
    pub zone: Option<String>,
    /// State: `initial`, `healthy`, `unhealthy`, `unhealthy.draining`, `draining`, `unused` or `unavailable`.
    pub state: String,
    /// Reason code of the state.
    pub reason: Option<String>,
    /// The reason in a sentence.
    pub description: Option<String>,
    /// When it came into this state (RFC 3339, UTC), if that is known.
    pub changed: Option<String>,
    /// How long ago that was, in seconds.
    pub changed_seconds_ago: Option<u64>,
    /// Checks that succeeded, since this process checks it.
    pub checks_passed: u64,
    /// Checks that failed.
    pub checks_failed: u64,
    /// Its share of its group's flows, in proportion to the others' weights; `None` once it is deregistered.
    pub weight: Option<u16>,
    /// Whether it gets new flows.
    pub is_eligible: bool,
    /// Part of its group's new flows that it gets, in percent; where zones have targets of their own, the mean over the zones.
    pub share_percent: f64,
    /// Whether the way to it is known.
    pub is_reachable: bool,
    /// How its replies go past the load balancer, where something shows that they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bypass: Option<Bypass>,
    /// What went to and from it.
    pub traffic: Traffic,
}

impl TargetRow {
    /// Those that are deregistered have no weight.
    pub fn is_registered(&self) -> bool {
        self.weight.is_some()
    }
}

/// What `POST /v1/target-groups/NAME/targets` asks for; applied wholly or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TargetChanges {
    /// Targets to register. One that is registered already has this weight and this zone from now on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub register: Vec<NewTarget>,
    /// Targets to deregister.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deregister: Vec<TargetAddress>,
}

/// A target to register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTarget {
    /// Address.
    pub address: IpAddr,
    /// Port; by default its group's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Share of new flows in proportion to the group's other weights; by default 1; 0: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Zone; by default, and by the name `all`, all zones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// What tells a target from the others of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetAddress {
    /// Address.
    pub address: IpAddr,
    /// Port; by default its group's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl TargetAddress {
    /// Whether it names this target. Without a port, it names each of its group with the address.
    pub fn is_of(&self, row: &TargetRow) -> bool {
        self.address == row.target.ip() && self.port.is_none_or(|port| port == row.target.port())
    }
}

impl TargetAddress {
    /// With this port, if it names none.
    pub fn with_port(&self, default: u16) -> TargetAddress {
        TargetAddress { address: self.address, port: self.port.or(Some(default)) }
    }
}

impl FromStr for TargetAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<TargetAddress, String> {
        if let Ok(endpoint) = text.parse::<SocketAddr>() {
            return match endpoint.port() {
                0 => Err("expected a port from 1 to 65535".into()),
                port => Ok(TargetAddress { address: endpoint.ip(), port: Some(port) }),
            };
        }
        match text.parse() {
            Ok(address) => Ok(TargetAddress { address, port: None }),
            Err(_) => {
                Err("expected ADDRESS or ADDRESS:PORT, such as 198.19.1.2:80 or [2001:db8::2]:80".into())
            }
        }
    }
}

impl fmt::Display for TargetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_named_by_its_address_and_maybe_its_port() {
        for (text, address, port) in [
            ("198.19.1.2", "198.19.1.2", None),
            ("198.19.1.2:80", "198.19.1.2", Some(80)),
            ("2001:db8::2", "2001:db8::2", None),
            ("[2001:db8::2]:80", "2001:db8::2", Some(80)),
        ] {
            let target = TargetAddress { address: address.parse().unwrap(), port };
            assert_eq!(text.parse(), Ok(target));
            assert_eq!(target.to_string(), text);
        }
        for bad in ["", "198.19.1", "198.19.1.2:0", "198.19.1.2:65536", "web", "[2001:db8::2]"] {
            assert!(bad.parse::<TargetAddress>().is_err(), "{bad}");
        }
    }
}
