//! What a device's driver says by ethtool: its name, its queues and rings, how it spreads packets over them, its offloads.
//! Used by `device` and `inspect`.

mod features;

use std::{
    io, mem,
    os::fd::{AsRawFd, OwnedFd},
    ptr,
};

use lb_core::receive_hash::{HashedFields, ReceiveHash};

pub use features::Feature;

use crate::sys;

/// The ethtool interface of one device.
pub(crate) struct Ethtool {
    socket: OwnedFd,
    name: [libc::c_char; libc::IFNAMSIZ],
}

impl Ethtool {
    /// Of the device of that name in the calling thread's network namespace.
    pub(crate) fn open(device: &str) -> io::Result<Ethtool> {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        let mut name = [0; libc::IFNAMSIZ];
        for (to, from) in name.iter_mut().zip(device.bytes()) {
            *to = from as libc::c_char;
        }
        Ok(Ethtool { socket, name })
    }

    /// The driver's name. `None` when it says none.
    pub(crate) fn driver(&self) -> Option<String> {
        let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
        self.ask(&mut info).ok()?;
        Some(sys::text(&info.driver))
    }

    /// Queues in use. `None` when the driver does not say.
    pub(crate) fn channels(&self) -> Option<Channels> {
        let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
        self.ask(&mut channels).ok()?;
        Some(channels)
    }

    /// Lengths of its rings. `None` when the driver does not say.
    pub(crate) fn rings(&self) -> Option<RingLengths> {
        let mut rings = RingLengths { command: ETHTOOL_GRINGPARAM, ..RingLengths::default() };
        self.ask(&mut rings).ok()?;
        Some(rings)
    }

    /// How received packets are spread over queues. `None` when the driver does not say, or it is not the Toeplitz hash over
    /// addresses, with or without ports.
    pub(crate) fn receive_hash(&self) -> Option<ReceiveHash> {
        let fields = HashedFields {
            tcp4_ports: self.hashes_ports(TCP_V4_FLOW)?,
            udp4_ports: self.hashes_ports(UDP_V4_FLOW)?,
            tcp6_ports: self.hashes_ports(TCP_V6_FLOW)?,
            udp6_ports: self.hashes_ports(UDP_V6_FLOW)?,
        };
        let mut sizes = [ETHTOOL_GRSSH, 0, 0, 0, 0, 0];
        self.ask(&mut sizes).ok()?;
        let [_, _, entries, key_bytes, ..] = sizes;
        if entries > INDIRECTION_ENTRIES || key_bytes > KEY_BYTES {
            return None;
        }
        let words = SPREADING_WORDS + entries as usize + key_bytes.div_ceil(4) as usize;
        let mut spreading = vec![0; words];
        spreading[..SPREADING_WORDS].copy_from_slice(&[ETHTOOL_GRSSH, 0, entries, key_bytes, 0, 0]);
        self.ask(spreading.as_mut_slice()).ok()?;
        parse_spreading(&spreading, fields)
    }

    /// Whether the device hashes the ports of a kind of packet besides its addresses.
    fn hashes_ports(&self, flow_type: u32) -> Option<bool> {
        let mut fields = FlowHash { command: ETHTOOL_GRXFH, flow_type, fields: 0, rest: [0; 22] };
        self.ask(&mut fields).ok()?;
        parse_fields(fields.fields)
    }

    fn ask<T: ?Sized>(&self, value: &mut T) -> io::Result<()> {
        // SAFETY: all zero is a valid `ifreq`.
        let mut request: libc::ifreq = unsafe { mem::zeroed() };
        request.ifr_name = self.name;
        request.ifr_ifru.ifru_data = ptr::from_mut(value).cast();
        // SAFETY: `request` and what it points to are valid for the call; that begins with its command and has the size that
        // ethtool.h gives for it, with room for a table as long as it says itself.
        sys::checked(unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCETHTOOL as _, &mut request) })?;
        Ok(())
    }
}

/// Reads `struct ethtool_rxfh`: sizes and kind of hash, then the indirection table, then the key's bytes.
fn parse_spreading(words: &[u32], fields: HashedFields) -> Option<ReceiveHash> {
    let (head, rest) = words.split_first_chunk::<SPREADING_WORDS>()?;
    let [_, _, entries, key_bytes, kind, _] = *head;
    let [function, transform, ..] = kind.to_ne_bytes();
    if function != TOEPLITZ || transform != UNTRANSFORMED {
        return None;
    }
    let (table, key) = rest.split_at_checked(entries as usize)?;
    let indirection = table.iter().map(|&queue| u16::try_from(queue).ok()).collect::<Option<Vec<_>>>()?;
    let key: Vec<u8> = key.iter().flat_map(|word| word.to_ne_bytes()).collect();
    ReceiveHash::new(key.get(..key_bytes as usize)?, &indirection, fields)
}

