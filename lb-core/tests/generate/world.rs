//! Listeners of all kinds before targets of both families, and how their tables change.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
    sync::Arc,
};

use lb_core::{maglev::Candidate, tables::*};

use super::random::Random;

pub const OUTSIDE: InterfaceId = InterfaceId(0);
pub const INSIDE: InterfaceId = InterfaceId(1);
/// Link address of each interface.
pub const OWN_MACS: [Mac; 2] = [Mac([2, 0, 0, 0, 0, 0xa0]), Mac([2, 0, 0, 0, 0, 0xa1])];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}
use Family::{V4, V6};

/// A kind of listener. There is one for TCP and one for UDP of each, on one port.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    pub name: &'static str,
    /// Family of the VIP.
    pub vip: Family,
    /// Family of the targets.
    pub targets: Family,
    pub keeps_client: bool,
    pub has_syn_cookies: bool,
    pub adopts_strays: bool,
    pub sources: Supply,
}

/// Sources for flows that do not keep the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supply {
    None,
    /// Four ports of an address of each family.
    Few,
    /// 512 ports of an address of each family.
    Many,
    /// 64 ports of the VIPs.
    OfVip,
}

const fn mode(name: &'static str, vip: Family, targets: Family, keeps_client: bool) -> Mode {
    let sources = Supply::Many;
    Mode { name, vip, targets, keeps_client, has_syn_cookies: false, adopts_strays: false, sources }
}

pub const MODES: [Mode; 14] = [
    mode("IPv4", V4, V4, true),
    mode("IPv6", V6, V6, true),
    Mode { sources: Supply::OfVip, ..mode("IPv4, other source", V4, V4, false) },
    mode("IPv6, other source", V6, V6, false),
    mode("IPv4 to IPv6", V4, V6, true),
    Mode { sources: Supply::OfVip, ..mode("IPv6 to IPv4", V6, V4, true) },
    Mode { has_syn_cookies: true, ..mode("IPv4, SYN cookies", V4, V4, true) },
    Mode { has_syn_cookies: true, ..mode("IPv6, other source, SYN cookies", V6, V6, false) },
    Mode { has_syn_cookies: true, ..mode("IPv4 to IPv6, SYN cookies", V4, V6, false) },
    Mode { has_syn_cookies: true, ..mode("IPv6 to IPv4, SYN cookies", V6, V4, true) },
    Mode { adopts_strays: true, sources: Supply::None, ..mode("IPv4, adopting", V4, V4, true) },
    Mode { adopts_strays: true, ..mode("IPv6, adopting", V6, V6, true) },
    Mode { sources: Supply::Few, ..mode("IPv4, few sources", V4, V4, false) },
    Mode { sources: Supply::None, ..mode("IPv6 to IPv4, no source", V6, V4, true) },
];

/// Number of targets in each target group.
pub const TARGETS: u8 = 3;

/// The configuration, as far as it changes.
#[derive(Clone, Debug)]
pub struct World {
    generation: u32,
    listeners: [ListenerState; 2 * MODES.len()],
    /// Whether there are listeners on ports of VIPs that flows may have had as their sources.
    has_late_listeners: bool,
    /// By `Mode::group`.
    groups: [GroupState; 4],
    mtus: [u32; 2],
}

#[derive(Clone, Copy, Debug)]
struct ListenerState {
    is_there: bool,
    has_syn_cookies: bool,
    adopts_strays: bool,
    /// Of its mode's group, and of the other group of the same family.
    weights: [u16; 2],
    is_sticky: bool,
    /// Whether flows to a group without weight are cut.
    cuts: bool,
    /// Whether it is gone, and only its flows are still known.
    is_closing: bool,
}

#[derive(Clone, Copy, Debug)]
struct GroupState {
    keeps_client: bool,
    is_sticky: bool,
    is_failing_open: bool,
    targets: [TargetState; TARGETS as usize],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TargetState {
    Eligible,
    Unresolved,
    Draining,
    Cut,
    Gone,
}

impl Mode {
    fn group(&self) -> usize {
        usize::from(self.targets == V6) << 1 | usize::from(!self.keeps_client)
    }

