//! Addresses on interfaces.

use std::{net::IpAddr, time::Duration};

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

        vip::announce(&device, address).unwrap();
        let is_gratuitous = |operation: u8| {
            move |frame: &[u8]| {
                frame[12..14] == [0x08, 0x06] && frame[21] == operation && frame[28..32] == frame[38..42]
            }
        };
        for operation in [1, 2] {
            let frame = wire.receive(Duration::from_secs(1), is_gratuitous(operation)).expect("announced");
            assert_eq!(frame[6..12], device.mac.0);
            assert_eq!(frame[28..32], [198, 18, 100, 1]);
        }

        let hops = NextHops::start(&["near".to_owned()], || {}).unwrap();
        assert!(hops.host_addresses().contains(&address));
        vip::remove(&device, address).unwrap();
        vip::remove(&device, address).unwrap();
        namespace::wait_until(Duration::from_secs(1), "the address is gone", || {
            !hops.host_addresses().contains(&address)
        });
        assert_eq!(vip::assign(&device, address).unwrap(), Assigned::Added);
    });
}
