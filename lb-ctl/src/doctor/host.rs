//! Rules of the host and of this process: kernel, privileges, memory, forwarding.

use super::{
    facts::{Attempt, Facts, HostFacts},
    finding::Finding,
};
use crate::config::Family;

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let host = &facts.host;
    let mut findings = vec![kernel(&host.kernel), privileges(host)];
    findings.extend(xdp_socket(&host.xdp_socket));
    findings.extend(program(&host.program));
    findings.extend(bpf_jit(host.bpf_jit));
    findings.extend(locked_memory(facts));
    findings.extend(huge_pages(host.huge_pages.as_deref()));
    findings.extend(forwarding(facts));
    findings.extend(irqbalance(host));
    findings
}

fn kernel(release: &str) -> Finding {
    match version(release) {
        Some(version) if version < KERNEL_NEEDED => {
            let (major, minor) = KERNEL_NEEDED;
            let found = format!("Linux {release}");
            let why =
                format!("lbd needs Linux {major}.{minor} or newer, for AF_XDP sockets that share memory");
            Finding::fault("kernel", found, why)
                .cure("uname -r; then boot a newer kernel of your distribution")
        }
        Some(_) => Finding::ok("kernel", format!("Linux {release}")),
        None => Finding::note(
            "kernel",
            format!("a kernel that calls itself {release:?}"),
            "its version is not known",
        ),
    }
}

/// Major and minor number of a release such as `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn privileges(host: &HostFacts) -> Finding {
    let has = |bit: u32| host.capabilities >> bit & 1 == 1;
    let is_granted =
        |(bit, _, implied_by): &&(u32, &str, Option<u32>)| has(*bit) || implied_by.is_some_and(has);
    let missing: Vec<&str> =
        NEEDED.iter().filter(|needed| !is_granted(needed)).map(|(_, name, _)| *name).collect();
    let list = missing.join(" ");
    if missing.is_empty() && has(CAP_SYS_ADMIN) {
        return Finding::ok("capabilities", "all that lbd needs");
    }
    if !host.is_root {
        let why = "what needs them was not looked at, and lbd does not run as this user";
        return Finding::note("capabilities", format!("this process lacks {list}"), why)
            .cure("sudo lbctl doctor");
    }
    let give = |capabilities: &str| {
        format!("systemctl edit lbd; there, under [Service]: CapabilityBoundingSet={capabilities}")
    };
    if missing.is_empty() {
        let why = "after a crash, lbd cannot take over the XDP program that it left";
        return Finding::warning("capabilities", "CAP_SYS_ADMIN is missing", why).cure(give("CAP_SYS_ADMIN"));
    }
    let why = "without them lbd can neither load its program nor bind its sockets";
    Finding::fault("capabilities", format!("root lacks {list} here"), why)
        .cure(give(&list))
        .cure(format!("in a container: docker run {}", docker_options(&missing)))
}

fn docker_options(missing: &[&str]) -> String {
    let option = |name: &&str| format!("--cap-add {}", name.trim_start_matches("CAP_"));
    missing.iter().map(option).collect::<Vec<_>>().join(" ")
}

fn xdp_socket(attempt: &Attempt) -> Option<Finding> {
    let kernel_option =
        "grep XDP_SOCKETS /boot/config-$(uname -r); then boot a kernel with CONFIG_XDP_SOCKETS=y";
    match attempt {
        Attempt::Works => Some(Finding::ok("af_xdp", "the kernel has AF_XDP sockets")),
        Attempt::NotPermitted => None,
        Attempt::Absent => {
            let why = "lbd takes its packets by them";
            Some(Finding::fault("af_xdp", "the kernel has no AF_XDP sockets", why).cure(kernel_option))
        }
        Attempt::Fails(words) => {
            let found = format!("an AF_XDP socket cannot be opened: {words}");
            Some(Finding::fault("af_xdp", found, "lbd takes its packets by them").cure(kernel_option))
        }
    }
}

