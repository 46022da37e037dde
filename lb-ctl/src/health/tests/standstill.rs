//! A checking process that is stopped and goes on.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    servers::{request, serve},
    *,
};

/// Where the child finds the server.
const ENDPOINT: &str = "HEALTH_TEST_ENDPOINT";

#[test]
fn targets_are_not_blamed_for_our_own_absence() {
    let slow = serve(|mut stream| {
        request(&mut stream);
        thread::sleep(Duration::from_millis(100));
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n"); // Whoever was stopped may be gone.
    });
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "health::tests::standstill::checks_in_another_process"])
        .env(ENDPOINT, slow.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, states) = mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    thread::spawn(move || output.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
    while !states.recv_timeout(Duration::from_secs(30)).unwrap().contains("Healthy") {}
    for _ in 0..3 {
        signal(&child, Signal::STOP);
        thread::sleep(Duration::from_millis(1_300));
        signal(&child, Signal::CONT);
        thread::sleep(Duration::from_millis(60)); // No check has the time to succeed.
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let after: Vec<String> = states.iter().collect();
    assert!(after.is_empty(), "{after:?}");
}

/// What the test above runs in a child process and stops; nothing by itself. Its checks take a tenth of their timeout, which is shorter
/// than a stop.
#[test]
fn checks_in_another_process() {
    let Ok(endpoint) = env::var(ENDPOINT) else { return };
    let matcher = Matcher::default();
    let probe = Probe::Http(HttpProbe { host: "198.18.0.1:80".into(), path: "/".into(), matcher, tls: None });
    let health = Health::start(|transition| println!("{:?}", transition.to)).unwrap();
    let timeout = Duration::from_secs(1);
    health.set(vec![Check { probe: Arc::new(probe), timeout, ..check(endpoint.parse().unwrap()) }]);
    thread::sleep(Duration::from_secs(60));
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}
