//! Start and reload of the daemon with many listeners, each with a group of ten targets of its own: `cargo bench --bench startup`, as
//! root.
//!
//! The daemon runs in a test network with a router before the targets, 40 of which exist. What is said of the start is the time from
//! the start of the process to its line `ready`, and what the daemon itself says there.

mod large;

use std::{
    error::Error,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use lb_ctl::client::Client;
use lbd::testbed::{
    self,
    cleanup::OwnDirectory,
    network::{Layout, Network, Offload, Plan},
    process::Process,
};

fn main() -> Result<(), Box<dyn Error>> {
    if !testbed::is_privileged() {
        println!("startup: not measured, which takes root");
        return Ok(());
    }
    let network =
        Network::build(&Plan { layout: Layout::Routed, targets: 40, queues: 2, offload: Offload::On })?;
    for listeners in [1, 1_000] {
        for _ in 0..ROUNDS {
            measure(&network, listeners)?;
        }
    }
    Ok(())
}

fn measure(network: &Network, listeners: u32) -> Result<(), Box<dyn Error>> {
    let directory = OwnDirectory::create()?;
    let at = |name: &str| directory.path().join(name);
    let head = format!(
        "state_directory = {:?}\ncontrol_socket = {:?}",
        at("state").display().to_string(),
        at("lbd.sock").display().to_string()
    );
    let config = at("lbd.toml");
    fs::write(&config, large::configuration(listeners, &network.interfaces, &head))?;

    let begun = Instant::now();
    let mut command = network.lb.command(Path::new(env!("CARGO_BIN_EXE_lbd")));
    let mut daemon = Process::start(command.arg("run").arg("--config").arg(&config), &at("log"))?;
    let told = loop {
        if let Some(line) = daemon.printed().lines().find(|line| line.contains("ready in")) {
            break line.split(';').next().unwrap_or_default().to_owned();
        }
        if let Some(status) = daemon.ended()? {
            return Err(format!("lbd ended ({status}):\n{}", daemon.printed()).into());
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    println!("{listeners:>5} listeners: ready after {:?} ({told})", begun.elapsed());

    let control = Client::new(&at("lbd.sock"));
    let begun = Instant::now();
    let status = control.status()?;
    println!("{listeners:>5} listeners: first answer of the control API after {:?}", begun.elapsed());
    let begun = Instant::now();
    while control.targets()?.iter().any(|target| !target.is_reachable) && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("{listeners:>5} listeners: next hops of all targets known {:?} later", begun.elapsed());
    for what in ["unchanged", "with one target less"] {
        let begun = Instant::now();
        let wanted = control.reload()?.tables_generation;
        let answered = begun.elapsed();
        while control.status()?.applied_tables_generation < wanted {
            std::thread::sleep(Duration::from_millis(1));
        }
        println!(
            "{listeners:>5} listeners: reload {what}: answered after {answered:?}, in force after {:?}",
            begun.elapsed()
        );
        let text = fs::read_to_string(&config)?;
        fs::write(&config, text.replacen(&format!("{{ address = \"{}\" }}, ", large::target(0)), "", 1))?;
    }
    drop(status);
    daemon.stop(PATIENCE)?;
    Ok(())
}

const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(20);
