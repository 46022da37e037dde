//! Addresses on interfaces.

use std::{
    net::{IpAddr, Ipv6Addr, UdpSocket},
    time::Duration,
};

use lb_io::{
    device::Device,
    nexthop::NextHops,
    vip::{self, Assigned},
};

use crate::namespace::{self, Wire};

#[test]
fn an_address_is_added_once_announced_and_removed() {
    namespace::run("an_address_is_added_once_announced_and_removed", || {
        namespace::veth("near", "far", 1);
        let device = Device::open("near").unwrap();
        let wire = Wire::open("far");
        let address = IpAddr::from([198, 18, 100, 1]);
        assert_eq!(vip::assign(&device, address).unwrap(), Assigned::Added);
        assert_eq!(vip::assign(&device, address).unwrap(), Assigned::AlreadyThere);
        let elsewhere = Device::open("far").unwrap();
        assert_eq!(vip::assign(&elsewhere, address).unwrap(), Assigned::AlreadyThere);

        vip::announce(&device, &[address]).unwrap();
        let is_gratuitous = |operation: u8| {
            move |frame: &[u8]| {
                frame[12..14] == [0x08, 0x06] && frame[21] == operation && frame[28..32] == frame[38..42]
            }
        };
        for operation in [1, 2] {
            let frame = wire.receive(PATIENCE, is_gratuitous(operation)).expect("announced");
            assert_eq!(frame[6..12], device.mac.0);
            assert_eq!(frame[28..32], [198, 18, 100, 1]);
        }

        let hops = NextHops::start(&["near".to_owned()], || {}).unwrap();
        assert!(hops.host_addresses().contains(&address));
        vip::remove(&device, address).unwrap();
        vip::remove(&device, address).unwrap();
        namespace::wait_until(PATIENCE, "the address is gone", || !hops.host_addresses().contains(&address));
        assert_eq!(vip::assign(&device, address).unwrap(), Assigned::Added);
    });
}

#[test]
fn an_ipv6_address_can_be_used_at_once_and_is_announced() {
    namespace::run("an_ipv6_address_can_be_used_at_once_and_is_announced", || {
        namespace::veth("near", "far", 1);
        let device = Device::open("near").unwrap();
        let wire = Wire::open("far");
        let address: Ipv6Addr = "2001:db8::64".parse().unwrap();
        assert_eq!(vip::assign(&device, address.into()).unwrap(), Assigned::Added);
        assert_eq!(vip::assign(&device, address.into()).unwrap(), Assigned::AlreadyThere);
        UdpSocket::bind((address, 4_000)).expect("no duplicates are looked for first");

        vip::announce(&device, &[address.into()]).unwrap();
        let is_advertisement = |frame: &[u8]| frame.len() == 86 && frame[20] == 58 && frame[54] == 136;
        let frame = wire.receive(PATIENCE, is_advertisement).expect("announced");
        assert_eq!((&frame[..6], &frame[6..12]), (&[0x33, 0x33, 0, 0, 0, 1][..], &device.mac.0[..]));
        assert_eq!(frame[62..78], address.octets());

        vip::remove(&device, address.into()).unwrap();
        vip::remove(&device, address.into()).unwrap();
        assert!(UdpSocket::bind((address, 4_000)).is_err());
    });
}

const PATIENCE: Duration = Duration::from_secs(20);
