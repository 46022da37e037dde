//! Peers at work: each is started in the balancer's namespace and ends when what is returned is dropped, or with the network.

use std::{env, path::PathBuf};

use lbd::testbed::{cleanup::Setting, network::Offload, process::Process};

use crate::{
    measure::Room,
    peer::Peer,
    topology::{BULK_PORT, Entry, Failure, KEPT_PORT, ONCE_PORT, Topology, UDP_PORT, target_addresses},
};

mod iptables;
mod lbd_daemon;
mod nftables;
mod proxies;
mod testpmd;

/// A peer that serves.
pub struct Running {
    /// How clients reach the targets through it.
    pub entry: Entry,
    /// Ended in this order.
    _process: Option<Process>,
    _setting: Option<Setting>,
}

/// Starts a peer and waits until connections reach the targets through it. `lbd` is the daemon's program.
pub fn start(peer: Peer, topology: &Topology, room: Room, lbd: &std::path::Path) -> Result<Running, Failure> {
    let running = match peer {
        Peer::Routing | Peer::RoutingOffloaded => {
            topology.network.forward_by_kernel()?;
            Running::rules(topology.by_lb(target_addresses().to_vec())?)
        }
        Peer::Nftables(source) => nftables::start(topology, source)?,
        Peer::Iptables(source) => iptables::start(topology, source)?,
        Peer::Haproxy => proxies::start_haproxy(topology, room)?,
        Peer::Nginx => proxies::start_nginx(topology, room)?,
        Peer::Testpmd => testpmd::start(topology)?,
        Peer::Lbd(mode) => lbd_daemon::start(topology, mode, lbd)?,
    };
    topology.wait_for(&running.entry, ONCE_PORT)?;
    Ok(running)
}

/// Whether a peer has to be started anew to use more CPUs or fewer.
pub fn is_made_for_its_room(peer: Peer) -> bool {
    matches!(peer, Peer::Haproxy | Peer::Nginx)
}

/// Offloads of the links that a peer stands between.
pub fn offload(peer: Peer) -> Offload {
    if peer == Peer::RoutingOffloaded { Offload::On } else { Offload::Off }
}

/// Why a peer cannot run here: a file that is not installed.
pub fn missing(peer: Peer) -> Option<String> {
    let needed: &[&str] = match peer {
        Peer::Routing | Peer::RoutingOffloaded | Peer::Lbd(_) => &[],
        Peer::Nftables(_) => &["nft"],
        Peer::Iptables(_) => &["iptables-restore"],
        Peer::Haproxy => &["haproxy"],
        Peer::Nginx => &["nginx", proxies::NGINX_STREAM],
        Peer::Testpmd => &["dpdk-testpmd"],
    };
    let absent = |program: &&&str| find(program).is_none();
    needed.iter().find(absent).map(|program| format!("{program} is not installed"))
}

/// Where a program is.
fn find(program: &str) -> Option<PathBuf> {
    let directories = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&directories).map(|directory| directory.join(program)).find(|path| path.is_file())
}

impl Running {
    /// A peer that is rules in the kernel, which go with the network.
    fn rules(entry: Entry) -> Running {
        Running { entry, _process: None, _setting: None }
    }

    /// A peer that is a process.
    fn process(entry: Entry, process: Process) -> Running {
        Running { entry, _process: Some(process), _setting: None }
    }
}

/// Protocol and port of each service, the same at the VIP and at targets.
const SERVICES: [(&str, u16); 4] =
    [("tcp", ONCE_PORT), ("tcp", KEPT_PORT), ("tcp", BULK_PORT), ("udp", UDP_PORT)];
