//! The paths of packets in a Kubernetes cluster, without and with the load balancer before it: each is walked by real packets, and
//! seen at every end of every link on its way, there and back.

use crate::Test;

mod by_hand;
mod inside;
mod instance_targets;
mod ip_targets;
mod returns;
mod scene;
mod walk;
mod zones;

/// The tests of all files.
pub fn tests() -> Vec<Test> {
    [by_hand::TESTS, inside::TESTS, instance_targets::TESTS, ip_targets::TESTS, returns::TESTS, zones::TESTS]
        .concat()
}
