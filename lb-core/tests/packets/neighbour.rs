//! Neighbours on the link, who ask for and tell link addresses: RFC 826, RFC 4861, RFC 5227. Not one of these frames is balanced: the
//! kernel, which has the addresses, answers, and it alone knows whom to believe.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_core::{
    steer::{Steer, Steering},
    tables::Mac,
    verdict::Reason,
};

use super::{dropped, support::*};

/// What the XDP program makes of a frame, in every mode, with the VIP on this host and with a host's own addresses.
fn passed(frame: &[u8]) -> Reason {
    let mut reasons = modes().map(|mode| {
        let tables = mode.scene.tables();
        match Steering::new(&tables, &[VIP.into(), VIP6.into()]).steer(frame) {
            Steer::Pass(reason) => {
                assert_eq!(Steering::new(&tables, &[]).steer(frame), Steer::Pass(reason), "{}", mode.name);
                reason
            }
            Steer::Redirect => panic!("{}: to a worker", mode.name),
        }
    });
    reasons.sort_by_key(|reason| *reason as usize);
    assert_eq!(reasons[0], reasons[5]);
    reasons[0]
}

/// An ARP packet: operation, sender and target with their link addresses.
fn arp(operation: u8, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr), to: Mac) -> Vec<u8> {
    let mut frame = [to.0, sender.0.0].concat();
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, operation]);
    for (mac, address) in [sender, target] {
        frame.extend(mac.0);
        frame.extend(address.octets());
    }
    frame.resize(60, 0);
    frame
}

/// Requests, replies, probes (RFC 5227 section 2.1.1) and announcements (section 2.3), for the VIP, a source, a target and a client.
#[test]
fn rfc_826_and_rfc_5227_arp_is_never_balanced() {
    const UNKNOWN: Mac = Mac([0; 6]);
    const EVERYBODY: Mac = Mac([0xff; 6]);
    let [mode, ..] = modes();
    for address in [VIP, SOURCE, target(1), CLIENT] {
        for frame in [
            arp(1, (CLIENT_MAC, CLIENT), (UNKNOWN, address), EVERYBODY),
            arp(1, (CLIENT_MAC, CLIENT), (UNKNOWN, address), OUTSIDE_MAC),
            arp(2, (CLIENT_MAC, address), (OUTSIDE_MAC, VIP), OUTSIDE_MAC),
            arp(1, (CLIENT_MAC, Ipv4Addr::UNSPECIFIED), (UNKNOWN, address), EVERYBODY),
            arp(1, (CLIENT_MAC, address), (UNKNOWN, address), EVERYBODY),
            arp(2, (CLIENT_MAC, address), (CLIENT_MAC, address), EVERYBODY),
        ] {
            assert_eq!(passed(&frame), Reason::PassNotIp, "{address}");
            if frame[0] & 1 == 0 {
                assert_eq!(dropped(&mut mode.path(), &mode.syn(), &frame), Reason::NotIp);
            }
        }
    }
}

/// Solicitations and advertisements of neighbours and routers, and redirects: about the VIP, a source and a target, to one or to many,
/// from any source, of this link (hop limit 255) or, as a forger's, not. Who must refuse the latter (section 7.1) is the kernel.
#[test]
fn rfc_4861_neighbour_discovery_is_never_balanced() {
    let [_, _, mode, ..] = modes();
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let solicited_node = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1);
    for about in [VIP6, SOURCE6, target6(1)] {
        for (source, destination) in [
            (CLIENT6, about),
            (link_local, about),
            (CLIENT6, solicited_node),
            (link_local, solicited_node),
            (Ipv6Addr::UNSPECIFIED, solicited_node),
            (about, all_nodes),
        ] {
            for (kind, hop_limit) in (133..=137).flat_map(|kind| [(kind, 255), (kind, 254), (kind, 1)]) {
                let frame = neighbour_message(kind, (source, destination), about, hop_limit);
                let is_pingable = destination == VIP6 && source == CLIENT6;
                let reason = passed(&frame);
                assert_eq!(reason == Reason::PassIcmp, is_pingable, "{source} {destination} {kind}");
                if destination == VIP6 && source == CLIENT6 && hop_limit > 1 {
                    assert_eq!(dropped(&mut mode.path(), &mode.syn(), &frame), Reason::IcmpType);
                }
            }
        }
    }
}

/// A message of neighbour discovery with an option that tells the sender's link address.
fn neighbour_message(
    kind: u8,
    (source, destination): (Ipv6Addr, Ipv6Addr),
    about: Ipv6Addr,
    hop_limit: u8,
) -> Vec<u8> {
    let behind = [&[0; 14][..], &about.octets(), &[1, 1], &CLIENT_MAC.0].concat();
    let ends: (IpAddr, IpAddr) = (source.into(), destination.into());
    let mut frame = icmp_error((kind, 0), ends, (CLIENT_MAC, OUTSIDE_MAC), &behind, 24);
    frame[21] = hop_limit;
    with_word(frame, 0)
}
