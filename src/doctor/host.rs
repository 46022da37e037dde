//! The host, and what this process may do on it.

use std::{fs, io};

use lb_ctl::doctor::{Attempt, HostFacts};
use lb_io::inspect::{self, ProgramError};

use super::proc::{field, has_process, value};

pub(super) fn facts() -> HostFacts {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (process, memory) = (read("/proc/self/status"), read("/proc/meminfo"));
    let capabilities = field(&process, "CapEff:").and_then(|bits| u64::from_str_radix(bits, 16).ok());
    let kibibytes = field(&memory, "MemAvailable:").and_then(|number| number.parse::<u64>().ok());
    let is_on = |path| value::<u8>(path).is_some_and(|setting| setting != 0);
    HostFacts {
        kernel: value("/proc/sys/kernel/osrelease").unwrap_or_default(),
        // Real, then effective user.
        is_root: process.lines().any(|line| line.starts_with("Uid:") && line.split('\t').nth(2) == Some("0")),
        capabilities: capabilities.unwrap_or(0),
        xdp_socket: attempt(inspect::open_xdp_socket()),
        program: program(inspect::load_program()),
        bpf_jit: value("/proc/sys/net/core/bpf_jit_enable"),
        locked_memory_limit: inspect::locked_memory_limit().unwrap_or(Some(0)),
        memory_available: kibibytes.map(|number| number * 1_024),
        huge_pages: chosen(&read("/sys/kernel/mm/transparent_hugepage/enabled")),
        cpus: inspect::cpus().unwrap_or_default(),
        forwards_ipv4: is_on("/proc/sys/net/ipv4/ip_forward"),
        forwards_ipv6: is_on("/proc/sys/net/ipv6/conf/all/forwarding"),
        has_irqbalance: has_process("irqbalance"),
        vendor: vendor(),
        longest_frame: inspect::LONGEST_FRAME_BYTES,
    }
}

fn attempt(outcome: io::Result<()>) -> Attempt {
    let Err(error) = outcome else { return Attempt::Works };
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Attempt::NotPermitted,
        Some(libc::EAFNOSUPPORT | libc::ENOSYS) => Attempt::Absent,
        _ => Attempt::Fails(error.to_string()),
    }
}

fn program(outcome: Result<(), ProgramError>) -> Attempt {
    match outcome {
        Ok(()) => Attempt::Works,
        Err(ProgramError::NotPermitted(_)) => Attempt::NotPermitted,
        Err(ProgramError::Refused { source, .. }) if source.raw_os_error() == Some(libc::ENOSYS) => {
            Attempt::Absent
        }
        Err(error) => Attempt::Fails(error.to_string()),
    }
}

/// The word in brackets, as in `always [madvise] never`.
fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// Maker, and version of the firmware, in which older EC2 instances name Amazon.
fn vendor() -> Option<String> {
    let file = |name: &str| value::<String>(format!("/sys/class/dmi/id/{name}"));
    let words: Vec<String> = ["sys_vendor", "bios_version"].into_iter().filter_map(file).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_can_be_looked_at_by_anybody() {
        let facts = facts();
        assert!(facts.kernel.starts_with(|letter: char| letter.is_ascii_digit()), "{}", facts.kernel);
        assert!(!facts.cpus.is_empty());
        assert!(facts.memory_available.is_some_and(|bytes| bytes > 0));
    }

    #[test]
    fn the_word_in_brackets_is_chosen() {
        assert_eq!(chosen("always [madvise] never\n").as_deref(), Some("madvise"));
        assert_eq!(chosen(""), None);
    }
}
