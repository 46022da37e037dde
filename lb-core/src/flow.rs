//! A flow: the record that caches the decision made for its first packet.

mod state;

use std::net::{IpAddr, Ipv6Addr};

use bytemuck::{Pod, Zeroable};

use crate::{
    flow_key::{End, FlowKey, Ipv4Key, Ipv6Key},
    flow_log::Tally,
    listener::ListenerId,
    parse::plain,
    preamble::Preamble,
    tables::{InterfaceId, Mac, NextHop, Protocol},
    target::TargetId,
    wire::{
        checksum::Delta,
        l4::tcp::{FIN, RST, SYN},
        octets,
    },
};

pub use state::State;

/// Which way a packet of a flow goes, and at which of its two ends it comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// From the client to the target.
    Forward = 0,
    /// From the target to the client.
    Reverse = 1,
}

impl Direction {
    /// The other way.
    #[inline]
    pub const fn opposite(self) -> Direction {
        match self {
            Direction::Forward => Direction::Reverse,
            Direction::Reverse => Direction::Forward,
        }
    }
}

/// The record of one flow: one cache line of plain data, all zero when free, complete for rewriting either direction
/// without a look at the tables. A flow with an IPv6 end has its addresses beside, in [`Addresses`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Flow {
    /// The client's end (VIP and client) and the target's end (source and target), by `Direction` of what comes in there.
    /// The addresses are zero in a wide flow.
    ends: [End; 2],
    /// Protocol as in the IP header, and the bits of `kind`.
    kind: u8,
    state: u8,
    /// Target, as an index into the tables.
    pub target_id: u16,
    /// Time of the last packet that counts, in wrapping milliseconds.
    pub last_seen_ms: u32,
    /// Epoch of the tables that the record was last checked against.
    pub epoch: u32,
    /// Listener, as an index into the tables.
    pub listener_id: u16,
    /// The flow is over when no packet came for this long, in seconds.
    pub timeout_s: u16,
    /// Next hops: towards the client (who sent its last packet), and towards the target.
    hops: [Hop; 2],
    /// Neighbour in the list that the record is in, free or half-open; owned by the flow table. Of a plain flow in neither: its
    /// checksum deltas. Of a shifted one: what is added to the target's sequence numbers, or, while connecting, the cookie.
    pub(crate) next: u32,
    /// Other neighbour in the half-open list; owned by the flow table. Of a shifted flow: see `set_shift`, or, while
    /// connecting, the client's initial sequence number.
    pub(crate) previous: u32,
}

/// The addresses of a flow with an IPv6 end, IPv4 ones as ::ffff:a.b.c.d: one more cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Addresses {
    ends: [WideEnd; 2],
}

/// What only some flows have, one more cache line beside the record: flows that are counted for the flow log, and flows whose
/// target has not acknowledged its PROXY header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Annex {
    /// What went through the flow.
    pub tally: Tally,
    /// The header that the target is owed.
    pub preamble: Preamble,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct WideEnd {
    pub(crate) local: [u8; 16],
    pub(crate) remote: [u8; 16],
}

impl Addresses {
    /// The addresses of the end at which packets of a direction come in, if they are IPv6.
    #[inline]
    pub(crate) fn ipv6_end(&self, direction: Direction) -> Option<&WideEnd> {
        let end = &self.ends[direction as usize];
        (end.local[..12] != IPV4_MAPPED).then_some(end)
    }
}

/// What an IPv4 address written as an IPv6 one begins with (RFC 4291 section 2.5.5.2).
const IPV4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// A flow with all of its addresses: what the flow table takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewFlow {
    /// Its record.
    pub flow: Flow,
    /// Its addresses; unused unless the record is wide.
    pub addresses: Addresses,
}

/// What a packet that leaves has for addresses and ports; ports in network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outward {
    /// Source address.
    pub source: IpAddr,
    /// Destination address; of the source's family.
    pub destination: IpAddr,
    /// Source port.
    pub source_port: [u8; 2],
    /// Destination port.
    pub destination_port: [u8; 2],
}

