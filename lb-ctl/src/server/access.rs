//! Who may do what, decided at a connection's begin, before a byte of it is read.

use std::{fmt, io, net::SocketAddr, os::fd::BorrowedFd};

use tokio::net::{UnixStream, unix::UCred};

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Every call.
    ReadWrite,
    /// `GET` alone.
    ReadOnly,
}

/// Who makes a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// A process of this host, by its credentials when it connected.
    Process {
        /// User.
        uid: u32,
        /// Process, where the kernel told.
        pid: Option<i32>,
    },
    /// A client with a certificate.
    Certificate {
        /// The name in the certificate that it has its role by.
        name: String,
        /// Where it connected from.
        address: SocketAddr,
    },
    /// A client that signs its requests with a key.
    Key {
        /// The key's public id.
        id: String,
        /// Where it connected from.
        address: SocketAddr,
    },
    /// A client that need not sign its requests.
    Unsigned {
        /// Where it connected from.
        address: SocketAddr,
    },
    /// The daemon itself: its file at a start, a signal.
    Daemon,
}

/// The rule by which processes of this host have their roles.
#[derive(Clone, Debug)]
pub struct Access {
    /// Groups whose members may do everything.
    pub read_write_groups: Vec<u32>,
    /// Groups whose members may read.
    pub read_only_groups: Vec<u32>,
    /// Tells the supplementary groups of the process at the other end of a socket (`SO_PEERGROUPS`).
    pub peer_groups: fn(BorrowedFd<'_>) -> io::Result<Vec<u32>>,
}

impl Default for Access {
    /// Uid 0 and the daemon's own user, nobody else.
    fn default() -> Access {
        Access {
            read_write_groups: Vec::new(),
            read_only_groups: Vec::new(),
            peer_groups: |_| Ok(Vec::new()),
        }
    }
}

impl Access {
    /// Whether anybody else than uid 0 and the daemon's own user has a role.
    pub(super) fn has_groups(&self) -> bool {
        !self.read_write_groups.is_empty() || !self.read_only_groups.is_empty()
    }

    /// The role of the process at the other end; `None`: it has no business here.
    ///
    /// # Errors
    /// When the kernel does not tell its groups.
    pub(super) fn role(&self, stream: &UnixStream, peer: UCred) -> io::Result<Option<Role>> {
        if peer.uid() == 0 || peer.uid() == rustix::process::geteuid().as_raw() {
            return Ok(Some(Role::ReadWrite));
        }
        if !self.has_groups() {
            return Ok(None);
        }
        let mut groups = (self.peer_groups)(std::os::fd::AsFd::as_fd(stream))?;
        groups.push(peer.gid());
        Ok(self.role_of(&groups))
    }

    fn role_of(&self, groups: &[u32]) -> Option<Role> {
        let is_in = |list: &[u32]| groups.iter().any(|group| list.contains(group));
        if is_in(&self.read_write_groups) {
            Some(Role::ReadWrite)
        } else if is_in(&self.read_only_groups) {
            Some(Role::ReadOnly)
        } else {
            None
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Caller::Process { uid, pid: Some(pid) } => write!(f, "uid {uid} pid {pid}"),
            Caller::Process { uid, pid: None } => write!(f, "uid {uid}"),
            Caller::Certificate { name, address } => write!(f, "certificate {name:?} at {address}"),
            Caller::Key { id, address } => write!(f, "key {id:?} at {address}"),
            Caller::Unsigned { address } => write!(f, "unsigned at {address}"),
            Caller::Daemon => f.write_str("lbd"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_of_two_roles_counts() {
        let access =
            Access { read_write_groups: vec![10], read_only_groups: vec![20, 10], ..Access::default() };
        assert_eq!(access.role_of(&[1, 10, 20]), Some(Role::ReadWrite));
        assert_eq!(access.role_of(&[20]), Some(Role::ReadOnly));
        assert_eq!(access.role_of(&[0]), None);
    }
}