    /// The mode that has a listener on this port, if any, by its place in [`MODES`].
    pub fn of_port(port: u16) -> Option<usize> {
        let at = usize::from(port.checked_sub(FIRST_PORT)?);
        (at < MODES.len()).then_some(at)
    }

    /// Port of the listeners of the mode at this place in [`MODES`].
    pub fn port(at: usize) -> u16 {
        FIRST_PORT + at as u16
    }
}

impl ListenerState {
    fn forward(&self, group: usize) -> Forward {
        if self.is_closing {
            return Forward::closing();
        }
        let row = |(group, weight): (usize, u16)| WeightedGroup {
            group: TargetGroupId(group as u16),
            pool: 0,
            weight,
            salt: group as u64,
            flow_policy: match self.cuts && weight == 0 {
                true => FlowPolicy::Cut(CutCause::WeightZero),
                false => FlowPolicy::Keep,
            },
        };
        let [first, second] = self.weights;
        Forward { groups: [row((group, first)), row((group ^ 1, second))].into(), is_sticky: self.is_sticky }
    }
}

impl Default for World {
    fn default() -> World {
        let listener = |at: usize| ListenerState {
            is_there: true,
            has_syn_cookies: MODES[at / 2].has_syn_cookies,
            adopts_strays: MODES[at / 2].adopts_strays,
            weights: [1, 0],
            is_sticky: false,
            cuts: false,
            is_closing: false,
        };
        let group = |at| GroupState {
            keeps_client: at & 1 == 0,
            is_sticky: false,
            is_failing_open: false,
            targets: [TargetState::Eligible; TARGETS as usize],
        };
        World {
            generation: 1,
            listeners: std::array::from_fn(listener),
            has_late_listeners: false,
            groups: std::array::from_fn(group),
            mtus: [1_500; 2],
        }
    }
}

impl World {
    /// Something is different from now on.
    pub fn change(&mut self, random: &mut Random<'_>) {
        self.generation += 1;
        let usual = World::default();
        for group in &mut self.groups {
            let is_down = random.one_in(12);
            for target in &mut group.targets {
                *target = match random.below(10) {
                    _ if is_down => TargetState::Gone,
                    0 => TargetState::Gone,
                    1 | 2 => TargetState::Cut,
                    3 => TargetState::Draining,
                    4 if random.one_in(4) => TargetState::Unresolved,
                    _ => TargetState::Eligible,
                };
            }
        }
        for (at, group) in self.groups.iter_mut().enumerate() {
            group.keeps_client = usual.groups[at].keeps_client != random.one_in(16);
            group.is_sticky = random.one_in(8);
            group.is_failing_open = random.one_in(8);
        }
        for (listener, usual) in self.listeners.iter_mut().zip(usual.listeners) {
            listener.is_there = !random.one_in(24);
            listener.has_syn_cookies = usual.has_syn_cookies != random.one_in(24);
            listener.adopts_strays = usual.adopts_strays != random.one_in(24);
            listener.weights =
                random.pick(&[[1, 0], [1, 0], [1, 0], [1, 0], [1, 1], [9, 90], [0, 999], [0, 0]]);
            listener.is_sticky = random.one_in(8);
            listener.cuts = random.one_in(2);
            listener.is_closing = random.one_in(24);
        }
        self.has_late_listeners = random.one_in(3);
        self.mtus = self.mtus.map(|_| random.pick(&[1_500, 1_500, 1_500, 1_500, 9_000, 1_400, 1_280, 576]));
    }

    /// The usual one, but its links carry packets of so many bytes.
    pub fn with_mtu(mtu: u32) -> World {
        World { mtus: [mtu; 2], ..World::default() }
    }

