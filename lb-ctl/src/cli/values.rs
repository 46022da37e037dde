//! Values of arguments that several verbs take.

use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::{
    change::AddressRequest,
    config::{Family, Protocols},
    objects::{Forward, ForwardGroup, Listener},
};

/// A listener by its place, such as `edge/TCP:80`; `edge/80` where no other has the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListenerName {
    pub(super) load_balancer: String,
    pub(super) protocol: Option<Protocols>,
    pub(super) port: u16,
}

impl ListenerName {
    /// Such as `TCP:80`, or `80`.
    pub(super) fn place(&self) -> String {
        match self.protocol {
            Some(protocol) => format!("{}:{}", protocol.name(), self.port),
            None => self.port.to_string(),
        }
    }

    pub(super) fn is_of(&self, listener: &Listener) -> bool {
        listener.port == self.port && self.protocol.is_none_or(|protocol| protocol == listener.protocol)
    }
}

impl FromStr for ListenerName {
    type Err = String;

    fn from_str(text: &str) -> Result<ListenerName, String> {
        let parts = text.split_once('/').and_then(|(lb, place)| Some((lb, place.parse::<Place>().ok()?)));
        match parts {
            Some((lb, Place { protocol, port })) if !lb.is_empty() => {
                Ok(ListenerName { load_balancer: lb.into(), protocol, port })
            }
            _ => {
                Err("expected LOAD-BALANCER/PROTOCOL:PORT or LOAD-BALANCER/PORT, such as edge/TCP:80".into())
            }
        }
    }
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.load_balancer, self.place())
    }
}

/// Protocol and port; the protocol may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    protocol: Option<Protocols>,
    port: u16,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let (protocol, port) = match text.split_once(':') {
            Some((protocol, port)) => (Some(protocols(protocol)?), port),
            None => (None, text),
        };
        Ok(Place { protocol, port: self::port(port)? })
    }
}

/// Protocol and port, such as `TCP:80`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) protocol: Protocols,
    pub(super) port: u16,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Endpoint, String> {
        match text.parse() {
            Ok(Place { protocol: Some(protocol), port }) => Ok(Endpoint { protocol, port }),
            _ => Err("expected PROTOCOL:PORT with TCP, UDP or TCP_UDP, such as TCP:80".into()),
        }
    }
}

/// `TCP`, `UDP` or `TCP_UDP`, in capitals or not.
pub(super) fn protocols(text: &str) -> Result<Protocols, String> {
    let known = [Protocols::Tcp, Protocols::Udp, Protocols::TcpUdp];
    let found = known.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(text));
    found.ok_or_else(|| "expected TCP, UDP or TCP_UDP".into())
}

/// A port, not 0.
pub(super) fn port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| "expected a port from 1 to 65535".into())
}

/// A value that stands for itself in JSON, as one of these words.
pub(super) fn word<T>(words: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| serde_json::from_value::<T>(json!(word)))
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    key: String,
    value: String,
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Pair, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Pair { key: key.into(), value: value.into() }),
            _ => Err("expected KEY=VALUE".into()),
        }
    }
}

/// Keys with their values; of a key given twice, the last counts.
pub(super) fn pairs(pairs: Vec<Pair>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|Pair { key, value }| (key, value)).collect()
}

/// Attributes of something new.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct NewNames {
    /// An attribute by its AWS key; may be given several times
    #[arg(long = "attribute", value_name = "KEY=VALUE")]
    pub(super) attributes: Vec<Pair>,

    /// A tag; may be given several times
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    pub(super) tags: Vec<Pair>,
}

/// Attributes to set, and to put back to their defaults.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct AttributeChanges {
    /// Attributes by their AWS keys
    #[arg(value_name = "KEY=VALUE", required_unless_present = "reset")]
    set: Vec<Pair>,

    /// Put an attribute back to its default; may be given several times
    #[arg(long, value_name = "KEY")]
    reset: Vec<String>,
}

impl AttributeChanges {
    /// As the API takes them: `null` for the default.
    pub(super) fn into_json(self) -> Value {
        let set = self.set.into_iter().map(|Pair { key, value }| (key, Value::String(value)));
        let reset = self.reset.into_iter().map(|key| (key, Value::Null));
        json!({ "attributes": set.chain(reset).collect::<Map<_, _>>() })
    }
}

/// Where new flows go.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ForwardArguments {
    /// Target group that new flows go to, with its weight among several; may be given several times
    #[arg(long, value_name = "GROUP[=WEIGHT]", value_delimiter = ',')]
    forward: Vec<Share>,

    /// Have all flows of one client's address go to one target group
    #[arg(long, requires = "forward")]
    sticky: bool,
}

impl ForwardArguments {
    /// `None`: nothing is said of it.
    pub(super) fn into_forward(self) -> Option<Forward> {
        let groups = self.forward.into_iter().map(|share| share.0);
        let forward = Forward { target_groups: groups.collect(), stickiness: self.sticky };
        (!forward.target_groups.is_empty()).then_some(forward)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Share(ForwardGroup);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        let (name, weight) = text.split_once('=').unwrap_or((text, "1"));
        match weight.parse() {
            Ok(weight) if !name.is_empty() => Ok(Share(ForwardGroup { name: name.into(), weight })),
            _ => Err("expected GROUP or GROUP=WEIGHT, such as blue=9".into()),
        }
    }
}

