//! A client and a target that follow a script. Numbers are told from the client's initial one.

use std::net::SocketAddr;

use lb_core::{
    datapath::Datapath,
    tables::{HeaderPlacement, Protocol},
    verdict::{Reason, Verdict},
    wire::proxy::Header,
};

use super::support::*;

/// Every mode, with PROXY headers.
pub fn proxy_modes(placement: HeaderPlacement) -> [Mode; 6] {
    modes().map(|mode| Mode { scene: Scene { proxy_header: Some(placement), ..mode.scene }, ..mode })
}

pub struct Script {
    pub mode: Mode,
    pub path: Datapath<'static>,
    pub source: SocketAddr,
    pub target: SocketAddr,
    pub header: Vec<u8>,
}

/// So that numbers wrap soon.
pub const INITIAL: u32 = 0xffff_ffd0;
pub const TARGET_INITIAL: u32 = 0x7000_0000;
/// What the target's SYN says: segment size, window scale.
pub const TARGET_OPTIONS: [u8; 8] = [2, 4, 5, 0xb4, 1, 3, 3, 7];

/// A frame that leaves, in short: for which reason, with which number from the client's initial one, flags and payload.
pub type Left = (Reason, i32, u8, Vec<u8>);

impl Script {
    /// Before the client's SYN.
    pub fn new(mode: &Mode) -> Script {
        let end = |address: SocketAddr| (address.ip(), address.port());
        let header = Header::proxied(Protocol::Tcp, end(mode.client), end(mode.web())).bytes().to_vec();
        let (source, target) = (mode.client, mode.web());
        Script { path: mode.path(), mode: mode.clone(), source, target, header }
    }

    /// After the target's SYN.
    pub fn answered(mode: &Mode) -> Script {
        let mut script = Script::new(mode);
        script.begin();
        script.answer(0);
        script
    }

    /// After the client's acknowledgement of that.
    pub fn connected(mode: &Mode) -> Script {
        let mut script = Script::answered(mode);
        script.client_sends(&script.client(ACK, 1, b""), 0);
        script
    }

    /// After the client's first bytes.
    pub fn sent(mode: &Mode) -> Script {
        let mut script = Script::connected(mode);
        script.client_sends(&script.client(ACK | PSH, 1, b"hello"), 0);
        script
    }

    /// Bytes of the header.
    pub fn length(&self) -> i32 {
        self.header.len() as i32
    }

    pub fn client(&self, flags: u8, number: i32, payload: &[u8]) -> Crafted {
        let acknowledgement = if flags & ACK != 0 { TARGET_INITIAL + 1 } else { 0 };
        let sequence = INITIAL.wrapping_add_signed(number);
        let packet = tcp(self.mode.client, self.mode.web(), flags).payload(payload);
        Crafted { sequence, acknowledgement, ..packet }
    }

    pub fn target(&self, flags: u8, acknowledgement: i32) -> Crafted {
        let packet =
            tcp(self.target, self.source, flags).macs(target_mac(number_of(self.target)), INSIDE_MAC);
        let sequence = TARGET_INITIAL + u32::from(flags & SYN == 0);
        Crafted { sequence, acknowledgement: INITIAL.wrapping_add_signed(acknowledgement), ..packet }
    }

    /// The client's SYN; what the target gets.
    pub fn begin(&mut self) -> Seen {
        let syn = self.client(SYN, 0, b"");
        let (verdict, out) = through(&mut self.path, &syn, 0);
        let seen = read(&out.unwrap_or_else(|| panic!("{:?}", verdict.reason)));
        (self.source, self.target) = (seen.source, seen.destination);
        seen
    }

    /// The target's SYN; what the client gets.
    pub fn answer(&mut self, now_ms: u64) -> Seen {
        let packet = self.target(SYN | ACK, 1 - self.length());
        let packet = Crafted { tcp_options: TARGET_OPTIONS.to_vec(), window: 28_960, ..packet };
        self.target_sends(&packet, now_ms)
    }

    /// Puts a client's segment through; what the target gets for it, in order.
    pub fn client_sends(&mut self, packet: &Crafted, now_ms: u64) -> Vec<Left> {
        let (verdict, out) = through(&mut self.path, packet, now_ms);
        let mut left: Vec<Left> = out.map(|out| self.left_for_target((verdict, &out))).into_iter().collect();
        left.extend(self.made(now_ms));
        left
    }

    /// What was made for the target until now.
    pub fn made(&mut self, now_ms: u64) -> Vec<Left> {
        self.path.expire(lb_core::time::Instant::from_millis(now_ms));
        let extras = take_extras(&mut self.path);
        assert_books_balance(self.path.counters());
        extras.iter().map(|(verdict, bytes)| self.left_for_target((*verdict, bytes))).collect()
    }

    fn left_for_target(&self, (verdict, bytes): (Verdict, &[u8])) -> Left {
        assert_whole(bytes);
        let seen = read(bytes);
        assert_eq!((seen.source, seen.destination), (self.source, self.target), "{}", self.mode.name);
        assert_eq!(seen.macs, (INSIDE_MAC, target_mac(number_of(self.target))));
        let number = seen.sequence.wrapping_sub(INITIAL) as i32;
        (verdict.reason, number, seen.flags, seen.payload)
    }

    /// Puts a target's segment through; what the client gets.
    pub fn target_sends(&mut self, packet: &Crafted, now_ms: u64) -> Seen {
        let (verdict, out) = through(&mut self.path, packet, now_ms);
        let bytes = out.unwrap_or_else(|| panic!("{:?}", verdict.reason));
        assert_whole(&bytes);
        let seen = read(&bytes);
        assert_eq!(
            (seen.source, seen.destination),
            (self.mode.web(), self.mode.client),
            "{}",
            self.mode.name
        );
        assert!(take_extras(&mut self.path).is_empty());
        seen
    }

    /// What the client is told of a target's acknowledgement, from its initial number, and of a window of 1,000.
    pub fn told(&mut self, flags: u8, acknowledgement: i32) -> (i32, u16) {
        let seen = self.target_sends(&Crafted { window: 1_000, ..self.target(flags, acknowledgement) }, 0);
        (seen.acknowledgement.wrapping_sub(INITIAL) as i32, seen.window)
    }

    /// Whether the flow's packets have the same numbers at both ends: a keepalive has the client's own only then.
    pub fn is_over(&mut self) -> bool {
        self.client_sends(&self.client(ACK, 0, b""), 0)[0].1 == 0
    }

    /// The header and these bytes.
    pub fn header_and(&self, payload: &[u8]) -> Vec<u8> {
        [&self.header, payload].concat()
    }
}

/// The frame's own length is that of its packet, whatever reads it.
fn assert_whole(bytes: &[u8]) {
    let packet = etherparse::SlicedPacket::from_ethernet(bytes).unwrap();
    let length = match packet.net.unwrap() {
        etherparse::NetSlice::Ipv4(ip) => usize::from(ip.header().total_len()),
        etherparse::NetSlice::Ipv6(ip) => 40 + usize::from(ip.header().payload_length()),
        _ => unreachable!(),
    };
    assert_eq!(bytes.len(), 14 + length);
}
