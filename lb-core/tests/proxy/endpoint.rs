//! A small TCP endpoint, as far as PROXY headers depend on it: sequence numbers that wrap, retransmission, windows, delayed and
//! selective acknowledgements, timestamps. It panics where its peer breaks the rules.

use std::{collections::BTreeMap, net::SocketAddr};

use lb_core::tables::Mac;

use super::support::*;

/// What an endpoint is like.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub initial: u32,
    /// Most bytes of options and data in a segment.
    pub segment_size: usize,
    /// Bytes that it takes in before its application reads, each so many milliseconds.
    pub buffer: usize,
    pub reads_every_ms: u64,
    pub has_sack: bool,
    pub has_timestamps: bool,
    pub acknowledges_late: bool,
    /// Bytes of its peer that its application waits for before it sends.
    pub waits_for: usize,
}

/// One end of a connection. Offsets count from the first byte of a stream.
pub struct Endpoint {
    manner: Manner,
    macs: (Mac, Mac),
    pub addresses: (SocketAddr, SocketAddr),
    stream: Vec<u8>,
    is_server: bool,
    /// The first byte that the peer has not acknowledged, the next to send, and the end of all that was ever sent; the end of the
    /// stream counts as a byte. `None`: our SYN is not acknowledged.
    acknowledged: Option<u64>,
    next: u64,
    most: u64,
    /// Where the peer's window ends.
    edge: u64,
    repeats: u32,
    retransmit_at_ms: Option<u64>,
    backoff_ms: u64,
    peer_initial: Option<u32>,
    peer_segment_size: usize,
    /// What came in order, and what came early.
    pub received: Vec<u8>,
    early: BTreeMap<u64, Vec<u8>>,
    unread: usize,
    peer_end: Option<u64>,
    has_peer_end: bool,
    window_edge: u64,
    acknowledge_at_ms: Option<u64>,
    recent_timestamp: u32,
    /// Segments to be sent.
    pub out: Vec<Crafted>,
}

const SCALE: u8 = 7;
const FIRST_TIMEOUT_MS: u64 = 200;
const LONGEST_TIMEOUT_MS: u64 = 3_000;
const LATE_MS: u64 = 40;
const IN_FLIGHT: u64 = 128 << 10;

impl Endpoint {
    pub fn client(manner: Manner, (client, vip): (SocketAddr, SocketAddr), stream: Vec<u8>) -> Endpoint {
        let mut endpoint = Endpoint::new(manner, stream);
        (endpoint.addresses, endpoint.macs) = ((client, vip), (CLIENT_MAC, OUTSIDE_MAC));
        endpoint.retransmit_at_ms = Some(0);
        endpoint
    }

    /// Its addresses are those of the first SYN.
    pub fn server(manner: Manner, stream: Vec<u8>) -> Endpoint {
        Endpoint { is_server: true, ..Endpoint::new(manner, stream) }
    }

    fn new(manner: Manner, stream: Vec<u8>) -> Endpoint {
        let nobody = SocketAddr::from(([0; 4], 0));
        Endpoint {
            manner,
            macs: (INSIDE_MAC, INSIDE_MAC),
            addresses: (nobody, nobody),
            stream,
            is_server: false,
            acknowledged: None,
            next: 0,
            most: 0,
            edge: 0,
            repeats: 0,
            retransmit_at_ms: None,
            backoff_ms: FIRST_TIMEOUT_MS,
            peer_initial: None,
            peer_segment_size: 536,
            received: Vec::new(),
            early: BTreeMap::new(),
            unread: 0,
            peer_end: None,
            has_peer_end: false,
            window_edge: 0,
            acknowledge_at_ms: None,
            recent_timestamp: 0,
            out: Vec::new(),
        }
    }

    /// Whether both streams have ended, and all is acknowledged.
    pub fn is_done(&self) -> bool {
        self.has_peer_end && self.acknowledged == Some(self.end())
    }

    fn end(&self) -> u64 {
        self.stream.len() as u64 + 1
    }

