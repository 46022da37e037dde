//! Which frames are ours, rule by rule, in both families. That the XDP program decides alike is tested in `lb-io`.

use std::net::IpAddr;

use lb_core::{
    steer::{AddressEntry, AddressKey, EndpointKey, Steer, Steering, endpoint_role, role},
    tables::{Endpoint, Ownership, Protocol, Source, Tables, TablesParts, Vip},
    verdict::Reason,
};

#[test]
fn an_exclusive_vip_takes_all_but_icmp() {
    for family in FAMILIES {
        let to_vip = |protocol, port| packet(family, protocol, (CLIENT, 4_000), (VIP, port));
        for (protocol, port) in [(TCP, 80), (TCP, 81), (UDP, 80), (132, 80), (59, 0)] {
            assert_eq!(steer(&to_vip(protocol, port)), Steer::Redirect, "{family:?} {protocol} {port}");
        }
        assert_eq!(steer(&echo(family, CLIENT, VIP)), Steer::Pass(Reason::PassIcmp));
    }
}

#[test]
fn a_shared_vip_takes_what_a_listener_can_want() {
    for family in FAMILIES {
        let to_vip = |protocol, port| packet(family, protocol, (CLIENT, 4_000), (SHARED, port));
        assert_eq!(steer(&to_vip(TCP, 80)), Steer::Redirect);
        for (protocol, port) in [(TCP, 81), (UDP, 80), (132, 80)] {
            assert_eq!(steer(&to_vip(protocol, port)), Steer::Pass(Reason::PassHost));
        }
    }
    assert_eq!(steer(&fragment_v4(CLIENT, SHARED)), Steer::Redirect);
    assert_eq!(steer(&fragment_v6(CLIENT, SHARED)), Steer::Redirect);
}

#[test]
fn replies_of_targets_are_ours_unless_they_are_the_hosts() {
    for family in FAMILIES {
        let reply = |port, to| steer(&packet(family, TCP, (TARGET, port), (to, 4_000)));
        assert_eq!(reply(8_080, CLIENT), Steer::Redirect);
        assert_eq!(reply(8_081, CLIENT), Steer::Pass(Reason::PassNotOurs));
        assert_eq!(reply(8_080, HOST), Steer::Pass(Reason::PassHost));
        assert_eq!(reply(8_080, EVERYBODY), Steer::Pass(Reason::PassHost));
    }
    assert_eq!(steer(&fragment_v4(TARGET, CLIENT)), Steer::Redirect);
    assert_eq!(steer(&fragment_v6(TARGET, CLIENT)), Steer::Redirect);
    assert_eq!(steer(&fragment_v6(TARGET, HOST)), Steer::Pass(Reason::PassHost));
}

#[test]
fn a_source_takes_its_ports_from_targets_alone() {
    for family in FAMILIES {
        let reply = |from, to| steer(&packet(family, TCP, from, to));
        for source in [SOURCE, HOST_SOURCE] {
            for port in [40_000, 40_009] {
                assert_eq!(reply((TARGET, 8_080), (source, port)), Steer::Redirect);
                assert_eq!(reply((TARGET, 8_081), (source, port)), Steer::Pass(Reason::PassNotOurs));
                assert_eq!(reply((CLIENT, 8_080), (source, port)), Steer::Pass(Reason::PassNotOurs));
            }
            for port in [39_999, 40_010] {
                assert_eq!(reply((TARGET, 8_080), (source, port)), Steer::Pass(Reason::PassHost));
            }
            assert_eq!(steer(&echo(family, TARGET, source)), Steer::Pass(Reason::PassHost));
        }
    }
    assert_eq!(steer(&fragment_v4(TARGET, HOST_SOURCE)), Steer::Redirect);
    assert_eq!(steer(&fragment_v6(TARGET, HOST_SOURCE)), Steer::Redirect);
    assert_eq!(steer(&fragment_v6(CLIENT, HOST_SOURCE)), Steer::Pass(Reason::PassNotOurs));
}

