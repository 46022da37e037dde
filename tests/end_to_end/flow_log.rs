//! The flow log: every flow leaves one record, with what went through it and why it ended; and whatever becomes of the file, traffic
//! goes on.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lb_ctl::api::{FlowLogStatus, FlowsQuery, Traffic};
use lbd::testbed::{
    client::{Conversation, Flows},
    network::{Layout, Offload, Plan, VIP, target_address},
    process::Process,
    target::UNANSWERED,
};
use libtest_mimic::Failed;
use serde_json::Value;

use crate::{
    Test,
    config::{ClientAddress, Config, Service},
    harness::{LBCTL, PATIENCE, Rig, SOCKET, tcp_vip, udp_vip, wait_until},
    stopped_thread::StoppedThread,
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("flow_log::tells_what_went_through_each_flow", counts),
    ("flow_log::tells_why_each_flow_ended", reasons),
    ("flow_log::a_full_queue_is_counted_and_traffic_goes_on", full_queue),
    ("flow_log::a_full_disk_is_counted_and_traffic_goes_on", full_disk),
    ("flow_log::is_switched_and_moved_by_a_reload", reload),
    ("flow_log::a_killed_daemon_leaves_whole_lines", killed),
];

fn counts() -> Result<(), Failed> {
    let mut rig = Rig::build(PLAN)?;
    rig.start_targets()?;
    let services = vec![Service::LINES, HIDDEN, Service::DATAGRAMS];
    let config = Config { services, ..Config::of(&PLAN) };
    let section = section(&rig, "");
    launch(&mut rig, &config, &section)?;
    let mut talks = Vec::new();
    for number in 0..20 {
        let vip = if number < 10 { tcp_vip() } else { (VIP, HIDDEN.port).into() };
        talks.push(rig.network.client.within(|| Talk::hold(vip, 1 + number * 37))?);
    }
    let sender = rig.network.client.within(|| UdpSocket::bind("0.0.0.0:0"))?;
    for _ in 0..3 {
        sender.send_to(&[UNANSWERED; 100], udp_vip())?;
    }
    let records = log(&rig).wait("each connection", |records| records.len() == talks.len())?;
    for talk in &talks {
        let record = only(&records, talk.client, talk.vip)?;
        assert_eq!(
            (record["close_reason"].as_str(), record["state"].as_str()),
            (Some("fin"), Some("closed"))
        );
        let source = (talk.seen != talk.client).then_some(talk.seen);
        assert_eq!(record["source_nat_ip"].as_str(), source.map(|end| end.ip().to_string()).as_deref());
        assert_eq!(record["source_nat_port"].as_u64(), source.map(|end| end.port().into()));
        assert_eq!(record["target_ip"].as_str().map(target_name), Some(talk.target.clone()));
        assert!(record["connection_time_ms"].as_u64().is_some_and(|ms| ms < 60_000), "{record}");
        for (direction, data) in [("received", talk.said), ("sent", talk.heard)] {
            let packets = number(record, &format!("{direction}_packets"));
            let headers = SYN_BYTES + (packets - 1) * ACK_BYTES;
            // What is sent twice, because the machine is busy, is counted twice.
            let bytes = number(record, &format!("{direction}_bytes"));
            assert!(bytes == headers + data || rig_has_retransmitted(&rig)?, "{direction} {data}: {record}");
        }
    }
    let traffic: Vec<(String, Traffic)> = rig.control.status()?.load_balancers[0]
        .listeners
        .iter()
        .map(|row| (row.name.clone(), row.traffic))
        .collect();
    rig.stop()?;

    let records = log(&rig).read()?;
    let datagrams = only(&records, ([198, 18, 0, 2], sender.local_addr()?.port()).into(), udp_vip())?;
    assert_eq!((number(datagrams, "received_packets"), number(datagrams, "received_bytes")), (3, 3 * 128));
    assert_eq!((number(datagrams, "sent_packets"), datagrams["close_reason"].as_str()), (0, Some("stopped")));
    assert_eq!(
        (datagrams["load_balancer"].as_str(), datagrams["target_group"].as_str()),
        (Some("test"), Some("datagrams"))
    );
    for (name, traffic) in traffic {
        let sum = |field: &str| -> u64 {
            records.iter().filter(|row| row["listener"] == *name).map(|row| number(row, field)).sum()
        };
        let sums = ["received_bytes", "received_packets", "sent_bytes", "sent_packets"].map(sum);
        let Traffic { bytes_in, packets_in, bytes_out, packets_out, .. } = traffic;
        assert_eq!(sums, [bytes_in, packets_in, bytes_out, packets_out], "{name}");
    }
    Ok(())
}