fn program(attempt: &Attempt) -> Option<Finding> {
    let why = "without it nothing is steered to the load balancer";
    let kernel_option =
        "grep BPF_SYSCALL /boot/config-$(uname -r); then boot a kernel with CONFIG_BPF_SYSCALL=y";
    match attempt {
        Attempt::Works => Some(Finding::ok("bpf", "the kernel takes the XDP program")),
        Attempt::NotPermitted => None,
        Attempt::Absent => Some(Finding::fault("bpf", "the kernel has no bpf(2)", why).cure(kernel_option)),
        Attempt::Fails(words) => {
            let found = format!("the kernel does not take the XDP program: {words}");
            Some(Finding::fault("bpf", found, why).cure("dmesg | tail; and report this to lbd's makers"))
        }
    }
}

fn bpf_jit(setting: Option<u8>) -> Option<Finding> {
    match setting? {
        0 => {
            let why = "the XDP program, which sees every frame, is interpreted instead of compiled";
            let finding = Finding::warning("bpf_jit", "the kernel's BPF compiler is off", why);
            Some(finding.cure("sysctl -w net.core.bpf_jit_enable=1"))
        }
        _ => Some(Finding::ok("bpf_jit", "the kernel compiles BPF programs")),
    }
}

/// Without CAP_IPC_LOCK the kernel counts packet buffers against the limit.
fn locked_memory(facts: &Facts) -> Option<Finding> {
    let host = &facts.host;
    if host.capabilities >> CAP_IPC_LOCK & 1 == 1 || !host.is_root {
        return None;
    }
    let layout = facts.config.as_ref().and_then(|config| config.layout.as_ref().ok());
    let needed = layout.map_or(host.cpus.len() as u64 * FRAME_BYTES_DEFAULT, |layout| layout.frame_bytes);
    let limit = host.locked_memory_limit.filter(|limit| *limit < needed)?;
    let found = format!("{} KiB may be locked, packet buffers take {} KiB", limit / 1_024, needed / 1_024);
    let why = "without CAP_IPC_LOCK, no socket gets its memory";
    let finding = Finding::fault("locked_memory", found, why).cure("ulimit -l unlimited");
    Some(finding.cure("systemctl edit lbd; there, under [Service]: LimitMEMLOCK=infinity"))
}

fn huge_pages(setting: Option<&str>) -> Option<Finding> {
    match setting? {
        "never" => {
            let why = "flow tables lie in small pages then, and look-ups in large ones take longer";
            let finding = Finding::warning("huge_pages", "transparent huge pages are off", why);
            Some(finding.cure("echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"))
        }
        setting => Some(Finding::ok("huge_pages", format!("transparent huge pages: {setting}"))),
    }
}

/// lbd forwards by itself; the kernel's forwarding matters for all else that comes through this host.
fn forwarding(facts: &Facts) -> Option<Finding> {
    let groups = &facts.config.as_ref()?.config.target_groups;
    let keeps = |family| groups.iter().any(|group| group.preserves_client_ip && group.family == family);
    let ipv4 = (Family::V4, facts.host.forwards_ipv4, "net.ipv4.ip_forward");
    let ipv6 = (Family::V6, facts.host.forwards_ipv6, "net.ipv6.conf.all.forwarding");
    let families = [ipv4, ipv6].into_iter().filter(|(family, ..)| keeps(*family));
    let (on, off): (Vec<_>, Vec<_>) = families.partition(|(_, is_on, _)| *is_on);
    if off.is_empty() {
        return (!on.is_empty())
            .then(|| Finding::ok("forwarding", "the kernel forwards what is not load-balanced"));
    }
    let why = "lbd needs no forwarding, but targets that have this host as their router reach nobody except clients";
    let finding = Finding::note("forwarding", "the kernel does not forward packets", why);
    Some(off.iter().fold(finding, |finding, (_, _, key)| finding.cure(format!("sysctl -w {key}=1"))))
}

fn irqbalance(host: &HostFacts) -> Option<Finding> {
    let why = "it moves interrupts to other CPUs than those of the workers, now and then";
    let finding = Finding::note("irqbalance", "irqbalance runs", why);
    (host.has_irqbalance && host.cpus.len() > 1).then(|| finding.cure("systemctl disable --now irqbalance"))
}

