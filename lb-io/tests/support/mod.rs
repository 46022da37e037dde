//! What tests of the data path share: the tables of a small service, and frames of its packets.

#![allow(dead_code)] // Each test program uses a part of this.

use std::sync::Arc;

use lb_core::{
    listener::{Forward, Listener, Sources},
    maglev::{Candidate, Maglev},
    tables::{Endpoint, Interface, InterfaceId, Mac, NextHop, Ownership, Protocol, Tables, TablesParts, Vip},
    target::{FlowPolicy, Pool, Target, TargetGroup, TargetGroupId, TargetId},
};

/// Tables with a TCP and a UDP listener at [`VIP`], port 80, and one target at [`TARGET`], port 8080: on interface 1 at this
/// link address, or at one that is not known. `macs` are those of the load balancer's interfaces.
pub fn tables(generation: u32, macs: [Mac; 2], target: Option<Mac>) -> Arc<Tables> {
    let listener = |protocol: Protocol| {
        Some(Listener {
            name: protocol.name().into(),
            endpoint: Endpoint { address: VIP.into(), port: 80, protocol },
            forward: Forward::to(TargetGroupId(0)),
            idle_timeout_s: 350,
            interface: InterfaceId(0),
            sources: Sources::none(),
            adopts_strays: false,
            has_syn_cookies: false,
        })
    };
    let candidate = Candidate { address: TARGET.into(), port: 8_080, weight: 1 };
    let pool = Pool::new(Arc::new([TargetId(0)]), Maglev::build(&[candidate], 251).into());
    let parts = TablesParts {
        generation,
        listeners: vec![listener(Protocol::Tcp), listener(Protocol::Udp)],
        groups: vec![TargetGroup::of_one_pool("web", true, pool)],
        targets: vec![Some(Target {
            group: TargetGroupId(0),
            address: TARGET.into(),
            port: 8_080,
            protocols: &[Protocol::Tcp, Protocol::Udp],
            next_hop: target.map(|mac| NextHop { interface: InterfaceId(1), mac }),
            flow_policy: FlowPolicy::Keep,
        })],
        interfaces: ["lb0", "lb1"]
            .iter()
            .zip(macs)
            .map(|(name, mac)| Interface { name: (*name).into(), mac, mtu: 1_500, receive_hash: None })
            .collect(),
        vips: vec![Vip { address: VIP.into(), ownership: Ownership::Exclusive }],
        sources: Vec::new(),
        host_addresses: Vec::new(),
        hops: Vec::new(),
    };
    Arc::new(Tables::new(parts).unwrap())
}

/// An Ethernet frame with a packet of right checksums; `macs` are destination and source.
pub fn frame(
    macs: (Mac, Mac),
    protocol: Protocol,
    from: ([u8; 4], u16),
    to: ([u8; 4], u16),
    tcp_flags: u8,
) -> Vec<u8> {
    let mut segment = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    match protocol {
        Protocol::Tcp => segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, tcp_flags, 0xff, 0xff, 0, 0, 0, 0]),
        Protocol::Udp => segment.extend([0, 8 + PAYLOAD.len() as u8, 0, 0]),
    }
    segment.extend(PAYLOAD);
    let total = (20 + segment.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 1, 0x40, 0, 64, protocol as u8, 0, 0]);
    packet.extend(from.0);
    packet.extend(to.0);
    let checksum = !fold(sum(&packet));
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    let checksum = !fold(sum(&segment) + pseudo_header(&packet, segment.len()));
    let at = checksum_at(protocol) - 34;
    segment[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    [&macs.0.0[..], &macs.1.0, &[0x08, 0x00], &packet, &segment].concat()
}

/// Whether a frame has an IPv4 packet of this protocol from and to these addresses and ports.
pub fn is_packet(frame: &[u8], protocol: Protocol, from: ([u8; 4], u16), to: ([u8; 4], u16)) -> bool {
    frame.len() >= 42
        && frame[12..14] == [0x08, 0x00]
        && frame[23] == protocol as u8
        && frame[26..30] == from.0
        && frame[30..34] == to.0
        && frame[34..36] == from.1.to_be_bytes()
        && frame[36..38] == to.1.to_be_bytes()
}

/// Whether both checksums verify.
pub fn is_right(frame: &[u8]) -> bool {
    let packet = &frame[14..];
    let segment = &packet[20..];
    fold(sum(&packet[..20])) == 0xffff && fold(sum(segment) + pseudo_header(packet, segment.len())) == 0xffff
}

/// Sum over the pseudo-header of an IPv4 packet's segment.
pub fn pseudo_header(packet: &[u8], segment_bytes: usize) -> u32 {
    sum(&packet[12..20]) + u32::from(packet[9]) + segment_bytes as u32
}

/// Sum of 16-bit words (RFC 1071), not folded.
pub fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u32::from(low))).sum()
}

/// A sum in 16 bits.
pub fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Where the checksum is in a frame with an IPv4 packet without options.
pub fn checksum_at(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Tcp => 50,
        Protocol::Udp => 40,
    }
}

/// The client.
pub const CLIENT: [u8; 4] = [198, 18, 0, 2];
/// Address of both listeners.
pub const VIP: [u8; 4] = [198, 18, 100, 1];
/// The one target.
pub const TARGET: [u8; 4] = [198, 19, 1, 2];
/// The client's link address.
pub const CLIENT_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
/// The target's link address.
pub const TARGET_MAC: Mac = Mac([2, 0, 0, 0, 1, 2]);
/// What every packet carries.
pub const PAYLOAD: &[u8] = b"a payload of some bytes.";
/// TCP flag.
pub const SYN: u8 = 2;
/// TCP flag.
pub const ACK: u8 = 16;
