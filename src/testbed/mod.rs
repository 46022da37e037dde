//! Test networks on one machine, for `lbd demo` and the end-to-end tests: network namespaces joined by veth pairs, with clients
//! and targets inside them, and a load balancer between.
//!
//! Everything is made by system calls and netlink, so no `ip` or `ethtool` program is needed (but `ip` and `nft` for a cluster's
//! rules), yet the namespaces have names:
//! `ip netns exec lbd-PID-N-client curl http://198.18.100.1/` works while they live. Everything is removed when its owner is
//! dropped, also on a panic; by [`cleanup::on_signals`] on Ctrl-C and SIGTERM; and by [`cleanup::sweep`] after a `kill -9`.
//!
//! ```text
//!  network, cluster ---> wiring ---> namespace ---> netlink, offload    who makes what
//!     |                         |
//!     v                         v
//!  addresses     target, client, stray, flood, process, program, daemon   who runs inside
//!                sniffer, tap ---> packet_socket                 who looks on
//! ```

use std::{fmt, io};

pub mod addresses;
pub mod cleanup;
pub mod client;
pub mod cluster;
pub mod daemon;
pub mod flood;
pub mod namespace;
mod netlink;
pub mod network;
mod offload;
mod packet_socket;
pub mod process;
pub mod program;
pub mod sniffer;
pub mod stray;
pub mod tap;
pub mod target;
mod wiring;

/// Something that the test network could not do: what, and why.
#[derive(Debug)]
pub struct TestbedError {
    what: String,
    source: io::Error,
}

impl TestbedError {
    /// Whether the kernel refused for lack of privileges.
    pub fn is_permission(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(libc::EPERM | libc::EACCES))
    }
}

impl fmt::Display for TestbedError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot {}: {}", self.what, self.source)
    }
}

impl std::error::Error for TestbedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Says what was being done when a system call failed.
pub trait Doing<T> {
    /// `what` completes the sentence "cannot ...".
    ///
    /// # Errors
    /// The same failure, with `what` in front of it.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, TestbedError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, TestbedError> {
        self.map_err(|source| TestbedError { what: what(), source })
    }
}

/// Raises this process's limit of open files to what the kernel allows it, for thousands of connections at once.
///
/// # Errors
/// When the limit can be neither read nor raised.
pub fn raise_file_limit() -> Result<u64, TestbedError> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid `rlimit` for the kernel to write.
    let read = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    checked(read).doing(|| "read the limit of open files".into())?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a valid `rlimit` for the kernel to read.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    checked(set).doing(|| "raise the limit of open files".into())?;
    Ok(limit.rlim_cur)
}

/// Whether this process may make network namespaces: root, or CAP_SYS_ADMIN and CAP_NET_ADMIN.
pub fn is_privileged() -> bool {
    // SAFETY: geteuid only reads the process's own credentials.
    unsafe { libc::geteuid() == 0 }
}

/// The result of a system call that answers a negative number on failure.
fn checked(answer: libc::c_int) -> io::Result<libc::c_int> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}
