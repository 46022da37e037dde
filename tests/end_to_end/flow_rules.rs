//! What becomes of flows when listeners, targets, target groups and zones change: a scenario for each rule, with real connections
//! and the resets that are seen on the wire at both ends.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use lb_core::limits;
use lb_ctl::api::{Event, Happening, TargetRow};
use lbd::testbed::{
    client::Crowd,
    network::{Family, Layout, Offload, Plan},
    sniffer::Sniffer,
    target::{Ports, Target},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{Config, Service},
    harness::{PATIENCE, Rig, TCP_PORT, vip_of, wait_until},
};

mod deregistered;
mod empty;
mod strangers;
mod unhealthy;
mod weights;
mod zones;

/// The tests of this module.
pub fn tests() -> Vec<Test> {
    [strangers::TESTS, unhealthy::TESTS, deregistered::TESTS, weights::TESTS, zones::TESTS, empty::TESTS]
        .concat()
}

/// A running load balancer whose targets' health checks can fail while their servers go on: no reset is a target's own.
struct Scene {
    rig: Rig,
    /// What answers health checks; of target `number` at `number - 1`.
    checked: Vec<Target>,
    at_client: Sniffer,
    /// Of target `number` at `number - 1`.
    at_targets: Vec<Sniffer>,
}

impl Scene {
    /// Starts all and waits until all targets are healthy.
    fn serve(config: &Config) -> Result<Scene, Failed> {
        let mut scene = Scene::build()?;
        scene.rig.start_daemon(config)?;
        Ok(scene)
    }

    /// Starts all but the daemon.
    fn build() -> Result<Scene, Failed> {
        let mut rig = Rig::build(PLAN)?;
        rig.start_targets()?;
        let mut checked = Vec::new();
        for (number, namespace) in (1..).zip(&rig.network.targets) {
            let mut target = Target::new("checked".into(), Family::V4.target(number), CHECKED)
                .also_at(Family::V6.target(number));
            target.start(namespace)?;
            checked.push(target);
        }
        let at_client = Sniffer::start(&rig.network.client)?;
        let at_targets = rig.network.targets.iter().map(Sniffer::start).collect::<Result<_, _>>()?;
        Ok(Scene { rig, checked, at_client, at_targets })
    }

    /// From now on a target's checks fail.
    fn fail_checks(&mut self, number: u8) {
        self.checked[usize::from(number) - 1].stop();
    }

    /// From now on a target's checks pass.
    fn pass_checks(&mut self, number: u8) -> Result<(), Failed> {
        let index = usize::from(number) - 1;
        Ok(self.checked[index].start(&self.rig.network.targets[index])?)
    }

    /// Waits until a target is in this state in a service's target group, and new flows go by it.
    fn wait_for_state(&mut self, service: &Service, number: u8, state: &str) -> Result<(), Failed> {
        let what = format!("target {number} of {} {state}", service.name);
        let is_it = |row: &TargetRow| row.state == state && row.is_eligible == (state == "healthy");
        self.rig.wait_for(&what, |rows| row_of(rows, service, number).is_some_and(is_it))
    }

    /// Waits until a target is unhealthy in a service's target group, and new flows go to all of that.
    fn wait_for_fail_open(&self, service: &Service, number: u8) -> Result<(), Failed> {
        wait_until(&format!("{} failing open", service.name), || {
            let listeners = self.rig.control.status()?.load_balancers.into_iter().flat_map(|lb| lb.listeners);
            let mut groups = listeners.flat_map(|listener| listener.forward);
            let fails_open = groups.any(|row| row.target_group == service.name && row.is_failing_open);
            Ok(fails_open && self.state(service, number)? == "unhealthy")
        })?;
        self.rig.wait_until_applied()
    }

    /// Waits until a target is not registered, nor draining, with a service's target group any more.
    fn wait_for_unused(&mut self, service: &Service, number: u8) -> Result<(), Failed> {
        let what = format!("target {number} of {} unused", service.name);
        let is_unused = |row: Option<&TargetRow>| row.is_none_or(|row| row.state == "unused");
        self.rig.wait_for(&what, |rows| is_unused(row_of(rows, service, number)))
    }

    /// Waits until so many flows were cut.
    fn wait_for_cut(&self, flows: usize) -> Result<(), Failed> {
        wait_until(&format!("the end of {flows} flows"), || Ok(self.rig.control.stats()?.cut >= flows as u64))
    }

    /// The states that a target has had in a service's target group, from the second on.
    fn states_told(&self, service: &Service, number: u8) -> Result<Vec<String>, Failed> {
        let address =
            SocketAddr::from((service.target_family.target(number), service.target_port)).to_string();
        let mut states = Vec::new();
        for line in self.rig.control.lines("/v1/events?follow=false")? {
            match serde_json::from_str::<Event>(&line?)?.what {
                Happening::Health { target_group, target, to, .. }
                    if (target_group.as_str(), &target) == (service.name, &address) =>
                {
                    states.push(to)
                }
                _ => {}
            }
        }
        Ok(states)
    }

    /// The state of a target in a service's target group.
    fn state(&self, service: &Service, number: u8) -> Result<String, Failed> {
        let rows = self.rig.control.targets()?;
        Ok(row_of(&rows, service, number).map_or_else(|| "unused".into(), |row| row.state.clone()))
    }

    /// Opens connections to a service over the family of its targets, from client ports that are used for no other service: a
    /// target tells connections apart by the client's address and port alone.
    fn crowd(&self, service: &Service) -> Result<Crowd, Failed> {
        let first = CLIENT_PORTS * (1 + service.port - TCP_PORT);
        let range = format!("{first} {}", first + CLIENT_PORTS - 1);
        self.rig.network.client.set_sysctl("net/ipv4/ip_local_port_range", &range)?;
        let vip = vip_of(service.target_family, service);
        Ok(Crowd::open(&self.rig.network.client, vip, CONNECTIONS)?)
    }

