//! Looks at a host before the data path runs on it: what there is, what it can do, and what a start would come to. Nothing is
//! changed, but by [`probe`] for a moment. Everything is seen from the calling thread's network namespace.

use std::{
    fs,
    io::{self, ErrorKind},
    net::IpAddr,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
};

use lb_core::receive_hash::ReceiveHash;

pub use crate::plan::LONGEST_FRAME_BYTES;
use crate::{
    bpf,
    device::Device,
    ethtool::Ethtool,
    lock, netlink,
    plan::{self, Plan},
    probe,
    program::{NAME, Program, SteeringMaps},
    sys, vip,
};
pub use crate::{
    engine::{AttachMode, EngineError, EngineSettings},
    ethtool::Feature,
    link::{AttachedProgram, Link, ProgramPlace},
    netlink::NetlinkError,
    probe::Probe,
    program::ProgramError,
    xdp_features::XdpFeatures,
};

/// Every interface.
pub fn links() -> Result<Vec<Link>, NetlinkError> {
    Link::all()
}

/// What a driver says of its device.
#[derive(Clone, Debug)]
pub struct Driver {
    /// Its name; empty when it says none.
    pub name: String,
    /// Receive queues in use.
    pub receive_queues: u32,
    /// Transmit queues in use.
    pub transmit_queues: u32,
    /// Most queues that it can have for both directions, where it says that.
    pub most_queues: Option<u32>,
    /// A queue's receive ring, in frames, and the longest that it can have.
    pub receive_ring: Option<(u32, u32)>,
    /// How it spreads packets over its receive queues, where that is known.
    pub receive_hash: Option<ReceiveHash>,
    /// Offloads; none where it does not say.
    pub features: Vec<Feature>,
}

/// Asks the driver of an interface.
pub fn driver(link: &Link) -> io::Result<Driver> {
    let ethtool = Ethtool::open(&link.name)?;
    let channels = ethtool.channels();
    let in_use =
        |made: u32, of: fn(&crate::ethtool::Channels) -> u32| channels.as_ref().map_or(made, of).max(1);
    Ok(Driver {
        name: ethtool.driver().unwrap_or_default(),
        receive_queues: in_use(link.receive_queues, |channels| channels.receive + channels.combined),
        transmit_queues: in_use(link.transmit_queues, |channels| channels.transmit + channels.combined),
        most_queues: channels.map(|channels| channels.most_combined).filter(|&most| most > 0),
        receive_ring: ethtool
            .rings()
            .map(|rings| (rings.receive, rings.most_receive))
            .filter(|ring| ring.0 > 0),
        receive_hash: ethtool.receive_hash(),
        features: ethtool.features().unwrap_or_default(),
    })
}

/// What the driver of an interface says that it can do with XDP; `None` when it, or the kernel, does not say.
pub fn xdp_features(link: &Link) -> Result<Option<XdpFeatures>, NetlinkError> {
    XdpFeatures::of(link.index)
}

/// Whose an XDP program is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A load balancer's, running or not.
    Ours,
    /// Somebody else's, of this name.
    Stranger(String),
    /// That may not be asked.
    Unknown,
}

/// Whose the program on an interface is.
pub fn owner(program: AttachedProgram) -> io::Result<Owner> {
    let opened = match bpf::program_by_id(program.id) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(Owner::Unknown),
        opened => opened?,
    };
    let (_, name) = bpf::program_identity(opened.as_fd())?;
    Ok(if name == NAME { Owner::Ours } else { Owner::Stranger(name) })
}

/// The process that has locked an interface for its data path, by a file in `lock_directory`. Found without touching the lock.
pub fn holder(lock_directory: &Path, interface: &str) -> io::Result<Option<u32>> {
    let path = lock::path(lock_directory, interface);
    let (process, inode) = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => (text?.trim().to_owned(), fs::metadata(&path)?.ino()),
    };
    let locks = fs::read_to_string(LOCKS)?;
    let is_locked = locks.lines().any(|line| is_lock_of(line, &process, inode));
    Ok(process.parse().ok().filter(|_| is_locked))
}

/// Tries on an interface, for a moment, what a start would: the program in the driver, a socket on a queue. Interrupts traffic
/// on most devices. `None`: a program is there already, and nothing was tried.
pub fn probe(interface: &str) -> Result<Option<Probe>, EngineError> {
    probe::probe(&Device::open(interface)?)
}

