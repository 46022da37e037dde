//! What every end-to-end test needs: a network, a configuration, a running `lbd`, and the check that nothing is lost or left.

use std::{
    fmt::Write as _,
    fs::{self, File},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use lb_ctl::{api::TargetRow, client::Client};
use lbd::testbed::{
    TestbedError,
    cleanup::OwnDirectory,
    client::Crowd,
    daemon::{Books, is_serving},
    network::{Network, Plan, VIP, target_address},
    process::Process,
    target::{Ports, Target},
};
use libtest_mimic::Failed;

/// The listener for lines or HTTP.
pub const TCP_PORT: u16 = 80;
/// The listener for datagrams.
pub const UDP_PORT: u16 = 7;
/// Where targets listen.
pub const PORTS: Ports = Ports { tcp: 8080, udp: 7007 };
/// How long anything may take that is expected to happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Where clients connect to.
pub fn tcp_vip() -> SocketAddr {
    (VIP, TCP_PORT).into()
}

/// Where clients send datagrams to.
pub fn udp_vip() -> SocketAddr {
    (VIP, UDP_PORT).into()
}

/// A network with an `lbd` in it.
pub struct Rig {
    /// The daemon, while it runs.
    pub daemon: Option<Process>,
    /// Its control socket.
    pub control: Client,
    /// Embedded targets, as far as they were started.
    pub targets: Vec<Target>,
    /// The namespaces.
    pub network: Network,
    /// Configuration, state, socket and logs.
    pub directory: OwnDirectory,
    plan: Plan,
}

impl Rig {
    /// Builds the network; nothing runs in it yet.
    pub fn build(plan: Plan) -> Result<Rig, Failed> {
        let network = Network::build(&plan)?;
        let directory = OwnDirectory::create()?;
        let control = Client::new(&directory.path().join(SOCKET));
        Ok(Rig { daemon: None, control, targets: Vec::new(), network, directory, plan })
    }

    /// Builds the network, starts an embedded target in each namespace and the daemon, and waits until it serves.
    pub fn serve(plan: Plan) -> Result<Rig, Failed> {
        let mut rig = Rig::build(plan)?;
        rig.start_targets()?;
        rig.start_daemon(&Config::of(&plan))?;
        Ok(rig)
    }

    /// Starts an embedded target in each target's namespace.
    pub fn start_targets(&mut self) -> Result<(), TestbedError> {
        for (number, namespace) in (1..).zip(&self.network.targets) {
            let mut target = Target::new(format!("target{number}"), target_address(number), PORTS);
            target.start(namespace)?;
            self.targets.push(target);
        }
        Ok(())
    }

    /// Starts the daemon and waits until all targets are healthy.
    pub fn start_daemon(&mut self, config: &Config) -> Result<(), Failed> {
        let mut command = self.lbd(&self.write(config)?);
        self.daemon = Some(Process::start(&mut command, &self.directory.path().join("lbd.log"))?);
        self.wait_for("all targets healthy", |targets| targets.iter().all(is_serving))
    }

    /// The command that runs the daemon with a configuration file.
    pub fn lbd(&self, config: &Path) -> Command {
        let mut command = self.network.lb.command(Path::new(LBD));
        command.arg("run").arg("--config").arg(config);
        command
    }

    /// Runs the daemon with a configuration that it must refuse, and returns what it said.
    pub fn run_refused(&self, command: &mut Command) -> Result<Output, Failed> {
        let mut child =
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn()?;
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                return Err("it did not refuse, but ran on".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(child.wait_with_output()?)
    }

    /// Writes the configuration file and returns its path.
    pub fn write(&self, config: &Config) -> std::io::Result<PathBuf> {
        self.write_text(&config.text(&self.network.interfaces, self.directory.path()))
    }

    /// Writes a configuration file of any text and returns its path.
    pub fn write_text(&self, text: &str) -> std::io::Result<PathBuf> {
        let path = self.directory.path().join("lbd.toml");
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Gives the running daemon another configuration, as an operator does.
    pub fn reload(&self, config: &Config) -> Result<(), Failed> {
        self.write(config)?;
        Ok(self.control.reload().map(drop)?)
    }

    /// Waits until the daemon's view of its targets is as wanted.
    pub fn wait_for(&mut self, what: &str, wanted: impl Fn(&[TargetRow]) -> bool) -> Result<(), Failed> {
        let deadline = Instant::now() + PATIENCE;
        let mut last = String::new();
        while Instant::now() < deadline {
            match self.control.targets() {
                Ok(targets) if !targets.is_empty() && wanted(&targets) => return Ok(()),
                Ok(targets) => last = format!("{targets:?}"),
                Err(error) => last = error.to_string(),
            }
            let daemon = self.daemon.as_mut().ok_or("no daemon was started")?;
            if let Some(status) = daemon.ended()? {
                return Err(
                    format!("while waiting for {what}, lbd ended ({status}):\n{}", daemon.printed()).into()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{what}: not within {PATIENCE:?}; last: {last}").into())
    }

    /// A crowd of clients, one of whose members must reach every embedded target.
    pub fn crowd(&self, count: usize) -> Result<Crowd, Failed> {
        Ok(Crowd::open(&self.network.client, tcp_vip(), count)?)
    }

    /// How many of a crowd are with each target, by number from 1.
    pub fn shares(&self, crowd: &Crowd) -> Vec<usize> {
        let with =
            |target: &Target| crowd.members().iter().filter(|member| member.target == target.name()).count();
        self.targets.iter().map(with).collect()
    }

    /// Ends the test: the books balance, a clean stop leaves nothing. Returns the books.
    pub fn finish(mut self) -> Result<Books, Failed> {
        let books = Books::settled(&self.control, PATIENCE)?;
        assert!(books.balance(), "the books do not balance:\n{books}");
        let daemon = self.daemon.take().ok_or("no daemon was started")?;
        let status = daemon.stop(PATIENCE)?;
        assert!(status.success(), "lbd ended with {status}");
        self.assert_nothing_left()?;
        Ok(books)
    }

    /// No XDP program, no VIP, no control socket.
    pub fn assert_nothing_left(&self) -> Result<(), Failed> {
        for interface in &self.network.interfaces {
            assert_eq!(self.network.xdp_program(interface)?, None, "XDP program left on {interface}");
        }
        assert!(!self.network.lb_has(VIP), "the VIP was left behind");
        assert!(!self.directory.path().join(SOCKET).exists(), "the control socket was left behind");
        Ok(())
    }

    /// The plan that the network was built by.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

/// A configuration: one load balancer with a TCP and a UDP listener, each with a target group of the same targets.
#[derive(Clone, Debug)]
pub struct Config {
    /// Targets by number, from 1.
    pub targets: Vec<u8>,
    /// Packet threads.
    pub workers: u32,
    /// More sections, at the end of the file.
    pub more: &'static str,
}

impl Config {
    /// All targets of a network; a worker for each queue.
    pub fn of(plan: &Plan) -> Config {
        Config { targets: (1..=plan.targets).collect(), workers: plan.queues, more: "" }
    }

    /// The same without one target.
    pub fn without(&self, number: u8) -> Config {
        let targets = self.targets.iter().copied().filter(|target| *target != number).collect();
        Config { targets, ..*self }
    }

    /// The text of the file, with state and socket under `directory`.
    pub fn text(&self, interfaces: &[String], directory: &Path) -> String {
        let directory = directory.display();
        let mut text = format!(
            "interfaces = {interfaces:?}\n\
             state_directory = \"{directory}/state\"\n\
             control_socket = \"{directory}/{SOCKET}\"\n\
             workers = {{ count = {} }}\n\
             flow_table = {{ capacity = 65536 }}\n\
             [[load_balancers]]\n\
             name = \"test\"\n\
             addresses = [\"{VIP}\"]\n",
            self.workers
        );
        for (protocol, port, group) in [("TCP", TCP_PORT, "lines"), ("UDP", UDP_PORT, "datagrams")] {
            let listener = "[[load_balancers.listeners]]";
            writeln!(
                text,
                "{listener}\nprotocol = \"{protocol}\"\nport = {port}\ntarget_group = \"{group}\""
            )
            .expect("a String takes all text");
        }
        text += &self.group("lines", "TCP", PORTS.tcp);
        text += &self.group("datagrams", "UDP", PORTS.udp);
        text + self.more
    }

    fn group(&self, name: &str, protocol: &str, port: u16) -> String {
        let target = |number: &u8| format!("{{ address = \"{}\" }}", target_address(*number));
        let targets: Vec<_> = self.targets.iter().map(target).collect();
        format!(
            "[[target_groups]]\n\
             name = \"{name}\"\n\
             protocol = \"{protocol}\"\n\
             port = {port}\n\
             targets = [{}]\n\
             attributes = {{ \"preserve_client_ip.enabled\" = true }}\n\
             [target_groups.health_check]\n\
             protocol = \"TCP\"\n\
             port = {}\n\
             fast_interval_ms = 1000\n\
             healthy_threshold = 2\n\
             unhealthy_threshold = 2\n",
            targets.join(", "),
            PORTS.tcp
        )
    }
}

/// The right to load the machine: held by one heavy test at a time, over all test programs.
pub fn heavy() -> Result<File, Failed> {
    let lock = File::create(std::env::temp_dir().join("lbd-heavy-test.lock"))?;
    lock.lock()?;
    Ok(lock)
}

/// Makes a command run as a user without privileges, once it is inside its namespace.
pub fn unprivileged(command: &mut Command) -> &mut Command {
    let give_up = || {
        // SAFETY: the calls take integers and a null list, and change this new process only.
        let given_up = unsafe {
            libc::setgroups(0, std::ptr::null()) == 0
                && libc::setgid(NOBODY) == 0
                && libc::setuid(NOBODY) == 0
        };
        if given_up { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec the closure makes system calls only.
    unsafe { command.pre_exec(give_up) }
}

/// The control socket, in the test's directory.
const SOCKET: &str = "control/lbd.sock";
/// The program under test.
pub const LBD: &str = env!("CARGO_BIN_EXE_lbd");
const NOBODY: u32 = 65534;
