//! The configuration file: TOML with the nouns and attribute keys of a Network Load Balancer, read into checked values.
//!
//! Called by `lbd` at start and at a reload, and by `lbctl check` and `lbctl simulate`. A [`Config`] exists only if every
//! rule holds; otherwise [`ConfigErrors`] names every place that breaks one.

mod address;
mod address_pool;
mod attributes;
mod control_api;
mod document;
mod elbv2;
mod errors;
mod flow_log;
mod forward;
mod health_check;
mod listener;
mod load_balancer;
mod metrics;
mod read;
mod rule;
mod source_nat;
mod tags;
mod target;
mod target_group;
mod walk;
mod zone;

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    ops::RangeInclusive,
    path::Path,
    path::PathBuf,
};

pub use address::{ClientAddress, Family};
pub use address_pool::AddressPool;
pub use control_api::ControlApi;
pub use elbv2::{ACCOUNT_DEFAULT, Access, AccessKey, Elbv2, REGION_DEFAULT, Secret};
pub use errors::{ConfigError, ConfigErrors};
pub(crate) use forward::FORWARD_GROUPS;
pub use forward::{Forward, WeightedGroup};
pub(crate) use health_check::KEYS as HEALTH_CHECK_KEYS;
pub use health_check::{CheckProtocol, HealthCheck};
use lb_core::{
    limits,
    tables::{HeaderPlacement, InterfaceId, Protocol},
};
pub use rule::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub use tags::TAGS;
pub use target::{Target, TargetRequest};

/// Reads and checks a file.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    Document::load(path)?.config()
}

/// Checks the text of a file; `file` is its name in errors.
pub fn parse(text: &str, file: &str) -> Result<Config, ConfigErrors> {
    Document::parse(text, file)?.config()
}

/// A configuration as it is written: settings of the host and objects, not checked yet.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its name in errors.
    file: String,
    text: String,
    table: document::Table,
}

impl Document {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Document, ConfigErrors> {
        let file = path.display().to_string();
        match std::fs::read(path) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => Document::parse(&text, &file),
                Err(error) => Err(ConfigErrors::not_text(&file, &error)),
            },
            Err(error) => Err(ConfigErrors::unreadable(&file, &error)),
        }
    }

    /// Parses TOML; `file` is its name in errors.
    pub fn parse(text: &str, file: &str) -> Result<Document, ConfigErrors> {
        let table = document::parse(text).map_err(|fault| ConfigErrors::not_toml(file, text, &fault))?;
        Ok(Document { file: file.into(), text: text.into(), table })
    }

    /// Parses JSON with the keys of a file. Errors tell no useful line.
    pub fn parse_json(text: &str, file: &str) -> Result<Document, ConfigErrors> {
        let parsed =
            serde_json::from_str(text).map_err(|error| ConfigErrors::not_understood(file, &error))?;
        Ok(Document { file: file.into(), text: text.into(), table: document::table_of(&parsed) })
    }

    /// Its name in errors.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it has no key of objects at all.
    pub fn is_without_objects(&self) -> bool {
        read::OBJECT_KEYS.iter().all(|key| !self.table.contains_key(*key))
    }

    /// All of it, checked.
    pub fn config(&self) -> Result<Config, ConfigErrors> {
        self.config_of(self)
    }

    /// Its settings of the host with the objects of another document, checked. Errors name the other's lines.
    pub fn config_of(&self, objects: &Document) -> Result<Config, ConfigErrors> {
        let config = read::config(&self.table, &objects.table, Some(&objects.text));
        config.map_err(|errors| ConfigErrors { file: objects.file.clone(), errors })
    }

    /// Its settings of the host with these objects (`load_balancers` and `target_groups` as in a file), checked. Errors have no lines.
    pub(crate) fn config_with(
        &self,
        objects: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Config, Vec<ConfigError>> {
        read::config(&self.table, &document::table_of(objects), None)
    }

    /// The tables under its keys of objects, or those of the host, as JSON.
    pub(crate) fn part(&self, part: Part) -> serde_json::Map<String, serde_json::Value> {
        let keys = match part {
            Part::Host => read::HOST_KEYS,
            Part::Objects => read::OBJECT_KEYS,
        };
        let mut table = self.table.clone();
        table.retain(|key, _| keys.contains(&key.as_str()));
        document::to_json(&table)
    }
}