fn reasons() -> Result<(), Failed> {
    let mut rig = Rig::build(PLAN)?;
    rig.start_targets()?;
    let attributes: &[_] = &[
        "deregistration_delay.timeout_seconds = 0",
        "deregistration_delay.connection_termination.enabled = true",
    ];
    let services = [Service::LINES, Service::DATAGRAMS].map(|service| Service { attributes, ..service });
    let config = Config { services: services.into(), ..Config::of(&PLAN) };
    let section = section(&rig, "");
    launch(&mut rig, &config, &section)?;
    let datagrams = Flows::open(&rig.network.client, udp_vip(), FLOWS)?;
    datagrams.ask_all("hello")?;
    let stream = rig.network.client.within(|| TcpStream::connect_timeout(&tcp_vip(), PATIENCE))?;
    let reset_by_client = stream.local_addr()?;
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    drop(stream);
    let mut crowd = rig.crowd(FLOWS)?;
    let leaving = rig.shares(&crowd)[0];
    assert!(leaving > 0 && leaving < FLOWS);

    // Target 1 is deregistered, target 2 ends as a process does, then nobody listens there.
    write(&rig, &config.without(1), &section)?;
    rig.control.reload()?;
    let reason = |reason: &'static str| move |row: &&Value| row["close_reason"] == reason;
    log(&rig).wait("flows of target 1", |records| {
        records.iter().filter(reason("deregistered")).filter(|row| row["protocol"] == "TCP").count()
            == leaving
    })?;
    rig.targets[1].stop();
    crowd.ask_all("still there?", PATIENCE);
    let refused = rig.network.client.within(|| TcpStream::connect_timeout(&tcp_vip(), PATIENCE));
    assert!(refused.is_err(), "nobody listens");
    let records = log(&rig).wait("resets of target 2", |records| {
        records.iter().any(|row| row["close_reason"] == "refused")
            && records.iter().filter(reason("target_reset")).count() == FLOWS - leaving
            && records.iter().any(|row| row["close_reason"] == "client_reset")
    })?;
    assert_eq!(only(&records, reset_by_client, tcp_vip())?["close_reason"], "client_reset");
    let of_target = |records: &[Value], reason: &str, number: u8| {
        let rows = records.iter().filter(|row| row["close_reason"] == *reason);
        let targets: Vec<_> = rows.map(|row| row["target_ip"].clone()).collect();
        assert!(
            !targets.is_empty() && targets.iter().all(|ip| *ip == *target_address(number).to_string()),
            "{reason}"
        );
    };
    of_target(&records, "deregistered", 1);
    of_target(&records, "target_reset", 2);
    of_target(&records, "refused", 2);
    drop((crowd, datagrams));
    rig.stop()?;
    let records = log(&rig).read()?;
    let of_datagrams = |reason: &str| {
        records.iter().filter(|row| row["protocol"] == "UDP" && row["close_reason"] == *reason).count()
    };
    assert_eq!(of_datagrams("deregistered") + of_datagrams("stopped"), FLOWS);
    assert!(of_datagrams("deregistered") > 0);
    Ok(())
}

/// Its writer stands still meanwhile, as it does when a disk hangs.
fn full_queue() -> Result<(), Failed> {
    let mut rig = Rig::build(PLAN)?;
    rig.start_targets()?;
    let attributes: &[_] = &["deregistration_delay.timeout_seconds = 0"];
    let config = Config::only(&PLAN, Service { attributes, ..Service::DATAGRAMS });
    let usual = section(&rig, "");
    launch(&mut rig, &config, &usual)?;
    let short = section(&rig, "queue_records = 1\nrotate_bytes = 4096\nkeep = 1\n");
    write(&rig, &config, &short)?;
    rig.control.reload()?;
    let flows = Flows::open(&rig.network.client, udp_vip(), 400)?;
    let answers = flows.ask_all("hello")?;
    let leaving = answers.iter().filter(|answer| answer.target == "target1").count() as u64;
    let writer = StoppedThread::of(&rig, "flow log")?;
    write(&rig, &config.without(1), &short)?;
    rig.control.reload()?;
    wait_until("the end of the flows that leave", || Ok(rig.control.stats()?.cut == leaving))?;
    wait_for_status(&rig, "records that are lost", |log| log.dropped_by_queue > 100)?;
    let answers = flows.ask_all("still there?")?;
    assert!(answers.len() == 400 && answers.iter().all(|answer| answer.target == "target2"));
    drop(writer);
    let status = wait_for_status(&rig, "a record that is not", |log| log.records > 0)?;
    assert_eq!((status.dropped_by_file, status.error), (0, None));
    let metrics = rig.control.metrics()?;
    assert!(metrics.contains("lbd_flow_log_dropped_total{reason=\"queue\"}"), "{metrics}");
    rig.stop()?;
    for name in [FILE, "flows.json.1"] {
        let path = rig.directory.path().join(name);
        assert!(fs::metadata(&path)?.len() <= 4_096);
        Log(path).read()?;
    }
    assert!(!rig.directory.path().join("flows.json.2").exists());
    Ok(())
}

