//! `capture`: tshark reads what it writes, frames on both sides of the load balancer with what became of them, whoever ends it.

use std::{
    fs::{self, File},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use lb_ctl::capture::Capture;
use lbd::testbed::{
    client::Conversation,
    network::{CLIENT, Layout, Offload, Plan, VIP},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::{ClientAddress, Config, Service},
    harness::{LBCTL, Rig, SOCKET, TCP_PORT, tcp_vip, wait_until},
    web::output_of,
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("capture::tshark_reads_both_sides_and_what_became_of_each_frame", read_by_tshark),
    ("capture::who_may_only_read_may_not_capture", readers),
];

/// Frames of one connection, full NAT, and one that leads nowhere.
fn read_by_tshark() -> Result<(), Failed> {
    let service = Service { client_address: ClientAddress::Hidden, ..Service::LINES };
    let rig = Rig::serve_by(PLAN, &Config::only(&PLAN, service))?;
    let file = rig.directory.path().join("live.pcapng");
    let capturing = Capturing::start(&rig, &file)?;
    let mut conversation = rig.network.client.within(|| Conversation::open(tcp_vip()))?;
    let answer = conversation.ask("hello")?;
    let connect = || TcpStream::connect_timeout(&(VIP, TCP_PORT + 9).into(), Duration::from_millis(300));
    assert!(rig.network.client.within(connect).is_err());
    // What the target said, on its way in and, by another worker perhaps, out.
    wait_for_words(&file, &["drop no_listener", &format!("{} {} hello", answer.target, answer.client)])?;
    let said = capturing.interrupt()?;

    let rows = tshark(&file)?;
    let frames = frames_in(&file)?.ok_or("the capture was left damaged")?;
    assert_eq!(rows.len(), frames, "tshark does not see as many frames as were written");
    assert_eq!(said.trim_end(), format!("{frames} frames"));
    let find = |what: &str, test: &dyn Fn(&Row) -> bool| {
        rows.iter().find(|row| test(row)).ok_or_else(|| format!("{what}: not in {rows:#?}"))
    };
    let target = answer.target.trim_start_matches("target").parse::<u8>()?;
    let target = lbd::testbed::network::target_address(target).to_string();
    let (client, vip, seen) = (CLIENT.to_string(), VIP.to_string(), answer.client);
    // What comes in by another worker's queue is handed over there, and told of once more where it leaves.
    let syn = find("a SYN in", &|row| row.goes(&client, &vip) && is_taken(&row.comment))?;
    assert_eq!(syn.direction, "1", "inbound: {syn:?}");
    let sent = find("the SYN out", &|row| row.goes(&seen.ip().to_string(), &target))?;
    assert_eq!((sent.direction.as_str(), sent.source_port.as_str()), ("2", &*seen.port().to_string()));
    assert!(sent.comment.starts_with(&format!("transmit new_flow -> {target}:8080, worker ")), "{sent:?}");
    let reply = find("an answer in", &|row| row.goes(&target, &seen.ip().to_string()))?;
    assert_eq!((reply.direction.as_str(), reply.source_port.as_str()), ("1", "8080"));
    find("an answer out", &|row| row.goes(&vip, &client) && row.direction == "2" && row.source_port == "80")?;
    let stray = find("the drop", &|row| row.comment.starts_with("drop no_listener, worker "))?;
    assert!(stray.direction == "1" && stray.goes(&client, &vip), "{stray:?}");
    assert!(rows.iter().all(|row| rig.network.interfaces.contains(&row.interface)), "{rows:#?}");
    assert_ne!(syn.interface, "", "{syn:?}");

    drop(conversation);
    never_overwrites(&rig, &file)?;
    goes_into_a_pipe(&rig)?;
    rig.finish().map(drop)
}

fn is_taken(comment: &str) -> bool {
    comment.starts_with("transmit new_flow -> ") || comment.starts_with("hand_over handed_over -> worker ")
}

fn never_overwrites(rig: &Rig, file: &Path) -> Result<(), Failed> {
    let size = fs::metadata(file)?.len();
    let refused = lbctl(rig, &["capture"]).arg(file).output()?;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && said.contains("give --force"), "{said}");
    assert_eq!(fs::metadata(file)?.len(), size);
    output_of(lbctl(rig, &["capture", "--force", "--seconds", "1", "--client", "198.18.0.9"]).arg(file))?;
    assert_eq!(frames_in(file)?, Some(0));
    Ok(())
}

/// As into wireshark.
fn goes_into_a_pipe(rig: &Rig) -> Result<(), Failed> {
    let mut capture =
        lbctl(rig, &["capture", "-", "--vip", &tcp_vip().to_string(), "--count", "3", "--snap", "60"]);
    let mut capture = Ended(capture.stdout(Stdio::piped()).spawn()?);
    let pipe = capture.0.stdout.take().ok_or("no output")?;
    let mut reader = Command::new("tshark");
    reader.args(["-r", "-", "-T", "fields", "-e", "frame.cap_len", "-e", "frame.comment"]);
    let reader = reader.stdin(pipe).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    while capture.0.try_wait()?.is_none() {
        rig.network.client.within(|| Conversation::open(tcp_vip()))?.ask("hello")?;
    }
    let read = reader.wait_with_output()?;
    let read = String::from_utf8(read.stdout)?;
    let rows: Vec<&str> = read.lines().collect();
    let lengths: Vec<usize> = rows
        .iter()
        .map(|row| row.split('\t').next().unwrap_or_default().parse())
        .collect::<Result<_, _>>()?;
    assert!(rows.len() >= 3 && lengths.iter().max() == Some(&60), "{read}");
    assert!(read.contains("worker "), "{read}");
    Ok(())
}

