//! Real ingress proxies behind the load balancer: nginx and HAProxy route by host and path, and know their clients, because the load
//! balancer keeps clients' addresses or because it tells them by PROXY headers.

mod forger;
mod greeter;
mod proxies;

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use lb_core::{tables::Protocol, wire::proxy::Header};
use lbd::testbed::{
    namespace::Namespace,
    network::{Family, Layout, Offload, Plan},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{ClientAddress, Config, Service},
    harness::{PATIENCE, Rig, vip_of, wait_until},
    web::{WebServers, output_of},
};
use greeter::Greeter;
use proxies::{Proxies, Proxy};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("ingress::clients_are_known_by_preservation", known_by_preservation),
    ("ingress::clients_are_known_by_proxy_headers", known_by_proxy_headers),
    ("ingress::a_mebibyte_both_ways_under_loss", a_mebibyte_under_loss),
    ("ingress::a_connections_header_is_nlbs", header_is_nlbs),
    ("ingress::a_header_that_a_client_forges_stays_behind_ours", forged_stays_behind),
    ("ingress::a_server_that_speaks_first_gets_its_header_at_the_first_ack", speaks_first),
    ("ingress::a_server_that_speaks_first_waits_for_payload_by_default", waits_for_payload),
];

fn known_by_preservation() -> Result<(), Failed> {
    let (rig, proxies) = serve(&[NGINX, HAPROXY])?;
    for (service, proxy) in [(NGINX, Proxy::Nginx), (HAPROXY, Proxy::Haproxy)] {
        routes_and_logs(&rig, &proxies, proxy, (&service, Family::V4))?;
    }
    rig.finish().map(drop)
}

fn known_by_proxy_headers() -> Result<(), Failed> {
    let (rig, proxies) = serve(&[NGINX_TOLD, HAPROXY_TOLD, NGINX_TOLD_V6, HAPROXY_TOLD_V6])?;
    for family in Family::BOTH {
        for (service, proxy) in [
            (NGINX_TOLD, Proxy::NginxTold),
            (HAPROXY_TOLD, Proxy::HaproxyTold),
            (NGINX_TOLD_V6, Proxy::NginxTold),
            (HAPROXY_TOLD_V6, Proxy::HaproxyTold),
        ] {
            routes_and_logs(&rig, &proxies, proxy, (&service, family))?;
        }
    }
    rig.finish().map(drop)
}

/// By host and by path to either backend; the access log tells the client's own address of all three requests.
fn routes_and_logs(
    rig: &Rig,
    proxies: &Proxies,
    proxy: Proxy,
    (service, family): (&Service, Family),
) -> Result<(), Failed> {
    let vip = vip_of(family, service);
    for (host, path, backend) in
        [("blue.test", "/", "blue"), ("blue.test", "/green/", "green"), ("green.test", "/", "green")]
    {
        let mut curl = rig.network.client.command(Path::new("curl"));
        curl.args(["-g", "-sSf", "--max-time", "60", "-H", &format!("Host: {host}")]);
        assert_eq!(
            output_of(curl.arg(format!("http://{vip}{path}")))?.trim(),
            backend,
            "{vip} {host} {path}"
        );
    }
    let visitors = proxies.take_visitors(proxy, 3)?;
    assert_eq!(visitors, [family.client(); 3], "{} at {vip}", service.name);
    Ok(())
}

fn a_mebibyte_under_loss() -> Result<(), Failed> {
    let services = [NGINX, NGINX_TOLD, HAPROXY_TOLD, NGINX_TOLD_V6, HAPROXY_TOLD_V6];
    let (rig, proxies) = serve(&services)?;
    let files = WebServers::of_others(proxies.blue());
    files.make_noise(1 << 20)?;
    make_lossy(&rig)?;
    for service in services {
        for family in
            Family::BOTH.into_iter().filter(|family| service.name != NGINX.name || *family == Family::V4)
        {
            files.download(&rig.network.client, vip_of(family, &service))?;
            files.upload(&rig.network.client, vip_of(family, &service))?;
        }
    }
    rig.finish().map(drop)
}

