//! Receive-side scaling as network devices do it: which queue a packet of given addresses and ports comes in by
//! (Microsoft, "RSS Hashing Functions": the Toeplitz hash). With it, a source port can be chosen so that replies come back
//! to the worker that chose it.

use std::net::IpAddr;

use crate::{tables::Protocol, wire::octets};

/// How an interface spreads packets over its queues.
#[derive(Clone, PartialEq, Eq)]
pub struct ReceiveHash {
    /// For each place and value of an input byte, what it adds to the hash.
    contributions: Box<[[u32; 256]; INPUT_BYTES]>,
    /// Queue by the low bits of the hash.
    indirection: Box<[u16]>,
    fields: HashedFields,
}

/// Whether ports count, by protocol and family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashedFields {
    /// TCP over IPv4: addresses and ports; otherwise addresses alone.
    pub tcp4_ports: bool,
    /// UDP over IPv4.
    pub udp4_ports: bool,
    /// TCP over IPv6.
    pub tcp6_ports: bool,
    /// UDP over IPv6.
    pub udp6_ports: bool,
}

impl ReceiveHash {
    /// From what the device says. `None` when the key is shorter than an IPv6 packet's input and the 4 bytes behind it, the
    /// indirection table is empty, or its size is no power of two.
    pub fn new(key: &[u8], indirection: &[u16], fields: HashedFields) -> Option<ReceiveHash> {
        if key.len() < INPUT_BYTES + 4 || !indirection.len().is_power_of_two() {
            return None;
        }
        let mut contributions: Box<[[u32; 256]; INPUT_BYTES]> =
            vec![[0; 256]; INPUT_BYTES].into_boxed_slice().try_into().ok()?;
        for (at, row) in contributions.iter_mut().enumerate() {
            let window = key[at..].iter().take(5).fold(0u64, |window, &byte| window << 8 | u64::from(byte));
            let window = window << (8 * (5 - key[at..].len().min(5)));
            for (value, sum) in row.iter_mut().enumerate() {
                for bit in (0..8).filter(|bit| value & (0x80 >> bit) != 0) {
                    *sum ^= (window >> (8 - bit)) as u32;
                }
            }
        }
        Some(ReceiveHash { contributions, indirection: indirection.into(), fields })
    }

    /// The queue that a packet comes in by.
    pub fn queue(&self, source: (IpAddr, u16), destination: (IpAddr, u16), protocol: Protocol) -> u16 {
        let hash = self.hash(source, destination, protocol);
        self.indirection[hash as usize & (self.indirection.len() - 1)]
    }

    /// Whether packets of a protocol and family are spread by their ports, too.
    pub fn has_ports(&self, protocol: Protocol, is_ipv6: bool) -> bool {
        match (protocol, is_ipv6) {
            (Protocol::Tcp, false) => self.fields.tcp4_ports,
            (Protocol::Udp, false) => self.fields.udp4_ports,
            (Protocol::Tcp, true) => self.fields.tcp6_ports,
            (Protocol::Udp, true) => self.fields.udp6_ports,
        }
    }

    fn hash(&self, source: (IpAddr, u16), destination: (IpAddr, u16), protocol: Protocol) -> u32 {
        let mut input = [0; INPUT_BYTES];
        let addresses = match (source.0, destination.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                input[..4].copy_from_slice(&from.octets());
                input[4..8].copy_from_slice(&to.octets());
                8
            }
            (from, to) => {
                for (half, address) in [from, to].into_iter().enumerate() {
                    input[half * 16..half * 16 + 16].copy_from_slice(&octets(address));
                }
                32
            }
        };
        input[addresses..addresses + 2].copy_from_slice(&source.1.to_be_bytes());
        input[addresses + 2..addresses + 4].copy_from_slice(&destination.1.to_be_bytes());
        let length = if self.has_ports(protocol, addresses == 32) { addresses + 4 } else { addresses };
        input[..length]
            .iter()
            .zip(self.contributions.iter())
            .fold(0, |hash, (&byte, row)| hash ^ row[usize::from(byte)])
    }
}

impl std::fmt::Debug for ReceiveHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveHash")
            .field("indirection", &self.indirection)
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}

/// Two IPv6 addresses and two ports.
const INPUT_BYTES: usize = 36;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
        0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
        0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    fn hash(source: &str, destination: &str, ports: bool) -> u32 {
        let fields =
            HashedFields { tcp4_ports: ports, udp4_ports: ports, tcp6_ports: ports, udp6_ports: ports };
        let receive_hash = ReceiveHash::new(&KEY, &[0], fields).unwrap();
        let pair = |text: &str| {
            let address: std::net::SocketAddr = text.parse().unwrap();
            (address.ip(), address.port())
        };
        receive_hash.hash(pair(source), pair(destination), Protocol::Tcp)
    }

    /// "Verifying the RSS Hash Calculation", Microsoft: destination, source, without and with TCP ports.
    #[test]
    fn the_published_vectors_hold() {
        for (destination, source, addresses, ports) in [
            ("161.142.100.80:1766", "66.9.149.187:2794", 0x323e_8fc2, 0x51cc_c178),
            ("65.69.140.83:4739", "199.92.111.2:14230", 0xd718_262a, 0xc626_b0ea),
            ("12.22.207.184:38024", "24.19.198.95:12898", 0xd2d0_a5de, 0x5c2b_394a),
            ("209.142.163.6:2217", "38.27.205.30:48228", 0x8298_9176, 0xafc7_327f),
            ("202.188.127.2:1303", "153.39.163.191:44251", 0x5d18_09c5, 0x10e8_28a2),
            ("[3ffe:2501:200:3::1]:1766", "[3ffe:2501:200:1fff::7]:2794", 0x2cc1_8cd5, 0x4020_7d3d),
            ("[ff02::1]:4739", "[3ffe:501:8::260:97ff:fe40:efab]:14230", 0x0f0c_461c, 0xdde5_1bbf),
            (
                "[fe80::200:f8ff:fe21:67cf]:38024",
                "[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251",
                0x4b61_e985,
                0x02d1_feef,
            ),
        ] {
            assert_eq!(hash(source, destination, false), addresses, "{source} {destination}");
            assert_eq!(hash(source, destination, true), ports, "{source} {destination}");
        }
    }

    #[test]
    fn keys_and_tables_that_no_device_has_are_refused() {
        assert!(ReceiveHash::new(&KEY[..39], &[0], HashedFields::default()).is_none());
        assert!(ReceiveHash::new(&KEY, &[], HashedFields::default()).is_none());
        assert!(ReceiveHash::new(&KEY, &[0, 1, 0], HashedFields::default()).is_none());
    }

    #[test]
    fn the_low_bits_of_the_hash_choose_the_queue() {
        let receive_hash = ReceiveHash::new(&KEY, &[7, 8, 9, 10], HashedFields::default()).unwrap();
        let queue = receive_hash.queue(
            ("66.9.149.187".parse().unwrap(), 1),
            ("161.142.100.80".parse().unwrap(), 2),
            Protocol::Udp,
        );
        assert_eq!(queue, [7, 8, 9, 10][0x323e_8fc2 & 3]);
    }
}
