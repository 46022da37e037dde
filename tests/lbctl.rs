//! The command `lbctl` from outside: exit codes, messages, and a simulation over a pipe.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::Ipv6Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

use lb_ctl::{
    api::{ForwardRow, InForce, ListenerRow, LoadBalancerRow, Status, TargetRow, Traffic, VipRow},
    capture::{
        CaptureWriter,
        pcapng::{self, CapturedPacket, Direction},
    },
    change::{Change, Ref},
    server::{Call, ChangeCall, Changed, Server, Snapshot},
};

const CONFIG: &str = r#"
interfaces = ["eth0", "eth1"]
[[load_balancers]]
name = "edge"
addresses = ["198.18.100.1"]
[[load_balancers.listeners]]
protocol = "TCP"
port = 80
target_group = "web"
[[load_balancers.listeners]]
protocol = "UDP"
port = 53
target_group = "dns"
[[target_groups]]
name = "web"
protocol = "TCP"
port = 8080
targets = [{ address = "198.19.1.2" }, { address = "198.19.1.3" }]
attributes = { "preserve_client_ip.enabled" = true }
[[target_groups]]
name = "dns"
protocol = "UDP"
port = 5353
targets = [{ address = "198.19.1.2" }]
"#;

#[test]
fn check_says_valid_or_why_not() {
    let scratch = Scratch::new();
    let output = lbctl(&["check", scratch.config(CONFIG).to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.ends_with("valid: 2 interfaces, 1 load balancer, 2 listeners, 2 target groups, 3 targets\n"),
        "{text}"
    );

    let broken = CONFIG.replace("port = 80\n", "port = 0\n").replace("name = \"dns\"", "nam = \"dns\"");
    let output = lbctl(&["check", scratch.config(&broken).to_str().unwrap()]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(output.stdout.is_empty());
    assert!(text.contains("lbd.toml:8: load_balancers[0].listeners[0].port: found 0, expected"), "{text}");
    assert!(text.contains("lbd.toml:21: target_groups[1].nam: found an unknown key"), "{text}");
}

#[test]
fn misuse_and_an_absent_daemon_exit_with_2() {
    let scratch = Scratch::new();
    let config = scratch.config(CONFIG);
    let config = config.to_str().unwrap();
    let missing = scratch.path("missing");
    let missing = missing.to_str().unwrap();
    let rows: &[(&[&str], &str)] = &[
        (&[], "Usage: lbctl"),
        (&["frobnicate"], "unrecognized subcommand"),
        (&["--socket", missing, "status"], "cannot reach lbd on"),
        (&["flows", "--limit", "0"], "expected a number from 1 to 10000"),
        (&["flows", "--client", "198.18.0.0/33"], "expected ADDRESS, ADDRESS:PORT or ADDRESS/LENGTH"),
        (&["flows", "--state", "open"], "expected one of udp, half_open, answered"),
        (&["trace", "--count", "0"], "0 is not in 1..=1000000"),
        (&["trace", "--reason", "bad_luck"], "expected a reason as `lbctl stats` names it"),
        (&["trace", "--listener", "edge"], "expected LOAD-BALANCER/PROTOCOL:PORT"),
        (&["trace", "--watch", "-o", "json"], "--watch is for verbs that look once"),
        (&["--socket", missing, "trace"], "cannot reach lbd on"),
        (&["capture"], "required arguments were not provided"),
        (&["capture", config], "give --force"),
        (&["capture", "-", "--snap", "10"], "10 is not in 14..=65535"),
        (&["doctor", ""], "expected the name of an interface"),
        (&["why", "198.18.0.2:40000"], "expected IP:PORT -> VIP:PORT"),
        (&["why", "198.18.0.2:40000", "-"], "quote it, or leave it out"),
        (&["check", missing], "found a file that cannot be read"),
        (&["simulate", "-c", config, "--in", missing], "cannot open"),
        (&["simulate", "-c", config, "--in", config], "is neither a pcap nor a pcapng capture"),
        (
            &["simulate", "-c", config, "--in", "-", "--hash-key", "5ec4e7"],
            "--hash-key: expected 32 hex digits",
        ),
        (
            &["simulate", "-c", config, "--in", "-", "--interface", "eth7"],
            "the frames' interface is \"eth7\", which is none of the configured interfaces: eth0, eth1",
        ),
        (&["simulate", "-c", config, "--in", "-", "--interface", ""], "the frames' interface is \"\", which"),
        (
            &["simulate", "-c", config, "--in", "-", "--unhealthy", "198.19.9.9:1"],
            "no target group has the target",
        ),
        (
            &["simulate", "-c", config, "--in", "-", "--state", "web/198.19.9.9:1=healthy"],
            "target group \"web\" has no target 198.19.9.9:1",
        ),
        (
            &["simulate", "-c", config, "--in", "-", "--state", "wbe/198.19.1.2:8080=healthy"],
            "there is no target group \"wbe\": the configuration has web, dns",
        ),
        (
            &["simulate", "-c", config, "--in", "-", "--state", "web/198.19.1.2:8080=sick"],
            "expected one of healthy,",
        ),
        (
            &["simulate", "-c", config, "--in", "-", "--state", "198.19.1.2:8080=initial"],
            "expected GROUP/IP:PORT=STATE",
        ),
        (&["targets", "register", "web"], "required arguments were not provided"),
        (&["targets", "register", "web", "198.19.1.2:0"], "expected a port from 1 to 65535"),
        (&["targets", "wait", "web", "target2"], "expected ADDRESS or ADDRESS:PORT"),
        (
            &["simulate", "-c", config, "--in", "-", "--neighbor", "198.19.1.2=2:0@eth0"],
            "expected IP=MAC@INTERFACE",
        ),
        (
            &["simulate", "-c", config, "--in", "-", "--neighbor", "198.19.1.2=02:00:00:00:00:07@eth9"],
            "which is none of the configured interfaces: eth0, eth1",
        ),
    ];
    for (arguments, expected) in rows {
        let output = lbctl(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(expected), "{arguments:?}: {text}");
        assert!(!text.contains("5ec4e7"), "a secret is printed nowhere");
    }
}

#[test]
fn status_and_reload_answer_by_text_json_and_exit_code() {
    let scratch = Scratch::new();
    let socket = scratch.path("lbd.sock");
    let listener = ListenerRow {
        name: "edge/TCP:80".into(),
        address: "198.18.100.1".parse().unwrap(),
        forward: vec![ForwardRow {
            target_group: "web".into(),
            weight: 1,
            healthy_targets: 0,
            registered_targets: 2,
            is_failing_open: true,
        }],
        is_sticky: false,
        mode: "preserve".into(),
        has_syn_cookies: true,
        adopts_strays: false,
        traffic: Traffic::default(),
    };
    let lb = LoadBalancerRow {
        name: "edge".into(),
        addresses: vec![VipRow { address: "198.18.100.1".parse().unwrap(), zone: None, zonal_health: None }],
        interface: "eth0".into(),
        crosses_zones: false,
        listeners: vec![listener],
    };
    let status = Status { load_balancers: vec![lb], generation: 3, ..Status::default() };
    let _server = Server::start(&socket, move |call| match call {
        Call::Status(reply) => reply.send(status.clone()),
        Call::Reload { reply, .. } => reply.refuse("lbd.toml:8: port: found 0"),
        _ => {}
    })
    .unwrap();
    let socket = socket.to_str().unwrap();

    let output = lbctl(&["--socket", socket, "status"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("edge/TCP:80") && text.contains("0/2"), "{text}");
    assert!(text.contains("web (fails open)"), "{text}");
    assert!(text.contains("SYN cookies"), "{text}");
    let output = lbctl(&["--socket", socket, "status", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["load_balancers"][0]["listeners"][0]["name"], "edge/TCP:80");
    let output = lbctl(&["--socket", socket, "reload"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "lbctl: lbd.toml:8: port: found 0\n");
}

#[test]
fn completions_name_every_verb() {
    let output = lbctl(&["completions", "bash"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        ["status", "targets", "flows", "stats", "reload", "check", "simulate"]
            .iter()
            .all(|verb| text.contains(verb))
    );
}

#[test]
fn a_simulation_answers_each_frame_before_the_next_is_written() {
    let scratch = Scratch::new();
    let config = scratch.config(CONFIG);
    let mut simulation = Simulation::start(&config, &["--neighbor", "198.19.1.2=02:aa:00:00:00:07@eth1"]);

    let query = udp([198, 18, 0, 9], 40_000, [198, 18, 100, 1], 53);
    let answer = simulation.ask(&query);
    assert_eq!(keys(&answer), ["frame", "verdict", "reason", "listener", "target", "out"]);
    let answer = json(&answer);
    assert_eq!(
        (&answer["frame"], &answer["verdict"], &answer["reason"]),
        (&1.into(), &"transmit".into(), &"new_flow".into())
    );
    assert_eq!((&answer["listener"], &answer["target"]), (&"edge/UDP:53".into(), &"198.19.1.2:5353".into()));
    let sent = unhex(answer["out"][0].as_str().unwrap());
    assert_eq!(sent[..6], [0x02, 0xaa, 0, 0, 0, 7], "to the neighbor that was given");
    assert_eq!(
        (&sent[26..30], &sent[30..34], &sent[36..38]),
        (&[198, 18, 0, 9][..], &[198, 19, 1, 2][..], &5353u16.to_be_bytes()[..])
    );

    // The tester plays the target: the reply is built from what was seen.
    let reply = udp([198, 19, 1, 2], 5353, [198, 18, 0, 9], 40_000);
    let answer = json(&simulation.ask(&reply));
    assert_eq!((&answer["frame"], &answer["verdict"]), (&2.into(), &"transmit".into()), "{answer}");
    let sent = unhex(answer["out"][0].as_str().unwrap());
    assert_eq!((&sent[26..30], &sent[34..36]), (&[198, 18, 100, 1][..], &53u16.to_be_bytes()[..]));

    let stranger = udp([198, 18, 0, 9], 1, [198, 18, 0, 8], 2);
    let line = simulation.ask(&stranger);
    assert_eq!(
        line,
        r#"{"frame":3,"verdict":"pass","reason":"not_ours","listener":null,"target":null,"out":[]}"#
    );
    let deaf = udp([198, 18, 0, 9], 1, [198, 18, 100, 1], 54);
    let line = simulation.ask(&deaf);
    assert_eq!(
        line,
        r#"{"frame":4,"verdict":"drop","reason":"no_listener","listener":null,"target":null,"out":[]}"#
    );
    assert_eq!(simulation.finish(), Some(0));
}

#[test]
fn the_key_and_health_decide_the_target() {
    let scratch = Scratch::new();
    let config = scratch.config(CONFIG);
    let targets = |arguments: &[&str]| -> Vec<String> {
        let mut simulation = Simulation::start(&config, arguments);
        let target = |port| {
            json(&simulation.ask(&syn([198, 18, 0, 9], port, [198, 18, 100, 1], 80)))["target"].to_string()
        };
        (1_000..1_040).map(target).collect()
    };
    let zero = targets(&[]);
    assert_eq!(zero, targets(&["--hash-key", "00000000000000000000000000000000"]));
    assert_ne!(zero, targets(&["--hash-key", "000102030405060708090a0b0c0d0e0f"]));
    let healthy = targets(&["--unhealthy", "198.19.1.2:8080"]);
    assert!(healthy.iter().all(|target| target == "\"198.19.1.3:8080\""), "{healthy:?}");
    let open = targets(&["--unhealthy", "198.19.1.2:8080", "--unhealthy", "198.19.1.3:8080"]);
    assert_eq!(open, zero, "the group fails open");
}

#[test]
fn states_decide_who_gets_new_flows_as_in_the_daemon() {
    let scratch = Scratch::new();
    let targets = |config: &str, states: &[&str]| -> std::collections::BTreeSet<String> {
        let config = scratch.config(config);
        let arguments: Vec<&str> = states.iter().flat_map(|state| ["--state", *state]).collect();
        let mut simulation = Simulation::start(&config, &arguments);
        let mut ask = |port| json(&simulation.ask(&syn([198, 18, 0, 9], port, [198, 18, 100, 1], 80)));
        let answers: Vec<serde_json::Value> = (1_000..1_020).map(&mut ask).collect();
        let is_told =
            |answer: &serde_json::Value| answer["target"].is_null() || answer["target_group"] == "web";
        assert!(answers.iter().all(is_told));
        answers.iter().map(|answer| answer["target"].as_str().unwrap_or("nobody").to_owned()).collect()
    };
    let (one, other) = ("198.19.1.2:8080".to_owned(), "198.19.1.3:8080".to_owned());
    for state in ["unhealthy", "unhealthy.draining", "initial", "draining", "unused"] {
        let said = format!("web/{one}={state}");
        assert_eq!(targets(CONFIG, &[&said]), [other.clone()].into(), "{state}");
        let others = format!("web/{other}=unhealthy");
        let open = match state {
            "draining" | "unused" => [other.clone()].into(),
            _ => [one.clone(), other.clone()].into(),
        };
        assert_eq!(targets(CONFIG, &[&said, &others]), open, "{state}, and the group fails open");
    }
    let by_call =
        CONFIG.replace("targets = [{ address = \"198.19.1.2\" }, { address = \"198.19.1.3\" }]", "");
    assert_eq!(targets(&by_call, &[]), ["nobody".to_owned()].into());
    assert_eq!(
        targets(&by_call, &[&format!("web/{one}=healthy")]),
        [one.clone()].into(),
        "registered by its name"
    );
}

#[test]
fn targets_are_registered_deregistered_and_waited_for() {
    let scratch = Scratch::new();
    let socket = scratch.path("lbd.sock");
    let (sender, calls) = mpsc::channel();
    let _server = Server::start(&socket, move |call| match call {
        Call::Change(ChangeCall {
            change: Change::ChangeTargets { target_group, changes }, reply, ..
        }) => {
            if target_group == Ref::Name("dns".into()) {
                return reply.refuse("there is no target group \"dns\"");
            }
            sender.send((target_group, serde_json::to_string(&changes).unwrap())).unwrap();
            let in_force = InForce { generation: 5, tables_generation: 6, id: None };
            reply.send(Changed { in_force, objects: Default::default() });
        }
        Call::TargetsOf { reply, .. } => {
            reply.send(vec![target("198.19.1.2:80", "healthy"), target("198.19.1.3:80", "initial")])
        }
        Call::Status(reply) => reply.send(Status { generation: 4, ..Status::default() }),
        Call::Snapshot(reply) => {
            let web =
                serde_json::json!({ "name": "web", "protocol": "TCP", "port": 80, "target_type": "ip" });
            let objects = serde_json::json!({ "load_balancers": [], "target_groups": [web] });
            reply.send(Snapshot { generation: 4, objects: serde_json::from_value(objects).unwrap() });
        }
        _ => {}
    })
    .unwrap();
    let run = |arguments: &[&str]| {
        let output = lbctl(&[&["--socket", socket.to_str().unwrap(), "targets"], arguments].concat());
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (output.status.code(), text)
    };

    let (code, [text, _]) =
        run(&["register", "web", "198.19.1.2", "[2001:db8::2]:81", "--weight", "2", "--zone", "a"]);
    assert_eq!((code, text.as_str()), (Some(0), "2 targets registered: generation 5\n"));
    let expected = r#"{"register":[{"address":"198.19.1.2","weight":2,"zone":"a"},{"address":"2001:db8::2","port":81,"weight":2,"zone":"a"}]}"#;
    assert_eq!(calls.recv().unwrap(), (Ref::Name("web".into()), expected.into()));
    let (code, [text, _]) = run(&["deregister", "web", "198.19.1.2:80", "-o", "json"]);
    assert_eq!((code, json(&text)["generation"].as_u64()), (Some(0), Some(5)));
    let expected = r#"{"deregister":[{"address":"198.19.1.2","port":80}]}"#;
    assert_eq!(calls.recv().unwrap(), (Ref::Name("web".into()), expected.into()));
    let (code, [_, text]) = run(&["register", "dns", "198.19.1.2"]);
    assert_eq!((code, text.as_str()), (Some(1), "lbctl: there is no target group \"dns\"\n"));

    let (code, [text, _]) = run(&["wait", "web", "198.19.1.2"]);
    assert!(code == Some(0) && text.contains("198.19.1.2:80") && !text.contains("198.19.1.3"), "{text}");
    let (code, [_, text]) = run(&["wait", "web", "198.19.1.2", "198.19.1.3:80", "--timeout", "0"]);
    assert_eq!((code, text.as_str()), (Some(1), "lbctl: not healthy after 0 s: 198.19.1.3:80 (initial)\n"));
    let (code, [_, text]) = run(&["wait", "web", "198.19.1.4"]);
    assert!(code == Some(1) && text.contains("198.19.1.4 is no target of web"), "{text}");
    let (code, [text, _]) = run(&["web"]);
    assert!(code == Some(0) && text.contains("198.19.1.3"), "{text}");
}

#[test]
fn the_clock_is_the_captures_and_never_goes_back() {
    let scratch = Scratch::new();
    let config = scratch.config(CONFIG);
    let mut simulation = Simulation::start(&config, &[]);
    let query = udp([198, 18, 0, 9], 40_000, [198, 18, 100, 1], 53);
    for (second, reason) in
        [(1_000, "new_flow"), (1_119, "flow"), (500, "flow"), (1_238, "flow"), (1_400, "new_flow")]
    {
        let answer = json(&simulation.ask_at(second, &query));
        assert_eq!(answer["reason"], reason, "at {second} s");
    }
}

/// A PROXY header that the target does not acknowledge is repeated, whoever's frame comes next.
#[test]
fn frames_that_timers_make_are_told_apart() {
    let scratch = Scratch::new();
    let owed = "\"proxy_protocol_v2.enabled\" = true, \
                \"proxy_protocol_v2.client_to_server.header_placement\" = \"on_first_ack\", \"preserve";
    let config = scratch.config(&CONFIG.replace("\"preserve", owed));
    let mut simulation = Simulation::start(&config, &[]);
    let (client, vip) = ([198, 18, 0, 9], [198, 18, 100, 1]);
    let mut ask_at = |second, frame: &[u8]| json(&simulation.ask_at(second, frame));
    let opened = ask_at(1, &syn(client, 40_000, vip, 80));
    let sent = unhex(opened["out"][0].as_str().unwrap());
    let target: [u8; 4] = sent[30..34].try_into().unwrap();
    let begin = u32::from_be_bytes(sent[38..42].try_into().unwrap());
    ask_at(1, &tcp((target, 8_080), (client, 40_000), (1_000, begin.wrapping_add(1), 0x12)));
    let confirmed = ask_at(1, &tcp((client, 40_000), (vip, 80), (2, 1_001, 0x10)));
    assert_eq!(confirmed["made_by_timers"], serde_json::Value::Null, "{confirmed}");
    let header = unhex(confirmed["out"][0].as_str().unwrap());
    assert!(header.windows(4).any(|bytes| bytes == b"QUIT"), "the PROXY header's signature: {confirmed}");

    let next = ask_at(3, &udp(client, 1, [198, 18, 0, 8], 2));
    assert_eq!((&next["verdict"], &next["made_by_timers"]), (&"pass".into(), &1.into()), "{next}");
    let repeated = unhex(next["out"][0].as_str().unwrap());
    assert!(repeated.windows(4).any(|bytes| bytes == b"QUIT"), "{next}");
}

/// The answer is the load balancer's own: it needs neither a listener nor a target.
#[test]
fn a_route_that_goes_on_is_answered_in_a_simulation() {
    let scratch = Scratch::new();
    let config = scratch.config(
        &CONFIG.replace("\"198.18.100.1\"", "\"2001:db8:100::1\"").replace("198.19.1.", "2001:db8:1::"),
    );
    let mut simulation = Simulation::start(&config, &[]);
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 43, 64];
    frame.extend("2001:db8::9".parse::<Ipv6Addr>().unwrap().octets());
    frame.extend("2001:db8:100::1".parse::<Ipv6Addr>().unwrap().octets());
    frame.extend([17, 2, 0, 1]); // A routing header of type 0, with one segment left.
    frame.resize(14 + 40 + 24, 0);
    frame.extend([0x9c, 0x40, 0, 53, 0, 8, 0, 1]);
    let answer = json(&simulation.ask(&frame));
    assert_eq!(
        (&answer["verdict"], &answer["reason"]),
        (&"reply".into(), &"parameter_problem".into()),
        "{answer}"
    );
    let sent = unhex(answer["out"][0].as_str().unwrap());
    assert_eq!((&sent[54..56], &sent[58..62], &sent[62..]), (&[4, 0][..], &[0, 0, 0, 42][..], &frame[14..]));
}

#[test]
fn frames_of_other_interfaces_pass_and_frames_that_leave_are_written() {
    let scratch = Scratch::new();
    let config = scratch.config(CONFIG);
    let out = scratch.path("out.pcap");
    let query = udp([198, 18, 0, 9], 40_000, [198, 18, 100, 1], 53);
    let live = scratch.path("live.pcapng");
    let mut blocks = pcapng::section("test");
    for (number, (name, length)) in (0..).zip([("eth9", query.len()), ("eth0", 1_514)]) {
        blocks.extend(pcapng::interface(name, 0));
        blocks.extend(pcapng::packet(&CapturedPacket {
            interface: number,
            time_ns: 0,
            direction: Direction::Inbound,
            bytes: &query,
            length,
            comment: "",
            missed: 0,
        }));
    }
    std::fs::write(&live, blocks).unwrap();
    let output = lbctl(&["simulate", "-c", config.to_str().unwrap(), "--in", live.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    let fates: Vec<_> =
        text.lines().map(|line| (json(line)["verdict"].clone(), json(line)["reason"].clone())).collect();
    let pass = |reason: &str| ("pass".into(), reason.into());
    assert_eq!(fates, [pass("interface_not_configured"), pass("cut_by_capture")]);

    let mut simulation = Simulation::start(&config, &["--interface", "eth1", "--out", out.to_str().unwrap()]);
    let sent = json(&simulation.ask_at(1_234, &query))["out"][0].as_str().unwrap().to_owned();
    assert_eq!(sent[..12], *"0200c6130102", "a made-up neighbor tells its address");
    assert_eq!(simulation.finish(), Some(0));
    let bytes = std::fs::read(&out).unwrap();
    let mut capture = lb_ctl::capture::Capture::open(&bytes[..]).unwrap();
    let frame = capture.next_frame().unwrap().unwrap();
    assert_eq!((frame.time_ns, frame.bytes), (1_234_000_000_000, unhex(&sent)));
    assert!(capture.next_frame().unwrap().is_none());
}

#[test]
fn a_capture_cut_short_answers_what_it_can() {
    let scratch = Scratch::new();
    let mut simulation = Simulation::start(&scratch.config(CONFIG), &[]);
    simulation.ask(&udp([198, 18, 0, 9], 1, [198, 18, 100, 1], 53));
    simulation.input.as_mut().unwrap().raw.write_all(&[0; 5]).unwrap();
    assert_eq!(simulation.finish(), Some(2));
}

fn target(endpoint: &str, state: &str) -> TargetRow {
    TargetRow {
        target_group: "web".into(),
        target: endpoint.parse().unwrap(),
        zone: None,
        state: state.into(),
        reason: None,
        description: None,
        changed: None,
        changed_seconds_ago: None,
        checks_passed: 0,
        checks_failed: 0,
        weight: Some(1),
        is_eligible: true,
        share_percent: 50.0,
        is_reachable: true,
        bypass: None,
        traffic: Traffic::default(),
    }
}

/// A directory for one test.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Scratch {
        Scratch(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn config(&self, text: &str) -> PathBuf {
        let path = self.path("lbd.toml");
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// A running `lbctl simulate --in -`.
struct Simulation {
    child: Child,
    /// Until the end of input.
    input: Option<Pipe>,
    answers: mpsc::Receiver<String>,
}

/// The writing side: a capture, and the pipe under it.
struct Pipe {
    capture: CaptureWriter<std::fs::File>,
    raw: std::fs::File,
}

impl Simulation {
    fn start(config: &Path, arguments: &[&str]) -> Simulation {
        let mut child = command()
            .args(["simulate", "-c", config.to_str().unwrap(), "--in", "-"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin: std::os::fd::OwnedFd = child.stdin.take().unwrap().into();
        let raw = std::fs::File::from(stdin);
        let input = Some(Pipe { capture: CaptureWriter::create(raw.try_clone().unwrap()).unwrap(), raw });
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let _ = sender.send(line.unwrap());
            }
        });
        Simulation { child, input, answers }
    }

    fn ask(&mut self, frame: &[u8]) -> String {
        self.ask_at(1_000, frame)
    }

    fn ask_at(&mut self, second: u64, frame: &[u8]) -> String {
        let input = self.input.as_mut().unwrap();
        input.capture.write(second * 1_000_000_000, frame).unwrap();
        self.answers.recv_timeout(Duration::from_secs(60)).expect("an answer before the next frame")
    }

    fn finish(&mut self) -> Option<i32> {
        self.input = None;
        self.child.wait().unwrap().code()
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_lbctl"))
}

fn lbctl(arguments: &[&str]) -> Output {
    let mut child = command()
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = Output { status: Default::default(), stdout: Vec::new(), stderr: Vec::new() };
    child.stdout.take().unwrap().read_to_end(&mut output.stdout).unwrap();
    child.stderr.take().unwrap().read_to_end(&mut output.stderr).unwrap();
    output.status = child.wait().unwrap();
    output
}

fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap()
}

/// The keys of a JSON line, in order.
fn keys(line: &str) -> Vec<&str> {
    line.split('"')
        .filter(|part| ["frame", "verdict", "reason", "listener", "target", "out"].contains(part))
        .collect()
}

fn unhex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// A UDP datagram with 4 bytes of payload, without UDP checksum.
fn udp(source: [u8; 4], source_port: u16, destination: [u8; 4], destination_port: u16) -> Vec<u8> {
    let mut l4 =
        [source_port.to_be_bytes(), destination_port.to_be_bytes(), 12u16.to_be_bytes(), [0; 2]].concat();
    l4.extend(b"ping");
    frame(17, source, destination, &l4)
}

/// A TCP SYN.
fn syn(source: [u8; 4], source_port: u16, destination: [u8; 4], destination_port: u16) -> Vec<u8> {
    tcp((source, source_port), (destination, destination_port), (1, 0, 0x02))
}

/// A TCP segment without payload: its ends; its sequence number, acknowledgement and flags.
fn tcp(
    (source, source_port): ([u8; 4], u16),
    (destination, destination_port): ([u8; 4], u16),
    (sequence, acknowledgement, flags): (u32, u32, u8),
) -> Vec<u8> {
    let mut l4 = [source_port.to_be_bytes(), destination_port.to_be_bytes()].concat();
    l4.extend([sequence.to_be_bytes(), acknowledgement.to_be_bytes()].concat());
    l4.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    let pseudo = [&source[..], &destination[..], &[0, 6], &(l4.len() as u16).to_be_bytes()[..], &l4].concat();
    l4[16..18].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    frame(6, source, destination, &l4)
}

fn frame(protocol: u8, source: [u8; 4], destination: [u8; 4], l4: &[u8]) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend((20 + l4.len() as u16).to_be_bytes());
    header.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
    header.extend(source);
    header.extend(destination);
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0][..], &header, l4].concat()
}

fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