fn full_disk() -> Result<(), Failed> {
    let mut rig = Rig::build(PLAN)?;
    rig.start_targets()?;
    let config = Config::only(&PLAN, Service::LINES);
    let disk = rig.directory.path().join("disk");
    fs::create_dir(&disk)?;
    let on_disk = format!("[flow_log]\nfile = \"{}\"\n", disk.join(FILE).display());
    let mut command = rig.lbd(&write(&rig, &config, &on_disk)?);
    on_small_disk(&mut command, &disk)?;
    rig.daemon = Some(Process::start(&mut command, &rig.directory.path().join("lbd.log"))?);
    rig.wait_for("all targets healthy", |targets| {
        !targets.is_empty() && targets.iter().all(lbd::testbed::daemon::is_serving)
    })?;
    // The disk is its process's own.
    let pid = rig.daemon.as_ref().ok_or("no daemon")?.pid();
    let seen = PathBuf::from(format!("/proc/{pid}/root")).join(disk.strip_prefix("/")?);
    let filler = seen.join("filler");
    fs::write(&filler, vec![0; 40_000])?;

    drop(rig.crowd(200)?);
    let status =
        wait_for_status(&rig, "records that are lost", |log| log.records + log.dropped_by_file == 200)?;
    assert!(status.dropped_by_file > 0 && status.error.is_some_and(|error| error.contains("No space left")));
    Log(seen.join(FILE)).read()?;
    let told = lbctl(&rig, "status")?;
    assert!(told.contains("CANNOT BE WRITTEN"), "{told}");
    let told = lbctl(&rig, "events")?;
    // Not for each record; a short one may have found room once.
    assert!((1..4).contains(&told.matches("flow log: records are lost").count()), "{told}");
    let mut crowd = rig.crowd(20)?;
    assert_eq!(crowd.ask_all("traffic goes on", PATIENCE).len(), 0);

    fs::remove_file(filler)?;
    let before = status.records;
    drop(crowd);
    let status = wait_for_status(&rig, "records that are written", |log| log.records == before + 20)?;
    assert_eq!(status.error, None);
    assert_eq!(Log(seen.join(FILE)).read()?.len() as u64, status.records);
    rig.finish().map(drop)
}

fn reload() -> Result<(), Failed> {
    let mut rig = Rig::build(PLAN)?;
    rig.start_targets()?;
    let attributes: &[_] = &["deregistration_delay.timeout_seconds = 0"];
    let services = vec![Service::LINES, Service { attributes, ..Service::DATAGRAMS }];
    let config = Config { services, ..Config::of(&PLAN) };
    launch(&mut rig, &config, "")?;
    assert_eq!(rig.control.status()?.flow_log, None);
    let older = rig.network.client.within(|| Conversation::open(tcp_vip()))?;
    let reload = |config: &Config, section: &str| -> Result<(), Failed> {
        write(&rig, config, section)?;
        rig.control.reload()?;
        // A worker answers when it has done what it was told before.
        let count = FlowsQuery { count: true, ..FlowsQuery::default() };
        wait_until("the workers' answers", || Ok(rig.control.flows(&count)?.silent_workers.is_empty()))
    };
    let refused = |section: &str, error: &str| {
        let told = reload(&config, section).err().map(|failed| format!("{failed:?}")).unwrap_or_default();
        assert!(told.contains(error), "{section}: {told}");
    };

    refused(
        "[flow_log]\nfile = \"/nowhere/at/all/flows.json\"\n",
        "flow_log.file: cannot open /nowhere/at/all/flows.json",
    );
    reload(&config, &section(&rig, ""))?;
    let older_address = older.local;
    drop(older);
    let first = rig.network.client.within(|| Talk::hold(tcp_vip(), 10))?;
    let records = log(&rig).wait("both connections", |records| records.len() == 2)?;
    assert_eq!(only(&records, older_address, tcp_vip())?["received_bytes"], Value::Null);
    assert!(only(&records, first.client, first.vip)?["received_bytes"].is_u64());

    let moved = Log(rig.directory.path().join("moved.json"));
    let to_moved = format!("[flow_log]\nfile = \"{}\"\nsample = 2\n", moved.0.display());
    reload(&config, &to_moved)?;
    let flows = Flows::open(&rig.network.client, udp_vip(), 600)?;
    let answers = flows.ask_all("hello")?;
    let leaving = answers.iter().filter(|answer| answer.target == "target1").count();
    let config = config.without(1);
    reload(&config, &to_moved)?;
    wait_until("the end of the flows that leave", || Ok(rig.control.stats()?.cut == leaving as u64))?;
    reload(&config, "")?;
    drop(rig.crowd(10)?);
    // What has been told is written all the same.
    moved.wait("a sample of flows", |records| 10 * records.len() > 3 * leaving)?;
    rig.stop()?;
    let sampled = moved.read()?;
    assert!(10 * sampled.len() < 7 * leaving, "{} of {leaving}", sampled.len());
    assert!(sampled.iter().all(|record| record["sample"] == 2));
    assert_eq!(log(&rig).read()?.len(), 2);
    Ok(())
}