#[test]
fn errors_are_ours_by_their_quote() {
    for family in FAMILIES {
        let error = |to, from_quoted, to_quoted| {
            steer(&icmp_error(family, to, &packet(family, TCP, from_quoted, to_quoted)[14..]))
        };
        // From a listener, to a target, from a source.
        assert_eq!(error(VIP, (VIP, 80), (CLIENT, 4_000)), Steer::Redirect);
        assert_eq!(error(CLIENT, (CLIENT, 4_000), (TARGET, 8_080)), Steer::Redirect);
        assert_eq!(error(SOURCE, (SOURCE, 40_000), (TARGET, 8_080)), Steer::Redirect);
        assert_eq!(error(HOST_SOURCE, (HOST_SOURCE, 40_009), (TARGET, 8_080)), Steer::Redirect);
        // The host's own: a connection to elsewhere, a health check from another port.
        assert_eq!(error(VIP, (VIP, 81), (CLIENT, 4_000)), Steer::Pass(Reason::PassIcmp));
        assert_eq!(error(HOST, (HOST, 4_000), (TARGET, 8_080)), Steer::Pass(Reason::PassHost));
        assert_eq!(error(HOST_SOURCE, (HOST_SOURCE, 4_000), (TARGET, 8_080)), Steer::Pass(Reason::PassHost));
        assert_eq!(error(SOURCE, (SOURCE, 40_000), (CLIENT, 8_080)), Steer::Pass(Reason::PassHost));
    }
}

#[test]
fn extension_headers_are_walked_to_a_bound() {
    let whole = packet(Family::V6, TCP, (CLIENT, 4_000), (SHARED, 80));
    let behind =
        |kinds: &[u8]| kinds.iter().rev().fold(whole.clone(), |frame, &kind| behind(kind, [0; 2], &frame));
    assert_eq!(steer(&behind(&[0, 43, 60, 44])), Steer::Redirect, "an atomic fragment is a whole packet");
    assert_eq!(steer(&behind(&[60; 8])), Steer::Redirect);
    assert_eq!(steer(&behind(&[60; 9])), Steer::Pass(Reason::PassHost));
    assert_eq!(
        steer(&behind(&[51])),
        Steer::Pass(Reason::PassHost),
        "the authentication header ends the walk"
    );
    let long = behind(&[60, 60]);
    for len in 54..long.len() - 12 {
        assert_eq!(steer(&long[..len]), Steer::Pass(Reason::PassHost), "cut at {len}");
    }
}

#[test]
fn what_stays_on_the_link_is_the_kernels() {
    let neighbour = |source: bool| {
        let mut frame = packet(Family::V6, TCP, (CLIENT, 4_000), (VIP, 80));
        let at = if source { 22 } else { 38 };
        frame[at..at + 2].copy_from_slice(&[0xfe, 0x80]);
        steer(&frame)
    };
    assert_eq!(neighbour(true), Steer::Redirect, "dropped as a martian; the kernel would answer for the VIP");
    assert_eq!(neighbour(false), Steer::Pass(Reason::PassHost));
    for kind in 133..=137 {
        let mut frame = echo(Family::V6, CLIENT, VIP);
        frame[54] = kind;
        assert_eq!(steer(&frame), Steer::Pass(Reason::PassIcmp));
    }
}

#[test]
fn frames_without_a_whole_header_go_to_a_worker_to_be_counted() {
    for family in FAMILIES {
        let header = if family == Family::V4 { 20 } else { 40 };
        let whole = packet(family, TCP, (CLIENT, 4_000), (HOST, 22));
        for len in 14..14 + header {
            assert_eq!(steer(&whole[..len]), Steer::Redirect);
        }
        for len in 14 + header..whole.len() {
            assert_eq!(steer(&whole[..len]), Steer::Pass(Reason::PassHost));
        }
    }
    assert_eq!(steer(&[0; 13]), Steer::Pass(Reason::PassNotIp));
    let mut arp = vec![0; 60];
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    assert_eq!(steer(&arp), Steer::Pass(Reason::PassNotIp));
}

#[test]
fn one_range_stands_for_all_that_an_address_is_a_source_of() {
    let address = IpAddr::from([198, 18, 100, 1]);
    let parts = TablesParts {
        generation: 1,
        vips: vec![Vip { address, ownership: Ownership::Exclusive }],
        sources: vec![
            Source { address, first_port: 2_000, last_port: 2_999 },
            Source { address, first_port: 1_024, last_port: 1_999 },
        ],
        ..TablesParts::default()
    };
    let steering = Steering::new(&Tables::new(parts).unwrap(), &[address]);
    let entry = AddressEntry { roles: role::VIP | role::SOURCE, first_port: 1_024, last_port: 2_999 };
    assert_eq!(steering.addresses.into_iter().collect::<Vec<_>>(), [(AddressKey::from(address), entry)]);
}

