//! Addresses of load balancers on interfaces: added so that the kernel answers ARP, neighbour discovery and ping for them,
//! announced, removed.

use std::{
    fmt, io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd,
};

use lb_core::{tables::Mac, wire::checksum};

use crate::{
    device::Device,
    netlink::{Message, NetlinkError, Socket, u32_at},
    sys,
};

/// What assigning an address came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigned {
    /// The address was added; whoever added it removes it.
    Added,
    /// The host has the address already, on this interface or another; it is not ours to remove.
    AlreadyThere,
}

/// Why an address could not be assigned, removed or announced.
#[derive(Debug)]
pub struct VipError {
    action: &'static str,
    address: IpAddr,
    device: String,
    source: NetlinkError,
}

impl fmt::Display for VipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let VipError { action, address, device, source } = self;
        write!(f, "cannot {action} address {address} on interface {device}: {source}")
    }
}

impl std::error::Error for VipError {}

/// Adds `address` to the device, as a host address (/32 or /128), unless the host has it already.
pub fn assign(device: &Device, address: IpAddr) -> Result<Assigned, VipError> {
    let add = || -> Result<Assigned, NetlinkError> {
        let mut netlink = Socket::open(0)?;
        let mut is_there = false;
        visit_addresses(&mut netlink, |row| is_there |= row.local == address)?;
        if is_there {
            return Ok(Assigned::AlreadyThere);
        }
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        match netlink.request(address_message(libc::RTM_NEWADDR, flags, device, address)) {
            Err(error) if error.errno() == libc::EEXIST => Ok(Assigned::AlreadyThere),
            answer => answer.map(|()| Assigned::Added),
        }
    };
    add().map_err(|source| failed("add", address, device, source))
}

/// Removes `address` from the device. An address that is gone already is no error.
pub fn remove(device: &Device, address: IpAddr) -> Result<(), VipError> {
    let remove = || -> Result<(), NetlinkError> {
        match Socket::open(0)?.request(address_message(libc::RTM_DELADDR, 0, device, address)) {
            Err(error) if matches!(error.errno(), libc::EADDRNOTAVAIL | libc::ENODEV) => Ok(()),
            answer => answer,
        }
    };
    remove().map_err(|source| failed("remove", address, device, source))
}

/// Tells the neighbours on the device's link that these addresses are here: by a gratuitous ARP request and reply (RFC 5227 section 3,
/// RFC 826), or by an unsolicited neighbour advertisement (RFC 4861 section 7.2.6). The first failure is the last try.
pub fn announce(device: &Device, addresses: &[IpAddr]) -> Result<(), VipError> {
    let Some(first) = addresses.first() else { return Ok(()) };
    let failed = |address, error: io::Error| failed("announce", address, device, error.into());
    // One for all: the kernel takes milliseconds to close such a socket.
    let socket = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0).map_err(|error| failed(*first, error))?;
    let send = |address: IpAddr| match address {
        IpAddr::V4(v4) => {
            send_frame(&socket, device, &gratuitous_arp(ArpOperation::Request, device.mac, v4))?;
            send_frame(&socket, device, &gratuitous_arp(ArpOperation::Reply, device.mac, v4))
        }
        IpAddr::V6(v6) => send_frame(&socket, device, &neighbour_advertisement(device.mac, v6)),
    };
    addresses.iter().try_for_each(|&address| send(address).map_err(|error| failed(address, error)))
}

/// One address of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostAddress {
    /// The address.
    pub(crate) local: IpAddr,
    /// The interface that has it, by the kernel's number.
    pub(crate) interface: u32,
    /// The broadcast addresses of its subnet: one that somebody has given it, and the one that follows from its prefix, which the kernel
    /// goes by in any case (RFC 919).
    pub(crate) broadcasts: [Option<IpAddr>; 2],
}

/// Shows `visit` every address of the host.
pub(crate) fn visit_addresses(
    netlink: &mut Socket,
    mut visit: impl FnMut(HostAddress),
) -> Result<(), NetlinkError> {
    netlink.ask(Message::new(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[0; ADDRESS_HEADER_BYTES]), |reply| {
        let find = |kind| reply.attributes(ADDRESS_HEADER_BYTES).find(kind).and_then(parse_address);
        // Point-to-point interfaces say the peer in IFA_ADDRESS; IPv6 says no IFA_LOCAL.
        let local = find(libc::IFA_LOCAL).or_else(|| find(libc::IFA_ADDRESS));
        if let (Some(local), Some(interface)) = (local, u32_at(reply.body, 4)) {
            let subnet = find(libc::IFA_ADDRESS).zip(reply.body.get(1));
            let implied = subnet.and_then(|(address, prefix_bits)| last_of_subnet(address, *prefix_bits));
            visit(HostAddress { local, interface, broadcasts: [find(libc::IFA_BROADCAST), implied] });
        }
    })
}

