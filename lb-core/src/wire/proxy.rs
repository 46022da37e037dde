//! PROXY protocol headers, version 2, as NLB writes them: a header tells a target who its client is, ahead of the client's bytes.
//!
//! ```text
//!   signature (12) | version, command | family, transport | length (2)
//!   addresses and ports of client and VIP | CRC32C (3 + 4) | NOOP (3 + padding)
//! ```
//!
//! Source: the PROXY protocol's specification, sections 2.2 and 2.2.4; sizes as NLB's (User Guide, "Proxy protocol").

use std::net::IpAddr;

use crate::tables::Protocol;

/// A header's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Header {
    /// The header for a connection, or a datagram, of `client` to the listener `vip`. Both are of one family.
    pub fn proxied(protocol: Protocol, client: (IpAddr, u16), vip: (IpAddr, u16)) -> Header {
        let transport = match protocol {
            Protocol::Tcp => STREAM,
            Protocol::Udp => DATAGRAM,
        };
        let mut header = match (client.0, vip.0) {
            (IpAddr::V4(client), IpAddr::V4(vip)) => {
                let mut header = Header::begin(COMMAND_PROXY, INET | transport, IPV4_ADDRESSES);
                header.append(&client.octets());
                header.append(&vip.octets());
                header
            }
            (client, vip) => {
                let mut header = Header::begin(COMMAND_PROXY, INET6 | transport, IPV6_ADDRESSES);
                header.append(&super::octets(client));
                header.append(&super::octets(vip));
                header
            }
        };
        header.append(&client.1.to_be_bytes());
        header.append(&vip.1.to_be_bytes());
        header.end()
    }

    /// The header of a connection that the load balancer makes for itself, as health checks are.
    pub fn local() -> Header {
        Header::begin(COMMAND_LOCAL, UNSPECIFIED, 0).end()
    }

    /// The header, to be sent as it is.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn begin(command: u8, family: u8, addresses: usize) -> Header {
        let mut header = Header { bytes: [0; LONGEST], length: 0 };
        header.append(&SIGNATURE);
        header.append(&[VERSION | command, family]);
        header.append(&((addresses + TLVS) as u16).to_be_bytes());
        header
    }

    fn append(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// Appends what comes after the addresses; the checksum covers all of the header, its own four bytes as zeros.
    fn end(mut self) -> Header {
        let checksum = self.length + TLV;
        self.append(&[TYPE_CRC32C, 0, 4, 0, 0, 0, 0]);
        self.append(&[TYPE_NOOP, 0, (TLVS - 2 * TLV - 4) as u8]);
        self.length = checksum + TLVS - TLV;
        let sum = crc32c::crc32c(self.bytes());
        self.bytes[checksum..checksum + 4].copy_from_slice(&sum.to_be_bytes());
        self
    }
}

/// Bytes of a header for clients of IPv4.
pub const IPV4_LENGTH: usize = PREFIX + IPV4_ADDRESSES + TLVS;
/// Bytes of a header for clients of IPv6.
pub const IPV6_LENGTH: usize = PREFIX + IPV6_ADDRESSES + TLVS;

/// What no other protocol begins with.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes ahead of the addresses.
const PREFIX: usize = 16;
const IPV4_ADDRESSES: usize = 12;
const IPV6_ADDRESSES: usize = 36;
/// Bytes behind the addresses: NLB's headers for IPv4 say 84 bytes after the prefix, whatever is in them.
const TLVS: usize = 72;
/// Type and length of what follows.
const TLV: usize = 3;
const LONGEST: usize = IPV6_LENGTH;

const VERSION: u8 = 0x20;
const COMMAND_LOCAL: u8 = 0;
const COMMAND_PROXY: u8 = 1;
const UNSPECIFIED: u8 = 0;
const INET: u8 = 0x10;
const INET6: u8 = 0x20;
const STREAM: u8 = 1;
const DATAGRAM: u8 = 2;
const TYPE_CRC32C: u8 = 3;
const TYPE_NOOP: u8 = 4;

// Words of a checksum stay words when a header stands in front.
const _: () = assert!(IPV4_LENGTH == 100 && IPV4_LENGTH.is_multiple_of(2) && IPV6_LENGTH.is_multiple_of(2));

#[cfg(test)]
mod tests {
    use super::*;

    /// CRC32C bit by bit (RFC 3720 appendix B.4).
    fn crc32c(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |sum, byte| {
            (0..8)
                .fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg()))
        })
    }

    #[test]
    fn a_connections_header_has_the_bytes_that_nlb_sends() {
        let client = (IpAddr::from([198, 18, 0, 2]), 40_000);
        let vip = (IpAddr::from([198, 18, 100, 1]), 80);
        let header = Header::proxied(Protocol::Tcp, client, vip);
        let bytes = header.bytes();
        assert_eq!(bytes.len(), 100);
        assert_eq!(bytes[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x54");
        assert_eq!(bytes[16..28], [198, 18, 0, 2, 198, 18, 100, 1, 0x9c, 0x40, 0, 80]);
        assert_eq!(bytes[28..31], [3, 0, 4]);
        assert_eq!(bytes[35..38], [4, 0, 62]);
        assert_eq!(bytes[38..], [0; 62]);
        let mut zeroed = bytes.to_vec();
        zeroed[31..35].fill(0);
        assert_eq!(bytes[31..35], crc32c(&zeroed).to_be_bytes());
    }

    #[test]
    fn every_header_says_its_own_length() {
        let v6 = |last: u16| (IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]), last);
        let datagram = Header::proxied(Protocol::Udp, v6(1), v6(2));
        for (header, kind) in [(datagram, [0x21, 0x22]), (Header::local(), [0x20, 0x00])] {
            let bytes = header.bytes();
            assert_eq!(bytes[12..14], kind);
            assert_eq!(usize::from(u16::from_be_bytes([bytes[14], bytes[15]])) + PREFIX, bytes.len());
        }
        assert_eq!(datagram.bytes().len(), IPV6_LENGTH);
    }
}