/// A part of a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Settings that a file of `lbd --config` alone can make.
    Host,
    /// Load balancers and target groups.
    Objects,
}

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Names of the network interfaces, in the order of their `InterfaceId`: at least one, no name twice.
    pub interfaces: Vec<String>,
    /// Where the daemon keeps what must outlive it.
    pub state_directory: PathBuf,
    /// Unix socket of the control API.
    pub control_socket: PathBuf,
    /// Who may use it, and how much.
    pub control_api: ControlApi,
    /// Packet threads.
    pub workers: Workers,
    /// Flows that all workers together can hold.
    pub flow_capacity: u32,
    /// How targets are selected.
    pub selection: Selection,
    /// What targets see in place of a client's address and port.
    pub source_nat: SourceNat,
    /// Metrics for Prometheus.
    pub metrics: Metrics,
    /// Where flows are told of when they are over; `None`: nowhere.
    pub flow_log: Option<FlowLog>,
    /// Where load balancers made by call have their addresses from; no name twice.
    pub address_pools: Vec<AddressPool>,
    /// The endpoint for the stock `aws` command line; `None`: there is none.
    pub elbv2: Option<Elbv2>,
    /// Load balancers, no name twice.
    pub load_balancers: Vec<LoadBalancer>,
    /// Target groups, no name twice.
    pub target_groups: Vec<TargetGroup>,
}

impl Config {
    /// Whether a listener sends flows to the target group of this index.
    pub fn is_used(&self, target_group: usize) -> bool {
        self.user(target_group).is_some()
    }

    /// The first listener that sends flows to the target group of this index, and the load balancer that has it.
    pub fn user(&self, target_group: usize) -> Option<(&LoadBalancer, &Listener)> {
        let mut listeners =
            self.load_balancers.iter().flat_map(|lb| lb.listeners.iter().map(move |listener| (lb, listener)));
        listeners.find(|(_, listener)| listener.forwards().any(|forward| forward.has(target_group)))
    }

    /// A registered target.
    pub fn target(&self, group: &str, address: IpAddr, port: u16) -> Option<&Target> {
        let group = self.target_groups.iter().find(|known| known.name == group)?;
        group.targets.iter().find(|target| (target.address, target.port) == (address, port))
    }

    /// Every address of a load balancer.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.load_balancers.iter().flat_map(LoadBalancer::addresses)
    }
}

/// Section `workers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workers {
    /// Number of packet threads; `None`: one per receive queue.
    pub count: Option<u8>,
    /// CPUs to pin them to, in order; empty: from CPU 0 on.
    pub cpus: Vec<usize>,
    /// How they wait for packets.
    pub polling: Polling,
    /// Packet buffers of each worker: a power of two.
    pub frames: u32,
}

/// How a worker waits for packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polling {
    /// Never sleeps: lowest latency, one CPU fully used.
    Busy,
    /// Polls while there is traffic, sleeps when there is none.
    Adaptive,
    /// Sleeps until the kernel wakes it.
    Interrupt,
}

/// Section `selection`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Secret of the hash that selects targets; `None`: the one kept in the state directory.
    pub secret: Option<[u8; 16]>,
    /// After an unclean start, TCP packets of no flow are adopted for this long, in seconds.
    pub adopt_seconds: u16,
}

/// Section `source_nat`: where the source of a flow comes from that cannot or shall not keep the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceNat {
    /// Addresses, none twice, none a target's; a family without any: each load balancer's own.
    pub addresses: Vec<IpAddr>,
    /// Ports of each address; never empty, never 0.
    pub ports: RangeInclusive<u16>,
    /// Most ports of one client; `None`: no limit.
    pub ports_per_client: Option<u32>,
    /// Interface that the addresses are assigned to and announced on, unless they are a load balancer's.
    pub interface: InterfaceId,
    /// Who puts the addresses on that interface.
    pub assignment: Assignment,
}

/// Section `metrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Where scrapes are answered by HTTP; `None`: on the control socket alone.
    pub listen: Option<SocketAddr>,
    /// With more targets than this, none has series of its own.
    pub targets_max: usize,
}

/// Section `flow_log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowLog {
    /// Absolute path of the file.
    pub file: PathBuf,
    /// Its most bytes: then it is put aside, and another is begun.
    pub rotate_bytes: u64,
    /// Number of older files beside it.
    pub keep: u32,
    /// Of so many flows, one is told of.
    pub sample: NonZeroU32,
    /// Flows that can wait to be told of; more are lost.
    pub queue_records: usize,
}

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancer {
    /// Name.
    pub name: String,
    /// Its addresses, of either family, at least one. No other load balancer has any of them.
    pub vips: Vec<Vip>,
    /// Interface that the addresses are assigned to and announced on.
    pub interface: InterfaceId,
    /// Who puts the addresses on that interface.
    pub assignment: Assignment,
    /// Listeners; no port and protocol twice.
    pub listeners: Vec<Listener>,
    /// Attribute `load_balancing.cross_zone.enabled`: whether flows to the VIP of a zone may go to targets of other zones.
    pub crosses_zones: bool,
    /// Attribute `deletion_protection.enabled`: whether a configuration without this load balancer is refused.
    pub is_deletion_protected: bool,
}

