//! The control API's doors: who gets in, and what those who mean no good do to packets and to the operator.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use lb_ctl::{
    api::{NewTarget, TargetAddress, TargetChanges},
    client::{Client, ClientError},
};
use lbd::testbed::{
    client::Crowd,
    network::{Family, Layout, Offload, Plan},
    process::Process,
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{Config, Registered, Service},
    flood::echo_loss,
    harness::{PATIENCE, Rig, SOCKET, heavy, tcp_vip, udp_vip, wait_until},
    target_process,
    web::output_of,
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("control_api::users_and_groups_may_do_what_they_may", users_and_groups),
    ("control_api::packets_and_the_operator_do_not_notice_a_siege", siege),
    ("control_api::a_lost_socket_comes_back", lost_socket),
    ("control_api::a_log_that_nobody_reads_stops_nothing", unread_log),
];

fn users_and_groups() -> Result<(), Failed> {
    let mut rig = Rig::build(PLAN)?;
    fs::set_permissions(rig.directory.path(), fs::Permissions::from_mode(0o755))?;
    let section = format!(
        "[control_api]\nread_write_groups = [{WRITERS}]\nread_only_groups = [{READERS}]\nconnections_per_user = 8\n"
    );
    launch(&mut rig, &Config::of(&PLAN), &section)?;
    let socket = rig.directory.path().join(SOCKET);
    let (read, write) = (["GET", "/v1/status"], ["POST", "/v1/reload"]);
    for (user, request, status) in [
        (&["--reuid=1234", "--regid=1234", "--clear-groups"][..], read, "403"),
        (&["--reuid=1234", "--regid=4711", "--clear-groups"], read, "200"),
        (&["--reuid=1234", "--regid=4711", "--clear-groups"], write, "403"),
        (&["--reuid=1234", "--regid=1234", "--groups=5,4711"], read, "200"),
        (&["--reuid=1234", "--regid=1234", "--groups=5,4712"], write, "200"),
        (&["--reuid=0", "--regid=1234", "--clear-groups"], write, "200"),
    ] {
        let told = output_of(&mut curl(user, &socket, request))?;
        assert!(told.ends_with(status), "{user:?} {request:?}: {told}");
        assert!(status != "403" || told.contains("\"code\":\"AccessDenied\""), "{told}");
    }
    assert_eq!(rig.control.stats()?.control_api.refused_access, 1);
    rig.wait_for_log("lbd: audit: uid 1234 pid ")?;
    rig.wait_for_log(": reload ")?;
    rig.finish().map(drop)
}

/// As a user and its groups, the status last.
fn curl(user: &[&str], socket: &Path, [method, path]: [&str; 2]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(user).args(["curl", "-s", "-X", method, "-w", "%{http_code}", "--unix-socket"]);
    command.arg(socket).arg(format!("http://lbd{path}"));
    command
}

fn siege() -> Result<(), Failed> {
    let _heavy = heavy()?;
    let mut rig = Rig::build(PLAN)?;
    fs::set_permissions(rig.directory.path(), fs::Permissions::from_mode(0o755))?;
    let _targets = target_process::start_all(&rig)?;
    launch(&mut rig, &Config::of(&PLAN), &format!("[control_api]\nread_only_groups = [{READERS}]\n"))?;
    rig.wait_for("all targets healthy", |rows| rows.iter().all(|row| row.state == "healthy"))?;
    let socket = rig.directory.path().join(SOCKET);
    let mut crowd = Crowd::open(&rig.network.client, tcp_vip(), 500)?;
    let client = &rig.network.client;
    let before = client.within(|| echo_loss(udp_vip(), || true))?;
    let is_over = AtomicBool::new(false);
    let (socket, end) = (&*socket, Instant::now() + SIEGE);
    let (during, waits, connections) = thread::scope(|scope| {
        let operator = scope.spawn(|| waits_for_status(&rig.control, &is_over));
        let echoing = scope.spawn(|| client.within(|| echo_loss(udp_vip(), || is_over.load(Relaxed))));
        let besiegers = [besiege, besiege_with_bodies, besiege_with_slow_heads]
            .map(|besiege| scope.spawn(move || besiege(socket, end)));
        let stranger =
            "for i in $(seq 100); do curl -s -m 1 --unix-socket $0 http://lbd/v1/status; done; true";
        let mut strangers = Command::new("setpriv");
        strangers.args(["--reuid=1234", "--regid=1234", "--clear-groups", "sh", "-c", stranger]).arg(socket);
        output_of(&mut strangers)?;
        let connections: Result<Vec<usize>, _> = besiegers.into_iter().map(|one| one.join()).collect();
        is_over.store(true, Relaxed);
        let during = echoing.join().map_err(|_| "the echo panicked")??;
        let waits = operator.join().map_err(|_| "the operator panicked")??;
        Ok::<_, Failed>((during, waits, connections.map_err(|_| "a besieger panicked")?))
    })?;
    // A machine that stands still for once has the operator wait, too.
    let long = waits[waits.len() * 9 / 10];
    println!(
        "control API besieged by {connections:?} connections: of {} times the operator waited longer than {:.1} ms once in ten; \
         lost {:.3} % of datagrams, {:.3} % before",
        waits.len(),
        long.as_secs_f64() * 1e3,
        during * 100.0,
        before * 100.0
    );
    assert_eq!(crowd.ask_all("after the siege", PATIENCE).len(), 0);
    assert!(during <= before + 0.001, "{during} of datagrams lost, {before} before");
    assert!(long < Duration::from_secs(1), "{waits:?}");
    assert!(rig.control.stats()?.control_api.refused_access > 0, "no stranger got as far as to be refused");
    rig.finish().map(drop)
}

