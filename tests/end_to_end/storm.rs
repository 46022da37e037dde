//! A thousand changes of configuration a second, of every kind, while datagrams flow: none is lost, the last change is in force, and the
//! daemon does not grow.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use lbd::testbed::{
    client::Flows,
    network::{Layout, Offload, Plan},
};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::{
    Test,
    config::{Config, Service},
    harness::{Rig, SOCKET, heavy, udp_vip},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[("storm::changes_by_the_thousand_lose_nothing", || storm(SHORT))];

/// The same for a minute, to run by hand.
pub const BY_HAND: &[Test] = &[("storm::a_minute_of_changes_loses_nothing", || storm(LONG))];

fn storm(length: Duration) -> Result<(), Failed> {
    let _heavy = heavy()?;
    let mut rig = Rig::build(PLAN)?;
    rig.start_targets()?;
    rig.start_daemon(&Config::only(&PLAN, Service::DATAGRAMS))?;
    let socket = rig.directory.path().join(SOCKET);
    furnish(&socket)?;
    let flows = Flows::open(&rig.network.client, udp_vip(), FLOWS)?;
    let full = rounds(&flows, WARM_UP, Duration::ZERO)?;
    let pause = WARM_UP / full.max(1);
    let pid = rig.daemon.as_ref().ok_or("no daemon was started")?.pid();
    let memory = resident_kib(pid)?;

    let (half, changes, generation) = thread::scope(|scope| -> Result<(u32, u64, u64), Failed> {
        let makers: Vec<_> = (0..MAKERS).map(|maker| (maker, socket.clone())).collect();
        let makers: Vec<_> = makers
            .into_iter()
            .map(|(maker, socket)| scope.spawn(move || change(maker, &socket, length)))
            .collect();
        let half = rounds(&flows, length, pause)?;
        let (mut changes, mut generation) = (0, 0);
        for maker in makers {
            let (made, last) = maker.join().map_err(|_| "the calls panicked")??;
            (changes, generation) = (changes + made, generation.max(last));
        }
        Ok((half, changes, generation))
    })?;
    let grown = resident_kib(pid)? as f64 / memory as f64;
    println!(
        "{:.0} changes a second; {:.0} datagrams a second ({:.0} without changes or pauses), none lost; memory x{grown:.2}",
        changes as f64 / length.as_secs_f64(),
        f64::from(half) * FLOWS as f64 / length.as_secs_f64(),
        f64::from(full) * FLOWS as f64 / WARM_UP.as_secs_f64(),
    );
    assert_eq!(rig.control.status()?.generation, generation);
    assert!(grown < 1.25, "the daemon grew {grown:.2} times");
    let mut api = Api::connect(&socket)?;
    for maker in 0..MAKERS {
        let group = api.ask("GET", &format!("/v1/target-groups/restless-{maker}"), &Value::Null)?;
        let last = LAST.to_string();
        assert_eq!(group["attributes"][DELAY], last.as_str(), "the last change is in force: {group}");
    }
    assert_eq!(rig.frames("no_listener")?, 0);
    drop(flows);
    let books = rig.finish()?;
    assert_eq!((books.0.missed, books.0.dropped), (0, 0), "{books}");
    Ok(())
}

/// A target group for each maker of changes, and listeners that forward to them.
fn furnish(socket: &Path) -> io::Result<()> {
    let mut api = Api::connect(socket)?;
    for maker in 0..MAKERS {
        let name = format!("restless-{maker}");
        let check = json!({ "fast_interval_ms": 5_000 });
        let group = json!({ "name": name, "protocol": "TCP", "port": 9_000, "health_check": check });
        api.ask("POST", "/v1/target-groups", &group)?;
        let forward = json!({ "target_groups": [{ "name": name }] });
        let listener = json!({ "protocol": "TCP", "port": 9_000 + maker, "forward": forward });
        api.ask("POST", "/v1/load-balancers/test/listeners", &listener)?;
    }
    Ok(())
}

/// Changes attributes, tags, targets, listeners and health checks in turn, at its share of the rate. Returns how many changes it
/// made, and the generation of the last.
fn change(maker: u16, socket: &Path, length: Duration) -> io::Result<(u64, u64)> {
    let mut api = Api::connect(socket)?;
    let (group, port) = (format!("/v1/target-groups/restless-{maker}"), 9_000 + maker);
    let listener = format!("/v1/load-balancers/test/listeners/{port}");
    let begun = Instant::now();
    let mut number = 0;
    while begun.elapsed() < length {
        let target =
            json!([{ "address": "198.19.1.2", "port": 10_000 + 10 * maker + (number / 10 % 7) as u16 }]);
        let (method, path, body) = match number % 5 {
            0 => {
                ("PATCH", group.clone(), json!({ "attributes": { DELAY: (number / 5 % 3_000).to_string() } }))
            }
            1 if number % 2 == 0 => ("POST", format!("{group}/targets"), json!({ "register": target })),
            1 => ("POST", format!("{group}/targets"), json!({ "deregister": target })),
            2 => ("PATCH", group.clone(), json!({ "tags": { "number": number.to_string() } })),
            3 => (
                "PATCH",
                listener.clone(),
                json!({ "attributes": { IDLE: (60 + number % 900).to_string() } }),
            ),
            _ => (
                "PATCH",
                group.clone(),
                json!({ "health_check": { "healthy_threshold": 2 + number / 5 % 9 } }),
            ),
        };
        api.ask(method, &path, &body)?;
        number += 1;
        let due = Duration::from_secs_f64(number as f64 * f64::from(MAKERS) / RATE);
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    let last = json!({ "attributes": { DELAY: LAST.to_string() } });
    let last = api.ask("PATCH", &group, &last)?;
    Ok((number + 1, last["generation"].as_u64().unwrap_or_default()))
}

/// Asks on all flows over and over, with a pause after each round. Returns how many rounds there were.
fn rounds(flows: &Flows, length: Duration, pause: Duration) -> io::Result<u32> {
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < length {
        flows.ask_all(&format!("round {rounds}"))?;
        rounds += 1;
        thread::sleep(pause);
    }
    Ok(rounds)
}

fn resident_kib(pid: u32) -> Result<u64, Failed> {
    let status = fs::read_to_string(PathBuf::from(format!("/proc/{pid}/status")))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse().ok());
    number.ok_or_else(|| "no VmRSS".into())
}

/// One connection to the control API, kept open.
struct Api {
    stream: BufReader<UnixStream>,
}

impl Api {
    fn connect(socket: &Path) -> io::Result<Api> {
        Ok(Api { stream: BufReader::new(UnixStream::connect(socket)?) })
    }

    /// The answer to a request, which must be 200.
    fn ask(&mut self, method: &str, path: &str, body: &Value) -> io::Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: lbd\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.stream.get_mut().write_all((head + &body).as_bytes())?;
        let (mut status, mut line, mut length) = (String::new(), String::new(), 0);
        self.stream.read_line(&mut status)?;
        while self.stream.read_line(&mut line)? > 2 {
            let lower = line.to_ascii_lowercase();
            let told = lower.strip_prefix("content-length:").and_then(|number| number.trim().parse().ok());
            length = told.unwrap_or(length);
            line.clear();
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        match status.split(' ').nth(1) {
            Some("200") => Ok(serde_json::from_slice(&answer)?),
            _ => {
                let answer = String::from_utf8_lossy(&answer);
                Err(io::Error::other(format!("{method} {path} {body}: {status}{answer}")))
            }
        }
    }
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 2, queues: 1, offload: Offload::Off };
const FLOWS: usize = 64;
const MAKERS: u16 = 4;
/// Changes a second that are asked for.
const RATE: f64 = 1_000.0;
const WARM_UP: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(60);
const DELAY: &str = "deregistration_delay.timeout_seconds";
const IDLE: &str = "tcp.idle_timeout.seconds";
/// Value of the last change.
const LAST: u32 = 3_333;
