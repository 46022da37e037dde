//! Sequence numbers of a connection that began with a SYN cookie: the client knows the target's by our cookie, so they differ by
//! a constant (RFC 4987 section 3.7), and so may the shifts of their windows.

use super::sack;
use crate::{
    flow::{Direction, Flow},
    preamble::Preamble,
    wire::{
        checksum::Delta,
        l4::tcp::{self, ACK, SYN},
    },
};

/// Rewrites the TCP segment of a shifted flow, before anything else is rewritten: acknowledgements of the client, sequence
/// numbers of the target, and windows. The checksum changes by deltas. The segment's header is whole.
pub fn apply(segment: &mut [u8], flow: &Flow, direction: Direction) {
    let header_length = usize::from(segment[tcp::DATA_OFFSET] >> 4) * 4;
    let Some(header) = segment.get_mut(..header_length) else { return };
    let flags = header[tcp::FLAGS];
    if flags & (SYN | ACK) == ACK {
        shift_window(header, flow.window_shift(direction));
    }
    match direction {
        Direction::Reverse => add(header, tcp::SEQUENCE.start, flow.sequence_shift()),
        Direction::Forward if flags & ACK != 0 => {
            let back = flow.sequence_shift().wrapping_neg();
            add(header, tcp::ACKNOWLEDGEMENT.start, back);
            sack::renumber(header, |(left, right)| Some((left.wrapping_add(back), right.wrapping_add(back))));
        }
        Direction::Forward => {}
    }
}

/// How the sequence number of a segment that an ICMP error quotes differs from the one that its sender knows.
#[derive(Clone, Copy, Debug)]
pub enum Quoted<'f> {
    /// Not at all.
    Same,
    /// It is a target's, of a shifted flow.
    Shifted(&'f Flow),
    /// It is a client's, to a target that is owed a PROXY header.
    InPreamble(&'f Preamble),
}

impl<'f> Quoted<'f> {
    /// Of an error that travels in `direction`, about a packet the other way.
    pub fn of(flow: &'f Flow, preamble: &'f Preamble, direction: Direction) -> Quoted<'f> {
        match direction {
            Direction::Forward if flow.is_shifted() => Quoted::Shifted(flow),
            Direction::Reverse if flow.has_preamble() => Quoted::InPreamble(preamble),
            _ => Quoted::Same,
        }
    }

    /// Gives the segment its own sequence number again, as far as that is there; what that changes in its checksum.
    pub(super) fn restore(&self, quoted_l4: &mut [u8]) -> Delta {
        let number = |number: u32| match self {
            Quoted::Same => number,
            Quoted::Shifted(flow) => number.wrapping_sub(flow.sequence_shift()),
            Quoted::InPreamble(preamble) => preamble.number_at_client(number),
        };
        let Some(field) = quoted_l4.get_mut(tcp::SEQUENCE).filter(|_| !matches!(self, Quoted::Same)) else {
            return Delta::default();
        };
        let old = [field[0], field[1], field[2], field[3]];
        let new = number(u32::from_be_bytes(old)).to_be_bytes();
        field.copy_from_slice(&new);
        Delta::replacing(&old, &new)
    }
}

fn shift_window(header: &mut [u8], by: i8) {
    let old = u16::from_be_bytes([header[14], header[15]]);
    let shifted = match by {
        0.. => u64::from(old) << by.min(16),
        _ => u64::from(old) >> by.unsigned_abs().min(16),
    };
    let new = u16::try_from(shifted).unwrap_or(u16::MAX);
    replace(header, tcp::WINDOW.start, &new.to_be_bytes());
}

/// Adds to the 32-bit number at an offset of the header.
pub(super) fn add(header: &mut [u8], at: usize, value: u32) {
    replace(header, at, &word(header, at).wrapping_add(value).to_be_bytes());
}

