//! Large configurations for benches: many listeners, each with a target group of its own.

use std::{fmt::Write as _, net::Ipv4Addr};

/// Listeners of each load balancer.
pub const LISTENERS_EACH: u32 = 100;
/// Targets of each group.
pub const TARGETS_EACH: u32 = 10;
/// First port that is listened on.
pub const FIRST_PORT: u16 = 10_000;

/// A configuration of `listeners` TCP listeners on as many VIPs as that takes, over two interfaces; `head` goes before it.
pub fn configuration(listeners: u32, interfaces: &[String], head: &str) -> String {
    let mut text = format!("interfaces = {interfaces:?}\n{head}\n");
    for first in (0..listeners).step_by(LISTENERS_EACH as usize) {
        let number = first / LISTENERS_EACH;
        let vip = vip(number);
        write!(text, "[[load_balancers]]\nname = \"lb-{number}\"\naddresses = [\"{vip}\"]\n")
            .expect(INFALLIBLE);
        for listener in first..listeners.min(first + LISTENERS_EACH) {
            let port = port(listener);
            write!(
                text,
                "[[load_balancers.listeners]]\nprotocol = \"TCP\"\nport = {port}\ntarget_group = \"group-{listener}\"\n"
            )
            .expect(INFALLIBLE);
        }
    }
    for group in 0..listeners {
        let target = |number| format!("{{ address = \"{}\" }}", target(group * TARGETS_EACH + number));
        let targets: Vec<String> = (0..TARGETS_EACH).map(target).collect();
        write!(
            text,
            "[[target_groups]]\nname = \"group-{group}\"\nprotocol = \"TCP\"\nport = 8080\ntargets = [{}]\n\
             [target_groups.attributes]\n\"preserve_client_ip.enabled\" = true\n\
             \"target_health_state.unhealthy.connection_termination.enabled\" = false\n",
            targets.join(", ")
        )
        .expect(INFALLIBLE);
    }
    text
}

/// Address of a load balancer.
pub fn vip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 100, 1)) + number)
}

/// Port of a listener.
pub fn port(listener: u32) -> u16 {
    FIRST_PORT + (listener % LISTENERS_EACH) as u16
}

/// Address of a target: [`TARGETS_PER_NETWORK`] in each network of a test network, from its `198.19.1.2` on.
pub fn target(number: u32) -> Ipv4Addr {
    let (network, host) = (number / TARGETS_PER_NETWORK, number % TARGETS_PER_NETWORK);
    Ipv4Addr::new(198, 19, 1 + network as u8, 2 + host as u8)
}

/// Targets that have an address in one network.
pub const TARGETS_PER_NETWORK: u32 = 250;
const INFALLIBLE: &str = "a string takes any text";
