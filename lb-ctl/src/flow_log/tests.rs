//! The flow log's thread, its records and its files.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, time::Instant as Moment};

use lb_core::{
    datapath::FlowView,
    flow_log::{CloseReason, Tally},
    maglev::Maglev,
    tables::{
        CutCause, Endpoint, FlowPolicy, Forward, Interface, InterfaceId, Listener, ListenerId, Mac, Pool,
        Protocol, Sources, TablesParts, Target, TargetGroup, TargetGroupId, TargetId,
    },
};
use serde_json::Value;
use tempfile::TempDir;

use super::*;

#[test]
fn a_record_is_a_line_of_json() {
    let mut bench = Bench::new(|_| {});
    bench.tell_all(&[ended(40_000, CloseReason::Fin)]);
    let text = bench.finish();
    let expected = concat!(
        r#"{"type":"flow","version":1,"time":"T","start_time":"T","connection_time_ms":1500,"#,
        r#""load_balancer":null,"listener":null,"protocol":"TCP","client_ip":"198.18.0.2","client_port":40000,"#,
        r#""destination_ip":"198.18.100.1","destination_port":80,"target_group":null,"target_ip":"198.19.1.2","#,
        r#""target_port":8080,"source_nat_ip":"198.19.200.1","source_nat_port":1024,"received_bytes":700,"#,
        r#""received_packets":7,"sent_bytes":90000,"sent_packets":60,"close_reason":"fin","state":"closed","#,
        r#""hairpin":false,"adopted":false,"worker":3,"sample":1}"#,
    );
    let record: Value = serde_json::from_str(&text).unwrap();
    let mut line = text.trim_end().to_owned();
    for time in ["time", "start_time"].map(|field| record[field].as_str().unwrap()) {
        assert!(time.ends_with('Z') && time.len() == "2026-11-23T10:43:09.120Z".len(), "{time}");
        line = line.replace(time, "T");
    }
    assert_eq!(line, expected);
    assert!(line.as_bytes().starts_with(file::RECORD_START));
}

/// Its record comes when workers have cut it, after all.
#[test]
fn a_flow_whose_listener_and_target_are_gone_is_named() {
    let mut bench = Bench::new(|_| {});
    bench.log.as_ref().unwrap().note(&tables("edge@198.18.100.1/TCP:80", "web"));
    bench.log.as_ref().unwrap().note(&Tables::empty());
    let flow = ended(1, CloseReason::Cut(CutCause::ListenerGone));
    let other = EndedFlow { view: FlowView { vip: flow.view.client, ..flow.view }, ..flow };
    bench.tell_all(&[flow, other]);
    let text = bench.finish();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names = ["load_balancer", "listener", "target_group"];
    assert_eq!(names.map(|name| &records[0][name]), ["edge", "edge@198.18.100.1/TCP:80", "web"]);
    assert_eq!(
        names.map(|name| records[1][name].as_str()),
        [None, None, Some("web")],
        "its id had another holder"
    );
}

#[test]
fn what_is_not_known_is_null() {
    let mut bench = Bench::new(|_| {});
    let older = EndedFlow { tally: None, ..ended(1, CloseReason::Idle) };
    let kept = EndedFlow { view: FlowView { source: older.view.client, ..older.view }, ..older };
    bench.tell_all(&[kept]);
    let record: Value = serde_json::from_str(&bench.finish()).unwrap();
    for field in
        ["start_time", "connection_time_ms", "received_bytes", "sent_packets", "adopted", "source_nat_ip"]
    {
        assert_eq!(record[field], Value::Null, "{field}");
    }
}

#[test]
fn no_flow_ends_before_it_begins() {
    let mut bench = Bench::new(|_| {});
    let short = ended(1, CloseReason::Fin);
    let began = Instant::from_nanos(u64::from(short.ended_ms) * 1_000_000 + 700_000);
    bench.tell_all(&[EndedFlow { tally: Some(Tally::beginning(began)), ..short }]);
    let record: Value = serde_json::from_str(&bench.finish()).unwrap();
    assert_eq!(record["time"], record["start_time"]);
    assert_eq!(record["connection_time_ms"], 0);
}

/// The README's table has a row for each field and for each reason.
#[test]
fn every_field_and_reason_is_documented() {
    let mut bench = Bench::new(|_| {});
    bench.tell_all(&[ended(1, CloseReason::Fin)]);
    let record: serde_json::Map<String, Value> = serde_json::from_str(&bench.finish()).unwrap();
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let section =
        readme.split("\n### ").find(|section| section.starts_with("Flow log\n")).expect("a section");
    let reasons = CloseReason::ALL.iter().map(|reason| reason.name());
    for name in record.keys().map(String::as_str).chain(reasons) {
        assert!(section.contains(&format!("`{name}`")), "{name} is not in the README");
    }
}

