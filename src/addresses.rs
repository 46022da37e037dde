//! The VIPs and source addresses that this process has put on interfaces: noted in the state directory before the kernel has them, so that a
//! later start after a crash knows them for ours. Owned by the control thread.

use std::{collections::BTreeSet, error::Error, net::IpAddr};

use lb_core::tables::Ownership;
use lb_ctl::{
    config::{Assignment, Config, SourceNat},
    state::{AssignedAddress, RunMarker, StateDirectory},
};
use lb_io::{
    device::Device,
    vip::{self, Assigned},
};

use crate::log::{complain, say};

/// Our addresses, by interface.
#[derive(Debug, Default)]
pub struct Addresses {
    ours: BTreeSet<(String, IpAddr)>,
    /// Those of ours that nobody wants any more, but that flows may have as their source.
    kept: BTreeSet<IpAddr>,
    /// Taken off by us, and maybe still among those that the host is known to have: news of that takes a moment.
    released: BTreeSet<IpAddr>,
    /// The marker in the state directory.
    noted: Option<RunMarker>,
}

impl Addresses {
    /// Those that an earlier process left behind are ours.
    pub fn left_behind_by(marker: Option<&RunMarker>) -> Addresses {
        let rows = marker.map(|marker| marker.assigned.as_slice()).unwrap_or_default();
        let ours = rows.iter().map(|row| (row.interface.clone(), row.address)).collect();
        Addresses { ours, noted: marker.cloned(), ..Addresses::default() }
    }

    /// Who else uses an address, given all that the host has.
    pub fn ownership(&self, address: IpAddr, host: &BTreeSet<IpAddr>) -> Ownership {
        let is_ours = self.ours.iter().any(|row| row.1 == address) || self.released.contains(&address);
        if host.contains(&address) && !is_ours { Ownership::SharedWithHost } else { Ownership::Exclusive }
    }

    /// Forgets what was taken off once it is gone from the host's addresses: what comes back then is somebody else's.
    pub fn settle(&mut self, host: &BTreeSet<IpAddr>) {
        self.released.retain(|address| host.contains(address));
    }

    /// Puts the addresses that `config` wants on interfaces where they are missing, and says so: also one of ours that a reboot
    /// or somebody's hand has taken off. One of ours that it wants on another interface moves. An address that the host has already
    /// stays the host's. On an error all are where they were.
    pub fn assign(
        &mut self,
        config: &Config,
        host: &BTreeSet<IpAddr>,
        state: &StateDirectory,
    ) -> Result<(), Box<dyn Error>> {
        let before = self.ours.clone();
        let wanted = wanted(config);
        let is_moved = |row: &&(String, IpAddr)| {
            !wanted.contains(*row) && wanted.iter().any(|elsewhere| elsewhere.1 == row.1)
        };
        let moved: Vec<(String, IpAddr)> = before.iter().filter(is_moved).cloned().collect();
        self.keep_only(&before.iter().filter(|row| !moved.contains(row)).cloned().collect());
        for row in wanted.iter().filter(|row| !before.contains(*row)) {
            if host.contains(&row.1) && !self.released.contains(&row.1) {
                say!("{} is the host's already: ports that are not ours stay the host's", row.1);
            } else {
                self.ours.insert(row.clone());
            }
        }
        // Noted first: after a crash right behind this, they are known for ours.
        let assigned = self.note(state).and_then(|()| self.add_missing(&wanted, &before));
        if assigned.is_err() {
            self.keep_only(&before);
            self.ours = before;
            moved.iter().for_each(|row| self.put_back(row));
        }
        self.note(state).and(assigned)
    }

    /// Adds one of ours again that was taken off in vain.
    fn put_back(&mut self, row: &(String, IpAddr)) {
        match add(row) {
            Ok(_) => drop(self.released.remove(&row.1)),
            Err(error) => complain!("{error}"),
        }
    }

    /// Adds those of ours that are wanted where they are missing. One that somebody else adds in this moment is not ours.
    fn add_missing(
        &mut self,
        wanted: &BTreeSet<(String, IpAddr)>,
        before: &BTreeSet<(String, IpAddr)>,
    ) -> Result<(), Box<dyn Error>> {
        let ours: Vec<(String, IpAddr)> = self.ours.intersection(wanted).cloned().collect();
        for row in ours {
            match add(&row)? {
                Assigned::Added => {
                    self.released.remove(&row.1);
                    say!("added {} to {}", row.1, row.0);
                }
                Assigned::AlreadyThere if before.contains(&row) => {}
                Assigned::AlreadyThere => drop(self.ours.remove(&row)), // Somebody was quicker.
            }
        }
        Ok(())
    }

    /// Tells the neighbours where the addresses are.
    pub fn announce(&self) {
        let ours = Vec::from_iter(&self.ours);
        for of_interface in ours.chunk_by(|one, other| one.0 == other.0) {
            let addresses: Vec<IpAddr> = of_interface.iter().map(|row| row.1).collect();
            if let Err(error) = announce(&of_interface[0].0, &addresses) {
                complain!("{error}; neighbours find the addresses when they ask for them");
            }
        }
    }

