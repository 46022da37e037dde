//! The testbed's cluster, kept up to be tried by hand: `./ci.sh cluster up` and `./ci.sh cluster down`.
//!
//! `up` starts this program once more as `hold`, which makes the cluster, runs `lbd` in it, and takes both away when it is told to end.

use std::{
    error::Error,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use lb_ctl::client::Client;
use lbd::testbed::{
    self, cleanup,
    cluster::{Cluster, configuration},
    daemon::is_serving,
    process::Process,
};

/// A Kubernetes cluster in network namespaces, with lbd in front of it.
#[derive(Parser)]
struct Arguments {
    /// Namespaces are called NAME-client and so on, files are in /tmp/NAME
    #[arg(long, default_value = "lbd-cluster", global = true)]
    name: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make it, and say what is where
    Up,
    /// Remove it, whatever is left of it
    Down,
    /// Make it, and hold it until SIGTERM
    #[command(hide = true)]
    Hold,
}

fn main() -> ExitCode {
    let Arguments { name, verb } = Arguments::parse();
    let files = Files::of(&name);
    let done = match verb {
        _ if !testbed::is_privileged() => Err("it needs root, because it makes network namespaces".into()),
        Verb::Up => up(&name, &files),
        Verb::Down => down(&name, &files),
        Verb::Hold => hold(&name, &files),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster: {error}");
            ExitCode::FAILURE
        }
    }
}

fn up(name: &str, files: &Files) -> Result<(), Box<dyn Error>> {
    if let Some(holder) = files.running(HOLDER) {
        println!("{name} is up already, held by process {holder}.\n");
    } else {
        down(name, files)?;
        fs::create_dir_all(&files.directory)?;
        start_holder(name, files)?;
        println!("{name} is up.\n");
    }
    println!("{}", map(name, files)?);
    Ok(())
}

/// Starts the holder, in a session of its own, and waits until it has made everything.
fn start_holder(name: &str, files: &Files) -> Result<(), Box<dyn Error>> {
    let log = fs::File::create(files.log())?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--name", name, "hold"]).process_group(0);
    let mut holder = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    fs::write(files.pid_of(HOLDER), holder.id().to_string())?;
    let deadline = Instant::now() + PATIENCE;
    while !files.ready().exists() {
        let has_ended = holder.try_wait()?.is_some();
        if has_ended || Instant::now() > deadline {
            end(&mut holder)?;
            return Err(format!("it cannot be made:\n{}", fs::read_to_string(files.log())?).into());
        }
        thread::sleep(LOOKING_INTERVAL);
    }
    Ok(())
}

fn end(holder: &mut Child) -> std::io::Result<()> {
    terminate(holder.id());
    holder.wait().map(drop)
}

/// Ends the holder, which removes everything; then removes what a crash has left.
fn down(name: &str, files: &Files) -> Result<(), Box<dyn Error>> {
    // A daemon without its holder has been told to end, and may still be writing its state.
    for program in [HOLDER, DAEMON] {
        let Some(pid) = files.running(program) else { continue };
        terminate(pid);
        let deadline = Instant::now() + PATIENCE;
        while files.running(program).is_some() {
            if Instant::now() > deadline {
                return Err(format!("process {pid} ({program}) does not end").into());
            }
            thread::sleep(LOOKING_INTERVAL);
        }
        println!("{program}, process {pid}, has ended");
    }
    for left in cleanup::remove_namespaces(&format!("{name}-"))? {
        println!("removed {left}");
    }
    if files.directory.exists() {
        fs::remove_dir_all(&files.directory)?;
        println!("removed {}", files.directory.display());
    }
    Ok(())
}

fn hold(name: &str, files: &Files) -> Result<(), Box<dyn Error>> {
    cleanup::on_signals()?;
    let cluster = Cluster::build_named(name)?;
    let config = files.directory.join("lbd.toml");
    fs::write(&config, configuration(&files.directory))?;
    let mut command = cluster.lb.command(&built(DAEMON)?);
    command.arg("run").arg("--config").arg(&config);
    let mut daemon = Process::start(&mut command, &files.directory.join("lbd.log"))?;
    fs::write(files.pid_of(DAEMON), daemon.pid().to_string())?;
    let control = Client::new(&files.socket());
    let deadline = Instant::now() + PATIENCE;
    while !control.targets().is_ok_and(|targets| targets.iter().all(is_serving)) {
        if daemon.ended()?.is_some() || Instant::now() > deadline {
            return Err(format!("lbd does not serve:\n{}", daemon.printed()).into());
        }
        thread::sleep(LOOKING_INTERVAL);
    }
    fs::write(files.ready(), "")?;
    loop {
        thread::park(); // until the signal that ends the program
    }
}

