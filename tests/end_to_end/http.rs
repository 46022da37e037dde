//! Real web servers and real HTTP clients: nginx, ab and curl.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use lbd::testbed::{
    daemon::Books,
    namespace::Namespace,
    network::{CLIENT, Layout, Network, Offload, Plan, VIP, target_address},
    process::Process,
};
use libtest_mimic::Failed;

use crate::{
    Test,
    harness::{Config, PATIENCE, PORTS, Rig, heavy},
};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    ("http::ten_thousand_requests", ten_thousand_requests),
    ("http::one_gib_arrives_whole", || arrives_whole(Offload::Off, 1 << 30)),
    ("http::a_transfer_finds_the_narrow_way_to_the_client", finds_the_narrow_way),
    ("http::a_transfer_with_unfinished_checksums_arrives_whole", || arrives_whole(Offload::On, 64 << 20)),
];

fn ten_thousand_requests() -> Result<(), Failed> {
    let _heavy = heavy()?;
    let mut rig = Rig::build(Plan { layout: Layout::Direct, targets: 4, queues: 2, offload: Offload::Off })?;
    let servers = WebServers::start(&rig)?;
    rig.start_daemon(&Config::of(rig.plan()))?;

    let mut ab = rig.network.client.command(Path::new("ab"));
    ab.args(["-q", "-n", &REQUESTS.to_string(), "-c", "50", "-s", "10", &format!("http://{VIP}/")]);
    let said = output_of(&mut ab)?;
    assert!(said.contains(&format!("Complete requests:      {REQUESTS}")), "{said}");
    assert!(said.contains("Failed requests:        0"), "{said}");
    assert!(!said.contains("Non-2xx responses"), "{said}");

    let shares = servers.requests_of_client()?;
    assert_eq!(shares.iter().sum::<usize>(), REQUESTS, "{shares:?}");
    let even = REQUESTS / shares.len();
    let within_a_fifth = |share: &usize| share.abs_diff(even) <= even / 5;
    assert!(shares.iter().all(within_a_fifth), "{shares:?}, even would be {even}");
    rig.finish().map(drop)
}

/// The link to the client carries less than either end knows: targets learn it from the load balancer's ICMP errors.
fn finds_the_narrow_way() -> Result<(), Failed> {
    let rig = Rig::build(Plan { layout: Layout::Direct, targets: 2, queues: 1, offload: Offload::Off })?;
    rig.network.set_mtu(&rig.network.interfaces[0], 1_400)?;
    let books = transfer(rig, 8 << 20)?;
    let too_big = books.0.reasons.iter().find(|row| row.reason == "too_big");
    assert!(too_big.is_some_and(|row| row.frames > 0), "{books}");
    Ok(())
}

fn arrives_whole(offload: Offload, bytes: u64) -> Result<(), Failed> {
    let _heavy = heavy()?;
    let rig = Rig::build(Plan { layout: Layout::Direct, targets: 2, queues: 1, offload })?;
    transfer(rig, bytes).map(drop)
}

/// Downloads noise and compares its hash.
fn transfer(mut rig: Rig, bytes: u64) -> Result<Books, Failed> {
    let servers = WebServers::start(&rig)?;
    let file = servers.root.join("large");
    write_noise(&file, bytes)?;
    rig.start_daemon(&Config::of(rig.plan()))?;

    let download = format!("curl -sSf --max-time 120 http://{VIP}/large | sha256sum");
    let mut shell = rig.network.client.command(Path::new("sh"));
    let arrived = output_of(shell.args(["-c", &download]))?;
    let sent = output_of(Command::new("sha256sum").stdin(File::open(&file)?))?;
    assert_eq!(arrived, sent);
    rig.finish()
}

/// An nginx in each target's namespace.
struct WebServers {
    root: PathBuf,
    logs: Vec<PathBuf>,
    _processes: Vec<Process>,
}

impl WebServers {
    /// Starts them and waits until they answer.
    fn start(rig: &Rig) -> Result<WebServers, Failed> {
        let root = rig.directory.path().join("www");
        fs::create_dir(&root)?;
        fs::write(root.join("index.html"), "hello\n")?;
        let mut servers = WebServers { root, logs: Vec::new(), _processes: Vec::new() };
        for (number, namespace) in (1..).zip(&rig.network.targets) {
            servers.start_one(rig, number, namespace)?;
        }
        servers.wait(&rig.network)?;
        Ok(servers)
    }

    fn start_one(&mut self, rig: &Rig, number: u8, namespace: &Namespace) -> Result<(), Failed> {
        let directory = rig.directory.path().join(format!("nginx{number}"));
        fs::create_dir(&directory)?;
        let (config, log) = (directory.join("nginx.conf"), directory.join("access.log"));
        fs::write(&config, nginx_config(&directory, &self.root, number))?;
        let mut nginx = namespace.command(Path::new("nginx"));
        nginx.arg("-p").arg(&directory).arg("-c").arg(&config);
        self._processes.push(Process::start(&mut nginx, &directory.join("output"))?);
        self.logs.push(log);
        Ok(())
    }

    fn wait(&self, network: &Network) -> Result<(), Failed> {
        let deadline = Instant::now() + PATIENCE;
        for (number, namespace) in (1..).zip(&network.targets) {
            let address = (target_address(number), PORTS.tcp);
            while namespace.within(|| std::net::TcpStream::connect(address)).is_err() {
                if Instant::now() > deadline {
                    return Err(format!("nginx {number} did not start").into());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// Requests in each access log. Every one must be the client's.
    fn requests_of_client(&self) -> Result<Vec<usize>, Failed> {
        let requests = |log: &PathBuf| {
            let text = fs::read_to_string(log)?;
            let strangers: Vec<_> = text.lines().filter(|line| *line != CLIENT.to_string()).take(3).collect();
            assert!(strangers.is_empty(), "requests of others in {}: {strangers:?}", log.display());
            Ok(text.lines().count())
        };
        self.logs.iter().map(requests).collect()
    }
}

/// The access log has a line for each request: the client's address.
fn nginx_config(directory: &Path, root: &Path, number: u8) -> String {
    let (directory, root) = (directory.display(), root.display());
    format!(
        "daemon off; user root; worker_processes 1; pid {directory}/pid; error_log {directory}/error.log;\n\
         events {{ worker_connections 2048; }}\n\
         http {{\n\
             log_format client '$remote_addr';\n\
             access_log {directory}/access.log client;\n\
             sendfile on; root {root};\n\
             client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};\n\
             uwsgi_temp_path {directory}; scgi_temp_path {directory};\n\
             server {{ listen {}:{}; }}\n\
         }}\n",
        target_address(number),
        PORTS.tcp
    )
}

/// A file that does not repeat itself (xorshift64), so that no part of it can be taken for another.
fn write_noise(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..bytes / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes())?;
    }
    file.flush()
}

/// What a command prints. A failure tells what it said.
fn output_of(command: &mut Command) -> Result<String, Failed> {
    let name = command.get_program().display().to_string();
    let output = command.stderr(Stdio::piped()).output().map_err(|error| format!("{name}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        Err(format!("{name} failed ({}): {said}{}", output.status, String::from_utf8_lossy(&output.stderr))
            .into())
    }
}

const REQUESTS: usize = 10_000;
