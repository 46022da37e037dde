//! Rules of an interface's driver and device: how frames get to the load balancer, and how many at a time.

use lb_core::limits;

use super::{
    facts::{DriverFacts, Facts, LinkFacts, Offload, Trial, Untried, XdpClaims},
    finding::Finding,
};

pub(super) fn judge(facts: &Facts, name: &str, link: &LinkFacts) -> Vec<Finding> {
    let driver = &link.driver;
    let mut findings = modes(name, link);
    findings.push(mtu(facts, name, link));
    findings.push(queues(name, driver, facts.host.cpus.len()));
    findings.extend(receive_hash(driver));
    findings.push(offloads(name, link));
    findings.extend(rings(facts, name, link));
    findings.extend(interrupts(link));
    findings
}

/// Native or generic, copying or not.
fn modes(name: &str, link: &LinkFacts) -> Vec<Finding> {
    match &link.trial {
        Trial::Done(tried) => {
            vec![native(name, link, &tried.native), socket(link, &tried.zero_copy, &tried.copy)]
        }
        Trial::Left(untried) => vec![untried_modes(name, link.claims, untried)],
    }
}

fn native(name: &str, link: &LinkFacts, tried: &Result<(), String>) -> Finding {
    let driver = driver_name(&link.driver);
    let Err(words) = tried else {
        return Finding::ok("native_xdp", format!("{driver} runs the XDP program (tried)"));
    };
    let found = format!("{driver} does not run the XDP program: {words}");
    let finding = Finding::warning(
        "native_xdp",
        found,
        "lbd falls back to the stack (generic mode), which is much slower",
    );
    let lower_mtu = format!("ip link set dev {name} mtu {NATIVE_MTU}");
    match &words.to_ascii_lowercase() {
        words if words.contains("mtu") && link.kind == "veth" => {
            finding.cure(format!("ip link set dev PEER mtu {NATIVE_MTU}   # the other end of {name}"))
        }
        words if words.contains("mtu") || link.mtu > NATIVE_MTU => finding.cure(lower_mtu),
        _ if driver == "virtio_net" => finding.cure(VIRTIO_CURE),
        words if words.contains("lro") || words.contains("gro") => {
            finding.cure(format!("ethtool -K {name} lro off rx-gro-hw off"))
        }
        _ => finding.cure("dmesg | tail   # where drivers say what they miss"),
    }
}

fn socket(link: &LinkFacts, zero_copy: &Result<(), String>, copy: &Result<(), String>) -> Finding {
    let driver = driver_name(&link.driver);
    match (zero_copy, copy) {
        (Ok(()), _) => Finding::ok("zero_copy", format!("{driver} receives into lbd's own memory (tried)")),
        (Err(_), Err(words)) => {
            let why = "lbd takes no packet without one";
            Finding::fault("zero_copy", format!("no AF_XDP socket can be bound: {words}"), why)
                .cure("dmesg | tail")
        }
        (Err(words), Ok(())) if link.claims.is_some_and(|claims| claims.zero_copy) => {
            let found = format!("{driver} says that it can do without copying, but does not: {words}");
            let why = "the kernel copies every frame";
            Finding::warning("zero_copy", found, why)
                .cure("dmesg | tail   # where drivers say what they miss")
        }
        (Err(_), Ok(())) => Finding::note(
            "zero_copy",
            format!("{driver} has no zero-copy mode (tried)"),
            "the kernel copies every frame",
        ),
    }
}

fn untried_modes(name: &str, claims: Option<XdpClaims>, untried: &Untried) -> Finding {
    let can = |yes| if yes { "can" } else { "cannot" };
    let says = match claims {
        Some(XdpClaims { native, zero_copy }) => {
            format!(
                "the driver says that it {} run the XDP program, and {} do without copying",
                can(native),
                can(zero_copy)
            )
        }
        None => "the kernel does not say what the driver can do".into(),
    };
    let not_tried = |reason: &str| format!("not tried: {reason}; {says}");
    let force = format!("lbctl doctor --probe always {name}   # frames may be lost for a moment");
    match untried {
        Untried::Holder => {
            let finding = Finding::ok("native_xdp", not_tried("an lbd uses it"));
            finding.cure("lbctl status   # how each queue is served")
        }
        Untried::Program => Finding::note(
            "native_xdp",
            not_tried("a program is on it"),
            "a trial would take its place for a moment",
        ),
        Untried::Traffic => Finding::note("native_xdp", not_tried("it carries frames"), RESTARTS).cure(force),
        Untried::DefaultRoute => {
            Finding::note("native_xdp", not_tried("the default route goes by it"), RESTARTS).cure(force)
        }
        Untried::NotPermitted => {
            let why = "only root may try";
            Finding::note("native_xdp", not_tried("not allowed"), why)
                .cure(format!("sudo lbctl doctor {name}"))
        }
        Untried::Unusable => Finding::note("native_xdp", not_tried("it cannot carry frames"), "see above"),
        Untried::Unwanted => {
            Finding::note("native_xdp", not_tried("--probe never"), "only a trial shows it for certain")
        }
        Untried::Failed(words) => {
            let found = not_tried(words);
            Finding::warning("native_xdp", found, "lbd will meet the same").cure("dmesg | tail")
        }
    }
}

