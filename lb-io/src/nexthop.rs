//! The way to addresses, by the kernel's routes and neighbours, kept current by netlink.
//!
//! Routes are asked of the kernel, one address at a time, so that policy rules, metrics and gateways count as they do for
//! the kernel itself; they are asked again when any route, rule, address or link changes. Neighbours are mirrored. The
//! kernel resolves them: it is asked to use the entry of each next hop, which starts or refreshes its resolution, since
//! frames that pass it by do not.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    io,
    net::IpAddr,
    os::fd::AsRawFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Acquire, Ordering::Release},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use lb_core::tables::{InterfaceId, Mac, NextHop};

use crate::{
    device::{Device, DeviceError},
    netlink::{Message, NetlinkError, Reply, Socket, u32_at},
    sys::{self, Wakeup},
    vip,
};

/// Answers, kept current by a thread of its own, which ends on drop.
#[derive(Debug)]
pub struct NextHops {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Why the kernel's routes cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum NextHopsError {
    /// An interface cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Netlink refused.
    #[error("cannot follow the kernel's routes and neighbours by netlink: {0}")]
    Netlink(#[from] NetlinkError),
    /// No socket or thread can be made.
    #[error("cannot follow the kernel's routes and neighbours: {0}")]
    System(#[from] io::Error),
}

impl NextHops {
    /// Starts following, in the calling thread's network namespace. The place in `interfaces` is the `InterfaceId`; ways
    /// by other interfaces are no answer. When an answer or one of the host's addresses has changed, `on_change` is called
    /// from the thread within about 20 ms, once for a burst of changes.
    pub fn start(
        interfaces: &[String],
        on_change: impl Fn() + Send + 'static,
    ) -> Result<NextHops, NextHopsError> {
        let interfaces = interfaces
            .iter()
            .map(|name| Device::open(name).map(|device| device.index))
            .collect::<Result<Vec<_>, _>>()?;
        let shared = Arc::new(Shared::new()?);
        let mut mirror = Mirror::new(interfaces)?;
        mirror.read_everything()?;
        shared.store(mirror.answers());
        let of_thread = shared.clone();
        let thread = thread::Builder::new()
            .name("next hops".to_owned())
            .spawn(move || follow(mirror, &of_thread, on_change))?;
        Ok(NextHops { shared, thread: Some(thread) })
    }

    /// The addresses to resolve, instead of those watched before. Answers come a little later.
    pub fn watch(&self, addresses: &[IpAddr]) {
        *lock(&self.shared.watched) = Some(addresses.iter().copied().collect());
        self.shared.wakeup.wake();
    }

    /// The current answer for a watched address; `None` when there is no way to it, or none yet.
    pub fn resolve(&self, address: IpAddr) -> Option<NextHop> {
        lock(&self.shared.answers).hops.get(&address).copied()
    }

    /// The host's own addresses and the broadcast addresses of its subnets, ascending.
    pub fn host_addresses(&self) -> Vec<IpAddr> {
        lock(&self.shared.answers).host_addresses.iter().copied().collect()
    }
}

/// Whether the kernel, in the calling thread's network namespace, has an address on a link of its own, not behind a router.
///
/// # Errors
/// When netlink refuses; an address without any route is no error.
pub fn is_on_link(address: IpAddr) -> Result<bool, NextHopsError> {
    let mut route = None;
    match Socket::open(0)?.ask(route_request(address), |reply| route = parse_route(reply, address)) {
        Err(error) if error.errno() == 0 => Err(error.into()),
        _ => Ok(route.is_some_and(|route| route.neighbour == address)),
    }
}

impl Drop for NextHops {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Release);
        self.shared.wakeup.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread and its owner share.
#[derive(Debug)]
struct Shared {
    /// What to watch from now on.
    watched: Mutex<Option<BTreeSet<IpAddr>>>,
    answers: Mutex<Answers>,
    wakeup: Wakeup,
    is_stopped: AtomicBool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Answers {
    hops: HashMap<IpAddr, NextHop>,
    host_addresses: BTreeSet<IpAddr>,
}

impl Shared {
    fn new() -> io::Result<Shared> {
        Ok(Shared {
            watched: Mutex::new(None),
            answers: Mutex::default(),
            wakeup: Wakeup::new()?,
            is_stopped: AtomicBool::new(false),
        })
    }

    /// Stores the answers; says whether they differ from those before.
    fn store(&self, answers: Answers) -> bool {
        let mut current = lock(&self.answers);
        let differ = *current != answers;
        *current = answers;
        differ
    }
}

/// The thread: waits for events, lets a burst of them pass, and reads anew what they made stale.
fn follow(mut mirror: Mirror, shared: &Shared, on_change: impl Fn()) {
    let mut next_refresh = Instant::now() + REFRESH_INTERVAL;
    let mut settled_at: Option<Instant> = None;
    while !shared.is_stopped.load(Acquire) {
        let until = settled_at.unwrap_or(next_refresh).min(next_refresh);
        let timeout_ms = until.saturating_duration_since(Instant::now()).as_millis() as i32 + 1;
        let mut descriptors =
            [sys::poll_input(shared.wakeup.as_raw_fd()), sys::poll_input(mirror.events.as_raw_fd())];
        sys::poll(&mut descriptors, timeout_ms);
        shared.wakeup.clear();
        if let Some(watched) = lock(&shared.watched).take() {
            mirror.watch(watched);
        }
        mirror.take_events();
        let now = Instant::now();
        if mirror.is_stale() {
            settled_at.get_or_insert(now + SETTLING_TIME);
        }
        if now >= next_refresh {
            next_refresh = now + REFRESH_INTERVAL;
            mirror.refresh_neighbours();
        }
        if settled_at.is_some_and(|at| now >= at) {
            settled_at = None;
            // What could not be read now stays stale and is tried again.
            let _ = mirror.read_stale();
            mirror.resolve_missing();
            if shared.store(mirror.answers()) {
                on_change();
            }
        }
    }
}

/// The kernel's state as far as it matters.
struct Mirror {
    requests: Socket,
    events: Socket,
    /// The kernel's number by `InterfaceId`.
    interfaces: Vec<u32>,
    routes: HashMap<IpAddr, Option<Route>>,
    neighbours: HashMap<Route, Neighbour>,
    host_addresses: BTreeSet<IpAddr>,
    /// Addresses in `routes` whose route the kernel has to be asked for.
    unasked: BTreeSet<IpAddr>,
    stale: Stale,
}

/// Where a route leads: by which interface, and to which neighbour on its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Route {
    interface: u32,
    neighbour: IpAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Neighbour {
    mac: Mac,
    state: u16,
}

/// What has to be read anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stale {
    answers: bool,
    routes: bool,
    addresses: bool,
    neighbours: bool,
}

impl Mirror {
    /// An empty mirror. It hears events from here on, so what is read after this cannot go stale unnoticed.
    fn new(interfaces: Vec<u32>) -> io::Result<Mirror> {
        Ok(Mirror {
            events: Socket::open(EVENT_GROUPS)?,
            requests: Socket::open(0)?,
            interfaces,
            routes: HashMap::new(),
            neighbours: HashMap::new(),
            host_addresses: BTreeSet::new(),
            unasked: BTreeSet::new(),
            stale: Stale::default(),
        })
    }

    fn read_everything(&mut self) -> Result<(), NetlinkError> {
        self.stale = EVERYTHING;
        self.read_stale()
    }

    fn is_stale(&self) -> bool {
        self.stale != Stale::default()
    }

    /// Follows these addresses from now on. The kernel is asked for the routes of those alone that were not followed before.
    fn watch(&mut self, addresses: BTreeSet<IpAddr>) {
        self.routes.retain(|address, _| addresses.contains(address));
        for address in addresses {
            if let Entry::Vacant(vacant) = self.routes.entry(address) {
                vacant.insert(None);
                self.unasked.insert(address);
            }
        }
        self.unasked.retain(|address| self.routes.contains_key(address));
        self.stale.answers = true;
    }

    fn take_events(&mut self) {
        let Mirror { events, neighbours, stale, .. } = self;
        let taken = events.events(|event| match event.kind {
            libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH => {
                if let Some((route, neighbour)) = parse_neighbour(event) {
                    let known = match neighbour.filter(|_| event.kind == libc::RTM_NEWNEIGH) {
                        Some(neighbour) => neighbours.insert(route, neighbour),
                        None => neighbours.remove(&route),
                    };
                    stale.answers |= known != neighbours.get(&route).copied();
                }
            }
            libc::RTM_NEWADDR | libc::RTM_DELADDR => {
                stale.addresses = true;
                stale.routes = true;
            }
            _ => stale.routes = true,
        });
        if taken.is_err() {
            // Events were lost.
            *stale = EVERYTHING;
        }
    }

    fn read_stale(&mut self) -> Result<(), NetlinkError> {
        if self.stale.addresses {
            self.read_addresses()?;
        }
        if self.stale.neighbours {
            self.read_neighbours()?;
        }
        if self.stale.routes {
            self.unasked.extend(self.routes.keys());
        }
        self.read_routes()?;
        self.stale = Stale::default();
        Ok(())
    }

    fn read_addresses(&mut self) -> Result<(), NetlinkError> {
        let mut found = BTreeSet::new();
        vip::visit_addresses(&mut self.requests, |address| {
            found.insert(address.local);
            found.extend(address.broadcasts.into_iter().flatten());
        })?;
        self.host_addresses = found;
        Ok(())
    }

    fn read_neighbours(&mut self) -> Result<(), NetlinkError> {
        let mut found = HashMap::new();
        let dump = Message::new(libc::RTM_GETNEIGH, libc::NLM_F_DUMP, &[0; NEIGHBOUR_HEADER_BYTES]);
        self.requests.ask(dump, |reply| {
            if let Some((route, Some(neighbour))) = parse_neighbour(reply) {
                found.insert(route, neighbour);
            }
        })?;
        self.neighbours = found;
        Ok(())
    }

    fn read_routes(&mut self) -> Result<(), NetlinkError> {
        while let Some(&address) = self.unasked.first() {
            let mut found = None;
            match self.requests.ask(route_request(address), |reply| found = parse_route(reply, address)) {
                // Unreachable, prohibited and the like: no way.
                Err(error) if error.errno() == 0 => return Err(error),
                _ => drop(self.routes.insert(address, found)),
            }
            self.unasked.remove(&address);
        }
        Ok(())
    }

    /// Has the kernel resolve the next hops that it has no link address for.
    fn resolve_missing(&mut self) {
        for route in self.hops(|neighbour| neighbour.is_none()) {
            self.use_neighbour(route);
        }
    }

    /// Has the kernel resolve missing next hops, and check on those that it has not heard from for a while.
    fn refresh_neighbours(&mut self) {
        for route in self.hops(|neighbour| neighbour.is_none_or(|neighbour| neighbour.state == NUD_STALE)) {
            self.use_neighbour(route);
        }
    }

    /// The next hops of all watched addresses, on our interfaces, whose neighbour is as `wanted`.
    fn hops(&self, wanted: impl Fn(Option<Neighbour>) -> bool) -> Vec<Route> {
        let mut hops: Vec<Route> = self
            .routes
            .values()
            .flatten()
            .filter(|route| self.interfaces.contains(&route.interface))
            .filter(|route| wanted(self.neighbours.get(route).copied()))
            .copied()
            .collect();
        hops.sort_unstable_by_key(|route| (route.interface, route.neighbour));
        hops.dedup();
        hops
    }

    fn use_neighbour(&mut self, route: Route) {
        let mut header = [0; NEIGHBOUR_HEADER_BYTES];
        header[0] = family(route.neighbour);
        header[4..8].copy_from_slice(&route.interface.to_ne_bytes());
        header[10] = NTF_USE;
        let octets = vip::address_octets(route.neighbour);
        let message = Message::new(libc::RTM_NEWNEIGH, libc::NLM_F_CREATE, &header);
        // An interface that is down refuses this; it is tried again.
        let _ = self.requests.request(message.attribute(libc::NDA_DST, &octets));
    }

    fn answers(&self) -> Answers {
        let hop = |route: &Route| {
            let interface = self.interfaces.iter().position(|&index| index == route.interface)?;
            let mac = self.neighbours.get(route)?.mac;
            Some(NextHop { interface: InterfaceId(interface as u8), mac })
        };
        let hops = self
            .routes
            .iter()
            .filter_map(|(&address, route)| Some((address, hop(route.as_ref()?)?)))
            .collect();
        Answers { hops, host_addresses: self.host_addresses.clone() }
    }
}

fn route_request(address: IpAddr) -> Message {
    let octets = vip::address_octets(address);
    let mut header = [0; ROUTE_HEADER_BYTES];
    header[0] = family(address);
    header[1] = octets.len() as u8 * 8;
    Message::new(libc::RTM_GETROUTE, 0, &header).attribute(libc::RTA_DST, &octets)
}

/// Where a route to `address` leads; `None` for one that leads nowhere, or to this host.
fn parse_route(reply: Reply<'_>, address: IpAddr) -> Option<Route> {
    if reply.kind != libc::RTM_NEWROUTE || *reply.body.get(7)? != libc::RTN_UNICAST {
        return None;
    }
    let find = |kind| reply.attributes(ROUTE_HEADER_BYTES).find(kind);
    let gateway = find(libc::RTA_GATEWAY).and_then(vip::parse_address);
    // A gateway of the other address family stands here, behind its family.
    let via = || find(libc::RTA_VIA).and_then(|value| vip::parse_address(value.get(2..)?));
    Some(Route {
        interface: u32_at(find(libc::RTA_OIF)?, 0)?,
        neighbour: gateway.or_else(via).unwrap_or(address),
    })
}

/// A neighbour's place, and what is known of it: `None` when it has no valid link address.
fn parse_neighbour(reply: Reply<'_>) -> Option<(Route, Option<Neighbour>)> {
    let is_ip = matches!(i32::from(*reply.body.first()?), libc::AF_INET | libc::AF_INET6);
    if !is_ip {
        return None;
    }
    let state = u16::from_ne_bytes(*reply.body.get(8..)?.first_chunk()?);
    let find = |kind| reply.attributes(NEIGHBOUR_HEADER_BYTES).find(kind);
    let route =
        Route { interface: u32_at(reply.body, 4)?, neighbour: vip::parse_address(find(libc::NDA_DST)?)? };
    let mac = find(libc::NDA_LLADDR).and_then(|bytes| bytes.try_into().ok()).map(Mac);
    let neighbour = mac.filter(|_| state & NUD_VALID != 0).map(|mac| Neighbour { mac, state });
    Some((route, neighbour))
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

/// A panic of another thread leaves nothing half done in these: each is stored whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Events come in bursts: they are acted on this long after the first.
const SETTLING_TIME: Duration = Duration::from_millis(15);
/// How often missing and stale neighbours are looked after.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
const EVENT_GROUPS: u32 = (libc::RTMGRP_LINK
    | libc::RTMGRP_NEIGH
    | libc::RTMGRP_IPV4_IFADDR
    | libc::RTMGRP_IPV4_ROUTE
    | libc::RTMGRP_IPV4_RULE
    | libc::RTMGRP_IPV6_IFADDR
    | libc::RTMGRP_IPV6_ROUTE
    | RTMGRP_IPV6_RULE) as u32;
const RTMGRP_IPV6_RULE: libc::c_int = 1 << (libc::RTNLGRP_IPV6_RULE - 1);
const EVERYTHING: Stale = Stale { answers: true, routes: true, addresses: true, neighbours: true };
/// Bytes of `struct rtmsg`.
const ROUTE_HEADER_BYTES: usize = 12;
/// Bytes of `struct ndmsg`.
const NEIGHBOUR_HEADER_BYTES: usize = 12;
const NTF_USE: u8 = 1;
const NUD_STALE: u16 = 0x04;
/// Reachable, stale, delay, probe, no ARP, permanent.
const NUD_VALID: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbour_body(family: u8, state: u16, mac: &[u8]) -> Vec<u8> {
        let mut body = vec![family, 0, 0, 0, 7, 0, 0, 0];
        body.extend(state.to_ne_bytes());
        body.extend([0, 1]);
        for (kind, value) in [(libc::NDA_DST, &[198, 18, 0, 2][..]), (libc::NDA_LLADDR, mac)] {
            body.extend((4 + value.len() as u16).to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        body
    }

    #[test]
    fn a_neighbour_counts_while_its_address_is_valid() {
        let place = Route { interface: 7, neighbour: IpAddr::from([198, 18, 0, 2]) };
        for (state, is_valid) in
            [(0x01, false), (0x02, true), (0x04, true), (0x10, true), (0x20, false), (0x80, true)]
        {
            let body = neighbour_body(libc::AF_INET as u8, state, &[2, 0, 0, 0, 0, 9]);
            let reply = Reply { kind: libc::RTM_NEWNEIGH, body: &body };
            let expected = is_valid.then_some(Neighbour { mac: Mac([2, 0, 0, 0, 0, 9]), state });
            assert_eq!(parse_neighbour(reply), Some((place, expected)), "state {state:#x}");
        }
    }

    #[test]
    fn odd_neighbours_are_skipped() {
        let whole = neighbour_body(libc::AF_INET as u8, 2, &[2, 0, 0, 0, 0, 9]);
        for len in 0..whole.len() {
            let _ = parse_neighbour(Reply { kind: libc::RTM_NEWNEIGH, body: &whole[..len] });
        }
        let bridge = neighbour_body(libc::AF_BRIDGE as u8, 2, &[2, 0, 0, 0, 0, 9]);
        assert_eq!(parse_neighbour(Reply { kind: libc::RTM_NEWNEIGH, body: &bridge }), None);
        let short = neighbour_body(libc::AF_INET as u8, 2, &[2, 0]);
        let parsed = parse_neighbour(Reply { kind: libc::RTM_NEWNEIGH, body: &short });
        assert_eq!(parsed.map(|(_, neighbour)| neighbour), Some(None));
    }

    #[test]
    fn a_route_leads_to_its_gateway_or_to_the_address_itself() {
        let address = IpAddr::from([198, 19, 1, 2]);
        let body = |kind: u8, gateway: Option<[u8; 4]>| {
            let mut body = vec![2, 32, 0, 0, 254, 0, 0, kind, 0, 0, 0, 0];
            body.extend([8, 0, 4, 0, 5, 0, 0, 0]);
            body.extend(gateway.iter().flat_map(|gateway| [&[8, 0, 5, 0], &gateway[..]].concat()));
            body
        };
        let parsed = |body: Vec<u8>| parse_route(Reply { kind: libc::RTM_NEWROUTE, body: &body }, address);
        assert_eq!(parsed(body(1, None)), Some(Route { interface: 5, neighbour: address }));
        let gateway = [198, 18, 0, 254];
        let by_gateway = Route { interface: 5, neighbour: IpAddr::from(gateway) };
        assert_eq!(parsed(body(1, Some(gateway))), Some(by_gateway));
        assert_eq!(parsed(body(libc::RTN_LOCAL, None)), None);
        assert_eq!(parsed(body(libc::RTN_UNREACHABLE, None)), None);
    }
}
