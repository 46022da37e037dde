//! `lbctl health` and `lbctl drain`.

use std::{process::Stdio, thread, time::Duration};

use serde_json::json;

use crate::{Run, command, daemon::Daemon};

fn daemon() -> Daemon {
    let daemon = Daemon::start();
    daemon.all_done(&[
        "tg create web --protocol TCP --port 80",
        "tg create spare --protocol TCP --port 80",
        "targets register web 198.19.1.2 198.19.1.3",
    ]);
    daemon
}

#[test]
fn health_is_told_by_the_exit_code() {
    let daemon = daemon();
    daemon.lbctl("health").done();
    daemon.set_state("198.19.1.3:80", "unhealthy");
    assert_eq!(daemon.lbctl("health").failed(1), "lbctl: not healthy: web/198.19.1.3:80 (unhealthy)\n");
    assert_eq!(daemon.lbctl("health web").failed(1), "lbctl: not healthy: 198.19.1.3:80 (unhealthy)\n");
    daemon.set_state("198.19.1.3:80", "unused");
    daemon.lbctl("health").done();
    daemon.lbctl("health web").failed(1);
    let error = daemon.lbctl("health spare").failed(1);
    assert_eq!(error, "lbctl: not healthy: spare (no target is registered)\n");
    daemon.lbctl("health none").failed(1);
}

#[test]
fn health_is_waited_for() {
    let daemon = daemon();
    daemon.set_state("198.19.1.2:80", "initial");
    let error = daemon.lbctl("health web --wait --timeout 0").failed(1);
    assert_eq!(error, "lbctl: not healthy after 0 s: 198.19.1.2:80 (initial)\n");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| daemon.lbctl("health web --wait --timeout 60 -o json"));
        thread::sleep(Duration::from_millis(300));
        assert!(!waiting.is_finished());
        daemon.set_state("198.19.1.2:80", "healthy");
        assert_eq!(waiting.join().unwrap().json().as_array().unwrap().len(), 2);
    });
}

#[test]
fn draining_ends_with_the_flows() {
    let daemon = daemon();
    daemon.set_flows("198.19.1.2:80", 3);
    let error = daemon.lbctl("drain web 198.19.1.2 --timeout 0").failed(1);
    assert!(error.contains("still draining, with 3 flows left"), "{error}");
    thread::scope(|scope| {
        let draining = scope.spawn(|| daemon.lbctl("drain web 198.19.1.2 198.19.1.3:80 -o json"));
        thread::sleep(Duration::from_millis(300));
        assert!(!draining.is_finished());
        daemon.set_flows("198.19.1.2:80", 0);
        let expected = json!([{ "target": "198.19.1.2:80", "active_flows": 0 },
                              { "target": "198.19.1.3:80", "active_flows": 0 }]);
        assert_eq!(draining.join().unwrap().json(), expected);
    });
    let error = daemon.lbctl("targets drain web 198.19.1.2").failed(1);
    assert!(error.contains("198.19.1.2:80 is no target of web: `lbctl targets web` lists them"), "{error}");
}

#[test]
fn flows_that_outlive_the_delay_are_told() {
    let daemon = daemon();
    daemon.set_flows("198.19.1.2:80", 1);
    daemon.set_state("198.19.1.2:80", "unused");
    let run = daemon.lbctl("drain web 198.19.1.2");
    assert_eq!(run.out, "198.19.1.2:80: deregistered, 1 flow left\n");
    assert_eq!(run.failed(1), "lbctl: the delay is over; 1 flow goes on\n");
}

#[test]
fn only_registered_targets_are_waited_for() {
    let daemon = daemon();
    daemon.lbctl("targets wait web 198.19.1.2").done();
    let error = daemon.lbctl("targets wait web 198.19.1.9").failed(1);
    assert!(error.contains("198.19.1.9 is no target of web"), "{error}");
}

#[test]
fn a_wait_outlives_the_daemon_until_it_is_back() {
    let mut daemon = daemon();
    daemon.lbctl("targets register spare 198.19.1.4").done();
    daemon.set_state("198.19.1.2:80", "initial");
    daemon.set_state("198.19.1.4:80", "initial");
    let socket = daemon.socket.clone();
    let wait = |group: &str, seconds: &str| {
        let mut command = command();
        command.arg("--socket").arg(&socket).args(["health", group, "--wait", "--timeout", seconds]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut waits = wait("web", "60");
    daemon.wait_for_look("web", 0);
    let mut give_up = || {
        let seen = daemon.looks("spare");
        let gives_up = wait("spare", "2");
        daemon.wait_for_look("spare", seen);
        daemon.stop();
        let run = Run::of(gives_up.wait_with_output().unwrap());
        let stayed_too_long = run.code == Some(1); // The daemon did, until time was over.
        if stayed_too_long {
            daemon.start_again();
        }
        (!stayed_too_long).then_some(run)
    };
    let run = (0..3).find_map(|_| give_up()).expect("the daemon stops in time");
    assert!(run.failed(2).contains("cannot reach lbd"));
    assert!(waits.try_wait().unwrap().is_none());
    daemon.set_state("198.19.1.2:80", "healthy");
    daemon.start_again();
    Run::of(waits.wait_with_output().unwrap()).done();
}
