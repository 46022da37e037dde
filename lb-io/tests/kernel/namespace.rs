//! A network namespace for one test, with veth pairs in it, and raw frames in and out of their far ends.

use std::{
    io::{self, Write},
    mem,
    net::Ipv6Addr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr, thread,
    time::{Duration, Instant},
};

use lb_io::device::Device;

/// Runs a test in a fresh network namespace, or says that it was not run.
pub fn run(name: &str, test: impl FnOnce() + Send) {
    // SAFETY: reads no memory of ours.
    if unsafe { libc::geteuid() } != 0 {
        // Written past the test runner, which would keep it to itself.
        let line = format!("NOT RUN: {name}: network namespaces and AF_XDP need root\n");
        let _ = io::stderr().write_all(line.as_bytes());
        return;
    }
    let outcome = thread::scope(|scope| {
        scope
            .spawn(|| {
                // SAFETY: changes the namespace of this thread alone.
                check(unsafe { libc::unshare(libc::CLONE_NEWNET) }, "unshare");
                test();
            })
            .join()
    });
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Makes a veth pair with `queues` queues on both ends, both up.
pub fn veth(near: &str, far: &str, queues: u32) {
    let mut message = Message::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
    message.raw(&[0; 16]);
    message.link(near, queues);
    message.nested(libc::IFLA_LINKINFO, |message| {
        message.attribute(libc::IFLA_INFO_KIND, b"veth");
        message.nested(libc::IFLA_INFO_DATA, |message| {
            message.nested(VETH_INFO_PEER, |message| {
                message.raw(&[0; 16]);
                message.link(far, queues);
            });
        });
    });
    message.send();
    for name in [near, far] {
        bring_up(name);
    }
    // The kernel opens the end that was up first from a thread of its own, and until then drops what it sends.
    wait_until(Duration::from_secs(20), "both ends carry frames", || {
        [near, far].into_iter().all(|name| flags(name) & libc::IFF_RUNNING as i16 != 0)
    });
    bring_up(near); // Waits for that thread to be through.
}

/// Removes an interface, and its peer with it.
pub fn remove(name: &str) {
    let index = Device::open(name).unwrap().index;
    let mut message = Message::new(libc::RTM_DELLINK, 0);
    message.raw(&[0; 4]);
    message.raw(&index.to_ne_bytes());
    message.raw(&[0; 8]);
    message.send();
}

/// Brings an interface up.
pub fn bring_up(name: &str) {
    let mut request = named_request(name);
    request.ifr_ifru.ifru_flags = flags(name) | libc::IFF_UP as i16;
    ioctl(libc::SIOCSIFFLAGS as _, &mut request);
}

/// An interface's `IFF_` flags.
fn flags(name: &str) -> i16 {
    let mut request = named_request(name);
    ioctl(libc::SIOCGIFFLAGS as _, &mut request);
    // SAFETY: SIOCGIFFLAGS has just filled in this member.
    unsafe { request.ifr_ifru.ifru_flags }
}

/// Sets an interface's MTU, in bytes.
pub fn set_mtu(name: &str, mtu: i32) {
    let mut request = named_request(name);
    request.ifr_ifru.ifru_mtu = mtu;
    ioctl(libc::SIOCSIFMTU as _, &mut request);
}

/// Gives an interface the address of a subnet of 24 bits.
pub fn address(name: &str, octets: [u8; 4]) {
    for (command, value) in [(libc::SIOCSIFADDR, octets), (libc::SIOCSIFNETMASK, [255, 255, 255, 0])] {
        let mut request = named_request(name);
        let mut address: libc::sockaddr_in = zeroed();
        address.sin_family = libc::AF_INET as u16;
        address.sin_addr.s_addr = u32::from_ne_bytes(value);
        // SAFETY: `ifreq` has room for any `sockaddr`, of which `sockaddr_in` is one.
        unsafe { ptr::from_mut(&mut request.ifr_ifru).cast::<libc::sockaddr_in>().write(address) };
        ioctl(command as _, &mut request);
    }
}

/// Adds a route to `network`/24 by `gateway`.
pub fn route(network: [u8; 4], gateway: [u8; 4]) {
    let mut message = Message::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_REPLACE);
    message.raw(&[libc::AF_INET as u8, 24, 0, 0, libc::RT_TABLE_MAIN, libc::RTPROT_STATIC, 0, 1, 0, 0, 0, 0]);
    message.attribute(libc::RTA_DST, &network);
    message.attribute(libc::RTA_GATEWAY, &gateway);
    message.send();
}

/// Has interfaces that are made from here on use their IPv6 addresses at once, without looking for duplicates.
pub fn skip_duplicate_detection() {
    std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").unwrap();
}

/// Gives an interface the IPv6 address of a subnet of 64 bits.
pub fn address6(name: &str, address: Ipv6Addr) {
    let mut message = Message::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE);
    message.raw(&[libc::AF_INET6 as u8, 64, 0, 0]);
    message.raw(&Device::open(name).unwrap().index.to_ne_bytes());
    message.attribute(libc::IFA_LOCAL, &address.octets());
    message.send();
}

