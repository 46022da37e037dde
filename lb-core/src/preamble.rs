//! The arithmetic of PROXY headers in TCP connections: which numbers the bytes of a client's stream have at its target, until the
//! target has acknowledged the header. Pure; `datapath::preamble` decides with it, `rewrite::preamble` and `rewrite::shift` write.
//!
//! The header is not squeezed in between bytes of the stream: the stream begins earlier. With the client's initial sequence number c
//! and a header of H bytes, the target's connection begins at c - H:
//!
//! ```text
//!   client         SYN: c                                     first byte: c + 1, ...
//!   target         SYN: c - H      header: c - H + 1 ..= c    first byte: c + 1, ...
//! ```
//!
//! So a byte of the client has one number at both ends, and all that is shifted is what lies before the first. Once the target has
//! acknowledged the header, nothing is shifted any more for the life of the connection: then its flow is as any other.

use bytemuck::{Pod, Zeroable};

use crate::{
    target::HeaderPlacement,
    wire::l4::tcp::{self, ACK, FIN, RST, SYN, option},
};

/// A PROXY header that a target is owed: where it stands in the client's stream, and what sending it again takes. Half a cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Preamble {
    /// The client's initial sequence number.
    pub initial: u32,
    /// What the client acknowledged last.
    pub acknowledgement: u32,
    /// Timestamps of its last segment (RFC 7323), where [`HAS_TIMESTAMPS`] says so.
    timestamps: [u32; 2],
    /// The window that it told last, as it stands in the header.
    pub window: u16,
    /// Most bytes of options and data that the target takes in a segment.
    pub segment_size: u16,
    /// Bytes of the header.
    length: u8,
    /// Shift of the target's windows.
    target_scale: u8,
    /// The bits below.
    flags: u8,
    /// When the header was sent last, in units of [`SENT_UNIT_BITS`].
    sent: u8,
}

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

/// What becomes of a client's segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It has its own number at the target, too.
    Unchanged,
    /// Its number is one before the header's first byte.
    Ahead,
    /// The header goes with it.
    WithHeader,
    /// A reset, whose number at the target depends on whether the header has arrived: it goes under both.
    Twice,
}

/// What a client is told of its target's acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The acknowledgement.
    pub acknowledgement: u32,
    /// Bytes between what the target has acknowledged and that: its window reaches less far from there.
    pub gap: u32,
    /// Whether the target has the header.
    pub is_over: bool,
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

    fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }
}

impl Preamble {
    /// Of a client that begins at `initial`, and a header of so many bytes, at most 255.
    pub fn new(initial: u32, length: usize, placement: HeaderPlacement) -> Preamble {
        let flags = match placement {
            HeaderPlacement::OnFirstAckWithPayload => 0,
            HeaderPlacement::OnFirstAck => ON_FIRST_ACK,
        };
        Preamble {
            initial,
            length: length as u8,
            segment_size: UNSAID_SEGMENT_SIZE,
            flags,
            ..Preamble::zeroed()
        }
    }

    /// Bytes of the header.
    pub fn length(&self) -> u32 {
        u32::from(self.length)
    }

    /// Number of the client's first byte, at both ends.
    pub fn first(&self) -> u32 {
        self.initial.wrapping_add(1)
    }

    /// Whether the header was sent at least once.
    pub fn is_sent(&self) -> bool {
        self.flags & SENT != 0
    }

    /// Whether the header goes with a client's first acknowledgement, so that it may go without data that the client would repeat.
    pub fn is_on_first_ack(&self) -> bool {
        self.flags & ON_FIRST_ACK != 0
    }

    /// Notes that the header was sent, in wrapping milliseconds.
    pub fn mark_sent(&mut self, now_ms: u32) {
        self.flags |= SENT;
        self.sent = sent_units(now_ms);
    }

    /// Learns from a client's segment, of a connection that is half-open or not: where its stream begins, as long as that may change,
    /// and what a segment in its name has to say.
    pub fn learn_from_client(&mut self, numbers: &Numbers, segment: &[u8], is_half_open: bool) {
        if numbers.has(SYN) {
            if is_half_open && !self.is_sent() {
                self.initial = numbers.sequence;
            }
            return;
        }
        let is_older = (numbers.acknowledgement.wrapping_sub(self.acknowledgement) as i32) < 0;
        if !numbers.has(ACK) || numbers.has(RST) || is_older && self.flags & HAS_ACKNOWLEDGED != 0 {
            return;
        }
        (self.acknowledgement, self.window) = (numbers.acknowledgement, numbers.window);
        self.flags |= HAS_ACKNOWLEDGED;
        if let Some(timestamps) = timestamps(segment) {
            self.timestamps = timestamps;
            self.flags |= HAS_TIMESTAMPS;
        }
    }

    /// Learns from a target's segment what it takes, if it is its SYN.
    pub fn learn_from_target(&mut self, numbers: &Numbers, segment: &[u8]) {
        if !numbers.has(SYN) {
            return;
        }
        let options = segment.get(tcp::HEADER..tcp::HEADER + numbers.options).unwrap_or_default();
        for (kind, value) in tcp::options(options) {
            match (kind, &options[value]) {
                (option::MAXIMUM_SEGMENT_SIZE, &[high, low]) => {
                    self.segment_size = u16::from_be_bytes([high, low]);
                }
                (option::WINDOW_SCALE, &[scale]) => self.target_scale = scale.min(tcp::MOST_SCALE),
                _ => {}
            }
        }
    }

