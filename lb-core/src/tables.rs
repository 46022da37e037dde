//! The tables that the packet path reads: one immutable value per generation, made by `compile` and swapped between bursts.

mod directory;

use std::{net::IpAddr, sync::Arc};

use crate::limits;
pub use crate::{
    listener::Sources,
    listener::{Forward, Listener, ListenerId, WeightedGroup},
    maglev::Maglev,
    receive_hash::ReceiveHash,
    target::{CutCause, FlowPolicy, Pool, Target, TargetGroup, TargetGroupId, TargetId},
};
use directory::Directory;

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
    /// Source of frames sent; frames to another unicast address are dropped.
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
    epoch: u32,
    directory: Arc<Directory>,
    /// Ways to single addresses, sorted.
    hops: Box<[(IpAddr, NextHop)]>,
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
    pub fn new(parts: TablesParts) -> Result<Tables, TablesError> {
        check(&parts)?;
        let directory = Directory::new(&parts)?.into();
        Ok(Tables::assemble(parts.generation, parts, directory))
    }

    /// The same as [`Tables::new`], sooner when listeners and targets are those of the tables before.
    pub fn succeeding(before: &Tables, parts: TablesParts) -> Result<Tables, TablesError> {
        check(&parts)?;
        let directory = match Directory::is_common(&before.parts, &parts) {
            true => before.directory.clone(),
            false => Directory::new(&parts)?.into(),
        };
        let epoch = if flows_fare_alike(&before.parts, &parts) { before.epoch } else { parts.generation };
        Ok(Tables::assemble(epoch, parts, directory))
    }

    /// Tables without listeners: every frame is dropped.
    pub fn empty() -> Arc<Tables> {
        let parts = TablesParts { generation: 1, ..TablesParts::default() };
        Arc::new(Tables::assemble(parts.generation, parts, Arc::default()))
    }

    fn assemble(epoch: u32, mut parts: TablesParts, directory: Arc<Directory>) -> Tables {
        parts.vips.sort_unstable();
        parts.sources.sort_unstable();
        let mut hops = std::mem::take(&mut parts.hops);
        hops.sort_unstable_by_key(|row| row.0);
        Tables { parts, epoch, directory, hops: hops.into() }
    }

    /// Whether exactly the same packets are the load balancer's by these tables and by others. A `false` may be wrong.
    pub fn are_steered_like(&self, other: &Tables) -> bool {
        Arc::ptr_eq(&self.directory, &other.directory)
            && self.parts.vips == other.parts.vips
            && self.parts.sources == other.parts.sources
    }

    /// Differs between any two tables published.
    #[inline]
    pub fn generation(&self) -> u32 {
        self.parts.generation
    }

    /// The same in tables that mean the same for every flow made before, so that none has to be checked against the newer.
    #[inline]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether flows may have to be cut.
    pub fn has_cuts(&self) -> bool {
        let is_cut = |policy: FlowPolicy| policy != FlowPolicy::Keep;
        let listeners = self.parts.listeners.iter().flatten();
        self.parts.targets.iter().flatten().any(|target| is_cut(target.flow_policy))
            || listeners.flat_map(|listener| &listener.forward.groups).any(|row| is_cut(row.flow_policy))
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
        self.directory.siblings(id)
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

    /// The pool that a listener's flows to a group are shared out to, with the group.
    #[inline]
    pub fn pool(&self, row: &WeightedGroup) -> Option<(&TargetGroup, &Pool)> {
        let group = self.group(row.group)?;
        Some((group, group.pools.get(usize::from(row.pool))?))
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
    #[inline]
    pub fn listener_at(&self, endpoint: &Endpoint) -> Option<ListenerId> {
        self.directory.listener_at(endpoint)
    }

    /// The listeners, each with the target, that can have sent flows to an endpoint.
    pub fn listeners_of_target(&self, endpoint: &Endpoint) -> &[(Endpoint, ListenerId, TargetId)] {
        self.directory.listeners_of_target(endpoint)
    }
}

/// Whether all numbers are within limits and all ids lead somewhere; listeners' groups are left to the directory.
fn check(parts: &TablesParts) -> Result<(), TablesError> {
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
    for pool in parts.groups.iter().flat_map(|group| &group.pools) {
        if pool.eligible.iter().any(|id| !matches!(parts.targets.get(id.0 as usize), Some(Some(_)))) {
            return Err(TablesError::Dangling("group's target"));
        }
        if pool.maglev.targets() != pool.eligible.len() {
            return Err(TablesError::Dangling("group's Maglev table"));
        }
    }
    for row in parts.listeners.iter().flatten().flat_map(|listener| &listener.forward.groups) {
        let group = parts.groups.get(usize::from(row.group.0));
        if group.is_none_or(|group| usize::from(row.pool) >= group.pools.len()) {
            return Err(TablesError::Dangling("listener's group"));
        }
    }
    Ok(())
}

/// Whether every flow made by the tables before fares the same by the new ones. A `false` may be wrong.
fn flows_fare_alike(before: &TablesParts, new: &TablesParts) -> bool {
    let fate =
        |target: &Target| (target.group, target.address, target.port, target.next_hop, target.flow_policy);
    let is_as_before = |(id, target): (usize, &Option<Target>)| {
        let new = || new.targets.get(id).and_then(Option::as_ref);
        target.as_ref().is_none_or(|target| new().is_some_and(|new| fate(target) == fate(new)))
    };
    before.listeners == new.listeners && before.targets.iter().enumerate().all(is_as_before)
}
