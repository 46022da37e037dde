//! Attributes of listeners.

use std::ops::RangeInclusive;

use super::{
    super::{
        Protocols,
        walk::{Section, Value},
    },
    Catalogue, each,
};
use lb_core::{limits, tables::Protocol};

/// What a listener's attributes say.
#[derive(Clone, Copy)]
pub(in crate::config) struct ListenerAttributes {
    pub(in crate::config) tcp_idle_timeout_seconds: u16,
    pub(in crate::config) udp_idle_timeout_seconds: u16,
    pub(in crate::config) adopts_strays: bool,
    pub(in crate::config) has_syn_cookies: bool,
}

/// Section `attributes` of a listener.
pub(in crate::config) fn of_listener(
    section: &Section<'_>,
    protocol: Option<Protocols>,
) -> Option<ListenerAttributes> {
    let mut attributes = ListenerAttributes {
        tcp_idle_timeout_seconds: limits::TCP_IDLE_S,
        udp_idle_timeout_seconds: limits::UDP_IDLE_S,
        adopts_strays: false,
        has_syn_cookies: false,
    };
    let Some(section) = section.optional_section("attributes")? else {
        return Some(attributes);
    };
    let is_foreign = |owner| protocol.is_some_and(|protocol| !protocol.each().contains(&owner));
    each(&section, |key, value| match OF_ONE_PROTOCOL.iter().find(|(known, ..)| *known == key) {
        Some(&(_, Protocol::Tcp, reason)) if is_foreign(Protocol::Tcp) => {
            value.refuse_with_advice("no such attribute on a UDP listener", reason)
        }
        Some(&(_, Protocol::Udp, reason)) if is_foreign(Protocol::Udp) => {
            value.refuse_with_advice("no such attribute on a TCP listener", reason)
        }
        _ => attributes.apply(key, value),
    })?;
    Some(attributes)
}

impl ListenerAttributes {
    fn apply(&mut self, key: &str, value: &Value<'_>) -> Option<()> {
        match key {
            TCP_IDLE_TIMEOUT => self.tcp_idle_timeout_seconds = seconds(value, limits::TCP_IDLE_RANGE_S)?,
            UDP_IDLE_TIMEOUT => self.udp_idle_timeout_seconds = seconds(value, limits::UDP_IDLE_RANGE_S)?,
            TCP_ADOPT_STRAYS => self.adopts_strays = value.attribute_boolean()?,
            TCP_SYN_COOKIES => self.has_syn_cookies = value.attribute_boolean()?,
            _ => return CATALOGUE.refuse(key, value),
        }
        Some(())
    }
}

fn seconds(value: &Value<'_>, range: RangeInclusive<u16>) -> Option<u16> {
    let (first, last) = range.into_inner();
    value.attribute_integer(first.into()..=last.into())
}

const TCP_IDLE_TIMEOUT: &str = "tcp.idle_timeout.seconds";
const TCP_ADOPT_STRAYS: &str = "tcp.adopt_strays.enabled";
const TCP_SYN_COOKIES: &str = "tcp.syn_cookies.enabled";

const UDP_IDLE_TIMEOUT: &str = "udp.idle_timeout.seconds";

/// Attributes that only listeners of one protocol have, each with the protocol and with what is to be known on those of the other.
const OF_ONE_PROTOCOL: [(&str, Protocol, &str); 4] = [
    (TCP_IDLE_TIMEOUT, Protocol::Tcp, "UDP flows have \"udp.idle_timeout.seconds\""),
    (TCP_ADOPT_STRAYS, Protocol::Tcp, "every UDP packet of no flow starts one"),
    (TCP_SYN_COOKIES, Protocol::Tcp, "UDP has no handshake"),
    (UDP_IDLE_TIMEOUT, Protocol::Udp, "TCP flows have \"tcp.idle_timeout.seconds\""),
];

const CATALOGUE: Catalogue = Catalogue {
    owner: "a Network Load Balancer's listeners",
    keys: &[TCP_IDLE_TIMEOUT, TCP_ADOPT_STRAYS, TCP_SYN_COOKIES, UDP_IDLE_TIMEOUT],
    foreign: &[("routing.http.", "an Application Load Balancer's listeners")],
};
