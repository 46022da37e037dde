//! Tries on an interface what a start of the data path would: the XDP program in the driver, a socket on a queue. Both are gone
//! again when the call returns, or when the process ends in the middle of it. While they are there, every frame goes to the
//! kernel: the program's maps are empty.
//!
//! Most drivers make their rings anew for this, so frames may be lost for a moment: who calls must know that nobody minds.

use std::{io, os::fd::AsFd};

use crate::{
    attach, bpf,
    device::Device,
    engine::EngineError,
    program::{Program, SteeringMaps},
    umem::Umem,
    xsk::{CopyMode, Memory, RingSizes, Socket},
};

/// What an interface can do, tried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The program runs in the driver; or why it does not.
    pub native: Result<(), String>,
    /// A socket in zero-copy mode; or why there is none.
    pub zero_copy: Result<(), String>,
    /// A socket in copy mode; or why there is none. Not tried where zero-copy works.
    pub copy: Result<(), String>,
}

/// Tries an interface. `None`: another program is there, and nothing was tried.
pub(crate) fn probe(device: &Device) -> Result<Option<Probe>, EngineError> {
    let program = Program::load(&SteeringMaps::create()?)?;
    let attached = match bpf::link_in_driver(program.as_fd(), device.index) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) => return Ok(None),
        Err(_) => match attach::native_refusal(device, &program) {
            Some(refusal) => Err(refusal.to_string()),
            None => Ok(None),
        },
        Ok(link) => Ok(Some(link)),
    };
    let umem = Umem::allocate(FRAMES, CHUNK_BYTES)
        .map_err(|source| EngineError::FrameMemory { frames: FRAMES, source })?;
    let zero_copy = bind(device, &umem, CopyMode::ZeroCopy);
    let copy = match &zero_copy {
        Ok(()) => Ok(()),
        Err(_) => bind(device, &umem, CopyMode::Copy),
    };
    let words = |error: io::Error| error.to_string();
    Ok(Some(Probe {
        native: attached.map(drop),
        zero_copy: zero_copy.map_err(words),
        copy: copy.map_err(words),
    }))
}

/// Binds a socket to the last queue, which is the least likely to be missed.
fn bind(device: &Device, umem: &Umem, copy_mode: CopyMode) -> io::Result<()> {
    let rings = RingSizes { receive: FRAMES / 2, transmit: FRAMES / 2, completion: FRAMES };
    Socket::bind(device, device.queues - 1, Memory::Own(umem, copy_mode), rings).map(drop)
}

/// As many as the shortest ring of a device has.
const FRAMES: u32 = 512;
const CHUNK_BYTES: u32 = 4_096;
