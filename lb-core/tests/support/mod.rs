//! Frames, tables and a packet path to put them through, for tests and benches.
#![allow(dead_code, missing_docs)] // Each test binary uses its part.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use lb_core::{
    counters::WorkerCounters,
    datapath::{Arrival, Datapath, MacFilter, Settings},
    flow_table::{FlowArena, FlowMemory},
    frame::Frame,
    limits,
    maglev::{Candidate, Maglev},
    tables::*,
    time::Instant,
    verdict::{Action, Reason, Verdict},
    wire::checksum,
};

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
pub const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 100, 1);
pub const CLIENT_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xc1]);
pub const INSIDE: InterfaceId = InterfaceId(1);
pub const OUTSIDE: InterfaceId = InterfaceId(0);
pub const OUTSIDE_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xa0]);
pub const INSIDE_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xa1]);

/// Address of target `n`, from 1.
pub fn target(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 19, n, 2)
}

/// Link address of target `n`.
pub fn target_mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

/// A TCP or UDP packet to be.
#[derive(Clone, Debug)]
pub struct Crafted {
    pub source: (Ipv4Addr, u16),
    pub destination: (Ipv4Addr, u16),
    pub macs: (Mac, Mac),
    pub protocol: u8,
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub ttl: u8,
    pub payload: Vec<u8>,
    pub options: Vec<u8>,
}

pub fn tcp(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16), flags: u8) -> Crafted {
    Crafted {
        source,
        destination,
        macs: (CLIENT_MAC, OUTSIDE_MAC),
        protocol: 6,
        flags,
        sequence: 0x1000_0000,
        acknowledgement: if flags & ACK != 0 { 0x2000_0000 } else { 0 },
        ttl: 64,
        payload: Vec::new(),
        options: Vec::new(),
    }
}

pub fn udp(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16)) -> Crafted {
    Crafted { protocol: 17, payload: b"ping".to_vec(), ..tcp(source, destination, 0) }
}

impl Crafted {
    pub fn macs(self, from: Mac, to: Mac) -> Crafted {
        Crafted { macs: (from, to), ..self }
    }

