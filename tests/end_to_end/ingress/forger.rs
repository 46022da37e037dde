//! A client that sends a segment which begins before its first byte and reaches past it, with a PROXY header of its own in it.

use std::{
    io::{self, Read},
    net::{IpAddr, SocketAddr, TcpStream},
};

use lb_core::{
    tables::Protocol,
    wire::{
        checksum, ipv4,
        l4::{
            self,
            tcp::{self, ACK, PSH, SYN},
        },
        proxy::Header,
    },
};
use lbd::testbed::namespace::Namespace;
use libtest_mimic::Failed;
use socket2::{Domain, Socket, Type};

use super::{connect, parts};
use crate::harness::PATIENCE;

/// Whom the forged header names.
pub const VICTIM: ([u8; 4], u16) = ([10, 66, 66, 66], 6_666);

/// Connects by IPv4, as the kernel does, and then sends the segment by a raw socket.
pub fn forge(client: &Namespace, vip: SocketAddr) -> Result<TcpStream, Failed> {
    let raw = client.within(|| Socket::new(Domain::IPV4, Type::RAW, Some(socket2::Protocol::TCP)))?;
    raw.set_read_timeout(Some(PATIENCE))?;
    let stream = connect(client, vip)?;
    let ends = (stream.local_addr()?, vip);
    let (theirs, ours) = handshake(&raw, ends)?;
    let victim = (IpAddr::from(VICTIM.0), VICTIM.1);
    let forged = Header::proxied(Protocol::Tcp, victim, parts(vip));
    let payload = [b"\0", forged.bytes(), b"hi\n"].concat();
    let segment = segment(ends, (ours.wrapping_sub(1), theirs.wrapping_add(1)), &payload);
    raw.send_to(&segment, &SocketAddr::new(vip.ip(), 0).into())?;
    Ok(stream)
}

/// The number of the target's SYN, and what it acknowledges.
fn handshake(mut raw: &Socket, (client, vip): (SocketAddr, SocketAddr)) -> io::Result<(u32, u32)> {
    let mut packet = [0; 1 << 16];
    loop {
        let length = raw.read(&mut packet)?;
        let Some(header) = packet[..length].get(ipv4::HEADER..ipv4::HEADER + tcp::HEADER) else { continue };
        let is_theirs = header[l4::SOURCE_PORT] == vip.port().to_be_bytes()
            && header[l4::DESTINATION_PORT] == client.port().to_be_bytes();
        if is_theirs && header[tcp::FLAGS] & (SYN | ACK) == SYN | ACK {
            let word =
                |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            return Ok((word(tcp::SEQUENCE.start), word(tcp::ACKNOWLEDGEMENT.start)));
        }
    }
}

fn segment(
    (from, to): (SocketAddr, SocketAddr),
    (sequence, acknowledgement): (u32, u32),
    payload: &[u8],
) -> Vec<u8> {
    let mut segment = vec![0; tcp::HEADER];
    segment[l4::SOURCE_PORT].copy_from_slice(&from.port().to_be_bytes());
    segment[l4::DESTINATION_PORT].copy_from_slice(&to.port().to_be_bytes());
    segment[tcp::SEQUENCE].copy_from_slice(&sequence.to_be_bytes());
    segment[tcp::ACKNOWLEDGEMENT].copy_from_slice(&acknowledgement.to_be_bytes());
    segment[tcp::DATA_OFFSET] = 5 << 4;
    segment[tcp::FLAGS] = PSH | ACK;
    segment[tcp::WINDOW].copy_from_slice(&[0xff; 2]);
    segment.extend(payload);
    let pseudo = checksum::pseudo_header_of(from.ip(), to.ip(), Protocol::Tcp as u8, segment.len());
    let sum = checksum::checksum(&segment, pseudo).to_be_bytes();
    segment[tcp::CHECKSUM..tcp::CHECKSUM + 2].copy_from_slice(&sum);
    segment
}
