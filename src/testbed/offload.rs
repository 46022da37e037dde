//! Checksum and segmentation offload of a link, by the ethtool ioctl.
//!
//! A veth passes unfinished checksums and 64 KiB segments to its peer. A wire carries neither: with both off, frames look as a
//! NIC would receive them.

use std::{io, os::fd::AsRawFd};

use socket2::{Domain, Socket, Type};

use super::checked;

/// Turns transmit checksum, TCP and generic segmentation offload of link `name` in the calling thread's namespace off.
pub(super) fn turn_off(name: &str) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    for command in [ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_STXCSUM] {
        set_to_zero(&socket, name, command)?;
    }
    Ok(())
}

fn set_to_zero(socket: &Socket, name: &str, command: u32) -> io::Result<()> {
    let mut value = EthtoolValue { command, data: 0 };
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request names a link and points to a value of the command's type; both outlive the call.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) }).map(drop)
}

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

// linux/ethtool.h
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_SGSO: u32 = 0x24;
