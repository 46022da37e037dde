//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use std::net::IpAddr;

use super::octets;

/// What a change of 16-bit words adds to a complemented checksum: the sum of `~m + m'` over the words changed
/// (RFC 1624 equation 3). Deltas add up; the delta of the opposite change is [`Delta::inverse`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(pub u16);

impl Delta {
    /// Replacing `old` by `new`, both of the same even length.
    pub fn replacing(old: &[u8], new: &[u8]) -> Delta {
        let mut total = 0u32;
        for (old, new) in words(old).zip(words(new)) {
            total += u32::from(!old) + u32::from(new);
        }
        Delta(fold(total))
    }

    /// Replacing words of 32 bits, as they stand in memory.
    #[inline]
    pub fn replacing_words<const N: usize>(old: [u32; N], new: [u32; N]) -> Delta {
        let mut total = 0u64;
        for (old, new) in old.into_iter().zip(new) {
            total += u64::from(!old) + u64::from(new);
        }
        // The sum of 32-bit words has the same value modulo 2^16 - 1, in either byte order.
        let total = (total & 0xffff_ffff) + (total >> 32);
        let total = (total & 0xffff) + (total >> 16 & 0xffff) + (total >> 32);
        Delta(u16::from_be(fold(total as u32)))
    }

    /// Both changes.
    #[inline]
    pub fn and(self, other: Delta) -> Delta {
        Delta(fold(u32::from(self.0) + u32::from(other.0)))
    }

    /// The opposite change.
    #[inline]
    pub const fn inverse(self) -> Delta {
        Delta(!self.0)
    }

    /// The checksum after the change: `~(~HC + delta)`.
    #[inline]
    pub fn update(self, checksum: u16) -> u16 {
        !fold(u32::from(!checksum) + u32::from(self.0))
    }
}

/// Delta of a time to live that is one less.
pub const TTL_DECREMENT: Delta = Delta(0xfeff);

/// One's complement sum of `bytes`, an odd last byte padded with zero (RFC 1071 section 1), added to `initial`.
pub fn sum(bytes: &[u8], initial: u32) -> u32 {
    // Sums of 64-bit accumulators fold to the same 16 bits; eight bytes at a time keeps this off profiles.
    let mut total = u64::from(initial);
    let mut chunks = bytes.chunks_exact(4);
    for chunk in &mut chunks {
        total += u64::from(u32::from_be_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]));
    }
    let mut rest = [0; 4];
    rest[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    total += u64::from(u32::from_be_bytes(rest));
    while total >> 32 != 0 {
        total = (total & 0xffff_ffff) + (total >> 32);
    }
    u32::from(fold(((total >> 16) + (total & 0xffff)) as u32))
}

/// Checksum of `bytes` whose checksum field is zero, with `initial` (a pseudo-header's sum) added.
pub fn checksum(bytes: &[u8], initial: u32) -> u16 {
    !fold(sum(bytes, initial))
}

/// Sum of the IPv4 pseudo-header (RFC 9293 section 3.1).
pub fn pseudo_header(source: [u8; 4], destination: [u8; 4], protocol: u8, length: u16) -> u32 {
    sum(&source, sum(&destination, u32::from(protocol) + u32::from(length)))
}

/// Sum of the IPv6 pseudo-header (RFC 8200 section 8.1).
pub fn pseudo_header_v6(source: &[u8; 16], destination: &[u8; 16], protocol: u8, length: u32) -> u32 {
    u32::from(fold64(u64::from(sum(source, sum(destination, u32::from(protocol)))) + u64::from(length)))
}

/// Sum of the pseudo-header of a packet between two addresses of one family.
pub fn pseudo_header_of(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u32 {
    match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            pseudo_header(from.octets(), to.octets(), protocol, length as u16)
        }
        (from, to) => pseudo_header_v6(&octets(from), &octets(to), protocol, length as u32),
    }
}

/// Folds carries of a long sum into 16 bits.
#[inline]
pub const fn fold64(total: u64) -> u16 {
    let total = (total & 0xffff_ffff) + (total >> 32);
    let total = (total & 0xffff) + (total >> 16 & 0xffff) + (total >> 32);
    fold(total as u32)
}

/// Folds carries into 16 bits.
#[inline]
pub const fn fold(total: u32) -> u16 {
    let total = (total & 0xffff) + (total >> 16);
    ((total & 0xffff) + (total >> 16)) as u16
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_1624_section_4_example_gives_zero_not_all_ones() {
        let delta = Delta::replacing(&[0x55, 0x55], &[0x32, 0x85]);
        assert_eq!(delta.update(0xdd2f), 0x0000);
    }

    #[test]
    fn rfc_1071_section_3_example() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], 0), 0xddf2);
    }

    #[test]
    fn ttl_decrement_is_the_delta_of_its_word() {
        assert_eq!(TTL_DECREMENT, Delta::replacing(&[64, 6], &[63, 6]));
    }

    proptest! {
        #[test]
        fn incremental_update_equals_recomputation(mut bytes in prop::collection::vec(any::<u8>(), 20..64), new in any::<[u8; 4]>()) {
            bytes[0] |= 1; // A sum of all zeros has two representations; no real header is all zeros.
            let before = checksum(&bytes, 0);
            let delta = Delta::replacing(&bytes[4..8], &new);
            bytes[4..8].copy_from_slice(&new);
            prop_assert_eq!(delta.update(before), checksum(&bytes, 0));
            prop_assert_eq!(delta.inverse().update(checksum(&bytes, 0)), before);
        }

        #[test]
        fn words_in_memory_order_give_the_same_delta(old in any::<[u8; 12]>(), new in any::<[u8; 12]>()) {
            let plain = Delta::replacing(&old, &new);
            let words = Delta::replacing_words::<3>(bytemuck::cast(old), bytemuck::cast(new));
            // Zero has two representations.
            prop_assert_eq!(plain.0 % 0xffff, words.0 % 0xffff);
        }

        #[test]
        fn sum_equals_the_plain_definition(bytes in prop::collection::vec(any::<u8>(), 0..3_000)) {
            let plain: u64 = bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum();
            let mut plain = plain;
            while plain >> 16 != 0 {
                plain = (plain & 0xffff) + (plain >> 16);
            }
            prop_assert_eq!(u64::from(sum(&bytes, 0)), plain);
        }
    }
}
