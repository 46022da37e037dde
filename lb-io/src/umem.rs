//! The frames' memory: one UMEM per worker, shared by its sockets on every interface, and the list of free frames.
//!
//! Invariant: a frame belongs to one owner at a time: the free list, one ring, the worker's burst, or another worker that
//! it was handed to. Whoever takes a descriptor off a ring owns its frame until it puts it somewhere else.

use std::{io, slice};

use lb_core::{frame::Frame, tables::InterfaceId};

use crate::sys::Mapping;

/// Memory for frames, in chunks of equal size.
#[derive(Debug)]
pub struct Umem {
    memory: Mapping,
    chunk_bytes: u32,
    frames: u32,
}

impl Umem {
    /// Memory for `frames` frames in chunks of `chunk_bytes`, a power of two from 2,048 to 4,096.
    pub fn allocate(frames: u32, chunk_bytes: u32) -> io::Result<Umem> {
        assert!(matches!(chunk_bytes, 2_048 | 4_096), "chunk of {chunk_bytes} bytes");
        let memory = Mapping::anonymous(frames as usize * chunk_bytes as usize)?;
        Ok(Umem { memory, chunk_bytes, frames })
    }

    /// Every frame, free.
    pub fn free_frames(&self) -> FreeFrames {
        let chunk_bytes = u64::from(self.chunk_bytes);
        FreeFrames { chunks: (0..u64::from(self.frames)).rev().map(|frame| frame * chunk_bytes).collect() }
    }

    /// Start of the chunk that the address `start` is in.
    #[inline]
    pub fn chunk_of(&self, start: u64) -> u64 {
        start & !(u64::from(self.chunk_bytes) - 1)
    }

    /// The frame of `len` bytes at address `start`, in its chunk. `None` when that is not inside of a chunk.
    ///
    /// # Safety
    /// The caller owns the frame's chunk, and nobody else (kernel, worker, another `Frame`) uses it until the caller gives
    /// it up, which it does only when the returned frame is gone.
    #[inline]
    pub unsafe fn frame(&self, start: u64, len: u32, ingress: InterfaceId) -> Option<Frame<'_>> {
        let chunk = self.chunk_of(start);
        let offset = (start - chunk) as usize;
        let end = offset + len as usize;
        if chunk as usize >= self.memory.len() || end > self.chunk_bytes as usize {
            return None;
        }
        // SAFETY: the chunk lies inside of the mapping, and by the caller's promise nothing else refers to it.
        let buffer = unsafe {
            slice::from_raw_parts_mut(
                self.memory.start().as_ptr().add(chunk as usize),
                self.chunk_bytes as usize,
            )
        };
        Some(Frame::new(buffer, offset, end, ingress))
    }

    /// Has the line at `start` fetched into this core's cache, where the processor can be told so.
    #[inline]
    pub(crate) fn prefetch(&self, start: u64) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let line = self.memory.start().as_ptr().wrapping_add(start as usize);
            // SAFETY: SSE is part of x86-64, and a prefetch is a hint: it faults at no address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = start;
    }

    /// Address of the first byte, for registering the memory with a socket.
    pub(crate) fn address(&self) -> u64 {
        self.memory.start().as_ptr() as u64
    }

    /// Length of the memory, in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.memory.len() as u64
    }

    /// Size of a chunk, in bytes.
    pub fn chunk_bytes(&self) -> u32 {
        self.chunk_bytes
    }
}

/// Chunks that hold no frame, by address. Never grows past the number of frames.
#[derive(Debug)]
pub struct FreeFrames {
    chunks: Vec<u64>,
}

impl FreeFrames {
    /// Takes a chunk.
    #[inline]
    pub fn take(&mut self) -> Option<u64> {
        self.chunks.pop()
    }

    /// Gives a chunk back.
    #[inline]
    pub fn give(&mut self, chunk: u64) {
        debug_assert!(self.chunks.len() < self.chunks.capacity(), "more frames given back than there are");
        self.chunks.push(chunk);
    }

    /// How many chunks are free.
    #[inline]
    pub fn count(&self) -> usize {
        self.chunks.len()
    }
}

/// Bytes that the kernel leaves in front of a received frame (XDP_PACKET_HEADROOM).
pub const HEADROOM_BYTES: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_is_free_once() {
        let umem = Umem::allocate(16, 2_048).unwrap();
        let mut free = umem.free_frames();
        let mut chunks: Vec<u64> = std::iter::from_fn(|| free.take()).collect();
        assert_eq!(chunks.first(), Some(&0), "the lowest address goes first");
        chunks.sort_unstable();
        chunks.dedup();
        assert_eq!(chunks.len(), 16);
        assert!(chunks.iter().all(|chunk| chunk % 2_048 == 0));
        for chunk in chunks {
            free.give(chunk);
        }
        assert_eq!(free.count(), 16);
    }

    #[test]
    fn a_frame_lies_in_its_chunk() {
        let umem = Umem::allocate(4, 2_048).unwrap();
        // SAFETY: this test is the only user of the memory, and the frames are of different chunks.
        let (mut first, second) = unsafe {
            (
                umem.frame(256, 60, InterfaceId(3)).unwrap(),
                umem.frame(2_048 + 256, 60, InterfaceId(0)).unwrap(),
            )
        };
        first.bytes_mut().fill(0xaa);
        assert_eq!((first.len(), first.start(), first.ingress), (60, 256, InterfaceId(3)));
        assert!(second.bytes().iter().all(|&byte| byte == 0));
        assert_eq!(umem.chunk_of(2_048 + 300), 2_048);
    }

    #[test]
    fn descriptors_outside_of_the_memory_are_refused() {
        let umem = Umem::allocate(4, 2_048).unwrap();
        for (start, len) in [(4 * 2_048, 60), (u64::MAX, 1), (0, 2_049), (2_000, 100), (256, u32::MAX)] {
            // SAFETY: nothing else uses the memory, and no frame is kept.
            assert!(unsafe { umem.frame(start, len, InterfaceId(0)) }.is_none(), "{start} {len}");
        }
    }
}
