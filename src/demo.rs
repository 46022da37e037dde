//! `lbd demo`: shows the load balancer at work on this machine, in network namespaces of its own, to a person who reads along.
//!
//! `main` calls [`run`]. Every claim printed is checked; the exit code says whether all held.

use std::{
    fmt, io,
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use crate::testbed::{
    self, Doing, TestbedError,
    cleanup::{self, OwnDirectory},
    client::{Answer, Conversation, Crowd, Flows},
    daemon::{Books, is_avoided, is_serving, wait_until},
    network::{CLIENT, Layout, Network, Offload, Plan, VIP, target_address},
    process::Process,
    target::{Ports, Target},
};
use lb_ctl::{
    api::TargetRow,
    client::{Client, ClientError},
};
use screen::{Screen, Tally, thousands};

mod screen;
pub mod story;

/// Runs the demo. Exit code 0: all that it showed held; 1: something did not; 2: it cannot run here.
pub fn run() -> ExitCode {
    if !testbed::is_privileged() {
        eprintln!("{NEEDS_ROOT}");
        return CANNOT_RUN.into();
    }
    let begun = Instant::now();
    let mut screen = Screen::new();
    match prepare().and_then(|()| Demo::show_all(&mut screen)) {
        Ok(()) if screen.conclude(begun.elapsed()) => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nlbd demo: {error}. Everything that the demo made has been removed.");
            if error.is_permission() { CANNOT_RUN.into() } else { ExitCode::FAILURE }
        }
    }
}

/// Everything that the demo made, in the order in which it has to go.
struct Demo<'a> {
    screen: &'a mut Screen,
    daemon: Process,
    control: Client,
    targets: Vec<Target>,
    network: Network,
    directory: OwnDirectory,
}

