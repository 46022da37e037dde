//! A flow: its key, and the record that caches the decision made for its first packet.

use std::net::{IpAddr, Ipv4Addr};

use bytemuck::{Pod, Zeroable};

use crate::{
    listener::ListenerId,
    tables::{Endpoint, InterfaceId, Mac, NextHop, Protocol},
    target::TargetId,
    wire::checksum::Delta,
};

/// What identifies the packets of one direction of a flow, in wire order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct FlowKey {
    /// Source address.
    pub source: [u8; 4],
    /// Destination address.
    pub destination: [u8; 4],
    /// Source port.
    pub source_port: [u8; 2],
    /// Destination port.
    pub destination_port: [u8; 2],
    /// Protocol, as in the IP header.
    pub protocol: u8,
    /// Always zero.
    pub zero: [u8; 3],
}

impl FlowKey {
    /// As two words, for hashing.
    #[inline]
    pub fn words(&self) -> [u64; 2] {
        bytemuck::cast(*self)
    }

    /// Key of packets the other way.
    pub fn opposite(&self) -> FlowKey {
        FlowKey {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..*self
        }
    }

    /// The endpoint that the packet goes to. `None` for a protocol that listeners do not have.
    pub fn destination_endpoint(&self) -> Option<Endpoint> {
        endpoint(self.destination, self.destination_port, self.protocol)
    }

    /// The endpoint that the packet comes from.
    pub fn source_endpoint(&self) -> Option<Endpoint> {
        endpoint(self.source, self.source_port, self.protocol)
    }
}

/// Which way a packet of a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// From the client to the target.
    Forward = 0,
    /// From the target to the client.
    Reverse = 1,
}

/// Where a flow is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// The record is not in use.
    Free = 0,
    /// UDP.
    Udp = 1,
    /// TCP: SYN seen, no answer of the target yet.
    HalfOpen = 2,
    /// TCP: answered by the target, not confirmed by the client yet. Still counts as half-open.
    Answered = 3,
    /// TCP: handshake complete.
    Established = 4,
    /// TCP: the client has sent FIN.
    ClientClosed = 5,
    /// TCP: the target has sent FIN.
    TargetClosed = 6,
    /// TCP: both have sent FIN.
    Closed = 7,
    /// TCP: one side has sent RST.
    Reset = 8,
    /// TCP: cut on purpose. The record is a tombstone: packets get a reset, only a new SYN selects anew.
    Cut = 9,
}

impl State {
    const ALL: [State; 10] = [
        State::Free,
        State::Udp,
        State::HalfOpen,
        State::Answered,
        State::Established,
        State::ClientClosed,
        State::TargetClosed,
        State::Closed,
        State::Reset,
        State::Cut,
    ];

    /// Whether the handshake is incomplete, so that the flow counts against the half-open budget.
    #[inline]
    pub const fn is_half_open(self) -> bool {
        matches!(self, State::HalfOpen | State::Answered)
    }

    /// Whether a SYN of the client starts a new flow on the same ports.
    #[inline]
    pub const fn is_over(self) -> bool {
        matches!(self, State::Closed | State::Reset | State::Cut)
    }

    /// Name for people.
    pub const fn name(self) -> &'static str {
        match self {
            State::Free => "free",
            State::Udp => "udp",
            State::HalfOpen => "half_open",
            State::Answered => "answered",
            State::Established => "established",
            State::ClientClosed => "client_closed",
            State::TargetClosed => "target_closed",
            State::Closed => "closed",
            State::Reset => "reset",
            State::Cut => "cut",
        }
    }
}

/// The record of one flow: one cache line of plain data, all zero when free, complete for rewriting either direction
/// without a look at the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Flow {
    /// Client's address.
    pub client: [u8; 4],
    /// Listener's address.
    pub vip: [u8; 4],
    /// Target's address.
    pub target: [u8; 4],
    /// Client's port, network order.
    pub client_port: [u8; 2],
    /// Listener's port, network order.
    pub vip_port: [u8; 2],
    /// Target's port, network order.
    pub target_port: [u8; 2],
    /// Protocol, as in the IP header.
    pub protocol: u8,
    state: u8,
    /// Time of the last packet that counts, in wrapping milliseconds.
    pub last_seen_ms: u32,
    /// Generation of the tables that the record was last checked against.
    pub generation: u32,
    /// Target, as an index into the tables.
    pub target_id: u32,
    /// Listener, as an index into the tables.
    pub listener_id: u16,
    /// The flow is over when no packet came for this long, in seconds.
    pub timeout_s: u16,
    /// Link address that the client's packets come from: replies leave towards it.
    pub client_mac: [u8; 6],
    /// Link address of the next hop towards the target.
    pub target_mac: [u8; 6],
    /// Interface that the client's packets come in by; [`NO_INTERFACE`] until one came.
    pub client_interface: u8,
    /// Interface towards the target.
    pub target_interface: u8,
    /// Change of the IP header's checksum from VIP to target.
    ip_delta: u16,
    /// Change of the TCP or UDP checksum from VIP to target.
    l4_delta: u16,
    /// The listener's idle timeout, in seconds.
    pub idle_timeout_s: u16,
    /// Neighbour in the list that the record is in, free or half-open; owned by the flow table.
    pub(crate) next: u32,
    /// Other neighbour in the half-open list; owned by the flow table.
    pub(crate) previous: u32,
}

/// `client_interface` of a flow whose client's link address is not known.
pub const NO_INTERFACE: u8 = u8::MAX;

