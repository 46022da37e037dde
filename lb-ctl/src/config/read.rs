//! The whole file: from text to [`Config`].

use std::{ops::RangeInclusive, path::PathBuf};

use super::{
    ADOPT_SECONDS, Assignment, CONTROL_SOCKET, Config, FLOWS, FRAMES, FRAMES_DEFAULT, INTERFACE_NAME_BYTES,
    Listener, LoadBalancer, NAME_CHARACTERS, Polling, Protocols, SOCKET_PATH_BYTES, STATE_DIRECTORY,
    Selection, Workers, address_pool, control_api,
    document::Table,
    elbv2,
    errors::ConfigError,
    flow_log,
    load_balancer::{self, Known},
    metrics, source_nat, target_group,
    walk::{Errors, Place, Section, Value, integer_expected},
};
use lb_core::{
    limits,
    tables::{InterfaceId, Protocol},
};

/// The host's settings of one document with the objects of another, or the same. `text` is what lines of errors refer to.
pub(super) fn config(host: &Table, objects: &Table, text: Option<&str>) -> Result<Config, Vec<ConfigError>> {
    let errors = Errors::new(text);
    let section = |table| Section::new(Place::default(), table, &errors);
    let config = root(&section(host), &section(objects));
    let errors = errors.into_sorted();
    match config {
        Some(config) if errors.is_empty() => Ok(config),
        _ => Err(errors),
    }
}

fn root(section: &Section<'_>, objects: &Section<'_>) -> Option<Config> {
    section.allow_only(&[HOST_KEYS, OBJECT_KEYS].concat());
    let interfaces = interfaces(section);
    let state_directory = path(section, "state_directory", STATE_DIRECTORY);
    let control_socket = socket(section, "control_socket", CONTROL_SOCKET);
    let control_api = control_api::read(section);
    let workers = workers(section);
    let flow_capacity = flow_capacity(section);
    let address_pools = address_pool::all(section, interfaces.as_deref());
    let groups = target_group::all(objects);
    let source_nat = source_nat::read(section, interfaces.as_deref(), &groups);
    let elbv2 = elbv2::read(section);
    let known = Known { interfaces: interfaces.as_deref(), groups: &groups, source_nat: source_nat.as_ref() };
    let load_balancers = load_balancer::all(objects, &known);
    let metrics = metrics::read(section);
    let flow_log = flow_log::read(section);
    let selection = selection(section, load_balancers.as_deref().unwrap_or_default());
    let target_groups = groups.into_iter().map(|group| group.checked).collect::<Option<Vec<_>>>();
    Some(Config {
        interfaces: interfaces?,
        state_directory: state_directory?,
        control_socket: control_socket?,
        control_api: control_api?,
        workers: workers?,
        flow_capacity: flow_capacity?,
        selection: selection?,
        source_nat: source_nat?,
        metrics: metrics?,
        flow_log: flow_log?,
        address_pools: address_pools?,
        elbv2: elbv2?,
        load_balancers: load_balancers?,
        target_groups: target_groups?,
    })
}

fn interfaces(section: &Section<'_>) -> Option<Vec<String>> {
    let expected = format!("an array of 1 to {} interface names", limits::INTERFACES);
    let value = section.required("interfaces", &expected)?;
    let items = value.items(&expected)?;
    if items.is_empty() || items.len() > limits::INTERFACES {
        return value.refuse(expected);
    }
    let mut names: Vec<String> = Vec::new();
    for item in &items {
        let name = interface_name(item)?;
        if names.iter().any(|known| known == name) {
            return item.refuse("each interface once");
        }
        names.push(name.into());
    }
    Some(names)
}

fn interface_name<'t>(value: &Value<'t>) -> Option<&'t str> {
    let expected = "the name of a network interface, such as \"eth0\"";
    let name = value.text(expected)?;
    let is_plausible = (1..=INTERFACE_NAME_BYTES).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.bytes().any(|byte| byte == b'/' || byte == b':' || byte.is_ascii_whitespace() || byte == 0);
    if is_plausible { Some(name) } else { value.refuse(expected) }
}