/// Addresses of a load balancer.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct AddressArguments {
    /// An address, and its zone if the load balancer has zones; may be given several times
    #[arg(long = "address", value_name = "ADDRESS[=ZONE]", required_unless_present = "pools")]
    addresses: Vec<Given>,

    /// A free address of an address pool, or a certain one; may be given several times, twice for one pool with an
    /// address of each family
    #[arg(long = "pool", id = "pools", value_name = "POOL[=ADDRESS]")]
    pools: Vec<OfPool>,
}

impl AddressArguments {
    /// As the API takes them.
    pub(super) fn into_requests(self) -> Vec<AddressRequest> {
        let mut requests: Vec<AddressRequest> = Vec::new();
        for OfPool { pool, address } in self.pools {
            let known = requests.iter_mut().find(|request| request.pool.as_ref() == Some(&pool));
            match known {
                Some(request) => set(request, address),
                None => {
                    let mut request = AddressRequest { pool: Some(pool), ..AddressRequest::default() };
                    set(&mut request, address);
                    requests.push(request);
                }
            }
        }
        requests.extend(self.addresses.into_iter().map(|Given { address, zone }| {
            let mut request = AddressRequest { zone, ..AddressRequest::default() };
            set(&mut request, Some(address));
            request
        }));
        requests
    }
}

fn set(request: &mut AddressRequest, address: Option<IpAddr>) {
    match address.map(Family::of) {
        Some(Family::V4) => request.ipv4 = address,
        Some(Family::V6) => request.ipv6 = address,
        None => {}
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Given {
    address: IpAddr,
    zone: Option<String>,
}

impl FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Given, String> {
        let (address, zone) = match text.split_once('=') {
            Some((address, zone)) => (address, Some(zone.to_owned())),
            None => (text, None),
        };
        match address.parse() {
            Ok(address) => Ok(Given { address, zone }),
            Err(_) => Err("expected ADDRESS or ADDRESS=ZONE, such as 198.18.100.1=a".into()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct OfPool {
    pool: String,
    address: Option<IpAddr>,
}

impl FromStr for OfPool {
    type Err = String;

    fn from_str(text: &str) -> Result<OfPool, String> {
        let (pool, address) = match text.split_once('=') {
            Some((pool, address)) => (pool, Some(address.parse())),
            None => (text, None),
        };
        match address.transpose() {
            Ok(address) if !pool.is_empty() => Ok(OfPool { pool: pool.into(), address }),
            _ => Err("expected POOL or POOL=ADDRESS, such as subnet-a=198.18.100.17".into()),
        }
    }
}

/// A setting of a health check, as a file writes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) value: Value,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Setting, String> {
        let Pair { key, value } = text.parse()?;
        let value = if TEXTS.contains(&key.as_str()) { Value::String(value) } else { of_file(&value) };
        Ok(Setting { key, value })
    }
}

/// A number, a boolean or an inline table as in TOML; anything else is a text without its quotes.
fn of_file(text: &str) -> Value {
    #[derive(serde::Deserialize)]
    struct Line {
        value: Value,
    }
    let line = toml::from_str::<Line>(&format!("value = {text}"));
    line.map_or_else(|_| Value::String(text.into()), |line| line.value)
}

/// A body of a request without the keys that nothing is said of.
pub(super) fn said<const N: usize>(keys: [(&str, Option<Value>); N]) -> Map<String, Value> {
    keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// A value as JSON, if it is there.
pub(super) fn json_of(value: Option<impl Serialize>) -> Option<Value> {
    value.map(|value| json!(value))
}

/// Settings of health checks that are texts, also where they look like numbers.
const TEXTS: [&str; 2] = ["path", "matcher"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_named_by_load_balancer_and_port() {
        let name: ListenerName = "edge/tcp_udp:53".parse().unwrap();
        assert_eq!((name.protocol, name.to_string().as_str()), (Some(Protocols::TcpUdp), "edge/TCP_UDP:53"));
        assert_eq!("edge/80".parse::<ListenerName>().unwrap().to_string(), "edge/80");
        for bad in ["edge", "edge/", "/TCP:80", "edge/TCP", "edge/TCP:0", "edge/SCTP:80", "edge/TCP:80:1"] {
            assert!(bad.parse::<ListenerName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_of_one_pool_are_one_request() {
        let pools = ["a=198.18.100.17", "b", "a=2001:db8::17"].map(|text| text.parse().unwrap()).into();
        let addresses = vec!["2001:db8::1=c".parse().unwrap()];
        let requests = json!(AddressArguments { addresses, pools }.into_requests());
        let expected = json!([
            { "pool": "a", "ipv4": "198.18.100.17", "ipv6": "2001:db8::17" },
            { "pool": "b" },
            { "ipv6": "2001:db8::1", "zone": "c" },
        ]);
        assert_eq!(requests, expected);
    }

    #[test]
    fn settings_of_health_checks_are_written_as_in_a_file() {
        let value = |text: &str| text.parse::<Setting>().unwrap().value;
        assert_eq!(value("interval_seconds=10"), json!(10));
        assert_eq!(value("passive=false"), json!(false));
        assert_eq!(value("protocol=HTTP"), json!("HTTP"));
        assert_eq!(value("path=/a=b"), json!("/a=b"));
        assert_eq!(value("matcher=200"), json!("200"));
        assert_eq!(value("udp={ send = \"ping\" }"), json!({ "send": "ping" }));
    }
}