impl Demo<'_> {
    /// All scenes, in order.
    fn show_all(screen: &mut Screen) -> Result<(), DemoError> {
        let mut demo = Demo::set_up(screen)?;
        demo.show_client_address()?;
        demo.show_spread()?;
        demo.show_udp()?;
        let mut crowd = demo.show_death()?;
        demo.show_return(&mut crowd)?;
        drop(crowd);
        demo.show_rate()?;
        demo.show_books()?;
        demo.show_stop()
    }

    /// Builds the network, starts the targets and the daemon, and waits until it serves.
    fn set_up(screen: &mut Screen) -> Result<Demo<'_>, DemoError> {
        screen.heading("1. A network on this machine");
        let plan = Plan { layout: Layout::Direct, targets: TARGETS, queues: 1, offload: Offload::Off };
        let network = Network::build(&plan)?;
        screen.quote(DRAWING);
        screen.explain(&format!(
            "Each box is a network namespace with a network stack of its own, joined by veth pairs: {}, {}, and so on. The \
             load balancer's kernel does not forward packets, so whatever arrives at a target went through AF_XDP.",
            network.client.name(),
            network.lb.name()
        ));
        let targets = start_targets(&network)?;

        screen.heading("2. The load balancer starts");
        let directory = OwnDirectory::create()?;
        let config = write_config(&directory)?;
        let program = std::env::current_exe().doing(|| "find this program's own file".into())?;
        screen.explain("An ordinary configuration file, and the command that a user would type:");
        screen.quote(&format!("lbd run --config {}", config.display()));
        let mut command = network.lb.command(&program);
        command.arg("run").arg("--config").arg(&config);
        let daemon = Process::start(&mut command, &directory.path().join("lbd.log"))?;
        let control = Client::new(&directory.path().join("control/lbd.sock"));
        let mut demo = Demo { screen, daemon, control, targets, network, directory };
        let begun = Instant::now();
        let serving = demo.wait_until(SERVING_PATIENCE, |targets| targets.iter().all(is_serving));
        demo.screen.explain("It says:");
        demo.screen.quote(&demo.daemon.printed());
        let seconds = begun.elapsed().as_secs_f64();
        demo.claim(
            serving,
            &format!("it serves, and its health checks found all targets healthy, after {seconds:.1} s"),
        )?;
        Ok(demo)
    }

    /// One connection, and who the target thinks it is with.
    fn show_client_address(&mut self) -> Result<(), DemoError> {
        self.screen.heading("3. Targets see the client's own address");
        let (local, answer) = self.network.client.within(|| {
            let mut conversation = Conversation::open(tcp_vip())?;
            Ok::<_, io::Error>((conversation.local, conversation.ask("hello")?))
        })?;
        self.screen.explain(&format!(
            "The client {local} connects to {} and says hello. {} answers that it talks to {}.",
            tcp_vip(),
            answer.target,
            answer.client
        ));
        let holds = answer.client == local && local.ip() == CLIENT;
        self.screen.check(holds, "the address that the target sees is the client's, not the load balancer's");
        Ok(())
    }

    /// Many connections, and how they fall to the targets.
    fn show_spread(&mut self) -> Result<(), DemoError> {
        self.screen.heading("4. Connections spread over the targets");
        let begun = Instant::now();
        let crowd = Crowd::open(&self.network.client, tcp_vip(), SPREAD)?;
        let tally = self.tally(&crowd);
        self.screen.explain(&format!(
            "{SPREAD} connections, opened one after the other in {:.1} s, each answered by the target that Maglev hashing chose:",
            begun.elapsed().as_secs_f64()
        ));
        self.screen.bars(&tally);
        let even = tally.imbalance_percent() <= EVEN_PERCENT;
        self.screen.check(even, &format!("every target has its share, give or take {EVEN_PERCENT:.0} %"));
        drop(crowd);
        // All of them close at once: UDP, which nobody retransmits, waits until that is over.
        std::thread::sleep(SETTLING);
        Ok(())
    }

    /// UDP flows: each stays on one target.
    fn show_udp(&mut self) -> Result<(), DemoError> {
        self.screen.heading("5. UDP, too");
        let flows = Flows::open(&self.network.client, udp_vip(), UDP_FLOWS)?;
        let first = flows.ask_all("one")?;
        let later = [flows.ask_all("two")?, flows.ask_all("three")?];
        self.screen.explain(&format!(
            "{UDP_FLOWS} flows of three datagrams to {}; each datagram is answered by the target that got it:",
            udp_vip()
        ));
        self.screen.bars(&Tally::of(&self.names(), first.iter().map(|answer| answer.target.as_str())));
        let same =
            |round: &Vec<Answer>| first.iter().zip(round).all(|(one, other)| one.target == other.target);
        self.screen.check(
            later.iter().all(same),
            "every datagram was answered, and every flow stayed on one target",
        );
        Ok(())
    }

    /// A target stops under live connections. Returns those that live on.
    fn show_death(&mut self) -> Result<Crowd, DemoError> {
        self.screen.heading("6. A target dies");
        let mut crowd = Crowd::open(&self.network.client, tcp_vip(), LONG_LIVED)?;
        let before = self.tally(&crowd);
        let victim = self.targets[VICTIM].name().to_owned();
        self.screen.explain(&format!(
            "{LONG_LIVED} connections stay open, {} of them with {victim}. Now {victim}'s server is stopped.",
            before.count(&victim)
        ));
        let stopped = Instant::now();
        self.targets[VICTIM].stop();
        let noticed = self.wait_until(HEALTH_PATIENCE, |targets| {
            targets.iter().filter(|row| row.target.ip() == victim_address()).all(is_avoided)
        });
        let seconds = stopped.elapsed().as_secs_f64();
        self.claim(
            noticed,
            &format!("health checks (every second, two failures) took it out after {seconds:.1} s"),
        )?;
        crowd.retain(|member| member.target != victim);
        let failures = crowd.ask_all("still there?", ANSWER_PATIENCE);
        let others = crowd.members().len();
        self.screen.check(
            failures.is_empty(),
            &format!("all {others} connections with the other targets go on ({} do not)", failures.len()),
        );
        let newcomers = self.tally(&Crowd::open(&self.network.client, tcp_vip(), NEWCOMERS)?);
        self.screen.explain(&format!("{NEWCOMERS} new connections:"));
        self.screen.bars(&newcomers);
        self.screen.check(newcomers.count(&victim) == 0, &format!("none of the new ones meets {victim}"));
        Ok(crowd)
    }

    /// The target starts again.
    fn show_return(&mut self, crowd: &mut Crowd) -> Result<(), DemoError> {
        let victim = self.targets[VICTIM].name().to_owned();
        self.screen.heading("7. It comes back");
        let started = Instant::now();
        self.targets[VICTIM].start(&self.network.targets[VICTIM])?;
        let noticed = self.wait_until(HEALTH_PATIENCE, |targets| targets.iter().all(is_serving));
        let seconds = started.elapsed().as_secs_f64();
        self.claim(
            noticed,
            &format!("health checks (two successes) took {victim} back after {seconds:.1} s"),
        )?;
        let newcomers = self.tally(&Crowd::open(&self.network.client, tcp_vip(), NEWCOMERS)?);
        self.screen.explain(&format!("{NEWCOMERS} new connections:"));
        self.screen.bars(&newcomers);
        self.screen.check(newcomers.count(&victim) > 0, &format!("{victim} gets new connections again"));
        let failures = crowd.ask_all("and now?", ANSWER_PATIENCE);
        let moved =
            format!("the {} connections of before are still with their targets", crowd.members().len());
        self.screen.check(failures.is_empty(), &moved);
        Ok(())
    }

    /// Small packets as fast as one client core sends them.
    fn show_rate(&mut self) -> Result<(), DemoError> {
        self.screen.heading("8. A burst of small packets");
        let flows = Flows::open(&self.network.client, udp_vip(), BURST_FLOWS)?;
        let (received, forwarded) = (self.datagrams(), self.control.stats()?.transmitted);
        let begun = Instant::now();
        let sent = self.network.client.within(|| flows.blast(BURST))?;
        let seconds = begun.elapsed().as_secs_f64();
        std::thread::sleep(SETTLING);
        let (received, forwarded) =
            (self.datagrams() - received, self.control.stats()?.transmitted - forwarded);
        self.screen.explain(&format!(
            "One client thread sends 60-byte UDP packets of {BURST_FLOWS} flows for {seconds:.1} s: {} sent, {} forwarded, {} \
             received by the targets' programs. That is {} packets/s through the load balancer.",
            thousands(sent),
            thousands(forwarded),
            thousands(received),
            thousands((forwarded as f64 / seconds) as u64)
        ));
        if forwarded < sent {
            self.screen.explain(&format!(
                "The other {} found no free buffer when they arrived, because nothing slows UDP down.",
                thousands(sent - forwarded)
            ));
        }
        self.screen.explain(
            "This is no measure of the load balancer: over veth, AF_XDP works in copy mode, client, targets and load balancer \
             share this machine's cores, and nearly all of the time is the kernel's own copying. `cargo bench` measures the \
             load balancer's own work for a packet.",
        );
        self.screen
            .check(forwarded > 0 && received > 0 && received <= sent, "packets arrive, and none twice");
        Ok(())
    }

    /// Every frame has been counted.
    fn show_books(&mut self) -> Result<(), DemoError> {
        self.screen.heading("9. Counters, and whether the books balance");
        let books = Books::settled(&self.control, SETTLING_PATIENCE)?;
        self.screen.quote(&books.to_string());
        self.screen.check(books.balance(), "received + made = transmitted + replied + drops");
        Ok(())
    }

    /// A clean stop leaves nothing.
    fn show_stop(self) -> Result<(), DemoError> {
        self.screen.heading("10. A clean stop");
        let status = self.daemon.stop(STOP_PATIENCE)?;
        let vip_is_gone = !self.network.lb_has(VIP);
        let socket_is_gone = !self.directory.path().join("control/lbd.sock").exists();
        self.screen.check(status.success(), "SIGTERM stops lbd with exit code 0");
        self.screen.check(vip_is_gone && socket_is_gone, "its VIP and its control socket are gone");
        Ok(())
    }

    /// Like a check, and without it there is no sense in going on.
    fn claim(&mut self, holds: bool, what: &str) -> Result<(), DemoError> {
        self.screen.check(holds, what);
        if holds {
            return Ok(());
        }
        self.screen.explain("The last that lbd said:");
        let log = self.daemon.printed();
        let lines: Vec<_> = log.lines().collect();
        self.screen.quote(&lines[lines.len().saturating_sub(LAST_LINES)..].join("\n"));
        Err(DemoError::Broken)
    }

    /// Waits until the daemon's view of its targets is as wanted. Returns whether it came to be.
    fn wait_until(&mut self, patience: Duration, wanted: impl Fn(&[TargetRow]) -> bool) -> bool {
        wait_until((&self.control, &mut self.daemon), patience, wanted)
    }

    fn names(&self) -> Vec<&str> {
        self.targets.iter().map(Target::name).collect()
    }

    fn tally(&self, crowd: &Crowd) -> Tally {
        Tally::of(&self.names(), crowd.members().iter().map(|member| member.target.as_str()))
    }

    /// Datagrams that the targets' programs have received.
    fn datagrams(&self) -> u64 {
        self.targets.iter().map(|target| target.counts().datagrams()).sum()
    }
}

