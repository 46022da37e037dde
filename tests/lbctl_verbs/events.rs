//! `lbctl events`.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use lb_ctl::api::Happening;

use crate::{command, daemon::Daemon};

fn fail_open(target_group: &str) -> Happening {
    Happening::FailOpen { target_group: target_group.into(), is_failing_open: true }
}

#[test]
fn events_are_listed_and_followed() {
    let daemon = Daemon::start();
    let events = daemon.server().events();
    events.publish(fail_open("first"));
    let mut child = command()
        .args(["--socket", daemon.socket.to_str().unwrap(), "events", "--follow", "--since", "1h"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert!(next().contains("target group first fails open"));
    events.publish(fail_open("second"));
    assert!(next().contains("target group second fails open"));
    let listed = daemon.lbctl("events -o json").done();
    let told: Vec<serde_json::Value> =
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let groups: Vec<_> = told.iter().map(|event| event["target_group"].as_str().unwrap()).collect();
    assert_eq!(groups, ["first", "second"]);
    let after = daemon.lbctl(&format!("events --since {}", told[0]["seq"])).done();
    assert!(!after.contains("first") && after.contains("second"), "{after}");
    drop(daemon);
    assert_eq!(child.wait().unwrap().code(), Some(2), "the stream has ended");
}
