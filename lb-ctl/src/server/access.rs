//! Who may do what, decided at a connection's begin, before a byte of it is read.

use std::{io, os::fd::BorrowedFd};

use tokio::net::{UnixStream, unix::UCred};

use super::Caller;
use crate::api::{Refusal, RefusalCode};

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Every call.
    ReadWrite,
    /// What changes nothing: every `GET`, and the comparison of a file.
    ReadOnly,
}

/// What a client's role follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// User and groups of its process.
    Process,
    /// The names in its certificate.
    Certificate,
}

impl Proof {
    /// Why one who may read is refused a change.
    pub(super) fn refusal(self) -> Refusal {
        let error = match self {
            Proof::Process => {
                "your group may read, but neither change anything nor capture packets: see control_api.read_write_groups in lbd's file"
            }
            Proof::Certificate => {
                "your certificate may read, but neither change anything nor capture packets: see control_api.tcp.read_write in lbd's file"
            }
        };
        Refusal::of(RefusalCode::AccessDenied, error)
    }
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

/// A process of this host, for the log.
pub(super) fn caller(peer: UCred) -> Caller {
    match peer.pid() {
        Some(pid) => Caller(format!("uid {} pid {pid}", peer.uid())),
        None => Caller(format!("uid {}", peer.uid())),
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
