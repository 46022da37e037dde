//! lbd, with an ordinary configuration file.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use lb_ctl::client::Client;
use lbd::testbed::{daemon::is_serving, network::VIP, process::Process};

use super::{Running, SERVICES};
use crate::{
    peer::{Listeners, Mode, Polling, Source},
    topology::{BALANCER_CPU, CLIENT_SIDE, Failure, ONCE_PORT, TARGET_SIDE, Topology, target_addresses},
};

/// Starts it and waits until all targets are healthy.
pub fn start(topology: &Topology, mode: Mode, program: &Path) -> Result<Running, Failure> {
    let directory = topology.directory.path();
    let file = directory.join("lbd.toml");
    fs::write(&file, configuration(directory, mode))?;
    let mut command = topology.network.lb.command(program);
    command.arg("run").arg("--config").arg(&file);
    let mut process = Process::start(&mut command, &directory.join("lbd.log"))?;
    wait_until_it_serves(&mut process, &Client::new(&directory.join(SOCKET)))?;
    Ok(Running::process(topology.by_vip()?, process))
}

fn wait_until_it_serves(process: &mut Process, daemon: &Client) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let targets = daemon.targets();
        if targets.as_ref().is_ok_and(|rows| !rows.is_empty() && rows.iter().all(is_serving)) {
            return Ok(());
        }
        if process.ended()?.is_some() || Instant::now() > deadline {
            let why = targets.map_or_else(|error| error.to_string(), |_| "targets are not healthy".into());
            return Err(format!("lbd does not serve: {why}; {}", process.printed()).into());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn configuration(directory: &Path, mode: Mode) -> String {
    let polling = match mode.polling {
        Polling::Adaptive => "adaptive",
        Polling::Busy => "busy",
    };
    let others = match mode.listeners {
        Listeners::Few => 0,
        Listeners::Thousand => OTHER_LISTENERS,
    };
    let directory = directory.display();
    let mut text = format!(
        "interfaces = [\"{CLIENT_SIDE}\", \"{TARGET_SIDE}\"]\n\
         state_directory = \"{directory}/state\"\n\
         control_socket = \"{directory}/{SOCKET}\"\n\
         workers = {{ count = 1, cpus = [{BALANCER_CPU}], polling = \"{polling}\" }}\n\
         [[load_balancers]]\nname = \"versus\"\naddresses = [\"{VIP}\"]\n"
    );
    for (protocol, port) in SERVICES {
        text.push_str(&listener(protocol, port, port));
    }
    // One group serves them all: health checks of a thousand would be a load of their own.
    for index in 0..others {
        text.push_str(&listener("tcp", FIRST_OTHER_PORT + index, FIRST_OTHER_PORT));
    }
    text.extend(SERVICES.map(|(protocol, port)| group(protocol, port, mode.source)));
    if others > 0 {
        text.push_str(&group("tcp", FIRST_OTHER_PORT, mode.source));
    }
    text
}

/// A listener on `port`, to the target group of `target_port`.
fn listener(protocol: &str, port: u16, target_port: u16) -> String {
    let protocol = protocol.to_uppercase();
    format!(
        "[[load_balancers.listeners]]\nprotocol = \"{protocol}\"\nport = {port}\n\
         target_group = \"{protocol}-{target_port}\"\n"
    )
}

fn group(protocol: &str, port: u16, source: Source) -> String {
    let protocol = protocol.to_uppercase();
    let targets: Vec<_> =
        target_addresses().iter().map(|target| format!("{{ address = \"{target}\" }}")).collect();
    let attributes = match (protocol.as_str(), source) {
        ("UDP", _) => "",
        (_, Source::Kept) => "\"preserve_client_ip.enabled\" = true",
        (_, Source::Masqueraded) => "\"preserve_client_ip.enabled\" = false",
    };
    format!(
        "[[target_groups]]\nname = \"{protocol}-{port}\"\nprotocol = \"{protocol}\"\nport = {port}\n\
         targets = [{}]\nattributes = {{ {attributes} }}\n\
         health_check = {{ protocol = \"TCP\", port = {ONCE_PORT}, fast_interval_ms = 1000, healthy_threshold = 2 }}\n",
        targets.join(", ")
    )
}

/// The control socket, in the run's directory.
const SOCKET: &str = "control/lbd.sock";
/// Listeners beside those under load.
const OTHER_LISTENERS: u16 = 1000;
const FIRST_OTHER_PORT: u16 = 20_000;
const PATIENCE: Duration = Duration::from_secs(30);
