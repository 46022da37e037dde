//! What the README shows of `lbctl`: said on a terminal of 80 columns, about a load balancer with traffic in a network of its own.
//!
//! `./ci.sh captures` writes it anew; the test sees that it still has the shape of what is said.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use lb_ctl::api::TargetRow;
use lbd::testbed::{
    client::{Conversation, Crowd, Flows},
    daemon::is_serving,
    network::{CLIENT, Family, Layout, Offload, Plan, VIP},
    target::{Ports, Target},
};
use libtest_mimic::Failed;
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::{
    Test,
    harness::{LBCTL, PATIENCE, Rig, SOCKET, tcp_vip},
    readme::{self, Capture},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[("captures::are_current_in_shape", are_current)];
/// By hand: replaces what README.md shows.
pub const BY_HAND: &[Test] = &[("captures::write", write)];

fn are_current() -> Result<(), Failed> {
    let shown = readme::captures(&readme::text()?)?;
    assert!(shown.len() >= CAPTURES_LEAST, "the README has only {} captures", shown.len());
    for (capture, said) in shown.iter().zip(all_said(&shown)?) {
        let Capture { command, shown } = capture;
        let (wanted, found) = (shape(shown), shape(&said));
        assert_eq!(wanted.first(), found.first(), "{command}: its first line; ./ci.sh captures renews it");
        for header in wanted.iter().filter(|line| is_header(line)) {
            assert!(found.contains(header), "{command} has no columns {header:?}:\n{said}");
        }
    }
    Ok(())
}

fn write() -> Result<(), Failed> {
    let text = readme::text()?;
    let said = all_said(&readme::captures(&text)?)?;
    Ok(std::fs::write(readme::path(), readme::with_captures(&text, &said)?)?)
}

/// What each command says: of a host on which nothing runs yet (`lbctl doctor`), or while clients talk to targets.
fn all_said(captures: &[Capture]) -> Result<Vec<String>, Failed> {
    let mut rig = Rig::build(PLAN)?;
    let of_host = |capture: &Capture| {
        let is_of_host = capture.command.starts_with("lbctl doctor");
        is_of_host.then(|| on_terminal(&rig, &capture.command)).transpose()
    };
    let of_host: Vec<Option<String>> = captures.iter().map(of_host).collect::<Result<_, _>>()?;
    start(&mut rig)?;
    let mut told = rig.network.client.within(|| Conversation::open_from(told_client(), tcp_vip()))?;
    told.ask("hello")?;
    let (crowd, queries) = (rig.crowd(40)?, Flows::open(&rig.network.client, (VIP, PORTS.udp).into(), 10)?);
    queries.ask_all("who is there")?;

    let stop = AtomicBool::new(false);
    let said = thread::scope(|scope| {
        let chatting = scope.spawn(|| chat(crowd, queries, &stop));
        let say = |(capture, said): (&Capture, Option<String>)| match said {
            Some(said) => Ok(said),
            None => on_terminal(&rig, &capture.command),
        };
        let said: Result<Vec<_>, Failed> = captures.iter().zip(of_host).map(say).collect();
        stop.store(true, Ordering::Relaxed);
        chatting.join().map_err(|_| "the clients panicked")?;
        said
    })?;
    drop(told);
    rig.finish()?;
    Ok(said)
}

/// Starts all targets but the last, and the daemon, and waits until it has found that out.
fn start(rig: &mut Rig) -> Result<(), Failed> {
    for (number, namespace) in (1..PLAN.targets).zip(&rig.network.targets) {
        let mut target = Target::new(format!("target{number}"), Family::V4.target(number), PORTS);
        target.start(namespace)?;
        rig.targets.push(target);
    }
    let file = rig.write_text(&config(rig))?;
    rig.launch_daemon_by(&file)?;
    let broken = Family::V4.target(PLAN.targets);
    let is_as_it_is =
        |row: &TargetRow| if row.target.ip() == broken { row.state == "unhealthy" } else { is_serving(row) };
    rig.wait_for("all targets but the last healthy", |rows| rows.iter().all(is_as_it_is))
}

/// Traffic to be told of. Whether all is answered is the matter of others.
fn chat(mut crowd: Crowd, queries: Flows, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        crowd.ask_all("hello", PATIENCE);
        drop(queries.ask_all("who is there"));
        thread::sleep(Duration::from_millis(10));
    }
}

