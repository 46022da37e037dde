//! The XDP program on an interface, by netlink, so that it outlives a killed process: what is ours is then dropped until
//! the next process takes over, and clients retransmit instead of being reset.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::{
    bpf,
    device::Device,
    link::{AttachedProgram, LINK_HEADER_BYTES, Link, ProgramPlace},
    netlink::{Message, NetlinkError, Socket},
    program::{NAME, Program},
    status::AttachMode,
};

/// Why the program cannot be put on an interface.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Somebody else's program is there.
    #[error(
        "interface {interface} already has an XDP program that is not ours ({name:?}, number {id}); nothing was changed. Detach it with `ip link set dev {interface} xdp off` if it is not needed, or use another interface"
    )]
    Stranger {
        /// The interface.
        interface: String,
        /// Name of the program.
        name: String,
        /// The kernel's number for it.
        id: u32,
    },
    /// Several programs are there, in the driver and in the stack.
    #[error(
        "interface {0} has several XDP programs; detach them with `ip link set dev {0} xdp off` if they are not needed"
    )]
    Several(String),
    /// The kernel refused it.
    #[error("cannot attach the XDP program to interface {interface}: {source}")]
    Refused {
        /// The interface.
        interface: String,
        /// The kernel's answer.
        source: NetlinkError,
    },
}

/// A program that an earlier process of ours left on an interface.
#[derive(Debug)]
pub(crate) struct Leftover {
    program: OwnedFd,
    mode: AttachMode,
}

impl Leftover {
    /// Whether it runs in the network stack.
    pub(crate) fn is_generic(&self) -> bool {
        self.mode == AttachMode::Generic
    }
}

/// Finds what is on the interface: nothing, our own leftover, or an error.
pub(crate) fn inspect(device: &Device) -> Result<Option<Leftover>, AttachError> {
    let interface = || device.name.clone();
    let refused = |source| AttachError::Refused { interface: interface(), source };
    let link = Link::named(&device.name).map_err(refused)?;
    let Some(AttachedProgram { place, id }) = link.and_then(|link| link.program) else { return Ok(None) };
    if place == ProgramPlace::Several {
        return Err(AttachError::Several(interface()));
    }
    let program = bpf::program_by_id(id).map_err(|error| refused(error.into()))?;
    let (_, name) = bpf::program_identity(program.as_fd()).map_err(|error| refused(error.into()))?;
    match place {
        ProgramPlace::Host(mode) if name == NAME => Ok(Some(Leftover { program, mode })),
        _ => Err(AttachError::Stranger { interface: interface(), name, id }),
    }
}

/// What attaching came to.
#[derive(Debug)]
pub(crate) struct Attached {
    /// Where the program runs.
    pub(crate) mode: AttachMode,
    /// Why it does not run in the driver, when it does not.
    pub(crate) native_refusal: Option<String>,
}

/// Puts the program on the interface: in place of `leftover`, atomically and where that ran, or else in the driver if it
/// can and in the network stack if not. Never displaces another program.
pub(crate) fn attach(
    device: &Device,
    program: &Program,
    leftover: Option<&Leftover>,
) -> Result<Attached, AttachError> {
    let refused = |source| AttachError::Refused { interface: device.name.clone(), source };
    if let Some(leftover) = leftover {
        let change = Change { mode: leftover.mode, replaces: Some(leftover.program.as_fd()) };
        change.request(device, Some(program.as_fd())).map_err(refused)?;
        return Ok(Attached { mode: leftover.mode, native_refusal: None });
    }
    let mut change = Change { mode: AttachMode::Native, replaces: None };
    let refusal = match change.request(device, Some(program.as_fd())) {
        Ok(()) => return Ok(Attached { mode: AttachMode::Native, native_refusal: None }),
        // Another program is there since we looked.
        Err(error) if error.errno() == libc::EBUSY => return Err(refused(error)),
        Err(error) => error,
    };
    change.mode = AttachMode::Generic;
    change.request(device, Some(program.as_fd())).map_err(refused)?;
    Ok(Attached { mode: AttachMode::Generic, native_refusal: Some(refusal.to_string()) })
}

/// Why the driver does not take the program, in the kernel's words. `None`: it takes it, and is rid of it again.
pub(crate) fn native_refusal(device: &Device, program: &Program) -> Option<NetlinkError> {
    let change = Change { mode: AttachMode::Native, replaces: None };
    if let Err(refusal) = change.request(device, Some(program.as_fd())) {
        return Some(refusal);
    }
    let change = Change { mode: AttachMode::Native, replaces: Some(program.as_fd()) };
    change.request(device, None).err()
}

/// Takes the program off the interface, if it is still the one there. An interface that is gone is no error.
pub(crate) fn detach(device: &Device, program: &Program, mode: AttachMode) -> Result<(), AttachError> {
    let change = Change { mode, replaces: Some(program.as_fd()) };
    match change.request(device, None) {
        Err(error) if error.errno() == libc::ENODEV => Ok(()),
        answer => answer.map_err(|source| AttachError::Refused { interface: device.name.clone(), source }),
    }
}

/// A change of the program on an interface.
struct Change<'p> {
    mode: AttachMode,
    /// The program that must be there now; with `None`, there must be none.
    replaces: Option<BorrowedFd<'p>>,
}

impl Change<'_> {
    fn request(&self, device: &Device, program: Option<BorrowedFd<'_>>) -> Result<(), NetlinkError> {
        let mut header = [0; LINK_HEADER_BYTES];
        header[4..8].copy_from_slice(&device.index.to_ne_bytes());
        let fd = program.map_or(-1, |program| program.as_raw_fd());
        let mode = match self.mode {
            AttachMode::Native => XDP_FLAGS_DRV_MODE,
            AttachMode::Generic => XDP_FLAGS_SKB_MODE,
        };
        let expected = match self.replaces {
            Some(_) => XDP_FLAGS_REPLACE,
            None => XDP_FLAGS_UPDATE_IF_NOEXIST,
        };
        let message = Message::new(libc::RTM_SETLINK, 0, &header).nested(libc::IFLA_XDP, |xdp| {
            let xdp = xdp
                .attribute(IFLA_XDP_FD, &fd.to_ne_bytes())
                .attribute(IFLA_XDP_FLAGS, &(mode | expected).to_ne_bytes());
            match self.replaces {
                Some(replaces) => xdp.attribute(IFLA_XDP_EXPECTED_FD, &replaces.as_raw_fd().to_ne_bytes()),
                None => xdp,
            }
        });
        Socket::open(0)?.request(message)
    }
}

const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_FLAGS: u16 = 3;
const IFLA_XDP_EXPECTED_FD: u16 = 8;
const XDP_FLAGS_UPDATE_IF_NOEXIST: u32 = 1;
const XDP_FLAGS_SKB_MODE: u32 = 2;
const XDP_FLAGS_DRV_MODE: u32 = 4;
const XDP_FLAGS_REPLACE: u32 = 16;
