//! Section `health_check` of a target group.

use std::{fs::File, io::Read, ops::RangeInclusive, time::Duration};

use rustls::pki_types::ServerName;

use super::{
    read::PORT,
    walk::{Section, Value, integer_expected},
};
use crate::health::{GrpcProbe, HttpProbe, Matcher, Probe, Roots, TlsProbe, UdpProbe, Validation};

/// How a group's targets are checked (NLB "Health check settings").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked of a target.
    pub protocol: CheckProtocol,
    /// Port that is asked; `None`: the target's own ("traffic-port").
    pub port: Option<u16>,
    /// Time from the start of one check to the start of the next.
    pub interval: Duration,
    /// A check that has not succeeded after this long has failed; at most the interval.
    pub timeout: Duration,
    /// Successes in a row that make an unhealthy target healthy.
    pub healthy_threshold: u8,
    /// Failures in a row that make a target unhealthy.
    pub unhealthy_threshold: u8,
    /// Whether SYNs of flows that a target leaves unanswered hasten its next check.
    pub has_passive_signal: bool,
    /// Whether connections begin with a PROXY header; `None`: where those of the group's clients do, at the target's own port.
    pub has_proxy_header: Option<bool>,
}

/// What is asked of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckProtocol {
    /// `TCP`: that it completes a handshake.
    Tcp,
    /// `HTTP` or, with TLS, `HTTPS`.
    Http {
        /// Path and query.
        path: String,
        /// Codes of success.
        matcher: Matcher,
        /// TLS of `HTTPS`.
        tls: Option<TlsProbe>,
    },
    /// The gRPC health protocol.
    Grpc {
        /// Service to ask for; empty: the server as a whole.
        service: String,
        /// TLS, if the target wants it.
        tls: Option<TlsProbe>,
    },
    /// A datagram.
    Udp(UdpProbe),
}

impl CheckProtocol {
    /// What the checks ask that name this host to the target.
    pub fn probe(&self, host: &str) -> Probe {
        let host = host.to_owned();
        match self.clone() {
            CheckProtocol::Tcp => Probe::Tcp,
            CheckProtocol::Http { path, matcher, tls } => Probe::Http(HttpProbe { host, path, matcher, tls }),
            CheckProtocol::Grpc { service, tls } => Probe::Grpc(GrpcProbe { host, service, tls }),
            CheckProtocol::Udp(probe) => Probe::Udp(probe),
        }
    }

    /// Timeout of checks that state none (NLB).
    fn timeout(&self) -> Duration {
        match self {
            CheckProtocol::Http { tls: None, .. } => HTTP_TIMEOUT,
            _ => TIMEOUT,
        }
    }
}

impl Default for HealthCheck {
    fn default() -> HealthCheck {
        HealthCheck {
            protocol: CheckProtocol::Tcp,
            port: None,
            interval: INTERVAL,
            timeout: TIMEOUT,
            healthy_threshold: HEALTHY_THRESHOLD,
            unhealthy_threshold: UNHEALTHY_THRESHOLD,
            has_passive_signal: true,
            has_proxy_header: None,
        }
    }
}

pub(super) fn read(group: &Section<'_>) -> Option<HealthCheck> {
    let Some(section) = group.optional_section("health_check")? else {
        return Some(HealthCheck::default());
    };
    section.allow_only(&KEYS);
    let protocol = protocol(&section);
    let port = port(&section);
    let interval = interval(&section);
    let timeout = timeout(&section, protocol.as_ref(), interval);
    let healthy_threshold = threshold(&section, "healthy_threshold", HEALTHY_THRESHOLD);
    let unhealthy_threshold = threshold(&section, "unhealthy_threshold", UNHEALTHY_THRESHOLD);
    let has_passive_signal = section.optional("passive").map_or(Some(true), |value| value.boolean());
    let has_proxy_header = proxy_header(&section, protocol.as_ref());
    Some(HealthCheck {
        protocol: protocol?,
        port: port?,
        interval: interval?,
        timeout: timeout?,
        healthy_threshold: healthy_threshold?,
        unhealthy_threshold: unhealthy_threshold?,
        has_passive_signal: has_passive_signal?,
        has_proxy_header: has_proxy_header?,
    })
}

