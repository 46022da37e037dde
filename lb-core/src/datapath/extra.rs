//! Frames beside those of the burst: made for the other side of a flow, or kept until they can go on. A fixed number of buffers, given
//! at start.

use std::collections::VecDeque;

use super::{Extra, Pipeline};
use crate::{
    frame::Frame,
    limits,
    tables::InterfaceId,
    verdict::Verdict,
    wire::{ipv4, ipv6, proxy},
};

/// Buffers, and those of them that hold a frame whose fate is decided, oldest first.
#[derive(Debug)]
pub(super) struct Extras {
    free: Vec<Buffer>,
    ready: VecDeque<(Buffer, Verdict)>,
    /// What the caller of `next` looks at.
    lent: Option<Buffer>,
}

/// A buffer with a frame in it, or free.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    ingress: InterfaceId,
}

impl Buffer {
    /// The frame in it. Where its start and its end move to is forgotten, unless [`Buffer::keep`] is told.
    pub(super) fn frame(&mut self) -> Frame<'_> {
        Frame::new(&mut self.bytes, self.start, self.end, self.ingress)
    }

    /// Notes where the frame is now.
    pub(super) fn keep(&mut self, (start, len): (usize, usize)) {
        (self.start, self.end) = (start, start + len);
    }
}

impl Extras {
    pub(super) fn new() -> Extras {
        let buffer = || Buffer {
            bytes: vec![0; HEADROOM + limits::EXTRA_FRAME_BYTES].into(),
            start: HEADROOM,
            end: HEADROOM,
            ingress: InterfaceId::default(),
        };
        Extras {
            free: (0..limits::EXTRA_FRAMES).map(|_| buffer()).collect(),
            ready: VecDeque::with_capacity(limits::EXTRA_FRAMES),
            lent: None,
        }
    }

    /// A buffer with a copy of a frame; `None` when there is none, or the frame is too long.
    pub(super) fn copy(&mut self, frame: &Frame<'_>) -> Option<Buffer> {
        self.join(frame.bytes(), &[], frame.ingress)
    }

    /// A buffer with a frame of these two parts; `None` when there is none, or the frame is too long.
    pub(super) fn join(&mut self, head: &[u8], tail: &[u8], ingress: InterfaceId) -> Option<Buffer> {
        let length = head.len() + tail.len();
        if length > limits::EXTRA_FRAME_BYTES {
            return None;
        }
        let mut buffer = self.free.pop()?;
        (buffer.start, buffer.end, buffer.ingress) = (HEADROOM, HEADROOM + length, ingress);
        let (first, second) = buffer.bytes[buffer.start..buffer.end].split_at_mut(head.len());
        first.copy_from_slice(head);
        second.copy_from_slice(tail);
        Some(buffer)
    }

    /// Whether so many frames more, of so many bytes, can be kept or made.
    pub(super) fn has_room(&self, frames: usize, bytes: usize) -> bool {
        frames <= self.free.len() && bytes <= limits::EXTRA_FRAME_BYTES
    }

    /// The fate of a frame is decided.
    pub(super) fn push(&mut self, buffer: Buffer, verdict: Verdict) {
        self.ready.push_back((buffer, verdict));
    }

    /// The frame in a buffer is not needed any more.
    pub(super) fn give_back(&mut self, buffer: Buffer) {
        self.free.push(buffer);
    }

    /// Buffers that are here: all but those that hold a frame whose fate is not decided.
    pub(super) fn buffers(&self) -> usize {
        self.free.len() + self.ready.len() + usize::from(self.lent.is_some())
    }

    #[inline]
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn next(&mut self) -> Option<Extra<'_>> {
        if let Some(buffer) = self.lent.take() {
            self.free.push(buffer);
        }
        let (buffer, verdict) = self.ready.pop_front()?;
        let Buffer { bytes, start, end, ingress } = self.lent.insert(buffer);
        Some(Extra { bytes: &bytes[*start..*end], ingress: *ingress, verdict })
    }
}

impl Pipeline<'_> {
    /// A frame made from nothing.
    pub(super) fn make_new(&mut self, make: impl FnOnce(&mut Self, &mut Frame<'_>) -> Option<Verdict>) {
        self.make(&Frame::new(&mut [], 0, 0, InterfaceId::default()), make);
    }

    /// A frame made from a copy of another: what `make` says becomes of it, unless it makes nothing.
    pub(super) fn make(
        &mut self,
        frame: &Frame<'_>,
        make: impl FnOnce(&mut Self, &mut Frame<'_>) -> Option<Verdict>,
    ) {
        let Some(mut buffer) = self.extras.copy(frame) else { return };
        let mut copy = buffer.frame();
        let made = make(self, &mut copy);
        let place = (copy.start(), copy.len());
        buffer.keep(place);
        match made {
            Some(verdict) => {
                self.counters.made.add(1);
                self.extras.push(buffer, verdict);
            }
            None => self.extras.give_back(buffer),
        }
    }
}

/// Room in front of a frame: a PROXY header, and what an IPv6 header with a fragment header is longer than one of IPv4.
const HEADROOM: usize = 192;
const _: () = assert!(proxy::IPV6_LENGTH + ipv6::HEADER + ipv6::fragment::HEADER - ipv4::HEADER <= HEADROOM);
