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
//!
//! Where the target's connection begins is what the target's own SYN acknowledges, not what the client's SYNs have said: there may
//! have been several, and a client that has its target and us differ about it could fill the header's place. For the same reason
//! nothing of the client's passes that does not acknowledge what this connection's target has sent, and no byte from before its first.

mod numbers;

use bytemuck::{Pod, Zeroable};

use crate::{
    target::HeaderPlacement,
    wire::l4::tcp::{self, ACK, FIN, RST, SYN, option},
};

pub use numbers::Numbers;

/// A PROXY header that a target is owed: where it stands in the client's stream, and what sending it again takes. Half a cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Preamble {
    /// The client's initial sequence number.
    pub initial: u32,
    /// What follows all that the target is known to have sent, in the client's numbers.
    pub target_next: u32,
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

/// What a client's segment holds from before its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old {
    /// Nothing.
    Nothing,
    /// So many bytes, and then others, or the end.
    Bytes(usize),
    /// All that it has of data and flags for them.
    Everything,
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

    /// Whether the client has acknowledged all that its target has sent, so that it can be said once more in its name.
    pub fn is_all_acknowledged(&self) -> bool {
        self.flags & ALL_ACKNOWLEDGED != 0
    }

    /// Notes that the client has acknowledged all that its target has sent, up to this number, with this window.
    pub fn acknowledge_all(&mut self, number: u32, window: u16) {
        (self.target_next, self.window) = (number, window);
        self.flags |= ALL_ACKNOWLEDGED;
    }

    /// Learns from a client's segment that is not foreign: where its stream begins, as long as the target has not said so, and what a
    /// segment in its name has to say.
    pub fn learn_from_client(&mut self, numbers: &Numbers, segment: &[u8]) {
        if numbers.has(SYN) && !self.is_placed() {
            self.initial = numbers.sequence;
        }
        if numbers.flags & (SYN | RST) != 0 {
            return;
        }
        if numbers.sequence == self.first() && numbers.has_data_or_end() {
            self.flags |= BEGUN;
        }
        if numbers.acknowledgement != self.target_next {
            return;
        }
        self.acknowledge_all(self.target_next, numbers.window);
        if let Some(timestamps) = timestamps(segment) {
            self.timestamps = timestamps;
            self.flags |= HAS_TIMESTAMPS;
        }
    }

    /// Learns from a target's segment, with its sequence number as the client knows it: what it has sent, and, from its SYN, where
    /// its connection begins and what it takes.
    pub fn learn_from_target(&mut self, numbers: &Numbers, segment: &[u8]) {
        if numbers.has(SYN | ACK) {
            self.place(numbers);
        }
        if numbers.has(SYN) {
            return self.learn_options(segment.get(tcp::HEADER..tcp::HEADER + numbers.options));
        }
        let is_newer = numbers.end().wrapping_sub(self.target_next) as i32 > 0;
        if self.is_of_target(numbers) && is_newer && !numbers.has(RST) {
            self.target_next = numbers.end();
            self.flags &= !ALL_ACKNOWLEDGED;
        }
    }

    /// Begins with the connection that a target's SYN acknowledges, unless it is the one that is known.
    fn place(&mut self, numbers: &Numbers) {
        let initial = numbers.acknowledgement.wrapping_sub(1).wrapping_add(self.length());
        if initial == self.initial && self.is_of_target(numbers) {
            return;
        }
        let (length, flags) = (self.length, self.flags & ON_FIRST_ACK | PLACED);
        let segment_size = UNSAID_SEGMENT_SIZE;
        let target_next = numbers.end();
        *self = Preamble { initial, target_next, segment_size, length, flags, ..Preamble::zeroed() };
    }

    fn learn_options(&mut self, options: Option<&[u8]>) {
        let options = options.unwrap_or_default();
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

    /// Whether the target has said where its connection begins.
    fn is_placed(&self) -> bool {
        self.flags & PLACED != 0
    }

    /// Whether a target's segment is of the connection that is known, not of another between the same ports.
    fn is_of_target(&self, numbers: &Numbers) -> bool {
        let distance = numbers.sequence.wrapping_sub(self.target_next) as i32;
        self.is_placed() && distance.unsigned_abs() < MOST_BEFORE_HEADER
    }

    /// Whether a client's segment is of another connection than the target's, for all that is known: it must acknowledge what this
    /// target has sent. Only SYNs and resets need not.
    pub fn is_foreign(&self, numbers: &Numbers) -> bool {
        let ahead = numbers.acknowledgement.wrapping_sub(self.target_next) as i32;
        let acknowledges = self.is_placed() && numbers.has(ACK) && ahead <= 0;
        numbers.flags & (SYN | RST) == 0 && !acknowledges
    }

    /// What a client's segment holds from before its first byte. The header stands there, so none of it may reach the target.
    pub fn old(&self, numbers: &Numbers) -> Old {
        let offset = numbers.sequence.wrapping_sub(self.first()) as i32;
        let old = offset.unsigned_abs() as usize;
        match () {
            () if numbers.has(SYN) && numbers.data > 0 => Old::Everything,
            () if numbers.flags & (SYN | RST) != 0 || offset >= 0 => Old::Nothing,
            () if !numbers.has_data_or_end() => Old::Nothing,
            () if numbers.data + usize::from(numbers.has(FIN)) > old => Old::Bytes(old),
            () => Old::Everything,
        }
    }

    /// What becomes of a client's segment that holds nothing old, at a time in wrapping milliseconds.
    pub fn passage(&self, numbers: &Numbers, now_ms: u32) -> Passage {
        let offset = numbers.sequence.wrapping_sub(self.first()) as i32;
        match () {
            () if numbers.has(SYN) => Passage::Ahead,
            // Of a stream that has begun nowhere yet, a reset may be about any number that the client once began at.
            () if numbers.has(RST) && !self.is_sent() => Passage::Ahead,
            () if offset < 0 => Passage::Ahead,
            () if offset > 0 => Passage::Unchanged,
            () if numbers.has(RST) => Passage::Twice,
            () if numbers.has_data_or_end() && self.is_followed() => Passage::Unchanged,
            () if numbers.has_data_or_end() || self.is_due(now_ms) => Passage::WithHeader,
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

    /// Whether a target's segment says that it has the header. No SYN and no reset does: they may be of another connection.
    pub fn is_over(&self, numbers: &Numbers) -> bool {
        let is_current = numbers.flags & (SYN | RST) == 0 && self.is_of_target(numbers);
        is_current && numbers.has(ACK) && self.told(numbers.acknowledgement).is_over
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

    /// What a client is told of a block that its target acknowledges selectively; `None` of one that holds nothing of the client's. Its
    /// first byte is not told of, as long as the header is not acknowledged: it would not send it again, and with it the header.
    pub fn block(&self, (left, right): (u32, u32), told: &Told) -> Option<(u32, u32)> {
        let (mut left, right) = (self.edge_at_client(left), self.edge_at_client(right));
        let is_before = |number: u32, other: u32| (number.wrapping_sub(other) as i32) < 0;
        let has_first = !is_before(self.first(), left) && is_before(self.first(), right);
        if has_first && !told.is_over {
            left = self.first().wrapping_add(1);
        }
        is_before(left, right).then_some((left, right))
    }

    /// An edge before the header is one before the client's first byte, and all edges within it are one.
    fn edge_at_client(&self, edge: u32) -> u32 {
        match edge.wrapping_sub(self.first()) as i32 {
            0.. => edge,
            offset if offset >= -i32::from(self.length) => self.first(),
            _ => edge.wrapping_add(self.length()),
        }
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

    /// Whether the client's first bytes follow a header that went before them. When they come again, it may be for want of it.
    fn is_followed(&self) -> bool {
        self.is_on_first_ack() && self.is_sent() && self.flags & BEGUN == 0
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
/// The client has acknowledged all that its target has sent.
const ALL_ACKNOWLEDGED: u8 = 4;
/// The client's segments have timestamps.
const HAS_TIMESTAMPS: u8 = 8;
/// The target has said where its connection begins.
const PLACED: u8 = 16;
/// The client's first bytes have come.
const BEGUN: u8 = 32;
/// More than a target sends before it has its header. Numbers of connections that follow one another differ by more (RFC 6528).
const MOST_BEFORE_HEADER: u32 = 1 << 20;
/// What a target takes that offers no segment size (RFC 9293 section 3.7.1).
const UNSAID_SEGMENT_SIZE: u16 = 536;
/// Times are counted in units of 64 ms.
const SENT_UNIT_BITS: u32 = 6;
/// An acknowledgement repeats the header when it was not sent for some 200 ms: another one in that time says nothing of its loss.
const REPEATED_AFTER_UNITS: u8 = 3;

const _: () = assert!(size_of::<Preamble>() == 24);