/// Key `protocol`, or one of ours in place of it: `grpc` or `udp`.
fn protocol(section: &Section<'_>) -> Option<CheckProtocol> {
    match ["protocol", "grpc", "udp"].map(|key| section.optional(key)) {
        [None, None, None] => tcp(section),
        [Some(value), None, None] => named(&value, section),
        [None, Some(value), None] => grpc(&value.section()?, section),
        [None, None, Some(value)] => {
            forbid(section, &HTTP_ALONE)?;
            forbid(section, &TLS_ALONE)?;
            udp(&value.section()?).map(CheckProtocol::Udp)
        }
        [_, Some(value), _] | [_, _, Some(value)] => value.refuse("one of protocol, grpc and udp"),
    }
}

fn named(value: &Value<'_>, section: &Section<'_>) -> Option<CheckProtocol> {
    match value.as_text() {
        Some("TCP") => tcp(section),
        Some("HTTP") => {
            forbid(section, &TLS_ALONE)?;
            http(section, None)
        }
        Some("HTTPS") => {
            let tls = tls(section)?;
            http(section, Some(tls))
        }
        Some("UDP") => value.refuse_with_advice(NAMES, "to check by UDP, write udp = {} instead"),
        Some("GRPC") => value.refuse_with_advice(NAMES, "to check by gRPC, write grpc = {} instead"),
        _ => value.refuse(NAMES),
    }
}

fn tcp(section: &Section<'_>) -> Option<CheckProtocol> {
    forbid(section, &HTTP_ALONE)?;
    forbid(section, &TLS_ALONE)?;
    Some(CheckProtocol::Tcp)
}

fn http(section: &Section<'_>, tls: Option<TlsProbe>) -> Option<CheckProtocol> {
    let path = match section.optional("path") {
        Some(value) => visible(&value, PATH_CHARACTERS, PATH_EXPECTED)
            .and_then(|path| if path.starts_with('/') { Some(path) } else { value.refuse(PATH_EXPECTED) }),
        None => Some("/".into()),
    };
    let matcher = match section.optional("matcher") {
        Some(value) => {
            let matcher = Matcher::parse(value.text(MATCHER_EXPECTED)?).ok();
            if matcher.is_none() { value.refuse(MATCHER_EXPECTED) } else { matcher }
        }
        None => Some(Matcher::default()),
    };
    Some(CheckProtocol::Http { path: path?, matcher: matcher?, tls })
}

/// `{ service, tls }`.
fn grpc(own: &Section<'_>, section: &Section<'_>) -> Option<CheckProtocol> {
    own.allow_only(&["service", "tls"]);
    forbid(section, &HTTP_ALONE)?;
    let service = match own.optional("service") {
        Some(value) => visible(&value, 0..=SERVICE_CHARACTERS, SERVICE_EXPECTED),
        None => Some(String::new()),
    };
    let tls = match own.optional("tls").map(|value| value.boolean()) {
        Some(None) => None,
        Some(Some(true)) => tls(section).map(Some),
        None | Some(Some(false)) => forbid(section, &TLS_ALONE).map(|()| None),
    };
    Some(CheckProtocol::Grpc { service: service?, tls: tls? })
}

/// `{ send, expect }`.
fn udp(own: &Section<'_>) -> Option<UdpProbe> {
    own.allow_only(&["send", "expect"]);
    let bytes = |key| match own.optional(key) {
        Some(value) => match value.text(UDP_EXPECTED)? {
            text if text.len() <= UDP_BYTES => Some(Some(text.as_bytes().to_vec())),
            _ => value.refuse(UDP_EXPECTED),
        },
        None => Some(None),
    };
    let (send, expect) = (bytes("send"), bytes("expect"));
    Some(UdpProbe { send: send?.unwrap_or_default(), expect: expect? })
}

