//! The VIPs that this process has put on interfaces: noted in the state directory before the kernel has them, so that a
//! later start after a crash knows them for ours. Owned by the control thread.

use std::{collections::BTreeSet, error::Error, net::IpAddr};

use lb_core::tables::Ownership;
use lb_ctl::{
    config::{Assignment, Config},
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

    /// Puts the addresses that `config` wants on interfaces there, and says so. On an error those added by this call are off
    /// again.
    pub fn assign(&mut self, config: &Config, state: &StateDirectory) -> Result<(), Box<dyn Error>> {
        let missing: Vec<_> = wanted(config).difference(&self.ours).cloned().collect();
        let before = self.ours.clone();
        self.ours.extend(missing.iter().cloned());
        self.note(state)?;
        for (interface, address) in &missing {
            match Device::open(interface)
                .map_err(Box::<dyn Error>::from)
                .and_then(|device| Ok(vip::assign(&device, *address)?))
            {
                Ok(Assigned::Added) => println!("lbd: added {address} to {interface}"),
                Ok(Assigned::AlreadyThere) => {
                    println!(
                        "lbd: {address} is the host's already: ports without a listener stay the host's"
                    );
                    self.ours.remove(&(interface.clone(), *address));
                }
                Err(error) => {
                    self.keep_only(&before);
                    self.note(state)?;
                    return Err(error);
                }
            }
        }
        self.note(state)
    }

    /// Tells the neighbours where the addresses are.
    pub fn announce(&self) {
        for (interface, address) in &self.ours {
            let announced = Device::open(interface)
                .map_err(Box::<dyn Error>::from)
                .and_then(|device| Ok(vip::announce(&device, *address)?));
            if let Err(error) = announced {
                eprintln!("lbd: {error}; neighbours find the address when they ask for it");
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
            let removed = Device::open(interface)
                .map_err(Box::<dyn Error>::from)
                .and_then(|device| Ok(vip::remove(&device, *address)?));
            match removed {
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

fn wanted(config: &Config) -> BTreeSet<(String, IpAddr)> {
    let by_daemon = config.load_balancers.iter().filter(|lb| lb.assignment == Assignment::Daemon);
    by_daemon
        .flat_map(|lb| {
            let interface = &config.interfaces[usize::from(lb.interface.0)];
            lb.addresses.iter().map(move |&address| (interface.clone(), address))
        })
        .collect()
}
