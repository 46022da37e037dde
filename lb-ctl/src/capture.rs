//! Captures of Ethernet frames: pcap and pcapng in, pcap out. [`pcapng`] is written apart, for captures of live frames.
//!
//! The reader takes what is there and asks for more only while no whole record is in its buffer, so whoever writes into a
//! pipe has each frame answered before the next is written. Read by hand because the crates at hand refuse frames that a
//! snap length cut short, or wait for more input at a damaged block. Formats: draft-ietf-opsawg-pcap and -pcapng.

pub mod pcapng;

use std::{
    fmt,
    io::{self, ErrorKind, Read, Write},
};

/// A capture being read.
#[derive(Debug)]
pub struct Capture<R> {
    input: Input<R>,
    format: Format,
    /// Time of the last frame, for frames without one.
    last_ns: u64,
}

/// A captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedFrame {
    /// When it was captured, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Name of the interface, where the capture has names.
    pub interface: Option<String>,
    /// The frame from its Ethernet header on, as far as it was captured.
    pub bytes: Vec<u8>,
    /// Its length on the wire, in bytes, by the capture's word.
    pub length: usize,
}

impl CapturedFrame {
    /// Whether the capture holds only its beginning.
    pub fn is_cut(&self) -> bool {
        self.bytes.len() < self.length
    }
}

/// Why a capture cannot be read on.
#[derive(Debug)]
pub enum CaptureError {
    /// It is neither pcap nor pcapng.
    NotACapture,
    /// It ends within a record.
    Truncated,
    /// It breaks its format.
    Damaged(&'static str),
    /// Its frames are not Ethernet frames; the number is the link type.
    NotEthernet(u16),
    /// The system failed to read.
    Read(io::Error),
}

#[derive(Debug)]
enum Format {
    Pcap { order: Order, units_per_second: u32 },
    Pcapng { order: Order, interfaces: Vec<CapturedInterface> },
}

/// Byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

/// An interface of a pcapng section.
#[derive(Clone, Debug)]
struct CapturedInterface {
    name: Option<String>,
    snap_length: u32,
    resolution: Resolution,
    offset_seconds: i64,
}

/// Length of a pcapng time unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolution {
    /// 10 to the minus this seconds.
    Decimal(u8),
    /// 2 to the minus this seconds.
    Binary(u8),
}

impl<R: Read> Capture<R> {
    /// Reads the beginning, up to what tells the format.
    pub fn open(source: R) -> Result<Capture<R>, CaptureError> {
        let mut input = Input { source, buffer: Vec::new(), at: 0 };
        let magic = match input.whole(4) {
            Ok(Some(bytes)) => [bytes[0], bytes[1], bytes[2], bytes[3]],
            Ok(None) | Err(CaptureError::Truncated) => return Err(CaptureError::NotACapture),
            Err(error) => return Err(error),
        };
        let format = match u32::from_be_bytes(magic) {
            SECTION_HEADER => Format::Pcapng { order: Order::Little, interfaces: Vec::new() },
            _ => pcap_header(&mut input, magic)?,
        };
        Ok(Capture { input, format, last_ns: 0 })
    }

    /// The next frame; `None` at the end.
    pub fn next_frame(&mut self) -> Result<Option<CapturedFrame>, CaptureError> {
        let frame = match &mut self.format {
            Format::Pcap { order, units_per_second } => {
                pcap_frame(&mut self.input, *order, *units_per_second)?
            }
            Format::Pcapng { order, interfaces } => {
                pcapng_frame(&mut self.input, order, interfaces, self.last_ns)?
            }
        };
        if let Some(frame) = &frame {
            self.last_ns = frame.time_ns;
        }
        Ok(frame)
    }
}

/// A capture being written: pcap, nanoseconds, Ethernet, in this machine's byte order.
#[derive(Debug)]
pub struct CaptureWriter<W> {
    sink: W,
}

