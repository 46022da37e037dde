//! SYNs that nobody stands behind: from random addresses, at a bounded rate.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use lb_core::wire::checksum::{checksum, sum};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// A flood of SYNs over IPv4 with spoofed sources. They lie in 198.18.128.0/17, where no host of a test network is, so that
/// answers come to the client's host, which ignores them.
#[derive(Clone, Copy, Debug)]
pub struct SynFlood {
    /// Where it goes.
    pub to: SocketAddrV4,
    /// SYNs in all.
    pub count: u32,
    /// SYNs per second, at most.
    pub per_second: u32,
}

impl SynFlood {
    /// Sends all of it from the calling thread's namespace and returns how long that took.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than a full queue, which loses a SYN as a wire would.
    pub fn run(&self) -> io::Result<Duration> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
        let to = SockAddr::from(self.to);
        let begun = Instant::now();
        let step = Duration::from_secs(1) * BATCH / self.per_second;
        let mut due = begun;
        let mut random = SEED;
        for number in 0..self.count {
            if number % BATCH == 0 {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                // What was late stays late: a burst would be more than the rate.
                due = due.max(Instant::now() - step) + step;
            }
            random = next(random);
            match socket.send_to(&self.syn(random), &to) {
                Err(error) if error.raw_os_error() != Some(libc::ENOBUFS) => return Err(error),
                _ => {}
            }
        }
        Ok(begun.elapsed())
    }

    /// An IPv4 header, whose checksum and total length are the kernel's to fill in, and a TCP header (RFC 9293 section 3.1).
    fn syn(&self, random: u64) -> [u8; SYN_BYTES] {
        let [a, b, c, d, e, f, g, h] = random.to_be_bytes();
        let source = Ipv4Addr::new(198, 18, a | 0x80, b);
        let mut packet = [0; SYN_BYTES];
        packet[0] = 0x45;
        packet[8] = 64;
        packet[9] = TCP;
        packet[12..16].copy_from_slice(&source.octets());
        packet[16..20].copy_from_slice(&self.to.ip().octets());
        let tcp = &mut packet[20..];
        tcp[0..2].copy_from_slice(&[c | 0x80, d]);
        tcp[2..4].copy_from_slice(&self.to.port().to_be_bytes());
        tcp[4..8].copy_from_slice(&[e, f, g, h]);
        tcp[12] = 5 << 4;
        tcp[13] = SYN;
        tcp[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
        let pseudo_header = u32::from(TCP) + TCP_BYTES as u32;
        let sum = checksum(&packet[20..], sum(&packet[12..20], pseudo_header));
        packet[36..38].copy_from_slice(&sum.to_be_bytes());
        packet
    }
}

/// xorshift64: the same flood in every run.
fn next(mut random: u64) -> u64 {
    random ^= random << 13;
    random ^= random >> 7;
    random ^ (random << 17)
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
/// SYNs between two looks at the clock.
const BATCH: u32 = 16;
const TCP: u8 = 6;
const SYN: u8 = 0x02;
const TCP_BYTES: usize = 20;
const SYN_BYTES: usize = 20 + TCP_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syns_have_right_checksums_and_sources_of_their_own() {
        let flood =
            SynFlood { to: SocketAddrV4::new(super::super::addresses::VIP, 80), count: 1, per_second: 1 };
        let mut random = SEED;
        for _ in 0..1_000 {
            random = next(random);
            let packet = flood.syn(random);
            assert_eq!(checksum(&packet[20..], sum(&packet[12..20], u32::from(TCP) + TCP_BYTES as u32)), 0);
            assert_eq!((packet[12], packet[13], packet[14] >> 7), (198, 18, 1));
        }
    }
}
