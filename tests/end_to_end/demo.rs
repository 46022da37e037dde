//! `lbd demo` itself, as a newcomer runs it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use libtest_mimic::Failed;

use crate::{
    Test,
    harness::{LBD, heavy, unprivileged, wait_until},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("demo::everything_holds", everything_holds),
    ("demo::ctrl_c_cleans_up", || ends_by(libc::SIGINT, &["demo"])),
    ("demo::sigterm_cleans_up", || ends_by(libc::SIGTERM, &["demo"])),
    ("demo::ctrl_c_cleans_a_scenario_up", || ends_by(libc::SIGINT, &["demo", "--scenario", "all"])),
    ("demo::without_root_it_says_so", without_root),
];

fn everything_holds() -> Result<(), Failed> {
    let _heavy = heavy()?;
    let begun = Instant::now();
    let child = Command::new(LBD).arg("demo").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let pid = child.id();
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("checks held") && !said.contains("DOES NOT HOLD"), "{said}");
    assert!(!said.contains('\x1b'), "colours where there is no terminal");
    assert!(begun.elapsed() < LONGEST, "it took {:?}", begun.elapsed());
    assert_eq!(left_by(pid), [""; 0]);
    Ok(())
}

fn ends_by(signal: libc::c_int, arguments: &[&str]) -> Result<(), Failed> {
    let mut child = Command::new(LBD).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let pid = child.id();
    wait_until("something to clean up", || Ok(!left_by(pid).is_empty()))?;
    std::thread::sleep(Duration::from_secs(1)); // For more of it.
    // SAFETY: kill takes two integers; the child was not waited for, so its pid is its own.
    unsafe { libc::kill(pid.cast_signed(), signal) };
    assert_eq!(child.wait()?.code(), Some(128 + signal));
    assert_eq!(left_by(pid), [""; 0]);
    Ok(())
}

fn without_root() -> Result<(), Failed> {
    let output = unprivileged(Command::new(LBD).arg("demo")).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("root") && !said.trim().contains('\n'), "{said}");
    Ok(())
}

/// What carries the pid of an ended demo: namespaces, directories.
pub fn left_by(pid: u32) -> Vec<String> {
    let names =
        |directory: &Path| fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let all = names(Path::new("/run/netns")).chain(names(&std::env::temp_dir()));
    let own = format!("lbd-{pid}-");
    all.map(|path| path.display().to_string()).filter(|path| path.contains(&own)).collect()
}

/// Ten seconds on a machine of its own, and much to spare for one that many tests share.
const LONGEST: Duration = Duration::from_secs(300);