fn killed() -> Result<(), Failed> {
    let mut rig = Rig::build(PLAN)?;
    rig.start_targets()?;
    let config = Config::only(&PLAN, Service::LINES);
    let section = section(&rig, "");
    launch(&mut rig, &config, &section)?;
    let mut crowd = rig.crowd(10)?;
    drop(rig.crowd(300)?);
    log(&rig).wait("some records", |records| !records.is_empty())?;
    rig.daemon.take().ok_or("no daemon")?.kill()?;
    let written = log(&rig).read_whole()?.len();

    launch(&mut rig, &config, &section)?;
    assert_eq!(crowd.ask_all("across a crash", PATIENCE).len(), 0);
    rig.stop()?;
    let records = log(&rig).read()?;
    let adopted =
        records[written..].iter().filter(|row| row["adopted"] == true && row["close_reason"] == "stopped");
    assert_eq!(adopted.count(), crowd.members().len());
    Ok(())
}

/// A connection that the client has begun and ended.
struct Talk {
    client: SocketAddr,
    vip: SocketAddr,
    /// What the target saw as the client.
    seen: SocketAddr,
    target: String,
    /// Bytes of data.
    said: u64,
    heard: u64,
}

impl Talk {
    /// Says a line of so many characters from the calling thread's namespace, hears the answer and hangs up.
    fn hold(vip: SocketAddr, characters: usize) -> Result<Talk, Failed> {
        let mut stream = TcpStream::connect_timeout(&vip, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (client, line) = (stream.local_addr()?, format!("{}\n", "x".repeat(characters)));
        stream.write_all(line.as_bytes())?;
        let mut answer = String::new();
        BufReader::new(&stream).read_line(&mut answer)?;
        let mut words = answer.split(' ');
        let (target, seen) = words.next().zip(words.next()).ok_or("no answer")?;
        let (said, heard) = (line.len() as u64, answer.len() as u64);
        Ok(Talk { client, vip, seen: seen.parse()?, target: target.to_owned(), said, heard })
    }
}

/// A file of records.
struct Log(PathBuf);

impl Log {
    /// All records, once nobody writes. Each line must be one.
    fn read(&self) -> Result<Vec<Value>, Failed> {
        let text = self.text()?;
        assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn: {text}");
        records(&text)
    }

    /// Those that are whole: the end of the last may be on its way, or lost with a killed daemon.
    fn read_whole(&self) -> Result<Vec<Value>, Failed> {
        let text = self.text()?;
        records(&text[..text.rfind('\n').map_or(0, |at| at + 1)])
    }

    fn text(&self) -> Result<String, Failed> {
        match fs::read_to_string(&self.0) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            read => Ok(read?),
        }
    }

