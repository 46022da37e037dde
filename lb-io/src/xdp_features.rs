//! What a driver says that it can do with XDP, by generic netlink's family `netdev` (Linux 6.3): known without touching the
//! interface, and without privileges. Used by `inspect`.

use crate::netlink::{Attributes, Message, NetlinkError, Reply, Socket};

/// A driver's own claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpFeatures(u64);

impl XdpFeatures {
    /// Of the interface of this number. `None` when the kernel or the driver does not say.
    pub(crate) fn of(interface: u32) -> Result<Option<XdpFeatures>, NetlinkError> {
        let mut netlink = Socket::generic()?;
        let Some(family) = family(&mut netlink)? else { return Ok(None) };
        let request = Message::new(family, 0, &header(NETDEV_CMD_DEV_GET))
            .attribute(NETDEV_A_DEV_IFINDEX, &interface.to_ne_bytes());
        let mut features = None;
        netlink.ask(request, |reply| {
            let bits = attributes(reply).find(NETDEV_A_DEV_XDP_FEATURES);
            features = bits.and_then(|bits| bits.try_into().ok()).map(u64::from_ne_bytes).map(XdpFeatures);
        })?;
        Ok(features)
    }

    /// Programs run in the driver, and can give frames to sockets.
    pub fn has_native(self) -> bool {
        self.0 & (BASIC | REDIRECT) == BASIC | REDIRECT
    }

    /// AF_XDP sockets can do without copying.
    pub fn has_zero_copy(self) -> bool {
        self.0 & ZERO_COPY != 0
    }
}

/// The number that the kernel has given the family `netdev`; `None` where there is no such family.
fn family(netlink: &mut Socket) -> Result<Option<u16>, NetlinkError> {
    let mut found = None;
    let request = Message::new(libc::GENL_ID_CTRL as u16, 0, &header(libc::CTRL_CMD_GETFAMILY as u8))
        .attribute(libc::CTRL_ATTR_FAMILY_NAME as u16, b"netdev\0");
    let answer = netlink.ask(request, |reply| {
        let number = attributes(reply).find(libc::CTRL_ATTR_FAMILY_ID as u16);
        found = number.and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    });
    match answer {
        Err(error) if error.errno() == libc::ENOENT => Ok(None),
        answer => answer.map(|()| found),
    }
}

/// `struct genlmsghdr`: command, version, two bytes that are reserved.
fn header(command: u8) -> [u8; HEADER_BYTES] {
    [command, VERSION, 0, 0]
}

fn attributes(reply: Reply<'_>) -> Attributes<'_> {
    reply.attributes(HEADER_BYTES)
}

const HEADER_BYTES: usize = 4;
const VERSION: u8 = 1;
// include/uapi/linux/netdev.h
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
/// Programs may pass, drop, abort and send back.
const BASIC: u64 = 1;
/// They may redirect.
const REDIRECT: u64 = 2;
const ZERO_COPY: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_says_that_it_has_no_xdp() {
        // Before Linux 6.3 it says nothing.
        let features = XdpFeatures::of(1).unwrap();
        assert!(features.is_none_or(|features| !features.has_native() && !features.has_zero_copy()));
    }
}
