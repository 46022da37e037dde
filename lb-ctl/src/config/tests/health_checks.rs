//! Health checks: the kinds, their keys, defaults and ranges.

use super::*;
use crate::health::{Matcher, Roots, TlsProbe, UdpProbe, Validation};

fn checked(keys: &str) -> String {
    format!("{BASE}[target_groups.health_check]\n{keys}\n")
}

fn check(keys: &str) -> HealthCheck {
    parse(&checked(keys), "f").unwrap().target_groups.remove(0).health_check
}

#[test]
fn defaults_are_nlbs() {
    for (keys, interval, timeout) in [
        ("", 30, 10),
        ("protocol = \"TCP\"", 30, 10),
        ("protocol = \"HTTP\"", 30, 6),
        ("protocol = \"HTTPS\"", 30, 10),
        ("grpc = {}", 30, 10),
        ("udp = {}", 30, 10),
        ("interval_seconds = 5", 5, 5),
        ("fast_interval_ms = 1000\nprotocol = \"HTTP\"", 1, 1),
    ] {
        let check = check(keys);
        assert_eq!((check.interval.as_secs(), check.timeout.as_secs()), (interval, timeout), "{keys}");
        assert_eq!((check.healthy_threshold, check.unhealthy_threshold), (5, 2));
        assert!(check.has_passive_signal && check.port.is_none() && check.has_proxy_header.is_none());
    }
    assert_eq!(check(""), HealthCheck::default());
    let check = check("port = 81\npassive = false\nproxy_header = true");
    assert!(!check.has_passive_signal && check.port == Some(81) && check.has_proxy_header == Some(true));
}

#[test]
fn each_kind_of_check_has_its_keys() {
    let off = || Some(TlsProbe { server_name: None, validate: Validation::Off });
    let http = |path: &str, matcher: &str, tls| CheckProtocol::Http {
        path: path.into(),
        matcher: Matcher::parse(matcher).unwrap(),
        tls,
    };
    let udp = |send: &str, expect: Option<&str>| {
        CheckProtocol::Udp(UdpProbe { send: send.into(), expect: expect.map(Into::into) })
    };
    for (keys, protocol) in [
        ("protocol = \"TCP\"", CheckProtocol::Tcp),
        ("protocol = \"HTTP\"", http("/", "200-399", None)),
        (
            "protocol = \"HTTP\"\npath = \"/up?a=b\"\nmatcher = \"200-299,404\"",
            http("/up?a=b", "200-299,404", None),
        ),
        ("protocol = \"HTTPS\"", http("/", "200-399", off())),
        (
            "protocol = \"HTTPS\"\ntls = { validate = true, server_name = \"www.example.com\" }",
            http(
                "/",
                "200-399",
                Some(TlsProbe {
                    server_name: Some("www.example.com".into()),
                    validate: Validation::SystemRoots,
                }),
            ),
        ),
        ("grpc = {}", CheckProtocol::Grpc { service: String::new(), tls: None }),
        (
            "grpc = { service = \"shop.Cart\", tls = true }",
            CheckProtocol::Grpc { service: "shop.Cart".into(), tls: off() },
        ),
        ("udp = {}", udp("", None)),
        ("udp = { send = \"ping\", expect = \"pong\" }", udp("ping", Some("pong"))),
    ] {
        assert_eq!(check(keys).protocol, protocol, "{keys}");
    }
}

#[test]
fn authorities_come_from_a_file_of_certificates() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let certificate = rcgen::generate_simple_self_signed(["www.example.com".into()]).unwrap().cert.pem();
    std::fs::write(file.path(), &certificate).unwrap();
    let keys = |path: &Path| {
        format!("protocol = \"HTTPS\"\ntls = {{ validate = true, ca_file = \"{}\" }}", path.display())
    };
    let CheckProtocol::Http { tls: Some(tls), .. } = check(&keys(file.path())).protocol else { panic!() };
    assert_eq!(tls.validate, Validation::Roots(Roots::parse(certificate.as_bytes()).unwrap()));
    let place = "23: target_groups[0].health_check.tls.ca_file: found";
    let expected = "expected the absolute path of a file of PEM certificates, at most 1 MiB";
    std::fs::write(file.path(), "nothing").unwrap();
    for (path, found) in [
        (Path::new("/nonexistent.pem"), "No such file or directory (os error 2)"),
        (Path::new("/dev/zero"), "not a file of that size"),
        (Path::new("/proc/kmsg"), "not a file of that size"),
        (file.path(), "no PEM certificate in it, expected at least one"),
    ] {
        assert_errors(&checked(&keys(path)), &[&format!("{place} {path:?} ({found}), {expected}")]);
    }
}