fn mtu(facts: &Facts, name: &str, link: &LinkFacts) -> Finding {
    let mtu = link.mtu;
    let longest = facts.host.longest_frame - ETHERNET_HEADER_BYTES;
    if mtu <= longest {
        return Finding::ok("mtu", format!("{mtu}; packets of up to {longest} bytes fit a buffer"));
    }
    let found = format!("{mtu}, but only packets of up to {longest} bytes fit a buffer");
    let why = match runs_native(link) {
        true => "longer ones are lost",
        false => "longer ones are lost, and most drivers do not run XDP programs with such an MTU",
    };
    let fitting = if link.driver.name == super::cloud::ENA { longest.min(NATIVE_MTU) } else { longest };
    Finding::warning("mtu", found, why).cure(format!("ip link set dev {name} mtu {fitting}")).cure(
        "the same for the interfaces of clients and targets on this link, or for their routes by this host",
    )
}

fn queues(name: &str, driver: &DriverFacts, cpus: usize) -> Finding {
    let DriverFacts { receive_queues, transmit_queues, .. } = *driver;
    let counts = format!("{receive_queues} receive and {transmit_queues} transmit queues, {cpus} CPUs");
    let set = |queues: u32| format!("ethtool -L {name} combined {queues}");
    let cpus = cpus as u32;
    let most = driver.most_queues.unwrap_or(receive_queues);
    if receive_queues as usize > limits::WORKERS {
        let why =
            format!("lbd serves at most {} queues of an interface, and does not start", limits::WORKERS);
        return Finding::fault("queues", counts, why).cure(set(cpus.min(limits::WORKERS as u32)));
    }
    let pairs = receive_queues.min(transmit_queues);
    if pairs < receive_queues {
        let why = format!("there are as many workers as queues for both directions: {pairs}");
        return Finding::note("queues", counts, why).cure(set(receive_queues));
    }
    if receive_queues > cpus {
        let why = "workers serve several queues each, so each has fewer buffers";
        return Finding::note("queues", counts, why).cure(set(cpus));
    }
    // Where a program may be in place for half of the queues only, more of them would not do.
    if receive_queues < cpus.min(most) && driver.name != super::cloud::ENA {
        let why =
            "there are as many workers as the interface with the fewest queues has, so some CPUs carry none";
        return Finding::note("queues", counts, why).cure(set(cpus.min(most)));
    }
    Finding::ok("queues", counts)
}

fn receive_hash(driver: &DriverFacts) -> Option<Finding> {
    if driver.receive_queues < 2 {
        return None;
    }
    if driver.tells_receive_hash {
        return Some(Finding::ok(
            "receive_hash",
            "key and table can be read: replies come back to their worker",
        ));
    }
    let found = "the driver does not tell the key and table of a Toeplitz hash";
    let why =
        "replies may come to other workers than requests, who hand them over: some 130 ns more for a packet";
    Some(Finding::note("receive_hash", found, why))
}

/// Offloads of a receiver that join packets, or take something off them, before the program sees them.
fn offloads(name: &str, link: &LinkFacts) -> Finding {
    let runs_native = runs_native(link);
    let is_generic = matches!(&link.trial, Trial::Done(tried) if tried.native.is_err());
    let is_harmful = |offload: &&Offload| match offload.name.as_str() {
        "rx-lro" | "rx-gro-hw" => !runs_native,
        "rx-gro" => is_generic,
        "rx-vlan-hw-parse" => !link.vlans.is_empty(),
        _ => false,
    };
    let harmful: Vec<&Offload> = link.driver.offloads.iter().filter(is_harmful).collect();
    if harmful.is_empty() {
        return Finding::ok("offloads", "none that hurts is on");
    }
    let has = |name: &str| harmful.iter().any(|offload| offload.name == name);
    let mut reasons = Vec::new();
    if has("rx-lro") || has("rx-gro-hw") || has("rx-gro") {
        reasons.push("packets that are joined on the way in are longer than any buffer, and drivers refuse XDP programs");
    }
    if has("rx-vlan-hw-parse") {
        reasons.push("frames of its VLANs come without their tags, and pass for its own");
    }
    let names: Vec<&str> = harmful.iter().map(|offload| offload.name.as_str()).collect();
    let found = format!("on: {}", names.join(", "));
    let finding = Finding::warning("offloads", found, reasons.join("; "));
    let (fixed, free): (Vec<&Offload>, Vec<&Offload>) = harmful.iter().partition(|offload| offload.is_fixed);
    let switches: Vec<String> = free.iter().map(|offload| format!("{} off", offload.name)).collect();
    let finding = match switches.is_empty() {
        true => finding,
        false => finding.cure(format!("ethtool -K {name} {}", switches.join(" "))),
    };
    match (fixed.is_empty(), link.driver.name.as_str()) {
        (true, _) => finding,
        (false, "virtio_net") => finding.cure(VIRTIO_CURE),
        (false, _) => finding
            .cure(format!("ethtool -k {name}   # what is [fixed], only driver or hypervisor can change")),
    }
}

