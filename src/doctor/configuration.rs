//! How a configuration meets the host.

use std::{collections::BTreeSet, error::Error, net::IpAddr};

use lb_ctl::{
    config::Config,
    doctor::{self, ConfigFacts, LayoutFacts, shared_sources},
    state::RunMarker,
};
use lb_io::inspect::{self, Link};

use crate::{host_sockets, port_settings::Settings, run};

pub(super) fn facts(config: Config, links: &[Link], is_running: bool) -> Result<ConfigFacts, String> {
    let host_addresses = host_addresses(links)?;
    // Only root may read the marker: to others it is as if there were none.
    let marker = RunMarker::read(&config.state_directory).ok().flatten();
    let assigned = doctor::assigned(&config, marker, is_running);
    let ports = Settings::of_this_namespace();
    let words = |error: Box<dyn Error>| error.to_string();
    Ok(ConfigFacts {
        layout: layout(&config),
        ephemeral_ports: ports.ephemeral().map_err(words)?,
        reserved_ports: ports.reserved().map_err(words)?,
        sockets_at_risk: sockets_at_risk(&config, &host_addresses, &assigned)?,
        host_addresses,
        assigned,
        config,
    })
}

fn layout(config: &Config) -> Result<LayoutFacts, String> {
    // Secrets do not matter to it.
    let settings = run::engine_settings(config, [0; 16], None).map_err(|error| error.to_string())?;
    let layout = inspect::layout(&settings).map_err(|error| error.to_string())?;
    let inspect::Layout { workers, fill_ring, frame_bytes } = layout;
    Ok(LayoutFacts { workers, fill_ring, frame_bytes })
}

fn host_addresses(links: &[Link]) -> Result<Vec<(IpAddr, String)>, String> {
    let addresses =
        inspect::host_addresses().map_err(|error| format!("cannot list the host's addresses: {error}"))?;
    let name = |index| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
    Ok(addresses.into_iter().filter_map(|(address, index)| Some((address, name(index)?))).collect())
}

fn sockets_at_risk(
    config: &Config,
    host_addresses: &[(IpAddr, String)],
    assigned: &BTreeSet<IpAddr>,
) -> Result<Vec<String>, String> {
    let sources = shared_sources(config, host_addresses, assigned);
    let targets: BTreeSet<IpAddr> =
        config.target_groups.iter().flat_map(|group| &group.targets).map(|target| target.address).collect();
    let sockets = host_sockets::at_risk(&sources, &targets)
        .map_err(|error| format!("cannot list the host's sockets: {error}"))?;
    Ok(sockets.iter().map(ToString::to_string).collect())
}
