//! `lbctl top` on a real terminal: a pseudo-terminal that it controls.

use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use lb_ctl::{
    api::{FlowTable, ListenerRow, LoadBalancerRow, Stats, Status, Traffic},
    server::{Call, Server},
};
use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

/// A daemon with one listener.
fn daemon(socket: &Path) -> Server {
    let server = Server::start(socket, |call| match call {
        Call::Status(reply) => reply.send(status()),
        Call::Targets(reply) => reply.send(vec![]),
        Call::Stats(reply) => reply.send(Stats::default()),
        _ => panic!("top asks for nothing else"),
    });
    server.expect("a server on a socket of its own")
}

fn status() -> Status {
    let listener = ListenerRow {
        name: "edge/TCP:80".into(),
        address: "198.18.100.1".parse().unwrap(),
        forward: vec![],
        is_sticky: false,
        mode: "full NAT".into(),
        has_syn_cookies: false,
        adopts_strays: false,
        traffic: Traffic::default(),
    };
    let load_balancer = LoadBalancerRow {
        name: "edge".into(),
        addresses: vec![],
        interface: "eth0".into(),
        crosses_zones: false,
        listeners: vec![listener],
    };
    let flow_table = FlowTable { capacity: 1_024, ..FlowTable::default() };
    Status { version: "9".into(), load_balancers: vec![load_balancer], flow_table, ..Status::default() }
}

/// A terminal with `lbctl top` on it.
struct OnTerminal {
    keyboard: File,
    /// The terminal's other end, kept open so that its settings can be read.
    screen: File,
    shown: mpsc::Receiver<Vec<u8>>,
    seen: String,
    child: Child,
}

impl OnTerminal {
    fn start(socket: &Path) -> OnTerminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let screen = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let keyboard = File::from(master);
        resize(&keyboard, 80, 24);
        let end = || Stdio::from(screen.try_clone().unwrap());
        // It makes the terminal the program's own, so that resizes and Ctrl-C are told.
        let mut command = Command::new("setsid");
        command.args(["--ctty", env!("CARGO_BIN_EXE_lbctl"), "--socket"]).arg(socket).arg("top");
        let child = command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let mut output = keyboard.try_clone().unwrap();
        let (sender, shown) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        OnTerminal { keyboard, screen, shown, seen: String::new(), child }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this was written since the last time.
    fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.seen.contains(text) && !plain(&self.seen).contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            let more = self.shown.recv_timeout(left);
            let more = more.unwrap_or_else(|_| panic!("{text:?} is not in {:?}", self.seen));
            self.seen += &String::from_utf8_lossy(&more);
        }
        self.seen.clear();
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.screen).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    fn end(mut self) -> ExitStatus {
        self.wait_for(LEAVE_SCREEN);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(!self.is_raw(), "the terminal was left as it was found");
                return status;
            }
            assert!(Instant::now() < deadline, "it goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It has ended, unless the test failed.
        let _ = self.child.wait();
    }
}

fn resize(terminal: &File, columns: u16, lines: u16) {
    let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).unwrap();
}

#[test]
fn shows_answers_keys_and_resizes_and_restores_the_terminal() {
    let scratch = tempfile::tempdir().unwrap();
    let socket = scratch.path().join("lbd.sock");
    let server = daemon(&socket);
    let mut top = OnTerminal::start(&socket);
    top.wait_for("edge/TCP:80");
    assert!(top.is_raw());
    top.press("\t\t");
    top.wait_for("Nothing was dropped.");
    resize(&top.keyboard, 30, 8);
    top.wait_for("Nothing was dropped.");
    resize(&top.keyboard, 80, 24);
    drop(server);
    top.wait_for("lbd is away");
    let _server = daemon(&socket);
    top.wait_for("Listeners");
    top.press("q");
    assert!(top.end().success());
}

/// What is written without the sequences that move and colour it.
fn plain(seen: &str) -> String {
    let mut pieces = seen.split("\u{1b}[");
    let first = pieces.next().unwrap_or_default().to_owned();
    let behind =
        |piece: &str| piece.find(|end: char| end.is_ascii_alphabetic()).map(|at| piece[at + 1..].to_owned());
    pieces.fold(first, |text, piece| text + &behind(piece).unwrap_or_default())
}

#[test]
fn a_signal_restores_the_terminal_and_ends_it() {
    let scratch = tempfile::tempdir().unwrap();
    let socket = scratch.path().join("lbd.sock");
    for signal in [Signal::TERM, Signal::HUP] {
        let mut top = OnTerminal::start(&socket);
        top.wait_for("lbd is away");
        kill_process(Pid::from_child(&top.child), signal).unwrap();
        let status = top.end();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(signal.as_raw()));
    }
}

#[test]
fn off_a_terminal_one_frame_is_printed_or_the_way_there() {
    let scratch = tempfile::tempdir().unwrap();
    let socket = scratch.path().join("lbd.sock");
    let lbctl = |arguments: &[&str]| -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lbctl"));
        command.arg("--socket").arg(&socket).args(arguments).stdin(Stdio::null()).output().unwrap()
    };
    let output = lbctl(&["top"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("`lbctl stats`") && said.contains("--watch") && said.contains("--once"), "{said}");
    let output = lbctl(&["top", "--once"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("cannot reach lbd"));
    let _server = daemon(&socket);
    let output = lbctl(&["top", "--once"]);
    let frame = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), frame.lines().count()), (Some(0), 24), "{frame}");
    assert!(frame.contains("edge/TCP:80") && !frame.contains('\u{1b}'), "{frame}");
}

const LEAVE_SCREEN: &str = "\u{1b}[?1049l";
const PATIENCE: Duration = Duration::from_secs(30);
