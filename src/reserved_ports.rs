//! Ports that the kernel must not choose for the host's own connections, because flows have them on an address that is the
//! host's, too: kept in `net.ipv4.ip_local_reserved_ports`, which serves IPv6 as well, beside what others have put there.
//!
//! Owned by the control thread. What is added is noted in the state directory first, so that a later start takes it back.

use std::{collections::BTreeSet, error::Error, fs};

use lb_core::tables::{Ownership, Source};
use lb_ctl::{
    config::Config,
    port_set::{HOST_PORTS_FEW, HOST_PORTS_LEAST, PortSet, beside},
    state::{PortNote, StateDirectory},
};

use crate::{
    control::Control,
    host_sockets,
    log::{complain, say},
    port_settings::{EPHEMERAL_NAME, RESERVED_NAME, Settings},
};

/// The ports that this process has reserved.
pub struct ReservedPorts {
    kernel: Settings,
    /// Where the settings hold: this boot, this network namespace.
    place: String,
    /// What was not reserved before.
    ours: PortSet,
    /// What they are reserved for; `None` when that is not done yet.
    reserved_for: Option<BTreeSet<Source>>,
    /// Why that cannot be done, once it has been said.
    complaint: Option<String>,
}

/// What has come of a reservation.
#[derive(Debug, Default)]
pub struct Reservation {
    /// Ports that were not reserved before.
    pub added: PortSet,
    /// How many ephemeral ports are left to the host, if they are few because of it.
    pub few_left: Option<usize>,
}

impl ReservedPorts {
    /// Those that an earlier process left behind, in this network namespace, are ours.
    pub fn left_behind(state: &StateDirectory) -> Result<ReservedPorts, Box<dyn Error>> {
        let kernel = Settings::of_this_namespace();
        let boot = fs::read_to_string(BOOT).map_err(|error| format!("{BOOT}: {error}"))?;
        let namespace = fs::read_link(NAMESPACE).map_err(|error| format!("{NAMESPACE}: {error}"))?;
        ReservedPorts::noted(state, kernel, format!("{} {}", boot.trim(), namespace.display()))
    }

    fn noted(
        state: &StateDirectory,
        kernel: Settings,
        place: String,
    ) -> Result<ReservedPorts, Box<dyn Error>> {
        let note = state.reserved_ports()?.filter(|note| note.place == place);
        let ours = note.map_or(Ok(PortSet::default()), |note| note.ports.parse())?;
        Ok(ReservedPorts { kernel, place, ours, reserved_for: None, complaint: None })
    }

    /// Reserves the ports of these sources and no others, and says what has come of it; `None` when they are those of before.
    /// Refuses to leave the host without ephemeral ports. On an error all is as it was.
    pub fn reserve(
        &mut self,
        sources: &BTreeSet<Source>,
        state: &StateDirectory,
    ) -> Result<Option<Reservation>, Box<dyn Error>> {
        if self.reserved_for.as_ref() == Some(sources) {
            return Ok(None);
        }
        let wanted = ports(sources);
        let reservation = match wanted.is_empty() && self.ours.is_empty() {
            true => Reservation::default(),
            false => self.change_to(sources, &wanted, state)?,
        };
        self.reserved_for = Some(sources.clone());
        Ok(Some(reservation))
    }

    /// Takes back all.
    pub fn release(&mut self, state: &StateDirectory) -> Result<(), Box<dyn Error>> {
        self.reserve(&BTreeSet::new(), state).map(drop)
    }

    fn change_to(
        &mut self,
        sources: &BTreeSet<Source>,
        wanted: &PortSet,
        state: &StateDirectory,
    ) -> Result<Reservation, Box<dyn Error>> {
        let present = self.kernel.reserved()?;
        let others = present.minus(&self.ours);
        let next = others.union(wanted);
        let few_left = self.leave_some_to_the_host(sources, &others, wanted)?;
        let ours = wanted.minus(&others);
        self.note(&self.ours.union(&ours), state)?; // First: after a crash right behind this, they are known for ours.
        if next != present
            && let Err(error) = self.kernel.change_reserved(&present, &next)
        {
            self.note(&self.ours, state)?;
            return Err(error);
        }
        self.note(&ours, state)?;
        let added = ours.minus(&self.ours);
        self.ours = ours;
        Ok(Reservation { added, few_left })
    }