fn readers() -> Result<(), Failed> {
    let mut rig = Rig::build(PLAN)?;
    fs::set_permissions(rig.directory.path(), fs::Permissions::from_mode(0o755))?;
    let text = Config::of(&PLAN).text(&rig.network.interfaces, rig.directory.path());
    let file = rig.write_text(&format!("{text}\n[control_api]\nread_only_groups = [{READERS}]\n"))?;
    rig.launch_daemon_by(&file)?;
    let socket = rig.directory.path().join(SOCKET);
    for (group, path, status) in [
        (READERS, "trace?seconds=1", "200"),
        (READERS, "capture?seconds=1", "403"),
        (0, "capture?seconds=1&client=198.18.0.2", "200"),
    ] {
        let user = if group == 0 { "--reuid=0" } else { "--reuid=1234" };
        let mut command = Command::new("setpriv");
        command.args([user, &format!("--regid={group}"), "--clear-groups", "curl", "-s", "-o", "/dev/null"]);
        command
            .args(["-w", "%{http_code}", "--unix-socket"])
            .arg(&socket)
            .arg(format!("http://lbd/v1/{path}"));
        assert_eq!(output_of(&mut command)?, status, "group {group}: {path}");
    }
    rig.wait_for_log(": capture of packets: client=198.18.0.2 seconds=1")?;
    let log = rig.daemon.as_ref().ok_or("no daemon was started")?.printed();
    assert_eq!(log.lines().filter(|line| line.contains("capture of packets: ")).count(), 1, "{log}");
    rig.finish().map(drop)
}

/// What tshark says of a frame.
#[derive(Debug)]
struct Row {
    comment: String,
    interface: String,
    /// 1 in, 2 out.
    direction: String,
    source: String,
    destination: String,
    source_port: String,
}

impl Row {
    fn goes(&self, source: &str, destination: &str) -> bool {
        (self.source.as_str(), self.destination.as_str()) == (source, destination)
    }
}

fn tshark(file: &Path) -> Result<Vec<Row>, Failed> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-T", "fields"]);
    let fields = [
        "frame.comment",
        "frame.interface_name",
        "frame.packet_flags_direction",
        "ip.src",
        "ip.dst",
        "tcp.srcport",
    ];
    command.args(fields.iter().flat_map(|field| ["-e", field]));
    let said = output_of(&mut command)?;
    let row = |line: &str| {
        let mut fields = line.split('\t').map(str::to_owned);
        let mut next = || fields.next().unwrap_or_default();
        let (comment, interface, direction) = (next(), next(), next());
        let direction = direction.trim_start_matches("0x").trim_start_matches('0').to_owned();
        Row { comment, interface, direction, source: next(), destination: next(), source_port: next() }
    };
    Ok(said.lines().map(row).collect())
}

/// Frames of a capture; `None` while it ends within one.
fn frames_in(file: &Path) -> Result<Option<usize>, Failed> {
    let Ok(mut capture) = Capture::open(File::open(file)?) else { return Ok(None) };
    let mut frames = 0;
    loop {
        match capture.next_frame() {
            Ok(Some(_)) => frames += 1,
            Ok(None) => return Ok(Some(frames)),
            Err(_) => return Ok(None),
        }
    }
}

/// Waits until a capture holds all of these, in frames or in what is said of them: the last that it is about.
fn wait_for_words(file: &Path, words: &[&str]) -> Result<(), Failed> {
    wait_until(&format!("{words:?} in the capture"), || {
        let capture = fs::read(file)?;
        let has = |word: &&str| capture.windows(word.len()).any(|window| window == word.as_bytes());
        Ok(words.iter().all(has))
    })
}

fn lbctl(rig: &Rig, arguments: &[&str]) -> Command {
    let mut command = Command::new(LBCTL);
    command.arg("--socket").arg(rig.directory.path().join(SOCKET)).args(arguments).stdin(Stdio::null());
    command
}

/// `lbctl capture` into a file, that has begun.
struct Capturing(Ended);

impl Capturing {
    fn start(rig: &Rig, file: &Path) -> Result<Capturing, Failed> {
        let mut command = lbctl(rig, &["capture"]);
        let child = command.arg(file).stderr(Stdio::piped()).spawn()?;
        let capturing = Capturing(Ended(child));
        wait_until("a capture that has begun", || Ok(file.exists() && frames_in(file)?.is_some()))?;
        Ok(capturing)
    }

    /// As by Ctrl-C. Returns what it printed.
    fn interrupt(mut self) -> Result<String, Failed> {
        // SAFETY: the call takes integers; the child has not been waited for, so its number is its own.
        assert_eq!(unsafe { libc::kill(self.0.0.id() as libc::pid_t, libc::SIGINT) }, 0);
        let mut said = String::new();
        let output = self.0.0.stderr.as_mut().ok_or("no output")?;
        std::io::Read::read_to_string(output, &mut said)?;
        assert!(self.0.0.wait()?.success(), "{said}");
        Ok(said)
    }
}

/// A program that ends with its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill()); // Where it has ended, there is nobody to kill.
        drop(self.0.wait());
    }
}

const PLAN: Plan = Plan { layout: Layout::Switched, targets: 2, queues: 2, offload: Offload::Off };
/// Number of a group that needs no name.
const READERS: u32 = 4711;