/// Whether ports are hashed besides both addresses; `None` for other combinations.
fn parse_fields(fields: u64) -> Option<bool> {
    match fields {
        HASHED_ADDRESSES => Some(false),
        HASHED_ADDRESSES_AND_PORTS => Some(true),
        _ => None,
    }
}

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Channels {
    command: u32,
    most_receive: u32,
    most_transmit: u32,
    most_other: u32,
    /// Most queues that do both.
    pub(crate) most_combined: u32,
    /// Queues that receive alone.
    pub(crate) receive: u32,
    /// Queues that transmit alone.
    pub(crate) transmit: u32,
    other: u32,
    /// Queues that do both.
    pub(crate) combined: u32,
}

/// `struct ethtool_ringparam`, in frames.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RingLengths {
    command: u32,
    /// Longest receive ring.
    pub(crate) most_receive: u32,
    most_mini: u32,
    most_jumbo: u32,
    most_transmit: u32,
    /// A queue's receive ring.
    pub(crate) receive: u32,
    mini: u32,
    jumbo: u32,
    transmit: u32,
}

/// `struct ethtool_rxnfc`.
#[repr(C)]
struct FlowHash {
    command: u32,
    flow_type: u32,
    fields: u64,
    rest: [u64; 22],
}

const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GRINGPARAM: u32 = 0x10;
const ETHTOOL_GRXFH: u32 = 0x29;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_GRSSH: u32 = 0x46;
const TCP_V4_FLOW: u32 = 0x01;
const UDP_V4_FLOW: u32 = 0x02;
const TCP_V6_FLOW: u32 = 0x05;
const UDP_V6_FLOW: u32 = 0x06;
/// RXH_IP_SRC and RXH_IP_DST.
const HASHED_ADDRESSES: u64 = 1 << 4 | 1 << 5;
/// RXH_L4_B_0_1 and RXH_L4_B_2_3 besides.
const HASHED_ADDRESSES_AND_PORTS: u64 = HASHED_ADDRESSES | 1 << 6 | 1 << 7;
/// ETH_RSS_HASH_TOP.
const TOEPLITZ: u8 = 1;
/// No input_xfrm: the hash's input is not made symmetric first.
const UNTRANSFORMED: u8 = 0;
/// 32-bit words of `struct ethtool_rxfh` in front of the table.
const SPREADING_WORDS: usize = 6;
/// Longest indirection table that is read. Devices have 128 to 4,096 entries.
const INDIRECTION_ENTRIES: u32 = 65_536;
/// Longest key that is read, in bytes. Devices have 40 or 52.
const KEY_BYTES: u32 = 1_024;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use lb_core::tables::Protocol;

    use super::*;

    /// A reply with a table of `queues` and a key of 40 bytes.
    fn spreading(kind: [u8; 2], queues: &[u32]) -> Vec<u32> {
        let mut words = vec![ETHTOOL_GRSSH, 0, queues.len() as u32, 40];
        words.extend([u32::from_ne_bytes([kind[0], kind[1], 0, 0]), 0]);
        words.extend(queues);
        words.extend(KEY.chunks(4).map(|bytes| u32::from_ne_bytes(bytes.try_into().unwrap())));
        words
    }

    #[test]
    fn the_structures_have_the_kernels_sizes() {
        assert_eq!(mem::size_of::<DriverInfo>(), 196);
        assert_eq!(mem::size_of::<Channels>(), 36);
        assert_eq!(mem::size_of::<RingLengths>(), 36);
        assert_eq!(mem::size_of::<FlowHash>(), 192);
    }

    #[test]
    fn a_toeplitz_hash_is_read_as_the_device_says_it() {
        let parsed = parse_spreading(&spreading([1, 0], &[3, 1, 2, 0]), HashedFields::default()).unwrap();
        assert_eq!(parsed, ReceiveHash::new(&KEY, &[3, 1, 2, 0], HashedFields::default()).unwrap());
        // The published hash of these addresses is 0x323e8fc2: its low bits name the third entry.
        let [from, to] = ["66.9.149.187", "161.142.100.80"].map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!(parsed.queue((from, 1), (to, 2), Protocol::Tcp), 2);
    }

    #[test]
    fn other_ways_to_spread_are_not_known() {
        let unknown = |words: &[u32]| parse_spreading(words, HashedFields::default()).is_none();
        assert!(unknown(&spreading([2, 0], &[0, 1])), "XOR");
        assert!(unknown(&spreading([0, 0], &[0, 1])), "not said");
        assert!(unknown(&spreading([1, 1], &[0, 1])), "symmetric");
        assert!(unknown(&spreading([1, 0], &[0, 1, 2])), "no power of two");
        assert!(unknown(&spreading([1, 0], &[0, 65_536])), "no queue");
        let whole = spreading([1, 0], &[0, 1]);
        assert!((0..whole.len()).all(|words| unknown(&whole[..words])), "cut short");
    }

    #[test]
    fn ports_count_together_or_not_at_all() {
        assert_eq!(parse_fields(0x30), Some(false));
        assert_eq!(parse_fields(0xf0), Some(true));
        for fields in [0, 0x10, 0x20, 0x70, 0xb0, 0xf4, 1 << 31] {
            assert_eq!(parse_fields(fields), None, "{fields:#x}");
        }
    }

    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
        0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
        0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];
}
