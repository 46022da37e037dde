//! Checks over real sockets on loopback.

mod grpc;
mod http;
mod proxy_header;
mod servers;
mod standstill;
mod tls;
mod udp;

use std::{net::TcpListener, sync::mpsc, time::Instant};

use self::servers::address_apart;
use super::*;

fn check(endpoint: SocketAddr) -> Check {
    Check {
        key: TargetKey { group: "web".into(), address: endpoint.ip(), port: endpoint.port() },
        endpoint,
        opening: Opening::Plain,
        probe: Arc::new(Probe::Tcp),
        interval: Duration::from_millis(50),
        timeout: Duration::from_millis(500),
        thresholds: Thresholds { healthy: 2, unhealthy: 2 },
        draining_interval: Duration::ZERO,
    }
}

fn start() -> (Health, mpsc::Receiver<Transition>) {
    let (sender, transitions) = mpsc::channel();
    let health = Health::start(move |transition| drop(sender.send(transition))).unwrap();
    (health, transitions)
}

#[track_caller]
fn expect(transitions: &mpsc::Receiver<Transition>, to: TargetHealth) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if transitions.recv_timeout(left).unwrap().to == to {
            return;
        }
    }
}

/// The state that checks of a new target lead to, each with much patience.
fn verdict(probe: Probe, endpoint: SocketAddr) -> TargetHealth {
    verdict_within(Duration::from_secs(10), probe, endpoint)
}

fn verdict_within(timeout: Duration, probe: Probe, endpoint: SocketAddr) -> TargetHealth {
    let (health, transitions) = start();
    health.set(vec![Check { probe: Arc::new(probe), timeout, ..check(endpoint) }]);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Transition { to, .. } = transitions.recv_timeout(left).unwrap();
        if to != TargetHealth::InitialHealthChecking {
            return to;
        }
    }
}

#[test]
fn a_target_comes_goes_and_comes_back() {
    let listener = TcpListener::bind((address_apart(), 0)).unwrap();
    let endpoint = listener.local_addr().unwrap();
    let (health, transitions) = start();
    health.set(vec![check(endpoint)]);
    expect(&transitions, TargetHealth::Healthy);
    drop(listener);
    expect(&transitions, TargetHealth::Unhealthy(Cause::Refused));
    let _listener = TcpListener::bind(endpoint).unwrap();
    expect(&transitions, TargetHealth::Healthy);
    let key = check(endpoint).key;
    assert_eq!(health.snapshot(), [(key.clone(), TargetHealth::Healthy)]);
    let report = health.report(&key).unwrap();
    assert_eq!(report.health, TargetHealth::Healthy);
    assert!(report.passed >= 3 && report.failed >= 2, "{report:?}");
    assert_eq!(report.last_check.unwrap().outcome, Ok(()));
    assert!(health.statistics().checks >= 5);
}

#[test]
fn the_first_check_is_made_at_once_and_hastened_ones_find_out_sooner() {
    let listener = TcpListener::bind((address_apart(), 0)).unwrap();
    let slow = Check { interval: Duration::from_secs(100), ..check(listener.local_addr().unwrap()) };
    let (health, transitions) = start();
    health.set(vec![slow.clone()]);
    expect(&transitions, TargetHealth::Healthy);
    drop(listener);
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        health.hasten(vec![slow.key.clone()]);
        match transitions.recv_timeout(Duration::from_millis(1_100)) {
            Ok(transition) => break assert_eq!(transition.to, TargetHealth::Unhealthy(Cause::Refused)),
            Err(_) => assert!(Instant::now() < deadline, "nothing was found out"),
        }
    }
}

#[test]
fn both_families_are_checked() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    assert_eq!(verdict(Probe::Tcp, listener.local_addr().unwrap()), TargetHealth::Healthy);
}

#[test]
fn many_targets_are_checked_at_once() {
    let listeners: Vec<TcpListener> = (0..200).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let (health, transitions) = start();
    health.set(listeners.iter().map(|listener| check(listener.local_addr().unwrap())).collect());
    let deadline = Instant::now() + Duration::from_secs(30);
    let is_healthy = |row: &(TargetKey, TargetHealth)| row.1 == TargetHealth::Healthy;
    while health.snapshot().iter().filter(|row| is_healthy(row)).count() < 200 {
        assert!(Instant::now() < deadline);
        let _ = transitions.recv_timeout(Duration::from_secs(1));
    }
}

