//! `trace`: what is told of single frames is what became of them, and whoever follows them slows nobody down.

use std::{
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use lb_ctl::{
    api::{TraceEnd, TraceLine, TraceOrigin, TraceQuery, TracedFrame, WhyQuery, WhySender},
    client::Lines,
};
use lbd::testbed::{
    client::{Conversation, Flows},
    network::{CLIENT, Layout, Offload, Plan, VIP},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    harness::{LBCTL, PATIENCE, Rig, SOCKET, TCP_PORT, heavy, tcp_vip, udp_vip, wait_until},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("trace::a_connection_is_followed_both_ways_through_all_stages", connection),
    ("trace::a_drop_says_why", drop_says_why),
    ("trace::samples_and_rates_bound_what_is_told", bounded),
    ("trace::there_are_no_more_than_a_few_and_each_ends_with_its_reader", few),
    ("trace::a_reader_that_sleeps_is_told_what_it_missed_and_holds_up_nobody", sleeping_reader),
];

/// Those that only measure.
pub const BY_HAND: &[Test] = &[("trace::costs", costs)];

fn connection() -> Result<(), Failed> {
    let rig = Rig::serve(PLAN)?;
    let client = SocketAddr::from((CLIENT, FIRST_PORT));
    let why = rig.control.why(&WhyQuery { client, vip: tcp_vip(), protocol: None })?;
    let foretold = why.selection.ok_or("no selection was foretold")?;
    let of_client = TraceQuery { client: client.to_string().parse().ok(), ..TraceQuery::default() };
    let mut trace = begin(&rig, &of_client)?;
    let mut conversation = rig.network.client.within(|| Conversation::open_from(client, tcp_vip()))?;
    conversation.ask("hello")?;
    // On a busy machine some are sent more than once.
    let is_of_handshake = |frame: &&TracedFrame| flags(frame).starts_with("SYN");
    let are_enough =
        |frames: &[TracedFrame]| frames.len() >= 3 + frames.iter().filter(is_of_handshake).count();
    let frames = frames_until(&mut trace, are_enough)?;
    let first = |wanted: &str| {
        frames.iter().find(|frame| flags(frame) == wanted).ok_or_else(|| format!("no {wanted}: {frames:?}"))
    };
    let (syn, answer, confirmation) = (first("SYN")?, first("SYN,ACK")?, first("ACK")?);

    assert_eq!((&frames[0], syn.verdict.reason.as_str()), (syn, "new_flow"));
    assert_eq!((syn.sender, syn.listener.as_deref()), (Some(WhySender::Client), Some("test/TCP:80")));
    let selection = syn.selection.as_ref().ok_or("no selection was told")?;
    assert_eq!((selection.slot, selection.target), (foretold.slot, foretold.target));
    let (before, after) = (syn.before.as_ref().ok_or("no frame")?, syn.after.as_ref().ok_or("it stayed")?);
    assert_eq!((before.source, before.destination), (Some(CLIENT.into()), Some(VIP.into())));
    let sent_to = after.destination.zip(after.destination_port).map(SocketAddr::from);
    assert_eq!((after.source, sent_to), (Some(CLIENT.into()), selection.target));
    assert_eq!(after.destination_mac, why.next_hop.map(|hop| hop.mac));
    assert!(syn.out.as_ref().is_some_and(|name| rig.network.interfaces.contains(name)), "{syn:?}");

    assert_eq!(answer.sender, Some(WhySender::Target));
    assert_eq!((state(answer), answer.verdict.reason.as_str()), (Some(("half_open", true)), "flow"));
    let sent = answer.after.as_ref().ok_or("it stayed")?;
    assert_eq!((sent.source, sent.destination), (Some(VIP.into()), Some(CLIENT.into())));
    assert_eq!(state(confirmation), Some(("answered", false)));
    let mut later = frames.iter().filter(|frame| !is_of_handshake(frame));
    assert!(later.all(|frame| frame.verdict.reason == "flow" && frame.selection.is_none()));

    // Of nobody else.
    let mut other = rig.network.client.within(|| Conversation::open(tcp_vip()))?;
    other.ask("hello")?;
    drop((conversation, other));
    let last = next_frames(&mut trace, 1)?;
    assert!(last.iter().all(|frame| concerns(frame, client)), "{last:?}");
    drop(trace);
    says_as_much_to_people(&rig)?;
    rig.finish().map(drop)
}

/// Such as a person would type it, until the bound.
fn says_as_much_to_people(rig: &Rig) -> Result<(), Failed> {
    let listener = ["--listener", "test/80", "--reason", "new_flow", "--count", "1"];
    let mut told = Follower::start(rig, &listener)?;
    while told.child.try_wait()?.is_none() {
        rig.network.client.within(|| Conversation::open(tcp_vip()))?.ask("hello")?;
    }
    let line = told.line()?;
    for stage in [" | steered: to a listener | listener test/TCP:80 | select lines: slot ", " | out "] {
        assert!(line.contains(stage) && line.ends_with(": new_flow"), "{line}");
    }
    let after = |what: &str| Some(line.split_once(what)?.1.split(['|', ',']).next()?.trim());
    assert_eq!(after(" of 65,537,"), after(&format!("destination {} ->", tcp_vip())), "{line}");
    Ok(())
}

fn drop_says_why() -> Result<(), Failed> {
    let rig = Rig::serve(PLAN)?;
    let reason = "no_listener".parse().ok();
    let mut trace = begin(&rig, &TraceQuery { reason, count: Some(1), ..TraceQuery::default() })?;
    rig.network.client.within(|| Conversation::open(tcp_vip()))?.ask("hello")?;
    let connect = || TcpStream::connect_timeout(&(VIP, TCP_PORT + 9).into(), Duration::from_millis(500));
    assert!(rig.network.client.within(connect).is_err());
    let frames = next_frames(&mut trace, 1)?;
    let frame = &frames[0];
    assert_eq!((frame.verdict.verdict.as_str(), frame.verdict.reason.as_str()), ("drop", "no_listener"));
    assert_eq!((frame.sender, &frame.listener), (Some(WhySender::Nobody), &None));
    assert_eq!((frame.origin, &frame.after, &frame.out), (TraceOrigin::Queue, &None, &None));
    let end = next_news(&mut trace)?;
    assert_eq!(end, TraceLine::End { because: TraceEnd::Count, frames: 1, missed: 0 });
    rig.finish().map(drop)
}

fn bounded() -> Result<(), Failed> {
    let rig = Rig::serve(PLAN)?;
    let datagrams = Flows::open(&rig.network.client, udp_vip(), 300)?;
    let udp = TraceQuery { protocol: "udp".parse().ok(), seconds: Some(2), ..TraceQuery::default() };
    let deadline = Instant::now() + PATIENCE * 2;
    while !sampled_in_time(&rig, &datagrams, &TraceQuery { sample: Some(10), ..udp.clone() })? {
        assert!(Instant::now() < deadline, "300 datagrams take longer than a trace");
    }

    let before = frames_of_datagrams(&rig)?;
    let trace = begin(&rig, &TraceQuery { count: Some(1_000_000), ..udp })?;
    let sent = datagrams.blast(Duration::from_secs(1))?;
    let (frames, over_rate, _) = to_the_end(trace)?;
    let came = frames_of_datagrams(&rig)? - before;
    println!("{sent} datagrams, {came} frames: {frames} frames told, {over_rate} counted");
    // Three seconds, by the clock, have a part in the two that a trace lasts.
    let most = u64::from(PLAN.queues) * 1_000 * 3;
    assert!(frames <= most, "{frames} frames were told");
    assert!(came <= most || over_rate > 0, "of {came} frames none was over the rate");
    drop(datagrams);
    rig.finish().map(drop)
}

/// Follows one frame in ten of datagrams and their answers. Whether all of them came before the trace ended, as it does by time.
fn sampled_in_time(rig: &Rig, datagrams: &Flows, query: &TraceQuery) -> Result<bool, Failed> {
    let (before, begun) = (frames_of_datagrams(rig)?, Instant::now());
    let trace = begin(rig, query)?;
    datagrams.ask_all("hello")?;
    let took = begun.elapsed();
    let (frames, _, end) = to_the_end(trace)?;
    assert_eq!(end, TraceEnd::Time);
    let came = frames_of_datagrams(rig)? - before;
    let is_in_time = query.seconds.is_some_and(|seconds| took < Duration::from_secs(seconds.into()));
    if is_in_time {
        assert!(came >= 600 && frames.abs_diff(came / 10) <= u64::from(PLAN.queues), "{frames} of {came}");
    }
    Ok(is_in_time)
}

fn few() -> Result<(), Failed> {
    let rig = Rig::serve(PLAN)?;
    let all = TraceQuery::default();
    let refused = |query: &TraceQuery| match begin(&rig, query) {
        Ok(_) => Err(Failed::from("it was not refused")),
        Err(error) => Ok(error.message().unwrap_or_default().to_owned()),
    };
    let strange = TraceQuery { listener: Some("test/TCP:81".into()), ..all.clone() };
    assert!(refused(&strange)?.contains("there is no listener test/TCP:81"));
    let traces = (0..4).map(|_| begin(&rig, &all)).collect::<Result<Vec<_>, _>>()?;
    assert!(refused(&all)?.contains("four traces or captures are under way"));
    drop(traces);
    begin_when_free(&rig, &all)?;
    rig.finish().map(drop)
}

fn sleeping_reader() -> Result<(), Failed> {
    let rig = Rig::serve(PLAN)?;
    let mut crowd = rig.crowd(20)?;
    let datagrams = Flows::open(&rig.network.client, udp_vip(), 50)?;
    ended_by_hand(&rig)?;
    let mut reader = Follower::start(&rig, &["--count", "1000000", "-o", "json"])?;
    reader.line_during(|| Ok(datagrams.blast(Duration::from_millis(200)).map(drop)?))?;
    reader.signal(libc::SIGSTOP)?;
    let mut slowest = Duration::ZERO;
    // With three others there are as many as there may be, until the sleeper's is ended.
    let quiet = TraceQuery { client: "198.18.0.9".parse().ok(), ..TraceQuery::default() };
    let _others = (0..3).map(|_| begin_when_free(&rig, &quiet)).collect::<Result<Vec<_>, _>>()?;
    let deadline = Instant::now() + STALL + PATIENCE;
    while begin(&rig, &quiet).is_err() {
        assert!(Instant::now() < deadline, "the trace goes on");
        datagrams.blast(Duration::from_millis(500))?;
        let asked = Instant::now();
        rig.control.status()?;
        slowest = slowest.max(asked.elapsed());
        assert_eq!(crowd.ask_all("while it sleeps", PATIENCE).len(), 0);
    }
    println!("while a reader slept, lbd answered within {:.1} ms", slowest.as_secs_f64() * 1e3);
    assert!(slowest < STALL - NOISE, "{slowest:?}");
    reader.signal(libc::SIGCONT)?;
    let (code, said) = reader.end()?;
    assert!(code == Some(2) && said.contains("as it does when nothing is read for 10 s"), "{code:?}: {said}");
    drop((crowd, datagrams));
    rig.finish().map(drop)
}

/// Ctrl-C is a good end, and says how much was told.
fn ended_by_hand(rig: &Rig) -> Result<(), Failed> {
    let mut told = Follower::start(rig, &["--protocol", "tcp"])?;
    told.line_during(|| {
        rig.network.client.within(|| Conversation::open(tcp_vip()))?.ask("hello")?;
        Ok(())
    })?;
    told.signal(libc::SIGINT)?;
    let (code, said) = told.end()?;
    assert!(code == Some(0) && said.trim_end().ends_with(" frames"), "{code:?}: {said}");
    Ok(())
}

/// What a worker takes for a frame while nobody follows frames, and while somebody does.
fn costs() -> Result<(), Failed> {
    let _heavy = heavy()?;
    let plan = Plan { queues: 1, ..PLAN };
    let rig = Rig::serve(plan)?;
    let datagrams = Flows::open(&rig.network.client, udp_vip(), 300)?;
    let every = TraceQuery { count: Some(1_000_000), seconds: Some(2), ..TraceQuery::default() };
    let cases = [
        ("nobody follows", None),
        (
            "somebody follows another client",
            Some(TraceQuery { client: "198.18.0.9".parse().ok(), ..every.clone() }),
        ),
        ("drops that never occur", Some(TraceQuery { reason: "tcp_flags".parse().ok(), ..every.clone() })),
        ("one in 1,000 of all frames", Some(TraceQuery { sample: Some(1_000), ..every.clone() })),
        ("all frames, as many as may be told", Some(every)),
    ];
    let mut costs = [const { Vec::new() }; 5];
    for _ in 0..ROUNDS {
        for ((_, query), costs) in cases.iter().zip(&mut costs) {
            let trace = query.as_ref().map(|query| begin(&rig, query)).transpose()?;
            let reader = trace.map(|trace| std::thread::spawn(move || to_the_end(trace).is_ok()));
            let before = spent(&rig)?;
            datagrams.blast(Duration::from_secs(1))?;
            let (frames, seconds) = {
                let after = spent(&rig)?;
                (after.0 - before.0, after.1 - before.1)
            };
            costs.push(seconds * 1e9 / frames as f64);
            reader.map(std::thread::JoinHandle::join);
        }
    }
    let median = |costs: &mut Vec<f64>| {
        costs.sort_by(f64::total_cmp);
        costs[costs.len() / 2]
    };
    let medians = costs.each_mut().map(median);
    for ((name, _), cost) in cases.iter().zip(medians) {
        println!("{cost:6.0} ns per frame, {:.2} of that while nobody follows: {name}", cost / medians[0]);
    }
    drop(datagrams);
    rig.finish().map(drop)
}

/// Frames received, and the time that the worker was busy, in seconds.
fn spent(rig: &Rig) -> Result<(u64, f64), Failed> {
    let status = rig.control.status()?;
    Ok((rig.control.stats()?.received, status.workers.iter().map(|worker| worker.busy_seconds).sum()))
}

/// Begins, and has been told so.
fn begin(rig: &Rig, query: &TraceQuery) -> Result<Lines, Failed> {
    let mut lines = rig.control.trace(query)?;
    match next(&mut lines)? {
        TraceLine::Heartbeat => Ok(lines),
        other => Err(format!("it begins with {other:?}").into()),
    }
}

/// The same once there are fewer than may be: one that nobody reads ends soon after.
fn begin_when_free(rig: &Rig, query: &TraceQuery) -> Result<Lines, Failed> {
    let mut begun = None;
    wait_until("a trace begins", || {
        begun = begin(rig, query).ok();
        Ok(begun.is_some())
    })?;
    Ok(begun.ok_or("none has begun")?)
}

fn next(lines: &mut Lines) -> Result<TraceLine, Failed> {
    Ok(serde_json::from_str(&lines.next().ok_or("the trace breaks off")??)?)
}

/// The same, whatever it takes.
fn next_news(lines: &mut Lines) -> Result<TraceLine, Failed> {
    loop {
        match next(lines)? {
            TraceLine::Heartbeat => {}
            news => return Ok(news),
        }
    }
}

/// So many frames.
fn next_frames(lines: &mut Lines, count: usize) -> Result<Vec<TracedFrame>, Failed> {
    frames_until(lines, |frames| frames.len() >= count)
}

/// The next frames until they are enough, but not those that are handed over: they are told of once more.
fn frames_until(
    lines: &mut Lines,
    are_enough: impl Fn(&[TracedFrame]) -> bool,
) -> Result<Vec<TracedFrame>, Failed> {
    let mut frames = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while !are_enough(&frames) {
        match next(lines)? {
            TraceLine::Frame(frame) if frame.to_worker.is_none() => frames.push(*frame),
            TraceLine::Frame(_) | TraceLine::Heartbeat if Instant::now() < deadline => {}
            other => return Err(format!("after {} frames: {other:?}", frames.len()).into()),
        }
    }
    Ok(frames)
}

/// How many frames were told, how many were over the rate, and why it ended.
fn to_the_end(mut lines: Lines) -> Result<(u64, u64, TraceEnd), Failed> {
    let mut missed = 0;
    loop {
        match next(&mut lines)? {
            TraceLine::Missed { over_rate, .. } => missed += over_rate,
            TraceLine::End { because, frames, .. } => return Ok((frames, missed, because)),
            TraceLine::Frame(_) | TraceLine::Heartbeat => {}
        }
    }
}

/// As often as any worker had one.
fn frames_of_datagrams(rig: &Rig) -> Result<u64, Failed> {
    Ok(rig.frames("new_flow")? + rig.frames("flow")? + rig.frames("handed_over")?)
}

fn flags(frame: &TracedFrame) -> &str {
    let tcp = frame.before.as_ref().and_then(|head| head.tcp.as_ref());
    tcp.map_or("", |tcp| &tcp.flags)
}

fn state(frame: &TracedFrame) -> Option<(&str, bool)> {
    frame.flow.as_ref().map(|flow| (flow.row.state.as_str(), flow.is_reply))
}

fn concerns(frame: &TracedFrame, client: SocketAddr) -> bool {
    frame.flow.as_ref().is_some_and(|flow| flow.row.client == client)
}

/// `lbctl trace`.
struct Follower {
    child: Child,
}

impl Follower {
    fn start(rig: &Rig, arguments: &[&str]) -> Result<Follower, Failed> {
        let mut command = Command::new(LBCTL);
        command.arg("--socket").arg(rig.directory.path().join(SOCKET)).arg("trace").args(arguments);
        Ok(Follower {
            child: command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?,
        })
    }

    /// Its exit code, and what it says beside the trace. Reads the trace to its end.
    fn end(mut self) -> Result<(Option<i32>, String), Failed> {
        let mut output = self.child.stdout.take().ok_or("no output")?;
        let mut said = String::new();
        std::io::copy(&mut output, &mut std::io::sink())?;
        self.child.stderr.take().ok_or("no output")?.read_to_string(&mut said)?;
        Ok((self.child.wait()?.code(), said))
    }

    /// The next line, told while `happening` is repeated.
    fn line_during(&mut self, happening: impl Fn() -> Result<(), Failed> + Sync) -> Result<String, Failed> {
        let is_told = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let repeated = scope.spawn(|| {
                while !is_told.load(Relaxed) {
                    happening()?;
                }
                Ok::<_, Failed>(())
            });
            let line = self.line();
            is_told.store(true, Relaxed);
            repeated.join().map_err(|_| "what was to be told of has panicked")??;
            line
        })
    }

    fn line(&mut self) -> Result<String, Failed> {
        let mut line = String::new();
        BufReader::new(self.child.stdout.as_mut().ok_or("no output")?).read_line(&mut line)?;
        Ok(line.trim_end().into())
    }

    fn signal(&self, signal: libc::c_int) -> Result<(), Failed> {
        // SAFETY: the call takes integers; the child has not been waited for, so its number is its own.
        match unsafe { libc::kill(self.child.id() as libc::pid_t, signal) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error().into()),
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.child.kill()); // Where it has ended, there is nobody to kill.
        drop(self.child.wait());
    }
}

const PLAN: Plan = Plan { layout: Layout::Switched, targets: 3, queues: 2, offload: Offload::Off };
const FIRST_PORT: u16 = 21_000;
const ROUNDS: usize = 5;
/// So long lbd waits for a reader who takes nothing.
const STALL: Duration = lb_ctl::server::STALL_TIME;
/// What a busy machine may add to an answer.
const NOISE: Duration = Duration::from_secs(3);