impl<W: Write> CaptureWriter<W> {
    /// Writes the header.
    pub fn create(mut sink: W) -> io::Result<CaptureWriter<W>> {
        let mut header = Vec::with_capacity(PCAP_HEADER_BYTES);
        header.extend_from_slice(&PCAP_NANOSECONDS.to_ne_bytes());
        header.extend_from_slice(&2u16.to_ne_bytes());
        header.extend_from_slice(&4u16.to_ne_bytes());
        header.extend_from_slice(&[0; 8]);
        header.extend_from_slice(&SNAP_LENGTH.to_ne_bytes());
        header.extend_from_slice(&u32::from(ETHERNET).to_ne_bytes());
        sink.write_all(&header)?;
        Ok(CaptureWriter { sink })
    }

    /// Writes a frame. Its time is in nanoseconds since 1970.
    pub fn write(&mut self, time_ns: u64, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_| ErrorKind::InvalidInput)?;
        let seconds = (time_ns / NANOSECONDS) as u32; // The format's own limit: the year 2106.
        let rest = (time_ns % NANOSECONDS) as u32;
        for word in [seconds, rest, length, length] {
            self.sink.write_all(&word.to_ne_bytes())?;
        }
        self.sink.write_all(bytes)
    }

    /// Hands everything written so far to the system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CaptureError::NotACapture => f.write_str("is neither a pcap nor a pcapng capture"),
            CaptureError::Truncated => f.write_str("ends in the middle of a record"),
            CaptureError::Damaged(what) => write!(f, "is damaged: {what}"),
            CaptureError::NotEthernet(link_type) => {
                write!(
                    f,
                    "has frames of link type {link_type}, not Ethernet (1): capture on one interface, not on \"any\""
                )
            }
            CaptureError::Read(error) => write!(f, "cannot be read: {error}"),
        }
    }
}

impl std::error::Error for CaptureError {}

/// Bytes read but not used yet.
#[derive(Debug)]
struct Input<R> {
    source: R,
    buffer: Vec<u8>,
    at: usize,
}