fn header_is_nlbs() -> Result<(), Failed> {
    let (rig, greeter) = serve_greeter(&[GREETER, GREETER_PRESERVED, GREETER_BY_DEFAULT])?;
    for family in Family::BOTH {
        for service in [GREETER, GREETER_PRESERVED, GREETER_BY_DEFAULT] {
            let vip = vip_of(family, &service);
            let mut stream = connect(&rig.network.client, vip)?;
            stream.write_all(b"ready\n")?;
            let client = stream.local_addr()?;
            assert_eq!(lines(&stream, 2)?, [format!("hello {}", client.ip()), "ready".into()]);
            let expected = Header::proxied(Protocol::Tcp, parts(client), parts(vip));
            assert_eq!(greeter.header_of(client)?, expected.bytes(), "{} at {vip}", service.name);
        }
    }
    rig.finish().map(drop)
}

/// The server's kernel cuts off what it has had (RFC 9293 section 3.10.7.4), which would leave the forged header in front.
fn forged_stays_behind() -> Result<(), Failed> {
    let (rig, greeter) =
        serve_greeter(&[GREETER, GREETER_PRESERVED, GREETER_BY_DEFAULT, PRESERVED_BY_DEFAULT])?;
    for service in [GREETER, GREETER_PRESERVED, GREETER_BY_DEFAULT, PRESERVED_BY_DEFAULT] {
        let vip = vip_of(Family::V4, &service);
        let stream = forger::forge(&rig.network.client, vip)?;
        let client = stream.local_addr()?;
        wait_until("a header", || Ok(greeter.header_of(client).is_ok()))?;
        let expected = Header::proxied(Protocol::Tcp, parts(client), parts(vip));
        assert_eq!(greeter.header_of(client)?, expected.bytes(), "{}", service.name);
        assert!(greeter.header_of(forger::VICTIM.into()).is_err(), "{}", service.name);
    }
    rig.finish().map(drop)
}

/// The client says nothing before it has read the greeting, over a network that loses packets.
fn speaks_first() -> Result<(), Failed> {
    let (rig, _greeter) = serve_greeter(&[GREETER, GREETER_PRESERVED])?;
    make_lossy(&rig)?;
    for _ in 0..20 {
        for service in [GREETER, GREETER_PRESERVED] {
            for family in Family::BOTH {
                let mut stream = connect(&rig.network.client, vip_of(family, &service))?;
                assert_eq!(lines(&stream, 1)?, [format!("hello {}", family.client())]);
                stream.write_all(b"and now me\n")?;
                assert_eq!(lines(&stream, 1)?, ["and now me"]);
            }
        }
    }
    rig.finish().map(drop)
}

/// As on NLB: both wait for the other, until the client speaks.
fn waits_for_payload() -> Result<(), Failed> {
    let (rig, _greeter) = serve_greeter(&[GREETER_BY_DEFAULT])?;
    let mut stream = connect(&rig.network.client, vip_of(Family::V4, &GREETER_BY_DEFAULT))?;
    stream.set_read_timeout(Some(STALL))?;
    let error = stream.read(&mut [0]).expect_err("nobody has spoken");
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"hello?\n")?;
    assert_eq!(lines(&stream, 2)?, [format!("hello {}", Family::V4.client()), "hello?".into()]);
    rig.finish().map(drop)
}

/// Proxies in the target's namespace, and a daemon that finds them healthy by checks with the header that each expects.
fn serve(services: &[Service]) -> Result<(Rig, Proxies), Failed> {
    let mut rig = Rig::build(PLAN)?;
    let proxies = Proxies::start(&rig)?;
    rig.start_daemon(&config(services))?;
    Ok((rig, proxies))
}

fn serve_greeter(services: &[Service]) -> Result<(Rig, Greeter), Failed> {
    let mut rig = Rig::build(PLAN)?;
    let greeter = Greeter::start(&rig.network.targets[0], [GREETER_PORT, PRESERVED_PORT])?;
    rig.start_daemon(&config(services))?;
    Ok((rig, greeter))
}

fn config(services: &[Service]) -> Config {
    Config { services: services.to_vec(), ..Config::dual_stack(&PLAN) }
}

