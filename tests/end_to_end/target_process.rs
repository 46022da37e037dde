//! Embedded targets in processes of their own: both ends of ten thousand connections are more descriptors than one process may
//! have in many places.

use std::{env, process::ExitCode, thread};

use lbd::testbed::{self, process::Process};
use libtest_mimic::Failed;

use crate::harness::{Rig, embedded_target};

/// Starts one in each target's namespace. They end when what is returned is dropped.
pub fn start_all(rig: &Rig) -> Result<Vec<Process>, Failed> {
    let program = env::current_exe()?;
    let start = |(number, namespace): (u8, &testbed::namespace::Namespace)| {
        let mut command = namespace.command(&program);
        command.env(NUMBER, number.to_string());
        Ok(Process::start(&mut command, &rig.directory.path().join(format!("target{number}.log")))?)
    };
    (1..).zip(&rig.network.targets).map(start).collect()
}

/// In such a process: serves until it is ended. `None` in any other.
pub fn serve_if_asked() -> Option<ExitCode> {
    let number = env::var(NUMBER).ok()?.parse().ok()?;
    let mut target = embedded_target(number);
    if let Err(error) = testbed::raise_file_limit().and_then(|_| target.start_here()) {
        eprintln!("{error}");
        return Some(ExitCode::FAILURE);
    }
    loop {
        thread::park();
    }
}

/// The environment variable that has the number of the target to serve.
const NUMBER: &str = "LBD_TEST_TARGET";