impl<R: Read> Input<R> {
    /// The next `length` bytes, without using them up; reads only if they are not there yet. `None` at the end.
    fn whole(&mut self, length: usize) -> Result<Option<&[u8]>, CaptureError> {
        if length > RECORD_BYTES {
            return Err(CaptureError::Damaged("a record of more than 16 MiB"));
        }
        while self.buffer.len() - self.at < length {
            self.buffer.drain(..self.at);
            self.at = 0;
            if self.read_some()? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(CaptureError::Truncated) };
            }
        }
        Ok(Some(&self.buffer[self.at..self.at + length]))
    }

    /// Uses up bytes that [`Input::whole`] gave.
    fn advance(&mut self, length: usize) {
        self.at += length;
    }

    /// One read of whatever is there.
    fn read_some(&mut self) -> Result<usize, CaptureError> {
        let end = self.buffer.len();
        self.buffer.resize(end + READ_BYTES, 0);
        let read = loop {
            match self.source.read(&mut self.buffer[end..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(end + *read.as_ref().unwrap_or(&0));
        read.map_err(CaptureError::Read)
    }
}

fn pcap_header<R: Read>(input: &mut Input<R>, magic: [u8; 4]) -> Result<Format, CaptureError> {
    let (order, units_per_second) = match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
        (PCAP_MICROSECONDS, _) => (Order::Little, 1_000_000),
        (PCAP_NANOSECONDS, _) => (Order::Little, 1_000_000_000),
        (_, PCAP_MICROSECONDS) => (Order::Big, 1_000_000),
        (_, PCAP_NANOSECONDS) => (Order::Big, 1_000_000_000),
        _ => return Err(CaptureError::NotACapture),
    };
    let header = input.whole(PCAP_HEADER_BYTES)?.ok_or(CaptureError::Truncated)?;
    let link_type = order.u32(header, 20).unwrap_or(0) as u16; // The upper half says how long frame check sequences are.
    input.advance(PCAP_HEADER_BYTES);
    if link_type == ETHERNET {
        Ok(Format::Pcap { order, units_per_second })
    } else {
        Err(CaptureError::NotEthernet(link_type))
    }
}

fn pcap_frame<R: Read>(
    input: &mut Input<R>,
    order: Order,
    units_per_second: u32,
) -> Result<Option<CapturedFrame>, CaptureError> {
    let Some(header) = input.whole(PCAP_RECORD_BYTES)? else { return Ok(None) };
    let word = |at| order.u32(header, at).unwrap_or(0);
    let (seconds, units, length, original) = (word(0), word(4), word(8) as usize, word(12) as usize);
    let record = input.whole(PCAP_RECORD_BYTES.saturating_add(length))?.ok_or(CaptureError::Truncated)?;
    let bytes = record[PCAP_RECORD_BYTES..].to_vec();
    input.advance(PCAP_RECORD_BYTES + length);
    let ns_per_unit = NANOSECONDS / u64::from(units_per_second);
    let time_ns = u64::from(seconds) * NANOSECONDS + u64::from(units) * ns_per_unit;
    Ok(Some(CapturedFrame { time_ns, interface: None, bytes, length: original }))
}

/// Reads blocks up to the next one that holds a frame.
fn pcapng_frame<R: Read>(
    input: &mut Input<R>,
    order: &mut Order,
    interfaces: &mut Vec<CapturedInterface>,
    last_ns: u64,
) -> Result<Option<CapturedFrame>, CaptureError> {
    loop {
        let Some(header) = input.whole(BLOCK_HEADER_BYTES)? else { return Ok(None) };
        let block_type =
            if is_section_header(header) { SECTION_HEADER } else { order.u32(header, 0).unwrap_or(0) };
        if block_type == SECTION_HEADER {
            *order = section_order(header)?;
            interfaces.clear();
        }
        let length = order.u32(header, 4).unwrap_or(0) as usize;
        if length < BLOCK_HEADER_BYTES || !length.is_multiple_of(4) {
            return Err(CaptureError::Damaged("a block of impossible length"));
        }
        let block = input.whole(length)?.ok_or(CaptureError::Truncated)?;
        let body = &block[8..length - 4];
        let frame = match block_type {
            INTERFACE_DESCRIPTION => {
                interfaces.push(interface(body, *order)?);
                None
            }
            ENHANCED_PACKET => Some(enhanced_packet(body, *order, interfaces)?),
            SIMPLE_PACKET => Some(simple_packet(body, *order, interfaces, last_ns)?),
            OBSOLETE_PACKET => {
                return Err(CaptureError::Damaged("an obsolete Packet Block: convert it with editcap"));
            }
            _ => None,
        };
        input.advance(length);
        if frame.is_some() {
            return Ok(frame);
        }
    }
}

fn is_section_header(header: &[u8]) -> bool {
    header.starts_with(&SECTION_HEADER.to_be_bytes())
}

/// The byte order of a section; its block begins with a type that reads the same in both.
fn section_order(header: &[u8]) -> Result<Order, CaptureError> {
    match Order::Little.u32(header, 8) {
        Some(BYTE_ORDER) => Ok(Order::Little),
        Some(word) if word.swap_bytes() == BYTE_ORDER => Ok(Order::Big),
        _ => Err(CaptureError::Damaged("a section of no byte order")),
    }
}

fn interface(body: &[u8], order: Order) -> Result<CapturedInterface, CaptureError> {
    let (Some(link_type), Some(snap_length)) = (order.u16(body, 0), order.u32(body, 4)) else {
        return Err(CaptureError::Damaged("an interface description cut short"));
    };
    if link_type != ETHERNET {
        return Err(CaptureError::NotEthernet(link_type));
    }
    let resolution = Resolution::Decimal(6);
    let mut interface = CapturedInterface { name: None, snap_length, resolution, offset_seconds: 0 };
    let mut options = &body[8..];
    while let (Some(code), Some(length)) = (order.u16(options, 0), order.u16(options, 2)) {
        let length = usize::from(length);
        let Some(value) = options.get(4..4 + length) else { break };
        match (code, value) {
            (END_OF_OPTIONS, _) => break,
            (IF_NAME, name) => {
                interface.name = Some(String::from_utf8_lossy(name).trim_end_matches('\0').into())
            }
            (IF_TIME_RESOLUTION, &[resolution]) => interface.resolution = Resolution::new(resolution),
            (IF_TIME_OFFSET, value) => interface.offset_seconds = order.i64(value).unwrap_or(0),
            _ => {}
        }
        options = options.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(interface)
}

fn enhanced_packet(
    body: &[u8],
    order: Order,
    interfaces: &[CapturedInterface],
) -> Result<CapturedFrame, CaptureError> {
    let word = |at| order.u32(body, at).ok_or(CaptureError::Damaged("a packet block cut short"));
    let (number, high, low) = (word(0)?, word(4)?, word(8)?);
    let (length, original) = (word(12)?, word(16)?);
    let interface =
        interfaces.get(number as usize).ok_or(CaptureError::Damaged("a packet of no interface"))?;
    let bytes = body.get(20..).and_then(|rest| rest.get(..length as usize));
    let bytes = bytes.ok_or(CaptureError::Damaged("a packet longer than its block"))?.to_vec();
    let units = u64::from(high) << 32 | u64::from(low);
    Ok(CapturedFrame {
        time_ns: interface.nanoseconds(units),
        interface: interface.name.clone(),
        bytes,
        length: original as usize,
    })
}

/// A packet without a time: it gets that of the one before.
fn simple_packet(
    body: &[u8],
    order: Order,
    interfaces: &[CapturedInterface],
    last_ns: u64,
) -> Result<CapturedFrame, CaptureError> {
    let interface = interfaces.first().ok_or(CaptureError::Damaged("a packet of no interface"))?;
    let original = order.u32(body, 0).ok_or(CaptureError::Damaged("a packet block cut short"))?;
    let length = if interface.snap_length == 0 { original } else { original.min(interface.snap_length) };
    let bytes =
        body[4..].get(..length as usize).ok_or(CaptureError::Damaged("a packet longer than its block"))?;
    Ok(CapturedFrame {
        time_ns: last_ns,
        interface: interface.name.clone(),
        bytes: bytes.to_vec(),
        length: original as usize,
    })
}

impl CapturedInterface {
    /// Nanoseconds since 1970, clamped to what fits.
    fn nanoseconds(&self, units: u64) -> u64 {
        let units = u128::from(units) * u128::from(NANOSECONDS);
        let since_offset = match self.resolution {
            Resolution::Decimal(digits) => {
                10u128.checked_pow(digits.into()).map_or(0, |per_second| units / per_second)
            }
            Resolution::Binary(digits) => units.checked_shr(digits.into()).unwrap_or(0),
        };
        let offset = i128::from(self.offset_seconds) * i128::from(NANOSECONDS);
        u64::try_from(since_offset as i128 + offset).unwrap_or(if offset < 0 { 0 } else { u64::MAX })
    }
}

impl Resolution {
    fn new(option: u8) -> Resolution {
        match option & 0x80 {
            0 => Resolution::Decimal(option),
            _ => Resolution::Binary(option & 0x7f),
        }
    }
}

impl Order {
    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(if self == Order::Little { u16::from_le_bytes(*bytes) } else { u16::from_be_bytes(*bytes) })
    }

    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(if self == Order::Little { u32::from_le_bytes(*bytes) } else { u32::from_be_bytes(*bytes) })
    }

    fn i64(self, bytes: &[u8]) -> Option<i64> {
        let bytes = bytes.first_chunk()?;
        Some(if self == Order::Little { i64::from_le_bytes(*bytes) } else { i64::from_be_bytes(*bytes) })
    }
}

const ETHERNET: u16 = 1;
const NANOSECONDS: u64 = 1_000_000_000;

const PCAP_MICROSECONDS: u32 = 0xa1b2_c3d4;
const PCAP_NANOSECONDS: u32 = 0xa1b2_3c4d;
const PCAP_HEADER_BYTES: usize = 24;
const PCAP_RECORD_BYTES: usize = 16;
const SNAP_LENGTH: u32 = 262_144;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const BLOCK_HEADER_BYTES: usize = 12;
const END_OF_OPTIONS: u16 = 0;
const IF_NAME: u16 = 2;
const IF_TIME_RESOLUTION: u16 = 9;
const IF_TIME_OFFSET: u16 = 14;

const READ_BYTES: usize = 64 << 10;
const RECORD_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests;