/// Keys of the section, the key that is refused, and how.
const REFUSED: &[(&str, &str, &str)] = &[
    ("protocol = \"HTPS\"", "protocol", "\"HTPS\", expected one of \"TCP\", \"HTTP\", \"HTTPS\""),
    (
        "protocol = \"UDP\"",
        "protocol",
        "\"UDP\", expected one of \"TCP\", \"HTTP\", \"HTTPS\"; to check by UDP, write udp = {} instead",
    ),
    ("grpc = {}\nprotocol = \"HTTP\"", "grpc", "a table, expected one of protocol, grpc and udp"),
    ("udp = {}\nprotocol = \"TCP\"", "udp", "a table, expected one of protocol, grpc and udp"),
    ("path = \"/\"", "path", "\"/\", expected no such key; it belongs to HTTP and HTTPS checks"),
    (
        "matcher = \"200\"\ngrpc = {}",
        "matcher",
        "\"200\", expected no such key; it belongs to HTTP and HTTPS checks",
    ),
    (
        "tls = {}\nprotocol = \"HTTP\"",
        "tls",
        "a table, expected no such key; it belongs to HTTPS checks, and to gRPC ones with grpc.tls = true",
    ),
    (
        "path = \"up\"\nprotocol = \"HTTP\"",
        "path",
        "\"up\", expected a path of 1 to 1024 visible ASCII characters that begins with \"/\"",
    ),
    (
        "path = \"/a b\"\nprotocol = \"HTTP\"",
        "path",
        "\"/a b\", expected a path of 1 to 1024 visible ASCII characters that begins with \"/\"",
    ),
    (
        "matcher = \"100-299\"\nprotocol = \"HTTP\"",
        "matcher",
        "\"100-299\", expected codes from 200 to 599, such as \"200\", \"200,202\" or \"200-299,404\"",
    ),
    (
        "grpc.service = \"a b\"",
        "grpc.service",
        "\"a b\", expected a service of at most 256 visible ASCII characters, or \"\" for the server as a whole",
    ),
    ("udp.send = 1", "udp.send", "1, expected text of at most 512 bytes"),
    (
        "tls.server_name = \"a b\"\nprotocol = \"HTTPS\"",
        "tls.server_name",
        "\"a b\", expected the name of a host, such as \"www.example.com\"",
    ),
    (
        "tls.ca_file = \"/ca.pem\"\nprotocol = \"HTTPS\"",
        "tls.ca_file",
        "\"/ca.pem\", expected validate = true beside it",
    ),
    ("port = \"80800\"", "port", "\"80800\", expected \"traffic-port\" or an integer from 1 to 65535"),
    ("interval_seconds = 4", "interval_seconds", "4, expected an integer from 5 to 300"),
    (
        "fast_interval_ms = 1000\ninterval_seconds = 5",
        "fast_interval_ms",
        "1000, expected interval_seconds or fast_interval_ms, not both",
    ),
    ("fast_interval_ms = 999", "fast_interval_ms", "999, expected an integer from 1000 to 5000"),
    ("timeout_seconds = 121", "timeout_seconds", "121, expected an integer from 2 to 120"),
    ("timeout_seconds = 31", "timeout_seconds", "31, expected at most the interval, which is 30s"),
    (
        "fast_timeout_ms = 1501\nfast_interval_ms = 1500",
        "fast_timeout_ms",
        "1501, expected at most the interval, which is 1.5s",
    ),
    ("healthy_threshold = 1", "healthy_threshold", "1, expected an integer from 2 to 10"),
    ("unhealthy_threshold = 11", "unhealthy_threshold", "11, expected an integer from 2 to 10"),
    ("passive = 1", "passive", "1, expected true or false"),
    ("proxy_header = \"auto\"", "proxy_header", "\"auto\", expected true or false"),
    (
        "proxy_header = true\nudp = {}",
        "proxy_header",
        "true, expected no such key; it belongs to checks that connect",
    ),
];

#[test]
fn keys_of_other_kinds_and_values_out_of_range_are_refused() {
    for (keys, key, refusal) in REFUSED {
        let expected = format!("22: target_groups[0].health_check.{key}: found {refusal}");
        assert_errors(&checked(keys), &[&expected]);
    }
    let long = format!("udp.expect = \"{}\"", "a".repeat(513));
    assert!(
        parse(&checked(&long), "f").unwrap_err().to_string().ends_with("expected text of at most 512 bytes")
    );
    check(&format!("udp.expect = \"{}\"", "a".repeat(512)));
}
