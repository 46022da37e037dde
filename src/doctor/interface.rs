//! One interface: what it is, what its driver says and does, who uses it.

use std::{collections::BTreeSet, fs, path::Path};

use lb_ctl::doctor::{
    DriverFacts, Interrupt, LinkFacts, Offload, ProbeWhen, ProgramFacts, Trial, Tried, Untried, XdpClaims,
};
use lb_io::inspect::{self, AttachedProgram, EngineError, Link, Owner, ProgramError, ProgramPlace};

use super::proc::value;
use crate::run::LOCK_DIRECTORY;

/// What is around an interface.
pub(super) struct Surroundings {
    /// Which interfaces may be tried.
    pub(super) probe: ProbeWhen,
    /// Interfaces that a default route goes by.
    pub(super) default_routes: BTreeSet<String>,
    /// All interfaces.
    pub(super) links: Vec<Link>,
    /// The same a while later.
    pub(super) later: Vec<Link>,
}

/// Whether nothing of the interface is made anew when a program comes: no frame is lost by trying.
pub(super) fn is_virtual(link: &Link) -> bool {
    matches!(link.kind.as_str(), "veth" | "tun")
}

/// The interface of that name. `None`: there is none.
pub(super) fn facts(name: &str, surroundings: &Surroundings) -> Result<Option<LinkFacts>, String> {
    let Some(link) = surroundings.links.iter().find(|link| link.name == name) else { return Ok(None) };
    let driver =
        inspect::driver(link).map_err(|error| format!("cannot ask the driver of {name}: {error}"))?;
    let holder = inspect::holder(Path::new(LOCK_DIRECTORY), name).unwrap_or(None);
    let is_on_it = |other: &&Link| other.kind == "vlan" && other.lower == Some(link.index);
    let name_of =
        |index| surroundings.links.iter().find(|other| other.index == index).map(|other| other.name.clone());
    Ok(Some(LinkFacts {
        is_up: link.is_up,
        has_carrier: link.has_carrier,
        mac: link.mac.map(|mac| mac.0.map(|byte| format!("{byte:02x}")).join(":")),
        mtu: link.mtu,
        kind: link.kind.clone(),
        master: link.master.and_then(name_of),
        vlans: surroundings.links.iter().filter(is_on_it).map(|vlan| vlan.name.clone()).collect(),
        driver: driver_facts(driver),
        program: link.program.map_or(ProgramFacts::None, program),
        holder,
        claims: inspect::xdp_features(link)
            .ok()
            .flatten()
            .map(|features| XdpClaims { native: features.has_native(), zero_copy: features.has_zero_copy() }),
        trial: trial(link, holder, surroundings),
        rp_filter: rp_filter(name),
        interrupts: interrupts(name),
    }))
}

fn driver_facts(driver: inspect::Driver) -> DriverFacts {
    let offloads = driver.features.into_iter().filter(|feature| feature.is_on);
    DriverFacts {
        name: driver.name,
        receive_queues: driver.receive_queues,
        transmit_queues: driver.transmit_queues,
        most_queues: driver.most_queues,
        receive_ring: driver.receive_ring,
        tells_receive_hash: driver.receive_hash.is_some(),
        offloads: offloads
            .map(|feature| Offload { name: feature.name, is_fixed: feature.is_fixed })
            .collect(),
    }
}

fn program(program: AttachedProgram) -> ProgramFacts {
    if program.place == ProgramPlace::Several {
        return ProgramFacts::Several;
    }
    match inspect::owner(program) {
        Ok(Owner::Ours) => ProgramFacts::Ours,
        Ok(Owner::Stranger(name)) => ProgramFacts::Stranger(name),
        Ok(Owner::Unknown) | Err(_) => ProgramFacts::Unknown,
    }
}

/// Tries the interface, if nobody minds.
fn trial(link: &Link, holder: Option<u32>, surroundings: &Surroundings) -> Trial {
    if let Some(untried) = objection(link, holder, surroundings) {
        return Trial::Left(untried);
    }
    match inspect::probe(&link.name) {
        Ok(Some(probe)) => {
            Trial::Done(Tried { native: probe.native, zero_copy: probe.zero_copy, copy: probe.copy })
        }
        Ok(None) => Trial::Left(Untried::Program),
        Err(EngineError::Program(ProgramError::NotPermitted(_))) => Trial::Left(Untried::NotPermitted),
        Err(error) => Trial::Left(Untried::Failed(error.to_string())),
    }
}

fn objection(link: &Link, holder: Option<u32>, surroundings: &Surroundings) -> Option<Untried> {
    let later = surroundings.later.iter().find(|other| other.index == link.index);
    let is_in_use = surroundings.probe == ProbeWhen::Idle && !is_virtual(link);
    if !link.is_up || link.mac.is_none() {
        Some(Untried::Unusable)
    } else if holder.is_some() {
        Some(Untried::Holder)
    } else if link.program.is_some() {
        Some(Untried::Program)
    } else if surroundings.probe == ProbeWhen::Never {
        Some(Untried::Unwanted)
    } else if is_in_use && surroundings.default_routes.contains(&link.name) {
        Some(Untried::DefaultRoute)
    } else if is_in_use && later.is_none_or(|later| later.frames != link.frames) {
        Some(Untried::Traffic)
    } else {
        None
    }
}