    /// How many ephemeral ports are left beside those of others and the wanted ones, if they are few; too few are refused. What others
    /// have reserved alone is their business.
    fn leave_some_to_the_host(
        &self,
        sources: &BTreeSet<Source>,
        others: &PortSet,
        wanted: &PortSet,
    ) -> Result<Option<usize>, Box<dyn Error>> {
        if wanted.is_empty() {
            return Ok(None);
        }
        let ephemeral = self.kernel.ephemeral()?;
        let before = PortSet::of(ephemeral.clone()).minus(others);
        let after = before.minus(wanted);
        let left = after.count();
        if after == before || left >= HOST_PORTS_FEW {
            return Ok(None);
        }
        if left >= HOST_PORTS_LEAST {
            return Ok(Some(left));
        }
        let addresses: BTreeSet<String> = sources.iter().map(|source| source.address.to_string()).collect();
        Err(format!(
            "source NAT with ports {} on the host's own address {} would leave the host {left} ports for its own connections \
             and health checks, of {HOST_PORTS_LEAST} at least ({EPHEMERAL_NAME} is {}-{}): set source_nat.ports, for example to \"{}\", or give source_nat.addresses \
             addresses that the host does not have",
            ports(sources),
            Vec::from_iter(addresses).join(", "),
            ephemeral.start(),
            ephemeral.end(),
            beside(&ephemeral),
        )
        .into())
    }

    fn note(&self, ports: &PortSet, state: &StateDirectory) -> Result<(), Box<dyn Error>> {
        let note = PortNote { place: self.place.clone(), ports: ports.to_string() };
        Ok(state.note_reserved_ports((!ports.is_empty()).then_some(&note))?)
    }
}

impl Control {
    /// Reserves the ports of those of `sources` that are the host's own addresses, and says so.
    pub(crate) fn reserve_ports(
        &mut self,
        sources: &[Source],
        config: &Config,
    ) -> Result<(), Box<dyn Error>> {
        let host = self.host_addresses();
        let is_shared =
            |source: &&Source| self.addresses.ownership(source.address, &host) == Ownership::SharedWithHost;
        let shared: BTreeSet<Source> = sources.iter().filter(is_shared).copied().collect();
        let Some(Reservation { added, few_left }) = self.reserved_ports.reserve(&shared, &self.state)? else {
            return Ok(());
        };
        if !added.is_empty() {
            say!("ports {added} are kept from the host's own connections ({RESERVED_NAME})");
            warn_of_sockets(&shared, config);
        }
        if let Some(left) = few_left {
            complain!(
                "WARNING: source_nat.ports leaves the host {left} of its ports ({EPHEMERAL_NAME}) for its own connections \
                 and health checks, which fail when all are in use"
            );
        }
        Ok(())
    }

    /// The same for the tables in force, which nobody can refuse any more: says once what is wrong, and tries again each time.
    pub(crate) fn reserve_ports_of_tables(&mut self) {
        let (tables, config) = (self.tables.clone(), self.store.config.clone());
        let complaint = self.reserve_ports(tables.sources(), &config).err().map(|error| error.to_string());
        if let Some(error) =
            complaint.as_ref().filter(|error| self.reserved_ports.complaint.as_ref() != Some(error))
        {
            complain!("{error}");
        }
        self.reserved_ports.complaint = complaint;
    }
}

/// Reserving a port takes it from nobody who has it already.
fn warn_of_sockets(sources: &BTreeSet<Source>, config: &Config) {
    let targets = config.target_groups.iter().flat_map(|group| &group.targets).map(|target| target.address);
    match host_sockets::at_risk(sources, &targets.collect()) {
        Ok(sockets) => {
            for socket in sockets.iter().take(SOCKETS_SHOWN) {
                complain!(
                    "WARNING: the host's {socket} has a port of source_nat.ports: what targets send to it is lost"
                );
            }
            if sockets.len() > SOCKETS_SHOWN {
                complain!("WARNING: and {} sockets more", sockets.len() - SOCKETS_SHOWN);
            }
        }
        Err(error) => complain!("the host's sockets are not looked at: {error}"),
    }
}

fn ports(sources: &BTreeSet<Source>) -> PortSet {
    let ranges: BTreeSet<(u16, u16)> =
        sources.iter().map(|source| (source.first_port, source.last_port)).collect();
    ranges.iter().fold(PortSet::default(), |set, (first, last)| set.union(&PortSet::of(*first..=*last)))
}

const BOOT: &str = "/proc/sys/kernel/random/boot_id";
const NAMESPACE: &str = "/proc/thread-self/ns/net";

