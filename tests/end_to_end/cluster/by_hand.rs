//! The cluster that is kept up to be tried by hand.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use lbd::testbed::{
    cleanup::unique_name,
    namespace::{Namespace, path_of},
};
use libtest_mimic::Failed;

use crate::{Test, harness::PATIENCE};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("cluster::kept_up_it_serves_until_it_is_taken_down", up_and_down),
    ("cluster::what_others_made_is_left_alone", leaves_others_alone),
];

fn up_and_down() -> Result<(), Failed> {
    let name = unique_name();
    // Two at once: one makes it, the other waits for that.
    let other = Command::new(program()?).args(["--name", &name, "up"]).stdout(Stdio::piped()).spawn()?;
    let both = [run(&name, "up")?, said(other.wait_with_output()?)?];
    for words in [format!("{name} is up."), format!("{name} is up already")] {
        assert_eq!(both.iter().filter(|up| up.contains(&words)).count(), 1, "{words}: {both:?}");
    }
    assert!(both[0].contains(&format!("{name}-switch ")), "{both:?}");
    answers(&name)?;
    kill(&name, "lbd")?;
    assert!(run(&name, "up")?.contains("lbd of"));
    answers(&name)?;
    // As a crash would leave it.
    kill(&name, "cluster")?;
    assert!(path_of(&format!("{name}-client")).exists());
    run(&name, "down")?;
    assert!(!path_of(&format!("{name}-client")).exists());
    assert!(!directory_of(&name).exists());
    Ok(())
}

fn leaves_others_alone() -> Result<(), Failed> {
    for bad in ["", "/etc", "../tmp", ".", "a/b", "-a", "lbd", "ä", "a-name-that-is-long"] {
        let output = Command::new(program()?).args([&format!("--name={bad}"), "down"]).output()?;
        assert_eq!(output.status.code(), Some(2), "{bad:?}: {output:?}");
    }
    let name = unique_name();
    for verb in ["up", "down"] {
        let _foreign = Namespace::create(format!("{name}-client"))?;
        assert!(run(&name, verb).is_err());
        assert!(path_of(&format!("{name}-client")).exists());
    }
    let directory = directory_of(&name);
    fs::create_dir(&directory)?;
    fs::write(directory.join("lbd.toml"), "")?;
    let outcomes = ["up", "down"].map(|verb| run(&name, verb).is_err());
    let is_whole = directory.join("lbd.toml").exists();
    fs::remove_dir_all(&directory)?;
    assert!(outcomes == [true; 2] && is_whole);
    Ok(())
}

fn answers(name: &str) -> Result<(), Failed> {
    let answer = ask(&format!("{name}-client"), "198.18.100.1:83")?;
    assert!(answer.starts_with("pod") && answer.contains(" 198.18.0.2:"), "{answer:?}");
    Ok(())
}

/// Ends a program of the cluster as a crash would.
fn kill(name: &str, program: &str) -> Result<(), Failed> {
    let pid: i32 = fs::read_to_string(directory_of(name).join(program).with_extension("pid"))?.parse()?;
    // SAFETY: kill takes two integers; the process is one that was started here.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    let deadline = Instant::now() + PATIENCE;
    while Path::new("/proc").join(pid.to_string()).join("exe").exists() {
        assert!(Instant::now() < deadline, "process {pid} does not end");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn directory_of(name: &str) -> PathBuf {
    Path::new("/tmp").join(name)
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