impl Outward {
    /// Of packets the other way.
    pub(crate) fn opposite(&self) -> Outward {
        Outward {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }
}

/// Bits of `Flow::kind` beside the protocol's number.
mod kind {
    pub const PROTOCOL: u8 = 0x17;
    /// The target is owed a PROXY header: of a TCP flow until it has acknowledged it, of a UDP flow with every datagram.
    pub const PREAMBLE: u8 = 0x08;
    /// The addresses stand in `Addresses`.
    pub const WIDE: u8 = 0x20;
    /// The target sees a source of ours.
    pub const SOURCE_NAT: u8 = 0x40;
    /// Sequence numbers differ between both ends.
    pub const SHIFTED: u8 = 0x80;
}

/// The link address in a packed hop.
const MAC_BITS: u64 = (1 << 48) - 1;

/// A next hop in eight bytes: link address, interface, and one that is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub(crate) struct Hop(u64);

impl Hop {
    const UNKNOWN: Hop = Hop(u64::MAX);

    #[inline]
    pub(crate) fn new(mac: [u8; 6], interface: InterfaceId) -> Hop {
        let [a, b, c, d, e, f] = mac;
        Hop(u64::from_le_bytes([a, b, c, d, e, f, interface.0, 0]))
    }

    /// The one that sent a frame, by its first bytes.
    #[inline(always)]
    pub(crate) fn sender(headers: &[u8; plain::HEADERS], ingress: InterfaceId) -> Hop {
        let [_, _, _, _, _, _, source @ ..] = headers;
        let source = source.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Hop(source & MAC_BITS | u64::from(ingress.0) << MAC_BITS.count_ones())
    }

    /// Its eight bytes, the link address first.
    #[inline]
    pub(crate) fn bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }

    /// Its interface. [`Hop::UNKNOWN`] has one that cannot be.
    #[inline]
    pub(crate) fn interface(self) -> InterfaceId {
        InterfaceId(self.bytes()[6])
    }
}

impl NewFlow {
    /// A flow for packets with the key `forward`, sent on to `target` as if from `source`, the client's own address and port or
    /// ones of ours. `source` and `target` have one family. Ports in network order.
    pub fn new(
        forward: &FlowKey,
        source: (IpAddr, [u8; 2]),
        target: (IpAddr, [u8; 2]),
        state: State,
    ) -> NewFlow {
        let client = (forward.source(), forward.source_port());
        let client_end = End {
            local_port: forward.destination_port(),
            remote_port: forward.source_port(),
            ..End::zeroed()
        };
        let target_end = End { local_port: source.1, remote_port: target.1, ..End::zeroed() };
        let mut flow = Flow {
            ends: [client_end, target_end],
            kind: forward.protocol(),
            state: state as u8,
            hops: [Hop::UNKNOWN; 2],
            ..Flow::zeroed()
        };
        if source != client {
            flow.kind |= kind::SOURCE_NAT;
        }
        let mut addresses = Addresses::default();
        match (forward, source.0, target.0) {
            (FlowKey::V4(key), IpAddr::V4(source), IpAddr::V4(target)) => {
                flow.ends[0] = key.end;
                (flow.ends[1].local, flow.ends[1].remote) = (source.octets(), target.octets());
            }
            _ => {
                flow.kind |= kind::WIDE;
                addresses.ends = [
                    WideEnd { local: octets(forward.destination()), remote: octets(client.0) },
                    WideEnd { local: octets(source.0), remote: octets(target.0) },
                ];
            }
        }
        NewFlow { flow, addresses }
    }

    /// A flow for IPv4 packets with the key `forward`, whose target sees the client: its packets come in at `target_end`.
    #[inline]
    pub(crate) fn plain(forward: &Ipv4Key, target_end: End, hops: [Hop; 2], state: State) -> NewFlow {
        let ends = [forward.end, target_end];
        let flow = Flow { ends, kind: forward.protocol, state: state as u8, hops, ..Flow::zeroed() };
        NewFlow { flow, addresses: Addresses::zeroed() }
    }

    /// Key of the packets that come in at one end.
    pub fn key(&self, direction: Direction) -> FlowKey {
        self.flow.key(&self.addresses, direction)
    }
}

impl Flow {
    /// A record not in use, in a list of its kind.
    pub(crate) fn free(next: u32) -> Flow {
        Flow { next, ..Flow::zeroed() }
    }

    /// The end at which packets of a direction come in.
    #[inline]
    pub fn end(&self, direction: Direction) -> &End {
        &self.ends[direction as usize]
    }

    /// Key of the packets that come in at one end of an IPv4 flow.
    #[inline]
    pub(crate) fn ipv4_key(&self, direction: Direction) -> Option<Ipv4Key> {
        let key = || Ipv4Key { end: *self.end(direction), protocol: self.protocol(), zero: [0; 3] };
        (!self.is_wide()).then(key)
    }

