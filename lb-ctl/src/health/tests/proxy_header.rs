//! PROXY headers at the start of checks.

use std::io::{self, Read, Write};

use lb_core::wire::proxy::Header;
use rustls::{ServerConnection, StreamOwned, version::TLS13};

use super::{
    servers::{request, serve},
    tls::identity,
    *,
};

/// What `verdict` says of a target that wants a header first.
fn verdict_after_header(probe: Probe, endpoint: SocketAddr) -> TargetHealth {
    let (health, transitions) = start();
    let patience = Duration::from_secs(10);
    let check = Check {
        opening: Opening::ProxyHeader,
        probe: Arc::new(probe),
        timeout: patience,
        interval: Duration::from_secs(2),
        ..check(endpoint)
    };
    health.set(vec![check]);
    loop {
        let Transition { to, .. } = transitions.recv_timeout(Duration::from_secs(60)).unwrap();
        if to != TargetHealth::InitialHealthChecking {
            return to;
        }
    }
}

/// Reads the header of a connection that is no client's, and nothing behind it.
fn read_header(stream: &mut impl Read) -> io::Result<()> {
    let expected = Header::local();
    let mut bytes = vec![0; expected.bytes().len()];
    stream.read_exact(&mut bytes)?;
    if bytes == expected.bytes() { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

#[test]
fn a_tcp_check_sends_a_header_and_closes_in_peace() {
    let (sender, ends) = mpsc::channel();
    let endpoint = serve(move |mut stream| {
        let end = read_header(&mut stream).and_then(|()| stream.read_to_end(&mut Vec::new()));
        let _ = sender.send(end.map_err(|error| error.kind())); // One is looked at.
    });
    assert_eq!(verdict_after_header(Probe::Tcp, endpoint), TargetHealth::Healthy);
    // A check that an absence of ours has cut off is begun again.
    assert!((0..3).any(|_| ends.recv_timeout(Duration::from_secs(30)).unwrap() == Ok(0)));
}

#[test]
fn an_http_request_comes_behind_it() {
    let endpoint = serve(|mut stream| {
        if read_header(&mut stream).is_ok() {
            request(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        }
    });
    assert_eq!(verdict_after_header(http(None), endpoint), TargetHealth::Healthy);
}

#[test]
fn tls_begins_behind_it() {
    let config = Arc::new(identity(&[&TLS13]).0);
    let endpoint = serve(move |mut stream| {
        if read_header(&mut stream).is_ok() {
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
            request(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        }
    });
    let tls = TlsProbe { server_name: None, validate: Validation::Off };
    assert_eq!(verdict_after_header(http(Some(tls)), endpoint), TargetHealth::Healthy);
}

#[test]
fn by_default_the_traffic_port_alone_gets_one() {
    for (attributes, check, expected) in [
        ("", "", [Opening::Plain; 2]),
        ("proxy_protocol_v2.enabled = true", "", [Opening::ProxyHeader; 2]),
        ("proxy_protocol_v2.enabled = true", "port = 81", [Opening::Plain, Opening::ProxyHeader]),
        ("proxy_protocol_v2.enabled = true", "port = 81\nproxy_header = true", [Opening::ProxyHeader; 2]),
        ("proxy_protocol_v2.enabled = true", "proxy_header = false", [Opening::Plain; 2]),
        ("", "proxy_header = true", [Opening::ProxyHeader; 2]),
    ] {
        let file = format!(
            "interfaces = [\"eth0\"]\n[[load_balancers]]\nname = \"a\"\naddresses = [\"198.18.0.1\"]\n\
             [[load_balancers.listeners]]\nprotocol = \"TCP\"\nport = 80\ntarget_group = \"web\"\n\
             [[target_groups]]\nname = \"web\"\nprotocol = \"TCP\"\nport = 80\n\
             targets = [{{ address = \"198.19.0.1\" }}, {{ address = \"198.19.0.2\", port = 81 }}]\n\
             [target_groups.attributes]\n{attributes}\n[target_groups.health_check]\n{check}\n"
        );
        let checks = checks(&config::parse(&file, "f").unwrap(), &BTreeSet::new());
        let openings: Vec<Opening> = checks.iter().map(|check| check.opening).collect();
        assert_eq!(openings, expected, "{attributes} {check}");
    }
}

fn http(tls: Option<TlsProbe>) -> Probe {
    let (host, path, matcher) = ("198.18.0.1:80".into(), "/".into(), Matcher::default());
    Probe::Http(HttpProbe { host, path, matcher, tls })
}
