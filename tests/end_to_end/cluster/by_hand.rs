//! The cluster that is kept up to be tried by hand.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use lbd::testbed::{cleanup::unique_name, namespace::path_of};
use libtest_mimic::Failed;

use crate::{Test, harness::PATIENCE};

/// The tests of this file.
pub const TESTS: &[Test] = &[("cluster::kept_up_it_serves_until_it_is_taken_down", up_and_down)];

fn up_and_down() -> Result<(), Failed> {
    let name = unique_name();
    let up = run(&name, "up")?;
    assert!(up.contains(&format!("{name} is up.")), "{up}");
    assert!(run(&name, "up")?.contains("is up already"));
    let answer = ask(&format!("{name}-client"), "198.18.100.1:83")?;
    assert!(answer.starts_with("pod") && answer.contains(" 198.18.0.2:"), "{answer:?}");
    // As a crash would leave it.
    let pid: i32 = std::fs::read_to_string(Path::new("/tmp").join(&name).join("cluster.pid"))?.parse()?;
    // SAFETY: kill takes two integers; the process is the one that was started here.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    let deadline = Instant::now() + PATIENCE;
    while Path::new("/proc").join(pid.to_string()).join("exe").exists() {
        assert!(Instant::now() < deadline, "process {pid} does not end");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(path_of(&format!("{name}-client")).exists());
    run(&name, "down")?;
    assert!(!path_of(&format!("{name}-client")).exists());
    assert!(!Path::new("/tmp").join(&name).exists());
    Ok(())
}

fn ask(namespace: &str, to: &str) -> Result<String, Failed> {
    let script = format!("exec 3<>/dev/tcp/{}; echo hello >&3; head -1 <&3", to.replace(':', "/"));
    let mut command = Command::new("ip");
    said(command.args(["netns", "exec", namespace, "bash", "-c", &script]).output()?)
}

fn run(name: &str, verb: &str) -> Result<String, Failed> {
    said(Command::new(program()?).args(["--name", name, verb]).output()?)
}

fn said(output: Output) -> Result<String, Failed> {
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(format!("{output:?}").into()),
    }
}

/// The example, which Cargo builds for `cargo test` but not for `cargo test --test end_to_end`.
fn program() -> Result<PathBuf, Failed> {
    let tests = std::env::current_exe()?;
    let built = tests.ancestors().nth(2).ok_or("the test has no directory")?.join("examples/cluster");
    if built.exists() { Ok(built) } else { Err("build it: cargo build --example cluster".into()) }
}