fn steer(frame: &[u8]) -> Steer {
    let mut steering = Steering::default();
    for family in FAMILIES {
        for (number, roles, ports) in [
            (VIP, role::VIP, (0, 0)),
            (SHARED, role::VIP | role::HOST, (0, 0)),
            (HOST, role::HOST, (0, 0)),
            (TARGET, role::TARGET_TCP | role::TARGET_UDP, (0, 0)),
            (SOURCE, role::SOURCE, (40_000, 40_009)),
            (HOST_SOURCE, role::SOURCE | role::HOST, (40_000, 40_009)),
        ] {
            let entry = AddressEntry { roles, first_port: ports.0, last_port: ports.1 };
            steering.addresses.insert(AddressKey::from(address(family, number)), entry);
        }
        for (number, port, role) in [
            (VIP, 80, endpoint_role::LISTENER),
            (SHARED, 80, endpoint_role::LISTENER),
            (TARGET, 8_080, endpoint_role::TARGET),
        ] {
            let endpoint = Endpoint { address: address(family, number), port, protocol: Protocol::Tcp };
            steering.endpoints.insert(EndpointKey::from(&endpoint), role);
        }
    }
    steering.steer(frame)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

fn address(family: Family, number: u8) -> IpAddr {
    match (family, number) {
        (Family::V4, EVERYBODY) => IpAddr::from([224, 0, 0, 1]),
        (Family::V4, _) => IpAddr::from([198, 18, 0, number]),
        (Family::V6, EVERYBODY) => IpAddr::from([0xff02, 0, 0, 0, 0, 0, 0, 1]),
        (Family::V6, _) => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)]),
    }
}

/// A frame whose packet has 16 bytes behind its header, ports first.
fn packet(family: Family, protocol: u8, from: (u8, u16), to: (u8, u16)) -> Vec<u8> {
    let mut payload = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    payload.resize(16, 0);
    let mut frame = vec![0; 12];
    match family {
        Family::V4 => {
            frame.extend([0x08, 0x00, 0x45, 0, 0, 36, 0, 1, 0x40, 0, 64, protocol, 0, 0]);
        }
        Family::V6 => frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 16, protocol, 64]),
    }
    for number in [from.0, to.0] {
        match address(family, number) {
            IpAddr::V4(v4) => frame.extend(v4.octets()),
            IpAddr::V6(v6) => frame.extend(v6.octets()),
        }
    }
    [frame, payload].concat()
}

fn echo(family: Family, from: u8, to: u8) -> Vec<u8> {
    let (protocol, kind) = if family == Family::V4 { (1, 8) } else { (58, 128) };
    packet(family, protocol, (from, kind << 8), (to, 0))
}

/// An "unreachable" from somebody on the way.
fn icmp_error(family: Family, to: u8, quote: &[u8]) -> Vec<u8> {
    let (protocol, kind) = if family == Family::V4 { (1, 3) } else { (58, 1) };
    let mut frame = packet(family, protocol, (ROUTER, kind << 8), (to, 0));
    frame.truncate(frame.len() - 8);
    frame.extend(quote);
    frame
}

/// A later fragment of a UDP packet.
fn fragment_v4(from: u8, to: u8) -> Vec<u8> {
    let mut frame = packet(Family::V4, UDP, (from, 0), (to, 0));
    frame[20..22].copy_from_slice(&[0x00, 0xb9]);
    frame
}

/// As [`fragment_v4`].
fn fragment_v6(from: u8, to: u8) -> Vec<u8> {
    behind(44, [0x05, 0xc8], &packet(Family::V6, UDP, (from, 0), (to, 0)))
}

/// The packet with one more extension header, of 8 bytes, in front; `field` is its third and fourth byte.
fn behind(kind: u8, field: [u8; 2], frame: &[u8]) -> Vec<u8> {
    let mut with = frame[..54].to_vec();
    with.extend([frame[20], 0, field[0], field[1], 0, 0, 0, 0]);
    with.extend(&frame[54..]);
    with[20] = kind;
    with
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Last parts of addresses.
const CLIENT: u8 = 1;
const VIP: u8 = 2;
const SHARED: u8 = 3;
const HOST: u8 = 4;
const TARGET: u8 = 5;
const SOURCE: u8 = 6;
const HOST_SOURCE: u8 = 7;
const ROUTER: u8 = 8;
const EVERYBODY: u8 = 255;
