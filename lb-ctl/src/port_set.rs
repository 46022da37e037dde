//! A set of ports that reads and writes as the kernel's lists of ports do: `80,1024-2047`.

use std::{fmt, ops::RangeInclusive, str::FromStr};

/// A set of ports.
#[derive(Clone, PartialEq, Eq)]
pub struct PortSet {
    /// Bit `port % 64` of word `port / 64` says whether a port is in it.
    words: Box<[u64; WORDS]>,
}

impl PortSet {
    /// The ports of a range.
    pub fn of(ports: RangeInclusive<u16>) -> PortSet {
        let mut set = PortSet::default();
        for port in ports {
            set.words[usize::from(port / 64)] |= 1 << (port % 64);
        }
        set
    }

    /// Whether no port is in it.
    pub fn is_empty(&self) -> bool {
        *self == PortSet::default()
    }

    /// Whether a port is in it.
    pub fn contains(&self, port: u16) -> bool {
        self.words[usize::from(port / 64)] >> (port % 64) & 1 == 1
    }

    /// The ports of both.
    pub fn union(&self, other: &PortSet) -> PortSet {
        PortSet { words: Box::new(std::array::from_fn(|at| self.words[at] | other.words[at])) }
    }

    /// The ports of this that are not in the other.
    pub fn minus(&self, other: &PortSet) -> PortSet {
        PortSet { words: Box::new(std::array::from_fn(|at| self.words[at] & !other.words[at])) }
    }

    /// How many ports are in it.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn ranges(&self) -> Vec<RangeInclusive<u16>> {
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for port in (0..=u16::MAX).filter(|port| self.contains(*port)) {
            match ranges.last_mut() {
                Some(last) if last.end() + 1 == port => *last = *last.start()..=port,
                _ => ranges.push(port..=port),
            }
        }
        ranges
    }
}

impl Default for PortSet {
    fn default() -> PortSet {
        PortSet { words: Box::new([0; WORDS]) }
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.ranges().iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{comma}{first}")?,
                (first, last) => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PortSet {
    type Err = String;

    fn from_str(text: &str) -> Result<PortSet, String> {
        let mut set = PortSet::default();
        for part in text.trim().split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.parse(), last.parse()) else {
                return Err(format!("{part:?} is neither a port nor a range of ports"));
            };
            set = set.union(&PortSet::of(first..=last));
        }
        Ok(set)
    }
}

/// Ports for source addresses that the host has, too: the larger range of unprivileged ports that is not ephemeral, or half of the ephemeral ones if there is hardly any.
pub fn beside(ephemeral: &RangeInclusive<u16>) -> String {
    let (first, last) = (*ephemeral.start(), *ephemeral.end());
    let below = first.saturating_sub(UNPRIVILEGED);
    let above = u16::MAX - last;
    match below.max(above) {
        0..FEW => format!("{first}-{}", first + (last - first) / 2),
        most if most == below => format!("{UNPRIVILEGED}-{}", first - 1),
        _ => format!("{}-{}", last + 1, u16::MAX),
    }
}

/// So many of its ephemeral ports must be left to the host, where flows take some: a target that is checked each second has 60 of them in
/// `TIME_WAIT`, for each group that it is in, and the host has connections of its own.
pub const HOST_PORTS_LEAST: usize = 1_024;

/// A warning says when fewer are left.
pub const HOST_PORTS_FEW: usize = 4_096;

const WORDS: usize = 65_536 / 64;
/// First port that any user may bind.
const UNPRIVILEGED: u16 = 1_024;
/// A range of fewer ports is no advice.
const FEW: u16 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in ["", "0", "80", "80,82", "80-81", "63-64,127-128,65535", "0-65535"] {
            assert_eq!(text.parse::<PortSet>().unwrap().to_string(), text);
        }
        assert_eq!("5,1-3,4\n".parse::<PortSet>().unwrap().to_string(), "1-5");
        for bad in ["a", "1-", "-1", "65536", "1-2-3", "1 2"] {
            assert!(bad.parse::<PortSet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn union_and_difference() {
        let set = |text: &str| text.parse::<PortSet>().unwrap();
        assert_eq!(set("1-10").union(&set("5-20,30")), set("1-20,30"));
        assert_eq!(set("1-10").minus(&set("3-4,10-12")), set("1-2,5-9"));
        assert!(set("1-10").minus(&set("1-10")).is_empty());
        assert!(set("1-10").contains(10) && !set("1-10").contains(11));
        assert_eq!(PortSet::of(7..=9), set("7-9"));
        assert_eq!((set("1-10,65535").count(), set("").count()), (11, 0));
    }

    #[test]
    fn advice_lies_beside_the_ephemeral_ports() {
        assert_eq!(beside(&(32_768..=60_999)), "1024-32767");
        assert_eq!(beside(&(2_000..=20_000)), "20001-65535");
        assert_eq!(beside(&(1_024..=65_535)), "1024-33279");
        assert_eq!(beside(&(1..=65_535)), "1-32768");
    }
}
