//! A frame in flight: bytes with room in front, and the interface it came in by.

use crate::tables::InterfaceId;

/// One Ethernet frame in its buffer. The bytes before it are headroom, into which a header can be pushed.
#[derive(Debug)]
pub struct Frame<'b> {
    buffer: &'b mut [u8],
    start: usize,
    end: usize,
    /// Interface that the frame came in by.
    pub ingress: InterfaceId,
}

impl<'b> Frame<'b> {
    /// The frame `buffer[start..end]`; both ends are clamped to the buffer.
    pub fn new(buffer: &'b mut [u8], start: usize, end: usize, ingress: InterfaceId) -> Frame<'b> {
        let end = end.min(buffer.len());
        Frame { start: start.min(end), end, buffer, ingress }
    }

    /// The frame's bytes, from the Ethernet header on.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The frame's bytes, to be rewritten in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    /// Offset of the first byte in the buffer.
    #[inline]
    pub fn start(&self) -> usize {
        self.start
    }

    /// Length in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // An empty frame is not a state anyone asks for.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Takes `bytes` off the front, or all there are.
    pub fn drop_front(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
    }

    /// Puts `bytes` of the headroom in front. False, and nothing changed, when there are not so many.
    #[must_use]
    pub fn extend_front(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.start;
        if fits {
            self.start -= bytes;
        }
        fits
    }

    /// Shortens the frame to `len` bytes, or lengthens it into the buffer's tail. False when it does not fit.
    #[must_use]
    pub fn set_len(&mut self, len: usize) -> bool {
        let fits = len <= self.buffer.len() - self.start;
        if fits {
            self.end = self.start + len;
        }
        fits
    }
}
