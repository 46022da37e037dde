//! What is known of a host and its interfaces, as it was found: no judgement yet.

use std::{collections::BTreeSet, net::IpAddr, ops::RangeInclusive};

use clap::ValueEnum;

use crate::{config::Config, port_set::PortSet};

/// What is to be looked at.
#[derive(Clone, Debug)]
pub struct Inquiry {
    /// Interfaces by name; none: those of the configuration, else every physical one and every veth.
    pub interfaces: Vec<String>,
    /// The configuration that shall run here.
    pub config: Option<Config>,
    /// Which interfaces may be probed.
    pub probe: ProbeWhen,
}

/// Which interfaces may be probed. One with an XDP program, or that an lbd uses, never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProbeWhen {
    /// Those where nobody notices: virtual ones, and devices that carry neither frames nor the default route
    Idle,
    /// All, though most devices lose frames for a moment
    Always,
    /// None
    Never,
}

/// Everything that rules judge by.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The host and this process.
    pub host: HostFacts,
    /// The interfaces that were looked at.
    pub interfaces: Vec<InterfaceFacts>,
    /// The configuration, if one was given, and how it meets the host.
    pub config: Option<ConfigFacts>,
}

/// The host, and what this process may do on it.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// Release of the kernel, as `uname -r` prints it.
    pub kernel: String,
    /// Whether this process is root.
    pub is_root: bool,
    /// Effective capabilities, bit by bit (capabilities(7)).
    pub capabilities: u64,
    /// Opening an AF_XDP socket.
    pub xdp_socket: Attempt,
    /// Loading the XDP program.
    pub program: Attempt,
    /// `net.core.bpf_jit_enable`, where it may be read.
    pub bpf_jit: Option<u8>,
    /// Most memory that this process may lock, in bytes; `None`: no limit.
    pub locked_memory_limit: Option<u64>,
    /// Memory that is free to use, in bytes.
    pub memory_available: Option<u64>,
    /// When transparent huge pages are used: `always`, `madvise` or `never`.
    pub huge_pages: Option<String>,
    /// CPUs that this process may use, ascending.
    pub cpus: Vec<usize>,
    /// Whether the kernel forwards IPv4 packets.
    pub forwards_ipv4: bool,
    /// Whether it forwards IPv6 packets.
    pub forwards_ipv6: bool,
    /// Whether irqbalance runs.
    pub has_irqbalance: bool,
    /// Who made the machine, as its firmware says.
    pub vendor: Option<String>,
    /// Longest frame that fits a packet buffer, in bytes from the Ethernet header on.
    pub longest_frame: u32,
}

/// What became of something that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It worked.
    Works,
    /// This process may not.
    NotPermitted,
    /// The kernel has no such thing.
    Absent,
    /// It failed, in the kernel's words.
    Fails(String),
}

/// An interface.
#[derive(Clone, Debug)]
pub struct InterfaceFacts {
    /// Its name.
    pub name: String,
    /// What there is of that name, if anything.
    pub link: Option<LinkFacts>,
}

impl InterfaceFacts {
    /// Whether an lbd uses it.
    pub fn has_holder(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.holder.is_some())
    }
}

/// An interface that exists.
#[derive(Clone, Debug)]
pub struct LinkFacts {
    /// Whether it is administratively up.
    pub is_up: bool,
    /// Whether there is somebody at the other end.
    pub has_carrier: bool,
    /// Link-layer address, if it is an Ethernet interface.
    pub mac: Option<String>,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// What it is, such as `veth` or `bond`; empty for a device.
    pub kind: String,
    /// Name of the bridge or bond that it is a port of.
    pub master: Option<String>,
    /// Names of the VLAN interfaces on it.
    pub vlans: Vec<String>,
    /// What its driver says.
    pub driver: DriverFacts,
    /// The XDP program on it.
    pub program: ProgramFacts,
    /// The process of an lbd that uses it.
    pub holder: Option<u32>,
    /// What its driver says of XDP, where the kernel passes that on (Linux 6.3).
    pub claims: Option<XdpClaims>,
    /// What came of probing it.
    pub trial: Trial,
    /// `rp_filter` as it is in force: the larger of the interface's and that of all.
    pub rp_filter: Option<u8>,
    /// Interrupts of its queues.
    pub interrupts: Vec<Interrupt>,
}