/// The larger of both settings is in force (Linux, ip-sysctl).
fn rp_filter(name: &str) -> Option<u8> {
    let setting = |name| value(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"));
    setting("all").max(setting(name))
}

/// Interrupts of the interface's queues, by the names that drivers give them.
fn interrupts(name: &str) -> Vec<Interrupt> {
    let text = fs::read_to_string("/proc/interrupts").unwrap_or_default();
    let device = fs::read_link(format!("/sys/class/net/{name}/device")).ok();
    let device = device.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    let cpus = |number: u32| {
        let list = |file| value::<String>(format!("/proc/irq/{number}/{file}"));
        list("effective_affinity_list").filter(|list| !list.is_empty()).or_else(|| list("smp_affinity_list"))
    };
    let numbers = text.lines().filter_map(|line| queue_interrupt(line, name, device));
    numbers.filter_map(|number| Some(Interrupt { number, cpus: cpus(number)? })).collect()
}

/// The number of a line of /proc/interrupts, if its name is that of a queue which receives: `eth0-TxRx-0` or `ice-eth0-TxRx-0`,
/// `virtio2-input.0` and `mlx5_comp0@pci:0000:05:00.0` by the device.
fn queue_interrupt(line: &str, interface: &str, device: Option<&str>) -> Option<u32> {
    let (number, rest) = line.trim_start().split_once(':')?;
    let name = rest.split_ascii_whitespace().last()?;
    let has_interface = name.split_once(interface).is_some_and(|(before, after)| {
        (before.is_empty() || before.ends_with('-')) && after.starts_with('-') && has_queue(after)
    });
    let has_device = device.is_some_and(|device| {
        name.starts_with(&format!("{device}-input."))
            || name.starts_with("mlx5_comp") && name.ends_with(device)
    });
    if has_interface || has_device { number.parse().ok() } else { None }
}

/// Queues end in a number; those that only send are of no interest.
fn has_queue(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with(|letter: char| letter.is_ascii_digit()) && (name.contains("rx") || !name.contains("tx"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_are_known_by_their_drivers_names() {
        for (name, interface, device, expected) in [
            ("eth0-TxRx-0", "eth0", None, true),
            ("ice-eth0-TxRx-3", "eth0", None, true),
            ("ens5-Tx-Rx-1", "ens5", None, true),
            ("eth0-rx-0", "eth0", None, true),
            ("eth0-tx-0", "eth0", None, false),
            ("eth0", "eth0", None, false),
            ("eth01-TxRx-0", "eth0", None, false),
            ("xeth0-TxRx-0", "eth0", None, false),
            ("virtio2-input.0", "eth0", Some("virtio2"), true),
            ("virtio2-output.0", "eth0", Some("virtio2"), false),
            ("virtio21-input.0", "eth0", Some("virtio2"), false),
            ("mlx5_comp1@pci:0000:05:00.0", "eth0", Some("0000:05:00.0"), true),
            ("mlx5_async0@pci:0000:05:00.0", "eth0", Some("0000:05:00.0"), false),
        ] {
            let line = format!(" 41:          1          0  PCI-MSIX-0000:00:04.0   1-edge      {name}");
            assert_eq!(queue_interrupt(&line, interface, device), expected.then_some(41), "{name}");
        }
        assert_eq!(queue_interrupt("           CPU0       CPU1", "eth0", None), None);
    }

    fn link(kind: &str) -> Link {
        Link {
            name: "eth0".into(),
            index: 2,
            is_up: true,
            has_carrier: true,
            mac: Some(lb_core::tables::Mac::default()),
            mtu: 1_500,
            receive_queues: 1,
            transmit_queues: 1,
            kind: kind.into(),
            master: None,
            lower: None,
            frames: 7,
            program: None,
        }
    }

    #[test]
    fn only_what_nobody_uses_is_tried() {
        let objection = |probe, link: &Link, holder, default_route: bool, frames| {
            let default_routes = default_route.then(|| link.name.clone()).into_iter().collect();
            let later = vec![Link { frames, ..link.clone() }];
            objection(link, holder, &Surroundings { probe, default_routes, links: vec![link.clone()], later })
        };
        let (device, veth) = (link(""), link("veth"));
        let used =
            Link { program: Some(AttachedProgram { place: ProgramPlace::Several, id: 1 }), ..link("veth") };
        assert_eq!(objection(ProbeWhen::Idle, &device, None, false, 7), None);
        assert_eq!(objection(ProbeWhen::Idle, &device, None, false, 8), Some(Untried::Traffic));
        assert_eq!(objection(ProbeWhen::Idle, &device, None, true, 7), Some(Untried::DefaultRoute));
        assert_eq!(objection(ProbeWhen::Idle, &veth, None, true, 8), None);
        for probe in [ProbeWhen::Idle, ProbeWhen::Always, ProbeWhen::Never] {
            assert_eq!(objection(probe, &used, None, false, 7), Some(Untried::Program));
            assert_eq!(objection(probe, &device, Some(1), false, 7), Some(Untried::Holder));
        }
        assert_eq!(objection(ProbeWhen::Always, &device, None, true, 8), None);
        assert_eq!(objection(ProbeWhen::Never, &veth, None, false, 7), Some(Untried::Unwanted));
        let down = Link { is_up: false, ..link("") };
        assert_eq!(objection(ProbeWhen::Always, &down, None, false, 7), Some(Untried::Unusable));
    }
}