    /// Key of the packets that come in at one end, given the flow's addresses.
    pub fn key(&self, addresses: &Addresses, direction: Direction) -> FlowKey {
        if let Some(key) = self.ipv4_key(direction) {
            return FlowKey::V4(key);
        }
        let end = self.end(direction);
        let wide = &addresses.ends[direction as usize];
        let narrow = |address: [u8; 16]| Ipv6Addr::from(address).to_ipv4_mapped();
        match (narrow(wide.local), narrow(wide.remote)) {
            (Some(local), Some(remote)) => FlowKey::V4(Ipv4Key {
                end: End { local: local.octets(), remote: remote.octets(), ..*end },
                protocol: self.protocol(),
                zero: [0; 3],
            }),
            _ => FlowKey::V6(Ipv6Key {
                local: wide.local,
                remote: wide.remote,
                local_port: end.local_port,
                remote_port: end.remote_port,
                protocol: self.protocol(),
                zero: [0; 3],
            }),
        }
    }

    /// What packets of a direction have for addresses and ports when they leave, given the flow's addresses.
    pub fn outward(&self, addresses: &Addresses, direction: Direction) -> Outward {
        // What leaves by an end is the opposite of what comes in there.
        let key = self.key(addresses, direction.opposite());
        Outward {
            source: key.destination(),
            destination: key.source(),
            source_port: key.destination_port(),
            destination_port: key.source_port(),
        }
    }

    /// Whether the record is that of an IPv4 flow and has this key for a direction.
    #[inline]
    pub(crate) fn is_ipv4_key(&self, direction: Direction, key: &Ipv4Key) -> bool {
        self.differs(direction, key) == 0 && self.kind & (kind::PROTOCOL | kind::WIDE) == key.protocol
    }

    /// Whether the record has this key for a direction, and its packets are rewritten by nothing but addresses and ports.
    #[inline]
    pub(crate) fn is_plain_key(&self, direction: Direction, key: &Ipv4Key) -> bool {
        let kind = u64::from(self.kind & !kind::SOURCE_NAT ^ key.protocol);
        self.differs(direction, key) | kind == 0
    }

    /// Whether the record, given its addresses, has this key for a direction, and its sequence numbers are the same at both ends.
    #[inline]
    pub(crate) fn is_unshifted_ipv6_key(
        &self,
        addresses: &Addresses,
        direction: Direction,
        key: &Ipv6Key,
    ) -> bool {
        let (end, wide) = (&self.ends[direction as usize], &addresses.ends[direction as usize]);
        self.kind & !kind::SOURCE_NAT == key.protocol | kind::WIDE
            && (wide.remote, wide.local) == (key.remote, key.local)
            && (end.remote_port, end.local_port) == (key.remote_port, key.local_port)
    }

    /// 0 when the addresses and ports at one end of an IPv4 flow are those of a key.
    #[inline]
    fn differs(&self, direction: Direction, key: &Ipv4Key) -> u64 {
        let ([a, b, c], [x, y, z]): ([u32; 3], [u32; 3]) =
            (bytemuck::cast(self.ends[direction as usize]), bytemuck::cast(key.end));
        (u64::from(a) | u64::from(b) << 32) ^ (u64::from(x) | u64::from(y) << 32) | u64::from(c ^ z)
    }

    /// Number of the transport protocol.
    #[inline]
    pub fn protocol(&self) -> u8 {
        self.kind & kind::PROTOCOL
    }

    /// Whether the packets are datagrams.
    #[inline]
    pub fn is_udp(&self) -> bool {
        self.protocol() == Protocol::Udp as u8
    }

    /// Whether the addresses stand beside, in [`Addresses`].
    #[inline]
    pub fn is_wide(&self) -> bool {
        self.kind & kind::WIDE != 0
    }

    /// Whether the target sees a source address of ours instead of the client's.
    #[inline]
    pub fn is_source_translated(&self) -> bool {
        self.kind & kind::SOURCE_NAT != 0
    }

