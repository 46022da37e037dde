//! A worker's socket on one queue of an interface, with what the worker knows of it: how many frames the kernel has to send,
//! and whether it takes them. Made by `engine`, used by `worker`.

use lb_core::{limits, tables::InterfaceId, time::Instant};

use crate::{
    umem::{FreeFrames, Umem},
    xsk::Socket,
};

/// A socket with what its worker knows of its interface.
#[derive(Debug)]
pub(crate) struct Port {
    /// The socket.
    pub(crate) socket: Socket,
    /// Its interface.
    pub(super) interface: InterfaceId,
    /// Its receive queue.
    pub(super) queue: u32,
    /// Whether frames of local senders come with partial checksums.
    pub(super) is_veth: bool,
    /// Whether the last descriptor began a frame that goes on in the next.
    pub(super) in_oversize: bool,
    /// Frames given to the kernel to send, and not given back yet.
    in_flight: u32,
    /// Whether there were too few free frames to fill the fill ring.
    is_short: bool,
    /// Since when the tx ring has not had room for a burst, and the kernel has sent nothing.
    full_since: Option<Instant>,
}

impl Port {
    /// Of a socket that has received and sent nothing yet.
    pub(crate) fn new(socket: Socket, (interface, queue): (InterfaceId, u32), is_veth: bool) -> Port {
        Port {
            socket,
            interface,
            queue,
            is_veth,
            in_oversize: false,
            in_flight: 0,
            is_short: false,
            full_since: None,
        }
    }

    /// How many frames may be taken that perhaps leave by this port: as many as the tx ring has room for, a burst at most. A
    /// ring that is as full as before after [`STUCK_NS`] without a frame sent holds nobody back any longer: what it has no room
    /// for is dropped.
    #[inline]
    pub(super) fn room(&mut self, now: Instant) -> u32 {
        let room = self.socket.tx.room(BURST);
        if room == BURST {
            self.full_since = None;
            return BURST;
        }
        let full_since = *self.full_since.get_or_insert(now);
        if now.nanos() - full_since.nanos() < STUCK_NS { room } else { BURST }
    }

    /// Puts a frame on the tx ring; false when it is full.
    #[inline]
    #[must_use]
    pub(super) fn push(&mut self, start: u64, len: u32) -> bool {
        let is_pushed = self.socket.tx.push(libc::xdp_desc { addr: start, len, options: 0 });
        self.in_flight += u32::from(is_pushed);
        is_pushed
    }

    /// Has the kernel send what is on the tx ring.
    #[inline]
    pub(super) fn send(&mut self) {
        if self.in_flight > 0 {
            self.socket.send();
        }
    }

    /// Whether the kernel has not taken all frames to send yet.
    pub(super) fn is_sending(&self) -> bool {
        self.in_flight > 0 && self.socket.tx.outstanding() > 0
    }

    /// Whether frames are to come back from the kernel, or to go to it: there is something for [`Port::service`] to do.
    #[inline]
    pub(super) fn is_owed(&self) -> bool {
        self.in_flight > 0 || self.is_short
    }

    /// Takes back the frames that were sent, and fills the fill ring.
    #[inline]
    pub(super) fn service(&mut self, umem: &Umem, free: &mut FreeFrames) {
        let Socket { completion, fill, .. } = &mut self.socket;
        while let Some(start) = completion.pop() {
            free.give(umem.chunk_of(start));
            self.in_flight = self.in_flight.saturating_sub(1);
            self.full_since = None;
        }
        completion.release();
        let room = fill.room(u32::MAX);
        self.is_short = free.count() < room as usize;
        for _ in 0..room {
            let Some(chunk) = free.take() else { break };
            let is_pushed = fill.push(chunk);
            debug_assert!(is_pushed, "there was room");
        }
        fill.publish();
    }
}

const BURST: u32 = limits::BURST_FRAMES as u32;
/// A full tx ring of which nothing was sent for so long holds nobody back any longer, in nanoseconds.
const STUCK_NS: u64 = 2_000_000;
