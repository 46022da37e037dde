//! The packets that there are short ways for go them. What they do there, `tests/short_ways` says.

use super::*;
use crate::{
    flow::Annex,
    flow_table::FlowArena,
    listener::{Forward, Listener, Sources},
    maglev::{Candidate as MaglevCandidate, Maglev},
    tables::{Endpoint, Protocol, TablesParts, Target, TargetGroup, TargetGroupId, TargetId},
    target::{FlowPolicy, Pool},
    wire::{
        checksum::{checksum, pseudo_header_of},
        l4::tcp::{ACK, FIN, RST, SYN},
        octets,
    },
};

/// How a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By its flow's record.
    Plain,
    /// By its flow's record and the addresses beside.
    PlainIpv6,
    /// By its flow's record, which changes.
    Step,
    /// By what the tables said before.
    Opening,
    /// By that of all others.
    General,
}

#[test]
fn annexes_are_touched_while_the_flow_log_is_on_alone() {
    for is_on in [false, true] {
        let mut arena = FlowArena::new(64);
        let mut path = path(&mut arena, true, Family::V4);
        path.log_flows(NonZeroU32::new(is_on.into()), Instant::from_millis(1));
        for (protocol, flags) in [(TCP, SYN), (TCP, ACK), (UDP, 0)] {
            send(&mut path, protocol, flags, CLIENT, VIP);
        }
        let flows = &path.pipeline.flows;
        assert_eq!(flows.used_records(), 2);
        for record in 0..flows.used_records() {
            assert_eq!(*flows.annex(record) != Annex::default(), is_on, "record {record}");
        }
    }
}

#[test]
fn datagrams_go_short_ways() {
    let mut arena = FlowArena::new(64);
    let mut path = path(&mut arena, true, Family::V4);
    assert_eq!(send(&mut path, UDP, 0, CLIENT, VIP), (Way::Opening, Reason::FlowNew));
    assert_eq!(send(&mut path, UDP, 0, CLIENT, VIP), (Way::Plain, Reason::FlowHit));
    assert_eq!(send(&mut path, UDP, 0, TARGET, CLIENT), (Way::Plain, Reason::FlowHit));
}

#[test]
fn connections_go_short_ways_from_their_first_packet_to_their_last() {
    let mut arena = FlowArena::new(64);
    let mut path = path(&mut arena, true, Family::V4);
    assert_eq!(send(&mut path, TCP, SYN, CLIENT, VIP), (Way::Opening, Reason::FlowNew));
    assert_eq!(send(&mut path, TCP, SYN | ACK, TARGET, CLIENT), (Way::Step, Reason::FlowHit));
    assert_eq!(send(&mut path, TCP, ACK, CLIENT, VIP), (Way::Step, Reason::FlowHit));
    for _ in 0..3 {
        assert_eq!(send(&mut path, TCP, ACK, CLIENT, VIP), (Way::Plain, Reason::FlowHit));
        assert_eq!(send(&mut path, TCP, ACK, TARGET, CLIENT), (Way::Plain, Reason::FlowHit));
    }
    assert_eq!(send(&mut path, TCP, FIN | ACK, CLIENT, VIP), (Way::Step, Reason::FlowHit));
    assert_eq!(send(&mut path, TCP, RST, TARGET, CLIENT), (Way::Step, Reason::FlowHit));
}

#[test]
fn flows_with_a_source_of_ours_go_short_ways_once_they_are_open() {
    let mut arena = FlowArena::new(64);
    let mut path = path(&mut arena, false, Family::V4);
    assert_eq!(send(&mut path, UDP, 0, CLIENT, VIP), (Way::General, Reason::FlowNew));
    assert_eq!(send(&mut path, UDP, 0, CLIENT, VIP), (Way::Plain, Reason::FlowHit));
    assert_eq!(send(&mut path, UDP, 0, TARGET, SOURCE), (Way::Plain, Reason::FlowHit));
}