/// Asks a process of this user's to end. One that is gone needs no asking.
fn terminate(pid: u32) {
    // SAFETY: kill takes two integers.
    unsafe { libc::kill(pid.cast_signed(), libc::SIGTERM) };
}

/// A program that Cargo has built beside this one.
fn built(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let examples = std::env::current_exe()?;
    let program = examples.parent().and_then(Path::parent).ok_or("this program has no directory")?.join(name);
    if program.exists() { Ok(program) } else { Err(format!("{} is not built", program.display()).into()) }
}

/// Where things are kept.
struct Files {
    directory: PathBuf,
}

impl Files {
    fn of(name: &str) -> Files {
        Files { directory: Path::new("/tmp").join(name) }
    }

    fn pid_of(&self, program: &str) -> PathBuf {
        self.directory.join(program).with_extension("pid")
    }

    fn ready(&self) -> PathBuf {
        self.directory.join("ready")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("control/lbd.sock")
    }

    /// The process of a program, if it runs and its pid was not given to another program.
    fn running(&self, program: &str) -> Option<u32> {
        let pid = fs::read_to_string(self.pid_of(program)).ok()?.parse().ok()?;
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        // One that has ended, but whose parent has not heard of it, has no file any more.
        let has_file = fs::read_link(format!("/proc/{pid}/exe")).is_ok();
        (name.trim_end() == program && has_file).then_some(pid)
    }
}

fn map(name: &str, files: &Files) -> Result<String, Box<dyn Error>> {
    let mut map = format!("{:<20} {:<45} links\n", "namespace", "addresses");
    for (role, addresses, links) in NAMESPACES {
        map += &format!("{:<20} {addresses:<45} {links}\n", format!("{name}-{role}"));
    }
    let lbctl = format!("{} --socket {}", built("lbctl")?.display(), files.socket().display());
    let directory = files.directory.display().to_string();
    Ok(map + &REST.replace("NAME", name).replace("LBCTL", &lbctl).replace("DIRECTORY", &directory))
}

/// What holds the cluster: this program.
const HOLDER: &str = "cluster";
/// What runs in it.
const DAEMON: &str = "lbd";
/// How long making and removing may take.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOKING_INTERVAL: Duration = Duration::from_millis(50);
/// Namespace, its addresses, its links.
const NAMESPACES: [(&str, &str, &str); 8] = [
    ("client", "198.18.0.2", "eth0"),
    ("router", "198.18.0.1, 198.19.1.1", "client, vpc"),
    ("lb", "198.19.1.10, VIPs 198.18.100.1, 198.18.100.2", "eth0"),
    ("node1", "198.19.1.50", "eth0, pod51, pod52"),
    ("pod51", "198.19.1.51", "eth0"),
    ("pod52", "198.19.1.52", "eth0"),
    ("node2", "198.19.1.60, 198.19.1.70", "eth0, eth1, pod71"),
    ("pod71", "198.19.1.71", "eth0"),
];
const REST: &str = "
service  cluster IP           node port  policy   pods listen on
web      198.19.200.10:80     30080      Cluster  8080
local    198.19.200.11:80     30081      Local    8080, healthCheckNodePort 32081
echo     198.19.200.12:7 UDP  30007      Cluster  7007

listener  target group  targets
TCP 80    nodes         nodes, by web's node port
TCP 81    local-nodes   nodes with a pod, by local's node port; pods see the client
TCP 82    pods          pods by address; they see 198.19.1.10
TCP 83    pods-kept     the same; they see the client
TCP 84    zonal         the same, in the zone of the VIP
UDP 7     echo          pods by address
UDP 8     echo-nodes    nodes, by echo's node port

A pod answers a line, or a datagram, with its name and the client that it sees:
  echo hello | ip netns exec NAME-client curl -s -m 1 telnet://198.18.100.1:83
  echo hello | ip netns exec NAME-pod51 curl -s -m 1 telnet://198.19.200.10:80
  ip netns exec NAME-client curl -s http://198.19.1.50:32081/healthz
What it passes:
  ip netns exec NAME-node2 tcpdump -nei any tcp
  ip netns exec NAME-node2 nft list ruleset
  ip -n NAME-node2 rule
The load balancer (DIRECTORY/lbd.toml, lbd.log):
  LBCTL status";