    /// The records, once they are as wanted.
    fn wait(&self, what: &str, mut wanted: impl FnMut(&[Value]) -> bool) -> Result<Vec<Value>, Failed> {
        let deadline = Instant::now() + LATEST;
        loop {
            let records = self.read_whole()?;
            if wanted(&records) {
                return Ok(records);
            }
            if Instant::now() > deadline {
                return Err(format!("no records of {what}: {records:#?}").into());
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

fn records(lines: &str) -> Result<Vec<Value>, Failed> {
    Ok(lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn log(rig: &Rig) -> Log {
    Log(rig.directory.path().join(FILE))
}

/// The section, with these lines beside the file.
fn section(rig: &Rig, lines: &str) -> String {
    format!("[flow_log]\nfile = \"{}\"\n{lines}", log(rig).0.display())
}

fn write(rig: &Rig, config: &Config, section: &str) -> std::io::Result<PathBuf> {
    rig.write_text(&(config.text(&rig.network.interfaces, rig.directory.path()) + section))
}

fn launch(rig: &mut Rig, config: &Config, section: &str) -> Result<(), Failed> {
    let path = write(rig, config, section)?;
    rig.launch_daemon_by(&path)?;
    rig.wait_for("all targets healthy", |targets| {
        !targets.is_empty() && targets.iter().all(lbd::testbed::daemon::is_serving)
    })
}

/// What `lbctl status` says of the flow log, once it is as wanted.
fn wait_for_status(
    rig: &Rig,
    what: &str,
    wanted: impl Fn(&FlowLogStatus) -> bool,
) -> Result<FlowLogStatus, Failed> {
    let deadline = Instant::now() + LATEST;
    loop {
        let status = rig.control.status()?.flow_log.ok_or("no flow log")?;
        if wanted(&status) {
            return Ok(status);
        }
        if Instant::now() > deadline {
            return Err(format!("no {what}: {status:?}").into());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What `lbctl` says.
fn lbctl(rig: &Rig, verb: &str) -> Result<String, Failed> {
    let mut command = rig.network.lb.command(Path::new(LBCTL));
    let output = command.arg(verb).env("LBCTL_SOCKET", rig.directory.path().join(SOCKET)).output()?;
    Ok(String::from_utf8(output.stdout)?)
}

/// The one record of a client's address and port, which the kernel gives to connections of several destinations.
fn only(records: &[Value], client: SocketAddr, vip: SocketAddr) -> Result<&Value, Failed> {
    let is_end = |row: &Value, end: &str, address: SocketAddr| {
        row[format!("{end}_ip")] == *address.ip().to_string()
            && row[format!("{end}_port")] == u64::from(address.port())
    };
    let is_flow = |row: &&Value| is_end(row, "client", client) && is_end(row, "destination", vip);
    let found: Vec<&Value> = records.iter().filter(is_flow).collect();
    match found[..] {
        [record] => Ok(record),
        _ => Err(format!("not one record of {client} to {vip}: {found:#?}").into()),
    }
}

fn number(record: &Value, field: &str) -> u64 {
    record[field].as_u64().unwrap_or_else(|| panic!("no number {field}: {record}"))
}

fn target_name(ip: &str) -> String {
    format!("target{}", ip.split('.').nth(2).unwrap_or_default())
}

/// Whether any host has sent a segment twice.
fn rig_has_retransmitted(rig: &Rig) -> Result<bool, Failed> {
    for namespace in rig.network.targets.iter().chain([&rig.network.client]) {
        let text = namespace.within(|| fs::read_to_string("/proc/thread-self/net/snmp"))?;
        let mut rows = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let (names, values) = rows.next().zip(rows.next()).ok_or("no counters of TCP")?;
        let mut counters = names.split(' ').zip(values.split(' '));
        if counters.any(|(name, value)| name == "RetransSegs" && value != "0") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Gives a command a disk of 64 KiB at a path. It is gone with the process.
fn on_small_disk(command: &mut std::process::Command, at: &Path) -> Result<(), Failed> {
    let at = std::ffi::CString::new(at.as_os_str().as_encoded_bytes())?;
    let mount = move || {
        // SAFETY: the strings are valid C strings; the mount namespace is the new process's own.
        let mounted = unsafe {
            libc::mount(c"tmpfs".as_ptr(), at.as_ptr(), c"tmpfs".as_ptr(), 0, c"size=64k".as_ptr().cast())
        };
        if mounted == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec the closure makes a system call only.
    unsafe { command.pre_exec(mount) };
    Ok(())
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 2, queues: 2, offload: Offload::Off };
/// Lines to targets that do not see clients.
const HIDDEN: Service =
    Service { name: "hidden", port: 8_000, client_address: ClientAddress::Hidden, ..Service::LINES };
/// Enough that each of two targets has some: that one has none happens once in a million million.
const FLOWS: usize = 40;
const FILE: &str = "flows.json";
/// When a closed flow is told of at the latest, and then some.
const LATEST: Duration = Duration::from_secs(40);
/// An IPv4 packet with a SYN as Linux sends it, with MSS, SACK, timestamps and window scale; and any other segment.
const SYN_BYTES: u64 = 60;
const ACK_BYTES: u64 = 52;