#[test]
fn packets_of_ipv6_flows_go_a_short_way_unless_they_move_the_flow() {
    for preserves_client_ip in [true, false] {
        let mut arena = FlowArena::new(64);
        let mut path = path(&mut arena, preserves_client_ip, Family::V6);
        let source = if preserves_client_ip { CLIENT } else { SOURCE };
        assert_eq!(send(&mut path, TCP, SYN, CLIENT, VIP), (Way::General, Reason::FlowNew));
        assert_eq!(send(&mut path, TCP, SYN | ACK, TARGET, source), (Way::General, Reason::FlowHit));
        assert_eq!(send(&mut path, TCP, ACK, CLIENT, VIP), (Way::General, Reason::FlowHit));
        assert_eq!(send(&mut path, TCP, ACK, CLIENT, VIP), (Way::PlainIpv6, Reason::FlowHit));
        assert_eq!(send(&mut path, TCP, ACK, TARGET, source), (Way::PlainIpv6, Reason::FlowHit));
    }
}

/// Puts a packet through, and says which way it went.
fn send(path: &mut Datapath<'_>, protocol: u8, flags: u8, from: Place, to: Place) -> (Way, Reason) {
    let is_ipv6 =
        path.tables.listener(ListenerId(0)).is_some_and(|listener| listener.endpoint.address.is_ipv6());
    let mut bytes = match is_ipv6 {
        true => frame_v6(protocol, flags, from, to),
        false => frame_v4(protocol, flags, from, to),
    };
    let length = bytes.len();
    let mut frames = [Frame::new(&mut bytes, 0, length, InterfaceId(0))];
    let Datapath { tables, pipeline, slots } = path;
    let slots = &mut slots[..1];
    let now = Instant::from_millis(1_000);
    let burst = Burst { arrival: Arrival::Ring, now, now_ms: now.wrapping_millis() };
    pipeline.parse_all(&frames, slots);
    let misses = pipeline.find_all(slots);
    pipeline.plan_openings(tables, slots, misses);
    let ([frame], slot) = (&mut frames, &slots[0]);
    if let Some(verdict) = pipeline.forward_plain(tables.epoch(), &burst, frame, slot) {
        return (Way::Plain, verdict.reason);
    }
    if let Some(verdict) = pipeline.forward_plain_ipv6(tables.epoch(), &burst, frame, slot) {
        return (Way::PlainIpv6, verdict.reason);
    }
    if let Some(opening) = slot.opening.as_ref().filter(|_| slot.is_miss())
        && let Some(verdict) = pipeline.open_plain(tables, &burst, frame, slot, opening)
    {
        return (Way::Opening, verdict.reason);
    }
    if let Some(verdict) = pipeline.forward_step(tables, &burst, frame, slot) {
        return (Way::Step, verdict.reason);
    }
    (Way::General, pipeline.process_other(tables, &burst, frame, slot).reason)
}

