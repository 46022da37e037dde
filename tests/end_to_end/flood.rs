//! What a flood of SYNs, ten times what half-open flows may take up, does to those who mean it; beside it, on request, the same
//! with the kernel's connection tracking in place of `lbd`.

use std::{
    fmt, io,
    net::{SocketAddr, SocketAddrV4, TcpStream, UdpSocket},
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use lb_core::limits;
use lbd::testbed::{
    client::{Conversation, Crowd},
    flood::SynFlood,
    network::{CLIENT, Layout, Network, Offload, Plan, VIP, target_address},
    process::Process,
    sniffer::{Reset, Sniffer},
};
use libtest_mimic::Failed;

use crate::{
    Test,
    config::Config,
    harness::{PATIENCE, PORTS, Rig, TCP_PORT, UDP_PORT, heavy, tcp_vip, udp_vip},
    target_process,
    web::output_of,
};

/// The tests of this file.
pub const TESTS: &[Test] = &[("flood::established_connections_do_not_notice", do_not_notice)];

/// Measurements of this file, for a person to read.
pub const BY_HAND: &[Test] = &[("flood::side_by_side_with_connection_tracking", side_by_side)];

/// Handshakes that a machine which stands still takes apart are the flood's prey, and a burst from it overflows the kernel's queues: so
/// one flood of some has to do no harm at all.
fn do_not_notice() -> Result<(), Failed> {
    let capacity = 32_768;
    let count = 10 * capacity / limits::HALF_OPEN_SHARE;
    let flood = SynFlood { to: SocketAddrV4::new(VIP, TCP_PORT), count, per_second: 10_000 };
    let _heavy = heavy()?;
    let (rig, _targets) = serve(capacity)?;
    let mut crowd = established(&rig.network)?;
    let mut harm = Harm::of(&flood, &rig.network, &mut crowd)?;
    for _ in 1..FLOODS {
        assert_eq!(harm.broken, 0, "\n{harm}");
        if harm.is_none() {
            break;
        }
        println!("{harm}");
        harm = Harm::of(&flood, &rig.network, &mut crowd)?;
    }
    assert!(harm.is_none(), "\n{harm}");
    drop(crowd);
    rig.finish().map(drop)
}

/// A flood that also fills the kernel's table, whose size (`nf_conntrack_max`) no namespace can set.
fn side_by_side() -> Result<(), Failed> {
    let capacity = 262_144;
    let flood = SynFlood { to: SocketAddrV4::new(VIP, TCP_PORT), count: 600_000, per_second: 60_000 };
    let lbd = harm_to_lbd(flood, capacity)?;
    let tracking = harm_to_connection_tracking(flood)?;
    println!("\n{} spoofed SYNs at {} per second", flood.count, flood.per_second);
    println!("\nlbd, {capacity} flows:\n{lbd}\n\nnftables DNAT, connection tracking:\n{tracking}");
    Ok(())
}

fn harm_to_lbd(flood: SynFlood, capacity: u32) -> Result<Harm, Failed> {
    let _heavy = heavy()?;
    let (rig, _targets) = serve(capacity)?;
    let harm = Harm::of(&flood, &rig.network, &mut established(&rig.network)?)?;
    rig.finish()?;
    Ok(harm)
}

/// A load balancer for so many flows, and its targets.
fn serve(capacity: u32) -> Result<(Rig, Vec<Process>), Failed> {
    let mut rig = Rig::build(PLAN)?;
    let targets = target_process::start_all(&rig)?;
    rig.start_daemon(&Config { flow_capacity: capacity, ..Config::of(&PLAN) })?;
    Ok((rig, targets))
}

fn established(network: &Network) -> Result<Crowd, Failed> {
    Ok(Crowd::open(&network.client, tcp_vip(), ESTABLISHED)?)
}

fn harm_to_connection_tracking(flood: SynFlood) -> Result<Harm, Failed> {
    let _heavy = heavy()?;
    let rig = Rig::build(PLAN)?;
    let _targets = target_process::start_all(&rig)?;
    for (namespace, number) in rig.network.targets.iter().zip(1..) {
        let address = (target_address(number), PORTS.tcp);
        let deadline = Instant::now() + PATIENCE;
        while namespace.within(|| TcpStream::connect(address)).is_err() {
            assert!(Instant::now() < deadline, "target {number} does not listen");
            thread::sleep(Duration::from_millis(20));
        }
    }
    rig.network.forward_by_kernel()?;
    let rules = rig.directory.path().join("rules.nft");
    std::fs::write(&rules, nft_rules())?;
    // Answers to the spoofed sources have to go somewhere, as with lbd.
    let set_up = format!("ip route add 198.18.128.0/17 via {CLIENT} && nft -f {}", rules.display());
    output_of(rig.network.lb.command(Path::new("sh")).args(["-c", &set_up]))?;
    Harm::of(&flood, &rig.network, &mut established(&rig.network)?)
}

/// Every connection and every UDP flow to one of the targets, at random.
fn nft_rules() -> String {
    let rule = |protocol: &str, port: u16, target_port: u16| {
        let targets: Vec<_> = (1..=PLAN.targets)
            .map(|number| format!("{} : {} . {target_port}", number - 1, target_address(number)))
            .collect();
        let (count, targets) = (PLAN.targets, targets.join(", "));
        format!(
            "ip daddr {VIP} {protocol} dport {port} dnat ip addr . port to numgen random mod {count} map {{ {targets} }}\n"
        )
    };
    format!(
        "table ip balance {{\n chain before {{\n type nat hook prerouting priority dstnat;\n {}{}}}\n}}\n",
        rule("tcp", TCP_PORT, PORTS.tcp),
        rule("udp", UDP_PORT, PORTS.udp)
    )
}

/// What a flood did to those who mean it.
#[derive(Debug)]
struct Harm {
    /// Connections from before that did not go on with their target.
    broken: usize,
    /// Resets that the client got.
    resets: usize,
    /// Share of datagrams without an answer before the flood.
    echo_loss_before: f64,
    /// The same during the flood.
    echo_loss: f64,
    /// New connections during the flood.
    connected: usize,
    /// Attempts that failed.
    refused: usize,
    /// Longest time that a new connection took.
    slowest: Duration,
    /// How long the flood took: longer than it should, where the machine was too slow for it.
    flooded: Duration,
}

impl Harm {
    fn is_none(&self) -> bool {
        (self.broken, self.resets, self.refused) == (0, 0, 0)
            && self.connected > NEWCOMERS_LEAST
            && self.echo_loss <= self.echo_loss_before + 0.001
    }

    /// Floods, and looks what became of connections.
    fn of(flood: &SynFlood, network: &Network, crowd: &mut Crowd) -> Result<Harm, Failed> {
        let client = &network.client;
        let echo_loss_before = client.within(|| echo_loss(udp_vip(), || true))?;
        let sniffer = Sniffer::start(client)?;
        let is_over = AtomicBool::new(false);
        let (flooded, echo_loss, newcomers) = thread::scope(|scope| {
            let flooding = scope.spawn(|| {
                let flooded = client.within(|| flood.run());
                is_over.store(true, Relaxed);
                flooded
            });
            let echoing = scope.spawn(|| client.within(|| echo_loss(udp_vip(), || is_over.load(Relaxed))));
            let newcomers = client.within(|| Newcomers::until(|| is_over.load(Relaxed)));
            let flooded = flooding.join().map_err(|_| Failed::from("the flood panicked"))??;
            let echo_loss = echoing.join().map_err(|_| Failed::from("the echo panicked"))??;
            Ok::<_, Failed>((flooded, echo_loss, newcomers))
        })?;
        let broken = crowd.ask_all("after the flood", PATIENCE).len();
        let is_to_client = |reset: &&Reset| reset.to.ip() == CLIENT;
        let resets = sniffer.resets().iter().filter(is_to_client).count();
        let Newcomers { connected, refused, slowest } = newcomers;
        Ok(Harm { broken, resets, echo_loss_before, echo_loss, connected, refused, slowest, flooded })
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| share * 100.0;
        writeln!(formatter, "{:>8} of {ESTABLISHED} established connections broken", self.broken)?;
        writeln!(formatter, "{:>8} resets at the client", self.resets)?;
        writeln!(formatter, "{:>8} new connections, {} failed", self.connected, self.refused)?;
        writeln!(formatter, "{:>8.1} ms for the slowest of them", self.slowest.as_secs_f64() * 1e3)?;
        writeln!(formatter, "{:>8.3} % of datagrams not echoed", percent(self.echo_loss))?;
        writeln!(formatter, "{:>8.3} % before the flood", percent(self.echo_loss_before))?;
        write!(formatter, "{:>8.1} s for the flood", self.flooded.as_secs_f64())
    }
}

/// Clients that come during the flood, one after the other.
#[derive(Debug, Default)]
struct Newcomers {
    connected: usize,
    refused: usize,
    slowest: Duration,
}

impl Newcomers {
    fn until(is_over: impl Fn() -> bool) -> Newcomers {
        let mut newcomers = Newcomers::default();
        while !is_over() {
            let begun = Instant::now();
            match Conversation::open(tcp_vip()).and_then(|mut conversation| conversation.ask("hello")) {
                Ok(_) => newcomers.connected += 1,
                Err(_) => newcomers.refused += 1,
            }
            newcomers.slowest = newcomers.slowest.max(begun.elapsed());
            thread::sleep(Duration::from_millis(5));
        }
        newcomers
    }
}

/// Sends datagrams at an even pace, for a while at least and on until `is_over`, and returns the share that was not echoed. No more
/// are under way than any queue has room for: what is lost is not lost for want of a processor at either end.
pub fn echo_loss(to: SocketAddr, is_over: impl Fn() -> bool) -> io::Result<f64> {
    const PACE: Duration = Duration::from_millis(1);
    const AT_LEAST: u32 = 1_000;
    let socket = UdpSocket::bind((CLIENT, 0))?;
    socket.connect(to)?;
    socket.set_nonblocking(true)?;
    let (mut sent, mut answered) = (0, 0);
    while sent < AT_LEAST || !is_over() {
        thread::sleep(PACE);
        answered += arrived_until(&socket, |arrived| sent - answered < UNDER_WAY + arrived)?;
        socket.send(b"echo")?;
        sent += 1;
    }
    answered += arrived_until(&socket, |arrived| sent - answered == arrived)?;
    Ok(1.0 - f64::from(answered) / f64::from(sent))
}

/// Datagrams that are there, when they are enough or too late.
fn arrived_until(socket: &UdpSocket, is_enough: impl Fn(u32) -> bool) -> io::Result<u32> {
    let deadline = Instant::now() + LATE;
    let mut count = arrived(socket)?;
    while !is_enough(count) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
        count += arrived(socket)?;
    }
    Ok(count)
}

/// Datagrams that are there.
fn arrived(socket: &UdpSocket) -> io::Result<u32> {
    let mut count = 0;
    loop {
        match socket.recv(&mut [0; 256]) {
            Ok(_) => count += 1,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(count),
            Err(error) => return Err(error),
        }
    }
}

const PLAN: Plan = Plan { layout: Layout::Direct, targets: 4, queues: 2, offload: Offload::Off };
const ESTABLISHED: usize = 10_000;
/// Floods, at most.
const FLOODS: u32 = 4;
/// Fewer who tried to connect during a flood would prove nothing.
const NEWCOMERS_LEAST: usize = 10;
/// Datagrams without an answer so far, at most: fewer than fit into the shortest queue, that of veth.
const UNDER_WAY: u32 = 100;
/// What was not echoed after so long is lost.
const LATE: Duration = Duration::from_secs(5);