fn path(section: &Section<'_>, key: &str, default: &str) -> Option<PathBuf> {
    let Some(value) = section.optional(key) else {
        return Some(default.into());
    };
    let expected = "an absolute path";
    let text = value.text(expected)?;
    if text.starts_with('/') && !text.contains('\0') { Some(text.into()) } else { value.refuse(expected) }
}

/// The kernel takes no longer path for a Unix socket.
fn socket(section: &Section<'_>, key: &str, default: &str) -> Option<PathBuf> {
    let socket = path(section, key, default)?;
    match section.optional(key) {
        Some(value) if socket.as_os_str().len() > SOCKET_PATH_BYTES => {
            value.refuse("an absolute path of at most 107 bytes")
        }
        _ => Some(socket),
    }
}

fn workers(section: &Section<'_>) -> Option<Workers> {
    let defaults =
        Workers { count: None, cpus: Vec::new(), polling: Polling::Adaptive, frames: FRAMES_DEFAULT };
    let Some(section) = section.optional_section("workers")? else {
        return Some(defaults);
    };
    section.allow_only(&["count", "cpus", "polling", "frames"]);
    let count = match section.optional("count") {
        Some(value) => value.integer(1..=limits::WORKERS as i64).map(Some),
        None => Some(defaults.count),
    };
    let cpus = cpus(&section, count.flatten());
    let polling = match section.optional("polling") {
        Some(value) => one_of(&value, &POLLINGS),
        None => Some(defaults.polling),
    };
    let frames = frames(&section);
    Some(Workers { count: count?, cpus: cpus?, polling: polling?, frames: frames? })
}

fn cpus(section: &Section<'_>, count: Option<u8>) -> Option<Vec<usize>> {
    let Some(value) = section.optional("cpus") else {
        return Some(Vec::new());
    };
    let expected = "an array of CPU numbers, at least one per worker, none twice";
    let mut cpus: Vec<usize> = Vec::new();
    for item in value.items(expected)? {
        let cpu = item.integer(0..=CPU_LAST)?;
        if cpus.contains(&cpu) {
            return item.refuse("each CPU once");
        }
        cpus.push(cpu);
    }
    let is_enough = !cpus.is_empty() && cpus.len() >= usize::from(count.unwrap_or(0));
    if is_enough { Some(cpus) } else { value.refuse(expected) }
}

fn frames(section: &Section<'_>) -> Option<u32> {
    let Some(value) = section.optional("frames") else {
        return Some(FRAMES_DEFAULT);
    };
    let frames: u32 = value.integer(FRAMES)?;
    if frames.is_power_of_two() {
        Some(frames)
    } else {
        value.refuse(format!("a power of two from {} to {}", FRAMES.start(), FRAMES.end()))
    }
}

fn flow_capacity(section: &Section<'_>) -> Option<u32> {
    let Some(section) = section.optional_section("flow_table")? else {
        return Some(limits::FLOWS_DEFAULT);
    };
    section.allow_only(&["capacity"]);
    match section.optional("capacity") {
        Some(value) => value.integer(FLOWS),
        None => Some(limits::FLOWS_DEFAULT),
    }
}

fn selection(section: &Section<'_>, load_balancers: &[LoadBalancer]) -> Option<Selection> {
    let adopt_default = longest_tcp_idle_seconds(load_balancers);
    let Some(section) = section.optional_section("selection")? else {
        return Some(Selection { secret: None, adopt_seconds: adopt_default });
    };
    section.allow_only(&["secret", "adopt_seconds"]);
    let secret = match section.optional("secret") {
        Some(value) => secret(&value).map(Some),
        None => Some(None),
    };
    let adopt_seconds = match section.optional("adopt_seconds") {
        Some(value) => value.integer(ADOPT_SECONDS),
        None => Some(adopt_default),
    };
    Some(Selection { secret: secret?, adopt_seconds: adopt_seconds? })
}

/// The secret itself never stands in an error.
fn secret(value: &Value<'_>) -> Option<[u8; 16]> {
    let secret = value.as_text().and_then(crate::hex::bytes);
    if secret.is_none() {
        let found = "something else (not shown)";
        value.errors().report(&value.place, found, "a string of 32 hex digits");
    }
    secret
}