/// Adds a route to `network`/64 by `gateway`, on the link of interface `name`.
pub fn route6(network: Ipv6Addr, gateway: Ipv6Addr, name: &str) {
    let mut message = Message::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_REPLACE);
    message.raw(&[
        libc::AF_INET6 as u8,
        64,
        0,
        0,
        libc::RT_TABLE_MAIN,
        libc::RTPROT_STATIC,
        0,
        1,
        0,
        0,
        0,
        0,
    ]);
    message.attribute(libc::RTA_DST, &network.octets());
    message.attribute(libc::RTA_GATEWAY, &gateway.octets());
    message.attribute(libc::RTA_OIF, &Device::open(name).unwrap().index.to_ne_bytes());
    message.send();
}

/// Raw frames in and out of an interface, as a machine on its link would send and see them.
pub struct Wire {
    socket: OwnedFd,
}

impl Wire {
    /// Opens the far end of a veth pair.
    pub fn open(name: &str) -> Wire {
        let index = Device::open(name).unwrap().index;
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: reads no memory of ours.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(protocol)) }, "socket");
        // SAFETY: just opened, owned by nobody else.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut address: libc::sockaddr_ll = zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = index as i32;
        let len = mem::size_of_val(&address) as u32;
        // SAFETY: the address is valid for the length given.
        check(unsafe { libc::bind(fd, ptr::from_ref(&address).cast(), len) }, "bind");
        // SAFETY: the option's value is four valid bytes.
        let option = unsafe {
            libc::setsockopt(fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, ptr::from_ref(&1_i32).cast(), 4)
        };
        check(option, "PACKET_IGNORE_OUTGOING");
        Wire { socket }
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) {
        loop {
            // SAFETY: the frame is valid for reading.
            let sent = unsafe { libc::send(self.socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
            if sent >= 0 {
                return;
            }
            let error = io::Error::last_os_error();
            let is_full = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS));
            assert!(is_full, "send: {error}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The next frame that `wanted` says yes to, within `patience`.
    pub fn receive(&self, patience: Duration, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let deadline = Instant::now() + patience;
        let mut buffer = vec![0; 4096];
        loop {
            let is_last_look = Instant::now() >= deadline;
            // SAFETY: the buffer is valid for writing.
            let len =
                unsafe { libc::recv(self.socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            match usize::try_from(len) {
                Ok(len) if wanted(&buffer[..len]) => return Some(buffer[..len].to_vec()),
                Ok(_) => {}
                Err(_) if is_last_look => return None,
                Err(_) => thread::sleep(Duration::from_micros(200)),
            }
        }
    }
}

/// Waits until `holds`, for at most `patience`.
pub fn wait_until(patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    loop {
        let is_last_look = Instant::now() >= deadline;
        if holds() {
            return;
        }
        assert!(!is_last_look, "{what}: not within {patience:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A netlink request.
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn new(kind: u16, flags: i32) -> Message {
        let mut bytes = vec![0; 16];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        let flags = (flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        Message { bytes }
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.nested(kind, |message| message.raw(value));
    }

    fn nested(&mut self, kind: u16, build: impl FnOnce(&mut Message)) {
        let start = self.bytes.len();
        self.bytes.extend([0, 0]);
        self.bytes.extend(kind.to_ne_bytes());
        build(self);
        let len = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn link(&mut self, name: &str, queues: u32) {
        self.attribute(libc::IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
        self.attribute(libc::IFLA_NUM_RX_QUEUES, &queues.to_ne_bytes());
        self.attribute(libc::IFLA_NUM_TX_QUEUES, &queues.to_ne_bytes());
    }

    fn send(mut self) {
        let len = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&len.to_ne_bytes());
        // SAFETY: reads no memory of ours.
        let fd = check(
            unsafe {
                libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
            },
            "socket",
        );
        // SAFETY: just opened, owned by nobody else.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut answer = [0_u8; 256];
        // SAFETY: both buffers are valid for their lengths.
        let received = unsafe {
            libc::send(socket.as_raw_fd(), self.bytes.as_ptr().cast(), self.bytes.len(), 0);
            libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0)
        };
        assert!(received >= 20, "netlink: {}", io::Error::last_os_error());
        let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
        assert_eq!(code, 0, "netlink: {}", io::Error::from_raw_os_error(-code));
    }
}

fn named_request(name: &str) -> libc::ifreq {
    let mut request: libc::ifreq = zeroed();
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

fn ioctl(command: libc::Ioctl, request: &mut libc::ifreq) {
    // SAFETY: reads no memory of ours.
    let fd =
        check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }, "socket");
    // SAFETY: just opened, owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the request is valid for reading and writing, as these commands want.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), command, ptr::from_mut(request)) }, "ioctl");
}

/// A C structure of integers, all zero.
fn zeroed<T: Copy>() -> T {
    // SAFETY: used above for structures of integers alone.
    unsafe { mem::zeroed() }
}

fn check(result: i32, what: &str) -> i32 {
    assert!(result >= 0, "{what}: {}", io::Error::last_os_error());
    result
}

const VETH_INFO_PEER: u16 = 1;
const PACKET_IGNORE_OUTGOING: i32 = 23;