/// `{ validate, server_name, ca_file }` under the key `tls`.
fn tls(section: &Section<'_>) -> Option<TlsProbe> {
    let Some(section) = section.optional_section("tls")? else {
        return Some(TlsProbe { server_name: None, validate: Validation::Off });
    };
    section.allow_only(&["validate", "server_name", "ca_file"]);
    let server_name = match section.optional("server_name") {
        Some(value) => server_name(&value).map(Some),
        None => Some(None),
    };
    let is_validating = section.optional("validate").map_or(Some(false), |value| value.boolean());
    let validate = match (is_validating?, section.optional("ca_file")) {
        (false, Some(value)) => value.refuse("validate = true beside it"),
        (false, None) => Some(Validation::Off),
        (true, None) => Some(Validation::SystemRoots),
        (true, Some(value)) => authorities(&value).map(Validation::Roots),
    };
    Some(TlsProbe { server_name: server_name?, validate: validate? })
}

fn server_name(value: &Value<'_>) -> Option<String> {
    let expected = "the name of a host, such as \"www.example.com\"";
    let name = value.text(expected)?;
    match ServerName::try_from(name) {
        Ok(_) => Some(name.into()),
        Err(_) => value.refuse(expected),
    }
}

fn authorities(value: &Value<'_>) -> Option<Roots> {
    let expected = "the absolute path of a file of PEM certificates, at most 1 MiB";
    let path = value.text(expected)?;
    if !path.starts_with('/') {
        return value.refuse(expected);
    }
    let roots = contents(path).and_then(|pem| Roots::parse(&pem));
    roots.map_err(|error| value.errors().report(&value.place, format!("{path:?} ({error})"), expected)).ok()
}