/// Why the demo could not go on.
#[derive(Debug)]
enum DemoError {
    Testbed(TestbedError),
    Control(ClientError),
    Traffic(io::Error),
    Broken,
}

impl DemoError {
    fn is_permission(&self) -> bool {
        matches!(self, DemoError::Testbed(error) if error.is_permission())
    }
}

impl fmt::Display for DemoError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DemoError::Testbed(error) => error.fmt(formatter),
            DemoError::Control(error) => error.fmt(formatter),
            DemoError::Traffic(error) => {
                write!(formatter, "traffic through the load balancer failed: {error}")
            }
            DemoError::Broken => formatter.write_str("what comes next would need what does not hold here"),
        }
    }
}

impl From<TestbedError> for DemoError {
    fn from(error: TestbedError) -> DemoError {
        DemoError::Testbed(error)
    }
}

impl From<ClientError> for DemoError {
    fn from(error: ClientError) -> DemoError {
        DemoError::Control(error)
    }
}

impl From<io::Error> for DemoError {
    fn from(error: io::Error) -> DemoError {
        DemoError::Traffic(error)
    }
}

/// Nothing that an earlier run left, and nothing that this one leaves.
fn prepare() -> Result<(), DemoError> {
    cleanup::on_signals()?;
    for removed in cleanup::sweep() {
        println!("removed what an earlier run left: {removed}");
    }
    testbed::raise_file_limit()?;
    Ok(())
}