impl LoadBalancer {
    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.vips.iter().map(|vip| vip.address)
    }

    /// Whether a target of this zone can get flows: of an address of its zone, of any where either has no zone.
    pub fn serves(&self, zone: Option<&str>) -> bool {
        let is_of_zone = |vip: &Vip| vip.zone.is_none() || vip.zone.as_deref() == zone;
        zone.is_none() || self.vips.iter().any(is_of_zone)
    }
}

/// An address of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    /// The address.
    pub address: IpAddr,
    /// Its zone; `None` where the load balancer has no zones, which is so for all of its addresses or none.
    pub zone: Option<String>,
}

/// Who puts addresses on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// The daemon, which takes them off again at a clean stop.
    Daemon,
    /// The platform, or nobody.
    Elsewhere,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// What it listens for.
    pub protocol: Protocols,
    /// Port, not 0.
    pub port: u16,
    /// Where new flows go that no rule is for.
    pub forward: Forward,
    /// Rules, the first one that fits wins; no priority twice.
    pub rules: Vec<Rule>,
    /// Attribute `tcp.idle_timeout.seconds`; no meaning for UDP.
    pub tcp_idle_timeout_seconds: u16,
    /// Attribute `udp.idle_timeout.seconds`; no meaning for TCP.
    pub udp_idle_timeout_seconds: u16,
    /// Attribute `tcp.adopt_strays.enabled`: whether TCP packets of no flow start one, always.
    pub adopts_strays: bool,
    /// Attribute `tcp.syn_cookies.enabled`: whether targets meet only TCP clients that have confirmed their address.
    pub has_syn_cookies: bool,
}

impl Listener {
    /// Where new flows go of clients of a family.
    pub fn forward_for(&self, client: Family) -> &Forward {
        self.rule_for(client).map_or(&self.forward, |rule| &rule.forward)
    }

    /// The rule that is for clients of a family, if one is.
    pub fn rule_for(&self, client: Family) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.source == client)
    }

    /// Every forward action: the default one and the rules'.
    pub fn forwards(&self) -> impl Iterator<Item = &Forward> {
        [&self.forward].into_iter().chain(self.rules.iter().map(|rule| &rule.forward))
    }
}

/// Protocols of a listener or a target group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Protocols {
    /// `TCP`.
    #[serde(rename = "TCP")]
    Tcp,
    /// `UDP`.
    #[serde(rename = "UDP")]
    Udp,
    /// `TCP_UDP`: both on one port.
    #[serde(rename = "TCP_UDP")]
    TcpUdp,
}

impl Protocols {
    /// Those of a name in the configuration.
    pub fn named(name: &str) -> Option<Protocols> {
        [Protocols::Tcp, Protocols::Udp, Protocols::TcpUdp].into_iter().find(|each| each.name() == name)
    }

    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Protocols::Tcp => "TCP",
            Protocols::Udp => "UDP",
            Protocols::TcpUdp => "TCP_UDP",
        }
    }

    /// Each protocol of these.
    pub const fn each(self) -> &'static [Protocol] {
        match self {
            Protocols::Tcp => &[Protocol::Tcp],
            Protocols::Udp => &[Protocol::Udp],
            Protocols::TcpUdp => &[Protocol::Tcp, Protocol::Udp],
        }
    }

    /// These and those.
    pub fn and(self, other: Protocols) -> Protocols {
        if self == other { self } else { Protocols::TcpUdp }
    }

    /// Target group protocols that a listener of these can forward to (NLB "Create a target group").
    pub const fn forwards_to(self) -> &'static [Protocols] {
        match self {
            Protocols::Tcp => &[Protocols::Tcp, Protocols::TcpUdp],
            Protocols::Udp => &[Protocols::Udp, Protocols::TcpUdp],
            Protocols::TcpUdp => &[Protocols::TcpUdp],
        }
    }
}