/// Connections that say nothing, as fast as they can be made. Returns how many.
fn besiege(socket: &Path, end: Instant) -> usize {
    let mut held = Vec::new();
    let mut count = 0;
    while Instant::now() < end {
        held.extend(UnixStream::connect(socket));
        count += 1;
        if held.len() == 400 {
            held.clear();
        }
    }
    count
}

/// Bodies of a gibibyte.
fn besiege_with_bodies(socket: &Path, end: Instant) -> usize {
    let head = "POST /v1/apply HTTP/1.1\r\nhost: lbd\r\ncontent-length: 1073741824\r\n\r\n";
    let mut count = 0;
    while Instant::now() < end {
        let Ok(mut stream) = UnixStream::connect(socket) else { continue };
        let mut written = stream.write_all(head.as_bytes());
        while written.is_ok() {
            written = stream.write_all(&[b' '; 1 << 16]);
        }
        count += 1;
    }
    count
}

/// Heads a byte at a time.
fn besiege_with_slow_heads(socket: &Path, end: Instant) -> usize {
    let mut slow: Vec<UnixStream> = (0..40).filter_map(|_| UnixStream::connect(socket).ok()).collect();
    for byte in b"GET /v1/status HTTP/1.1\r\nx: ".iter().chain(std::iter::repeat(&b'y')) {
        if Instant::now() > end {
            break;
        }
        slow.iter_mut().for_each(|stream| drop(stream.write_all(&[*byte])));
        thread::sleep(Duration::from_millis(100));
    }
    slow.len()
}

/// How long the operator waits for answers, the longest time last. One whose connection is taken by others asks again.
fn waits_for_status(control: &Client, is_over: &AtomicBool) -> Result<Vec<Duration>, Failed> {
    let mut waits = Vec::new();
    while !is_over.load(Relaxed) || waits.len() < LEAST_QUESTIONS {
        let begun = Instant::now();
        while let Err(error) = control.status() {
            let is_displaced = matches!(error, ClientError::Stopped);
            assert!(is_displaced && begun.elapsed() < PATIENCE, "{error} after {:?}", begun.elapsed());
        }
        waits.push(begun.elapsed());
        thread::sleep(Duration::from_millis(10));
    }
    waits.sort_unstable();
    Ok(waits)
}

fn lost_socket() -> Result<(), Failed> {
    let mut rig = Rig::serve(PLAN)?;
    let mut crowd = rig.crowd(20)?;
    let directory = rig.directory.path().join(SOCKET);
    let directory = directory.parent().ok_or("the socket is in a directory")?;
    // At one blow: lbd may listen there again while files are removed one by one.
    let removed = rig.directory.path().join("removed");
    fs::rename(directory, &removed)?;
    fs::remove_dir_all(removed)?;
    assert_eq!(crowd.ask_all("while it is gone", PATIENCE).len(), 0);
    wait_until("somebody who listens again", || Ok(rig.control.status().is_ok()))?;
    assert_eq!(fs::metadata(directory)?.permissions().mode() & 0o777, 0o750);
    rig.wait_for_log("was removed; lbd listens there again")?;
    rig.wait_for("its targets", |rows| !rows.is_empty())?;
    rig.finish().map(drop)
}

/// Standard output and error lead into a pipe that is full, as under `lbd | sleep 1000`.
fn unread_log() -> Result<(), Failed> {
    let rig = Rig::build(PLAN)?;
    let config = Config::only(&PLAN, Service { registered: Registered::ByCalls, ..Service::LINES });
    let mut command = rig.lbd(&rig.write(&config)?);
    let (mut reader, writer) = std::io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer).stdin(Stdio::null());
    let mut daemon = Ended(command.spawn()?);
    drop(command); // It holds the pipe's other end, too.
    wait_until("an answer", || Ok(rig.control.status().is_ok()))?;
    let address = Family::V4.target(1);
    for round in 0..1_500 {
        let (target, port) = (NewTarget { address, port: Some(1), weight: None, zone: None }, Some(1));
        let changes = match round % 2 {
            0 => TargetChanges { register: vec![target], deregister: vec![] },
            _ => TargetChanges { register: vec![], deregister: vec![TargetAddress { address, port }] },
        };
        rig.control.change_targets(Service::LINES.name, &changes)?;
    }
    let ended = Instant::now();
    output_of(Command::new("kill").arg(daemon.0.id().to_string()))?;
    assert!(daemon.0.wait()?.success());
    assert!(ended.elapsed() < PATIENCE);
    let mut log = String::new();
    reader.read_to_string(&mut log)?;
    assert!(log.len() > 60_000, "the pipe was not full: {} bytes", log.len());
    rig.assert_nothing_left()
}

/// A program that ends with its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill()); // Where the test has stopped it, there is nobody to kill.
        drop(self.0.wait());
    }
}

/// Starts the daemon with lines beside the usual ones, and waits until it answers.
fn launch(rig: &mut Rig, config: &Config, lines: &str) -> Result<(), Failed> {
    let text = config.text(&rig.network.interfaces, rig.directory.path());
    let mut command = rig.lbd(&rig.write_text(&format!("{text}\n{lines}"))?);
    rig.daemon = Some(Process::start(&mut command, &rig.directory.path().join("lbd.log"))?);
    rig.wait_for("an answer", |_| true)
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 2, queues: 2, offload: Offload::Off };
/// Numbers of groups that need no name.
const READERS: u32 = 4711;
const WRITERS: u32 = 4712;
const SIEGE: Duration = Duration::from_secs(6);
/// So many that one in ten is more than one.
const LEAST_QUESTIONS: usize = 30;