#[test]
fn files_are_rotated_and_bounded() {
    let mut bench = Bench::new(|settings| (settings.rotate_bytes, settings.keep) = (4_096, 2));
    for port in 1..=200 {
        bench.tell_all(&[ended(port, CloseReason::Idle)]);
    }
    bench.finish();
    let mut ports = Vec::new();
    for name in ["flows.json.2", "flows.json.1", "flows.json"] {
        let text = fs::read_to_string(bench.directory.path().join(name)).unwrap();
        assert!(text.len() <= 4_096 && text.ends_with('\n'), "{name}: {} bytes", text.len());
        ports.extend(
            text.lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap()["client_port"].as_u64().unwrap()),
        );
    }
    assert!(ports.len() >= 10 && ports == (201 - ports.len() as u64..=200).collect::<Vec<_>>(), "{ports:?}");
    assert_eq!(fs::read_dir(bench.directory.path()).unwrap().count(), 3);
    assert_eq!((bench.outcomes.written(), bench.outcomes.lost()), (200, 0));
    let mode = fs::metadata(&bench.settings.file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn a_line_that_a_killed_process_left_is_cut_off() {
    let directory = TempDir::new().unwrap();
    let settings = settings(directory.path());
    for (before, after) in [
        ("", ""),
        (
            "{\"type\":\"flow\",\"version\":1}\n{\"type\":\"flow\",\"ver",
            "{\"type\":\"flow\",\"version\":1}\n",
        ),
        ("{\"ty", ""),
    ] {
        fs::write(&settings.file, before).unwrap();
        LogFile::open(&settings).unwrap();
        assert_eq!(fs::read_to_string(&settings.file).unwrap(), after, "{before}");
    }
}

#[test]
fn what_is_no_flow_log_stays_untouched() {
    let directory = TempDir::new().unwrap();
    let settings = settings(directory.path());
    fs::write(&settings.file, "somebody else's").unwrap();
    let refusal = LogFile::open(&settings).unwrap_err().to_string();
    assert_eq!(refusal, "there is a file that holds something else than flow records");
    assert_eq!(fs::read_to_string(&settings.file).unwrap(), "somebody else's");
    let device = config::FlowLog { file: "/dev/null".into(), ..settings };
    assert_eq!(LogFile::open(&device).unwrap_err().to_string(), "what is there is not a regular file");
}

#[test]
fn a_file_that_was_moved_away_is_made_anew() {
    let mut bench = Bench::new(|_| {});
    bench.tell_all(&[ended(1, CloseReason::Fin)]);
    let moved = bench.directory.path().join("moved");
    fs::rename(&bench.settings.file, &moved).unwrap();
    bench.tell_all(&[ended(2, CloseReason::Fin)]);
    assert!(bench.finish().contains("\"client_port\":2"));
    assert!(fs::read_to_string(moved).unwrap().contains("\"client_port\":1"));
}

/// As where logs are kept on another disk: the link stays, and older files lie beside the file that it leads to.
#[test]
fn a_symbolic_link_is_followed_when_the_file_is_opened() {
    let elsewhere = TempDir::new().unwrap();
    let file = elsewhere.path().join("real.json");
    let mut bench = Bench::new(|settings| {
        std::os::unix::fs::symlink(&file, &settings.file).unwrap();
        (settings.rotate_bytes, settings.keep) = (4_096, 2);
    });
    for port in 1..=200 {
        bench.tell_all(&[ended(port, CloseReason::Idle)]);
    }
    let link = bench.settings.file.clone();
    assert!(bench.finish().contains("\"client_port\":200"));
    assert_eq!(fs::read_link(link).unwrap(), file);
    for (directory, files) in [(&elsewhere, 3), (&bench.directory, 1)] {
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), files);
    }
}

#[test]
fn what_cannot_be_written_is_counted_and_told_once() {
    let mut bench = Bench::new(|settings| settings.file = settings.file.join("is/in/a/directory/to/come"));
    bench.tell_all(&[ended(1, CloseReason::Fin)]);
    bench.tell_all(&[ended(2, CloseReason::Fin), ended(3, CloseReason::Fin)]);
    assert!(bench.outcomes.trouble().unwrap().contains("No such file"));
    fs::create_dir_all(bench.settings.file.parent().unwrap()).unwrap();
    bench.tell_all(&[ended(4, CloseReason::Fin)]);
    assert_eq!(bench.outcomes.trouble(), None);
    assert!(bench.finish().contains("\"client_port\":4"));
    assert_eq!((bench.outcomes.written(), bench.outcomes.lost()), (1, 3));
    let told: Vec<Fate> = bench.told.try_iter().collect();
    assert!(matches!(&told[..], [Fate::Lost { .. }, Fate::Written]), "{told:?}");
}

