//! Who is at the other end of a Unix socket, as far as the standard library does not tell.

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd},
};

/// The supplementary groups that the process at the other end had when it connected (`SO_PEERGROUPS`, unix(7)).
///
/// # Errors
/// When this is no connected Unix socket.
pub fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<libc::gid_t>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 32];
    loop {
        let mut bytes = mem::size_of_val(groups.as_slice()) as libc::socklen_t;
        // SAFETY: `groups` is valid for writing `bytes` bytes, and any bytes are numbers.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = bytes as usize / mem::size_of::<libc::gid_t>();
        match result {
            0 => {
                groups.truncate(count);
                return Ok(groups);
            }
            // Too little room: the kernel has told how much it takes.
            _ if io::Error::last_os_error().raw_os_error() == Some(libc::ERANGE) && count > groups.len() => {
                groups.resize(count, 0);
            }
            _ => return Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::{fd::AsFd, unix::net::UnixStream};

    use super::*;

    #[test]
    fn the_groups_are_those_of_the_process_that_connected() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
        let own: Vec<libc::gid_t> = line.split_whitespace().map(|group| group.parse().unwrap()).collect();
        let mut told = peer_groups(socket.as_fd()).unwrap();
        told.sort_unstable();
        assert_eq!(told, own);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(peer_groups(file.as_fd()).is_err());
    }
}
