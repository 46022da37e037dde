//! What a TCP segment says in numbers.

use crate::wire::l4::tcp::{self, FIN, SYN};

/// What a TCP segment says, as far as headers depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number; without meaning where the flag is not set.
    pub acknowledgement: u32,
    /// Window, as it stands in the header.
    pub window: u16,
    /// Flags.
    pub flags: u8,
    /// Bytes of the options.
    pub options: usize,
    /// Bytes of data.
    pub data: usize,
}

impl Numbers {
    /// Reads a segment; `None` unless its header is whole.
    pub fn of(segment: &[u8]) -> Option<Numbers> {
        let header = segment.first_chunk::<{ tcp::HEADER }>()?;
        let word =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let header_length = usize::from(header[tcp::DATA_OFFSET] >> 4) * 4;
        Some(Numbers {
            sequence: word(tcp::SEQUENCE.start),
            acknowledgement: word(tcp::ACKNOWLEDGEMENT.start),
            window: u16::from_be_bytes([header[tcp::WINDOW.start], header[tcp::WINDOW.start + 1]]),
            flags: header[tcp::FLAGS],
            options: header_length.checked_sub(tcp::HEADER)?,
            data: segment.len().checked_sub(header_length)?,
        })
    }

    /// Whether all of these flags are set.
    pub(super) fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Whether there is something in it that is acknowledged.
    pub(super) fn has_data_or_end(&self) -> bool {
        self.data > 0 || self.has(FIN)
    }

    /// The number behind the segment.
    pub(super) fn end(&self) -> u32 {
        let flags = u32::from(self.has(SYN)) + u32::from(self.has(FIN));
        self.sequence.wrapping_add(self.data as u32).wrapping_add(flags)
    }
}