/// Oldest kernel that lbd runs on.
const KERNEL_NEEDED: (u32, u32) = (5, 15);
/// Packet buffers of a worker when the configuration says nothing: 8,192 of 4 KiB.
const FRAME_BYTES_DEFAULT: u64 = 32 << 20;
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;
/// Capabilities without which lbd does not start: number, name, and another that comprises it.
const NEEDED: [(u32, &str, Option<u32>); 5] = [
    (12, "CAP_NET_ADMIN", None),
    (13, "CAP_NET_RAW", None),
    (CAP_IPC_LOCK, "CAP_IPC_LOCK", None),
    (38, "CAP_PERFMON", Some(CAP_SYS_ADMIN)),
    (39, "CAP_BPF", Some(CAP_SYS_ADMIN)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{
        finding::Severity::{self, Fault, Note, Ok, Warning},
        samples,
    };

    fn severity_of(topic: &str, change: impl FnOnce(&mut Facts)) -> Option<Severity> {
        let mut facts = samples::fit();
        change(&mut facts);
        judge(&facts).into_iter().find(|finding| finding.topic == topic).map(|finding| finding.severity)
    }

    #[test]
    fn kernels() {
        for (release, severity) in [
            ("6.18.5", Ok),
            ("5.15.0-1-amd64", Ok),
            ("5.14.21-rc1", Fault),
            ("4.19", Fault),
            ("six", Note),
            ("6", Note),
        ] {
            assert_eq!(kernel(release).severity, severity, "{release}");
        }
    }

    #[test]
    fn capabilities() {
        let severity = |is_root, capabilities: &[u32]| {
            severity_of("capabilities", |facts| {
                facts.host.is_root = is_root;
                facts.host.capabilities = capabilities.iter().map(|bit| 1 << bit).sum();
            })
        };
        assert_eq!(severity(true, &[12, 13, 14, 21]), Some(Ok), "CAP_SYS_ADMIN comprises BPF's");
        assert_eq!(severity(true, &[12, 13, 14, 38, 39]), Some(Warning));
        assert_eq!(severity(true, &[12, 13, 14, 38]), Some(Fault));
        assert_eq!(severity(true, &[13, 14, 21]), Some(Fault));
        assert_eq!(severity(false, &[]), Some(Note), "what an ordinary user may is no fault of the host");
    }

    #[test]
    fn a_container_is_told_its_options() {
        let mut facts = samples::fit();
        facts.host.capabilities = 1 << 12 | 1 << 13 | 1 << 14;
        let cure = privileges(&facts.host).cure;
        assert_eq!(cure[1], "in a container: docker run --cap-add PERFMON --cap-add BPF");
    }

    #[test]
    fn attempts() {
        for (attempt, severity) in [
            (Attempt::Works, Some(Ok)),
            (Attempt::NotPermitted, None),
            (Attempt::Absent, Some(Fault)),
            (Attempt::Fails("out of memory".into()), Some(Fault)),
        ] {
            assert_eq!(xdp_socket(&attempt).map(|finding| finding.severity), severity);
            assert_eq!(program(&attempt).map(|finding| finding.severity), severity);
        }
    }

    #[test]
    fn memory() {
        let severity = |capabilities, limit| {
            severity_of("locked_memory", |facts| {
                facts.host.capabilities = capabilities;
                facts.host.locked_memory_limit = limit;
            })
        };
        assert_eq!(severity(0, Some(8 << 20)), Some(Fault));
        assert_eq!(severity(0, Some(1 << 30)), None);
        assert_eq!(severity(0, None), None);
        assert_eq!(severity(1 << CAP_IPC_LOCK, Some(0)), None);
        let pages = |setting: &str| huge_pages(Some(setting)).map(|finding| finding.severity);
        assert_eq!((pages("never"), pages("madvise")), (Some(Warning), Some(Ok)));
        assert_eq!(huge_pages(None), None, "a kernel without them");
    }

    #[test]
    fn settings() {
        assert_eq!(bpf_jit(Some(0)).map(|finding| finding.severity), Some(Warning));
        assert_eq!(bpf_jit(Some(1)).map(|finding| finding.severity), Some(Ok));
        assert_eq!(severity_of("irqbalance", |facts| facts.host.has_irqbalance = true), Some(Note));
        assert_eq!(severity_of("irqbalance", |_| ()), None);
        let forwarding = |v4, v6| {
            severity_of("forwarding", |facts| (facts.host.forwards_ipv4, facts.host.forwards_ipv6) = (v4, v6))
        };
        assert_eq!(forwarding(true, false), Some(Ok));
        assert_eq!(forwarding(false, true), Some(Note), "the sample keeps clients of IPv4 alone");
    }
}
