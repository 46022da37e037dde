//! What a simulation assumes, and how the command line says it.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use lb_core::tables::Mac;

use crate::{
    health::{Cause, TargetHealth},
    hex,
};

/// What a simulation assumes about the world.
#[derive(Clone, Debug)]
pub struct Assumptions {
    /// Targets that are in a certain state in one group; all others are healthy.
    pub states: Vec<AssumedState>,
    /// Targets that are unhealthy in every group.
    pub unhealthy: Vec<SocketAddr>,
    /// Secret of target selection.
    pub selection_secret: [u8; 16],
    /// Next hops. Every other address has a made-up one on the first interface.
    pub neighbors: Vec<Neighbor>,
    /// Interface of frames whose capture names none.
    pub interface: String,
    /// MTU of every interface, in bytes.
    pub mtu: u32,
}

/// `GROUP/IP:PORT=STATE`: the state of a target. One of a group whose targets are registered by call is registered by this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssumedState {
    /// Name of its target group.
    pub group: String,
    /// Its address and port.
    pub target: SocketAddr,
    /// Its state.
    pub health: AssumedHealth,
}

/// States of a target, by NLB's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssumedHealth {
    /// Gets new flows.
    Healthy,
    /// Checks failed.
    Unhealthy,
    /// Checks failed a short while ago: its flows go on.
    UnhealthyDraining,
    /// No check has succeeded yet.
    Initial,
    /// Deregistered a moment ago.
    Draining,
    /// Not registered any more.
    Unused,
}

impl AssumedHealth {
    /// What the checks say of the target while it is registered.
    pub(super) fn of_checks(self) -> TargetHealth {
        match self {
            AssumedHealth::Unhealthy => TargetHealth::Unhealthy(ASSUMED_CAUSE),
            AssumedHealth::UnhealthyDraining => TargetHealth::UnhealthyDraining(ASSUMED_CAUSE),
            AssumedHealth::Initial => TargetHealth::InitialHealthChecking,
            AssumedHealth::Healthy | AssumedHealth::Draining | AssumedHealth::Unused => TargetHealth::Healthy,
        }
    }
}

/// `IP=MAC@INTERFACE`: the next hop of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// Address.
    pub address: IpAddr,
    /// Link-layer address of its next hop.
    pub mac: Mac,
    /// Name of the interface that the next hop is on.
    pub interface: String,
}

impl FromStr for AssumedState {
    type Err = String;

    fn from_str(text: &str) -> Result<AssumedState, String> {
        let expected = || "expected GROUP/IP:PORT=STATE, such as web/198.19.1.2:80=unhealthy".to_owned();
        let (target, state) = text.rsplit_once('=').ok_or_else(expected)?;
        let (group, target) = target.split_once('/').ok_or_else(expected)?;
        let target = target.parse().map_err(|_| expected())?;
        match STATES.iter().find(|(name, _)| *name == state) {
            Some((_, health)) => Ok(AssumedState { group: group.into(), target, health: *health }),
            None => {
                let names: Vec<&str> = STATES.iter().map(|(name, _)| *name).collect();
                Err(format!("found the state {state:?}, expected one of {}", names.join(", ")))
            }
        }
    }
}

impl FromStr for Neighbor {
    type Err = String;

    fn from_str(text: &str) -> Result<Neighbor, String> {
        let expected = || "expected IP=MAC@INTERFACE, such as 198.19.1.2=02:00:00:00:00:07@eth0".to_owned();
        let (address, rest) = text.split_once('=').ok_or_else(expected)?;
        let (mac, interface) = rest.split_once('@').ok_or_else(expected)?;
        let address = address.parse().map_err(|_| expected())?;
        let octets: Vec<[u8; 1]> = mac.split(':').filter_map(hex::bytes).collect();
        let is_whole = mac.split(':').count() == octets.len();
        let mac = octets.concat().try_into().ok().filter(|_| is_whole).map(Mac).ok_or_else(expected)?;
        Ok(Neighbor { address, mac, interface: interface.into() })
    }
}

const ASSUMED_CAUSE: Cause = Cause::Refused;

const STATES: [(&str, AssumedHealth); 6] = [
    ("healthy", AssumedHealth::Healthy),
    ("unhealthy", AssumedHealth::Unhealthy),
    ("unhealthy.draining", AssumedHealth::UnhealthyDraining),
    ("initial", AssumedHealth::Initial),
    ("draining", AssumedHealth::Draining),
    ("unused", AssumedHealth::Unused),
];

/// MTU of interfaces when nothing else is said, in bytes.
pub const MTU_DEFAULT: u32 = 1_500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbor_is_an_address_a_mac_and_an_interface() {
        let neighbor: Neighbor = "198.19.1.2=02:Aa:00:00:00:07@eth0".parse().unwrap();
        let expected = Neighbor {
            address: "198.19.1.2".parse().unwrap(),
            mac: Mac([0x02, 0xaa, 0, 0, 0, 7]),
            interface: "eth0".into(),
        };
        assert_eq!(neighbor, expected);
        let neighbor: Neighbor = "2001:db8:1::2=02:00:00:00:00:08@eth1".parse().unwrap();
        assert_eq!(neighbor.address, "2001:db8:1::2".parse::<IpAddr>().unwrap());
        assert_eq!((neighbor.mac, neighbor.interface.as_str()), (Mac([0x02, 0, 0, 0, 0, 8]), "eth1"));
        for bad in [
            "",
            "198.19.1.2",
            "198.19.1.2=02:00:00:00:00:07",
            "x=02:00:00:00:00:07@e",
            "198.19.1.2=0200:0:7@e",
        ] {
            assert!(bad.parse::<Neighbor>().is_err(), "{bad}");
        }
        assert!("198.19.1.2=02:00:00:00:00@e".parse::<Neighbor>().is_err());
        assert!("198.19.1.2=02:00:00:00:00:07:08@e".parse::<Neighbor>().is_err());
        assert!("198.19.1.2=02:00:00:00:00:zz:07@e".parse::<Neighbor>().is_err());
    }
}
