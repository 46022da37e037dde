//! End-to-end tests: real frames between real network stacks in namespaces, through a real `lbd`.
//!
//! They need root. Without it each is reported as ignored, with the reason, never as passed.

use std::process::ExitCode;

use lbd::testbed;
use libtest_mimic::{Arguments, Failed, Trial};

mod asleep;
mod bypass;
mod capture;
mod captures;
mod churn;
mod cluster;
mod config;
mod control_api;
mod cuts;
mod demo;
mod doctor;
mod dual_stack;
mod elbv2;
mod flood;
mod flow_log;
mod flow_rules;
mod flows;
mod fragments;
mod full_nat;
mod hairpin;
mod harness;
mod health;
mod http;
mod ingress;
mod instances;
mod layouts;
mod lbctl;
mod leaving_sources;
mod metrics;
mod path_mtu;
mod pieces;
mod proxy_datagrams;
mod readme;
mod refusals;
mod reserved_ports;
mod restart;
mod stopped_thread;
mod store;
mod storm;
mod story;
mod stranger;
mod strays;
mod syn_cookies;
mod taps;
mod target_process;
mod targets;
mod testbed_network;
mod trace;
mod web;
mod why;

/// One test: what it shows, as a name.
type Test = (&'static str, fn() -> Result<(), Failed>);

fn main() -> ExitCode {
    if let Some(exit_code) = target_process::serve_if_asked() {
        return exit_code;
    }
    let arguments = Arguments::from_args();
    let tests = [
        testbed_network::TESTS,
        taps::TESTS,
        layouts::TESTS,
        targets::TESTS,
        restart::TESTS,
        http::TESTS,
        full_nat::TESTS,
        leaving_sources::TESTS,
        dual_stack::TESTS,
        path_mtu::TESTS,
        fragments::TESTS,
        proxy_datagrams::TESTS,
        hairpin::TESTS,
        instances::TESTS,
        syn_cookies::TESTS,
        strays::TESTS,
        cuts::TESTS,
        bypass::TESTS,
        ingress::TESTS,
        &flow_rules::tests(),
        &cluster::tests(),
        health::TESTS,
        asleep::TESTS,
        churn::TESTS,
        store::TESTS,
        storm::TESTS,
        control_api::TESTS,
        flood::TESTS,
        flows::TESTS,
        flow_log::TESTS,
        why::TESTS,
        trace::TESTS,
        capture::TESTS,
        refusals::TESTS,
        metrics::TESTS,
        reserved_ports::TESTS,
        demo::TESTS,
        story::TESTS,
        doctor::TESTS,
        lbctl::TESTS,
        captures::TESTS,
    ]
    .concat();
    let runnable = testbed::is_privileged();
    if runnable {
        prepare();
    } else {
        eprintln!("\nNOT RUN, because network namespaces and AF_XDP need root (run: sudo -E ./ci.sh test):");
        tests.iter().for_each(|(name, _)| eprintln!("    {name}"));
    }
    let has_tools = elbv2::report_missing_tools();
    let trial = |(name, test)| Trial::test(name, test);
    let mut trials: Vec<_> = tests.into_iter().map(|test| trial(test).with_ignored_flag(!runnable)).collect();
    trials.extend(elbv2::TESTS.iter().map(|&test| trial(test).with_ignored_flag(!runnable || !has_tools)));
    let by_hand = [flood::BY_HAND, storm::BY_HAND, captures::BY_HAND, trace::BY_HAND].concat();
    trials.extend(by_hand.into_iter().map(|test| trial(test).with_ignored_flag(true)));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Whatever ends this program, nothing of it stays.
fn prepare() {
    testbed::cleanup::sweep();
    testbed::cleanup::on_signals().expect("signal handlers can be set");
    testbed::raise_file_limit().expect("the limit of open files can be raised to its maximum");
}