    fn expected(&self) -> u64 {
        self.received.len() as u64 + u64::from(self.has_peer_end)
    }

    pub fn take_in(&mut self, seen: &Seen, now_ms: u64) {
        assert_eq!(seen.flags & RST, 0, "nobody resets");
        assert!(seen.tcp_options.len() + seen.payload.len() <= self.manner.segment_size);
        if seen.flags & SYN != 0 {
            return self.take_syn(seen, now_ms);
        }
        let Some(peer_initial) = self.peer_initial else { return };
        let expected = self.expected();
        let number = peer_initial.wrapping_add(1).wrapping_add(expected as u32);
        let ahead = i64::from(seen.sequence.wrapping_sub(number) as i32);
        if self.manner.has_timestamps {
            let stamp = timestamp(&seen.tcp_options).expect("RFC 7323 section 3.2: in every segment");
            if (stamp.wrapping_sub(self.recent_timestamp) as i32) < 0 {
                return self.acknowledge_at_ms = Some(now_ms); // RFC 7323 section 5.3
            }
            if ahead <= 0 {
                self.recent_timestamp = stamp;
            }
        }
        self.take_acknowledgement(seen, now_ms);
        let length = seen.payload.len() + usize::from(seen.flags & FIN != 0);
        let start = expected as i64 + ahead;
        if length == 0 {
            if ahead < 0 {
                self.acknowledge_at_ms = Some(now_ms); // A probe.
            }
            return;
        }
        self.take_data(seen, start);
        let is_in_order = ahead == 0 && self.early.is_empty() && self.manner.acknowledges_late;
        let at_ms = if is_in_order && self.acknowledge_at_ms.is_none() { now_ms + LATE_MS } else { now_ms };
        self.acknowledge_at_ms = Some(at_ms);
    }

    fn take_syn(&mut self, seen: &Seen, now_ms: u64) {
        if self.peer_initial.is_none() {
            assert!(seen.payload.is_empty());
            self.peer_initial = Some(seen.sequence);
            self.recent_timestamp = timestamp(&seen.tcp_options).unwrap_or(0);
            self.peer_segment_size =
                usize::from(u16::from_be_bytes([seen.tcp_options[2], seen.tcp_options[3]]));
            if self.is_server {
                self.addresses = (seen.destination, seen.source);
                self.macs = (seen.macs.1, seen.macs.0);
                self.retransmit_at_ms = Some(now_ms);
                self.edge = u64::from(seen.window);
            }
        }
        if seen.flags & ACK != 0 {
            self.take_acknowledgement(seen, now_ms);
            self.acknowledge_at_ms = Some(now_ms);
        } else if self.acknowledged.is_none() {
            self.retransmit_at_ms = Some(now_ms);
        }
    }

    fn take_acknowledgement(&mut self, seen: &Seen, now_ms: u64) {
        let before = self.acknowledged.unwrap_or(0);
        let first = self.manner.initial.wrapping_add(1);
        let ahead = i64::from(seen.acknowledgement.wrapping_sub(first.wrapping_add(before as u32)) as i32);
        let offset = before as i64 + ahead;
        assert!(
            offset <= self.most as i64,
            "what was not sent is not acknowledged: {offset} of {}",
            self.most
        );
        if let Some((left, right)) = selective(&seen.tcp_options) {
            let length = right.wrapping_sub(left) as i32;
            let left = i64::from(left.wrapping_sub(seen.acknowledgement) as i32);
            assert!(
                length >= 0
                    && offset + left + i64::from(length) <= self.most as i64
                    && (length == 0 || left > 0)
            );
        }
        if ahead < 0 {
            return;
        }
        let scale = if seen.flags & SYN != 0 { 0 } else { SCALE };
        let edge = offset as u64 + (u64::from(seen.window) << scale);
        let is_repeat =
            self.acknowledged == Some(offset as u64) && seen.payload.is_empty() && edge == self.edge;
        self.edge = edge;
        if self.acknowledged != Some(offset as u64) {
            self.acknowledged = Some(offset as u64);
            self.next = self.next.max(offset as u64);
            (self.repeats, self.backoff_ms) = (0, FIRST_TIMEOUT_MS);
            self.retransmit_at_ms = (self.most > offset as u64).then_some(now_ms + FIRST_TIMEOUT_MS);
        } else if is_repeat && self.most > offset as u64 {
            self.repeats += 1;
            if self.repeats == 3 {
                self.send_first(now_ms);
            }
        }
    }

