//! What a TCP header acknowledges selectively (RFC 2018 section 3).

use std::ops::Range;

use super::shift::{replace, word};
use crate::wire::l4::tcp::{self, option};

/// Renumbers the blocks, each given by its edges, of a whole TCP header. Those without a new number go, and so does an option without
/// blocks: in its place stand bytes that say nothing.
pub fn renumber(header: &mut [u8], number: impl Fn((u32, u32)) -> Option<(u32, u32)>) {
    let Some(value) = blocks(header) else { return };
    let mut end = value.start;
    for at in value.clone().step_by(BLOCK).take(value.len() / BLOCK) {
        let Some((left, right)) = number((word(header, at), word(header, at + 4))) else { continue };
        replace(header, end, &left.to_be_bytes());
        replace(header, end + 4, &right.to_be_bytes());
        end += BLOCK;
    }
    let start = value.start - 2;
    match end == value.start {
        true => end = start,
        false => replace(header, start + 1, &[(end - start) as u8]),
    }
    for at in end..value.end {
        replace(header, at, &[option::NO_OPERATION]);
    }
}

/// Where the blocks stand in the header.
fn blocks(header: &[u8]) -> Option<Range<usize>> {
    let (_, value) = tcp::options(&header[tcp::HEADER..]).find(|(kind, _)| *kind == option::SACK)?;
    Some(value.start + tcp::HEADER..value.end + tcp::HEADER)
}

/// Bytes of a block.
const BLOCK: usize = 8;
