//! TCP (RFC 9293 section 3.1) and UDP (RFC 768) headers. Offsets count from the start of the header.

use std::ops::Range;

/// Source port, TCP and UDP.
pub const SOURCE_PORT: Range<usize> = 0..2;
/// Destination port, TCP and UDP.
pub const DESTINATION_PORT: Range<usize> = 2..4;

/// TCP.
pub mod tcp {
    use super::Range;

    /// Sequence number.
    pub const SEQUENCE: Range<usize> = 4..8;
    /// Acknowledgement number.
    pub const ACKNOWLEDGEMENT: Range<usize> = 8..12;
    /// Data offset in words, in the high half.
    pub const DATA_OFFSET: usize = 12;
    /// Flags.
    pub const FLAGS: usize = 13;
    /// Receive window, to be shifted by the factor agreed on, but for SYNs.
    pub const WINDOW: Range<usize> = 14..16;
    /// Checksum.
    pub const CHECKSUM: usize = 16;
    /// Length of the header without options, in bytes.
    pub const HEADER: usize = 20;

    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// The receiver is to hand on what it has.
    pub const PSH: u8 = 0x08;
    /// Acknowledgement number is valid.
    pub const ACK: u8 = 0x10;
    /// Urgent pointer, which counts from the sequence number, is valid.
    pub const URG: u8 = 0x20;

    /// Largest shift of windows (RFC 7323 section 2.3).
    pub const MOST_SCALE: u8 = 14;

    /// Kinds of options (RFC 9293 section 3.2, RFC 7323, RFC 2018).
    pub mod option {
        /// No more options.
        pub const END: u8 = 0;
        /// One byte of padding.
        pub const NO_OPERATION: u8 = 1;
        /// Largest segment that the sender takes.
        pub const MAXIMUM_SEGMENT_SIZE: u8 = 2;
        /// Shift of the sender's window.
        pub const WINDOW_SCALE: u8 = 3;
        /// The sender understands selective acknowledgements.
        pub const SACK_PERMITTED: u8 = 4;
        /// Selective acknowledgements.
        pub const SACK: u8 = 5;
        /// The sender's clock, and the last that it saw of the receiver's.
        pub const TIMESTAMPS: u8 = 8;
    }

    /// The options of a TCP header, each as its kind and the range of its value in `options`. Ends at the first that is not whole.
    pub fn options(options: &[u8]) -> impl Iterator<Item = (u8, Range<usize>)> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            while options.get(at) == Some(&option::NO_OPERATION) {
                at += 1;
            }
            let (&kind, &length) = (options.get(at)?, options.get(at + 1)?);
            let (start, end) = (at + 2, at + usize::from(length));
            let is_whole = kind != option::END && length >= 2 && end <= options.len();
            at = end;
            is_whole.then_some((kind, start..end))
        })
    }
}

/// UDP.
pub mod udp {
    use super::Range;

    /// Length of header and data.
    pub const LENGTH: Range<usize> = 4..6;
    /// Checksum; 0 when the sender made none.
    pub const CHECKSUM: usize = 6;
    /// Length of the header in bytes.
    pub const HEADER: usize = 8;
}
