//! Flows: which are asked for, and what is told of each.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use lb_core::{datapath::FlowView, flow::State, tables::Protocol};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The query of `GET /v1/flows`: flows that have everything that is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FlowsQuery {
    /// Protocol.
    pub protocol: Option<ProtocolName>,
    /// Client.
    pub client: Option<AddressFilter>,
    /// Listener.
    pub vip: Option<AddressFilter>,
    /// Target.
    pub target: Option<AddressFilter>,
    /// State.
    pub state: Option<StateName>,
    /// The worker whose flow it is.
    pub worker: Option<u8>,
    /// List at most this many, up to [`FLOWS_LISTED`]; by default [`FLOWS_LISTED_DEFAULT`].
    pub limit: Option<usize>,
    /// List none, but count all.
    pub count: bool,
}

impl FlowsQuery {
    /// Whether a flow is asked for.
    pub fn matches(&self, flow: &FlowView) -> bool {
        let is_at = |filter: &Option<AddressFilter>, end| filter.is_none_or(|filter| filter.matches(end));
        self.protocol.is_none_or(|protocol| protocol.0 == flow.protocol)
            && self.state.is_none_or(|state| state.0.name() == flow.state)
            && self.worker.is_none_or(|worker| worker == flow.worker)
            && is_at(&self.client, flow.client)
            && is_at(&self.vip, flow.vip)
            && is_at(&self.target, flow.target)
    }

    /// Most flows that are listed.
    pub fn limit(&self) -> usize {
        self.limit.unwrap_or(FLOWS_LISTED_DEFAULT).min(FLOWS_LISTED)
    }

    /// What it names, as the query of a URL has it.
    pub(crate) fn pairs(&self) -> Vec<(&'static str, String)> {
        fn text(value: &Option<impl ToString>) -> Option<String> {
            value.as_ref().map(ToString::to_string)
        }
        let pairs = [
            ("protocol", text(&self.protocol)),
            ("client", text(&self.client)),
            ("vip", text(&self.vip)),
            ("target", text(&self.target)),
            ("state", text(&self.state)),
            ("worker", text(&self.worker)),
            ("limit", text(&self.limit)),
            ("count", self.count.then(|| "true".into())),
        ];
        pairs.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

/// What `GET /v1/flows` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlowList {
    /// The flows; none where only their number was asked for.
    pub flows: Vec<FlowRow>,
    /// How many there are, as far as they were looked at.
    pub count: u64,
    /// Whether all flows were looked at: otherwise there may be more.
    pub is_complete: bool,
    /// Workers that did not answer in time.
    pub silent_workers: Vec<u8>,
}

/// A flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlowRow {
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// Client.
    pub client: SocketAddr,
    /// Listener's address and port.
    pub listener: SocketAddr,
    /// What the target sees as the client: another than `client` when that is hidden or translated.
    pub source: SocketAddr,
    /// Target.
    pub target: SocketAddr,
    /// State, such as `established`.
    pub state: String,
    /// Time without packets, in milliseconds.
    pub idle_ms: u32,
    /// Forgotten after this long without packets, in milliseconds.
    pub timeout_ms: u32,
    /// The worker whose flow it is.
    pub worker: u8,
}

impl From<FlowView> for FlowRow {
    fn from(view: FlowView) -> FlowRow {
        FlowRow {
            protocol: view.protocol.name().into(),
            client: view.client.into(),
            listener: view.vip.into(),
            source: view.source.into(),
            target: view.target.into(),
            state: view.state.into(),
            idle_ms: view.idle_ms,
            timeout_ms: view.timeout_ms,
            worker: view.worker,
        }
    }
}

/// A protocol by its name, in capitals or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct ProtocolName(pub Protocol);

impl FromStr for ProtocolName {
    type Err = String;

    fn from_str(text: &str) -> Result<ProtocolName, String> {
        let named =
            [Protocol::Tcp, Protocol::Udp].into_iter().find(|one| one.name().eq_ignore_ascii_case(text));
        named.map(ProtocolName).ok_or_else(|| "expected tcp or udp".into())
    }
}

impl fmt::Display for ProtocolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// A state of flows by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct StateName(pub State);

impl FromStr for StateName {
    type Err = String;

    fn from_str(text: &str) -> Result<StateName, String> {
        let named = State::LISTED.into_iter().find(|state| state.name() == text);
        named
            .map(StateName)
            .ok_or_else(|| format!("expected one of {}", State::LISTED.map(State::name).join(", ")))
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// Some addresses, with one port of them or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub enum AddressFilter {
    /// `ADDRESS:PORT`.
    Endpoint(SocketAddr),
    /// `ADDRESS/LENGTH`, or `ADDRESS`, whose length is that of all its bits.
    Network {
        /// Its bits behind the length mean nothing.
        address: IpAddr,
        /// Leading bits that count.
        length: u8,
    },
}

impl AddressFilter {
    /// Whether an end of a flow is there.
    pub fn matches(&self, (address, port): (IpAddr, u16)) -> bool {
        match *self {
            AddressFilter::Endpoint(endpoint) => (endpoint.ip(), endpoint.port()) == (address, port),
            AddressFilter::Network { address: network, length } => match (network, address) {
                (IpAddr::V4(network), IpAddr::V4(address)) => {
                    let differing = network.to_bits() ^ address.to_bits();
                    differing.leading_zeros() >= u32::from(length)
                }
                (IpAddr::V6(network), IpAddr::V6(address)) => {
                    let differing = network.to_bits() ^ address.to_bits();
                    differing.leading_zeros() >= u32::from(length)
                }
                _ => false,
            },
        }
    }
}

impl FromStr for AddressFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<AddressFilter, String> {
        if let Ok(endpoint) = text.parse() {
            return Ok(AddressFilter::Endpoint(endpoint));
        }
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let network = address.parse().ok().and_then(|address| {
            let most = bits(address);
            let length = length.map_or(Some(most), |length| length.parse().ok())?;
            (length <= most).then_some(AddressFilter::Network { address, length })
        });
        network.ok_or_else(|| {
            "expected ADDRESS, ADDRESS:PORT or ADDRESS/LENGTH, such as 198.18.0.2, [2001:db8::2]:80 or 198.18.0.0/16".into()
        })
    }
}

