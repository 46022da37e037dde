//! Collects what `lbctl doctor` judges by (`lb_ctl::doctor`): from /proc, /sys, netlink, drivers, and by trying.
//!
//! Nothing is changed on the host, but on interfaces that are tried, for a moment. What cannot be read counts as unknown.

mod configuration;
mod host;
mod interface;
mod proc;

use std::{thread, time::Duration};

use lb_ctl::doctor::{Facts, Inquiry, InterfaceFacts, ProbeWhen};
use lb_io::inspect::{self, Link};

use interface::Surroundings;

/// Looks at the host and the interfaces that are asked for.
///
/// # Errors
/// When the kernel does not list its interfaces.
pub fn examine(inquiry: Inquiry) -> Result<Facts, String> {
    let links = links()?;
    let names = wanted(&inquiry, &links);
    let surroundings = Surroundings {
        probe: inquiry.probe,
        default_routes: proc::default_routes(),
        later: look_again(inquiry.probe, &names, &links)?,
        links,
    };
    let interfaces = names
        .into_iter()
        .map(|name| interface::facts(&name, &surroundings).map(|link| InterfaceFacts { name, link }))
        .collect::<Result<Vec<_>, String>>()?;
    let is_running = interfaces.iter().any(InterfaceFacts::has_holder);
    let config = inquiry.config.map(|config| configuration::facts(config, &surroundings.links, is_running));
    Ok(Facts { host: host::facts(), interfaces, config: config.transpose()? })
}

fn links() -> Result<Vec<Link>, String> {
    inspect::links().map_err(|error| format!("cannot list network interfaces: {error}"))
}

/// Names as given, else the configuration's, else those of devices and veths; each once.
fn wanted(inquiry: &Inquiry, links: &[Link]) -> Vec<String> {
    let is_plain = |link: &&Link| link.mac.is_some() && matches!(link.kind.as_str(), "" | "veth");
    let names = match (&inquiry.config, inquiry.interfaces.is_empty()) {
        (_, false) => inquiry.interfaces.clone(),
        (Some(config), true) => config.interfaces.clone(),
        (None, true) => links.iter().filter(is_plain).map(|link| link.name.clone()).collect(),
    };
    let is_first = |(index, name): &(usize, &String)| !names[..*index].contains(name);
    names.iter().enumerate().filter(is_first).map(|(_, name)| name.clone()).collect()
}

/// The interfaces a while later, so that traffic shows, where it matters whether there is any.
fn look_again(probe: ProbeWhen, names: &[String], before: &[Link]) -> Result<Vec<Link>, String> {
    let matters = |link: &&Link| names.contains(&link.name) && !interface::is_virtual(link);
    if probe != ProbeWhen::Idle || !before.iter().any(|link| matters(&link)) {
        return Ok(before.to_vec());
    }
    thread::sleep(TRAFFIC_LOOK);
    links()
}

/// An interface that carries no frame for so long is idle.
const TRAFFIC_LOOK: Duration = Duration::from_millis(500);
