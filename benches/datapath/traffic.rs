//! The flows of a bench: by number, who their clients and targets are, and what these send.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use lb_core::{tables::Sources, verdict::Reason};

use crate::{
    frames::{Packet, Slip, Transport, head},
    support::{
        CLIENT_MAC, Family, INSIDE, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, SYN, Scene, VIP, VIP6, target,
        target_mac, target6,
    },
};

/// What the load balancer does with the flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// IPv4; targets see the client.
    Preserving,
    /// IPv4; targets see one of [`SOURCES`] addresses of ours.
    FullNat,
    /// IPv6; targets see the client.
    Ipv6,
    /// Clients of IPv6, targets of IPv4, which see one of [`SOURCES`] addresses of ours.
    Ipv6ToIpv4,
}

impl Mode {
    /// The tables for it.
    pub fn scene(self) -> Scene {
        let sources = Arc::new(Sources {
            addresses: (0..SOURCES).map(|n| source_address(n).into()).collect(),
            ports: 1_024..=65_535,
        });
        let scene = match self {
            Mode::Preserving => Scene::default(),
            Mode::FullNat => Scene { preserves_client_ip: false, sources, ..Scene::default() },
            Mode::Ipv6 => Scene::dual_stack(Family::V6),
            Mode::Ipv6ToIpv4 => Scene { sources, ..Scene::dual_stack(Family::V4) },
        };
        Scene { host_addresses: Vec::new(), ..scene } // Each address of the subnet is a client's.
    }

    fn has_ipv6_clients(self) -> bool {
        matches!(self, Mode::Ipv6 | Mode::Ipv6ToIpv4)
    }
}

/// A flow as its target sees it.
#[derive(Clone, Copy)]
pub struct TargetEnd {
    /// Number of the target.
    target: u8,
    /// Number of our source address, if it is one of ours.
    source: u8,
    /// The port that the target sees.
    port: u16,
}

impl TargetEnd {
    /// From a frame on its way to the target.
    pub fn of(frame: &[u8]) -> TargetEnd {
        let (source, target, port) = if frame[12..14] == [8, 0] { (29, 32, 34) } else { (37, 45, 54) };
        let port = u16::from_be_bytes([frame[port], frame[port + 1]]);
        TargetEnd { target: frame[target], source: frame[source], port }
    }
}

/// Makes packets.
pub struct Traffic {
    mode: Mode,
    /// The live flows of the table, by number.
    live: Vec<TargetEnd>,
    /// Number of the next new flow.
    fresh: u32,
    /// Odd packets made so far: see `mix`.
    pub odd: u32,
    random: u64,
}

impl Traffic {
    /// Of no flow yet.
    pub fn new(mode: Mode) -> Traffic {
        Traffic { mode, live: Vec::new(), fresh: 0, odd: 0, random: 1 }
    }

    /// Live flows noted so far.
    pub fn live(&self) -> u32 {
        self.live.len() as u32
    }

    /// Notes the next live flow. Live ones are the first of all.
    pub fn note_live(&mut self, (flow, end): (u32, TargetEnd)) {
        assert_eq!(flow, self.live());
        self.live.push(end);
    }

    /// A packet from the client of a flow.
    pub fn request(&self, flow: u32, flags: u8, size: usize) -> Packet {
        let expected = if flags == SYN { Reason::FlowNew } else { Reason::FlowHit };
        self.client_packet(flow, (Transport::Tcp(flags), 80), size, expected)
    }

    /// The datagram that opens a flow.
    pub fn datagram(&self, flow: u32) -> Packet {
        self.client_packet(flow, (Transport::Udp, 53), 64, Reason::FlowNew)
    }

    /// A packet from the client of a flow to a port of the VIP.
    pub fn client_packet(
        &self,
        flow: u32,
        (transport, port): (Transport, u16),
        size: usize,
        expected: Reason,
    ) -> Packet {
        let vip = if self.mode.has_ipv6_clients() { (VIP6, port).into() } else { (VIP, port).into() };
        let head = head(transport, (self.client(flow), vip), (CLIENT_MAC, OUTSIDE_MAC), size);
        Packet { head, slip: Slip { length: size - 4, ingress: OUTSIDE, flow, expected } }
    }

    /// A packet from the target of a live flow.
    pub fn reply(&self, flow: u32, flags: u8, size: usize) -> Packet {
        self.reply_from((flow, self.live[flow as usize]), flags, size)
    }

    /// A packet from the target of any flow.
    pub fn reply_from(&self, (flow, end): (u32, TargetEnd), flags: u8, size: usize) -> Packet {
        let source = (self.target(end), self.source(flow, end));
        let head = head(Transport::Tcp(flags), source, (target_mac(end.target), INSIDE_MAC), size);
        Packet { head, slip: Slip { length: size - 4, ingress: INSIDE, flow, expected: Reason::FlowHit } }
    }

    /// Bytes on the wire of a segment without data, or with very little.
    pub fn least_size(&self) -> usize {
        if self.mode.has_ipv6_clients() { 86 } else { 64 }
    }

    /// Any live flow.
    pub fn any_live(&mut self) -> u32 {
        self.random() % self.live()
    }

    /// The number of a flow that has not been.
    pub fn fresh(&mut self) -> u32 {
        self.fresh += 1;
        self.fresh - 1
    }

    /// 31 random bits.
    pub fn random(&mut self) -> u32 {
        self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.random >> 33) as u32
    }

    /// Client of a flow.
    pub fn client(&self, flow: u32) -> SocketAddr {
        let (client, port) = (flow / PORTS, FIRST_PORT + (flow % PORTS) as u16);
        assert!(client < CLIENTS, "too long a run: clients have used up their ports");
        match self.mode.has_ipv6_clients() {
            true => (Ipv6Addr::from(FIRST_CLIENT6 + u128::from(client)), port).into(),
            false => (Ipv4Addr::from_bits(FIRST_CLIENT + client), port).into(),
        }
    }

    fn source(&self, flow: u32, end: TargetEnd) -> SocketAddr {
        match self.mode {
            Mode::Preserving | Mode::Ipv6 => self.client(flow),
            Mode::FullNat | Mode::Ipv6ToIpv4 => (source_address(end.source), end.port).into(),
        }
    }

    fn target(&self, end: TargetEnd) -> SocketAddr {
        match self.mode {
            Mode::Ipv6 => (target6(end.target), 8_080).into(),
            _ => (target(end.target), 8_080).into(),
        }
    }
}

fn source_address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 19, 200, n)
}

/// Source addresses: enough that 10 M flows have ports, most of them found at the first try.
const SOURCES: u8 = 128;
/// 198.18.0.0/18 and 2001:db8:1::.
const FIRST_CLIENT: u32 = 0xc612_0000;
const FIRST_CLIENT6: u128 = 0x2001_0db8_0001 << 80;
const CLIENTS: u32 = 1 << 14;
/// Each client uses this many ports, one after the other.
const PORTS: u32 = 50_000;
const FIRST_PORT: u16 = 10_000;