impl fmt::Display for AddressFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressFilter::Endpoint(endpoint) => endpoint.fmt(f),
            AddressFilter::Network { address, length } if *length == bits(*address) => address.fmt(f),
            AddressFilter::Network { address, length } => write!(f, "{address}/{length}"),
        }
    }
}

/// Bits of an address.
fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Has serde read and write a name as text.
macro_rules! as_text {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<$name, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.to_string()
            }
        }
    )*};
}

as_text!(ProtocolName, StateName, AddressFilter);

/// Flows that `GET /v1/flows` lists when the request names no limit.
pub const FLOWS_LISTED_DEFAULT: usize = 100;

/// Most flows that `GET /v1/flows` lists.
pub const FLOWS_LISTED: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use lb_core::tables::{ListenerId, TargetId};

    fn flow(protocol: Protocol, client: &str, target: &str) -> FlowView {
        let end = |text: &str| text.parse::<SocketAddr>().map(|end| (end.ip(), end.port())).unwrap();
        FlowView {
            worker: 1,
            client: end(client),
            vip: end("198.18.100.1:80"),
            source: end(client),
            target: end(target),
            protocol,
            state: "established",
            idle_ms: 0,
            timeout_ms: 350_000,
            listener: ListenerId(0),
            target_id: TargetId(0),
            shares_hop: false,
        }
    }

    #[test]
    fn flows_must_have_everything_that_is_named() {
        let flow = flow(Protocol::Tcp, "198.18.0.9:40000", "198.19.1.2:8080");
        let filter = |text: &str| text.parse().ok();
        let query = FlowsQuery {
            protocol: "tcp".parse().ok(),
            client: filter("198.18.0.0/16"),
            vip: filter("198.18.100.1:80"),
            target: filter("198.19.1.2"),
            state: "established".parse().ok(),
            worker: Some(1),
            ..FlowsQuery::default()
        };
        assert!(FlowsQuery::default().matches(&flow) && query.matches(&flow));
        for other in [
            FlowsQuery { protocol: "UDP".parse().ok(), ..query.clone() },
            FlowsQuery { client: filter("198.18.0.9:40001"), ..query.clone() },
            FlowsQuery { vip: filter("198.18.100.1:81"), ..query.clone() },
            FlowsQuery { target: filter("198.19.1.3"), ..query.clone() },
            FlowsQuery { state: "udp".parse().ok(), ..query.clone() },
            FlowsQuery { worker: Some(0), ..query.clone() },
        ] {
            assert!(!other.matches(&flow), "{other:?}");
        }
    }

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (filter, inside, outside) in [
            ("198.18.0.0/15", "198.19.255.255:1", "198.20.0.0:1"),
            ("0.0.0.0/0", "198.20.0.0:1", "[2001:db8::1]:1"),
            ("2001:db8::/32", "[2001:db8:ffff::1]:1", "[2001:db9::1]:1"),
            ("::/0", "[2001:db9::1]:1", "198.20.0.0:1"),
            ("198.18.0.9/32", "198.18.0.9:7", "198.18.0.8:7"),
            ("2001:db8::1", "[2001:db8::1]:7", "[2001:db8::2]:7"),
            ("[2001:db8::1]:7", "[2001:db8::1]:7", "[2001:db8::1]:8"),
        ] {
            let filter: AddressFilter = filter.parse().unwrap();
            let end = |text: &str| text.parse::<SocketAddr>().map(|end| (end.ip(), end.port())).unwrap();
            assert!(filter.matches(end(inside)) && !filter.matches(end(outside)), "{filter}");
        }
        for bad in
            ["", "198.18.0", "198.18.0.0/33", "2001:db8::/129", "198.18.0.0/", "198.18.0.9:65536", "web"]
        {
            assert!(bad.parse::<AddressFilter>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_query_says_what_it_names_and_nothing_else() {
        assert_eq!(FlowsQuery::default().pairs(), []);
        let query = FlowsQuery {
            client: "198.18.0.9/32".parse().ok(),
            target: "[2001:db8::1]:80".parse().ok(),
            count: true,
            ..FlowsQuery::default()
        };
        assert_eq!(
            query.pairs(),
            [
                ("client", "198.18.0.9".into()),
                ("target", "[2001:db8::1]:80".into()),
                ("count", "true".into())
            ]
        );
    }
}