fn longest_tcp_idle_seconds(load_balancers: &[LoadBalancer]) -> u16 {
    let is_tcp = |listener: &&Listener| listener.protocol.each().contains(&Protocol::Tcp);
    let listeners = load_balancers.iter().flat_map(|lb| &lb.listeners).filter(is_tcp);
    listeners.map(|listener| listener.tcp_idle_timeout_seconds).max().unwrap_or(limits::TCP_IDLE_S)
}

/// The value that a name stands for.
pub(super) fn one_of<T: Copy>(value: &Value<'_>, choices: &[(&str, T)]) -> Option<T> {
    let names = choices.iter().map(|(name, _)| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    let expected = if choices.len() == 1 { names } else { format!("one of {names}") };
    let text = value.text(&expected)?;
    match choices.iter().find(|(name, _)| *name == text) {
        Some((_, choice)) => Some(*choice),
        None => value.refuse(expected),
    }
}

/// The protocol of a listener or a target group.
pub(super) fn protocols(section: &Section<'_>) -> Option<Protocols> {
    let expected = "one of \"TCP\", \"UDP\", \"TCP_UDP\"";
    let value = section.required("protocol", expected)?;
    match value.as_text() {
        Some("TLS" | "QUIC" | "TCP_QUIC") => {
            value.refuse_with_advice(expected, "this protocol is not supported yet")
        }
        _ => one_of(
            &value,
            &[Protocols::Tcp, Protocols::Udp, Protocols::TcpUdp].map(|each| (each.name(), each)),
        ),
    }
}

/// A name by the rules of load balancers and target groups.
pub(super) fn name<'t>(section: &Section<'t>) -> Option<(&'t str, Value<'t>)> {
    let expected =
        format!("a name of 1 to {NAME_CHARACTERS} letters, digits and hyphens, no hyphen at either end");
    let value = section.required("name", &expected)?;
    let name = value.text(&expected)?;
    let is_valid = (1..=NAME_CHARACTERS).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if is_valid { Some((name, value)) } else { value.refuse(expected) }
}

/// Key `port`: required, 1 to 65535.
pub(super) fn port(section: &Section<'_>) -> Option<u16> {
    section.required("port", &integer_expected(&PORT))?.integer(PORT)
}

/// Key `interface`: one of the configured interfaces, the first by default.
pub(super) fn interface(section: &Section<'_>, interfaces: Option<&[String]>) -> Option<InterfaceId> {
    let Some(value) = section.optional("interface") else {
        return Some(InterfaceId(0));
    };
    let name = value.text("the name of an interface")?;
    let interfaces = interfaces?; // Their error is reported already.
    match interfaces.iter().position(|known| known == name) {
        Some(index) => Some(InterfaceId(index as u8)),
        None => value.refuse(format!("one of the interfaces: {}", interfaces.join(", "))),
    }
}

/// Key `assign`: whether the daemon adds the section's addresses, which it does by default.
pub(super) fn assignment(section: &Section<'_>) -> Option<Assignment> {
    match section.optional("assign").map(|value| value.boolean()) {
        None | Some(Some(true)) => Some(Assignment::Daemon),
        Some(Some(false)) => Some(Assignment::Elsewhere),
        Some(None) => None,
    }
}

/// The sections of an array of tables; none when it is left out.
pub(super) fn sections<'t>(section: &Section<'t>, key: &str) -> Option<Vec<Option<Section<'t>>>> {
    let Some(value) = section.optional(key) else { return Some(Vec::new()) };
    Some(value.items("an array of tables")?.iter().map(Value::section).collect())
}

/// Top-level keys that are settings of the host.
pub(super) const HOST_KEYS: &[&str] = &[
    "interfaces",
    "state_directory",
    "control_socket",
    "control_api",
    "workers",
    "flow_table",
    "selection",
    "source_nat",
    "metrics",
    "flow_log",
    "address_pools",
    "elbv2",
];

/// Top-level keys that hold objects.
pub(super) const OBJECT_KEYS: &[&str] = &["load_balancers", "target_groups"];

pub(super) const PORT: RangeInclusive<i64> = 1..=65_535;

const POLLINGS: [(&str, Polling); 3] =
    [("busy", Polling::Busy), ("adaptive", Polling::Adaptive), ("interrupt", Polling::Interrupt)];

const CPU_LAST: i64 = 4_095;
