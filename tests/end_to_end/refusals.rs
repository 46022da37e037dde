//! Bad input: each a message of one paragraph and exit code 2, with nothing left behind.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    process::Output,
};

use lbd::testbed::network::{Layout, Offload, Plan};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::Config,
    harness::{PATIENCE, Rig, unprivileged},
    stranger::{Stranger, program_on_first_link},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("refusals::wrong_interface", || refuses(|text| text.replace("lb0", "nosuch0"), &["nosuch0"])),
    ("refusals::vip_twice", || refuses(vip_twice, &["198.18.100.1"])),
    ("refusals::port_zero", || refuses(|text| text.replace("\nport = 80\n", "\nport = 0\n"), &["port", "0"])),
    ("refusals::unknown_key", || refuses(|text| format!("colour = \"red\"\n{text}"), &["colour"])),
    ("refusals::duplicate_target", || refuses(duplicate_target, &["198.19.1.2"])),
    ("refusals::garbage_file", || refuses(|_| "\u{1}\u{2}garbage \u{fffd} [[[ = =".into(), &["lbd.toml:1"])),
    ("refusals::empty_file", || refuses(|_| String::new(), &["interfaces"])),
    ("refusals::missing_file", missing_file),
    ("refusals::no_privileges", no_privileges),
    ("refusals::another_xdp_program_is_attached", another_xdp_program),
    ("refusals::second_instance_with_the_same_configuration", || second_instance(|text| text)),
    ("refusals::second_instance_on_the_same_interface", || {
        second_instance(|text| text.replace("/state\"", "/state2\"").replace("/control/", "/control2/"))
    }),
];

/// The daemon refuses a configuration and says all of `words`.
fn refuses(spoil: fn(String) -> String, words: &[&str]) -> Result<(), Failed> {
    let rig = Rig::build(PLAN)?;
    let text = spoil(good_text(&rig));
    let output = rig.run_refused(&mut rig.lbd(&rig.write_text(&text)?))?;
    assert_refusal(&output, words);
    rig.assert_nothing_left()
}

fn missing_file() -> Result<(), Failed> {
    let rig = Rig::build(PLAN)?;
    let output = rig.run_refused(&mut rig.lbd(&rig.directory.path().join("nosuch.toml")))?;
    assert_refusal(&output, &["nosuch.toml"]);
    rig.assert_nothing_left()
}

fn no_privileges() -> Result<(), Failed> {
    let rig = Rig::build(PLAN)?;
    let config = rig.write_text(&good_text(&rig))?;
    // The directories are not what it fails for.
    fs::set_permissions(rig.directory.path(), Permissions::from_mode(0o777))?;
    let output = rig.run_refused(unprivileged(&mut rig.lbd(&config)))?;
    assert_refusal(&output, &["root"]);
    rig.assert_nothing_left()
}

/// A stranger's program is neither replaced nor torn off.
fn another_xdp_program() -> Result<(), Failed> {
    let rig = Rig::build(PLAN)?;
    let stranger = Stranger::attach(&rig.network.lb, &rig.network.interfaces[0])?;
    let before = program_on_first_link(&rig.network)?;
    assert!(before.is_some());
    let output = rig.run_refused(&mut rig.lbd(&rig.write_text(&good_text(&rig))?))?;
    assert_refusal(&output, &["lb0", "XDP"]);
    assert_eq!(program_on_first_link(&rig.network)?, before);
    drop(stranger);
    rig.assert_nothing_left()
}

/// A second daemon refuses, and the first does not notice.
fn second_instance(change: fn(String) -> String) -> Result<(), Failed> {
    let mut rig = Rig::serve(PLAN)?;
    let mut crowd = rig.crowd(50)?;
    let text = change(good_text(&rig));
    let output = rig.run_refused(&mut rig.lbd(&rig.write_text(&text)?))?;
    assert_refusal(&output, &[]);
    assert_eq!(crowd.ask_all("unhurt", PATIENCE).len(), 0);
    assert_eq!(rig.crowd(50)?.members().len(), 50);
    assert!(rig.control.targets().is_ok());
    assert!(rig.daemon.as_mut().ok_or("no daemon")?.ended()?.is_none());
    drop(crowd);
    rig.finish().map(drop)
}

/// One paragraph for a person: something, without an empty line within, a backtrace or a panic; exit code 2.
fn assert_refusal(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    let paragraph = said.trim();
    assert!(!paragraph.is_empty(), "it said nothing");
    assert!(!paragraph.contains("\n\n") && !paragraph.contains("panicked"), "not one paragraph:\n{said}");
    for word in words {
        assert!(paragraph.contains(word), "{word:?} is not in:\n{said}");
    }
}

fn good_text(rig: &Rig) -> String {
    Config::of(&PLAN).text(&rig.network.interfaces, rig.directory.path())
}

fn vip_twice(text: String) -> String {
    let second = "[[load_balancers]]\nname = \"second\"\naddresses = [\"198.18.100.1\"]\n\
                  [[load_balancers.listeners]]\nprotocol = \"TCP\"\nport = 80\ntarget_group = \"lines\"\n";
    text + second
}

fn duplicate_target(text: String) -> String {
    text.replace("targets = [", "targets = [{ address = \"198.19.1.2\" }, ")
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 2, queues: 1, offload: Offload::Off };
