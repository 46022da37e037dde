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

/// Our addresses, by interface.
#[derive(Debug, Default)]
pub struct Addresses {
    ours: BTreeSet<(String, IpAddr)>,
}

impl Addresses {
    /// Those that an earlier process left behind are ours.
    pub fn left_behind_by(marker: Option<&RunMarker>) -> Addresses {
        let rows = marker.map(|marker| marker.assigned.as_slice()).unwrap_or_default();
        Addresses { ours: rows.iter().map(|row| (row.interface.clone(), row.address)).collect() }
    }

    /// Who else uses an address, given all that the host has.
    pub fn ownership(&self, address: IpAddr, host: &BTreeSet<IpAddr>) -> Ownership {
        let is_ours = self.ours.iter().any(|row| row.1 == address);
        if host.contains(&address) && !is_ours { Ownership::SharedWithHost } else { Ownership::Exclusive }
    }

    /// Puts the addresses that `config` wants on interfaces where they are missing, and says so: also one of ours that a reboot
    /// or somebody's hand has taken off. An address that the host has already stays the host's. On an error those that this
    /// call has added are off again.
    pub fn assign(
        &mut self,
        config: &Config,
        host: &BTreeSet<IpAddr>,
        state: &StateDirectory,
    ) -> Result<(), Box<dyn Error>> {
        let before = self.ours.clone();
        for row in wanted(config) {
            if !self.ours.contains(&row) && host.contains(&row.1) {
                println!("lbd: {} is the host's already: ports that are not ours stay the host's", row.1);
                continue;
            }
            // Noted first: after a crash right behind this, it is known for ours.
            self.ours.insert(row.clone());
            let added = self.note(state).and_then(|()| add(&row));
            match added {
                Ok(Assigned::Added) => println!("lbd: added {} to {}", row.1, row.0),
                Ok(Assigned::AlreadyThere) if before.contains(&row) => {}
                Ok(Assigned::AlreadyThere) => drop(self.ours.remove(&row)), // Somebody was quicker.
                Err(error) => {
                    self.ours.remove(&row);
                    self.keep_only(&before);
                    self.ours = before;
                    self.note(state)?;
                    return Err(error);
                }
            }
        }
        self.note(state)
    }

    /// Tells the neighbours where the addresses are.
    pub fn announce(&self) {
        let ours = Vec::from_iter(&self.ours);
        for of_interface in ours.chunk_by(|one, other| one.0 == other.0) {
            let addresses: Vec<IpAddr> = of_interface.iter().map(|row| row.1).collect();
            if let Err(error) = announce(&of_interface[0].0, &addresses) {
                eprintln!("lbd: {error}; neighbours find the addresses when they ask for them");
            }
        }
    }

    /// Takes the addresses off that `config` does not want (any more).
    pub fn release(&mut self, config: &Config, state: &StateDirectory) -> Result<(), Box<dyn Error>> {
        self.keep_only(&wanted(config));
        self.note(state)
    }

    /// Takes all addresses off.
    pub fn release_all(&mut self) {
        self.keep_only(&BTreeSet::new());
    }

    fn keep_only(&mut self, keep: &BTreeSet<(String, IpAddr)>) {
        for (interface, address) in self.ours.difference(keep) {
            match remove(interface, *address) {
                Ok(()) => println!("lbd: removed {address} from {interface}"),
                Err(error) => {
                    eprintln!("lbd: {error}; remove it by hand: ip address del {address} dev {interface}")
                }
            }
        }
        self.ours = self.ours.intersection(keep).cloned().collect();
    }

    fn note(&self, state: &StateDirectory) -> Result<(), Box<dyn Error>> {
        let row = |(interface, address): &(String, IpAddr)| AssignedAddress {
            interface: interface.clone(),
            address: *address,
        };
        let marker = RunMarker { pid: std::process::id(), assigned: self.ours.iter().map(row).collect() };
        Ok(state.mark_run(&marker)?)
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
