//! The frames: UDP, 64 bytes on the wire, and which worker's queue each comes in by.

use std::net::{IpAddr, Ipv4Addr};

use lb_core::{
    hash::FlowHash,
    receive_hash::ReceiveHash,
    tables::{Mac, Protocol},
    wire::checksum::checksum,
};

use crate::support::{self, INSIDE_MAC, OUTSIDE_MAC, VIP};

/// How packets get to the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// All by the receive hash over addresses and ports.
    Hashed,
    /// Clients' packets to the home of their flow, targets' by the receive hash.
    RequestsSteered,
    /// All to the home of their flow.
    Steered,
    /// As steered, to workers of one load balancer each, which know nothing of each other.
    Apart,
}

/// Says which worker a packet comes to.
pub struct Spreader<'h> {
    pub spread: Spread,
    pub workers: u8,
    pub receive_hash: &'h ReceiveHash,
    pub flow_hash: &'h FlowHash,
}

impl Spreader<'_> {
    /// Worker that a client's packet comes to.
    pub fn worker_of_request(&self, request: Seed) -> usize {
        match self.spread {
            Spread::Hashed => self.hashed(request),
            _ => self.home(request.source()),
        }
    }

    /// Worker that a target's packet comes to.
    pub fn worker_of_reply(&self, reply: Seed) -> usize {
        match self.spread {
            Spread::Hashed | Spread::RequestsSteered => self.hashed(reply),
            Spread::Steered | Spread::Apart => self.home(reply.destination()),
        }
    }

    fn hashed(&self, seed: Seed) -> usize {
        self.receive_hash.queue(seed.source(), seed.destination(), Protocol::Udp).into()
    }

    fn home(&self, (client, port): (IpAddr, u16)) -> usize {
        self.flow_hash.home(client, port.to_be_bytes(), self.workers).into()
    }
}

/// What differs between the frames of one direction: from the IP checksum on to the ports, in wire order.
#[derive(Clone, Copy, Debug)]
pub struct Seed([u8; VARYING.end - VARYING.start]);

impl Seed {
    fn new(source: (Ipv4Addr, [u8; 2]), destination: (Ipv4Addr, [u8; 2])) -> Seed {
        let mut frame = frame((Mac::default(), Mac::default()));
        frame[26..30].copy_from_slice(&source.0.octets());
        frame[30..34].copy_from_slice(&destination.0.octets());
        frame[34..36].copy_from_slice(&source.1);
        frame[36..38].copy_from_slice(&destination.1);
        let sum = checksum(&frame[14..34], 0);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        Seed(frame[VARYING].try_into().expect("the length is the range's"))
    }

    /// What client `number` sends.
    pub fn request(number: u32) -> Seed {
        let client = Ipv4Addr::from(FIRST_CLIENT + number / PORTS_PER_CLIENT);
        let port = 10_000 + (number % PORTS_PER_CLIENT * 797) as u16;
        Seed::new((client, port.to_be_bytes()), (VIP, PORT.to_be_bytes()))
    }

    /// What a target answers to a frame.
    pub fn reply_to(frame: &[u8]) -> Seed {
        let at = |at| u16::from_ne_bytes([frame[at], frame[at + 1]]).to_ne_bytes();
        let address = |at: usize| Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]);
        Seed::new((address(30), at(36)), (address(26), at(34)))
    }

    fn source(self) -> (IpAddr, u16) {
        self.end(2, 10)
    }

    fn destination(self) -> (IpAddr, u16) {
        self.end(6, 12)
    }

    fn end(self, address: usize, port: usize) -> (IpAddr, u16) {
        let address: [u8; 4] = std::array::from_fn(|at| self.0[address + at]);
        (address.into(), u16::from_be_bytes([self.0[port], self.0[port + 1]]))
    }
}

/// Frames of one direction, but for what a seed gives.
#[derive(Clone, Copy)]
pub struct Template([u8; LINE_BYTES]);

impl Template {
    /// Clients' frames.
    pub fn requests() -> Template {
        Template(frame((support::CLIENT_MAC, OUTSIDE_MAC)))
    }

    /// Targets' frames.
    pub fn replies() -> Template {
        Template(frame((support::target_mac(1), INSIDE_MAC)))
    }

    /// Writes a frame; returns its length in bytes.
    #[inline]
    pub fn write(&self, seed: Seed, buffer: &mut [u8]) -> usize {
        let Some(frame) = buffer.first_chunk_mut() else { return 0 };
        *frame = self.0;
        frame[VARYING].copy_from_slice(&seed.0);
        FRAME_BYTES
    }
}

/// A frame between two link addresses, from and to, without IP addresses and ports.
fn frame((from, to): (Mac, Mac)) -> [u8; LINE_BYTES] {
    let mut frame = [0; LINE_BYTES];
    frame[..6].copy_from_slice(&to.0);
    frame[6..12].copy_from_slice(&from.0);
    frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, IP_BYTES, 0, 0, 0x40, 0, 64, Protocol::Udp as u8]);
    // A wrong UDP checksum stays wrong; nobody looks.
    frame[38..42].copy_from_slice(&[0, IP_BYTES - 20, 0xbe, 0xef]);
    frame
}

/// Bytes of a frame in memory: 64 on the wire, less the 4 of its checksum.
const FRAME_BYTES: usize = 60;
const IP_BYTES: u8 = (FRAME_BYTES - 14) as u8;
/// A frame lies in one cache line; the generator writes all of it.
const LINE_BYTES: usize = 64;
const VARYING: std::ops::Range<usize> = 24..38;
/// Of the listener.
const PORT: u16 = 53;
const FIRST_CLIENT: u32 = 0x0a00_0000;
const PORTS_PER_CLIENT: u32 = 64;
