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

use crate::{Test, harness::PATIENCE, web::output_of};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("cluster::kept_up_it_serves_until_it_is_taken_down", up_and_down),
    ("cluster::what_is_taken_from_it_is_noticed_and_the_rest_is_removed", damaged),
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
    kill(&format!(" run --config /tmp/{name}/lbd.toml"))?;
    assert!(run(&name, "up")?.contains("lbd of"));
    answers(&name)?;
    // As a crash would leave it.
    kill(&format!(" --name {name} hold"))?;
    assert!(path_of(&format!("{name}-client")).exists());
    run(&name, "down")?;
    assert!(!path_of(&format!("{name}-client")).exists());
    assert!(!directory_of(&name).exists());
    Ok(())
}

fn damaged() -> Result<(), Failed> {
    let name = unique_name();
    run(&name, "up")?;
    let namespace = format!("{name}-pod52");
    output_of(Command::new("ip").args(["netns", "del", &namespace]))?;
    let refused = refused(&name, "up")?;
    assert!(refused.contains(&namespace) && refused.contains(&format!("--name {name} down")), "{refused}");
    // At one blow: lbd may make its socket's directory anew while files are removed one by one.
    let removed = directory_of(&format!("{name}-removed"));
    fs::rename(directory_of(&name), &removed)?;
    fs::remove_dir_all(removed)?;
    run(&name, "down")?;
    assert!(!path_of(&format!("{name}-client")).exists() && !directory_of(&name).exists());
    assert_eq!(process_of(&format!(" --name {name} hold")), None);
    assert!(run(&name, "down")?.contains("is not up"));
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
    // A file that looks like that of a process is no mark: it may say anything.
    let directory = directory_of(&name);
    fs::create_dir(&directory)?;
    fs::write(directory.join("cluster.pid"), std::process::id().to_string())?;
    let outcomes = ["up", "down"].map(|verb| refused(&name, verb));
    let is_whole = directory.join("cluster.pid").exists();
    fs::remove_dir_all(&directory)?;
    assert!(
        outcomes.iter().all(|said| said.as_ref().is_ok_and(|said| said.contains("left alone"))),
        "{outcomes:?}"
    );
    assert!(is_whole);
    Ok(())
}

fn answers(name: &str) -> Result<(), Failed> {
    let answer = ask(&format!("{name}-client"), "198.18.100.1:83")?;
    assert!(answer.starts_with("pod") && answer.contains(" 198.18.0.2:"), "{answer:?}");
    Ok(())
}

/// Ends the process whose command line ends so, as a crash would.
fn kill(arguments: &str) -> Result<(), Failed> {
    let pid = process_of(arguments).ok_or_else(|| format!("there is no process{arguments}"))?;
    // SAFETY: kill takes two integers; the process is one that was started here.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    let deadline = Instant::now() + PATIENCE;
    while process_of(arguments).is_some() {
        assert!(Instant::now() < deadline, "process {pid} does not end");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The process whose command line ends with these words.
fn process_of(arguments: &str) -> Option<i32> {
    let pids = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.into_iter().find(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").trim_end().ends_with(arguments)
    })
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

/// What it complains of.
fn refused(name: &str, verb: &str) -> Result<String, Failed> {
    let output = Command::new(program()?).args(["--name", name, verb]).output()?;
    assert!(!output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stderr)?)
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