    /// Takes the addresses off that `config` does not want (any more), but for those of `in_use` that it wants on no interface.
    pub fn release(
        &mut self,
        config: &Config,
        in_use: &BTreeSet<IpAddr>,
        state: &StateDirectory,
    ) -> Result<(), Box<dyn Error>> {
        let mut keep = wanted(config);
        let is_wanted = |address: &IpAddr| keep.iter().any(|row| row.1 == *address);
        let kept = |row: &&(String, IpAddr)| in_use.contains(&row.1) && !is_wanted(&row.1);
        let kept: Vec<(String, IpAddr)> = self.ours.iter().filter(kept).cloned().collect();
        self.kept = kept.iter().map(|row| row.1).collect();
        keep.extend(kept);
        self.keep_only(&keep);
        self.note(state)
    }

    /// Whether an address is still on an interface only because flows may have it as their source.
    pub fn is_kept(&self, address: IpAddr) -> bool {
        self.kept.contains(&address)
    }

    /// Takes all addresses off.
    pub fn release_all(&mut self) {
        self.keep_only(&BTreeSet::new());
    }

    fn keep_only(&mut self, keep: &BTreeSet<(String, IpAddr)>) {
        self.released.extend(self.ours.difference(keep).map(|row| row.1));
        for (interface, address) in self.ours.difference(keep) {
            match remove(interface, *address) {
                Ok(()) => say!("removed {address} from {interface}"),
                Err(error) => {
                    complain!("{error}; remove it by hand: ip address del {address} dev {interface}")
                }
            }
        }
        self.ours = self.ours.intersection(keep).cloned().collect();
    }

    /// Keeps the marker true. Where the disk is full, one of an earlier run with the same addresses serves as well: a start after
    /// a crash is not to fail for that.
    fn note(&mut self, state: &StateDirectory) -> Result<(), Box<dyn Error>> {
        let row = |(interface, address): &(String, IpAddr)| AssignedAddress {
            interface: interface.clone(),
            address: *address,
        };
        let marker = RunMarker { pid: std::process::id(), assigned: self.ours.iter().map(row).collect() };
        if self.noted.as_ref() == Some(&marker) {
            return Ok(());
        }
        match state.mark_run(&marker) {
            Ok(()) => self.noted = Some(marker),
            Err(error) if self.noted.as_ref().is_some_and(|noted| noted.assigned == marker.assigned) => {
                complain!("WARNING: {error}; the one of an earlier run stays, which says the same");
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn add((interface, address): &(String, IpAddr)) -> Result<Assigned, Box<dyn Error>> {
    Ok(vip::assign(&Device::open(interface)?, *address)?)
}

fn announce(interface: &str, addresses: &[IpAddr]) -> Result<(), Box<dyn Error>> {
    Ok(vip::announce(&Device::open(interface)?, addresses)?)
}

fn remove(interface: &str, address: IpAddr) -> Result<(), Box<dyn Error>> {
    Ok(vip::remove(&Device::open(interface)?, address)?)
}

fn wanted(config: &Config) -> BTreeSet<(String, IpAddr)> {
    let SourceNat { addresses, interface, assignment, .. } = &config.source_nat;
    let is_vip = |address: &IpAddr| config.addresses().any(|vip| vip == *address);
    let sources: Vec<IpAddr> = addresses.iter().filter(|address| !is_vip(address)).copied().collect();
    let lbs = config.load_balancers.iter().map(|lb| (lb.addresses().collect(), lb.interface, lb.assignment));
    lbs.chain([(sources, *interface, *assignment)])
        .filter(|(.., assignment)| *assignment == Assignment::Daemon)
        .flat_map(|(addresses, interface, _)| {
            let interface = &config.interfaces[usize::from(interface.0)];
            addresses.into_iter().map(|address| (interface.clone(), address))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(address: &str) -> RunMarker {
        let address = address.parse().unwrap();
        RunMarker { pid: 1, assigned: vec![AssignedAddress { interface: "eth0".into(), address }] }
    }

    #[test]
    fn a_marker_that_says_the_same_serves_where_none_can_be_written() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("state");
        let state = StateDirectory::open(&path).unwrap();
        let mut addresses = Addresses::left_behind_by(Some(&marker("198.18.100.1")));
        std::fs::remove_dir_all(&path).unwrap();
        addresses.note(&state).unwrap();
        addresses.ours = Addresses::left_behind_by(Some(&marker("198.18.100.2"))).ours;
        assert!(addresses.note(&state).is_err());
        std::fs::create_dir(&path).unwrap();
        addresses.note(&state).unwrap();
        assert_eq!(state.unclean_run().unwrap().unwrap().assigned, marker("198.18.100.2").assigned);
        std::fs::remove_dir_all(&path).unwrap();
        addresses.note(&state).unwrap();
    }
}