    /// Whether packets are rewritten by nothing but addresses and ports of one family, IPv4.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.kind & (kind::WIDE | kind::SHIFTED | kind::PREAMBLE) == 0
    }

    /// Whether the target is owed a PROXY header: ahead of a client's stream, or with every datagram.
    #[inline]
    pub fn is_owed_header(&self) -> bool {
        self.kind & kind::PREAMBLE != 0
    }

    /// Whether it is a TCP flow whose target has not acknowledged its PROXY header, as the [`Preamble`] beside says.
    #[inline]
    pub fn has_preamble(&self) -> bool {
        self.is_owed_header() && !self.is_udp()
    }

    /// Whether every datagram to the target has a PROXY header.
    #[inline]
    pub fn heads_datagrams(&self) -> bool {
        self.is_owed_header() && self.is_udp()
    }

    /// Notes that the target is owed a PROXY header.
    pub(crate) fn owe_header(&mut self) {
        self.kind |= kind::PREAMBLE;
    }

    /// Notes that the target has its PROXY header: the flow is as any other from now on.
    pub(crate) fn end_preamble(&mut self) {
        self.kind &= !kind::PREAMBLE;
        self.keep_deltas();
    }

    /// Whether sequence numbers differ between both ends.
    #[inline]
    pub fn is_shifted(&self) -> bool {
        self.kind & kind::SHIFTED != 0
    }

    /// Where the flow is in its life. A number that no state has reads as free.
    #[inline]
    pub fn state(&self) -> State {
        *State::ALL.get(usize::from(self.state)).unwrap_or(&State::Free)
    }

    /// Whether a packet with these TCP flags changes nothing about the flow but when it was last seen.
    #[inline(always)]
    pub(crate) fn is_steady(&self, flags: u8) -> bool {
        let is_established = self.state == State::Established as u8;
        is_established & (flags & (FIN | SYN | RST) == 0) | (self.state == State::Udp as u8)
    }

    /// Whether the record is in use.
    #[inline]
    pub fn is_live(&self) -> bool {
        self.state != State::Free as u8
    }

    /// Moves the flow on. The flow table's half-open list must be told apart: see `FlowTable::set_state`.
    #[inline]
    pub(crate) fn store_state(&mut self, state: State) {
        self.state = state as u8;
    }

    /// Whether the flow's time is over.
    #[inline]
    pub fn is_expired(&self, now_ms: u32) -> bool {
        let idle_ms = now_ms.wrapping_sub(self.last_seen_ms);
        // A reading a little before `last_seen_ms` wraps to almost 2^32; it is not 49 days of silence.
        idle_ms > u32::from(self.timeout_s) * 1_000 && idle_ms < u32::MAX - CLOCK_SKEW_MS
    }

    /// Where packets of a direction leave to; `None` until that is known.
    #[inline]
    pub fn hop(&self, direction: Direction) -> Option<NextHop> {
        let hop = self.packed_hop(direction);
        let [a, b, c, d, e, f, interface, _] = hop.bytes();
        (hop != Hop::UNKNOWN)
            .then_some(NextHop { interface: InterfaceId(interface), mac: Mac([a, b, c, d, e, f]) })
    }

    /// The same in eight bytes.
    #[inline]
    pub(crate) fn packed_hop(&self, direction: Direction) -> Hop {
        self.hops[direction.opposite() as usize]
    }

    /// Notes where packets of a direction leave to.
    #[inline]
    pub fn set_hop(&mut self, direction: Direction, hop: NextHop) {
        self.hops[direction.opposite() as usize] = Hop::new(hop.mac.0, hop.interface);
    }

    /// Notes, of a packet that came in from the client, where it came from.
    #[inline]
    pub(crate) fn learn_hop(&mut self, direction: Direction, from: Hop) {
        self.hops[0] = if direction == Direction::Forward { from } else { self.hops[0] };
    }
}

/// What the change from one end of an IPv4 flow to the other adds to checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deltas {
    /// To that of the IP header.
    pub(crate) ip: Delta,
    /// To that of TCP or UDP.
    pub(crate) l4: Delta,
}

impl Deltas {
    /// Of packets that come in at the end `old` and leave by the end `new`. The order of the words does not matter to a sum.
    #[inline]
    pub(crate) fn between(old: &End, new: &End) -> Deltas {
        let (old, new): ([u32; 3], [u32; 3]) = (bytemuck::cast(*old), bytemuck::cast(*new));
        let ip = Delta::replacing_words([old[0], old[1]], [new[0], new[1]]);
        Deltas { ip, l4: ip.and(Delta::replacing_words([old[2]], [new[2]])) }
    }
}

/// The deltas of a plain flow in no list, in the place of the lists' first link.
impl Flow {
    /// Computes them, if the flow is such.
    #[inline]
    pub(crate) fn keep_deltas(&mut self) {
        if self.is_plain() && !self.state().is_half_open() {
            let Deltas { ip, l4 } = Deltas::between(&self.ends[0], &self.ends[1]);
            self.next = u32::from(ip.0) | u32::from(l4.0) << 16;
        }
    }

