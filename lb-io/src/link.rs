//! A network interface as route netlink describes it (RTM_NEWLINK). Read by `device` before it opens one, by `attach`, and by
//! `inspect` for all of them.

use lb_core::tables::Mac;

use crate::{
    netlink::{Attributes, Message, NetlinkError, Reply, Socket, u32_at},
    status::AttachMode,
    sys,
};

/// What the kernel says of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Name.
    pub name: String,
    /// The kernel's number for it, in the network namespace of the thread that asked.
    pub index: u32,
    /// Whether it is administratively up.
    pub is_up: bool,
    /// Whether there is somebody at the other end.
    pub has_carrier: bool,
    /// Link-layer address, if it is an Ethernet interface.
    pub mac: Option<Mac>,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Receive queues that it was made with.
    pub receive_queues: u32,
    /// Transmit queues that it was made with.
    pub transmit_queues: u32,
    /// What it is, such as `veth` or `bond`; empty for a device that a driver has found.
    pub kind: String,
    /// Number of the bridge or bond that it is a port of.
    pub master: Option<u32>,
    /// Number of the interface below it, as of a VLAN's.
    pub lower: Option<u32>,
    /// Frames received and sent so far.
    pub frames: u64,
    /// The XDP program on it.
    pub program: Option<AttachedProgram>,
}

/// An XDP program as an interface has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachedProgram {
    /// Where it runs.
    pub place: ProgramPlace,
    /// The kernel's number for it, 0 if there are several.
    pub id: u32,
}

/// Where an interface has its XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramPlace {
    /// Where programs of ours run, too.
    Host(AttachMode),
    /// In the device itself.
    Device,
    /// In more places than one.
    Several,
}

impl Link {
    /// All interfaces of the calling thread's network namespace.
    pub(crate) fn all() -> Result<Vec<Link>, NetlinkError> {
        let mut links = Vec::new();
        let dump = Message::new(libc::RTM_GETLINK, libc::NLM_F_DUMP, &[0; LINK_HEADER_BYTES]);
        Socket::open(0)?.ask(dump, |reply| links.extend(Link::parse(reply)))?;
        Ok(links)
    }

    /// The interface `name`; ENODEV when there is none.
    pub(crate) fn named(name: &str) -> Result<Option<Link>, NetlinkError> {
        let mut link = None;
        Socket::open(0)?.ask(link_request(name), |reply| link = Link::parse(reply).or(link.take()))?;
        Ok(link)
    }

    fn parse(reply: Reply<'_>) -> Option<Link> {
        let find = |kind| reply.attributes(LINK_HEADER_BYTES).find(kind);
        let number = |kind| find(kind).and_then(|value| u32_at(value, 0));
        let is_ethernet = u16::from_ne_bytes(*reply.body.get(2..)?.first_chunk()?) == libc::ARPHRD_ETHER;
        let mac = find(libc::IFLA_ADDRESS).and_then(|bytes| bytes.try_into().ok());
        let info = Attributes::of(find(libc::IFLA_LINKINFO).unwrap_or_default());
        let flags = u32_at(reply.body, 8)?;
        Some(Link {
            name: find(libc::IFLA_IFNAME).map(sys::text)?,
            index: u32_at(reply.body, 4)?,
            is_up: flags & libc::IFF_UP as u32 != 0,
            has_carrier: flags & libc::IFF_LOWER_UP as u32 != 0,
            mac: mac.filter(|_| is_ethernet).map(Mac),
            mtu: number(libc::IFLA_MTU)?,
            receive_queues: number(libc::IFLA_NUM_RX_QUEUES).unwrap_or(1),
            transmit_queues: number(libc::IFLA_NUM_TX_QUEUES).unwrap_or(1),
            kind: info.find(libc::IFLA_INFO_KIND).map(sys::text).unwrap_or_default(),
            master: number(libc::IFLA_MASTER),
            lower: number(libc::IFLA_LINK).filter(|_| find(libc::IFLA_LINK_NETNSID).is_none()),
            frames: find(libc::IFLA_STATS64).and_then(frames).unwrap_or(0),
            program: find(libc::IFLA_XDP).and_then(AttachedProgram::parse),
        })
    }
}

impl AttachedProgram {
    fn parse(xdp: &[u8]) -> Option<AttachedProgram> {
        let place = match *Attributes::of(xdp).find(IFLA_XDP_ATTACHED)?.first()? {
            XDP_ATTACHED_NONE => return None,
            XDP_ATTACHED_DRV => ProgramPlace::Host(AttachMode::Native),
            XDP_ATTACHED_SKB => ProgramPlace::Host(AttachMode::Generic),
            XDP_ATTACHED_MULTI => ProgramPlace::Several,
            _ => ProgramPlace::Device,
        };
        let id = Attributes::of(xdp).find(IFLA_XDP_PROG_ID).and_then(|value| u32_at(value, 0));
        Some(AttachedProgram { place, id: id.unwrap_or(0) })
    }
}

/// Asks for the link `name`.
fn link_request(name: &str) -> Message {
    let mut value = name.as_bytes().to_vec();
    value.push(0);
    Message::new(libc::RTM_GETLINK, 0, &[0; LINK_HEADER_BYTES]).attribute(libc::IFLA_IFNAME, &value)
}

/// The first two numbers of `struct rtnl_link_stats64`: packets received and sent.
fn frames(statistics: &[u8]) -> Option<u64> {
    let (received, rest) = statistics.split_first_chunk()?;
    Some(u64::from_ne_bytes(*received) + u64::from_ne_bytes(*rest.first_chunk()?))
}

/// Bytes of `struct ifinfomsg`.
pub(crate) const LINK_HEADER_BYTES: usize = 16;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const XDP_ATTACHED_NONE: u8 = 0;
const XDP_ATTACHED_DRV: u8 = 1;
const XDP_ATTACHED_SKB: u8 = 2;
const XDP_ATTACHED_MULTI: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_among_the_links_and_no_ethernet() {
        let links = Link::all().unwrap();
        let loopback = links.iter().find(|link| link.name == "lo").unwrap();
        assert_eq!((loopback.index, loopback.mac, loopback.program), (1, None, None));
        assert_eq!(Link::named("lo").unwrap().map(|link| link.index), Some(1));
        assert_eq!(Link::named("no-such-if").unwrap_err().errno(), libc::ENODEV);
    }
}