/// What a driver says of its device.
#[derive(Clone, Debug)]
pub struct DriverFacts {
    /// Its name; empty when it says none.
    pub name: String,
    /// Receive queues in use.
    pub receive_queues: u32,
    /// Transmit queues in use.
    pub transmit_queues: u32,
    /// Most queues that it can have.
    pub most_queues: Option<u32>,
    /// A queue's receive ring, in frames, and the longest that it can have.
    pub receive_ring: Option<(u32, u32)>,
    /// Whether key and table of its receive hash can be read.
    pub tells_receive_hash: bool,
    /// Offloads that are on.
    pub offloads: Vec<Offload>,
}

/// An offload that is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offload {
    /// The kernel's name for it.
    pub name: String,
    /// Whether nobody can turn it off.
    pub is_fixed: bool,
}

/// The XDP program on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramFacts {
    /// There is none.
    None,
    /// A load balancer's.
    Ours,
    /// Somebody else's, of this name.
    Stranger(String),
    /// Several.
    Several,
    /// One whose name this process may not read.
    Unknown,
}

/// What a driver says of XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpClaims {
    /// It runs programs.
    pub native: bool,
    /// Its sockets do without copying.
    pub zero_copy: bool,
}

/// What came of probing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    /// It was probed.
    Done(Tried),
    /// It was left alone.
    Left(Untried),
}

/// What an interface can do, each with the kernel's words when it cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Run the program in the driver.
    pub native: Result<(), String>,
    /// Bind a socket in zero-copy mode.
    pub zero_copy: Result<(), String>,
    /// Bind a socket in copy mode; not tried where zero-copy works.
    pub copy: Result<(), String>,
}

/// Why an interface was not probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untried {
    /// A program is there.
    Program,
    /// An lbd uses it.
    Holder,
    /// Frames came or went while it was looked at.
    Traffic,
    /// The default route goes by it.
    DefaultRoute,
    /// It cannot carry frames: it is down, or no Ethernet interface.
    Unusable,
    /// This process may not.
    NotPermitted,
    /// It was not to be.
    Unwanted,
    /// Nothing could be tried, for this reason.
    Failed(String),
}

/// An interrupt of a device, and the CPUs that take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// Its number.
    pub number: u32,
    /// CPUs, as the kernel lists them.
    pub cpus: String,
}

/// A configuration, and how it meets the host.
#[derive(Clone, Debug)]
pub struct ConfigFacts {
    /// The configuration.
    pub config: Config,
    /// How a start would share out queues and memory; or why it would be refused.
    pub layout: Result<LayoutFacts, String>,
    /// Addresses of the host, each with the name of its interface.
    pub host_addresses: Vec<(IpAddr, String)>,
    /// Those among them that an lbd has put there: one that runs, or one that did not stop cleanly.
    pub assigned: BTreeSet<IpAddr>,
    /// `net.ipv4.ip_local_port_range`
    pub ephemeral_ports: RangeInclusive<u16>,
    /// `net.ipv4.ip_local_reserved_ports`
    pub reserved_ports: PortSet,
    /// Sockets of the host that have a port of a source address which is the host's, and talk to a target.
    pub sockets_at_risk: Vec<String>,
}

/// How a start would share out queues and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutFacts {
    /// Packet threads.
    pub workers: usize,
    /// Most frames that wait on one socket's fill ring.
    pub fill_ring: u32,
    /// Memory for frames of all workers together, in bytes.
    pub frame_bytes: u64,
}