pub(super) fn word(header: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

/// Overwrites bytes of the header and updates its checksum. Words count from even offsets, so that an odd place takes its
/// neighbours into the sum.
pub(super) fn replace(header: &mut [u8], at: usize, new: &[u8]) {
    let even = at & !1..(at + new.len()).next_multiple_of(2).min(header.len());
    let mut before = [0; 8];
    let before = &mut before[..even.len()];
    before.copy_from_slice(&header[even.clone()]);
    header[at..at + new.len()].copy_from_slice(new);
    let delta = Delta::replacing(before, &header[even]);
    super::nat::update(&mut header[tcp::CHECKSUM..], delta);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        flow::{NewFlow, State},
        flow_key::FlowKey,
        wire::checksum,
    };

    const SHIFT: u32 = 0xdead_beef;

    fn flow(windows: i8) -> Flow {
        let v4 = |last: u8| (std::net::IpAddr::from([198, 18, 0, last]), [0, last]);
        let forward = FlowKey::new(v4(1), v4(2), 6).unwrap();
        let mut flow = NewFlow::new(&forward, v4(1), v4(3), State::Established).flow;
        flow.set_shift(SHIFT, [0, windows]);
        flow
    }

    /// A segment with these options, its checksum over itself right.
    fn segment(flags: u8, options: &[u8]) -> Vec<u8> {
        let mut segment = vec![0, 1, 0, 2, 0, 0, 1, 0, 0xff, 0xff, 0xff, 0xf0, 0, flags, 0x10, 0, 0, 0, 0, 0];
        segment[12] = (((20 + options.len()) / 4) << 4) as u8;
        segment.extend(options);
        segment.extend(b"data!");
        let sum = checksum::checksum(&segment, 0);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        segment
    }

    fn assert_checksum(segment: &[u8]) {
        assert_eq!(checksum::fold(checksum::sum(segment, 0)), 0xffff);
    }

    fn word(segment: &[u8], at: usize) -> u32 {
        u32::from_be_bytes(segment[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn the_targets_sequence_numbers_and_windows_are_shifted() {
        for (windows, expected) in [(0, 0x1000), (-4, 0x100), (2, 0x4000), (7, 0xffff)] {
            let mut bytes = segment(ACK, &[]);
            apply(&mut bytes, &flow(windows), Direction::Reverse);
            assert_eq!(word(&bytes, 4), 0x100u32.wrapping_add(SHIFT));
            assert_eq!(word(&bytes, 8), 0xffff_fff0);
            assert_eq!(u16::from_be_bytes([bytes[14], bytes[15]]), expected);
            assert_checksum(&bytes);
        }
    }

    #[test]
    fn the_clients_acknowledgements_are_shifted_back_wherever_they_stand() {
        for padding in [vec![1, 1], vec![1], vec![]] {
            let mut options = padding.clone();
            options.extend([5, 18]);
            for edge in [10u32, 20, 30, 40] {
                options.extend(edge.to_be_bytes());
            }
            options.resize(20, 1);
            let mut bytes = segment(ACK, &options);
            apply(&mut bytes, &flow(3), Direction::Forward);
            assert_eq!(word(&bytes, 4), 0x100);
            assert_eq!(word(&bytes, 8), 0xffff_fff0u32.wrapping_sub(SHIFT));
            for (place, edge) in [10u32, 20, 30, 40].into_iter().enumerate() {
                assert_eq!(word(&bytes, 22 + padding.len() + place * 4), edge.wrapping_sub(SHIFT));
            }
            assert_eq!(u16::from_be_bytes([bytes[14], bytes[15]]), 0x1000);
            assert_checksum(&bytes);
        }
    }

    #[test]
    fn a_segment_without_an_acknowledgement_stays_as_it_is() {
        let before = segment(tcp::RST, &[5, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1]);
        let mut after = before.clone();
        apply(&mut after, &flow(0), Direction::Forward);
        assert_eq!(after, before);
    }
}
