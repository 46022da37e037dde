//! End-to-end tests: real frames between real network stacks in namespaces, through a real `lbd`.
//!
//! They need root. Without it each is reported as ignored, with the reason, never as passed.

use std::process::ExitCode;

use lbd::testbed;
use libtest_mimic::{Arguments, Failed, Trial};

mod demo;
mod harness;
mod http;
mod layouts;
mod refusals;
mod reserved_ports;
mod restart;
mod stranger;
mod targets;
mod testbed_network;

/// One test: what it shows, as a name.
type Test = (&'static str, fn() -> Result<(), Failed>);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let tests = [
        testbed_network::TESTS,
        layouts::TESTS,
        targets::TESTS,
        restart::TESTS,
        http::TESTS,
        refusals::TESTS,
        reserved_ports::TESTS,
        demo::TESTS,
    ]
    .concat();
    let runnable = testbed::is_privileged();
    if runnable {
        prepare();
    } else {
        eprintln!("\nNOT RUN, because network namespaces and AF_XDP need root (run: sudo -E ./ci.sh test):");
        tests.iter().for_each(|(name, _)| eprintln!("    {name}"));
    }
    let trials = tests.into_iter().map(|(name, test)| Trial::test(name, test).with_ignored_flag(!runnable));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Whatever ends this program, nothing of it stays.
fn prepare() {
    testbed::cleanup::sweep();
    testbed::cleanup::on_signals().expect("signal handlers can be set");
    testbed::raise_file_limit().expect("the limit of open files can be raised to its maximum");
}
