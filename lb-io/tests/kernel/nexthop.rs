//! Next hops by the kernel's routes and neighbours, over a link whose other end is played by the test.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use lb_core::{
    tables::{InterfaceId, Mac, NextHop},
    wire::checksum,
};
use lb_io::{
    device::Device,
    nexthop::{NextHops, is_on_link},
};

use crate::namespace::{self, Wire};

#[test]
fn neighbours_and_gateways_are_resolved_and_followed() {
    namespace::run("neighbours_and_gateways_are_resolved_and_followed", || {
        namespace::veth("other", "far0", 1);
        namespace::veth("near", "far1", 1);
        namespace::address("near", [198, 19, 1, 1]);
        let wire = Wire::open("far1");
        let changes = Arc::new(AtomicU32::new(0));
        let counted = changes.clone();
        let interfaces = ["other".to_owned(), "near".to_owned()];
        let hops = NextHops::start(&interfaces, move || {
            counted.fetch_add(1, Relaxed);
        })
        .unwrap();
        let on_link = IpAddr::from([198, 19, 1, 2]);
        let behind = IpAddr::from([198, 19, 7, 9]);
        let own = IpAddr::from([198, 19, 1, 1]);
        let nowhere = IpAddr::from([198, 18, 77, 1]);
        hops.watch(&[on_link, behind, own, nowhere]);
        assert_eq!(hops.resolve(on_link), None);

        answer_arp(&wire, [198, 19, 1, 2], TARGET);
        wait_for(&hops, on_link, Some(TARGET));
        namespace::wait_until(PATIENCE, "it is said", || changes.load(Relaxed) >= 1);
        assert_eq!([behind, own, nowhere].map(|address| hops.resolve(address)), [None; 3]);

        namespace::route([198, 19, 7, 0], [198, 19, 1, 254]);
        answer_arp(&wire, [198, 19, 1, 254], GATEWAY);
        wait_for(&hops, behind, Some(GATEWAY));

        let are_on_link = [on_link, behind, own, nowhere].map(|address| is_on_link(address).unwrap());
        assert_eq!(are_on_link, [true, false, false, false]);

        // The target moves to another link address, and says so by a gratuitous ARP.
        tell_arp(&wire, [198, 19, 1, 2], MOVED, ([198, 19, 1, 2], MOVED));
        wait_for(&hops, on_link, Some(MOVED));

        // The route moves to the target as a gateway.
        namespace::route([198, 19, 7, 0], [198, 19, 1, 2]);
        wait_for(&hops, behind, Some(MOVED));

        let host = hops.host_addresses();
        assert!(host.contains(&own) && host.contains(&IpAddr::from([198, 19, 1, 255])), "{host:?}");
        hops.watch(&[behind]);
        wait_for(&hops, on_link, None);
    });
}

#[test]
fn ipv6_neighbours_and_link_local_gateways_are_resolved() {
    namespace::run("ipv6_neighbours_and_link_local_gateways_are_resolved", || {
        namespace::skip_duplicate_detection();
        namespace::veth("other", "far0", 1);
        namespace::veth("near", "far1", 1);
        let [own, on_link, behind, gateway] =
            ["2001:db8:1::1", "2001:db8:1::2", "2001:db8:7::9", "fe80::fe"].map(|text| text.parse().unwrap());
        namespace::address6("near", own);
        let wire = Wire::open("far1");
        let hops = NextHops::start(&["other".to_owned(), "near".to_owned()], || {}).unwrap();
        hops.watch(&[on_link.into(), behind.into(), own.into()]);
        answer_solicitation(&wire, on_link, TARGET);
        wait_for(&hops, on_link.into(), Some(TARGET));
        assert_eq!([behind, own].map(|address| hops.resolve(address.into())), [None; 2]);

        namespace::route6("2001:db8:7::".parse().unwrap(), gateway, "near");
        answer_solicitation(&wire, gateway, GATEWAY);
        wait_for(&hops, behind.into(), Some(GATEWAY));

        // The target moves to another link address, and says so.
        tell_advertisement(&wire, on_link, MOVED);
        wait_for(&hops, on_link.into(), Some(MOVED));
        assert!(hops.host_addresses().contains(&own.into()));
    });
}

fn wait_for(hops: &NextHops, address: IpAddr, mac: Option<Mac>) {
    let expected = mac.map(|mac| NextHop { interface: InterfaceId(1), mac });
    namespace::wait_until(PATIENCE, &format!("{address} by {mac:?}"), || hops.resolve(address) == expected);
}

/// Waits for the kernel to ask who has `address`, and answers.
fn answer_arp(wire: &Wire, address: [u8; 4], mac: Mac) {
    let asks = |frame: &[u8]| frame[12..14] == [0x08, 0x06] && frame[21] == 1 && frame[38..42] == address;
    wire.receive(PATIENCE, asks).expect("the kernel asks");
    tell_arp(wire, address, mac, ([198, 19, 1, 1], Device::open("near").unwrap().mac));
}

/// Sends an ARP reply to the near end, as one that `asker` had asked.
fn tell_arp(wire: &Wire, address: [u8; 4], mac: Mac, asker: ([u8; 4], Mac)) {
    let near = Device::open("near").unwrap().mac;
    let mut frame = Vec::new();
    frame.extend(near.0);
    frame.extend(mac.0);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 2]);
    frame.extend(mac.0);
    frame.extend(address);
    frame.extend(asker.1.0);
    frame.extend(asker.0);
    frame.resize(60, 0);
    wire.send(&frame);
}

/// Waits for the kernel to ask who has `address`, and answers.
fn answer_solicitation(wire: &Wire, address: Ipv6Addr, mac: Mac) {
    let asks = |frame: &[u8]| {
        frame.len() >= 78
            && frame[12..14] == [0x86, 0xdd]
            && frame[20] == 58
            && frame[54] == 135
            && frame[62..78] == address.octets()
    };
    wire.receive(PATIENCE, asks).expect("the kernel asks");
    tell_advertisement(wire, address, mac);
}

/// Sends a neighbour advertisement with the override flag to the near end, as one that was asked for.
fn tell_advertisement(wire: &Wire, address: Ipv6Addr, mac: Mac) {
    let near = Device::open("near").unwrap();
    let to: Ipv6Addr = "2001:db8:1::1".parse().unwrap();
    let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
    message.extend(address.octets());
    message.extend([2, 1]);
    message.extend(mac.0);
    let addresses = [address.octets(), to.octets()].concat();
    let pseudo_header = checksum::sum(&addresses, 58 + message.len() as u32);
    let sum = checksum::checksum(&message, pseudo_header);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let header = [0x60, 0, 0, 0, 0, message.len() as u8, 58, 255];
    wire.send(&[&near.mac.0[..], &mac.0, &[0x86, 0xdd], &header, &addresses, &message].concat());
}

const TARGET: Mac = Mac([2, 0, 0, 0, 1, 2]);
const GATEWAY: Mac = Mac([2, 0, 0, 0, 1, 254]);
const MOVED: Mac = Mac([2, 0, 0, 0, 1, 3]);
const PATIENCE: Duration = Duration::from_secs(20);
