//! Attributes of listeners.

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
        adopts_strays: false,
        has_syn_cookies: false,
    };
    let Some(section) = section.optional_section("attributes")? else {
        return Some(attributes);
    };
    let is_udp = protocol.is_some_and(|protocol| !protocol.each().contains(&Protocol::Tcp));
    each(&section, |key, value| match TCP_ONLY.iter().find(|(known, _)| *known == key) {
        Some((_, reason)) if is_udp => {
            value.refuse_with_advice("no such attribute on a UDP listener", reason)
        }
        _ => attributes.apply(key, value),
    })?;
    Some(attributes)
}

impl ListenerAttributes {
    fn apply(&mut self, key: &str, value: &Value<'_>) -> Option<()> {
        match key {
            TCP_IDLE_TIMEOUT => {
                let (first, last) = limits::TCP_IDLE_RANGE_S.into_inner();
                self.tcp_idle_timeout_seconds = value.attribute_integer(first.into()..=last.into())?;
            }
            TCP_ADOPT_STRAYS => self.adopts_strays = value.attribute_boolean()?,
            TCP_SYN_COOKIES => self.has_syn_cookies = value.attribute_boolean()?,
            _ => return CATALOGUE.refuse(key, value),
        }
        Some(())
    }
}

const TCP_IDLE_TIMEOUT: &str = "tcp.idle_timeout.seconds";
const TCP_ADOPT_STRAYS: &str = "tcp.adopt_strays.enabled";
const TCP_SYN_COOKIES: &str = "tcp.syn_cookies.enabled";

/// Attributes that UDP has none of, each with the reason.
const TCP_ONLY: [(&str, &str); 3] = [
    (TCP_IDLE_TIMEOUT, "UDP flows always time out after 120 s"),
    (TCP_ADOPT_STRAYS, "every UDP packet of no flow starts one"),
    (TCP_SYN_COOKIES, "UDP has no handshake"),
];

const CATALOGUE: Catalogue = Catalogue {
    owner: "a Network Load Balancer's listeners",
    keys: &[TCP_IDLE_TIMEOUT, TCP_ADOPT_STRAYS, TCP_SYN_COOKIES],
    foreign: &[("routing.http.", "an Application Load Balancer's listeners")],
};