    /// Those of a direction.
    #[inline(always)]
    pub(crate) fn deltas(&self, direction: Direction) -> Deltas {
        // The opposite change is the complement.
        let bits = self.next ^ 0u32.wrapping_sub(direction as u32);
        Deltas { ip: Delta(bits as u16), l4: Delta((bits >> 16) as u16) }
    }
}

/// What a connection that began with a SYN cookie has, in the places of the half-open list's links.
impl Flow {
    /// Begins a shifted flow, which waits for its target's answer.
    pub(crate) fn set_connecting(&mut self, cookie: u32, client_initial: u32) {
        self.kind |= kind::SHIFTED;
        (self.next, self.previous) = (cookie, client_initial);
    }

    /// The cookie and the client's initial sequence number, while connecting.
    pub(crate) fn connecting(&self) -> (u32, u32) {
        (self.next, self.previous)
    }

    /// Notes the target's answer: what to add to its sequence numbers, and by how much to shift windows to the left, by
    /// `Direction` of the packet.
    pub(crate) fn set_shift(&mut self, sequence: u32, [forward, reverse]: [i8; 2]) {
        (self.next, self.previous) = (sequence, u32::from_ne_bytes([forward as u8, reverse as u8, 0, 0]));
    }

    /// Notes that both ends have told each other how they scale their windows.
    pub(crate) fn end_window_shift(&mut self) {
        if self.is_shifted() {
            self.set_shift(self.sequence_shift(), [0, 0]);
        }
    }

    /// What is added to the target's sequence numbers on their way to the client.
    pub(crate) fn sequence_shift(&self) -> u32 {
        self.next
    }

    /// By how many bits windows in packets of a direction are shifted to the left; negative: to the right.
    pub(crate) fn window_shift(&self, direction: Direction) -> i8 {
        self.previous.to_ne_bytes()[direction as usize] as i8
    }
}

/// One flow, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowView {
    /// The worker whose flow it is.
    pub worker: u8,
    /// Client's address and port.
    pub client: (IpAddr, u16),
    /// Listener's address and port.
    pub vip: (IpAddr, u16),
    /// Address and port that the target sees: the client's own where they are kept.
    pub source: (IpAddr, u16),
    /// Target's address and port.
    pub target: (IpAddr, u16),
    /// Protocol.
    pub protocol: Protocol,
    /// Name of the flow's state.
    pub state: &'static str,
    /// Time since the last packet that counts, in milliseconds.
    pub idle_ms: u32,
    /// The flow is over when it was idle for this long, in milliseconds.
    pub timeout_ms: u32,
    /// Listener.
    pub listener: ListenerId,
    /// Target.
    pub target_id: TargetId,
    /// Whether packets to both ends leave to one link address: one end is behind the other, or a router is before both.
    pub shares_hop: bool,
}

impl FlowView {
    /// What `flow` of a worker looks like at `now_ms`.
    pub fn new((worker, flow, addresses): (u8, &Flow, &Addresses), now_ms: u32) -> FlowView {
        let forward = flow.key(addresses, Direction::Forward);
        let reverse = flow.key(addresses, Direction::Reverse);
        let idle_ms = now_ms.wrapping_sub(flow.last_seen_ms);
        let [to_target, to_client] = [Direction::Forward, Direction::Reverse].map(|way| flow.packed_hop(way));
        FlowView {
            worker,
            client: (forward.source(), u16::from_be_bytes(forward.source_port())),
            vip: (forward.destination(), u16::from_be_bytes(forward.destination_port())),
            source: (reverse.destination(), u16::from_be_bytes(reverse.destination_port())),
            target: (reverse.source(), u16::from_be_bytes(reverse.source_port())),
            protocol: Protocol::from_number(flow.protocol()).unwrap_or(Protocol::Tcp),
            state: flow.state().name(),
            idle_ms: if idle_ms > u32::MAX / 2 { 0 } else { idle_ms },
            timeout_ms: u32::from(flow.timeout_s) * 1_000,
            listener: ListenerId(flow.listener_id),
            target_id: TargetId(u32::from(flow.target_id)),
            shares_hop: to_target == to_client && to_target != Hop::UNKNOWN,
        }
    }
}

/// Workers read the clock one after the other: a record may be this much ahead of who looks at it, in milliseconds.
const CLOCK_SKEW_MS: u32 = 10_000;

const _: () = assert!(size_of::<Flow>() == 64 && size_of::<Addresses>() == 64 && size_of::<Annex>() == 64);
const _: () = assert!(crate::limits::TARGETS <= 1 << 16);
const _: () = assert!((Protocol::Tcp as u8 | Protocol::Udp as u8) & !kind::PROTOCOL == 0);
