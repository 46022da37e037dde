//! Links, addresses and routes by rtnetlink. One socket speaks for one namespace: the one it was opened in.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsRawFd, BorrowedFd},
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope},
    link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp},
    route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// A netlink socket of one namespace.
#[derive(Debug)]
pub(super) struct RouteSocket(Socket);

/// One end of a veth pair.
#[derive(Clone, Debug)]
pub(super) struct VethEnd<'a> {
    pub(super) name: &'a str,
    pub(super) mac: [u8; 6],
    /// Receive and transmit queues, each.
    pub(super) queues: u32,
}

impl RouteSocket {
    /// Opens a socket of the calling thread's namespace.
    pub(super) fn open() -> io::Result<RouteSocket> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(RouteSocket(socket))
    }

    /// Makes a veth pair with one end here and one in namespace `there`; both are up afterwards only by [`Self::set_up`].
    pub(super) fn create_veth(&self, here: &VethEnd, peer: &VethEnd, there: BorrowedFd) -> io::Result<()> {
        let mut far = LinkMessage::default();
        far.attributes = end_attributes(peer);
        far.attributes.push(LinkAttribute::NetNsFd(there.as_raw_fd()));
        let mut near = LinkMessage::default();
        near.attributes = end_attributes(here);
        near.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]));
        self.ask(RouteNetlinkMessage::NewLink(near), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Makes a bridge.
    pub(super) fn create_bridge(&self, name: &str) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
        ];
        self.ask(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Makes link `index` a port of bridge `bridge`.
    pub(super) fn enslave(&self, index: u32, bridge: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![LinkAttribute::Controller(bridge)];
        self.ask(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Sets a link up.
    pub(super) fn set_up(&self, index: u32) -> io::Result<()> {
        self.change_flags(index, LinkFlags::Up)
    }

    /// Sets a link down.
    pub(super) fn set_down(&self, index: u32) -> io::Result<()> {
        self.change_flags(index, LinkFlags::empty())
    }

    /// Sets the longest IP packet that a link sends, in bytes.
    pub(super) fn set_mtu(&self, index: u32, bytes: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![LinkAttribute::Mtu(bytes)];
        self.ask(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Gives a link an address, which is usable at once: nobody is asked whether it is taken (RFC 4862 section 5.4).
    pub(super) fn add_address(&self, index: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family_of(address);
        message.header.prefix_len = prefix;
        message.header.flags = AddressHeaderFlags::Nodad;
        message.header.scope = AddressScope::Universe;
        message.header.index = index;
        message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
        self.ask(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Routes what goes to a network, given by its first address and prefix length, through `gateway`.
    pub(super) fn add_route(&self, network: (IpAddr, u8), gateway: IpAddr) -> io::Result<()> {
        let (address, prefix) = network;
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: family_of(gateway),
            destination_prefix_length: prefix,
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Static,
            scope: RouteScope::Universe,
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        message.attributes = vec![RouteAttribute::Gateway(gateway.into())];
        if prefix > 0 {
            message.attributes.push(RouteAttribute::Destination(address.into()));
        }
        self.ask(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// The id of the XDP program that is attached to a link.
    pub(super) fn xdp_program(&self, index: u32) -> io::Result<Option<u32>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let answer = self.exchange(RouteNetlinkMessage::GetLink(message), 0)?;
        let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = answer else {
            return Err(io::Error::other(format!("unexpected netlink answer {answer:?}")));
        };
        let program_id = |xdp: &LinkXdp| if let LinkXdp::ProgId(id) = xdp { Some(*id) } else { None };
        Ok(link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Xdp(xdp) => xdp.iter().find_map(program_id),
            _ => None,
        }))
    }

    fn change_flags(&self, index: u32, flags: LinkFlags) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = flags;
        message.header.change_mask = LinkFlags::Up;
        self.ask(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Sends a request for a change and waits until it is done.
    fn ask(&self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        match self.exchange(request, NLM_F_ACK | flags)? {
            NetlinkPayload::Error(_) => Ok(()),
            other => Err(io::Error::other(format!("unexpected netlink answer {other:?}"))),
        }
    }

    /// Sends one request and waits for the kernel's answer to it. An acknowledgement is an error message without a code.
    fn exchange(
        &self,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<NetlinkPayload<RouteNetlinkMessage>> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.0.send(&bytes, 0)?;
        let (answer, _) = self.0.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            payload => Ok(payload),
        }
    }
}

/// The index of a link in the calling thread's namespace.
pub(super) fn index_of(name: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: `name` is a valid C string.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

fn family_of(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn end_attributes(end: &VethEnd) -> Vec<LinkAttribute> {
    vec![
        LinkAttribute::IfName(end.name.to_owned()),
        LinkAttribute::Address(end.mac.to_vec()),
        LinkAttribute::NumTxQueues(end.queues),
        LinkAttribute::NumRxQueues(end.queues),
    ]
}