impl Flow {
    /// A flow for packets with the key `forward`, sent on to `target`.
    pub fn new(forward: &FlowKey, target: ([u8; 4], [u8; 2]), state: State) -> Flow {
        let ip_delta = Delta::replacing(&forward.destination, &target.0);
        let l4_delta = ip_delta.and(Delta::replacing(&forward.destination_port, &target.1));
        Flow {
            client: forward.source,
            vip: forward.destination,
            target: target.0,
            client_port: forward.source_port,
            vip_port: forward.destination_port,
            target_port: target.1,
            protocol: forward.protocol,
            state: state as u8,
            client_interface: NO_INTERFACE,
            ip_delta: ip_delta.0,
            l4_delta: l4_delta.0,
            ..Flow::zeroed()
        }
    }

    /// A record not in use, in a list of its kind.
    pub(crate) fn free(next: u32) -> Flow {
        Flow { next, ..Flow::zeroed() }
    }

    /// Key of the packets from the client.
    #[inline]
    pub fn forward_key(&self) -> FlowKey {
        FlowKey {
            source: self.client,
            destination: self.vip,
            source_port: self.client_port,
            destination_port: self.vip_port,
            protocol: self.protocol,
            zero: [0; 3],
        }
    }

    /// Key of the packets from the target.
    #[inline]
    pub fn reverse_key(&self) -> FlowKey {
        FlowKey {
            source: self.target,
            destination: self.client,
            source_port: self.target_port,
            destination_port: self.client_port,
            protocol: self.protocol,
            zero: [0; 3],
        }
    }

    /// Key of the packets of one direction.
    #[inline]
    pub fn key(&self, direction: Direction) -> FlowKey {
        match direction {
            Direction::Forward => self.forward_key(),
            Direction::Reverse => self.reverse_key(),
        }
    }

    /// Where the flow is in its life. A number that no state has reads as free.
    #[inline]
    pub fn state(&self) -> State {
        *State::ALL.get(usize::from(self.state)).unwrap_or(&State::Free)
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

    /// Changes of the IP and of the TCP or UDP checksum when a packet of this direction is rewritten.
    #[inline]
    pub fn deltas(&self, direction: Direction) -> (Delta, Delta) {
        let (ip, l4) = (Delta(self.ip_delta), Delta(self.l4_delta));
        match direction {
            Direction::Forward => (ip, l4),
            Direction::Reverse => (ip.inverse(), l4.inverse()),
        }
    }

    /// Whether the flow's time is over.
    #[inline]
    pub fn is_expired(&self, now_ms: u32) -> bool {
        let idle_ms = now_ms.wrapping_sub(self.last_seen_ms);
        // A reading a little before `last_seen_ms` wraps to almost 2^32; it is not 49 days of silence.
        idle_ms > u32::from(self.timeout_s) * 1_000 && idle_ms < u32::MAX - CLOCK_SKEW_MS
    }

    /// Where packets to the client go; `None` until the client's link address is known.
    #[inline]
    pub fn client_hop(&self) -> Option<NextHop> {
        (self.client_interface != NO_INTERFACE)
            .then_some(NextHop { interface: InterfaceId(self.client_interface), mac: Mac(self.client_mac) })
    }

    /// Where packets to the target go.
    #[inline]
    pub fn target_hop(&self) -> NextHop {
        NextHop { interface: InterfaceId(self.target_interface), mac: Mac(self.target_mac) }
    }

    /// Notes where packets to the client go.
    #[inline]
    pub fn set_client_hop(&mut self, hop: NextHop) {
        self.client_interface = hop.interface.0;
        self.client_mac = hop.mac.0;
    }

    /// Notes where packets to the target go.
    #[inline]
    pub fn set_target_hop(&mut self, hop: NextHop) {
        self.target_interface = hop.interface.0;
        self.target_mac = hop.mac.0;
    }
}

/// One flow, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowView {
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
}

impl FlowView {
    /// What `flow` looks like at `now_ms`.
    pub fn new(flow: &Flow, now_ms: u32) -> FlowView {
        let pair =
            |address: [u8; 4], port: [u8; 2]| (IpAddr::V4(Ipv4Addr::from(address)), u16::from_be_bytes(port));
        let idle_ms = now_ms.wrapping_sub(flow.last_seen_ms);
        FlowView {
            client: pair(flow.client, flow.client_port),
            vip: pair(flow.vip, flow.vip_port),
            source: pair(flow.client, flow.client_port),
            target: pair(flow.target, flow.target_port),
            protocol: if flow.protocol == Protocol::Udp as u8 { Protocol::Udp } else { Protocol::Tcp },
            state: flow.state().name(),
            idle_ms: if idle_ms > u32::MAX / 2 { 0 } else { idle_ms },
            timeout_ms: u32::from(flow.timeout_s) * 1_000,
            listener: ListenerId(flow.listener_id),
            target_id: TargetId(flow.target_id),
        }
    }
}

fn endpoint(address: [u8; 4], port: [u8; 2], protocol: u8) -> Option<Endpoint> {
    let protocol = match protocol {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        _ => return None,
    };
    Some(Endpoint { address: IpAddr::V4(Ipv4Addr::from(address)), port: u16::from_be_bytes(port), protocol })
}

/// Workers read the clock one after the other: a record may be this much ahead of who looks at it, in milliseconds.
const CLOCK_SKEW_MS: u32 = 10_000;

const _: () = assert!(size_of::<Flow>() == 64 && size_of::<FlowKey>() == 16);
