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
    /// Acknowledgement number is valid.
    pub const ACK: u8 = 0x10;
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
