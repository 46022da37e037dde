//! What every end-to-end test needs: a network, a configuration, a running `lbd`, and the check that nothing is lost or left.

use std::{
    fs::{self, File},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use lb_ctl::{
    api::{Stats, TargetRow},
    client::Client,
};
use lbd::testbed::{
    TestbedError,
    cleanup::OwnDirectory,
    client::Crowd,
    daemon::{Books, are_tables_applied, is_serving},
    network::{Family, Network, Plan, VIP},
    process::Process,
    target::{Ports, Target},
};
use libtest_mimic::Failed;

use crate::config::{Config, Service};

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

/// Where clients of a family reach a service.
pub fn vip_of(family: Family, service: &Service) -> SocketAddr {
    (family.vip(), service.port).into()
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
        Rig::serve_by(plan, &Config::of(&plan))
    }

    /// The same with another configuration than the usual.
    pub fn serve_by(plan: Plan, config: &Config) -> Result<Rig, Failed> {
        let mut rig = Rig::build(plan)?;
        rig.start_targets()?;
        rig.start_daemon(config)?;
        Ok(rig)
    }

    /// Starts an embedded target in each target's namespace, at its addresses of both families.
    pub fn start_targets(&mut self) -> Result<(), TestbedError> {
        for (number, namespace) in (1..).zip(&self.network.targets) {
            let mut target = embedded_target(number);
            target.start(namespace)?;
            self.targets.push(target);
        }
        Ok(())
    }

    /// Starts the daemon and waits until all targets are healthy.
    pub fn start_daemon(&mut self, config: &Config) -> Result<(), Failed> {
        self.launch_daemon(config)?;
        self.wait_for("all targets healthy", |targets| !targets.is_empty() && targets.iter().all(is_serving))
    }

    /// Starts the daemon and waits until it answers, whatever has become of targets.
    pub fn launch_daemon(&mut self, config: &Config) -> Result<(), Failed> {
        let config = self.write(config)?;
        self.launch_daemon_by(&config)
    }

    /// The same with a configuration file of any text.
    pub fn launch_daemon_by(&mut self, config: &Path) -> Result<(), Failed> {
        let mut command = self.lbd(config);
        self.daemon = Some(Process::start(&mut command, &self.directory.path().join("lbd.log"))?);
        self.wait_for("an answer", |_| true)
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

    /// Gives the running daemon another configuration, as an operator does, and waits until all workers go by it.
    pub fn reload(&self, config: &Config) -> Result<(), Failed> {
        self.write(config)?;
        self.control.reload()?;
        self.wait_until_applied()
    }

    /// Waits until all workers go by the tables in force.
    pub fn wait_until_applied(&self) -> Result<(), Failed> {
        wait_until("workers go by the tables", || Ok(are_tables_applied(&self.control)?))
    }

    /// Waits until the daemon has printed a sentence, which it does on a thread of its own.
    pub fn wait_for_log(&self, sentence: &str) -> Result<(), Failed> {
        let daemon = self.daemon.as_ref().ok_or("no daemon was started")?;
        wait_until(sentence, || Ok(daemon.printed().contains(sentence)))
            .map_err(|error| format!("{error:?}:\n{}", daemon.printed()).into())
    }

    /// Waits until there have been so many frames that met their fate for one reason, or more.
    pub fn wait_for_frames(&self, reason: &str, count: u64) -> Result<(), Failed> {
        wait_until(&format!("{count} frames of {reason}"), || Ok(self.frames(reason)? >= count))
    }

    /// Waits until the daemon's view of its targets is as wanted, and then until all workers go by it.
    pub fn wait_for(&mut self, what: &str, wanted: impl Fn(&[TargetRow]) -> bool) -> Result<(), Failed> {
        let deadline = Instant::now() + PATIENCE;
        let mut last = String::new();
        while Instant::now() < deadline {
            match self.control.targets() {
                Ok(targets) if wanted(&targets) => return self.wait_until_applied(),
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
        self.stop()
    }

    /// The same, while the network stays.
    pub fn stop(&mut self) -> Result<Books, Failed> {
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
        for vip in Family::BOTH.map(Family::vip) {
            assert!(!self.network.lb_has(vip), "{vip} was left behind");
        }
        assert!(!self.directory.path().join(SOCKET).exists(), "the control socket was left behind");
        Ok(())
    }

    /// Frames that met their fate for one reason so far, by its name.
    pub fn frames(&self, reason: &str) -> Result<u64, Failed> {
        frames_of(&self.control.stats()?, reason)
    }

    /// The plan that the network was built by.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

/// Waits until something is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> Result<bool, Failed>) -> Result<(), Failed> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        if Instant::now() > deadline {
            return Err(format!("{what}: not within {PATIENCE:?}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Frames that met their fate for one reason, by its name.
pub fn frames_of(stats: &Stats, reason: &str) -> Result<u64, Failed> {
    let row = stats.reasons.iter().find(|row| row.reason == reason);
    Ok(row.ok_or_else(|| format!("no reason is called {reason}"))?.frames)
}

/// The embedded target of a number, at its addresses of both families.
pub fn embedded_target(number: u8) -> Target {
    Target::new(format!("target{number}"), Family::V4.target(number), PORTS)
        .also_at(Family::V6.target(number))
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
pub const SOCKET: &str = "control/lbd.sock";
/// The program under test.
pub const LBD: &str = env!("CARGO_BIN_EXE_lbd");
/// The command line under test.
pub const LBCTL: &str = env!("CARGO_BIN_EXE_lbctl");
const NOBODY: u32 = 65534;
