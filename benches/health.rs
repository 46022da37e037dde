//! What checking 3,000 targets every 5 s costs, and how punctual it is: `cargo bench -p lb-ctl --bench health`.
//!
//! The targets are as many loopback addresses that one thread serves. Loopback lets whoever sends do the receiver's work in the
//! kernel, so the share of a core that is told is more than checks of targets elsewhere take.

use std::{
    error::Error,
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use lb_ctl::health::{
    Check, Health, HttpProbe, Matcher, Opening, Probe, TargetKey, Thresholds, TlsProbe, Validation,
};
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring, pki_types::PrivatePkcs8KeyDer};

fn main() -> Result<(), Box<dyn Error>> {
    let plain = serve(Some)?;
    measure("TCP", Probe::Tcp, plain)?;
    measure("HTTP", http(None), plain)?;
    let identity = Arc::new(identity()?);
    let secret =
        serve(move |stream| Some(StreamOwned::new(ServerConnection::new(identity.clone()).ok()?, stream)))?;
    measure("HTTPS", http(Some(TlsProbe { server_name: None, validate: Validation::Off })), secret)
}

fn http(tls: Option<TlsProbe>) -> Probe {
    let matcher = Matcher::default();
    Probe::Http(HttpProbe { host: "198.18.0.1:80".into(), path: "/".into(), matcher, tls })
}

fn measure(name: &str, probe: Probe, port: u16) -> Result<(), Box<dyn Error>> {
    let health = Health::start(|_| {})?;
    let probe = Arc::new(probe);
    health.set((0..TARGETS).map(|number| check(number, port, &probe)).collect());
    thread::sleep(INTERVAL); // All are checked once, and their second checks are scattered.
    let (begun, checks, cpu) = (Instant::now(), health.statistics().checks, cpu_time()?);
    thread::sleep(MEASURED);
    let (statistics, cpu, seconds) = (health.statistics(), cpu_time()? - cpu, begun.elapsed().as_secs_f64());
    let healthy = health.snapshot().iter().filter(|(_, health)| health.gets_new_flows()).count();
    println!(
        "{name}: {healthy} of {TARGETS} targets healthy, {:.0} checks/s, {:.2} % of a core, \
         begun late by at most {:?}, 99 % by less than {:?}",
        (statistics.checks - checks) as f64 / seconds,
        100.0 * cpu.as_secs_f64() / seconds,
        statistics.worst_lateness,
        statistics.lateness_of(0.99),
    );
    Ok(())
}

fn check(number: u32, port: u16, probe: &Arc<Probe>) -> Check {
    let address = IpAddr::V4(Ipv4Addr::from(u32::from(FIRST) + number));
    Check {
        key: TargetKey { group: "web".into(), address, port },
        endpoint: SocketAddr::new(address, port),
        opening: Opening::Plain,
        probe: probe.clone(),
        interval: INTERVAL,
        timeout: Duration::from_secs(2),
        thresholds: Thresholds { healthy: 2, unhealthy: 2 },
        draining_interval: Duration::ZERO,
    }
}

/// Answers whoever says something, in the way that a connection is opened; gives back the port.
fn serve<S: Read + Write>(
    open: impl Fn(TcpStream) -> Option<S> + Send + 'static,
) -> Result<u16, Box<dyn Error>> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        let mut request = [0; 1_024];
        for mut stream in listener.incoming().flatten().filter_map(open) {
            if stream.read(&mut request).is_ok_and(|count| count > 0) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); // Its check tells.
            }
        }
    });
    Ok(port)
}

/// A server with a self-signed certificate.
fn identity() -> Result<ServerConfig, Box<dyn Error>> {
    let identity = rcgen::generate_simple_self_signed(["target.example".into()])?;
    let key = PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der());
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    Ok(builder.with_single_cert(vec![identity.cert.der().clone()], key.into())?)
}

/// CPU time of the checking thread.
fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    for task in fs::read_dir("/proc/self/task")? {
        let path = task?.path();
        if fs::read_to_string(path.join("comm"))?.trim() == "health" {
            let schedstat = fs::read_to_string(path.join("schedstat"))?;
            let ns = schedstat.split(' ').next().ok_or("schedstat is empty")?;
            return Ok(Duration::from_nanos(ns.parse()?));
        }
    }
    Err("the checking thread is gone".into())
}

const TARGETS: u32 = 3_000;
const INTERVAL: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(15);
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);
