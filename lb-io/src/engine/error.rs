//! Why the data path cannot run, and what to do about it.

use std::io;

use crate::{
    attach::AttachError, device::DeviceError, lock::LockError, plan::PlanError, program::ProgramError,
    worker::WorkerError,
};

/// Why the data path cannot run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// An interface cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The settings do not fit the machine.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Another instance uses an interface.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The XDP program or its maps cannot be used.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The XDP program cannot be put on an interface, or taken off.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A queue cannot be served.
    #[error(
        "cannot bind an AF_XDP socket to queue {queue} of interface {interface}: {source}{}",
        bind_advice(source)
    )]
    Bind {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// There is no memory for frames.
    #[error("cannot get memory for {frames} frames: {source}")]
    FrameMemory {
        /// Frames of one worker.
        frames: u32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A thread or a wake-up cannot be made.
    #[error("cannot start a worker: {0}")]
    Thread(io::Error),
    /// A worker cannot run.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The driver took sockets without copying, but not the program.
    #[error(
        "interface {interface} takes AF_XDP sockets in zero-copy mode, but refuses XDP programs: {refusal}"
    )]
    ZeroCopyWithoutNative {
        /// The interface.
        interface: String,
        /// Why it refuses.
        refusal: String,
    },
}

/// What to do about a bind that failed.
fn bind_advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EBUSY) => "; another program has an AF_XDP socket on this queue: stop it first",
        Some(libc::EPERM) => "; root, or the capabilities CAP_NET_RAW and CAP_NET_ADMIN, are needed",
        Some(libc::EAFNOSUPPORT) => "; this kernel is built without AF_XDP (CONFIG_XDP_SOCKETS)",
        Some(libc::ENOBUFS) => "; the limit of locked memory is too low: raise it with `ulimit -l unlimited`",
        _ => "",
    }
}
