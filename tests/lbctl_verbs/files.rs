//! `lbctl diff`, `apply` and `export`.

use std::{io::Write, process::Stdio};

use serde_json::json;

use crate::{Run, command, daemon::Daemon};

const FILE: &str = r#"
[[load_balancers]]
name = "edge"
addresses = ["198.18.100.1"]
[[load_balancers.listeners]]
protocol = "TCP"
port = 80
target_group = "web"
[[target_groups]]
name = "web"
protocol = "TCP"
port = 8080
targets = [{ address = "198.19.1.2" }, { address = "198.19.1.3" }]
"#;

#[test]
fn a_file_is_compared_applied_and_nothing_to_change_the_second_time() {
    let daemon = Daemon::start();
    let path = daemon.file(FILE);
    let path = path.to_str().unwrap();
    let added = "+ listener edge/TCP:80\n+ load balancer edge\n+ target group web\n\
                 + target web/198.19.1.2:8080\n+ target web/198.19.1.3:8080\n";
    let before = daemon.generation();
    assert_eq!(sorted(&daemon.lbctl_with(&["diff", path]).done()), sorted(added));
    daemon.lbctl_with(&["diff", "--exit-code", path]).failed(1);
    assert_eq!(sorted(&daemon.lbctl_with(&["apply", "--dry-run", path]).done()), sorted(added));
    assert_eq!(daemon.generation(), before);

    let said = daemon.lbctl_with(&["apply", path]).done();
    let generation = daemon.generation();
    assert!(said.ends_with(&format!("in force: generation {generation}\n")), "{said}");
    let said = daemon.lbctl_with(&["apply", path]).done();
    assert_eq!(said, format!("nothing to change: generation {generation}\n"));
    daemon.lbctl_with(&["diff", "--exit-code", path]).done();

    daemon.lbctl("listener set-attributes edge/80 tcp.idle_timeout.seconds=400").done();
    let said = daemon.lbctl_with(&["diff", path, "-o", "json"]).json();
    let expected = json!([{ "action": "change", "object": "listener edge/TCP:80",
                            "key": "attributes.tcp.idle_timeout.seconds", "from": "400" }]);
    assert_eq!(said, expected);
    let said = daemon.lbctl_with(&["apply", path]).done();
    assert!(said.contains("attributes.tcp.idle_timeout.seconds: 400 -> default\n"), "{said}");
}

#[test]
fn what_is_exported_changes_nothing_when_it_is_applied() {
    let daemon = Daemon::start();
    daemon.all_done(&[
        "lb create edge --pool subnet-a --pool subnet-b --tag a.b=c",
        "tg create web --protocol TCP --port 8080 --health-check protocol=HTTP --health-check matcher=200",
        "tg create spare --protocol UDP --port 53",
        "listener create edge TCP:80 --forward web --attribute tcp.idle_timeout.seconds=400",
        "listener create edge UDP:53 --forward spare --attribute udp.idle_timeout.seconds=30",
        "targets register web 198.19.1.2 --zone a",
    ]);
    let text = daemon.lbctl("export").done();
    let path = daemon.file(&text);
    let path = path.to_str().unwrap();
    let taken = "~ listener edge/TCP:80: owner: calls -> file\n~ listener edge/UDP:53: owner: calls -> file\n\
                 ~ load balancer edge: owner: calls -> file\n\
                 ~ target group spare: owner: calls -> file\n~ target group web: owner: calls -> file\n";
    assert_eq!(daemon.lbctl_with(&["diff", path]).done(), taken);
    let said = daemon.lbctl_with(&["apply", path]).done();
    let generation = daemon.generation();
    assert_eq!(said, format!("{taken}in force: generation {generation}\n"));
    daemon.lbctl_with(&["export", path]).done();
    assert_eq!(
        daemon.lbctl_with(&["apply", path]).done(),
        format!("nothing to change: generation {generation}\n")
    );
}

#[test]
fn a_file_comes_from_standard_input_too() {
    let daemon = Daemon::start();
    let apply = |text: &str| {
        let mut child = command()
            .args(["--socket", daemon.socket.to_str().unwrap(), "apply", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        Run::of(child.wait_with_output().unwrap())
    };
    apply(FILE).done();
    let error = apply(&FILE.replace("port = 80\n", "port = 0\n")).failed(1);
    assert!(error.contains("load_balancers[0].listeners[0].port: found 0"), "{error}");
}

#[test]
fn a_file_is_applied_to_the_generation_that_was_seen_alone() {
    let daemon = Daemon::start();
    let path = daemon.file(FILE);
    let path = path.to_str().unwrap();
    let stale = (daemon.generation() + 5).to_string();
    let error = daemon.lbctl_with(&["apply", path, "--if-generation", &stale]).failed(3);
    assert!(error.contains(&format!("not of {stale}")), "{error}");
    let now = daemon.generation().to_string();
    daemon.lbctl_with(&["apply", path, "--if-generation", &now]).done();
    daemon.lbctl_with(&["apply", "/nonexistent"]).failed(2);
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort();
    lines
}
