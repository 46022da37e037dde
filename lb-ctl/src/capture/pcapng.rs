//! Captures of live frames, as blocks of pcapng (draft-ietf-opsawg-pcapng): made by the daemon, each whole, taken apart again by
//! `lbctl capture`, which writes whole blocks only. Little-endian, times in nanoseconds since 1970.

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The frame has come in.
    Inbound,
    /// The frame leaves.
    Outbound,
}

/// A frame in a capture.
#[derive(Clone, Debug)]
pub struct CapturedPacket<'p> {
    /// Number of the interface, in the order of [`interface`] blocks.
    pub interface: u32,
    /// When, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Which way it goes.
    pub direction: Direction,
    /// Its bytes, as many as are wanted.
    pub bytes: &'p [u8],
    /// Its length in full.
    pub length: usize,
    /// What is said of it.
    pub comment: &'p str,
    /// Frames that were missed before it, by all interfaces.
    pub missed: u64,
}

/// What a capture begins with (section 4.1): the name of the program is an option of it.
pub fn section(program: &str) -> Vec<u8> {
    let mut body = BYTE_ORDER.to_le_bytes().to_vec();
    body.extend(VERSION);
    body.extend(u64::MAX.to_le_bytes()); // Its length, which nobody knows.
    option(&mut body, USER_APPLICATION, program.as_bytes());
    end_options(&mut body);
    block(SECTION_HEADER, body)
}

/// An interface by its name (section 4.2). Frames are cut to `snap_bytes`; 0: not.
pub fn interface(name: &str, snap_bytes: u32) -> Vec<u8> {
    let mut body = ETHERNET.to_le_bytes().to_vec();
    body.extend([0; 2]);
    body.extend(snap_bytes.to_le_bytes());
    option(&mut body, NAME, name.as_bytes());
    option(&mut body, TIME_RESOLUTION, &[NANOSECONDS]);
    end_options(&mut body);
    block(INTERFACE, body)
}

/// A frame (section 4.3).
pub fn packet(packet: &CapturedPacket<'_>) -> Vec<u8> {
    let mut body = packet.interface.to_le_bytes().to_vec();
    body.extend(time(packet.time_ns));
    body.extend((packet.bytes.len() as u32).to_le_bytes());
    body.extend((packet.length as u32).to_le_bytes());
    body.extend(packet.bytes);
    pad(&mut body);
    option(&mut body, COMMENT, packet.comment.as_bytes());
    let flags: u32 = if packet.direction == Direction::Inbound { 1 } else { 2 };
    option(&mut body, PACKET_FLAGS, &flags.to_le_bytes());
    if packet.missed > 0 {
        option(&mut body, PACKET_MISSED, &packet.missed.to_le_bytes());
    }
    end_options(&mut body);
    block(PACKET, body)
}

/// How many frames were missed so far, told of the first interface (section 4.6). Serves as a sign of life, too.
pub fn statistics(time_ns: u64, missed: u64) -> Vec<u8> {
    let mut body = 0u32.to_le_bytes().to_vec();
    body.extend(time(time_ns));
    option(&mut body, STATISTICS_MISSED, &missed.to_le_bytes());
    end_options(&mut body);
    block(STATISTICS, body)
}

/// What a reader finds in a stream of blocks.
#[derive(Debug, Default)]
pub struct Blocks {
    /// What has come and is not yet a block.
    rest: Vec<u8>,
    /// Frames.
    pub frames: u64,
    /// Frames that were missed.
    pub missed: u64,
}