    pub fn tables(&self) -> Arc<Tables> {
        let usual = (0..self.listeners.len()).map(|at| self.listener(at));
        let late = (0..LATE_LISTENERS).map(|at| self.late_listener(at));
        let parts = TablesParts {
            generation: self.generation,
            listeners: usual.chain(late).collect(),
            groups: (0..self.groups.len()).map(|at| self.group(at)).collect(),
            targets: (0..self.groups.len()).flat_map(|group| self.targets(group)).collect(),
            interfaces: (0..2).map(|at| self.interface(at)).collect(),
            vips: [V4, V6]
                .map(|family| Vip { address: vip(family), ownership: Ownership::Exclusive })
                .to_vec(),
            sources: every_source().collect(),
            host_addresses: HOST_ADDRESSES.to_vec(),
            hops: known_clients()
                .map(|client| (client, NextHop { interface: OUTSIDE, mac: CLIENT_MAC }))
                .collect(),
        };
        Arc::new(Tables::new(parts).expect("the parts fit together"))
    }

    fn listener(&self, at: usize) -> Option<Listener> {
        let (state, mode) = (self.listeners[at], &MODES[at / 2]);
        let (protocol, idle_timeout_s) =
            if at.is_multiple_of(2) { (Protocol::Tcp, 350) } else { (Protocol::Udp, 120) };
        state.is_there.then(|| Listener {
            name: mode.name.into(),
            endpoint: Endpoint { address: vip(mode.vip), port: Mode::port(at / 2), protocol },
            forward: state.forward(mode.group()),
            idle_timeout_s,
            interface: OUTSIDE,
            sources: Arc::new(sources(mode.sources)),
            adopts_strays: state.adopts_strays,
            has_syn_cookies: state.has_syn_cookies,
        })
    }

    /// A listener on a port that may be, or may have been, a source.
    fn late_listener(&self, at: usize) -> Option<Listener> {
        let like = if at.is_multiple_of(2) { 0 } else { 2 };
        let usual = self.listener(like + at / 2 % 2).filter(|_| self.has_late_listeners)?;
        let port = VIP_SOURCES.start() + (at / 4) as u16;
        Some(Listener { endpoint: Endpoint { port, ..usual.endpoint }, ..usual })
    }

    fn group(&self, at: usize) -> TargetGroup {
        let state = &self.groups[at];
        let eligible: Vec<u8> = (0..TARGETS)
            .filter(|&n| {
                matches!(state.targets[usize::from(n)], TargetState::Eligible | TargetState::Unresolved)
            })
            .collect();
        let candidate = |&n: &u8| {
            let (address, port) = target(at, n);
            Candidate { address, port, weight: 1 }
        };
        let maglev = Maglev::build(&eligible.iter().map(candidate).collect::<Vec<_>>(), MAGLEV_SLOTS);
        let pool = Pool::new(eligible.iter().map(|&n| target_id(at, n)).collect(), maglev.into());
        let pool = Pool { is_failing_open: state.is_failing_open, ..pool };
        let group = TargetGroup::of_one_pool(&format!("group {at}"), state.keeps_client, pool);
        TargetGroup { is_sticky: state.is_sticky, proxy_header: self.proxy_header(at), ..group }
    }

    /// None has any in the usual world.
    fn proxy_header(&self, group: usize) -> Option<HeaderPlacement> {
        match (self.generation as usize + group) % 4 {
            _ if self.generation == 1 => None,
            0 => Some(HeaderPlacement::OnFirstAckWithPayload),
            1 => Some(HeaderPlacement::OnFirstAck),
            _ => None,
        }
    }

    fn targets(&self, group: usize) -> impl Iterator<Item = Option<Target>> + '_ {
        (0..TARGETS).map(move |n| {
            let state = self.groups[group].targets[usize::from(n)];
            let (address, port) = target(group, n);
            let hop = NextHop { interface: INSIDE, mac: target_mac(n) };
            (state != TargetState::Gone).then_some(Target {
                group: TargetGroupId(group as u16),
                address,
                port,
                protocols: &[Protocol::Tcp, Protocol::Udp],
                next_hop: (state != TargetState::Unresolved).then_some(hop),
                flow_policy: if state == TargetState::Cut {
                    FlowPolicy::Cut(CutCause::Unhealthy)
                } else {
                    FlowPolicy::Keep
                },
            })
        })
    }

