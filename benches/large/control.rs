//! The control thread's part of a change, without a kernel: a large configuration, and one target whose health comes and goes.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use lb_core::{
    tables::{Interface, InterfaceId, Mac, NextHop, Ownership, Tables},
    time,
};
use lb_ctl::{
    compile::{Compiler, Inputs},
    config::{self, Config},
    health::{Cause, TargetHealth, TargetKey},
};

use crate::large;

/// Compiles tables of many listeners.
pub struct Control {
    config: Config,
    compiler: Compiler,
    unhealthy: Option<TargetKey>,
}

impl Control {
    /// With a configuration of so many listeners.
    pub fn new(listeners: u32) -> Control {
        let interfaces = ["outside", "inside"].map(String::from);
        let text = large::configuration(listeners, &interfaces, "");
        let config = config::parse(&text, "large").expect("the configuration is right");
        Control { config, compiler: Compiler::new(), unhealthy: None }
    }

    /// The tables of what is known now.
    pub fn compile(&mut self) -> Arc<Tables> {
        // As in the scene of the tests: the last byte of a link address is the interface's.
        let interface = |name: &str, last| {
            let mac = Mac([2, 0, 0, 0, 0, last]);
            Interface { name: name.into(), mac, mtu: 1_500, receive_hash: None }
        };
        let inputs = Inputs {
            config: &self.config,
            interfaces: vec![interface("outside", 0xa0), interface("inside", 0xa1)],
            health: &|key| match self.unhealthy.as_ref() == Some(key) {
                true => TargetHealth::Unhealthy(Cause::Refused),
                false => TargetHealth::Healthy,
            },
            next_hop: &|_| Some(NextHop { interface: InterfaceId(1), mac: Mac([2; 6]) }),
            hops: Vec::new(),
            ownership: &|_| Ownership::Exclusive,
            host_addresses: &BTreeSet::new(),
            now: time::Instant::from_millis(1_000),
        };
        self.compiler.compile(&inputs).expect("the tables fit")
    }

    /// One target of the first group changes its health.
    pub fn toggle(&mut self) {
        self.unhealthy = match self.unhealthy.take() {
            Some(_) => None,
            None => {
                Some(TargetKey { group: "group-0".into(), address: IpAddr::V4(large::target(3)), port: 8080 })
            }
        };
    }
}
