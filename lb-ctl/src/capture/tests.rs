//! Captures of every format, whole and damaged.

use std::{io::Cursor, sync::mpsc, time::Duration};

use pcap_file::{
    DataLink, Endianness, TsResolution,
    pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter},
};

use super::*;

const FRAME: [u8; 17] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 6, 1, 2, 3];

fn pcap(endianness: Endianness, ts_resolution: TsResolution, datalink: DataLink) -> Vec<u8> {
    let header = PcapHeader { endianness, ts_resolution, datalink, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
    for nanoseconds in [5_000, 6_000] {
        writer.write_packet(&PcapPacket::new(Duration::new(7, nanoseconds), 17, &FRAME)).unwrap();
    }
    writer.into_writer()
}

/// Blocks in one byte order.
struct Blocks {
    order: Order,
    bytes: Vec<u8>,
}

impl Blocks {
    fn new(order: Order) -> Blocks {
        let mut blocks = Blocks { order, bytes: Vec::new() };
        let mut body = blocks.words(&[BYTE_ORDER]);
        body.extend(blocks.half(1));
        body.extend([0; 2]);
        body.extend([0xff; 8]);
        blocks.push(SECTION_HEADER, &body);
        blocks
    }

    fn word(&self, word: u32) -> [u8; 4] {
        if self.order == Order::Little { word.to_le_bytes() } else { word.to_be_bytes() }
    }

    fn words(&self, words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| self.word(*word)).collect()
    }

    fn half(&self, half: u16) -> [u8; 2] {
        if self.order == Order::Little { half.to_le_bytes() } else { half.to_be_bytes() }
    }

    fn push(&mut self, block_type: u32, body: &[u8]) {
        let length = self.word((body.len().next_multiple_of(4) + 12) as u32);
        self.bytes.extend(self.word(block_type));
        self.bytes.extend(length);
        self.bytes.extend(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.bytes.extend(length);
    }

    fn interface(mut self, link_type: u16, options: &[(u16, &[u8])]) -> Blocks {
        let mut body = [self.half(link_type), [0; 2]].concat();
        body.extend(self.word(0));
        for (code, value) in options {
            body.extend(self.half(*code));
            body.extend(self.half(value.len() as u16));
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        self.push(INTERFACE_DESCRIPTION, &body);
        self
    }

    fn packet(mut self, interface: u32, units: u64) -> Blocks {
        let mut body = self.words(&[interface, (units >> 32) as u32, units as u32, 17, 900]);
        body.extend(FRAME);
        self.push(ENHANCED_PACKET, &body);
        self
    }
}

fn read(bytes: &[u8]) -> Result<Vec<CapturedFrame>, CaptureError> {
    let mut capture = Capture::open(Cursor::new(bytes))?;
    let mut frames = Vec::new();
    while let Some(frame) = capture.next_frame()? {
        frames.push(frame);
    }
    Ok(frames)
}

#[test]
fn pcap_in_both_orders_and_resolutions() {
    for endianness in [Endianness::Little, Endianness::Big] {
        for resolution in [TsResolution::MicroSecond, TsResolution::NanoSecond] {
            let frames = read(&pcap(endianness, resolution, DataLink::ETHERNET)).unwrap();
            let times: Vec<u64> = frames.iter().map(|frame| frame.time_ns).collect();
            assert_eq!(times, [7_000_005_000, 7_000_006_000]);
            assert!(frames.iter().all(|frame| frame.bytes == FRAME && frame.interface.is_none()));
            assert!(frames.iter().all(|frame| !frame.is_cut()));
        }
    }
}

#[test]
fn pcapng_in_both_orders_with_names_and_resolutions() {
    for order in [Order::Little, Order::Big] {
        let offset = if order == Order::Little { 100i64.to_le_bytes() } else { 100i64.to_be_bytes() };
        let blocks = Blocks::new(order)
            .interface(1, &[(IF_NAME, b"eth0")])
            .interface(1, &[(IF_NAME, b"wan-1"), (IF_TIME_RESOLUTION, &[9]), (END_OF_OPTIONS, b"")])
            .interface(1, &[(IF_TIME_RESOLUTION, &[0x80 | 10]), (IF_TIME_OFFSET, &offset)])
            .packet(0, 7_000_005)
            .packet(1, 7_000_005_001)
            .packet(2, 1_024 + 512);
        let frames = read(&blocks.bytes).unwrap();
        assert!(frames.iter().all(|frame| frame.is_cut() && frame.length == 900));
        let rows: Vec<(u64, Option<String>)> =
            frames.into_iter().map(|frame| (frame.time_ns, frame.interface)).collect();
        let expected = [
            (7_000_005_000, Some("eth0".into())),
            (7_000_005_001, Some("wan-1".into())),
            (101_500_000_000, None),
        ];
        assert_eq!(rows, expected);
    }
}

#[test]
fn a_new_section_has_its_own_order_and_interfaces() {
    let mut bytes = Blocks::new(Order::Little).interface(1, &[(IF_NAME, b"a")]).packet(0, 1).bytes;
    bytes.extend(Blocks::new(Order::Big).interface(1, &[(IF_NAME, b"b")]).packet(0, 2).bytes);
    let names: Vec<String> = read(&bytes).unwrap().into_iter().filter_map(|frame| frame.interface).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn simple_packets_have_the_time_of_the_one_before() {
    let mut blocks = Blocks::new(Order::Little).interface(1, &[(IF_NAME, b"eth0")]).packet(0, 5);
    let body = [blocks.words(&[17]), FRAME.to_vec()].concat();
    blocks.push(SIMPLE_PACKET, &body);
    blocks.push(0x0bad, &[1, 2, 3]); // Unknown blocks are passed over.
    let frames = read(&blocks.bytes).unwrap();
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[0], frames[1]);
}

#[test]
fn what_is_wrong_is_said() {
    let ethernet = pcap(Endianness::Little, TsResolution::MicroSecond, DataLink::ETHERNET);
    let raw = pcap(Endianness::Little, TsResolution::MicroSecond, DataLink::RAW);
    let raw_ng = Blocks::new(Order::Big).interface(101, &[]).bytes;
    let stray = Blocks::new(Order::Big).packet(0, 1).bytes;
    let mut short = Blocks::new(Order::Little).bytes;
    short.extend([1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
    let rows: [(&[u8], &str); 8] = [
        (b"", "is neither a pcap nor a pcapng capture"),
        (b"GIF89a", "is neither a pcap nor a pcapng capture"),
        (&ethernet[..20], "ends in the middle of a record"),
        (&ethernet[..ethernet.len() - 1], "ends in the middle of a record"),
        (&raw, "has frames of link type 101, not Ethernet (1): capture on one interface, not on \"any\""),
        (&raw_ng, "has frames of link type 101, not Ethernet (1): capture on one interface, not on \"any\""),
        (&stray, "is damaged: a packet of no interface"),
        (&short, "is damaged: a block of impossible length"),
    ];
    for (bytes, expected) in rows {
        assert_eq!(read(bytes).unwrap_err().to_string(), expected);
    }
}

#[test]
fn no_prefix_and_no_flipped_byte_panics() {
    let whole = [
        pcap(Endianness::Big, TsResolution::NanoSecond, DataLink::ETHERNET),
        Blocks::new(Order::Little)
            .interface(1, &[(IF_NAME, b"eth0"), (IF_TIME_OFFSET, &[0x7f; 8])])
            .packet(0, 9)
            .bytes,
    ];
    for bytes in whole {
        for length in 0..bytes.len() {
            let _ = read(&bytes[..length]);
            let mut flipped = bytes.clone();
            flipped[length] ^= 0xff;
            let _ = read(&flipped);
        }
    }
}

/// A source that gives one byte at a time, and says how many it gave.
struct Drip {
    bytes: Vec<u8>,
    given: mpsc::Sender<usize>,
    at: usize,
}

impl Read for Drip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(&byte) = self.bytes.get(self.at) else { return Ok(0) };
        buffer[0] = byte;
        self.at += 1;
        self.given.send(self.at).unwrap();
        Ok(1)
    }
}

#[test]
fn nothing_is_read_past_a_whole_frame() {
    let pcap = pcap(Endianness::Little, TsResolution::NanoSecond, DataLink::ETHERNET);
    let ng = Blocks::new(Order::Little).interface(1, &[]).packet(0, 1).packet(0, 2).bytes;
    for (bytes, second_frame) in [(pcap, 16 + 17), (ng, 52)] {
        let end_of_first = bytes.len() - second_frame;
        let (given, read) = mpsc::channel();
        let mut capture = Capture::open(Drip { bytes, given, at: 0 }).unwrap();
        capture.next_frame().unwrap().unwrap();
        assert_eq!(read.try_iter().last(), Some(end_of_first));
        capture.next_frame().unwrap().unwrap();
        assert!(capture.next_frame().unwrap().is_none());
    }
}

#[test]
fn what_is_written_reads_back() {
    let mut writer = CaptureWriter::create(Vec::new()).unwrap();
    writer.write(7_000_005_001, &FRAME).unwrap();
    let bytes = writer.sink;
    let mut reader = PcapReader::new(&bytes[..]).unwrap();
    assert_eq!(reader.header().datalink, DataLink::ETHERNET);
    let packet = reader.next_packet().unwrap().unwrap();
    assert_eq!((packet.timestamp, &packet.data[..]), (Duration::new(7, 5_001), &FRAME[..]));
    assert_eq!(read(&bytes).unwrap()[0].time_ns, 7_000_005_001);
}
