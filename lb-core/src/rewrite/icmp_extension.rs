//! Extensions of ICMP errors (RFC 4884): the header tells how long the field with the quoted packet is, in 32-bit words of ICMPv4
//! or 64-bit words of ICMPv6, and the extension follows it. Between families it goes along as it is, behind a field of a length that
//! is told in the other's words, or is left out where the other's error cannot have one (RFC 7915 sections 4.2, 5.2).

use std::ops::Range;

use crate::{
    parse::IcmpError,
    wire::{icmp, icmpv6, l4},
};

/// Where an error has what, as offsets into its frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// The quoted transport header and data, without padding.
    pub(super) l4: Range<usize>,
    /// The extension; empty where there is none.
    pub(super) extension: Range<usize>,
}

impl Parts {
    /// Of an error that quotes a packet with so many bytes behind its IP header, as that says. A field whose told length is not
    /// possible is all there is.
    pub(super) fn of(frame: &[u8], error: &IcmpError, payload: usize) -> Parts {
        let quote = error.icmp + icmp::HEADER;
        let header = &frame[error.icmp..quote];
        let told = match length(header[icmp::TYPE], error.quoted.is_ipv6()) {
            Some(Length { at, unit }) => usize::from(header[at]) * unit,
            None => 0,
        };
        let is_possible = told >= LEAST_FIELD
            && (error.quoted_l4 + l4::DESTINATION_PORT.end..error.end).contains(&(quote + told));
        let end = if is_possible { quote + told } else { error.end };
        let l4_end = end.min(error.quoted_l4 + payload.max(l4::DESTINATION_PORT.end));
        Parts { l4: error.quoted_l4..l4_end, extension: end..error.end }
    }

    /// Lays out the same error in the other family, where its header is `kind` and the quoted IP header has `inner` bytes: no more
    /// than `most` bytes behind that. Writes the field's length into the header.
    pub(super) fn lay_out(
        &self,
        kind: &mut [u8; icmp::HEADER],
        to_ipv4: bool,
        inner: usize,
        most: usize,
    ) -> Layout {
        let without = Layout { l4: self.l4.len().min(most), extension: 0..0 };
        let extension = self.extension.len();
        let Some(Length { at, unit }) = length(kind[icmp::TYPE], !to_ipv4).filter(|_| extension > 0) else {
            return without;
        };
        let longest = (inner + most).saturating_sub(extension) / unit * unit;
        if longest < LEAST_FIELD {
            return without;
        }
        let field = (inner + self.l4.len()).next_multiple_of(unit).clamp(LEAST_FIELD, longest);
        kind[at] = (field / unit) as u8;
        let at = field - inner;
        Layout { l4: self.l4.len().min(at), extension: at..at + extension }
    }
}

/// What stands behind the quoted IP header of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes of the quoted transport header and data.
    pub(super) l4: usize,
    /// Where the extension stands; between both is padding.
    pub(super) extension: Range<usize>,
}

impl Layout {
    /// Bytes of all.
    pub(super) fn len(&self) -> usize {
        if self.extension.is_empty() { self.l4 } else { self.extension.end }
    }
}

/// The octet of a header that tells the field's length, and the bytes that it counts.
struct Length {
    at: usize,
    unit: usize,
}

/// Of an error of this type, if it can have an extension (RFC 4884 section 4).
fn length(kind: u8, is_ipv6: bool) -> Option<Length> {
    match (is_ipv6, kind) {
        (false, icmp::UNREACHABLE | icmp::TIME_EXCEEDED | icmp::PARAMETER_PROBLEM) => {
            Some(Length { at: 5, unit: 4 })
        }
        (true, icmpv6::UNREACHABLE | icmpv6::TIME_EXCEEDED) => Some(Length { at: 4, unit: 8 }),
        _ => None,
    }
}

/// Shortest field in front of an extension, in bytes.
const LEAST_FIELD: usize = 128;