    /// What becomes of a client's segment at a time in wrapping milliseconds.
    pub fn passage(&self, numbers: &Numbers, now_ms: u32) -> Passage {
        let offset = numbers.sequence.wrapping_sub(self.first()) as i32;
        match () {
            () if numbers.has(SYN) => Passage::Ahead,
            // Of a stream that has begun nowhere yet, a reset may be about any number that the client once began at.
            () if numbers.has(RST) && !self.is_sent() => Passage::Ahead,
            () if offset < 0 => Passage::Ahead,
            () if offset > 0 => Passage::Unchanged,
            () if numbers.has(RST) => Passage::Twice,
            () if numbers.data > 0 || numbers.has(FIN) || self.is_due(now_ms) => Passage::WithHeader,
            () if self.is_sent() => Passage::Unchanged,
            () => Passage::Ahead,
        }
    }

    /// Number at the target of a client's segment that goes without the header, so far as that can be known.
    pub fn number_at_target(&self, sequence: u32) -> u32 {
        let offset = sequence.wrapping_sub(self.first()) as i32;
        match offset < 0 || (offset == 0 && !self.is_sent()) {
            true => sequence.wrapping_sub(self.length()),
            false => sequence,
        }
    }

    /// Number at the client of what a target has under this one.
    pub fn number_at_client(&self, sequence: u32) -> u32 {
        match (sequence.wrapping_sub(self.first()) as i32) < 0 {
            true => sequence.wrapping_add(self.length()),
            false => sequence,
        }
    }

    /// What a client is told of its target's acknowledgement.
    pub fn told(&self, acknowledgement: u32) -> Told {
        let offset = acknowledgement.wrapping_sub(self.first()) as i32;
        if self.is_sent() && offset >= 0 {
            return Told { acknowledgement, gap: 0, is_over: true };
        }
        // Of the header's bytes, a client is told as of its SYN.
        let is_about_header = self.is_sent() && offset >= -i32::from(self.length);
        let gap = if is_about_header { offset.unsigned_abs() } else { self.length() };
        Told { acknowledgement: acknowledgement.wrapping_add(gap), gap, is_over: false }
    }

    /// The least edge of what a client is told to be acknowledged selectively. Its first byte is not, as long as the header is not: it
    /// would not send it again, and with it the header.
    pub fn least_edge(&self, told: &Told) -> u32 {
        self.first().wrapping_add(u32::from(!told.is_over))
    }

    /// What a client is told of its target's window in a segment with these flags, `gap` bytes further on. A window that is not
    /// closed does not become so: who waits for data sends the header with them.
    pub fn window(&self, window: u16, flags: u8, gap: u32) -> u16 {
        let scale = if flags & SYN != 0 { 0 } else { self.target_scale };
        let gap = gap.div_ceil(1 << scale);
        u32::from(window).saturating_sub(gap).max(u32::from(window.min(1))) as u16
    }

    /// The options that every segment of the client has (RFC 7323 section 3.2), and their length.
    pub fn options(&self) -> ([u8; 12], usize) {
        let mut options = [option::NO_OPERATION; 12];
        if self.flags & HAS_TIMESTAMPS == 0 {
            return (options, 0);
        }
        options[2..4].copy_from_slice(&[option::TIMESTAMPS, 10]);
        options[4..8].copy_from_slice(&self.timestamps[0].to_be_bytes());
        options[8..12].copy_from_slice(&self.timestamps[1].to_be_bytes());
        (options, options.len())
    }

    /// Whether the header goes with an acknowledgement alone. One that answers a target's repeated SYN says that it was lost.
    fn is_due(&self, now_ms: u32) -> bool {
        let since = sent_units(now_ms).wrapping_sub(self.sent);
        self.is_on_first_ack() && (!self.is_sent() || since >= REPEATED_AFTER_UNITS)
    }
}

/// Timestamps of a segment: its own and the one that it answers (RFC 7323 section 3.2).
fn timestamps(segment: &[u8]) -> Option<[u32; 2]> {
    let header_length = usize::from(segment.get(tcp::DATA_OFFSET)? >> 4) * 4;
    let options = segment.get(tcp::HEADER..header_length)?;
    let (_, value) = tcp::options(options).find(|(kind, _)| *kind == option::TIMESTAMPS)?;
    let &[a, b, c, d, w, x, y, z] = options.get(value)? else { return None };
    Some([u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([w, x, y, z])])
}

/// A time in one byte, which wraps after 16 s.
fn sent_units(now_ms: u32) -> u8 {
    (now_ms >> SENT_UNIT_BITS) as u8
}

/// The header was sent.
const SENT: u8 = 1;
/// [`HeaderPlacement::OnFirstAck`].
const ON_FIRST_ACK: u8 = 2;
/// The client has acknowledged something of its target's.
const HAS_ACKNOWLEDGED: u8 = 4;
/// The client's segments have timestamps.
const HAS_TIMESTAMPS: u8 = 8;
/// What a target takes that offers no segment size (RFC 9293 section 3.7.1).
const UNSAID_SEGMENT_SIZE: u16 = 536;
/// Times are counted in units of 64 ms.
const SENT_UNIT_BITS: u32 = 6;
/// An acknowledgement repeats the header when it was not sent for some 200 ms: another one in that time says nothing of its loss.
const REPEATED_AFTER_UNITS: u8 = 3;

const _: () = assert!(size_of::<Preamble>() == 24);