/// Has client and target lose one of a hundred packets that come in, but for those of health checks.
fn make_lossy(rig: &Rig) -> Result<(), Failed> {
    let rules = "table inet loss {\n\
             chain input {\n\
                 type filter hook input priority filter\n\
                 iif lo accept\n\
                 ip saddr 198.19.0.0/16 accept\n\
                 ip6 saddr 2001:db8:1::/48 accept\n\
                 meta l4proto tcp numgen random mod 100 0 drop\n\
             }\n\
         }";
    for namespace in [&rig.network.client, &rig.network.targets[0]] {
        output_of(namespace.command(Path::new("nft")).arg(rules))?;
    }
    Ok(())
}

fn connect(client: &Namespace, vip: SocketAddr) -> Result<TcpStream, Failed> {
    let stream = client.within(|| TcpStream::connect_timeout(&vip, PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The next lines. What comes behind them in the same segment is lost.
fn lines(stream: &TcpStream, count: usize) -> Result<Vec<String>, Failed> {
    Ok(BufReader::new(stream).lines().take(count).collect::<Result<_, _>>()?)
}

fn parts(end: SocketAddr) -> (IpAddr, u16) {
    (end.ip(), end.port())
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 1, queues: 2, offload: Offload::Off };
/// So long nothing comes.
const STALL: Duration = Duration::from_secs(2);

const HTTP_CHECK: &[&str] = &["protocol = \"HTTP\"", "path = \"/healthz\"", "matcher = \"200\""];
const HEADER: &[&str] = &["proxy_protocol_v2.enabled = true"];
const HEADER_ON_FIRST_ACK: &[&str] = &[
    "proxy_protocol_v2.enabled = true",
    "proxy_protocol_v2.client_to_server.header_placement = \"on_first_ack\"",
];

/// nginx that sees clients.
const NGINX: Service = proxied("nginx", 80, Proxy::Nginx);
/// HAProxy that sees clients.
const HAPROXY: Service = proxied("haproxy", 81, Proxy::Haproxy);
/// nginx that is told of clients.
const NGINX_TOLD: Service = Service {
    client_address: ClientAddress::Hidden,
    attributes: HEADER,
    ..proxied("nginx-told", 82, Proxy::NginxTold)
};
/// HAProxy that is told of clients.
const HAPROXY_TOLD: Service = Service {
    client_address: ClientAddress::Hidden,
    attributes: HEADER_ON_FIRST_ACK,
    ..proxied("haproxy-told", 83, Proxy::HaproxyTold)
};
/// The same by IPv6, where it sees IPv6 clients, too.
const NGINX_TOLD_V6: Service = Service {
    name: "nginx-told-v6",
    port: 84,
    target_family: Family::V6,
    client_address: ClientAddress::Kept,
    attributes: HEADER_ON_FIRST_ACK,
    ..NGINX_TOLD
};
/// The same by IPv6, with TCP checks.
const HAPROXY_TOLD_V6: Service = Service {
    name: "haproxy-told-v6",
    port: 85,
    target_family: Family::V6,
    attributes: HEADER,
    health_check: &[],
    ..HAPROXY_TOLD
};

const GREETER_PORT: u16 = 8_090;
const PRESERVED_PORT: u16 = 8_091;
/// A server that speaks first.
const GREETER: Service = Service {
    name: "greeter",
    port: 90,
    target_port: GREETER_PORT,
    check_port: GREETER_PORT,
    client_address: ClientAddress::Hidden,
    attributes: HEADER_ON_FIRST_ACK,
    ..Service::LINES
};
/// One that sees clients, too.
const GREETER_PRESERVED: Service = Service {
    name: "greeter-preserved",
    port: 91,
    target_port: PRESERVED_PORT,
    check_port: PRESERVED_PORT,
    client_address: ClientAddress::Kept,
    ..GREETER
};
/// One that gets its header with the client's first payload.
const GREETER_BY_DEFAULT: Service =
    Service { name: "greeter-by-default", port: 92, attributes: HEADER, ..GREETER };
/// One that sees clients, too, and gets it then.
const PRESERVED_BY_DEFAULT: Service =
    Service { name: "preserved-by-default", port: 93, attributes: HEADER, ..GREETER_PRESERVED };

const fn proxied(name: &'static str, port: u16, proxy: Proxy) -> Service {
    let target_port = proxy as u16;
    Service { name, port, target_port, check_port: target_port, health_check: HTTP_CHECK, ..Service::LINES }
}
