//! Flows as their client and their target see them, in every mode that the packet path has.

use std::net::{IpAddr, SocketAddr};

use lb_core::{datapath::Datapath, tables::InterfaceId, verdict::Verdict};

use super::{
    ACK, CLIENT, CLIENT_MAC, CLIENT6, Crafted, Family, INSIDE, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, SYN, Scene,
    Seen, VIP, VIP6, leaked_datapath, number_of, process, read, settings, target_mac, tcp, udp,
};

/// A pair of families, and whether targets see clients.
#[derive(Clone, Debug)]
pub struct Mode {
    pub name: &'static str,
    pub scene: Scene,
    pub client: SocketAddr,
    pub vip: IpAddr,
}

/// Every mode.
pub fn modes() -> [Mode; 6] {
    [
        mode("IPv4, client preserved", Scene::dual_stack(Family::V4), Family::V4),
        mode("IPv4, source translated", Scene::full_nat(Family::V4), Family::V4),
        mode("IPv6, client preserved", Scene::dual_stack(Family::V6), Family::V6),
        mode("IPv6, source translated", Scene::full_nat(Family::V6), Family::V6),
        v4_to_v6(),
        v6_to_v4(),
    ]
}

/// Modes in which targets see clients.
pub fn preserving_modes() -> [Mode; 2] {
    let [v4, _, v6, ..] = modes();
    [v4, v6]
}

/// Modes of one family in which targets see a source of ours.
pub fn source_translating_modes() -> [Mode; 2] {
    let [_, v4, _, v6, ..] = modes();
    [v4, v6]
}

/// IPv4 clients of IPv6 targets.
pub fn v4_to_v6() -> Mode {
    mode("IPv4 to IPv6", Scene::dual_stack(Family::V6), Family::V4)
}

/// IPv6 clients of IPv4 targets.
pub fn v6_to_v4() -> Mode {
    mode("IPv6 to IPv4", Scene::dual_stack(Family::V4), Family::V6)
}

fn mode(name: &'static str, scene: Scene, client: Family) -> Mode {
    let (client, vip) = match client {
        Family::V4 => (IpAddr::V4(CLIENT), IpAddr::V4(VIP)),
        Family::V6 => (IpAddr::V6(CLIENT6), IpAddr::V6(VIP6)),
    };
    Mode { name, scene, client: (client, 40_000).into(), vip }
}

impl Mode {
    pub fn path(&self) -> Datapath<'static> {
        leaked_datapath(256, settings(), &self.scene)
    }

    pub fn web(&self) -> SocketAddr {
        (self.vip, 80).into()
    }

    pub fn dns(&self) -> SocketAddr {
        (self.vip, 53).into()
    }

    pub fn is_ipv4(&self) -> bool {
        self.client.is_ipv4()
    }

    /// A client's SYN.
    pub fn syn(&self) -> Crafted {
        tcp(self.client, self.web(), SYN)
    }

    /// A client's datagram.
    pub fn datagram(&self) -> Crafted {
        udp(self.client, self.dns())
    }

    /// An established connection.
    pub fn connect(&self, path: &mut Datapath<'_>) -> OpenFlow {
        OpenFlow::connect(path, self.client, self.web(), 0)
    }
}

/// The interface that a frame comes in by, by the link address that it is for.
pub fn ingress_of(packet: &Crafted) -> InterfaceId {
    if packet.macs.1 == INSIDE_MAC { INSIDE } else { OUTSIDE }
}

/// Puts a packet through; the frames that were kept or made stay for `take_extras`.
pub fn through(path: &mut Datapath<'_>, packet: &Crafted, now_ms: u64) -> (Verdict, Option<Vec<u8>>) {
    process(path, ingress_of(packet), &packet.bytes(), now_ms)
}

/// A flow with the addresses that its ends see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFlow {
    pub client: SocketAddr,
    pub vip: SocketAddr,
    /// What the target sees: the client, or a source of ours.
    pub source: SocketAddr,
    pub target: SocketAddr,
    pub protocol: u8,
}

