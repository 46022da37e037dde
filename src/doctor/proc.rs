//! Small readings of /proc and /sys.

use std::{collections::BTreeSet, fs, path::Path, str::FromStr};

/// A file of one value, if it can be read and is one.
pub(super) fn value<T: FromStr>(path: impl AsRef<Path>) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The value of a line such as `MemAvailable:   8044032 kB`, without what follows it.
pub(super) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()
}

/// Names of the interfaces that a default route of either family goes by.
pub(super) fn default_routes() -> BTreeSet<String> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (ipv4, ipv6) = (read("/proc/net/route"), read("/proc/net/ipv6_route"));
    ipv4.lines().filter_map(default_route_ipv4).chain(ipv6.lines().filter_map(default_route_ipv6)).collect()
}

/// `eth0 00000000 010012C6 0003 0 0 0 00000000 0 0 0`: interface, destination, gateway, flags, ..., mask.
fn default_route_ipv4(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let is_default = words.get(1) == Some(&"00000000") && words.get(7) == Some(&"00000000");
    is_default.then(|| words[0].to_owned())
}

/// Destination, its prefix length, ..., interface. The kernel's own refusal, on loopback, is none.
fn default_route_ipv6(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let is_default = words.first()?.bytes().all(|digit| digit == b'0') && words.get(1) == Some(&"00");
    words.last().filter(|name| is_default && **name != "lo").map(|name| (*name).to_owned())
}

/// Whether a process of this name runs.
pub(super) fn has_process(name: &str) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.into_iter().any(|entry| value::<String>(entry.path().join("comm")).as_deref() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_routes_name_their_interface() {
        let ipv4 = "eth0\t00000000\t010012C6\t0003\t0\t0\t0\t00000000\t0\t0\t0";
        assert_eq!(default_route_ipv4(ipv4).as_deref(), Some("eth0"));
        for other in [
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT",
            "eth0\t000012C6\t00000000\t0001\t0\t0\t0\t00FEFFFF\t0\t0\t0",
            "eth0\t00000000\t010012C6\t0003\t0\t0\t0\t00000080\t0\t0\t0",
            "",
        ] {
            assert_eq!(default_route_ipv4(other), None, "{other}");
        }
        let zeros = "0".repeat(32);
        let ipv6 = |length, name| {
            default_route_ipv6(&format!("{zeros} {length} {zeros} 00 {zeros} 00000400 1 0 00000003 {name}"))
        };
        assert_eq!(ipv6("00", "eth0").as_deref(), Some("eth0"));
        assert_eq!((ipv6("00", "lo"), ipv6("40", "eth0"), default_route_ipv6("")), (None, None, None));
    }

    #[test]
    fn fields_are_the_first_word_behind_their_name() {
        let text = "MemTotal:       1 kB\nMemAvailable:    8044032 kB\n";
        assert_eq!(field(text, "MemAvailable:"), Some("8044032"));
        assert_eq!(field(text, "SwapFree:"), None);
    }
}