fn start_targets(network: &Network) -> Result<Vec<Target>, TestbedError> {
    let start = |(number, namespace)| {
        let mut target = Target::new(format!("target{number}"), target_address(number), PORTS);
        target.start(namespace)?;
        Ok(target)
    };
    (1..=TARGETS).zip(&network.targets).map(start).collect()
}

/// The sample configuration, with state and socket in this run's own directory.
fn write_config(directory: &OwnDirectory) -> Result<PathBuf, TestbedError> {
    let text = CONFIG.replace(SAMPLE_DIRECTORY, &directory.path().display().to_string());
    let path = directory.path().join("demo.toml");
    std::fs::write(&path, text).doing(|| format!("write {}", path.display()))?;
    Ok(path)
}

fn tcp_vip() -> SocketAddr {
    (VIP, 80).into()
}

fn udp_vip() -> SocketAddr {
    (VIP, 7).into()
}

fn victim_address() -> std::net::Ipv4Addr {
    target_address(VICTIM as u8 + 1)
}

const CANNOT_RUN: u8 = 2;
const NEEDS_ROOT: &str = "lbd demo: needs root, because it makes network namespaces and attaches an XDP program inside them. \
    Nothing outside of them is touched, and everything is removed at the end. Run it as root, for instance by: \
    sudo -E cargo run --release -- demo";
const CONFIG: &str = include_str!("../configs/demo.toml");
/// Where the sample configuration keeps state and socket.
const SAMPLE_DIRECTORY: &str = "/tmp/lbd-demo";
const DRAWING: &str = "                    VIP 198.18.100.1        +-- target1 198.19.1.2
client 198.18.0.2 --- load balancer (lbd) --+-- target2 198.19.2.2
                                            +-- target3 198.19.3.2";
const TARGETS: u8 = 3;
const PORTS: Ports = Ports { tcp: 8080, udp: 7007 };
/// Connections opened to see how they spread: enough that chance keeps each share within [`EVEN_PERCENT`].
const SPREAD: usize = 1200;
/// Six standard deviations of the share that chance gives a target.
const EVEN_PERCENT: f64 = 25.0;
const UDP_FLOWS: usize = 300;
const LONG_LIVED: usize = 300;
const NEWCOMERS: usize = 300;
/// Which target dies, counted from 0.
const VICTIM: usize = 1;
const BURST: Duration = Duration::from_secs(3);
const BURST_FLOWS: usize = 64;
/// Time for packets under way to arrive.
const SETTLING: Duration = Duration::from_millis(300);
const SETTLING_PATIENCE: Duration = Duration::from_secs(20);
const SERVING_PATIENCE: Duration = Duration::from_secs(30);
const HEALTH_PATIENCE: Duration = Duration::from_secs(30);
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// How much of the daemon's output explains a failure.
const LAST_LINES: usize = 12;