    pub fn payload(self, payload: &[u8]) -> Crafted {
        Crafted { payload: payload.to_vec(), ..self }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend(self.source.1.to_be_bytes());
        segment.extend(self.destination.1.to_be_bytes());
        let checksum_at = if self.protocol == 6 {
            segment.extend(self.sequence.to_be_bytes());
            segment.extend(self.acknowledgement.to_be_bytes());
            segment.extend([0x50, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
            16
        } else {
            segment.extend((8 + self.payload.len() as u16).to_be_bytes());
            segment.extend([0, 0]);
            6
        };
        segment.extend(&self.payload);
        let pseudo = checksum::pseudo_header(
            self.source.0.octets(),
            self.destination.0.octets(),
            self.protocol,
            segment.len() as u16,
        );
        let sum = checksum::checksum(&segment, pseudo);
        segment[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());

        let header_length = 20 + self.options.len();
        let mut bytes = Vec::new();
        bytes.extend(self.macs.1.0);
        bytes.extend(self.macs.0.0);
        bytes.extend([0x08, 0x00, 0x40 | (header_length / 4) as u8, 0]);
        bytes.extend(((header_length + segment.len()) as u16).to_be_bytes());
        bytes.extend([0x12, 0x34, 0x40, 0, self.ttl, self.protocol, 0, 0]);
        bytes.extend(self.source.0.octets());
        bytes.extend(self.destination.0.octets());
        bytes.extend(&self.options);
        fix_ip_checksum(&mut bytes);
        bytes.extend(segment);
        bytes
    }
}

/// An ICMP error about a packet, given as a frame: quotes `quoted` bytes of it.
pub fn icmp_error(
    kind: (u8, u8),
    (source, destination): (Ipv4Addr, Ipv4Addr),
    macs: (Mac, Mac),
    about: &[u8],
    quoted: usize,
) -> Vec<u8> {
    let mut message = vec![kind.0, kind.1, 0, 0, 0, 0, 0x05, 0x78];
    message.extend(&about[14..14 + quoted]);
    let sum = checksum::checksum(&message, 0);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = Vec::new();
    frame.extend(macs.1.0);
    frame.extend(macs.0.0);
    frame.extend([0x08, 0x00, 0x45, 0xc0]);
    frame.extend((20 + message.len() as u16).to_be_bytes());
    frame.extend([0, 1, 0, 0, 64, 1, 0, 0]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    fix_ip_checksum(&mut frame);
    frame.extend(message);
    frame
}

/// Makes the IPv4 header's checksum right.
pub fn fix_ip_checksum(frame: &mut [u8]) {
    let end = (14 + usize::from(frame[14] & 15) * 4).clamp(34, frame.len());
    frame[24..26].fill(0);
    let sum = checksum::checksum(&frame[14..end], 0);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// A frame taken apart again, its checksums verified from scratch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub source: (Ipv4Addr, u16),
    pub destination: (Ipv4Addr, u16),
    pub macs: (Mac, Mac),
    pub ttl: u8,
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub payload: Vec<u8>,
}

/// Reads a frame back; panics when a checksum is wrong.
pub fn read(frame: &[u8]) -> Seen {
    let ip = &frame[14..14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]))];
    let (header, segment) = ip.split_at(usize::from(ip[0] & 15) * 4);
    assert_eq!(checksum::fold(checksum::sum(header, 0)), 0xffff, "IP checksum");
    let address = |at: usize| <[u8; 4]>::try_from(&header[at..at + 4]).unwrap();
    let is_udp = header[9] == 17;
    if !(is_udp && segment[6..8] == [0, 0]) {
        let pseudo = checksum::pseudo_header(address(12), address(16), header[9], segment.len() as u16);
        assert_eq!(checksum::fold(checksum::sum(segment, pseudo)), 0xffff, "TCP or UDP checksum");
    }
    let word =
        |at: usize| if is_udp { 0 } else { u32::from_be_bytes(segment[at..at + 4].try_into().unwrap()) };
    let header_length = if is_udp { 8 } else { usize::from(segment[12] >> 4) * 4 };
    Seen {
        source: (address(12).into(), u16::from_be_bytes([segment[0], segment[1]])),
        destination: (address(16).into(), u16::from_be_bytes([segment[2], segment[3]])),
        macs: (Mac(frame[6..12].try_into().unwrap()), Mac(frame[0..6].try_into().unwrap())),
        ttl: header[8],
        flags: if is_udp { 0 } else { segment[13] },
        sequence: word(4),
        acknowledgement: word(8),
        payload: segment[header_length..].to_vec(),
    }
}

/// Tables with a TCP listener on port 80 and a UDP listener on port 53, both to targets on port 8080.
#[derive(Clone, Debug)]
pub struct Scene {
    pub generation: u32,
    /// Number, eligible, policy of each registered target.
    pub targets: Vec<(u8, bool, FlowPolicy)>,
    pub is_resolved: bool,
    pub hops: Vec<(IpAddr, NextHop)>,
    /// A second TCP listener on this port, to the same group.
    pub second_port: Option<u16>,
}

impl Default for Scene {
    fn default() -> Scene {
        Scene {
            generation: 1,
            targets: (1..=3).map(|n| (n, true, FlowPolicy::Keep)).collect(),
            is_resolved: true,
            hops: Vec::new(),
            second_port: None,
        }
    }
}

