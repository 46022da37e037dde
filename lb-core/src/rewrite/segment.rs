//! TCP segments without data that the load balancer makes itself: resets, and what SYN cookies take.

use std::net::IpAddr;

use super::{IpHeader, link};
use crate::{
    frame::Frame,
    limits,
    tables::{Mac, Protocol},
    wire::{
        checksum, ethernet,
        l4::{self, tcp},
    },
};

/// A TCP segment without data. Ports in network order.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'o> {
    /// Who it comes from.
    pub source: (IpAddr, [u8; 2]),
    /// Who it goes to; of the same family.
    pub destination: (IpAddr, [u8; 2]),
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number; 0 without the flag.
    pub acknowledgement: u32,
    /// Flags.
    pub flags: u8,
    /// Window as it stands in the header.
    pub window: u16,
    /// Options, a multiple of 4 bytes, 40 at most.
    pub options: &'o [u8],
}

impl Segment<'_> {
    /// Turns a frame into this segment, whatever it was. False, and the frame unchanged, when its buffer is too short.
    #[must_use]
    pub fn write(&self, frame: &mut Frame<'_>, from: Mac, to: Mac) -> bool {
        let length = tcp::HEADER + self.options.len();
        let header = IpHeader {
            source: self.source.0,
            destination: self.destination.0,
            protocol: Protocol::Tcp as u8,
            tos: 0,
            ttl: limits::REPLY_TTL,
            payload: length,
        };
        let l4 = ethernet::HEADER + header.len();
        if !frame.set_len(l4 + length) {
            return false;
        }
        let bytes = frame.bytes_mut();
        header.write(bytes);
        link(bytes, from, to);
        let segment = &mut bytes[l4..];
        segment[..tcp::HEADER].fill(0);
        segment[tcp::HEADER..].copy_from_slice(self.options);
        segment[l4::SOURCE_PORT].copy_from_slice(&self.source.1);
        segment[l4::DESTINATION_PORT].copy_from_slice(&self.destination.1);
        segment[tcp::SEQUENCE].copy_from_slice(&self.sequence.to_be_bytes());
        segment[tcp::ACKNOWLEDGEMENT].copy_from_slice(&self.acknowledgement.to_be_bytes());
        segment[tcp::DATA_OFFSET] = (length as u8 / 4) << 4;
        segment[tcp::FLAGS] = self.flags;
        segment[tcp::WINDOW].copy_from_slice(&self.window.to_be_bytes());
        let sum = checksum::checksum(segment, header.pseudo_header());
        segment[tcp::CHECKSUM..tcp::CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
        true
    }
}
