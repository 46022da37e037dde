//! What is found out about an interface before the data path runs on it.

use lb_io::inspect::{self, Link, Probe};

use crate::namespace;

#[test]
fn a_veth_is_tried_and_left_as_it_was() {
    namespace::run("a_veth_is_tried_and_left_as_it_was", || {
        namespace::veth("near", "far", 2);
        let before = link("near");
        assert_eq!((before.kind.as_str(), before.is_up, before.program), ("veth", true, None));
        let says = inspect::xdp_features(&before).unwrap();
        assert!(says.is_none_or(|features| features.has_native() && !features.has_zero_copy()));
        let driver = inspect::driver(&before).unwrap();
        assert_eq!((driver.name.as_str(), driver.receive_queues, driver.transmit_queues), ("veth", 2, 2));
        assert!(driver.features.iter().any(|feature| feature.name == "rx-gro" && !feature.is_on));

        let offloads = || ["near", "far"].map(|name| inspect::driver(&link(name)).unwrap().features);
        let offloads_before = offloads();
        let Probe { native, zero_copy, copy } = inspect::probe("near").unwrap().expect("nothing is there");
        assert_eq!((native, copy), (Ok(()), Ok(())));
        assert!(zero_copy.unwrap_err().contains("not supported"));
        assert_eq!(offloads(), offloads_before);
        assert_eq!(Link { frames: 0, ..link("near") }, Link { frames: 0, ..before });
    });
}

#[test]
fn the_kernel_says_why_a_driver_refuses() {
    namespace::run("the_kernel_says_why_a_driver_refuses", || {
        namespace::veth("near", "far", 1);
        namespace::set_mtu("far", 9_000);
        let probe = inspect::probe("near").unwrap().expect("nothing is there");
        assert!(probe.native.unwrap_err().contains("MTU"));
        assert_eq!(link("near").program, None);
    });
}

fn link(name: &str) -> Link {
    inspect::links().unwrap().into_iter().find(|link| link.name == name).unwrap()
}
