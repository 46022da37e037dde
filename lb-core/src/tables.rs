//! The tables that the packet path reads: one immutable value per generation, made by `compile` and swapped between bursts.

mod directory;
mod shared_hops;

use std::{iter, net::IpAddr, sync::Arc};

use crate::limits;
pub use crate::{
    listener::Sources,
    listener::{Forward, Listener, ListenerId, WeightedGroup},
    maglev::Maglev,
    receive_hash::ReceiveHash,
    target::{CutCause, FlowPolicy, HeaderPlacement, Pool, Target, TargetGroup, TargetGroupId, TargetId},
};
use directory::Directory;
use shared_hops::SharedHops;

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
    /// The host's own addresses, VIPs or not, and the broadcast addresses of its subnets.
    pub host_addresses: Vec<IpAddr>,
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
    /// By `TargetId`: whether flows can have been sent to it, for there is or was a way.
    reached: Box<[bool]>,
    /// Addresses that no packet comes from, sorted.
    own: Box<[IpAddr]>,
    /// Ways to single addresses, sorted.
    hops: Box<[(IpAddr, NextHop)]>,
    shared_hops: Arc<SharedHops>,
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
        let reached = parts.targets.iter().map(has_way).collect();
        let shared_hops = SharedHops::among(&parts.targets).into();
        Ok(Tables::assemble((parts.generation, reached), parts, directory, shared_hops))
    }

    /// The same as [`Tables::new`], sooner when listeners and targets are those of the tables before.
    pub fn succeeding(before: &Tables, parts: TablesParts) -> Result<Tables, TablesError> {
        check(&parts)?;
        let directory = match Directory::is_common(&before.parts, &parts) {
            true => before.directory.clone(),
            false => Directory::new(&parts)?.into(),
        };
        let epoch = if flows_fare_alike(before, &parts) { before.epoch } else { parts.generation };
        let reached = reached_since(before, &parts);
        let shared_hops = match SharedHops::are_common(&before.parts.targets, &parts.targets) {
            true => before.shared_hops.clone(),
            false => SharedHops::among(&parts.targets).into(),
        };
        Ok(Tables::assemble((epoch, reached), parts, directory, shared_hops))
    }

    /// Tables without listeners: every frame is dropped.
    pub fn empty() -> Arc<Tables> {
        let parts = TablesParts { generation: 1, ..TablesParts::default() };
        Arc::new(Tables::assemble((parts.generation, Box::default()), parts, Arc::default(), Arc::default()))
    }

    fn assemble(
        (epoch, reached): (u32, Box<[bool]>),
        mut parts: TablesParts,
        directory: Arc<Directory>,
        shared_hops: Arc<SharedHops>,
    ) -> Tables {
        parts.vips.sort_unstable();
        parts.sources.sort_unstable();
        let mut hops = std::mem::take(&mut parts.hops);
        hops.sort_unstable_by_key(|row| row.0);
        Tables {
            own: own_addresses(&parts),
            parts,
            epoch,
            directory,
            reached,
            hops: hops.into(),
            shared_hops,
        }
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
        self.parts.targets.iter().flatten().any(|target| is_cut(target.flow_policy))
            || self
                .parts
                .listeners
                .iter()
                .flatten()
                .any(|listener| listener.forward.is_closing() || cuts(listener).next().is_some())
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

    /// By `TargetId`: whether there is a way to it, or was at some time.
    pub fn reached(&self) -> &[bool] {
        &self.reached
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

    /// Whether an address is ours: a VIP, a source, or one of the host's own or of its subnets' broadcast addresses. No packet that
    /// comes in has one as its source, but a forged or looped one (RFC 1812 section 5.3.7, RFC 2827).
    #[inline]
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.own.binary_search(&address).is_ok()
    }

    /// The way to an address that a worker asked for, once it is known.
    pub fn hop(&self, address: IpAddr) -> Option<NextHop> {
        let at = self.hops.binary_search_by_key(&address, |row| row.0).ok()?;
        Some(self.hops[at].1)
    }

    /// Whether a client is itself a target behind the next hop of this one: a pod of the same node, or the node, that would be
    /// answered there.
    #[inline]
    pub fn shares_hop(&self, client: IpAddr, target: &Target) -> bool {
        self.shared_hops.of(client).is_some_and(|hop| Some(hop) == target.next_hop)
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

fn own_addresses(parts: &TablesParts) -> Box<[IpAddr]> {
    let vips = parts.vips.iter().map(|vip| vip.address);
    let sources = parts.sources.iter().map(|source| source.address);
    let mut own: Vec<IpAddr> = vips.chain(sources).chain(parts.host_addresses.iter().copied()).collect();
    own.sort_unstable();
    own.dedup();
    own.into()
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

/// Whether every flow made by the tables before fares the same by the new ones: goes on or is cut, by the same way, with the same
/// timeout. A `false` may be wrong.
fn flows_fare_alike(before: &Tables, new: &TablesParts) -> bool {
    let is_listener_alike = |(before, new): (&Option<Listener>, Option<&Listener>)| {
        before.as_ref().is_none_or(|before| new.is_some_and(|new| is_listener_alike(before, new)))
    };
    let is_target_alike = |((before, reached), new): ((&Option<Target>, &bool), Option<&Target>)| {
        before.as_ref().is_none_or(|before| new.is_some_and(|new| is_target_alike(before, *reached, new)))
    };
    let targets = before.parts.targets.iter().zip(&before.reached);
    before.parts.listeners.iter().zip(padded(&new.listeners)).all(is_listener_alike)
        && targets.zip(padded(&new.targets)).all(is_target_alike)
}

fn is_listener_alike(before: &Listener, new: &Listener) -> bool {
    (before.endpoint, before.idle_timeout_s) == (new.endpoint, new.idle_timeout_s)
        && before.forward.is_closing() == new.forward.is_closing()
        && cuts(before).eq(cuts(new))
}

/// The groups that a listener's flows to are cut, each with the cause.
fn cuts(listener: &Listener) -> impl Iterator<Item = (TargetGroupId, CutCause)> {
    listener.forward.groups.iter().filter_map(|row| Some((row.group, row.flow_policy.cause()?)))
}

/// The first way to a target concerns no flow. One that the target itself began knows the way that its packets came.
fn is_target_alike(before: &Target, is_reached: bool, new: &Target) -> bool {
    let fate = |target: &Target| (target.group, target.address, target.port, target.flow_policy);
    fate(before) == fate(new) && (before.next_hop == new.next_hop || !is_reached)
}

/// Which targets flows can have been sent to, after another generation.
fn reached_since(before: &Tables, new: &TablesParts) -> Box<[bool]> {
    let identity = |target: &Target| (target.group, target.address, target.port);
    let is_reached = |(id, target): (usize, &Option<Target>)| {
        let was = before.parts.targets.get(id).and_then(Option::as_ref);
        let is_same = was.map(identity) == target.as_ref().map(identity);
        has_way(target) || is_same && before.reached.get(id) == Some(&true)
    };
    new.targets.iter().enumerate().map(is_reached).collect()
}

fn has_way(target: &Option<Target>) -> bool {
    target.as_ref().is_some_and(|target| target.next_hop.is_some())
}

/// Rows by id, and `None` from the last on.
fn padded<T>(rows: &[Option<T>]) -> impl Iterator<Item = Option<&T>> {
    rows.iter().map(Option::as_ref).chain(iter::repeat(None))
}

#[cfg(test)]
mod tests;