fn path(arena: &mut FlowArena, preserves_client_ip: bool, family: Family) -> Datapath<'_> {
    let settings = Settings {
        worker: 0,
        workers: 1,
        flow_hash_key: std::array::from_fn(|at| (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        selection_secret: [7; 16],
        adopt_until: None,
        ports_per_client: None,
        mac_filter: MacFilter::Own,
    };
    let tables = Arc::new(tables(preserves_client_ip, family));
    Datapath::new(settings, arena.memory(), tables, Arc::new(WorkerCounters::new()))
}

/// A listener of each protocol, one target, and one source port for each protocol.
fn tables(preserves_client_ip: bool, family: Family) -> Tables {
    let (target, port) = (family.address(TARGET), TARGET.1);
    let sources =
        Arc::new(Sources { addresses: [family.address(SOURCE)].into(), ports: SOURCE.1..=SOURCE.1 });
    let listener = |protocol| Listener {
        name: "edge".into(),
        endpoint: Endpoint { address: family.address(VIP), port: VIP.1, protocol },
        forward: Forward::to(TargetGroupId(0)),
        idle_timeout_s: 100,
        interface: InterfaceId(0),
        sources: sources.clone(),
        adopts_strays: false,
        has_syn_cookies: false,
    };
    let maglev = Maglev::build(&[MaglevCandidate { address: target, port, weight: 1 }], 7);
    let pool = Pool::new([TargetId(0)].into(), maglev.into());
    let parts = TablesParts {
        generation: 1,
        listeners: [Protocol::Tcp, Protocol::Udp].map(|protocol| Some(listener(protocol))).into(),
        groups: vec![TargetGroup::of_one_pool("web", preserves_client_ip, pool)],
        targets: vec![Some(Target {
            group: TargetGroupId(0),
            address: target,
            port,
            protocols: &[Protocol::Tcp, Protocol::Udp],
            next_hop: Some(NextHop { interface: InterfaceId(0), mac: Mac([2; 6]) }),
            flow_policy: FlowPolicy::Keep,
        })],
        interfaces: vec![Interface { name: "edge".into(), mac: OWN_MAC, mtu: 1_500, receive_hash: None }],
        vips: Vec::new(),
        sources: Vec::new(),
        host_addresses: Vec::new(),
        hops: Vec::new(),
    };
    Tables::new(parts).expect("the parts fit together")
}

/// A frame of the least length, without a UDP checksum.
fn frame_v4(protocol: u8, flags: u8, from: Place, to: Place) -> Vec<u8> {
    let mut frame = [OWN_MAC.0, [2, 0, 0, 0, 0, 1]].concat();
    frame.extend([0x08, 0x00, 0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, protocol, 0, 0]);
    frame.extend([from.0, to.0].concat());
    frame.extend(segment(protocol, flags, from, to));
    let sum = checksum(&frame[14..34], 0);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    sign(&mut frame[34..], protocol, (from, to), Family::V4);
    frame
}

/// The same of IPv6, with a UDP checksum that may be wrong.
fn frame_v6(protocol: u8, flags: u8, from: Place, to: Place) -> Vec<u8> {
    let mut frame = [OWN_MAC.0, [2, 0, 0, 0, 0, 1]].concat();
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 26, protocol, 64]);
    for place in [from, to] {
        frame.extend(octets(Family::V6.address(place)));
    }
    frame.extend(segment(protocol, flags, from, to));
    sign(&mut frame[54..], protocol, (from, to), Family::V6);
    frame
}

fn segment(protocol: u8, flags: u8, from: Place, to: Place) -> [u8; 26] {
    let mut segment = [0; 26];
    segment[..2].copy_from_slice(&from.1.to_be_bytes());
    segment[2..4].copy_from_slice(&to.1.to_be_bytes());
    match protocol {
        TCP => {
            segment[11] = 1; // Both ends begin at 0.
            segment[12..14].copy_from_slice(&[0x50, flags]);
        }
        _ => segment[5] = 26,
    }
    segment
}

/// Makes the checksum of a TCP segment right.
fn sign(segment: &mut [u8], protocol: u8, (from, to): (Place, Place), family: Family) {
    if protocol == TCP {
        let pseudo = pseudo_header_of(family.address(from), family.address(to), TCP, segment.len());
        let sum = checksum(segment, pseudo);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn address(self, Place(v4, _): Place) -> IpAddr {
        match self {
            Family::V4 => v4.into(),
            Family::V6 => (0x2001_0db8 << 96 | u128::from(u32::from_be_bytes(v4))).to_be_bytes().into(),
        }
    }
}

/// Address and port.
#[derive(Clone, Copy)]
struct Place([u8; 4], u16);

const TCP: u8 = 6;
const UDP: u8 = 17;
const CLIENT: Place = Place([198, 18, 0, 2], 40_000);
const VIP: Place = Place([198, 18, 100, 1], 80);
const SOURCE: Place = Place([198, 19, 200, 1], 2_000);
const TARGET: Place = Place([198, 19, 1, 2], 8_080);
const OWN_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xa0]);
