//! The way to addresses, by the kernel's routes and neighbours, kept current by netlink.
use lb_core::tables::NextHop;
use std::net::IpAddr;

/// Answers, kept current by a thread of its own.
pub struct NextHops {}

/// Why the kernel's routes cannot be followed.
#[derive(Debug, thiserror::Error)]
#[error("cannot follow the kernel's routes and neighbours by netlink: {0}")]
pub struct NextHopsError(#[from] crate::netlink::NetlinkError);

impl NextHops {
    /// Starts following.
    pub fn start(
        _interfaces: &[String],
        _on_change: impl Fn() + Send + 'static,
    ) -> Result<NextHops, NextHopsError> {
        Ok(NextHops {})
    }
    /// The addresses to resolve, instead of those watched before.
    pub fn watch(&self, _addresses: &[IpAddr]) {}
    /// The current answer.
    pub fn resolve(&self, _address: IpAddr) -> Option<NextHop> {
        None
    }
    /// The host's own addresses and the broadcast addresses of its subnets.
    pub fn host_addresses(&self) -> Vec<IpAddr> {
        Vec::new()
    }
}