/// A target group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetGroup {
    /// Name.
    pub name: String,
    /// Protocol.
    pub protocol: Protocols,
    /// Port of targets that name none.
    pub port: u16,
    /// How targets are named.
    pub target_type: TargetType,
    /// The family of its targets' addresses (`IpAddressType`).
    pub family: Family,
    /// Registered targets, all of the group's family; no address and port twice.
    pub targets: Vec<Target>,
    /// Who registers targets.
    pub registrar: Registrar,
    /// Attribute `preserve_client_ip.enabled`: whether targets see clients of their own family by address and port.
    pub preserves_client_ip: bool,
    /// Attribute `stickiness.enabled`: whether the flows of one client's address go to one target.
    pub is_sticky: bool,
    /// Attributes `proxy_protocol_v2.*`: when connections' targets are told of their client by a PROXY header, if they are.
    pub proxy_header: Option<HeaderPlacement>,
    /// Attribute `load_balancing.cross_zone.enabled`; `None`: as the load balancer has it.
    pub crosses_zones: Option<bool>,
    /// How targets are checked.
    pub health_check: HealthCheck,
    /// Attribute `deregistration_delay.timeout_seconds`.
    pub deregistration_delay_seconds: u16,
    /// Attribute `deregistration_delay.connection_termination.enabled`: what becomes of the flows left after the delay.
    pub after_deregistration: Leftover,
    /// Attribute `target_health_state.unhealthy.connection_termination.enabled`: what becomes of an unhealthy target's flows.
    pub when_unhealthy: Leftover,
    /// Attribute `target_health_state.unhealthy.draining_interval_seconds`: how long a target that turns unhealthy counts as
    /// `unhealthy.draining`.
    pub draining_interval_seconds: u32,
    /// Attributes `target_group_health.unhealthy_state_routing.*`: with fewer healthy targets, all targets get flows.
    pub fail_open_below: MinimumHealthy,
    /// Attributes `target_group_health.dns_failover.*`: with fewer healthy targets, a zone counts as unhealthy.
    pub dns_failover_below: MinimumHealthy,
}

/// How targets of a group are named, which decides defaults (NLB "Target type").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetType {
    /// Nodes, by their IPv4 address.
    Instance,
    /// Addresses.
    Ip,
}

/// Who registers a group's targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registrar {
    /// They stand in the file.
    File,
    /// They come and go by calls of the control API, and outlive a restart.
    Calls,
}

/// Fewest healthy targets (`minimum_healthy_targets.count` and `.percentage`): one of both missed is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinimumHealthy {
    /// So many; `None`: "off".
    pub count: Option<u16>,
    /// So many of a hundred, 1 to 100; `None`: "off".
    pub percentage: Option<u8>,
}

impl MinimumHealthy {
    /// Whether there are enough. Of no targets at all, none has to be healthy for the percentage.
    pub fn is_met(&self, healthy: usize, registered: usize) -> bool {
        self.count.is_none_or(|count| healthy >= usize::from(count))
            && self.percentage.is_none_or(|percentage| healthy * 100 >= registered * usize::from(percentage))
    }
}

impl Default for MinimumHealthy {
    fn default() -> MinimumHealthy {
        MinimumHealthy { count: Some(1), percentage: None }
    }
}

impl TargetGroup {
    /// Whether its targets come and go by calls alone.
    pub fn is_open(&self) -> bool {
        self.registrar == Registrar::Calls
    }

    /// What its targets see of a client that came to an address of a load balancer.
    pub fn client_address(&self, vip: IpAddr) -> ClientAddress {
        if self.family != Family::of(vip) {
            ClientAddress::Translated
        } else if self.preserves_client_ip {
            ClientAddress::Preserved
        } else {
            ClientAddress::Hidden
        }
    }
}

/// What becomes of the flows of a target that gets no new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// They go on.
    Continue,
    /// They are terminated.
    Terminate,
}

/// Control socket when the configuration names none, and what `lbctl` connects to.
pub const CONTROL_SOCKET: &str = "/run/lbd/lbd.sock";

/// State directory when the configuration names none.
pub const STATE_DIRECTORY: &str = "/var/lib/lbd";

/// Longest path of a Unix socket, in bytes (`sun_path` without its zero).
const SOCKET_PATH_BYTES: usize = 107;
const FRAMES_DEFAULT: u32 = 8_192;
const FRAMES: RangeInclusive<i64> = 512..=1 << 20;
const ADDRESSES: usize = 8;
const SOURCE_ADDRESSES: usize = 64;
const PORTS_PER_CLIENT: RangeInclusive<i64> = 1..=SOURCE_ADDRESSES as i64 * 65_535;
const SOURCE_PORTS_DEFAULT: RangeInclusive<u16> = 1_024..=65_535;
const NAME_CHARACTERS: usize = 32;
const INTERFACE_NAME_BYTES: usize = 15;
const FLOWS: RangeInclusive<i64> = limits::FLOWS_MINIMUM as i64..=limits::FLOWS_MAXIMUM as i64;
const ADOPT_SECONDS: RangeInclusive<i64> = 0..=6_000;

#[cfg(test)]
mod tests;
