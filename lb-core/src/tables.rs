//! The tables that the packet path reads: one immutable value per generation, made by `compile` and swapped between bursts.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use crate::limits;
pub use crate::{
    listener::Sources,
    listener::{Listener, ListenerId},
    maglev::Maglev,
    receive_hash::ReceiveHash,
    target::{FlowPolicy, Target, TargetGroup, TargetGroupId, TargetId},
};

/// A link-layer address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

/// Index of an interface in [`Tables::interfaces`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceId(pub u8);

/// An interface that frames come in and go out by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name, for people.
    pub name: Box<str>,
    /// Source of frames sent; frames to another unicast address are dropped, unless this is all zero.
    pub mac: Mac,
    /// Largest IP packet that may leave, in bytes.
    pub mtu: u32,
    /// How it spreads packets over its queues, where that is known.
    pub receive_hash: Option<Arc<ReceiveHash>>,
}

/// Where to send a packet next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Interface to send by.
    pub interface: InterfaceId,
    /// Link-layer address of the neighbour.
    pub mac: Mac,
}

/// A protocol that listeners have. The number is the one of the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Protocol {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

impl Protocol {
    /// `TCP` or `UDP`.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        }
    }

    /// The protocol with this number in the IP header.
    #[inline]
    pub const fn from_number(number: u8) -> Option<Protocol> {
        match number {
            6 => Some(Protocol::Tcp),
            17 => Some(Protocol::Udp),
            _ => None,
        }
    }
}

/// An address, port and protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Address.
    pub address: IpAddr,
    /// Port, in host order.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// What [`Tables::new`] is made of.
#[derive(Clone, Debug, Default)]
pub struct TablesParts {
    /// Differs from that of every tables value published before; not 0.
    pub generation: u32,
    /// Indexed by `ListenerId`. An id stays with its listener for as long as that exists; a gap is `None`.
    pub listeners: Vec<Option<Listener>>,
    /// Indexed by `TargetGroupId`.
    pub groups: Vec<TargetGroup>,
    /// Indexed by `TargetId`. An id stays with its target for as long as that exists; a gap is `None`.
    pub targets: Vec<Option<Target>>,
    /// Indexed by `InterfaceId`.
    pub interfaces: Vec<Interface>,
    /// Every address of a load balancer.
    pub vips: Vec<Vip>,
    /// Every address and port range that flows which do not keep the client's have as their source. VIPs can be among them.
    pub sources: Vec<Source>,
    /// Ways to single addresses that a worker asked for ([`crate::datapath::Datapath::take_wanted_hops`]).
    pub hops: Vec<(IpAddr, NextHop)>,
}

/// An address of a load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vip {
    /// The address.
    pub address: IpAddr,
    /// Who else uses the address.
    pub ownership: Ownership,
}

/// An address that the load balancer sends from, with the ports that are its own there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// The address.
    pub address: IpAddr,
    /// First port, in host order.
    pub first_port: u16,
    /// Last port.
    pub last_port: u16,
}

/// Who else uses an address of a load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ownership {
    /// The load balancer alone: packets for other ports are dropped.
    Exclusive,
    /// The host too: packets for ports without a listener are the kernel's.
    SharedWithHost,
}

/// The tables of one generation.
#[derive(Debug)]
pub struct Tables {
    parts: TablesParts,
    /// Listeners by endpoint, sorted.
    listener_index: Box<[(Endpoint, ListenerId)]>,
    /// For each listener, those before it, by endpoint, of the same protocol and target group; at most `limits::SIBLINGS`.
    siblings: Box<[Box<[ListenerId]>]>,
    /// Ways to single addresses, sorted.
    hops: Box<[(IpAddr, NextHop)]>,
    /// Listeners that can reach a target's endpoint, sorted; several rows when several can.
    target_index: Box<[(Endpoint, ListenerId, TargetId)]>,
}