    fn take_data(&mut self, seen: &Seen, start: i64) {
        if seen.flags & FIN != 0 {
            self.peer_end = Some((start + seen.payload.len() as i64) as u64);
        }
        let expected = self.received.len() as i64;
        let skipped = (expected - start).clamp(0, seen.payload.len() as i64) as usize;
        let room = (self.window_edge as i64 - start).clamp(0, seen.payload.len() as i64) as usize;
        let fresh = seen.payload.get(skipped..room).unwrap_or_default();
        if !fresh.is_empty() {
            let at = (start + skipped as i64) as u64;
            let longer = self.early.get(&at).is_none_or(|known| known.len() < fresh.len());
            if longer {
                self.early.insert(at, fresh.to_vec());
            }
        }
        while let Some(entry) =
            self.early.first_entry().filter(|entry| *entry.key() <= self.received.len() as u64)
        {
            let known = self.received.len() - *entry.key() as usize;
            let piece = entry.remove();
            if let Some(fresh) = piece.get(known..) {
                self.received.extend(fresh);
                self.unread += fresh.len();
            }
        }
        self.has_peer_end |= self.peer_end == Some(self.received.len() as u64);
    }

    /// What time brings.
    pub fn tick(&mut self, now_ms: u64) {
        if now_ms.is_multiple_of(self.manner.reads_every_ms) && self.unread > 0 {
            let was_closed =
                self.manner.buffer - self.unread.min(self.manner.buffer) < self.manner.segment_size;
            self.unread = 0;
            if was_closed {
                self.acknowledge_at_ms = Some(now_ms);
            }
        }
        if self.retransmit_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            self.backoff_ms = (self.backoff_ms * 2).min(LONGEST_TIMEOUT_MS);
            self.send_first(now_ms);
        }
        self.send_more(now_ms);
        if self.acknowledge_at_ms.is_some_and(|at_ms| at_ms <= now_ms) && self.acknowledged.is_some() {
            self.send(self.next, 0, now_ms);
        }
    }

    /// Sends what the peer has not acknowledged first; a probe where its window is closed.
    fn send_first(&mut self, now_ms: u64) {
        self.retransmit_at_ms = Some(now_ms + self.backoff_ms);
        let Some(first) = self.acknowledged else { return self.send_syn(now_ms) };
        if first < self.most {
            let length = self.room(first).min((self.most - first) as usize).max(1);
            return self.send(first, length, now_ms);
        }
        // RFC 9293 section 3.8.6.1, as Linux does it: by the number before the next.
        let segment = self.segment(ACK, first, 0, now_ms);
        self.out.push(Crafted { sequence: segment.sequence.wrapping_sub(1), ..segment });
    }

    fn send_more(&mut self, now_ms: u64) {
        let Some(first) = self.acknowledged else { return };
        let is_waiting = self.received.len() < self.manner.waits_for;
        if self.peer_initial.is_none() || is_waiting || first == self.end() {
            return;
        }
        loop {
            let left = self.end().saturating_sub(self.next) as usize;
            let window = self.edge.min(first + IN_FLIGHT).saturating_sub(self.next) as usize;
            let length = left.min(window).min(self.room(self.next));
            if length == 0 {
                break;
            }
            self.send(self.next, length, now_ms);
        }
        if self.retransmit_at_ms.is_none() {
            self.retransmit_at_ms = Some(now_ms + self.backoff_ms);
        }
    }

    /// Bytes that fit a segment, the end of the stream with them.
    fn room(&self, from: u64) -> usize {
        let most = self.manner.segment_size.min(self.peer_segment_size) - self.options().len();
        let left = self.stream.len() - (from as usize).min(self.stream.len());
        if left <= most { left + 1 } else { most }
    }

    /// Sends so many bytes, the end of the stream among them.
    fn send(&mut self, from: u64, length: usize, now_ms: u64) {
        let to = from + length as u64;
        let flags = if to == self.end() && length > 0 { FIN | ACK } else { ACK };
        let segment = self.segment(flags, from, length, now_ms);
        self.out.push(segment);
        (self.next, self.most) = (self.next.max(to), self.most.max(to));
        self.acknowledge_at_ms = None;
    }

    fn send_syn(&mut self, now_ms: u64) {
        let [high, low] = (self.manner.segment_size as u16).to_be_bytes();
        let mut options = vec![2, 4, high, low, 1, 3, 3, SCALE];
        options.extend(self.stamp(now_ms));
        let flags = if self.is_server { SYN | ACK } else { SYN };
        let segment = self.segment(flags, 0, 0, now_ms);
        let window = self.manner.buffer.min(0xffff) as u16;
        self.window_edge = u64::from(window);
        self.out.push(Crafted {
            sequence: self.manner.initial,
            tcp_options: options,
            window,
            acknowledgement: if self.is_server { segment.acknowledgement } else { 0 },
            ..segment
        });
    }

    fn segment(&mut self, flags: u8, from: u64, length: usize, now_ms: u64) -> Crafted {
        let from_byte = (from as usize).min(self.stream.len());
        let to_byte = (from as usize + length).min(self.stream.len());
        let window = (self.manner.buffer - self.unread.min(self.manner.buffer)) >> SCALE;
        self.window_edge = self.window_edge.max(self.received.len() as u64 + ((window as u64) << SCALE));
        let mut tcp_options = self.stamp(now_ms);
        tcp_options.extend(self.selective());
        let (source, destination) = self.addresses;
        let peer_first = self.peer_initial.map_or(0, |initial| initial.wrapping_add(1));
        Crafted {
            sequence: self.manner.initial.wrapping_add(1).wrapping_add(from as u32),
            acknowledgement: peer_first.wrapping_add(self.expected() as u32),
            window: window.min(0xffff) as u16,
            tcp_options,
            payload: self.stream[from_byte..to_byte].to_vec(),
            ..tcp(source, destination, flags).macs(self.macs.0, self.macs.1)
        }
    }

    /// The longest options of a segment.
    fn options(&self) -> Vec<u8> {
        let stamp = if self.manner.has_timestamps { 12 } else { 0 };
        vec![0; stamp + if self.manner.has_sack { 12 } else { 0 }]
    }

    fn stamp(&self, now_ms: u64) -> Vec<u8> {
        match self.manner.has_timestamps {
            true => {
                [&[1, 1, 8, 10][..], &(now_ms as u32).to_be_bytes(), &self.recent_timestamp.to_be_bytes()]
                    .concat()
            }
            false => Vec::new(),
        }
    }

    fn selective(&self) -> Vec<u8> {
        let Some((start, piece)) = self.early.first_key_value().filter(|_| self.manner.has_sack) else {
            return Vec::new();
        };
        let first = self.peer_initial.unwrap_or(0).wrapping_add(1);
        let edge = |offset: u64| first.wrapping_add(offset as u32).to_be_bytes();
        [&[1, 1, 5, 10][..], &edge(*start), &edge(*start + piece.len() as u64)].concat()
    }
}

fn timestamp(options: &[u8]) -> Option<u32> {
    let at = options.windows(4).position(|bytes| bytes == [1, 1, 8, 10])? + 4;
    Some(u32::from_be_bytes(options[at..at + 4].try_into().unwrap()))
}

fn selective(options: &[u8]) -> Option<(u32, u32)> {
    let at = options.windows(4).position(|bytes| bytes == [1, 1, 5, 10])? + 4;
    let edge = |at: usize| u32::from_be_bytes(options[at..at + 4].try_into().unwrap());
    Some((edge(at), edge(at + 4)))
}