    fn interface(&self, at: usize) -> Interface {
        let name = if at == 0 { "outside" } else { "inside" };
        Interface { name: name.into(), mac: OWN_MACS[at], mtu: self.mtus[at], receive_hash: None }
    }
}

pub fn vip(family: Family) -> IpAddr {
    match family {
        V4 => Ipv4Addr::new(198, 18, 100, 1).into(),
        V6 => Ipv6Addr::new(0x2001, 0xdb8, 100, 0, 0, 0, 0, 1).into(),
    }
}

/// Address of client `n`.
pub fn client(family: Family, n: u8) -> IpAddr {
    match family {
        V4 => Ipv4Addr::new(198, 18, 0, 2 + n).into(),
        V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2 + u16::from(n)).into(),
    }
}

/// Address of target `n` of any group of a family.
pub fn target_address(family: Family, n: u8) -> IpAddr {
    match family {
        V4 => Ipv4Addr::new(198, 19, n, 2).into(),
        V6 => Ipv6Addr::new(0x2001, 0xdb8, 19, u16::from(n), 0, 0, 0, 2).into(),
    }
}

/// Address and port of target `n` of a group.
pub fn target(group: usize, n: u8) -> (IpAddr, u16) {
    (target_address(if group & 2 == 0 { V4 } else { V6 }, n), 8_080 + group as u16)
}

pub fn target_mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

fn target_id(group: usize, n: u8) -> TargetId {
    TargetId(u32::from(TARGETS) * group as u32 + u32::from(n))
}

fn every_source() -> impl Iterator<Item = Source> {
    [Supply::Few, Supply::Many, Supply::OfVip].into_iter().flat_map(sources_of)
}

/// Addresses of ours of a family, by whatever tables: VIP, sources, the host's own and its subnet's broadcast address.
pub fn own_addresses(family: Family) -> Vec<IpAddr> {
    let sources = every_source().map(|source| source.address);
    let own = HOST_ADDRESSES.into_iter().chain([V4, V6].map(vip)).chain(sources);
    own.filter(|address| address.is_ipv4() == (family == V4)).collect()
}

/// Clients that the tables know the way to: all but the last of each family.
fn known_clients() -> impl Iterator<Item = IpAddr> {
    [V4, V6].into_iter().flat_map(|family| (0..CLIENTS - 1).map(move |n| client(family, n)))
}

fn sources(supply: Supply) -> Sources {
    let (addresses, ports) = source_range(supply);
    Sources { addresses: addresses.into(), ports }
}

fn sources_of(supply: Supply) -> impl Iterator<Item = Source> {
    let (addresses, ports) = source_range(supply);
    addresses.into_iter().map(move |address| Source {
        address,
        first_port: *ports.start(),
        last_port: *ports.end(),
    })
}

fn source_range(supply: Supply) -> (Vec<IpAddr>, RangeInclusive<u16>) {
    let address = |n| {
        [
            Ipv4Addr::new(198, 18, 200, n).into(),
            Ipv6Addr::new(0x2001, 0xdb8, 200, 0, 0, 0, 0, u16::from(n)).into(),
        ]
    };
    match supply {
        Supply::None => (Vec::new(), 1..=u16::MAX),
        Supply::Few => (address(2).into(), 2_000..=2_003),
        Supply::Many => (address(1).into(), 1_024..=1_535),
        Supply::OfVip => ([V4, V6].map(vip).into(), VIP_SOURCES),
    }
}

/// Of the subnets that the clients are in.
const HOST_ADDRESSES: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(198, 18, 0, 255)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];
/// Clients of each family.
pub const CLIENTS: u8 = 4;
pub const CLIENT_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xc1]);
const FIRST_PORT: u16 = 80;
pub const VIP_SOURCES: RangeInclusive<u16> = 20_000..=20_063;
/// For TCP and UDP, of both families, on each of eight ports.
const LATE_LISTENERS: usize = 32;
/// A prime, and enough for three targets.
const MAGLEV_SLOTS: u32 = 251;