impl Scene {
    pub fn tables(&self) -> Arc<Tables> {
        let mut targets = vec![None; 256];
        for &(n, _, flow_policy) in &self.targets {
            let next_hop = self.is_resolved.then_some(NextHop { interface: INSIDE, mac: target_mac(n) });
            let address = IpAddr::V4(target(n));
            let protocols = &[Protocol::Tcp, Protocol::Udp];
            targets[usize::from(n)] = Some(Target {
                group: TargetGroupId(0),
                address,
                port: 8080,
                protocols,
                next_hop,
                flow_policy,
            });
        }
        let eligible: Vec<u8> = self.targets.iter().filter(|row| row.1).map(|row| row.0).collect();
        let candidates: Vec<Candidate> = eligible
            .iter()
            .map(|&n| Candidate { address: IpAddr::V4(target(n)), port: 8080, weight: 1 })
            .collect();
        let group = TargetGroup {
            name: "web".into(),
            preserves_client_ip: true,
            eligible: eligible.iter().map(|&n| TargetId(u32::from(n))).collect(),
            maglev: Arc::new(Maglev::with_default_slots(&candidates)),
        };
        let listener = |protocol, port| {
            Some(Listener {
                name: format!("edge/{}:{port}", Protocol::name(protocol)).into(),
                endpoint: Endpoint { address: VIP.into(), port, protocol },
                group: TargetGroupId(0),
                idle_timeout_s: if protocol == Protocol::Tcp {
                    limits::TCP_IDLE_S
                } else {
                    limits::UDP_IDLE_S
                },
                interface: OUTSIDE,
                sources: Sources::none(),
                adopts_strays: false,
                has_syn_cookies: false,
            })
        };
        let mut listeners = vec![listener(Protocol::Tcp, 80), listener(Protocol::Udp, 53)];
        listeners.extend(self.second_port.map(|port| listener(Protocol::Tcp, port)));
        let interface =
            |name: &str, mac| Interface { name: name.into(), mac, mtu: 1_500, receive_hash: None };
        Arc::new(
            Tables::new(TablesParts {
                generation: self.generation,
                listeners,
                groups: vec![group],
                targets,
                interfaces: vec![interface("outside", OUTSIDE_MAC), interface("inside", INSIDE_MAC)],
                vips: vec![Vip { address: VIP.into(), ownership: Ownership::Exclusive }],
                sources: Vec::new(),
                hops: self.hops.clone(),
            })
            .unwrap(),
        )
    }
}

pub fn settings() -> Settings {
    Settings {
        worker: 0,
        workers: 1,
        flow_hash_key: std::array::from_fn(|i| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        selection_secret: [7; 16],
        adopt_until: None,
        mac_filter: MacFilter::Own,
    }
}

pub fn datapath<'m>(memory: FlowMemory<'m>, settings: Settings, scene: &Scene) -> Datapath<'m> {
    Datapath::new(settings, memory, scene.tables(), Arc::new(WorkerCounters::new()))
}

/// A packet path with room for `capacity` flows that lives as long as the test.
pub fn leaked_datapath(capacity: u32, settings: Settings, scene: &Scene) -> Datapath<'static> {
    let arena = Box::leak(Box::new(FlowArena::new(capacity)));
    datapath(arena.memory(), settings, scene)
}

/// Puts one frame through, settles it, and returns its verdict and the bytes that leave, if any.
pub fn send(
    datapath: &mut Datapath<'_>,
    ingress: InterfaceId,
    frame: &[u8],
    now_ms: u64,
) -> (Verdict, Option<Vec<u8>>) {
    let sent = process(datapath, ingress, frame, now_ms);
    take_extras(datapath);
    sent
}

/// The frames that were kept or made, settled, each with its verdict.
pub fn take_extras(datapath: &mut Datapath<'_>) -> Vec<(Verdict, Vec<u8>)> {
    let mut extras = Vec::new();
    while let Some(extra) = datapath.next_extra() {
        extras.push((extra.verdict, extra.bytes.to_vec()));
    }
    for (verdict, _) in &extras {
        datapath.counters().settle(verdict.reason);
    }
    extras
}

/// Like [`send`], but leaves the frames that were kept or made to [`take_extras`].
pub fn process(
    datapath: &mut Datapath<'_>,
    ingress: InterfaceId,
    frame: &[u8],
    now_ms: u64,
) -> (Verdict, Option<Vec<u8>>) {
    let mut buffer = [&[0; 64], frame, &[0; 64]].concat();
    let mut frames = [Frame::new(&mut buffer, 64, 64 + frame.len(), ingress)];
    let mut verdicts = [Verdict::drop(Reason::NoFlow)];
    datapath.process_burst(&mut frames, Arrival::Ring, Instant::from_millis(now_ms), &mut verdicts);
    datapath.counters().settle(verdicts[0].reason);
    let leaves = matches!(verdicts[0].reason.action(), Action::Transmit | Action::Reply);
    (verdicts[0], leaves.then(|| frames[0].bytes().to_vec()))
}

/// Asserts that every frame received was settled under exactly one reason.
pub fn assert_books_balance(counters: &WorkerCounters) {
    let settled: u64 = Reason::ALL
        .iter()
        .filter(|reason| !matches!(reason.action(), Action::HandOver | Action::Hold))
        .map(|&reason| counters.reasons[reason as usize].value())
        .sum();
    assert_eq!(counters.received.value() + counters.made.value(), settled);
}
