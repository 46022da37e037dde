//! Section `metrics`: where Prometheus finds the daemon.

use std::net::SocketAddr;

use lb_core::limits;

use super::{
    Metrics,
    walk::{Section, Value},
};

pub(super) fn read(root: &Section<'_>) -> Option<Metrics> {
    let defaults = Metrics { listen: None, targets_max: TARGETS_MAX_DEFAULT };
    let Some(section) = root.optional_section("metrics")? else {
        return Some(defaults);
    };
    section.allow_only(&["listen", "targets_max"]);
    let listen = match section.optional("listen") {
        Some(value) => address(&value).map(Some),
        None => Some(defaults.listen),
    };
    let targets_max = match section.optional("targets_max") {
        Some(value) => value.integer(0..=limits::TARGETS as i64),
        None => Some(defaults.targets_max),
    };
    Some(Metrics { listen: listen?, targets_max: targets_max? })
}

fn address(value: &Value<'_>) -> Option<SocketAddr> {
    let expected = "an address and a port to listen on, such as \"127.0.0.1:9464\" or \"[::1]:9464\"";
    match value.text(expected)?.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Some(address),
        _ => value.refuse(expected),
    }
}

const TARGETS_MAX_DEFAULT: usize = 1_000;
