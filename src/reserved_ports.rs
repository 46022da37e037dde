//! Ports that the kernel must not choose for the host's own connections, because flows have them on an address that is the
//! host's, too: kept in `net.ipv4.ip_local_reserved_ports`, which serves IPv6 as well, beside what others have put there.
//!
//! Owned by the control thread. What is added is noted in the state directory first, so that a later start takes it back.

use std::{collections::BTreeSet, error::Error, fmt, fs, ops::RangeInclusive};

use lb_core::tables::{Ownership, Source};
use lb_ctl::{
    compile,
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
    reserved_for: Option<SharedSources>,
    /// Why that cannot be done, once it has been said.
    complaint: Option<String>,
}

/// Sources whose addresses are the host's, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedSources {
    /// Those that new flows get.
    pub configured: BTreeSet<Source>,
    /// Those of an earlier configuration, that are kept until their flows are over.
    pub kept: BTreeSet<Source>,
}

/// What has come of a reservation.
#[derive(Debug, Default)]
pub struct Reservation {
    /// Ports that were not reserved before.
    pub added: PortSet,
    /// If the host is left few of its ephemeral ports because of it.
    pub few_left: Option<FewLeft>,
}

/// Ephemeral ports that the host is left, when they are few.
#[derive(Debug, PartialEq, Eq)]
pub struct FewLeft {
    /// How many.
    pub count: usize,
    /// How many it will be left when no flow has an older source.
    pub beside_configured: usize,
    /// What older sources alone take from it.
    pub kept: PortSet,
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
    /// Refuses configured ones that leave the host without ephemeral ports. On an error all is as it was, or the next call makes it so.
    pub fn reserve(
        &mut self,
        sources: &SharedSources,
        state: &StateDirectory,
    ) -> Result<Option<Reservation>, Box<dyn Error>> {
        if self.reserved_for.as_ref() == Some(sources) {
            return Ok(None);
        }
        let wanted = ports(&sources.configured).union(&ports(&sources.kept));
        let reservation = match wanted.is_empty() && self.ours.is_empty() {
            true => Reservation::default(),
            false => self.change_to(sources, &wanted, state)?,
        };
        self.reserved_for = Some(sources.clone());
        Ok(Some(reservation))
    }

    /// Takes back all.
    pub fn release(&mut self, state: &StateDirectory) -> Result<(), Box<dyn Error>> {
        self.reserve(&SharedSources::default(), state).map(drop)
    }

    fn change_to(
        &mut self,
        sources: &SharedSources,
        wanted: &PortSet,
        state: &StateDirectory,
    ) -> Result<Reservation, Box<dyn Error>> {
        let present = self.kernel.reserved()?;
        let others = present.minus(&self.ours);
        let next = others.union(wanted);
        let few_left = self.leave_some_to_the_host(sources, &others)?;
        let ours = wanted.minus(&others);
        self.note(&self.ours.union(&ours), state)?; // First: after a crash right behind this, they are known for ours.
        if next != present
            && let Err(error) = self.kernel.change_reserved(&present, &next)
        {
            self.note(&self.ours, state)?;
            return Err(error);
        }
        let added = ours.minus(&self.ours);
        (self.ours, self.reserved_for) = (ours, None);
        self.note(&self.ours, state)?;
        Ok(Reservation { added, few_left })
    }

    /// Says if the host is left few ephemeral ports beside those of others and of these sources; refuses configured ones that leave it
    /// too few. What others have reserved alone is their business, and older sources go by themselves.
    fn leave_some_to_the_host(
        &self,
        sources: &SharedSources,
        others: &PortSet,
    ) -> Result<Option<FewLeft>, Box<dyn Error>> {
        if *sources == SharedSources::default() {
            return Ok(None);
        }
        let ephemeral = self.kernel.ephemeral()?;
        let free = PortSet::of(ephemeral.clone()).minus(others);
        let beside_configured = free.minus(&ports(&sources.configured));
        if beside_configured != free && beside_configured.count() < HOST_PORTS_LEAST {
            return Err(refusal(&sources.configured, beside_configured.count(), &ephemeral).into());
        }
        let left = beside_configured.minus(&ports(&sources.kept));
        let is_few = left != free && left.count() < HOST_PORTS_FEW;
        Ok(is_few.then(|| FewLeft {
            count: left.count(),
            beside_configured: beside_configured.count(),
            kept: beside_configured.minus(&left),
        }))
    }

    fn note(&self, ports: &PortSet, state: &StateDirectory) -> Result<(), Box<dyn Error>> {
        let note = PortNote { place: self.place.clone(), ports: ports.to_string() };
        Ok(state.note_reserved_ports((!ports.is_empty()).then_some(&note))?)
    }
}

impl Control {
    /// Reserves the ports of those of `sources` that are the host's own addresses, and says so. Those that `config` does not name are
    /// kept for flows of before.
    pub(crate) fn reserve_ports(
        &mut self,
        sources: &[Source],
        config: &Config,
    ) -> Result<(), Box<dyn Error>> {
        let host = self.host_addresses();
        let ownership = |address| self.addresses.ownership(address, &host);
        let of_config = compile::sources(config, &ownership);
        let is_shared = |source: &&Source| ownership(source.address) == Ownership::SharedWithHost;
        let all: BTreeSet<Source> = sources.iter().filter(is_shared).copied().collect();
        let (configured, kept) = all.iter().copied().partition(|source| of_config.contains(source));
        let shared = SharedSources { configured, kept };
        let Some(Reservation { added, few_left }) = self.reserved_ports.reserve(&shared, &self.state)? else {
            return Ok(());
        };
        if !added.is_empty() {
            say!("ports {added} are kept from the host's own connections ({RESERVED_NAME})");
            warn_of_sockets(&all, config);
        }
        if let Some(few_left) = few_left {
            complain!("WARNING: {few_left}");
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

impl fmt::Display for FewLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FewLeft { count, beside_configured, kept } = self;
        let for_what = "for its own connections and health checks, which fail when all are in use";
        match kept.is_empty() {
            true => write!(
                f,
                "source_nat.ports leaves the host {count} of its ports ({EPHEMERAL_NAME}) {for_what}"
            ),
            false => write!(
                f,
                "the host is left {count} of its ports ({EPHEMERAL_NAME}) {for_what}: {kept}, of the source_nat.ports of \
                 before, are kept until their flows are over; it then has {beside_configured}"
            ),
        }
    }
}

fn refusal(configured: &BTreeSet<Source>, left: usize, ephemeral: &RangeInclusive<u16>) -> String {
    let addresses: BTreeSet<String> = configured.iter().map(|source| source.address.to_string()).collect();
    format!(
        "source NAT with ports {} on the host's own address {} would leave the host {left} ports for its own connections \
         and health checks, of {HOST_PORTS_LEAST} at least ({EPHEMERAL_NAME} is {}-{}): set source_nat.ports, for example to \"{}\", or give source_nat.addresses \
         addresses that the host does not have",
        ports(configured),
        Vec::from_iter(addresses).join(", "),
        ephemeral.start(),
        ephemeral.end(),
        beside(ephemeral),
    )
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
mod tests;