/// Why parts do not make tables: a defect in whoever compiled them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TablesError {
    /// More of something than `limits` allows.
    TooMany(&'static str),
    /// An id that points nowhere.
    Dangling(&'static str),
    /// Two listeners on one endpoint.
    DuplicateListener(Endpoint),
    /// Generation 0.
    GenerationZero,
}

impl Tables {
    /// Checks the parts and indexes them.
    pub fn new(mut parts: TablesParts) -> Result<Tables, TablesError> {
        if parts.generation == 0 {
            return Err(TablesError::GenerationZero);
        }
        for (what, count, most) in [
            ("listeners", parts.listeners.len(), limits::LISTENERS),
            ("target groups", parts.groups.len(), limits::TARGET_GROUPS),
            ("targets", parts.targets.len(), limits::TARGETS),
            ("interfaces", parts.interfaces.len(), limits::INTERFACES),
            ("source addresses", parts.sources.len(), limits::SOURCES),
        ] {
            if count > most {
                return Err(TablesError::TooMany(what));
            }
        }
        for target in parts.targets.iter().flatten() {
            if usize::from(target.group.0) >= parts.groups.len() {
                return Err(TablesError::Dangling("target's group"));
            }
            if target.next_hop.is_some_and(|hop| usize::from(hop.interface.0) >= parts.interfaces.len()) {
                return Err(TablesError::Dangling("target's interface"));
            }
        }
        for group in &parts.groups {
            if group.eligible.iter().any(|id| !matches!(parts.targets.get(id.0 as usize), Some(Some(_)))) {
                return Err(TablesError::Dangling("group's target"));
            }
            if group.maglev.targets() != group.eligible.len() {
                return Err(TablesError::Dangling("group's Maglev table"));
            }
        }

        let mut members: Vec<Vec<(TargetId, &Target)>> = vec![Vec::new(); parts.groups.len()];
        for (id, target) in parts.targets.iter().enumerate() {
            if let Some(target) = target {
                members[usize::from(target.group.0)].push((TargetId(id as u32), target));
            }
        }
        let mut listener_index = Vec::new();
        let mut target_index = Vec::new();
        for (id, listener) in parts.listeners.iter().enumerate() {
            let Some(listener) = listener else { continue };
            let id = ListenerId(id as u16);
            let Some(members) = members.get(usize::from(listener.group.0)) else {
                return Err(TablesError::Dangling("listener's group"));
            };
            listener_index.push((listener.endpoint, id));
            target_index.extend(members.iter().map(|(target_id, target)| {
                let protocol = listener.endpoint.protocol;
                (Endpoint { address: target.address, port: target.port, protocol }, id, *target_id)
            }));
        }
        listener_index.sort_unstable();
        target_index.sort_unstable();
        if let Some(pair) = listener_index.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(TablesError::DuplicateListener(pair[0].0));
        }
        let siblings = siblings(&parts, &listener_index);
        parts.vips.sort_unstable();
        parts.sources.sort_unstable();
        let mut hops = std::mem::take(&mut parts.hops);
        hops.sort_unstable_by_key(|row| row.0);
        Ok(Tables {
            parts,
            siblings,
            hops: hops.into(),
            listener_index: listener_index.into(),
            target_index: target_index.into(),
        })
    }

    /// Tables without listeners: every frame is dropped.
    pub fn empty() -> Arc<Tables> {
        Arc::new(Tables {
            parts: TablesParts { generation: 1, ..TablesParts::default() },
            siblings: Box::default(),
            hops: Box::default(),
            listener_index: Box::default(),
            target_index: Box::default(),
        })
    }

    /// Differs between any two tables published.
    #[inline]
    pub fn generation(&self) -> u32 {
        self.parts.generation
    }

    /// Listeners by `ListenerId`.
    pub fn listeners(&self) -> &[Option<Listener>] {
        &self.parts.listeners
    }

    /// One listener.
    #[inline]
    pub fn listener(&self, id: ListenerId) -> Option<&Listener> {
        self.parts.listeners.get(usize::from(id.0))?.as_ref()
    }

    /// The listeners, in the order of their endpoints, whose flows to the same targets a listener's must not be taken for.
    pub fn siblings(&self, id: ListenerId) -> &[ListenerId] {
        self.siblings.get(usize::from(id.0)).map_or(&[], |siblings| siblings)
    }

    /// Target groups by `TargetGroupId`.
    pub fn groups(&self) -> &[TargetGroup] {
        &self.parts.groups
    }

    /// One target group.
    #[inline]
    pub fn group(&self, id: TargetGroupId) -> Option<&TargetGroup> {
        self.parts.groups.get(usize::from(id.0))
    }

    /// Targets by `TargetId`.
    pub fn targets(&self) -> &[Option<Target>] {
        &self.parts.targets
    }

    /// One target.
    #[inline]
    pub fn target(&self, id: TargetId) -> Option<&Target> {
        self.parts.targets.get(id.0 as usize)?.as_ref()
    }

    /// Interfaces by `InterfaceId`.
    pub fn interfaces(&self) -> &[Interface] {
        &self.parts.interfaces
    }

    /// One interface.
    #[inline]
    pub fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.parts.interfaces.get(usize::from(id.0))
    }

    /// Addresses of load balancers, ascending.
    pub fn vips(&self) -> &[Vip] {
        &self.parts.vips
    }

    /// Whether `address` is a load balancer's.
    pub fn is_vip(&self, address: IpAddr) -> bool {
        self.parts.vips.binary_search_by_key(&address, |vip| vip.address).is_ok()
    }

    /// Every address and port range that flows which do not keep the client's have as their source, by address.
    pub fn sources(&self) -> &[Source] {
        &self.parts.sources
    }

    /// Whether flows which do not keep the client's address have this one instead.
    pub fn is_source(&self, address: IpAddr) -> bool {
        self.parts.sources.binary_search_by_key(&address, |source| source.address).is_ok()
    }

    /// The way to an address that a worker asked for, once it is known.
    pub fn hop(&self, address: IpAddr) -> Option<NextHop> {
        let at = self.hops.binary_search_by_key(&address, |row| row.0).ok()?;
        Some(self.hops[at].1)
    }

    /// The listener on an endpoint.
    pub fn listener_at(&self, endpoint: &Endpoint) -> Option<ListenerId> {
        let at = self.listener_index.binary_search_by_key(endpoint, |row| row.0).ok()?;
        Some(self.listener_index[at].1)
    }

    /// The listeners, each with the target, that can have sent flows to an endpoint.
    pub fn listeners_of_target(&self, endpoint: &Endpoint) -> &[(Endpoint, ListenerId, TargetId)] {
        let from = self.target_index.partition_point(|row| row.0 < *endpoint);
        let to = from + self.target_index[from..].partition_point(|row| row.0 == *endpoint);
        &self.target_index[from..to]
    }
}

/// For each listener, the first of those before it, by endpoint, of the same protocol and target group. None where targets tell
/// flows apart by sources of ours.
fn siblings(parts: &TablesParts, by_endpoint: &[(Endpoint, ListenerId)]) -> Box<[Box<[ListenerId]>]> {
    let listeners = &parts.listeners;
    let mut siblings = vec![Box::default(); listeners.len()];
    let mut families: HashMap<(TargetGroupId, Protocol), Vec<ListenerId>> = HashMap::new();
    for &(endpoint, id) in by_endpoint {
        let Some(listener) = listeners.get(usize::from(id.0)).and_then(Option::as_ref) else { continue };
        if !parts.groups.get(usize::from(listener.group.0)).is_some_and(|group| group.preserves_client_ip) {
            continue;
        }
        let family = families.entry((listener.group, endpoint.protocol)).or_default();
        siblings[usize::from(id.0)] = family.clone().into();
        if family.len() < limits::SIBLINGS {
            family.push(id);
        }
    }
    siblings.into()
}
