//! A network interface, as the kernel describes it by netlink and ethtool.

use std::sync::Arc;

use lb_core::{receive_hash::ReceiveHash, tables::Mac};

pub use crate::netlink::NetlinkError;
use crate::{ethtool::Ethtool, link::Link};

/// An interface that exists and is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Name.
    pub name: String,
    /// The kernel's number for it, in the network namespace of the thread that opened it.
    pub index: u32,
    /// Link-layer address.
    pub mac: Mac,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Receive queues in use.
    pub queues: u32,
    /// Transmit queues in use.
    pub transmit_queues: u32,
    /// Name of its driver, empty when it says none.
    pub driver: String,
    /// Whether it is one end of a veth pair: frames of local senders then come with partial checksums.
    pub is_veth: bool,
    /// How it spreads packets over its receive queues, where that is known.
    pub receive_hash: Option<Arc<ReceiveHash>>,
}

/// Why an interface cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is none of that name.
    #[error("interface {0} does not exist in this network namespace; `ip link` lists those that do")]
    Missing(String),
    /// It is administratively down.
    #[error("interface {0} is down; bring it up with `ip link set {0} up`")]
    Down(String),
    /// It has no Ethernet address.
    #[error("interface {0} is not an Ethernet interface (it has no 6-byte link-layer address)")]
    NotEthernet(String),
    /// The kernel refused to describe it.
    #[error("cannot read the properties of interface {name}: {source}")]
    Unreadable {
        /// The interface.
        name: String,
        /// The kernel's answer.
        source: NetlinkError,
    },
}

impl Device {
    /// Looks up the interface `name`.
    pub fn open(name: &str) -> Result<Device, DeviceError> {
        let unreadable = |source| DeviceError::Unreadable { name: name.to_owned(), source };
        if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.bytes().any(|byte| byte == 0) {
            return Err(DeviceError::Missing(name.to_owned()));
        }
        let link = match Link::named(name) {
            Err(error) if error.errno() == libc::ENODEV => None,
            answer => answer.map_err(unreadable)?,
        };
        let link = link.ok_or_else(|| DeviceError::Missing(name.to_owned()))?;
        if !link.is_up {
            return Err(DeviceError::Down(name.to_owned()));
        }
        let mac = link.mac.ok_or_else(|| DeviceError::NotEthernet(name.to_owned()))?;
        let ethtool = Ethtool::open(name).map_err(|error| unreadable(error.into()))?;
        let channels = ethtool.channels();
        Ok(Device {
            name: name.to_owned(),
            index: link.index,
            mac,
            mtu: link.mtu,
            queues: channels
                .map_or(link.receive_queues, |channels| channels.receive + channels.combined)
                .max(1),
            transmit_queues: channels
                .map_or(link.transmit_queues, |channels| channels.transmit + channels.combined)
                .max(1),
            driver: ethtool.driver().unwrap_or_default(),
            is_veth: link.kind == "veth",
            receive_hash: ethtool.receive_hash().map(Arc::new),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_refused_as_not_ethernet() {
        // In a fresh namespace loopback is down, and that is said first.
        let error = Device::open("lo").unwrap_err();
        assert!(matches!(error, DeviceError::NotEthernet(_) | DeviceError::Down(_)), "{error}");
    }

    #[test]
    fn an_unknown_name_is_named() {
        for name in ["no-such-if", "", "a-name-that-is-far-too-long", "a\0b"] {
            assert!(matches!(Device::open(name), Err(DeviceError::Missing(_))), "{name:?}");
        }
    }
}
