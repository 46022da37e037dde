//! Which changes flows made before have to be checked for.

use super::*;

/// A change of what tables are made from, with what it is.
struct Change(&'static str, fn(&mut Bench));

impl Change {
    fn is_concerning(&self) -> bool {
        let mut bench = Bench::new();
        let before = bench.compile().epoch();
        self.1(&mut bench);
        bench.compile().epoch() != before
    }
}

fn add(bench: &mut Bench) {
    let template = bench.web().targets[0].clone();
    bench.web().targets.push(config::Target { address: [198, 19, 1, 9].into(), ..template });
}

#[test]
fn a_change_for_new_flows_alone_does_not_concern_others() {
    let changes = [
        Change("a target is registered", add),
        Change("a target is deregistered", |bench| drop(bench.web().targets.pop())),
        Change("a target turns unhealthy whose flows go on", |bench| {
            bench.unhealthy = vec!["dns/198.19.1.3:53"]
        }),
        Change("a target has another weight", |bench| bench.web().targets[0].weight = 9),
        Change("a group has another weight", |bench| {
            bench.config.load_balancers[0].listeners[1].forward.groups[0].weight = 9;
        }),
        Change("clients stick to targets", |bench| bench.web().is_sticky = true),
        Change("clients are hidden", |bench| bench.web().preserves_client_ip ^= true),
        Change("another deregistration delay", |bench| bench.web().deregistration_delay_seconds = 1),
    ];
    for change in changes {
        assert!(!change.is_concerning(), "{}", change.0);
    }
}

#[test]
fn a_change_for_flows_made_before_concerns_all() {
    let changes = [
        Change("a target turns unhealthy whose flows end", |bench| {
            bench.unhealthy = vec!["web/198.19.1.3:80"]
        }),
        Change("a target is stopped", |bench| bench.web().targets[0].is_stopped = true),
        Change("a deregistered target's flows end", |bench| {
            bench.web().deregistration_delay_seconds = 0;
            bench.web().after_deregistration = config::Leftover::Terminate;
            bench.web().targets.pop();
        }),
        Change("another idle timeout", |bench| {
            bench.config.load_balancers[0].listeners[1].tcp_idle_timeout_seconds = 60;
        }),
        Change("another idle timeout of UDP", |bench| {
            bench.config.load_balancers[0].listeners[0].udp_idle_timeout_seconds = 30;
        }),
        Change("a listener less", |bench| drop(bench.config.load_balancers[0].listeners.pop())),
    ];
    for change in changes {
        assert!(change.is_concerning(), "{}", change.0);
    }
}
