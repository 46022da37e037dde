//! The way to the daemon's socket, when many want to go it.

use std::{io, os::fd::OwnedFd, path::Path, time::Duration};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixStream;

/// Connects. Where others queue up for the daemon, too, this waits for its turn: a connect that may not wait would fail (EAGAIN,
/// unix(7)).
///
/// # Errors
/// Also when its turn does not come within `patience`.
pub(super) fn dial(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(patience))?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_nonblocking(true)?;
    UnixStream::from_std(OwnedFd::from(socket).into())
}