    /// The clients of a crowd that are with a target.
    fn clients(&self, crowd: &Crowd, number: u8) -> BTreeSet<SocketAddr> {
        let name = self.rig.targets[usize::from(number) - 1].name();
        crowd.members().iter().filter(|member| member.target == name).map(|member| member.local()).collect()
    }

    /// Waits until the clients of a crowd that are with a target have been reset at both ends, and asserts that nobody else was.
    fn assert_reset(&self, crowd: &mut Crowd, service: &Service, number: u8) -> Result<Cut, Failed> {
        let clients = self.clients(crowd, number);
        assert!(!clients.is_empty());
        let since = Instant::now();
        while self.resets(service, number) != [clients.clone(), clients.clone()] {
            if since.elapsed() > PATIENCE {
                let [at_client, at_target] = self.resets(service, number);
                return Err(format!(
                    "not reset at both ends within {PATIENCE:?}: {clients:?}; at the client's: {at_client:?}; \
                     at the target's: {at_target:?}"
                )
                .into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let took = since.elapsed();
        let failures = crowd.ask_all("still there?", PATIENCE);
        assert_eq!(failures.iter().map(|failure| failure.client).collect::<BTreeSet<_>>(), clients);
        Ok(Cut { flows: clients.len(), took })
    }

    /// The clients that were reset: as seen by them, and by a target.
    fn resets(&self, service: &Service, number: u8) -> [BTreeSet<SocketAddr>; 2] {
        let vip = vip_of(service.target_family, service);
        let target = SocketAddr::from((service.target_family.target(number), service.target_port));
        let at_client = self.at_client.resets().into_iter().filter(|reset| reset.from == vip);
        let at_target = self.at_targets[usize::from(number) - 1].resets().into_iter();
        let at_target = at_target.filter(|reset| reset.to == target);
        [at_client.map(|reset| reset.to).collect(), at_target.map(|reset| reset.from).collect()]
    }

    /// The same, unless the machine has been so slow that this is said too late to tell.
    fn assert_unhurt_before(&self, end: Instant, crowd: &mut Crowd, service: &Service, when: &str) {
        let failures = crowd.ask_all(when, PATIENCE);
        let is_late =
            Instant::now() > end && failures.iter().all(|one| one.error.kind() != ErrorKind::TimedOut);
        let mut resets = self.rig.plan().numbers().flat_map(|number| self.resets(service, number));
        let is_hurt = !failures.is_empty() || resets.any(|ends| !ends.is_empty());
        assert!(!is_hurt || is_late, "{when}: {failures:?}");
    }

    /// Every connection of a crowd goes on, and no reset of its service was seen at either end.
    fn assert_unhurt(&self, crowd: &mut Crowd, service: &Service, when: &str) {
        let failures = crowd.ask_all(when, PATIENCE);
        assert!(failures.is_empty(), "{when}: {failures:?}");
        for number in self.rig.plan().numbers() {
            assert_eq!(self.resets(service, number), [BTreeSet::new(), BTreeSet::new()], "{when}");
        }
    }

    /// How many of as many new connections as a crowd has go to each target.
    fn new_shares(&self, service: &Service) -> Result<Vec<usize>, Failed> {
        Ok(self.rig.shares(&self.crowd(service)?))
    }

    /// Ends a scenario in which no flow was cut.
    fn finish(self) -> Result<(), Failed> {
        assert_eq!(self.rig.finish()?.0.cut, 0);
        Ok(())
    }

    /// Ends a scenario in which so many flows were cut, all for one cause.
    fn finish_cut(self, cause: &str, flows: usize) -> Result<(), Failed> {
        let stats = self.rig.finish()?.0;
        let cut = stats.cut_by_cause.iter().filter(|row| row.flows > 0);
        let cut: Vec<_> = cut.map(|row| (row.cause.as_str(), row.flows)).collect();
        assert_eq!(cut, [(cause, flows as u64)]);
        Ok(())
    }
}

/// Flows that were reset.
struct Cut {
    flows: usize,
    /// Until the last was.
    took: Duration,
}

fn row_of<'a>(rows: &'a [TargetRow], service: &Service, number: u8) -> Option<&'a TargetRow> {
    let address: IpAddr = service.target_family.target(number);
    rows.iter().find(|row| row.target_group == service.name && row.target.ip() == address)
}

/// From the calling thread's namespace: nothing comes of a datagram. An ICMP error would be an error of its socket.
fn assert_unanswered(to: SocketAddr) -> Result<(), Failed> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(SILENCE))?;
    socket.send(b"anybody there?")?;
    assert_eq!(socket.recv(&mut [0]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
    Ok(())
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 2, queues: 2, offload: Offload::Off };
/// Enough that each of two targets has some: that one has none happens once in a billion.
const CONNECTIONS: usize = 30;
/// Where the health checks go.
const CHECKED: Ports = Ports { tcp: 9_000, udp: 9_007 };
/// Lines whose health checks fail alone.
const LINES: Service = Service { check_port: CHECKED.tcp, ..Service::LINES };
/// How long nothing must happen to flows that stay: all flows are looked at in half of it.
const UNTOUCHED: Duration = Duration::from_millis(2 * limits::PURGE_ROUND_MS);
/// Client ports of a service.
const CLIENT_PORTS: u16 = 10_000;
/// How long nothing must come that must never come.
const SILENCE: Duration = Duration::from_millis(700);