impl Blocks {
    /// Takes what has come, and returns what is whole of it. `None` when it is no pcapng.
    pub fn take(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.rest.extend_from_slice(bytes);
        let mut end = 0;
        while let Some(length) = word(&self.rest[end..], 4) {
            let length = length as usize;
            if length < LEAST_BYTES || !length.is_multiple_of(4) || length > MOST_BYTES {
                return None;
            }
            let Some(block) = self.rest.get(end..end + length) else { break };
            self.frames += u64::from(word(block, 0) == Some(PACKET));
            if word(block, 0) == Some(STATISTICS) {
                let missed = block.get(STATISTICS_MISSED_AT..).and_then(|rest| rest.first_chunk());
                self.missed = missed.map_or(self.missed, |bytes| u64::from_le_bytes(*bytes));
            }
            end += length;
        }
        Some(self.rest.drain(..end).collect())
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// The upper half first (section 4.3).
fn time(ns: u64) -> [u8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (((ns >> 32) as u32).to_le_bytes(), (ns as u32).to_le_bytes());
    [a, b, c, d, e, f, g, h]
}

/// Section 3.1.
fn block(kind: u32, body: Vec<u8>) -> Vec<u8> {
    let length = (LEAST_BYTES + body.len()) as u32;
    [&kind.to_le_bytes()[..], &length.to_le_bytes(), &body, &length.to_le_bytes()].concat()
}

/// Section 3.5. What is longer than an option can be is cut.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body);
}

fn end_options(body: &mut Vec<u8>) {
    body.extend([0; 4]);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Media type of a capture. None is registered; servers and desktops use this one.
pub const CONTENT_TYPE: &str = "application/x-pcapng";

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// 1.0, its parts in 16 bits each.
const VERSION: [u8; 4] = [1, 0, 0, 0];
const ETHERNET: u16 = 1;
const COMMENT: u16 = 1;
const USER_APPLICATION: u16 = 4;
const NAME: u16 = 2;
const TIME_RESOLUTION: u16 = 9;
const NANOSECONDS: u8 = 9;
const PACKET_FLAGS: u16 = 2;
const PACKET_MISSED: u16 = 4;
const STATISTICS_MISSED: u16 = 5;
/// Where the value stands in blocks of [`statistics`]: behind type, length, interface, time, and the option's head.
const STATISTICS_MISSED_AT: usize = 24;
/// A block without a body.
const LEAST_BYTES: usize = 12;
/// Longer blocks the daemon does not make.
const MOST_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{capture::Capture, hex};

    fn sample(comment: &str) -> Vec<u8> {
        packet(&CapturedPacket {
            interface: 1,
            time_ns: 0x0102_0304_0506_0708,
            direction: Direction::Outbound,
            bytes: &[0xaa, 0xbb, 0xcc],
            length: 60,
            comment,
            missed: 0,
        })
    }

    #[test]
    fn a_frame_is_a_block_as_the_standard_draws_it() {
        let expected = [
            "06000000", "38000000", "01000000", "04030201", "08070605", "03000000", "3c000000", "aabbcc00",
            "01000200", "6f6b0000", "02000400", "02000000", "00000000", "38000000",
        ];
        assert_eq!(hex::digits(&sample("ok")), expected.concat());
    }

    #[test]
    fn our_own_reader_reads_it() {
        let whole =
            [section("lbd"), interface("eth0", 0), interface("eth1", 3), sample("a -> b"), statistics(1, 9)];
        let bytes = whole.concat();
        let mut capture = Capture::open(&bytes[..]).unwrap();
        let frame = capture.next_frame().unwrap().unwrap();
        assert_eq!((frame.interface.as_deref(), frame.time_ns), (Some("eth1"), 0x0102_0304_0506_0708));
        assert_eq!(frame.bytes, [0xaa, 0xbb, 0xcc]);
        assert!(capture.next_frame().unwrap().is_none());
    }

    #[test]
    fn blocks_come_out_whole_however_they_come_in() {
        let whole =
            [section("lbd"), interface("eth0", 0), sample("x"), statistics(1, 9), sample("y")].concat();
        for step in [1, 7, 64, whole.len()] {
            let mut blocks = Blocks::default();
            let mut out = Vec::new();
            for bytes in whole.chunks(step) {
                out.extend(blocks.take(bytes).unwrap());
                assert!(Capture::open(&out[..]).is_err() || out.len().is_multiple_of(4));
            }
            assert_eq!((&out, blocks.frames, blocks.missed), (&whole, 2, 9));
        }
        assert_eq!(Blocks::default().take(b"HTTP/1.1 200 OK"), None);
    }
}
