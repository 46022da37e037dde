//! The one network that every peer stands in, built anew for each:
//!
//! ```text
//!  client eth0 ------------ lb0 [balancer] lb1 ------------ eth0 targets
//!  198.18.0.2        198.18.0.1       198.19.1.1      198.19.1.2 to 198.19.1.5
//! ```
//!
//! Four targets behind one link, as behind a switch, so that a balancer has four to choose from and a wire has one way to go.
//! Everything runs on two CPUs, however many there are.

use std::{
    error::Error,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use lbd::testbed::{
    cleanup::OwnDirectory,
    namespace::Namespace,
    network::{Layout, Network, Offload, Plan, VIP, target_address},
};

use crate::system;

/// Why something cannot be measured.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The network and a directory for files of this run.
pub struct Topology {
    /// Client, balancer's host, and one namespace for all targets.
    pub network: Network,
    /// Configurations, logs, sockets.
    pub directory: OwnDirectory,
}

/// How clients reach the targets.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Addresses to connect to, in turn.
    pub addresses: Vec<Ipv4Addr>,
    /// Link address that frames are sent to.
    pub mac: [u8; 6],
}

impl Topology {
    /// Builds it.
    pub fn build(offload: Offload) -> Result<Topology, Failure> {
        let plan = Plan { layout: Layout::Direct, targets: 1, queues: 1, offload };
        let topology = Topology { network: Network::build(&plan)?, directory: OwnDirectory::create()? };
        let Network { client, lb, .. } = &topology.network;
        for host in [client, lb, topology.targets()] {
            for (key, value) in BUSY_HOST {
                host.set_sysctl(key, value)?;
            }
        }
        for address in &target_addresses()[1..] {
            shell(topology.targets(), &format!("ip address add {address}/24 dev eth0"))?;
        }
        for address in client_addresses() {
            shell(client, &format!("ip address add {address}/24 dev eth0"))?;
        }
        Ok(topology)
    }

    /// Where all targets are.
    pub fn targets(&self) -> &Namespace {
        &self.network.targets[0]
    }

    /// Clients connect to the VIP.
    pub fn by_vip(&self) -> Result<Entry, Failure> {
        self.by_lb(vec![VIP])
    }

    /// Clients send through the balancer's host to these addresses.
    pub fn by_lb(&self, addresses: Vec<Ipv4Addr>) -> Result<Entry, Failure> {
        Ok(Entry { addresses, mac: mac_of(&self.network.lb, CLIENT_SIDE)? })
    }

    /// Clients take the first target for a neighbour, with a wire between.
    pub fn by_wire(&self) -> Result<Entry, Failure> {
        shell(self.targets(), &format!("ip address add {NEIGHBOUR}/24 dev eth0"))?;
        Ok(Entry { addresses: vec![NEIGHBOUR], mac: mac_of(self.targets(), "eth0")? })
    }

    /// Waits until somebody accepts connections at every address of the entry.
    pub fn wait_for(&self, entry: &Entry, port: u16) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        for &address in &entry.addresses {
            let to = SocketAddr::from((address, port));
            let connect = || TcpStream::connect_timeout(&to, RETRY);
            while let Err(error) = self.network.client.within(connect) {
                if Instant::now() > deadline {
                    return Err(format!("{to} does not answer: {error}").into());
                }
                thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }
}

/// The targets' addresses.
pub fn target_addresses() -> [Ipv4Addr; TARGETS] {
    let [a, b, c, first] = target_address(1).octets();
    std::array::from_fn(|index| Ipv4Addr::new(a, b, c, first + index as u8))
}

/// Addresses that clients connect from, so that ports do not run out.
pub fn client_addresses() -> [Ipv4Addr; 16] {
    std::array::from_fn(|index| Ipv4Addr::new(198, 18, 0, 10 + index as u8))
}

/// Runs a line of shell in a namespace and returns what it printed.
pub fn shell(namespace: &Namespace, line: &str) -> Result<String, Failure> {
    run(namespace.command(Path::new("sh")).args(["-c", line]))
}

/// Runs a program to its end and returns what it printed.
pub fn run(command: &mut Command) -> Result<String, Failure> {
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Receive processing of the link towards the client in a kernel thread on the balancer's CPU, as an interrupt's affinity
/// would place it for a network card. Otherwise it runs on the CPU of whoever sends, as always on veth.
pub struct ReceiveThread<'t>(&'t Namespace);

impl ReceiveThread<'_> {
    /// Starts it.
    pub fn start(topology: &Topology) -> Result<ReceiveThread<'_>, Failure> {
        let lb = &topology.network.lb;
        let name = format!("napi/{CLIENT_SIDE}-");
        let before = system::processes_called(&name)?;
        // Without an XDP program, veth receives frames that are not socket buffers only where GRO is on.
        shell(lb, &format!("ethtool -K {CLIENT_SIDE} gro on"))?;
        let thread = ReceiveThread(lb);
        thread.switch("1")?;
        let after = system::processes_called(&name)?;
        for pid in after.iter().filter(|pid| !before.contains(pid)) {
            system::pin(pid.cast_signed(), &[BALANCER_CPU])?;
            system::go_first(*pid)?;
        }
        if after.len() == before.len() {
            return Err(format!("{CLIENT_SIDE} has no receive thread").into());
        }
        Ok(thread)
    }

    fn switch(&self, value: &str) -> Result<String, Failure> {
        shell(self.0, &format!("echo {value} > /sys/class/net/{CLIENT_SIDE}/threaded"))
    }
}

impl Drop for ReceiveThread<'_> {
    fn drop(&mut self) {
        // What stays switched on goes with the network.
        drop(self.switch("0"));
        drop(shell(self.0, &format!("ethtool -K {CLIENT_SIDE} gro off")));
    }
}

fn mac_of(namespace: &Namespace, link: &str) -> Result<[u8; 6], Failure> {
    let text = shell(namespace, &format!("cat /sys/class/net/{link}/address"))?;
    let bytes: Result<Vec<u8>, _> = text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
    bytes?.try_into().map_err(|_| format!("{text:?} is no link address").into())
}

/// All that is used, of however many there are.
pub const CPUS: [usize; 2] = [CLIENT_CPU, BALANCER_CPU];
/// Where senders are, and the targets while they must not disturb the balancer.
pub const CLIENT_CPU: usize = 0;
/// Where the balancer is, as far as it can be placed.
pub const BALANCER_CPU: usize = 1;
/// The balancer's link towards clients.
pub const CLIENT_SIDE: &str = "lb0";
/// The balancer's link towards targets.
pub const TARGET_SIDE: &str = "lb1";
/// Targets.
pub const TARGETS: usize = 4;
/// Where targets answer one request and close; also health checks'.
pub const ONCE_PORT: u16 = 8000;
/// Where targets answer requests until the client closes.
pub const KEPT_PORT: u16 = 8001;
/// Where targets swallow all bytes.
pub const BULK_PORT: u16 = 8002;
/// Where small frames go. The same stands in bpf/udp.bpf.c.
pub const UDP_PORT: u16 = 7000;

/// An address in the client's network for a target that is its neighbour.
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 50);
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(200);

/// What hosts that serve thousands of connections a second are commonly set to.
const BUSY_HOST: [(&str, &str); 4] = [
    ("net/ipv4/tcp_tw_reuse", "1"),
    ("net/ipv4/ip_local_port_range", "1024 65535"),
    ("net/core/somaxconn", "16384"),
    ("net/ipv4/tcp_max_syn_backlog", "16384"),
];