/// A flow log in a directory of its own.
struct Bench {
    directory: TempDir,
    settings: config::FlowLog,
    outcomes: Arc<Outcomes>,
    told: Receiver<Fate>,
    log: Option<FlowLog>,
    flows: u64,
}

impl Bench {
    fn new(change: impl FnOnce(&mut config::FlowLog)) -> Bench {
        let directory = TempDir::new().unwrap();
        let mut settings = settings(directory.path());
        change(&mut settings);
        let outcomes = Arc::new(Outcomes::default());
        let (tell, told) = unbounded();
        let surroundings = Surroundings {
            outcomes: outcomes.clone(),
            clock: || Instant::from_millis(NOW_MS),
            tell: Box::new(move |fate| tell.send(fate).unwrap()),
        };
        let log = FlowLog::start(&settings, LogFile::open(&settings).ok(), surroundings).unwrap();
        Bench { directory, settings, outcomes, told, log: Some(log), flows: 0 }
    }

    /// Tells of flows, and waits until they are written or lost.
    fn tell_all(&mut self, flows: &[EndedFlow]) {
        let log = self.log.as_ref().unwrap();
        flows.iter().for_each(|flow| log.flows().send(*flow).unwrap());
        self.flows += flows.len() as u64;
        // As many at once as fit a file need not wait for each other.
        if self.flows.is_multiple_of(50) || self.settings.rotate_bytes > 4_096 {
            self.settle();
        }
    }

    fn settle(&self) {
        let deadline = Moment::now() + Duration::from_secs(20);
        while self.outcomes.written() + self.outcomes.lost() < self.flows {
            assert!(Moment::now() < deadline, "records are not written");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What is in the file, once all is written.
    fn finish(&mut self) -> String {
        self.log.take().unwrap().finish();
        fs::read_to_string(&self.settings.file).unwrap()
    }
}

fn settings(directory: &Path) -> config::FlowLog {
    config::FlowLog {
        file: directory.join("flows.json"),
        rotate_bytes: 1 << 20,
        keep: 1,
        sample: std::num::NonZeroU32::MIN,
        queue_records: 1_000,
    }
}

/// A flow that ended half a second ago, after a second and a half.
fn ended(port: u16, reason: CloseReason) -> EndedFlow {
    let end = |text: &str| text.parse::<SocketAddr>().map(|end| (end.ip(), end.port())).unwrap();
    let view = FlowView {
        worker: 3,
        client: ([198, 18, 0, 2].into(), port),
        vip: end("198.18.100.1:80"),
        source: end("198.19.200.1:1024"),
        target: end("198.19.1.2:8080"),
        protocol: Protocol::Tcp,
        state: "closed",
        idle_ms: 0,
        timeout_ms: 0,
        listener: ListenerId(0),
        target_id: TargetId(0),
        shares_hop: false,
    };
    let mut tally = Tally::beginning(Instant::from_millis(NOW_MS - 2_000));
    (tally.bytes, tally.packets) = ([700, 90_000], [7, 60]);
    EndedFlow { view, tally: Some(tally), reason, ended_ms: NOW_MS as u32 - 500 }
}

/// Tables with the listener and the target of [`ended`].
fn tables(listener: &str, group: &str) -> Tables {
    let (address, port) = ended(1, CloseReason::Fin).view.target;
    let target = Target {
        group: TargetGroupId(0),
        address,
        port,
        protocols: &[Protocol::Tcp],
        next_hop: None,
        flow_policy: FlowPolicy::Keep,
    };
    let (address, port) = ended(1, CloseReason::Fin).view.vip;
    let listener = Listener {
        name: listener.into(),
        endpoint: Endpoint { address, port, protocol: Protocol::Tcp },
        forward: Forward::to(TargetGroupId(0)),
        idle_timeout_s: 350,
        interface: InterfaceId(0),
        sources: Sources::none(),
        adopts_strays: false,
        has_syn_cookies: false,
    };
    let interface = Interface { name: "eth0".into(), mac: Mac::default(), mtu: 1_500, receive_hash: None };
    let pool = Pool::new([].into(), Maglev::build(&[], 7).into());
    let parts = TablesParts {
        generation: 1,
        listeners: vec![Some(listener)],
        groups: vec![TargetGroup::of_one_pool(group, true, pool)],
        targets: vec![Some(target)],
        interfaces: vec![interface],
        ..TablesParts::default()
    };
    Tables::new(parts).unwrap()
}

const NOW_MS: u64 = 1_000_000;
