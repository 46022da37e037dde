//! Watches a namespace's links for TCP resets: the proof that nobody cut a connection.

use std::{
    io::{self, Read},
    mem,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::FromRawFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use socket2::{SockFilter, Socket};

use super::{Doing, TestbedError, checked, namespace::Namespace};

/// Watches for TCP segments with the RST flag, in both directions, until dropped.
#[derive(Debug)]
pub struct ResetSniffer {
    seen: Arc<Mutex<Vec<Reset>>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A reset that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Who sent it.
    pub from: SocketAddrV4,
    /// To whom.
    pub to: SocketAddrV4,
}

impl ResetSniffer {
    /// Starts watching all links of a namespace.
    ///
    /// # Errors
    /// When the packet socket cannot be made.
    pub fn start(namespace: &Namespace) -> Result<ResetSniffer, TestbedError> {
        let socket = namespace.within(open).doing(|| format!("watch for resets in {}", namespace.name()))?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stopping = Arc::new(AtomicBool::new(false));
        let (to, until) = (seen.clone(), stopping.clone());
        let thread = thread::spawn(move || watch(&socket, &to, &until));
        Ok(ResetSniffer { seen, stopping, thread: Some(thread) })
    }

    /// The resets seen so far.
    pub fn seen(&self) -> Vec<Reset> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ResetSniffer {
    fn drop(&mut self) {
        self.stopping.store(true, Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// A packet socket that delivers only resets.
fn open() -> io::Result<Socket> {
    // SAFETY: socket takes three integers and returns a new descriptor or -1. Protocol 0: nothing is delivered before bind.
    let fd = checked(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor is new and nobody else's.
    let socket = unsafe { Socket::from_raw_fd(fd) };
    socket.attach_filter(&RESETS)?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    // SAFETY: all-zero bytes are a valid sockaddr_ll: every link.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = AF_PACKET;
    address.sll_protocol = ETH_P_ALL.to_be();
    // SAFETY: `address` is a valid sockaddr_ll of the given length.
    checked(unsafe { libc::bind(fd, (&raw const address).cast(), SOCKADDR_LL_LENGTH) })?;
    Ok(socket)
}

fn watch(socket: &Socket, seen: &Mutex<Vec<Reset>>, stopping: &AtomicBool) {
    let mut frame = [0; 128];
    let mut socket = socket;
    while !stopping.load(Relaxed) {
        // A time-out is for looking whether to stop.
        let Ok(length) = socket.read(&mut frame) else { continue };
        seen.lock().unwrap_or_else(PoisonError::into_inner).extend(Reset::parse(&frame[..length]));
    }
}

impl Reset {
    /// Reads the addresses of an Ethernet frame that the filter let through.
    fn parse(frame: &[u8]) -> Option<Reset> {
        let ip = frame.get(14..)?;
        let tcp = ip.get(usize::from(ip.first()? & 0xf) * 4..)?;
        let address =
            |at: usize| ip.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes).map(Ipv4Addr::from);
        let port = |at: usize| tcp.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes);
        Some(Reset {
            from: SocketAddrV4::new(address(12)?, port(0)?),
            to: SocketAddrV4::new(address(16)?, port(2)?),
        })
    }
}

/// Packet filter: IPv4, TCP, not a later fragment, RST set.
const RESETS: [SockFilter; 11] = [
    statement(0x28, 0, 0, 12),     // load halfword: EtherType
    statement(0x15, 0, 8, 0x0800), // IPv4?
    statement(0x30, 0, 0, 23),     // load byte: protocol
    statement(0x15, 0, 6, 6),      // TCP?
    statement(0x28, 0, 0, 20),     // load halfword: fragment offset
    statement(0x45, 4, 0, 0x1fff), // a later fragment?
    statement(0xb1, 0, 0, 14),     // load index: IP header length
    statement(0x50, 0, 0, 27),     // load byte: TCP flags
    statement(0x45, 0, 1, 0x04),   // RST?
    statement(0x06, 0, 0, 128),    // deliver so many bytes
    statement(0x06, 0, 0, 0),      // refuse
];

const fn statement(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
    SockFilter::new(code, jt, jf, k)
}

const AF_PACKET: u16 = libc::AF_PACKET as u16;
const ETH_P_ALL: u16 = libc::ETH_P_ALL as u16;
const SOCKADDR_LL_LENGTH: libc::socklen_t = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
