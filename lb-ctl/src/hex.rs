//! Hex digits to bytes and back.

use std::fmt::Write;

/// The bytes of exactly `2 * N` hex digits.
pub fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let digits = digits.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

/// Two lower-case digits for each byte.
pub fn digits(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(digits, "{byte:02x}"); // Writing to a String cannot fail.
    }
    digits
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        assert_eq!(bytes::<2>("0aF9"), Some([0x0a, 0xf9]));
        assert_eq!(digits(&[0x0a, 0xf9]), "0af9");
        for bad in ["", "0", "0a", "0a0", "0a0g", "+a0b", "0a0a0a"] {
            assert_eq!(bytes::<2>(bad), None, "{bad}");
        }
    }
}