/// Has the kernel verify the XDP program, and drops it.
pub fn load_program() -> Result<(), ProgramError> {
    Program::load(&SteeringMaps::create()?).map(drop)
}

/// Opens an AF_XDP socket, and closes it: EAFNOSUPPORT when the kernel has none, EPERM when this process may not.
pub fn open_xdp_socket() -> io::Result<()> {
    sys::socket(libc::AF_XDP, libc::SOCK_RAW, 0).map(drop)
}

/// Every address of the host, with the number of the interface that has it.
pub fn host_addresses() -> Result<Vec<(IpAddr, u32)>, NetlinkError> {
    let mut addresses = Vec::new();
    let mut netlink = netlink::Socket::open(0)?;
    vip::visit_addresses(&mut netlink, |row| addresses.push((row.local, row.interface)))?;
    Ok(addresses)
}

/// CPUs that this process may use, ascending.
pub fn cpus() -> io::Result<Vec<usize>> {
    sys::allowed_cores()
}

/// Most memory that this process may lock, in bytes; `None`: no limit.
pub fn locked_memory_limit() -> io::Result<Option<u64>> {
    sys::locked_memory_limit()
}

/// How a start would share out queues and memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Packet threads.
    pub workers: usize,
    /// Most frames that wait on one socket's fill ring.
    pub fill_ring: u32,
    /// Memory for frames of all workers together, in bytes.
    pub frame_bytes: u64,
}

/// What a start with these settings would come to, or why it would be refused.
pub fn layout(settings: &EngineSettings) -> Result<Layout, EngineError> {
    plan::check_interfaces(&settings.interfaces)?;
    let devices = settings.interfaces.iter().map(|name| Device::open(name)).collect::<Result<Vec<_>, _>>()?;
    let cores = sys::allowed_cores().map_err(EngineError::Thread)?;
    let plan = Plan::new(settings, &devices, &cores)?;
    let chunk_bytes = u64::from(plan.chunk_bytes);
    Ok(Layout {
        workers: plan.workers.len(),
        fill_ring: plan.workers.iter().map(|worker| worker.rings.receive).max().unwrap_or(0),
        frame_bytes: plan.workers.len() as u64 * u64::from(settings.frames_per_worker) * chunk_bytes,
    })
}

/// Whether a line of /proc/locks, such as `1: FLOCK  ADVISORY  WRITE 734 00:1a:1202 0 EOF`, is this process's lock of a file.
fn is_lock_of(line: &str, process: &str, inode: u64) -> bool {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", owner, file, ..] = words[..] else { return false };
    owner == process && file.rsplit(':').next().and_then(|text| text.parse().ok()) == Some(inode)
}

const LOCKS: &str = "/proc/locks";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_known_by_process_and_file() {
        let line = "12: FLOCK  ADVISORY  WRITE 734 00:1a:1202 0 EOF";
        assert!(is_lock_of(line, "734", 1202));
        for (other, process, inode) in [
            (line, "735", 1202),
            (line, "734", 1203),
            ("12: -> FLOCK  ADVISORY  WRITE 734 00:1a:1202 0 EOF", "734", 1202),
            ("12: POSIX  ADVISORY  WRITE 734 00:1a:1202 0 EOF", "734", 1202),
            ("", "", 0),
        ] {
            assert!(!is_lock_of(other, process, inode), "{other}");
        }
    }

    #[test]
    fn a_lock_that_is_held_is_seen_and_a_file_alone_is_none() {
        let directory = std::env::temp_dir().join(format!("lb-io-holder-{}", std::process::id()));
        assert_eq!(holder(&directory, "a").unwrap(), None, "no file");
        let lock = lock::tests::acquire(&directory, "a");
        assert_eq!(holder(&directory, "a").unwrap(), Some(std::process::id()));
        let text = fs::read_to_string(lock::path(&directory, "a")).unwrap();
        drop(lock);
        fs::write(lock::path(&directory, "a"), text).unwrap();
        assert_eq!(holder(&directory, "a").unwrap(), None, "nobody holds it");
        fs::remove_dir_all(&directory).unwrap();
    }
}