#[test]
fn restored_states_hold_from_the_first_moment() {
    let endpoint = SocketAddr::from(([127, 0, 0, 1], 1)); // Nothing listens there.
    let (health, _transitions) = start();
    let slow = Check { interval: Duration::from_secs(60), ..check(endpoint) };
    health.restore([(slow.key.clone(), TargetHealth::Healthy)]);
    health.set(vec![slow.clone()]);
    assert_eq!(health.of(&slow.key), TargetHealth::Healthy);
    health.set(vec![]);
    assert_eq!(health.of(&slow.key), TargetHealth::RegistrationInProgress);
    assert!(health.snapshot().is_empty());
}

#[test]
fn only_groups_in_use_are_checked() {
    let file = "interfaces = [\"eth0\"]\n[[load_balancers]]\nname = \"a\"\naddresses = [\"198.18.0.1\"]\n\
        [[load_balancers.listeners]]\nprotocol = \"TCP\"\nport = 80\ntarget_group = \"used\"\n\
        [[target_groups]]\nname = \"spare\"\nprotocol = \"TCP\"\nport = 80\ntargets = [{ address = \"198.19.0.1\" }]\n\
        [[target_groups]]\nname = \"used\"\nprotocol = \"TCP\"\nport = 80\ntargets = [{ address = \"198.19.0.2\" }]\n\
        [target_groups.health_check]\nport = 8081\nfast_interval_ms = 1500\nfast_timeout_ms = 400\n";
    let config = config::parse(file, "f").unwrap();
    let [check] = checks(&config, &BTreeSet::new()).try_into().unwrap();
    assert_eq!(check.key.to_string(), "used/198.19.0.2:80");
    assert_eq!(check.endpoint.to_string(), "198.19.0.2:8081");
    assert_eq!((check.interval.as_millis(), check.timeout.as_millis()), (1_500, 400));
}

#[test]
fn targets_that_are_stopped_or_in_no_zone_of_the_load_balancer_are_not_checked() {
    let file = "interfaces = [\"eth0\"]\n[[load_balancers]]\nname = \"a\"\naddresses = [{ address = \"198.18.0.1\", zone = \"a\" }]\n\
        [[load_balancers.listeners]]\nprotocol = \"TCP\"\nport = 80\ntarget_group = \"web\"\n\
        [[target_groups]]\nname = \"web\"\nprotocol = \"TCP\"\nport = 80\ntargets = [{ address = \"198.19.0.1\" }, \
        { address = \"198.19.0.2\", zone = \"a\" }, { address = \"198.19.0.3\", zone = \"b\" }, \
        { address = \"198.19.0.4\", stopped = true }]\n[target_groups.attributes]\n\
        target_health_state.unhealthy = { connection_termination.enabled = false, draining_interval_seconds = 9 }\n";
    let checks = checks(&config::parse(file, "f").unwrap(), &BTreeSet::new());
    let checked: Vec<_> = checks.iter().map(|check| check.key.address.to_string()).collect();
    assert_eq!(checked, ["198.19.0.1", "198.19.0.2"]);
    assert_eq!((checks[0].draining_interval.as_secs(), &*checks[0].probe), (9, &Probe::Tcp));
}

#[test]
fn checks_name_the_address_and_port_that_clients_use() {
    for (addresses, targets, host) in [
        ("[\"198.18.0.1\", \"198.18.0.2\"]", "198.19.0.1", "198.18.0.1:443"),
        ("[\"198.18.0.1\", \"2001:db8::1\"]", "2001:db8:1::1", "[2001:db8::1]:443"),
        ("[\"2001:db8::1\"]\n[source_nat]\naddresses = [\"198.18.0.9\"]", "198.19.0.1", "[2001:db8::1]:443"),
    ] {
        let (addresses, source_nat) = addresses.split_once('\n').unwrap_or((addresses, ""));
        let file = format!(
            "interfaces = [\"eth0\"]\n{source_nat}\n[[load_balancers]]\nname = \"a\"\naddresses = {addresses}\n\
             [[load_balancers.listeners]]\nprotocol = \"TCP\"\nport = 443\ntarget_group = \"web\"\n\
             [[load_balancers.listeners]]\nprotocol = \"TCP\"\nport = 80\ntarget_group = \"web\"\n\
             [[target_groups]]\nname = \"web\"\nprotocol = \"TCP\"\nport = 8443\ntargets = [{{ address = \"{targets}\" }}]\n\
             [target_groups.health_check]\nprotocol = \"HTTPS\"\n"
        );
        let [check] = checks(&config::parse(&file, "f").unwrap(), &BTreeSet::new()).try_into().unwrap();
        let Probe::Http(probe) = &*check.probe else { panic!("{check:?}") };
        assert_eq!(probe.host, host);
    }
}
