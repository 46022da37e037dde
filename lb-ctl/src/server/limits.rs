//! What one client may take of the control API: so much, for so long. A number that a configuration can change has its default here.

use std::time::Duration;

/// The limits that a configuration can change (section `control_api`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of all users but uid 0 at one time. Uid 0 has [`Limits::connections_per_user`] of its own beside them.
    pub connections: usize,
    /// Connections of one user, or of one address by TCP, at one time.
    pub connections_per_user: usize,
    /// Longest body of a request, in bytes.
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connections: 256, connections_per_user: 64, body_bytes: 4 << 20 }
    }
}

/// Time for a request's head; also how long a connection may rest before a request.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(10);

/// Time for a request's body.
pub(super) const BODY_TIME: Duration = Duration::from_secs(10);

/// Time from a request's head to the last byte of its answer; a stream of events has no end.
pub(super) const REQUEST_TIME: Duration = Duration::from_secs(40);

/// A client that takes none of its answer for so long gets no more of it.
pub const STALL_TIME: Duration = Duration::from_secs(10);

/// Time that the control thread has to answer.
pub(super) const CONTROL_TIME: Duration = Duration::from_secs(10);

/// Time for a TLS handshake.
pub(super) const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// Longest head of a request, in bytes; more is answered with 431.
pub(super) const HEAD_BYTES: usize = 16 << 10;

/// Most header lines of a request; more are answered with 431.
pub(super) const HEADERS: usize = 64;

/// Clients that are told at one time why they are turned away. More are cut off without a word.
pub(super) const FAREWELLS: usize = 32;

/// Time for such a client to begin its request, and to take its answer.
pub(super) const FAREWELL_TIME: Duration = Duration::from_millis(500);

/// Pause after a connection could not be accepted, for want of file descriptors for instance.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An answered connection is kept from displacement by a new one for so long: its answer may be on the way.
pub(super) const ANSWER_GRACE: Duration = Duration::from_secs(1);

/// How often the socket's place in the file system is looked at, and refusals are summed up in the log.
pub(super) const WATCH_INTERVAL: Duration = Duration::from_secs(1);
