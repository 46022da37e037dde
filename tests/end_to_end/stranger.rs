//! Another program's XDP program on an interface: one that passes everything.

use std::{
    ffi::CString,
    io,
    os::fd::{FromRawFd, OwnedFd},
};

use lbd::testbed::{namespace::Namespace, network::Network};
use libtest_mimic::Failed;

/// An XDP program that stays attached until dropped.
pub struct Stranger {
    _link: OwnedFd,
}

impl Stranger {
    /// Attaches a program to a link in a namespace.
    pub fn attach(namespace: &Namespace, interface: &str) -> io::Result<Stranger> {
        namespace.within(|| {
            let program = load()?;
            let name = CString::new(interface)?;
            // SAFETY: `name` is a valid C string.
            let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
            let fd = u32::try_from(std::os::fd::AsRawFd::as_raw_fd(&program)).map_err(io::Error::other)?;
            let mut request = LinkCreate { program: fd, target: index, kind: BPF_XDP, flags: 0 };
            Ok(Stranger { _link: bpf(BPF_LINK_CREATE, &mut request)? })
        })
    }
}

/// The id of the program on the load balancer's first link.
pub fn program_on_first_link(network: &Network) -> Result<Option<u32>, Failed> {
    Ok(network.xdp_program(&network.interfaces[0])?)
}

/// `return XDP_PASS`
fn load() -> io::Result<OwnedFd> {
    let instructions: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];
    let mut request = ProgramLoad {
        kind: BPF_PROG_TYPE_XDP,
        instruction_count: 2,
        instructions: instructions.as_ptr() as u64,
        licence: c"Apache-2.0".as_ptr() as u64,
        ..ProgramLoad::default()
    };
    bpf(BPF_PROG_LOAD, &mut request)
}

/// Calls bpf(2) with a command that answers with a descriptor.
fn bpf<T>(command: libc::c_int, request: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: `request` is the start of the `bpf_attr` of this command and as long as it says; the kernel takes the rest as zero.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *request, size_of::<T>()) };
    match i32::try_from(answer) {
        // SAFETY: the descriptor is new and nobody else's.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `bpf_attr` of BPF_PROG_LOAD, as far as it is used.
#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
}

/// `bpf_attr` of BPF_LINK_CREATE, as far as it is used.
#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    kind: u32,
    flags: u32,
}

// linux/bpf.h
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