impl OpenFlow {
    /// Opens a flow by a client's first packet.
    pub fn open(path: &mut Datapath<'_>, first: &Crafted, now_ms: u64) -> OpenFlow {
        OpenFlow::begin(path, first, now_ms).0
    }

    /// The same, and the packet as its target gets it.
    fn begin(path: &mut Datapath<'_>, first: &Crafted, now_ms: u64) -> (OpenFlow, Seen) {
        let (verdict, out) = through(path, first, now_ms);
        let seen = read(&out.unwrap_or_else(|| panic!("{:?}", verdict.reason)));
        let flow = OpenFlow {
            client: first.source,
            vip: first.destination,
            source: seen.source,
            target: seen.destination,
            protocol: first.protocol,
        };
        (flow, seen)
    }

    /// Opens a TCP flow and completes its handshake.
    pub fn connect(path: &mut Datapath<'_>, client: SocketAddr, vip: SocketAddr, now_ms: u64) -> OpenFlow {
        let (flow, syn) = OpenFlow::begin(path, &tcp(client, vip, SYN), now_ms);
        let answer = Crafted { acknowledgement: syn.sequence.wrapping_add(1), ..flow.reply(SYN | ACK) };
        let seen = flow.to_client(path, &answer, now_ms);
        let acknowledgement = seen.sequence.wrapping_add(1);
        let sequence = tcp(client, vip, SYN).sequence + 1;
        flow.to_target(path, &Crafted { sequence, acknowledgement, ..flow.request(ACK) }, now_ms);
        flow
    }

    /// A packet of the client.
    pub fn request(&self, flags: u8) -> Crafted {
        match self.protocol {
            6 => tcp(self.client, self.vip, flags),
            _ => udp(self.client, self.vip),
        }
    }

    /// A packet of the target.
    pub fn reply(&self, flags: u8) -> Crafted {
        let packet = match self.protocol {
            6 => tcp(self.target, self.source, flags),
            _ => udp(self.target, self.source),
        };
        packet.macs(target_mac(number_of(self.target)), INSIDE_MAC)
    }

    /// A client's packet as the target is to get it, where both have one family.
    pub fn at_target(&self, packet: &Crafted) -> Crafted {
        Crafted {
            source: self.source,
            destination: self.target,
            macs: (INSIDE_MAC, target_mac(number_of(self.target))),
            ttl: packet.ttl - 1,
            ..packet.clone()
        }
    }

    /// A target's packet as the client is to get it, where both have one family.
    pub fn at_client(&self, packet: &Crafted) -> Crafted {
        Crafted {
            source: self.vip,
            destination: self.client,
            macs: (OUTSIDE_MAC, CLIENT_MAC),
            ttl: packet.ttl - 1,
            ..packet.clone()
        }
    }

    /// Puts a client's packet through and expects it at the target.
    pub fn to_target(&self, path: &mut Datapath<'_>, packet: &Crafted, now_ms: u64) -> Seen {
        let (verdict, out) = through(path, packet, now_ms);
        let seen = read(&out.unwrap_or_else(|| panic!("{:?}", verdict.reason)));
        assert_eq!((seen.source, seen.destination), (self.source, self.target), "{:?}", verdict.reason);
        assert_eq!(seen.macs, (INSIDE_MAC, target_mac(number_of(self.target))));
        seen
    }

    /// Puts a target's packet through and expects it at the client.
    pub fn to_client(&self, path: &mut Datapath<'_>, packet: &Crafted, now_ms: u64) -> Seen {
        let (verdict, out) = through(path, packet, now_ms);
        let seen = read(&out.unwrap_or_else(|| panic!("{:?}", verdict.reason)));
        assert_eq!((seen.source, seen.destination), (self.vip, self.client), "{:?}", verdict.reason);
        assert_eq!(seen.macs, (OUTSIDE_MAC, CLIENT_MAC));
        seen
    }
}