/// What a regular file holds that is neither too long nor of no length, as the kernel's own are, whose end may never come.
fn contents(path: &str) -> std::io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() || !(1..=CA_FILE_BYTES).contains(&metadata.len()) {
        return Err(std::io::Error::other("not a file of that size"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(CA_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Refuses keys that belong to other protocols, each with the advice.
fn forbid(section: &Section<'_>, (keys, advice): &(&[&str], &str)) -> Option<()> {
    let found: Vec<Value<'_>> = keys.iter().filter_map(|key| section.optional(key)).collect();
    for value in &found {
        value.refuse_with_advice::<()>("no such key", advice);
    }
    found.is_empty().then_some(())
}

/// Text of visible ASCII characters.
fn visible(value: &Value<'_>, characters: RangeInclusive<usize>, expected: &str) -> Option<String> {
    let text = value.text(expected)?;
    let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_visible && characters.contains(&text.len()) { Some(text.into()) } else { value.refuse(expected) }
}

fn port(section: &Section<'_>) -> Option<Option<u16>> {
    match section.optional("port") {
        None => Some(None),
        Some(value) => match value.as_text() {
            Some("traffic-port") => Some(None),
            // As text, too, as NLB's API has it.
            Some(text) => match text.parse().ok().filter(|port| *port > 0) {
                Some(port) => Some(Some(port)),
                None => value.refuse(format!("\"traffic-port\" or {}", integer_expected(&PORT))),
            },
            None => value.integer(PORT).map(Some),
        },
    }
}

fn interval(section: &Section<'_>) -> Option<Duration> {
    let given =
        given(section, [("interval_seconds", INTERVAL_SECONDS), ("fast_interval_ms", FAST_INTERVAL_MS)])?;
    Some(given.map_or(INTERVAL, |(interval, _)| interval))
}

fn timeout(
    section: &Section<'_>,
    protocol: Option<&CheckProtocol>,
    interval: Option<Duration>,
) -> Option<Duration> {
    let given = given(section, [("timeout_seconds", TIMEOUT_SECONDS), ("fast_timeout_ms", FAST_TIMEOUT_MS)])?;
    let interval = interval?;
    match given {
        None => Some(protocol?.timeout().min(interval)),
        Some((timeout, _)) if timeout <= interval => Some(timeout),
        Some((_, value)) => value.refuse(format!("at most the interval, which is {interval:?}")),
    }
}

/// A duration given in seconds, or finer in milliseconds, but not both; and where.
fn given<'t>(
    section: &Section<'t>,
    [(seconds_key, seconds), (ms_key, ms)]: [(&str, RangeInclusive<i64>); 2],
) -> Option<Option<(Duration, Value<'t>)>> {
    match (section.optional(seconds_key), section.optional(ms_key)) {
        (None, None) => Some(None),
        (Some(value), None) => Some(Some((Duration::from_secs(value.integer(seconds)?), value))),
        (None, Some(value)) => Some(Some((Duration::from_millis(value.integer(ms)?), value))),
        (Some(_), Some(value)) => value.refuse(format!("{seconds_key} or {ms_key}, not both")),
    }
}

fn proxy_header(section: &Section<'_>, protocol: Option<&CheckProtocol>) -> Option<Option<bool>> {
    match section.optional("proxy_header") {
        None => Some(None),
        Some(value) if matches!(protocol, Some(CheckProtocol::Udp(_))) => {
            value.refuse_with_advice("no such key", "it belongs to checks that connect")
        }
        Some(value) => value.boolean().map(Some),
    }
}

fn threshold(section: &Section<'_>, key: &str, default: u8) -> Option<u8> {
    match section.optional(key) {
        Some(value) => value.integer(THRESHOLD),
        None => Some(default),
    }
}

/// Every key of a health check.
pub(crate) const KEYS: [&str; 15] = [
    "protocol",
    "grpc",
    "udp",
    "port",
    "path",
    "matcher",
    "tls",
    "interval_seconds",
    "fast_interval_ms",
    "timeout_seconds",
    "fast_timeout_ms",
    "healthy_threshold",
    "unhealthy_threshold",
    "passive",
    "proxy_header",
];

/// Keys of one kind of check alone, and what to say of them elsewhere.
const HTTP_ALONE: (&[&str], &str) = (&["path", "matcher"], "it belongs to HTTP and HTTPS checks");
const TLS_ALONE: (&[&str], &str) =
    (&["tls"], "it belongs to HTTPS checks, and to gRPC ones with grpc.tls = true");

const INTERVAL: Duration = Duration::from_secs(30);
const INTERVAL_SECONDS: RangeInclusive<i64> = 5..=300;
const FAST_INTERVAL_MS: RangeInclusive<i64> = 1_000..=5_000;
const TIMEOUT: Duration = Duration::from_secs(10);
const HTTP_TIMEOUT: Duration = Duration::from_secs(6);
const TIMEOUT_SECONDS: RangeInclusive<i64> = 2..=120;
const FAST_TIMEOUT_MS: RangeInclusive<i64> = 200..=5_000;
const THRESHOLD: RangeInclusive<i64> = 2..=10;
const HEALTHY_THRESHOLD: u8 = 5;
const UNHEALTHY_THRESHOLD: u8 = 2;

const NAMES: &str = "one of \"TCP\", \"HTTP\", \"HTTPS\"";
const PATH_CHARACTERS: RangeInclusive<usize> = 1..=1_024;
const PATH_EXPECTED: &str = "a path of 1 to 1024 visible ASCII characters that begins with \"/\"";
const MATCHER_EXPECTED: &str = "codes from 200 to 599, such as \"200\", \"200,202\" or \"200-299,404\"";
const SERVICE_CHARACTERS: usize = 256;
const SERVICE_EXPECTED: &str =
    "a service of at most 256 visible ASCII characters, or \"\" for the server as a whole";
const UDP_BYTES: usize = 512;
const UDP_EXPECTED: &str = "text of at most 512 bytes";
const CA_FILE_BYTES: u64 = 1 << 20;
