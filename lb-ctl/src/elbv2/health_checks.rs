//! Health checks of target groups: the API's parameters as keys of the configuration, and back.

use serde_json::{Map, Value};

use super::{fault::Fault, form::Parameters, xml::Element};

/// The keys that a request sets. Ranges and what goes with what are for the configuration's rules to see.
pub(super) fn read(parameters: &Parameters<'_>) -> Result<Map<String, Value>, Fault> {
    if parameters.boolean("HealthCheckEnabled")? == Some(false) {
        return Err(Fault::configuration(
            "Health checks cannot be disabled for targets of type 'instance' or 'ip'",
        ));
    }
    let mut keys = Map::new();
    if let Some(protocol) = parameters.choice("HealthCheckProtocol", &PROTOCOLS)? {
        let protocol = protocol.ok_or_else(|| {
            let found = parameters.text("HealthCheckProtocol").unwrap_or_default();
            Fault::configuration(format!("Health check protocol '{found}' must be one of 'TCP, HTTP, HTTPS'"))
        })?;
        keys.insert("protocol".into(), protocol.into());
    }
    let numbers = [
        ("HealthCheckIntervalSeconds", "interval_seconds", INTERVAL_SECONDS),
        ("HealthCheckTimeoutSeconds", "timeout_seconds", TIMEOUT_SECONDS),
        ("HealthyThresholdCount", "healthy_threshold", THRESHOLD),
        ("UnhealthyThresholdCount", "unhealthy_threshold", THRESHOLD),
    ];
    for (name, key, (first, last)) in numbers {
        if let Some(number) = parameters.number(name, first..=last)? {
            keys.insert(key.into(), number.into());
        }
    }
    for (name, key) in [("HealthCheckPort", "port"), ("HealthCheckPath", "path")] {
        if let Some(text) = parameters.text(name) {
            keys.insert(key.into(), text.into());
        }
    }
    let matcher = parameters.structure("Matcher");
    matcher.allow_only(&["HttpCode", "GrpcCode"])?;
    if matcher.has("GrpcCode") {
        return Err(Fault::configuration("GrpcCode is for target groups of application load balancers"));
    }
    if let Some(codes) = matcher.text("HttpCode") {
        keys.insert("matcher".into(), codes.into());
    }
    Ok(keys)
}

/// Adds the members of a target group that tell of its health check, defaults included (NLB "Health check settings").
pub(super) fn add_to(group: Element, keys: &Map<String, Value>) -> Element {
    let protocol = protocol(keys);
    let number = |key| keys.get(key).and_then(Value::as_u64);
    let interval = seconds(keys, ["interval_seconds", "fast_interval_ms"]).unwrap_or(INTERVAL_DEFAULT);
    let timeout_default = if protocol == "HTTP" { HTTP_TIMEOUT_DEFAULT } else { TIMEOUT_DEFAULT };
    let timeout =
        seconds(keys, ["timeout_seconds", "fast_timeout_ms"]).unwrap_or(timeout_default.min(interval));
    // What is finer than the API can say is told as its least.
    let group = group
        .with_text("HealthCheckProtocol", protocol)
        .with_text("HealthCheckPort", port(keys))
        .with_text("HealthCheckEnabled", true)
        .with_text("HealthCheckIntervalSeconds", interval.max(INTERVAL_SECONDS.0))
        .with_text("HealthCheckTimeoutSeconds", timeout.max(TIMEOUT_SECONDS.0))
        .with_text("HealthyThresholdCount", number("healthy_threshold").unwrap_or(HEALTHY_THRESHOLD_DEFAULT))
        .with_text(
            "UnhealthyThresholdCount",
            number("unhealthy_threshold").unwrap_or(UNHEALTHY_THRESHOLD_DEFAULT),
        );
    if keys.contains_key("grpc") {
        return group.with(Element::new("Matcher").with_text("GrpcCode", 0));
    }
    if !protocol.starts_with("HTTP") {
        return group;
    }
    let text = |key, default| keys.get(key).and_then(Value::as_str).unwrap_or(default).to_owned();
    group
        .with_text("HealthCheckPath", text("path", "/"))
        .with(Element::new("Matcher").with_text("HttpCode", text("matcher", MATCHER_DEFAULT)))
}

/// The port that is checked: a number, or `traffic-port`.
pub(super) fn port(keys: &Map<String, Value>) -> String {
    match keys.get("port") {
        Some(Value::String(port)) => port.clone(),
        Some(Value::Number(port)) => port.to_string(),
        _ => TRAFFIC_PORT.into(),
    }
}

/// Checks by gRPC go by HTTP.
fn protocol(keys: &Map<String, Value>) -> &str {
    match keys.get("protocol").and_then(Value::as_str) {
        Some(protocol) => protocol,
        None if keys.contains_key("grpc") => "HTTP",
        None if keys.contains_key("udp") => "UDP",
        None => "TCP",
    }
}

/// A duration by its key in seconds, or by that in milliseconds, rounded up.
fn seconds(keys: &Map<String, Value>, [seconds, ms]: [&str; 2]) -> Option<u64> {
    let number = |key: &str| keys.get(key).and_then(Value::as_u64);
    number(seconds).or_else(|| number(ms).map(|ms| ms.div_ceil(1_000)))
}

pub(super) const TRAFFIC_PORT: &str = "traffic-port";

const PROTOCOLS: [(&str, Option<&str>); 9] = [
    ("TCP", Some("TCP")),
    ("HTTP", Some("HTTP")),
    ("HTTPS", Some("HTTPS")),
    ("TLS", None),
    ("UDP", None),
    ("TCP_UDP", None),
    ("GENEVE", None),
    ("QUIC", None),
    ("TCP_QUIC", None),
];

const INTERVAL_SECONDS: (u64, u64) = (5, 300);
const TIMEOUT_SECONDS: (u64, u64) = (2, 120);
const THRESHOLD: (u64, u64) = (2, 10);
const INTERVAL_DEFAULT: u64 = 30;
const TIMEOUT_DEFAULT: u64 = 10;
const HTTP_TIMEOUT_DEFAULT: u64 = 6;
const HEALTHY_THRESHOLD_DEFAULT: u64 = 5;
const UNHEALTHY_THRESHOLD_DEFAULT: u64 = 2;
const MATCHER_DEFAULT: &str = "200-399";