/// The broadcast address of an IPv4 subnet; `None` where two addresses or one are all of it (RFC 3021).
fn last_of_subnet(address: IpAddr, prefix_bits: u8) -> Option<IpAddr> {
    let IpAddr::V4(v4) = address else { return None };
    let host_mask = u32::MAX.checked_shr(prefix_bits.into()).filter(|mask| *mask > 1)?;
    Some(Ipv4Addr::from_bits(v4.to_bits() | host_mask).into())
}

/// An address from its 4 or 16 bytes.
pub(crate) fn parse_address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from);
    v4().or_else(v6)
}

/// The 4 or 16 bytes of an address.
pub(crate) fn address_octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn address_message(kind: u16, flags: libc::c_int, device: &Device, address: IpAddr) -> Message {
    let (family, prefix_bits) = match address {
        IpAddr::V4(_) => (libc::AF_INET, 32),
        IpAddr::V6(_) => (libc::AF_INET6, 128),
    };
    let mut header = [0; ADDRESS_HEADER_BYTES];
    header[0] = family as u8;
    header[1] = prefix_bits;
    header[4..8].copy_from_slice(&device.index.to_ne_bytes());
    let octets = address_octets(address);
    let mut message = Message::new(kind, flags, &header).attribute(libc::IFA_LOCAL, &octets);
    message = message.attribute(libc::IFA_ADDRESS, &octets);
    if address.is_ipv6() {
        // Detecting duplicates would leave the address unusable for a second, and it is ours by configuration.
        message = message.attribute(libc::IFA_FLAGS, &libc::IFA_F_NODAD.to_ne_bytes());
        // Deprecated (RFC 4862 5.5.4): the kernel must not choose it for the host's own connections, whose answers would be ours.
        message = message.attribute(libc::IFA_CACHEINFO, &NEVER_PREFERRED_ALWAYS_VALID);
    }
    message
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum ArpOperation {
    Request = 1,
    Reply = 2,
}

/// An Ethernet frame with an ARP packet whose sender and target are both `address`.
fn gratuitous_arp(operation: ArpOperation, mac: Mac, address: Ipv4Addr) -> [u8; ARP_FRAME_BYTES] {
    let mut frame = [0; ARP_FRAME_BYTES];
    frame[0..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac.0);
    frame[12..14].copy_from_slice(&(libc::ETH_P_ARP as u16).to_be_bytes());
    frame[14..22].copy_from_slice(&[0, 1, 0x08, 0x00, 6, 4, 0, operation as u8]);
    frame[22..28].copy_from_slice(&mac.0);
    frame[28..32].copy_from_slice(&address.octets());
    if let ArpOperation::Reply = operation {
        // Linux takes a reply for gratuitous only when both link addresses in it are the same.
        frame[32..38].copy_from_slice(&mac.0);
    }
    frame[38..42].copy_from_slice(&address.octets());
    frame
}

/// An Ethernet frame to all nodes of the link with an advertisement that overrides what they know of `address` (RFC 4861
/// section 4.4).
fn neighbour_advertisement(mac: Mac, address: Ipv6Addr) -> [u8; ADVERTISEMENT_FRAME_BYTES] {
    let mut frame = [0; ADVERTISEMENT_FRAME_BYTES];
    let (ethernet, packet) = frame.split_at_mut(14);
    ethernet[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
    ethernet[6..12].copy_from_slice(&mac.0);
    ethernet[12..].copy_from_slice(&(libc::ETH_P_IPV6 as u16).to_be_bytes());

    let (header, message) = packet.split_at_mut(40);
    header[0] = 0x60;
    header[5] = message.len() as u8;
    header[6] = libc::IPPROTO_ICMPV6 as u8;
    header[7] = 255; // Receivers take it for forged otherwise.
    header[8..24].copy_from_slice(&address.octets());
    header[24..].copy_from_slice(&ALL_NODES.octets());

    message[0] = NEIGHBOUR_ADVERTISEMENT;
    message[4] = OVERRIDE;
    message[8..24].copy_from_slice(&address.octets());
    message[24..26].copy_from_slice(&[TARGET_LINK_ADDRESS, 1]);
    message[26..].copy_from_slice(&mac.0);
    let pseudo_header = checksum::sum(&header[8..], u32::from(header[6]) + message.len() as u32);
    let checksum = checksum::checksum(message, pseudo_header);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    frame
}

fn send_frame(socket: &impl AsRawFd, device: &Device, frame: &[u8]) -> io::Result<()> {
    // SAFETY: all zero is a valid address.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = device.index as i32;
    address.sll_halen = 6;
    address.sll_addr[..6].fill(0xff);
    let (pointer, len) = sys::address_bytes(&address);
    // SAFETY: frame and address are valid for reading for the call, with the lengths given.
    let sent =
        unsafe { libc::sendto(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, pointer, len) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn failed(action: &'static str, address: IpAddr, device: &Device, source: NetlinkError) -> VipError {
    VipError { action, address, device: device.name.clone(), source }
}

/// `struct ifa_cacheinfo`: seconds preferred, seconds valid (all ones: for ever), two time stamps that the kernel sets.
const NEVER_PREFERRED_ALWAYS_VALID: [u8; 16] = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
/// Bytes of `struct ifaddrmsg`.
const ADDRESS_HEADER_BYTES: usize = 8;
/// An ARP packet in the smallest Ethernet frame.
const ARP_FRAME_BYTES: usize = 60;
/// An Ethernet and an IPv6 header, and an advertisement with one option.
const ADVERTISEMENT_FRAME_BYTES: usize = 14 + 40 + 32;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Flag of an advertisement: not solicited, not of a router, overrides.
const OVERRIDE: u8 = 0x20;
/// Option of an advertisement, whose length is told in units of 8 bytes.
const TARGET_LINK_ADDRESS: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gratuitous_arp_names_the_address_twice() {
        let frame =
            gratuitous_arp(ArpOperation::Request, Mac([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(198, 18, 100, 1));
        let sender = [2, 0, 0, 0, 0, 1, 198, 18, 100, 1];
        assert_eq!(frame[..12], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1]);
        assert_eq!(frame[12..22], [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(frame[22..32], sender);
        assert_eq!(frame[32..42], [0, 0, 0, 0, 0, 0, 198, 18, 100, 1]);
        let reply =
            gratuitous_arp(ArpOperation::Reply, Mac([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(198, 18, 100, 1));
        assert_eq!(reply[21], 2);
        assert_eq!(reply[32..42], sender);
        assert!(frame[42..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_neighbour_advertisement_overrides_for_all_nodes() {
        let frame = neighbour_advertisement(Mac([2, 0, 0, 0, 0, 1]), "2001:db8::64".parse().unwrap());
        let address = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x64];
        assert_eq!(frame[..14], [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd]);
        assert_eq!(frame[14..22], [0x60, 0, 0, 0, 0, 32, 58, 255]);
        assert_eq!(frame[22..38], address);
        assert_eq!(frame[38..54], [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((&frame[54..56], &frame[58..62]), (&[136, 0][..], &[0x20, 0, 0, 0][..]));
        assert_eq!(frame[62..78], address);
        assert_eq!(frame[78..], [2, 1, 2, 0, 0, 0, 0, 1]);
        // Sum of addresses, length and protocol, and of the message: RFC 8200 section 8.1.
        let pseudo_header = checksum::sum(&frame[22..54], 32 + 58);
        assert_eq!(checksum::sum(&frame[54..], pseudo_header), 0xffff);
    }

    #[test]
    fn addresses_are_four_or_sixteen_bytes() {
        assert_eq!(parse_address(&[127, 0, 0, 1]), Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(parse_address(&[0; 16]), Some(IpAddr::from([0; 16])));
        assert_eq!(parse_address(&[0; 5]), None);
    }

    #[test]
    fn a_subnet_has_a_broadcast_address_unless_it_is_a_link_of_two_or_an_address_alone() {
        for (address, prefix_bits, broadcast) in [
            ("198.18.0.1", 24, Some("198.18.0.255")),
            ("198.18.5.6", 15, Some("198.19.255.255")),
            ("198.18.0.1", 30, Some("198.18.0.3")),
            ("198.18.0.1", 0, Some("255.255.255.255")),
            ("198.18.0.1", 31, None),
            ("198.18.0.1", 32, None),
            ("2001:db8::1", 64, None),
        ] {
            let broadcast = broadcast.map(|text| text.parse().unwrap());
            assert_eq!(
                last_of_subnet(address.parse().unwrap(), prefix_bits),
                broadcast,
                "{address}/{prefix_bits}"
            );
        }
    }
}
