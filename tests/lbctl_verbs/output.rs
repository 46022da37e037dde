//! Formats, colours, repeated looks.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use crate::{Run, command, daemon::Daemon, lbctl};

#[test]
fn answers_come_as_tables_json_and_yaml() {
    let daemon = Daemon::start();
    daemon.all_done(&[
        "tg create web --protocol TCP --port 80 --attribute stickiness.enabled=true --tag on=yes",
    ]);
    let table = daemon.lbctl("tg list").done();
    let wide = daemon.lbctl("tg list -o wide").done();
    assert!(!table.contains("CREATED") && wide.contains("2026-11-23T12:00:00Z"), "{wide}");
    assert_eq!(daemon.lbctl("tg list -o json").json()[0]["name"], "web");
    let yaml = daemon.lbctl("tg show web -o yaml").done();
    for line in ["name: web\n", "port: 80\n", "  stickiness.enabled: \"true\"\n", "  \"on\": \"yes\"\n"] {
        assert!(yaml.contains(line), "{yaml}");
    }
}

#[test]
fn colours_go_to_terminals_or_where_they_are_asked_for() {
    let daemon = Daemon::start();
    daemon.all_done(&["tg create web --protocol TCP --port 80"]);
    let path = daemon.file("target_groups = []");
    let path = path.to_str().unwrap();
    let escape = '\u{1b}';
    assert!(!daemon.lbctl("tg list").done().contains(escape));
    assert!(daemon.lbctl("tg list --color always").done().contains(escape));
    assert!(!daemon.lbctl_with(&["apply", path]).done().contains(escape));
    assert!(daemon.lbctl("tg show none --color always").failed(1).contains(escape));
    assert!(!daemon.lbctl("tg show none").failed(1).contains(escape));
}

#[test]
fn the_socket_may_stand_in_the_environment() {
    let daemon = Daemon::start();
    let output = command().env("LBCTL_SOCKET", &daemon.socket).args(["tg", "list"]).output().unwrap();
    Run::of(output).done();
    let empty = command().env("LBCTL_SOCKET", "").args(["completions", "bash"]).output().unwrap();
    Run::of(empty).done();
    let usage = Run::of(command().env("LBCTL_SOCKET", &daemon.socket).arg("why").output().unwrap()).failed(2);
    assert!(usage.contains("Usage: lbctl why <") && !usage.contains("--socket"), "{usage}");
    let error = lbctl("status --socket /nonexistent/lbd.sock").failed(2);
    assert!(error.contains("is lbd running, with this control_socket?"), "{error}");
}

#[test]
fn a_look_is_repeated_until_the_signal() {
    let daemon = Daemon::start();
    let mut child = command()
        .args(["--socket", daemon.socket.to_str().unwrap(), "tg", "list", "--watch=0.1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let lines: Vec<String> = lines.by_ref().take(5).map(Result::unwrap).collect();
    let are_tables: Vec<bool> = lines.iter().map(|line| line.trim_start().starts_with("NAME")).collect();
    if are_tables != [true, false, true, false, true] {
        child.kill().unwrap();
        panic!("{lines:?}: {:?}", Run::of(child.wait_with_output().unwrap()));
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let daemon = Daemon::start();
    let mut child = command()
        .args(["--socket", daemon.socket.to_str().unwrap(), "tg", "list", "--watch=0.1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut error = String::new();
    child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!(error, "");
}
