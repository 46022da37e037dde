//! Datagrams in pieces with numbers of the test's choice, from any address: raw sockets send what no program's kernel would.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use lb_core::wire::{checksum, octets};
use socket2::{Domain, Protocol, Socket, Type};

/// A UDP datagram that is sent in two pieces.
#[derive(Clone, Debug)]
pub struct Datagram {
    pub from: SocketAddr,
    /// Of the same family.
    pub to: SocketAddr,
    /// What both pieces have in common (not 0); IPv4 has its low half.
    pub number: u32,
    /// Enough for pieces of 8 bytes and more.
    pub payload: Vec<u8>,
}

/// Sends datagrams from the calling thread's namespace: the first pieces of all, then the second ones.
pub fn send_mixed(datagrams: &[Datagram]) -> io::Result<()> {
    for half in [Half::First, Half::Second] {
        for datagram in datagrams {
            let to = SocketAddr::new(datagram.to.ip(), 0);
            let socket =
                Socket::new(Domain::for_address(to), Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
            socket.send_to(&datagram.piece(half), &to.into())?;
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    First,
    Second,
}

impl Datagram {
    /// An IP packet with a part of the datagram.
    fn piece(&self, half: Half) -> Vec<u8> {
        let segment = self.segment();
        let middle = segment.len() / 16 * 8;
        let (offset, part) = match half {
            Half::First => (0, &segment[..middle]),
            Half::Second => (middle as u16, &segment[middle..]),
        };
        let more = u16::from(half == Half::First);
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut packet = vec![0x45, 0, 0, 0];
                packet.extend((self.number as u16).to_be_bytes());
                packet.extend(((offset / 8) | (more << 13)).to_be_bytes());
                packet.extend([HOPS, UDP, 0, 0]); // The checksum and the length are the kernel's to fill in (raw(7)).
                packet.extend([from.octets(), to.octets()].concat());
                [&packet, part].concat()
            }
            (from, to) => {
                let mut packet = vec![0x60, 0, 0, 0];
                packet.extend((FRAGMENT_HEADER_BYTES + part.len() as u16).to_be_bytes());
                packet.extend([FRAGMENT, HOPS]);
                packet.extend([octets(from), octets(to)].concat());
                packet.extend([UDP, 0]);
                packet.extend((offset | more).to_be_bytes());
                packet.extend(self.number.to_be_bytes());
                [&packet, part].concat()
            }
        }
    }

    /// UDP header and payload.
    fn segment(&self) -> Vec<u8> {
        let length = UDP_HEADER_BYTES + self.payload.len();
        let mut segment = [self.from.port().to_be_bytes(), self.to.port().to_be_bytes()].concat();
        segment.extend((length as u16).to_be_bytes());
        segment.extend([0, 0]);
        segment.extend(&self.payload);
        let pseudo = checksum::pseudo_header_of(self.from.ip(), self.to.ip(), UDP, length);
        let sum = checksum::checksum(&segment, pseudo);
        segment[6..8].copy_from_slice(&if sum == 0 { u16::MAX } else { sum }.to_be_bytes());
        segment
    }
}

const HOPS: u8 = 64;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
const UDP_HEADER_BYTES: usize = 8;
const FRAGMENT_HEADER_BYTES: u16 = 8;