fn rings(facts: &Facts, name: &str, link: &LinkFacts) -> Option<Finding> {
    let (length, most) = link.driver.receive_ring?;
    let is_zero_copy = matches!(&link.trial, Trial::Done(tried) if tried.zero_copy.is_ok());
    let layout = facts.config.as_ref().and_then(|config| config.layout.as_ref().ok());
    let frames = format!("a receive ring of {length} frames");
    if let Some(layout) = layout.filter(|layout| is_zero_copy && layout.fill_ring < length) {
        let found = format!("{frames}, but {} of lbd's buffers wait for a queue's frames", layout.fill_ring);
        let config = facts.config.as_ref().map_or(0, |config| config.config.workers.frames);
        let wanted = (config * length.div_ceil(layout.fill_ring)).next_power_of_two();
        let finding =
            Finding::warning("rings", found, "a device that finds no buffer drops what it received");
        return Some(
            finding
                .cure(format!("ethtool -G {name} rx {}", layout.fill_ring))
                .cure(format!("or in the configuration: [workers] frames = {wanted}")),
        );
    }
    let longer = most.min(RING_FRAMES);
    if length < RING_FRAMES_FEW && length < longer {
        let why = "a burst that comes while a worker is busy overflows a short ring";
        return Some(Finding::note("rings", frames, why).cure(format!("ethtool -G {name} rx {longer}")));
    }
    Some(Finding::ok("rings", frames))
}

fn interrupts(link: &LinkFacts) -> Option<Finding> {
    let (first, others) = link.interrupts.split_first()?;
    let is_shared = !others.is_empty() && others.iter().all(|interrupt| interrupt.cpus == first.cpus);
    let lists: Vec<&str> = link.interrupts.iter().map(|interrupt| interrupt.cpus.as_str()).collect();
    if !is_shared || first.cpus.contains([',', '-']) {
        return Some(Finding::ok("interrupts", format!("taken by CPUs {}", lists.join(", "))));
    }
    let found = format!("CPU {} takes all {} interrupts", first.cpus, lists.len());
    let mut finding = Finding::warning("interrupts", found, "one CPU receives for all workers");
    for (cpu, interrupt) in link.interrupts.iter().enumerate().take(CURES) {
        finding = finding.cure(format!("echo {cpu} > /proc/irq/{}/smp_affinity_list", interrupt.number));
    }
    Some(finding)
}

/// Whether the XDP program was seen to run in the driver.
pub(super) fn runs_native(link: &LinkFacts) -> bool {
    matches!(&link.trial, Trial::Done(tried) if tried.native.is_ok())
}

fn driver_name(driver: &DriverFacts) -> &str {
    if driver.name.is_empty() { "the driver" } else { &driver.name }
}

/// Why a device that is in use is not probed.
const RESTARTS: &str = "most drivers restart their rings for a trial, and lose frames for a moment";
/// What a hypervisor must be told so that virtio_net runs XDP programs.
const VIRTIO_CURE: &str =
    "on the hypervisor, for this device: guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off";
/// Largest MTU with which common drivers run XDP programs, one page for a frame: ENA's (amzn-drivers, ENA_XDP_MAX_MTU), and less
/// than veth's 3,506.
pub(super) const NATIVE_MTU: u32 = 3_498;
const ETHERNET_HEADER_BYTES: u32 = 14;
/// A shorter receive ring is remarked on.
const RING_FRAMES_FEW: u32 = 512;
/// A ring that is long enough.
const RING_FRAMES: u32 = 1_024;
/// Lines of one cure.
const CURES: usize = 8;

#[cfg(test)]
mod tests;