/// What a command line says on a terminal without colours, complaints included.
fn on_terminal(rig: &Rig, command_line: &str) -> Result<String, Failed> {
    let arguments = command_line.strip_prefix("lbctl ").ok_or("only lbctl is captured")?;
    let mut terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).map(File::from)?;
    grantpt(&terminal)?;
    unlockpt(&terminal)?;
    tcsetwinsize(&terminal, Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 })?;
    let path = ptsname(&terminal, Vec::new())?;
    let screen = File::options().read(true).write(true).open(path.to_str()?)?;
    let mut child = {
        let mut command: Command = rig.network.lb.command(Path::new(LBCTL));
        command.args(arguments.split_whitespace());
        command.env("LBCTL_SOCKET", rig.directory.path().join(SOCKET)).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(screen.try_clone()?).stderr(screen).spawn()?
    };
    let said = read_all(&mut terminal)?;
    child.wait()?;
    let said = said.replace(&*rig.directory.path().to_string_lossy(), "/etc/lbd");
    let lines = said.lines().map(|line| format!("{}\n", line.trim_end()));
    Ok(lines.collect())
}

/// Until the other end of the terminal is closed, which is told as an error.
fn read_all(terminal: &mut File) -> Result<String, Failed> {
    let (mut said, mut part) = (Vec::new(), [0; 4_096]);
    loop {
        match terminal.read(&mut part) {
            Ok(0) => break,
            Ok(count) => said.extend_from_slice(&part[..count]),
            Err(error) if error.raw_os_error() == Some(libc::EIO) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(String::from_utf8(said)?)
}

/// Its lines without figures and graphs: times, numbers of processes, counters and addresses differ from run to run.
fn shape(text: &str) -> Vec<String> {
    let is_graph = |word: &&str| word.chars().all(|letter| ('▁'..='█').contains(&letter));
    let line = |line: &str| {
        let words = line.split_whitespace().filter(|word| !is_graph(word)).map(|word| {
            let is_figure = word.contains(|letter: char| letter.is_ascii_digit());
            if is_figure || UNITS.contains(&word.trim_end_matches(',')) { "#" } else { word }
        });
        let mut words: Vec<&str> = words.collect();
        words.dedup();
        words.join(" ")
    };
    text.lines().map(line).collect()
}

/// Whether it is titles of columns; `lbctl top` marks the one that rows are sorted by with a v.
fn is_header(line: &str) -> bool {
    let is_capital = |letter: char| letter.is_ascii_uppercase() || " /".contains(letter);
    line.contains(' ') && line.trim_start_matches('v').chars().all(is_capital)
}

fn config(rig: &Rig) -> String {
    let directory = rig.directory.path().display();
    format!(
        r#"
interfaces = {:?}
state_directory = "{directory}/state"
control_socket = "{directory}/{SOCKET}"
flow_table = {{ capacity = 65536 }}

[[load_balancers]]
name = "edge"
addresses = ["{VIP}"]
listeners = [
    {{ protocol = "TCP", port = 80, target_group = "web" }},
    {{ protocol = "UDP", port = 53, target_group = "dns" }},
]

[[target_groups]]
name = "web"
protocol = "TCP"
port = 8080
targets = [{{ address = "198.19.1.2" }}, {{ address = "198.19.2.2" }}, {{ address = "198.19.3.2" }}]
attributes = {{ "preserve_client_ip.enabled" = true }}
health_check = {{ fast_interval_ms = 1000 }}

[[target_groups]]
name = "dns"
protocol = "UDP"
port = 53
targets = [{{ address = "198.19.1.2" }}, {{ address = "198.19.2.2" }}]
health_check = {{ port = 8080, fast_interval_ms = 1000 }}
"#,
        rig.network.interfaces
    )
}

/// The client whose packets `lbctl why` tells of.
fn told_client() -> SocketAddr {
    (CLIENT, 40_000).into()
}

const PLAN: Plan = Plan { layout: Layout::Switched, targets: 3, queues: 2, offload: Offload::Off };
const PORTS: Ports = Ports { tcp: 8080, udp: 53 };
const COLUMNS: u16 = 80;
const ROWS: u16 = 24;
const CAPTURES_LEAST: usize = 5;
const UNITS: [&str; 5] = ["s", "min", "h", "d", "ms"];