/// Sockets that one change of the reservation warns of.
const SOCKETS_SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// The kernel's settings and a state directory, in a directory for one test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, reserved: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("lbd-reserved-ports-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            let scratch = Scratch(path);
            scratch.set(reserved);
            fs::write(scratch.0.join("ephemeral"), "32768\t60999\n").unwrap();
            scratch
        }

        fn state(&self) -> StateDirectory {
            StateDirectory::open(&self.0.join("state")).unwrap()
        }

        fn start(&self, state: &StateDirectory, place: &str) -> ReservedPorts {
            let kernel = Settings { reserved: self.0.join("reserved"), ephemeral: self.0.join("ephemeral") };
            ReservedPorts::noted(state, kernel, place.into()).unwrap()
        }

        fn set(&self, reserved: &str) {
            fs::write(self.0.join("reserved"), reserved).unwrap();
        }

        fn reserved(&self) -> String {
            fs::read_to_string(self.0.join("reserved")).unwrap().trim().to_owned()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn sources(ranges: &[(u16, u16)]) -> BTreeSet<Source> {
        let address = "198.18.0.2".parse().unwrap();
        ranges.iter().map(|&(first_port, last_port)| Source { address, first_port, last_port }).collect()
    }

    fn added(ports: &mut ReservedPorts, ranges: &[(u16, u16)], state: &StateDirectory) -> PortSet {
        ports.reserve(&sources(ranges), state).unwrap().unwrap().added
    }

    #[test]
    fn what_others_reserved_stays() {
        let scratch = Scratch::new("others", "8080,9000-9010\n");
        let state = scratch.state();
        let mut ports = scratch.start(&state, "here");
        let added = self::added(&mut ports, &[(9_005, 9_020)], &state);
        assert_eq!((added.to_string(), scratch.reserved()), ("9011-9020".into(), "8080,9000-9020".into()));
        scratch.set("7,8080,9000-9020"); // Somebody adds another.
        let added = self::added(&mut ports, &[(9_005, 9_015), (100, 101)], &state);
        assert_eq!(
            (added.to_string(), scratch.reserved()),
            ("100-101".into(), "7,100-101,8080,9000-9015".into())
        );
        ports.release(&state).unwrap();
        assert_eq!(scratch.reserved(), "7,8080,9000-9010");
        assert_eq!(state.reserved_ports().unwrap(), None);
    }

    #[test]
    fn a_later_start_takes_back_what_a_crash_left() {
        let scratch = Scratch::new("crash", "8080");
        let state = scratch.state();
        scratch.start(&state, "here").reserve(&sources(&[(2_000, 2_999)]), &state).unwrap();
        let mut later = scratch.start(&state, "here");
        later.reserve(&sources(&[(2_500, 3_500)]), &state).unwrap();
        assert_eq!(scratch.reserved(), "2500-3500,8080");
        let mut last = scratch.start(&state, "here");
        last.reserve(&sources(&[]), &state).unwrap();
        assert_eq!(scratch.reserved(), "8080");
    }

    #[test]
    fn a_reboot_has_forgotten_ours() {
        let scratch = Scratch::new("reboot", "");
        let state = scratch.state();
        scratch.start(&state, "here").reserve(&sources(&[(2_000, 2_999)]), &state).unwrap();
        scratch.set("2000-2100"); // The new boot's own.
        let mut later = scratch.start(&state, "elsewhere");
        later.reserve(&sources(&[(2_000, 2_999)]), &state).unwrap();
        later.release(&state).unwrap();
        assert_eq!(scratch.reserved(), "2000-2100");
    }

    #[test]
    fn the_host_keeps_ephemeral_ports() {
        let scratch = Scratch::new("ephemeral", "60000-60999");
        let state = scratch.state();
        let mut ports = scratch.start(&state, "here");
        for whole in [(1_024, 65_535), (32_768, 59_999), (32_768, 58_976)] {
            let refusal = ports.reserve(&sources(&[whole]), &state).unwrap_err().to_string();
            let expected = format!("ports {}-{} on the host's own address 198.18.0.2", whole.0, whole.1);
            assert!(refusal.contains(&expected), "{refusal}");
            assert!(refusal.contains("set source_nat.ports, for example to \"1024-32767\""), "{refusal}");
        }
        assert!(ports.reserve(&sources(&[(1_024, 65_535)]), &state).is_err(), "asking again does not help");
        assert_eq!(scratch.reserved(), "60000-60999");
        assert_eq!(state.reserved_ports().unwrap(), None);
        for (last, few_left) in [(58_975, Some(1_024)), (55_904, Some(4_095)), (55_903, None), (32_767, None)]
        {
            let reservation = ports.reserve(&sources(&[(1_024, last)]), &state).unwrap().unwrap();
            assert_eq!(reservation.few_left, few_left, "{last}");
        }
        scratch.set("32768-60999"); // Whoever leaves the host nothing, it is not lbd.
        ports.reserve(&sources(&[(1_024, 32_766)]), &state).unwrap();
    }

    #[test]
    fn a_setting_that_cannot_be_written_says_what_to_do() {
        let scratch = Scratch::new("unwritable", "8080");
        let state = scratch.state();
        let mut ports = scratch.start(&state, "here");
        let text = fs::read_to_string(scratch.0.join("reserved")).unwrap();
        fs::remove_file(scratch.0.join("reserved")).unwrap();
        fs::create_dir(scratch.0.join("reserved")).unwrap();
        assert!(ports.reserve(&sources(&[(2_000, 2_999)]), &state).is_err());
        let refusal = ports
            .kernel
            .change_reserved(&PortSet::default(), &text.parse().unwrap())
            .unwrap_err()
            .to_string();
        assert!(refusal.contains("sysctl -w net.ipv4.ip_local_reserved_ports=8080"), "{refusal}");
        fs::remove_dir(scratch.0.join("reserved")).unwrap();
    }
}
